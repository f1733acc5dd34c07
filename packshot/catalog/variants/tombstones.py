"""Tombstones: the marks of erased packs, so that no part of them returns."""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa

from packshot.catalog.database.transaction import Tx
from packshot.catalog.tables.work import tombstones
from packshot.errors import Gone


@dataclass(frozen=True, slots=True)
class Tombstone:
    """An erased pack: why, by whom and when."""

    tenant: str
    pack_id: str
    reason: str
    erased_by: str
    erased_at: datetime


def set_tombstone(tx: Tx, tombstone: Tombstone) -> None:
    """Record that a pack is erased. An existing tombstone stays unchanged."""
    statement = tx.insert(tombstones).values(
        tenant_id=tx.tenant,
        pack_id=tombstone.pack_id,
        reason=tombstone.reason,
        erased_by=tombstone.erased_by,
        erased_at=tombstone.erased_at,
    )
    tx.connection.execute(statement.on_conflict_do_nothing(index_elements=["tenant_id", "pack_id"]))


def find_erased(tx: Tx, pack_ids: Collection[str]) -> set[str]:
    """Return those of these packs that were erased."""
    conditions = (tombstones.c.tenant_id == tx.tenant, tombstones.c.pack_id.in_(pack_ids))
    return set(tx.connection.scalars(sa.select(tombstones.c.pack_id).where(*conditions)))


def refuse_erased(tx: Tx, pack_ids: Collection[str], *, field: tuple[str, ...] = ("pack_id",)) -> None:
    """Refuse the ids of erased packs. Call it before packs with given ids are created.

    Args:
        field: the input that holds the ids.

    Raises:
        Gone: one of the packs was erased.
    """
    for pack_id in sorted(find_erased(tx, pack_ids)):
        raise Gone("This pack was erased.", field=field, expected="a pack that was never erased", got=pack_id)
