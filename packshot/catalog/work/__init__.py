"""Queues as rows: orders, jobs and their items, URL imports, erasures."""
