"""What strangers and other tenants may try."""
