"""Erasures: packs whose bytes must be deleted for good.

A pack has one row until everything of it was erased twice.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import timedelta

import sqlalchemy as sa

from packshot.catalog.database.leased_queue import LeasedQueue, new_token
from packshot.catalog.database.transaction import Tx
from packshot.catalog.tables.artwork import pack_locations, pack_originals, packs, variants
from packshot.catalog.tables.clients import uploads
from packshot.catalog.tables.work import erasures, tombstones
from packshot.catalog.work import job_items
from packshot.catalog.work.jobs import Counts, Failure, Job

# Longer than the erasure of one pack takes, even with a slow store.
LEASE_TIME = timedelta(minutes=10)
MAX_PAUSE = timedelta(minutes=5)

QUEUE = LeasedQueue(erasures, LEASE_TIME, MAX_PAUSE)


@dataclass(frozen=True, slots=True)
class ErasureClaim:
    """A pack to erase, and the right to do so until the lease runs out.

    Attributes:
        originals: SHA-256 of every original that the pack ever had.
        passes: completed passes over everything to erase.
        outages: consecutive outages of a store or the database.
        faults: consecutive unforeseen exceptions.
    """

    tenant: str
    pack_id: str
    job_id: str
    originals: tuple[str, ...]
    passes: int
    outages: int
    faults: int
    token: str

    @property
    def key(self) -> tuple[str]:
        return (self.pack_id,)


def is_known(tx: Tx, pack_id: str) -> bool:
    """Return whether the tenant has or had such a pack. A deleted pack may have left data."""
    columns = (packs.c.id, tombstones.c.pack_id, variants.c.pack_id, pack_originals.c.pack_id)
    return any(
        tx.connection.execute(
            sa.select(column).where(column.table.c.tenant_id == tx.tenant, column == pack_id).limit(1)
        ).first()
        for column in columns
    )


def find_originals(tx: Tx, pack_id: str) -> list[str]:
    """Return every original that the pack has or had and that is still stored."""
    shown = sa.select(pack_locations.c.original_sha256).where(
        pack_locations.c.tenant_id == tx.tenant,
        pack_locations.c.pack_id == pack_id,
        pack_locations.c.original_sha256.is_not(None),
    )
    ever = sa.select(pack_originals.c.sha256).where(
        pack_originals.c.tenant_id == tx.tenant, pack_originals.c.pack_id == pack_id
    )
    return sorted(tx.connection.scalars(shown.union(ever)))


def order_erasure(tx: Tx, pack_id: str, job: Job, originals: Sequence[str]) -> None:
    """Order the erasure of a pack. An erasure that is under way starts again."""
    values = {
        "job_id": job.id,
        "originals": list(originals),
        "passes": 0,
        "outages": 0,
        "faults": 0,
        "reason": None,
        "due_at": tx.now,
    }
    statement = tx.insert(erasures).values(tenant_id=tx.tenant, pack_id=pack_id, **values)
    tx.connection.execute(
        statement.on_conflict_do_update(index_elements=["tenant_id", "pack_id"], set_=values | QUEUE.no_lease)
    )


def list_under_way(tx: Tx) -> set[tuple[str, str]]:
    """Return tenant and id of every pack whose erasure is not complete."""
    return {(row.tenant_id, row.pack_id) for row in tx.connection.execute(sa.select(erasures))}


def is_due(tx: Tx, max_pause: timedelta) -> bool:
    """Return whether `claim_due` would find an erasure.

    Args:
        max_pause: how far ahead a pass is planned at most.
    """
    return QUEUE.has(tx, *_due(tx, max_pause))


def claim_due(tx: Tx, max_pause: timedelta) -> ErasureClaim | None:
    """Claim one due erasure of any tenant."""
    # After the clock moved back. Not due at once, because the second pass must not follow the first too soon.
    latest = tx.now + max_pause
    tx.connection.execute(sa.update(erasures).where(erasures.c.due_at > latest).values(due_at=latest))
    rows = QUEUE.lock(tx, *_due(tx, max_pause), order_by=[erasures.c.due_at], limit=1)
    if not rows:
        return None
    (row,) = rows
    token = new_token()
    QUEUE.lease(tx, row, token)
    return ErasureClaim(
        row.tenant_id, row.pack_id, row.job_id, tuple(row.originals), row.passes, row.outages, row.faults, token
    )


def _due(tx: Tx, max_pause: timedelta) -> tuple[sa.ColumnElement[bool], ...]:
    return QUEUE.is_due(tx, max_pause=max_pause), QUEUE.is_free(tx)


def end_pass(tx: Tx, held: ErasureClaim, counts: Counts, *, again_after: timedelta | None) -> bool:
    """Complete a pass. Returns False if another claim took over.

    Args:
        again_after: time until the next pass; None: this pass was the last one.
    """
    if again_after is None:
        done = tx.connection.execute(sa.delete(erasures).where(*QUEUE.held(tx, [held]))).rowcount > 0
    else:
        values = {"passes": held.passes + 1, "outages": 0, "faults": 0, "reason": None, "due_at": tx.now + again_after}
        done = QUEUE.release(tx, [held], **values)
    if done:
        job_items.count_originals(tx, held.job_id, counts)
    return done


def postpone(tx: Tx, held: ErasureClaim, reason: str) -> None:
    """Release an erasure after an outage, to retry it later."""
    QUEUE.postpone(tx, held, reason)


def retry_after_fault(tx: Tx, held: ErasureClaim, reason: str) -> bool:
    """Release an erasure after an unforeseen exception, to retry it later. Returns False after too many in a row."""
    return QUEUE.retry_after_fault(tx, held, reason)


def fail(tx: Tx, held: ErasureClaim, failure: Failure) -> None:
    """End an erasure and its job as failed. What is stored of the pack stays until it is erased again."""
    if tx.connection.execute(sa.delete(erasures).where(*QUEUE.held(tx, [held]))).rowcount:
        job_items.count_originals(tx, held.job_id, Counts(total=1, failed=1), [failure])


def delete_variants(tx: Tx, pack_id: str) -> None:
    """Delete the ledger's rows of a pack whose variants are erased."""
    tx.connection.execute(sa.delete(variants).where(variants.c.tenant_id == tx.tenant, variants.c.pack_id == pack_id))


def delete_pack_originals(tx: Tx, pack_id: str) -> None:
    """Delete the record of which originals a pack ever had."""
    conditions = (pack_originals.c.tenant_id == tx.tenant, pack_originals.c.pack_id == pack_id)
    tx.connection.execute(sa.delete(pack_originals).where(*conditions))


def find_uploads(tx: Tx, originals: Collection[str]) -> list[str]:
    """Return the uploads of these originals that are not deleted yet."""
    conditions = (uploads.c.tenant_id == tx.tenant, uploads.c.sha256.in_(originals))
    return list(tx.connection.scalars(sa.select(uploads.c.id).where(*conditions)))
