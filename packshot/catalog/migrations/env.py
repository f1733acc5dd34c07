"""Run a migration on the connection that `packshot.catalog.database.migrate` passes."""

from typing import Any, Literal

from alembic import context

from packshot.catalog.tables import artwork, clients, work
from packshot.catalog.tables.columns import Moment, metadata

# Importing these modules fills `metadata` with their tables.
ROOMS = (artwork, clients, work)


def render_item(kind: str, item: Any, autogen_context: Any) -> str | Literal[False]:
    """Write `Moment` columns as the type that the database stores."""
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
