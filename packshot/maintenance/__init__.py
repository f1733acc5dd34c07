"""Collecting, scrubbing and erasing stored objects, and the marks of sequences."""
