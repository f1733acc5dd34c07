"""Purge orders, and the batches in which they are sent to the CDN."""
