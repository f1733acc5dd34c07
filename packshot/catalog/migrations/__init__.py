"""The only Alembic history, for SQLite and PostgreSQL."""
