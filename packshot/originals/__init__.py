"""Originals: ingest them, and give them out without their metadata."""
