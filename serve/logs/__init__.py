"""Logging: set-up, redaction of URLs, bounded tracebacks."""
