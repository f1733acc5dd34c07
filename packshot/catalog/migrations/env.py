"""Runs a migration on the connection that `packshot.catalog.database.migrate` hands over."""

from typing import Any, Literal

from alembic import context

from packshot.catalog.tables import artwork, clients, work
from packshot.catalog.tables.columns import Moment, metadata

# Each of these fills `metadata` with its tables.
ROOMS = (artwork, clients, work)


def render_item(kind: str, item: Any, autogen_context: Any) -> str | Literal[False]:
    """Write `Moment` columns as what they are to the database."""
    if kind == "type" and isinstance(item, Moment):
        return "sa.DateTime(timezone=True)"
    return False


context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    render_as_batch=True,
    compare_type=True,
    render_item=render_item,
    transaction_per_migration=False,
)
context.run_migrations()
