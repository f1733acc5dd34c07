"""Connections, transactions, schema migrations, pages, leases and back-off for every part of the catalog."""
