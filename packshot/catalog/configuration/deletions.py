"""Deletions: rows by which the change feed reports deleted packs and locations. They are kept for a time."""

from datetime import timedelta

import sqlalchemy as sa

from packshot.catalog.database.transaction import Tx, next_sequence
from packshot.catalog.tables.artwork import deletions, sequences

# Minimum time in the change feed, in addition to the grace period.
KEPT, KEPT_AFTER_GRACE = timedelta(days=90), timedelta(days=30)
PORTION = 1000


def note_deleted_pack(
    tx: Tx, pack_id: str, number: int, *, external_id: str | None, asset_id: int | None, erased: bool = False
) -> None:
    """Note that a pack was deleted or erased at that sequence number."""
    _note(tx, "pack", pack_id, number, external_id=external_id, asset_id=asset_id, erased=erased)


def note_erased_pack(tx: Tx, pack_id: str) -> None:
    """Note that a pack that had been deleted before was erased."""
    conditions = (deletions.c.tenant_id == tx.tenant, deletions.c.subject == "pack", deletions.c.id == pack_id)
    known = tx.connection.execute(sa.select(deletions.c.external_id, deletions.c.asset_id).where(*conditions)).first()
    external_id, asset_id = (None, None) if known is None else known
    note_deleted_pack(tx, pack_id, next_sequence(tx), external_id=external_id, asset_id=asset_id, erased=True)


def note_deleted_location(tx: Tx, name: str) -> None:
    """Note that a location was deleted."""
    _note(tx, "location", name, next_sequence(tx), external_id=None, asset_id=None, erased=False)


def delete_old_deletions(tx: Tx, grace: timedelta) -> int:
    """Delete some of the oldest expired deletions of all tenants; return their number.

    Args:
        grace: how long the objects of a deleted pack are kept.
    """
    before = tx.now - max(KEPT, grace + KEPT_AFTER_GRACE)
    oldest = sa.select(deletions).where(deletions.c.deleted_at < before).order_by(deletions.c.deleted_at).limit(PORTION)
    found = tx.connection.execute(oldest).all()
    for tenant in sorted({row.tenant_id for row in found}):
        numbers = [row.sequence_number for row in found if row.tenant_id == tenant]
        counter = (sequences.c.tenant_id == tenant, sequences.c.deletions_dropped_up_to < max(numbers))
        tx.connection.execute(sa.update(sequences).where(*counter).values(deletions_dropped_up_to=max(numbers)))
        conditions = (deletions.c.tenant_id == tenant, deletions.c.sequence_number.in_(numbers))
        tx.connection.execute(sa.delete(deletions).where(*conditions))
    return len(found)


def _note(
    tx: Tx, subject: str, id: str, number: int, *, external_id: str | None, asset_id: int | None, erased: bool
) -> None:
    row = {
        "sequence_number": number,
        "external_id": external_id,
        "asset_id": asset_id,
        "erased": erased,
        "deleted_at": tx.now,
    }
    statement = tx.insert(deletions).values(tenant_id=tx.tenant, subject=subject, id=id, **row)
    # If a pack was created and deleted repeatedly under one id, the last deletion counts.
    tx.connection.execute(statement.on_conflict_do_update(index_elements=["tenant_id", "subject", "id"], set_=row))
