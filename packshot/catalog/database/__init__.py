"""Connections, transactions, migrations, keyset pages, leases and back-off: what every part of the catalog uses."""
