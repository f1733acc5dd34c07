"""Purges, and the purge batches that are sent to the CDN."""
