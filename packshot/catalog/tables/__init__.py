"""Every table, written for SQLite and PostgreSQL alike.

`tenant_id` is the tenant's name and leads every key. Enumerations are stored
as their lower-case values, moments as UTC.
"""
