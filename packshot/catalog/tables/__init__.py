"""The tables, for SQLite and PostgreSQL.

`tenant_id` is the tenant's name and the first column of every primary key. Enumerations are stored as their
lower-case values, moments in UTC.
"""
