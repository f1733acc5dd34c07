"""Tombstones: which packs were erased, so that nothing of them comes back."""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa

from packshot.catalog.database.transaction import Tx
from packshot.catalog.tables.work import tombstones
from packshot.errors import Gone


@dataclass(frozen=True, slots=True)
class Tombstone:
    """One pack that was erased, why, by whom and when."""

    tenant: str
    pack_id: str
    reason: str
    erased_by: str
    erased_at: datetime


def set_tombstone(tx: Tx, tombstone: Tombstone) -> None:
    """Note that a pack is erased; one that is noted already stays as it is."""
    statement = tx.insert(tombstones).values(
        tenant_id=tx.tenant,
        pack_id=tombstone.pack_id,
        reason=tombstone.reason,
        erased_by=tombstone.erased_by,
        erased_at=tombstone.erased_at,
    )
    tx.connection.execute(statement.on_conflict_do_nothing(index_elements=["tenant_id", "pack_id"]))


def find_erased(tx: Tx, pack_ids: Collection[str]) -> set[str]:
    """Return which of those packs were erased."""
    conditions = (tombstones.c.tenant_id == tx.tenant, tombstones.c.pack_id.in_(pack_ids))
    return set(tx.connection.scalars(sa.select(tombstones.c.pack_id).where(*conditions)))


def refuse_erased(tx: Tx, pack_ids: Collection[str], *, field: tuple[str, ...] = ("pack_id",)) -> None:
    """Refuse ids that belonged to erased packs; whoever brings packs with ids of their own asks this first.

    Args:
        field: where the ids were given.

    Raises:
        Gone: one of them was erased.
    """
    for pack_id in sorted(find_erased(tx, pack_ids)):
        raise Gone("This pack was erased.", field=field, expected="a pack that was never erased", got=pack_id)
