"""The bytes that unplanned variants use, and their limits.

Each tenant has a budget in bytes. A render on demand adds its bytes in the transaction that records it. The collector
subtracts what it deletes. It also recounts everything from time to time, which corrects errors after a crash.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa

from packshot.catalog.database.key_lists import is_in
from packshot.catalog.database.transaction import Tx
from packshot.catalog.tables.artwork import full_pack_locations, tenants, unplanned_usage, variants
from packshot.catalog.variants.ledger import VariantState, in_state
from packshot.variants.key import Key

# An allowance for the row and for unused space in the file system. It also bounds the rows of failed variants.
ROW_BYTES = 4096
# Per pack location, superseded and failed variants included.
MAX_VARIANTS_PER_PLACE = 1000
# The share of its budget up to which a tenant may store more. The collector begins to delete at 100 percent.
HARD_PERCENT = 110


@dataclass(frozen=True, slots=True)
class Room:
    """Whether another unplanned variant may be stored.

    Attributes:
        within_budget: the tenant's budget allows it.
        is_full: the pack location has the most unplanned variants that it may have.
    """

    within_budget: bool
    is_full: bool

    @property
    def is_enough(self) -> bool:
        return self.within_budget and not self.is_full


def read_usage(tx: Tx) -> int:
    """Return the bytes that the tenant's unplanned variants use, with the allowance for each row."""
    statement = sa.select(unplanned_usage.c.bytes).where(unplanned_usage.c.tenant_id == tx.tenant)
    return tx.connection.scalar(statement) or 0


def read_budget(tx: Tx, default: int) -> int:
    """Return the tenant's budget in bytes."""
    own = tx.connection.scalar(sa.select(tenants.c.unplanned_bytes).where(tenants.c.id == tx.tenant))
    return default if own is None else own


def read_room(tx: Tx, key: Key, default: int) -> Room:
    """Return whether an unplanned variant may be stored. Reads a bounded number of rows.

    Args:
        default: the budget of tenants that set none.
    """
    conditions = (
        variants.c.tenant_id == tx.tenant,
        variants.c.pack_id == key.pack,
        variants.c.location == key.location,
    )
    some = (
        sa.select(sa.literal(1))
        .select_from(variants)
        .where(*conditions, ~variants.c.planned)
        .limit(MAX_VARIANTS_PER_PLACE)
    )
    count = tx.connection.scalar(sa.select(sa.func.count()).select_from(some.subquery())) or 0
    budget = read_budget(tx, default)
    return Room(read_usage(tx) * 100 < budget * HARD_PERCENT, count >= MAX_VARIANTS_PER_PLACE)


def add_usage(tx: Tx, amount: int) -> None:
    """Add bytes to the tenant's usage. Do it last in a transaction, because the row stays locked until the end."""
    statement = tx.insert(unplanned_usage).values(tenant_id=tx.tenant, bytes=max(0, amount))
    total = unplanned_usage.c.bytes + amount
    tx.connection.execute(
        statement.on_conflict_do_update(
            index_elements=["tenant_id"], set_={"bytes": sa.case((total > 0, total), else_=0)}
        )
    )


def count_usage(tx: Tx) -> int:
    """Return the error of the recorded usage, from one state of the database."""
    taken = sa.func.coalesce(sa.func.sum(sa.func.coalesce(variants.c.bytes, 0) + ROW_BYTES), 0)
    statement = sa.select(taken).where(variants.c.tenant_id == tx.tenant, ~variants.c.planned)
    return int(tx.connection.scalar(statement) or 0) - read_usage(tx)


def correct_usage(tx: Tx, difference: int) -> None:
    """Add the error that `count_usage` found. Changes that were recorded meanwhile stay counted."""
    add_usage(tx, difference)
    is_of_tenant = unplanned_usage.c.tenant_id == tx.tenant
    tx.connection.execute(sa.update(unplanned_usage).where(is_of_tenant).values(counted_at=tx.now))


def find_uncounted(tx: Tx, before: datetime, *, without: Collection[str] = ()) -> str | None:
    """Return a tenant whose usage was not counted since that time."""
    counted = sa.and_(unplanned_usage.c.tenant_id == tenants.c.id, unplanned_usage.c.counted_at >= before)
    statement = sa.select(tenants.c.id).where(~sa.select(unplanned_usage.c.bytes).where(counted).exists())
    statement = statement.where(tenants.c.id.not_in(without))
    found: str | None = tx.connection.scalar(statement.order_by(tenants.c.id).limit(1))
    return found


def find_over_budget(tx: Tx, default: int, *, without: Collection[str] = ()) -> str | None:
    """Return a tenant whose usage exceeds its budget."""
    budget = sa.func.coalesce(tenants.c.unplanned_bytes, default)
    statement = (
        sa.select(tenants.c.id)
        .select_from(tenants.join(unplanned_usage, unplanned_usage.c.tenant_id == tenants.c.id))
        .where(unplanned_usage.c.bytes > budget, tenants.c.id.not_in(without))
        .order_by(tenants.c.id)
        .limit(1)
    )
    found: str | None = tx.connection.scalar(statement)
    return found


def mark_full(tx: Tx, key: Key) -> None:
    """Record that a pack location has the most unplanned variants that it may have."""
    statement = tx.insert(full_pack_locations).values(tenant_id=tx.tenant, pack_id=key.pack, location=key.location)
    tx.connection.execute(statement.on_conflict_do_nothing())


def find_full(tx: Tx, *, without: Collection[str] = ()) -> tuple[str, str, str] | None:
    """Return tenant, pack and location of a full pack location."""
    row = tx.connection.execute(
        sa.select(full_pack_locations).where(full_pack_locations.c.tenant_id.not_in(without)).limit(1)
    ).first()
    return None if row is None else (row.tenant_id, row.pack_id, row.location)


def unmark_full(tx: Tx, pack_id: str, location: str) -> None:
    """Record that a pack location has room again."""
    conditions = (
        full_pack_locations.c.tenant_id == tx.tenant,
        full_pack_locations.c.pack_id == pack_id,
        full_pack_locations.c.location == location,
    )
    tx.connection.execute(sa.delete(full_pack_locations).where(*conditions))


def touch_requested(tx: Tx, places: Sequence[tuple[str, str, str, str]], hour: datetime) -> None:
    """Record the hour in which variants were requested. Planned variants are ignored.

    Args:
        places: pack, location, fingerprint and plan of each.
    """
    names = (variants.c.pack_id, variants.c.location, variants.c.fingerprint, variants.c.plan)
    stale = sa.and_(~variants.c.planned, variants.c.requested_at < hour, ~in_state(VariantState.COLLECTING))
    found = tx.connection.execute(
        sa.select(*names).where(variants.c.tenant_id == tx.tenant, is_in(tx, names, places), stale)
    ).all()
    conditions = (variants.c.tenant_id == tx.tenant, *(column == sa.bindparam(f"k_{column.name}") for column in names))
    if found:
        # Sorted, so that processes with the same rows wait for each other instead of deadlocking.
        rows = [
            {f"k_{column.name}": value for column, value in zip(names, row, strict=True)}
            for row in sorted(map(tuple, found))
        ]
        tx.connection.execute(sa.update(variants).where(*conditions, stale).values(requested_at=hour), rows)
