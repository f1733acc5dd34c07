"""Originals: ingest them, and return them without their metadata."""
