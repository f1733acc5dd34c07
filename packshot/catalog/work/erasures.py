"""Erasures: whose bytes are still to be erased for good, and who is at it.

One row an erased pack, until all of it was erased twice. A row is claimed for a
while, so that a process that dies leaves it to the next one.
"""

import secrets
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import timedelta

import sqlalchemy as sa

from packshot.catalog.database import backoff
from packshot.catalog.database.backoff import MAX_FAULTS
from packshot.catalog.database.transaction import Tx
from packshot.catalog.tables.artwork import pack_locations, pack_originals, packs, variants
from packshot.catalog.tables.clients import uploads
from packshot.catalog.tables.work import erasures, tombstones
from packshot.catalog.work import job_items
from packshot.catalog.work.jobs import Counts, Failure, Job

# Longer than erasing one pack takes, even from a slow store.
LEASE_TIME = timedelta(minutes=10)
MAX_PAUSE = timedelta(minutes=5)


@dataclass(frozen=True, slots=True)
class ErasureClaim:
    """One pack to be erased, and the right to do it until the lease runs out.

    Attributes:
        originals: sha256 of every original that the pack ever showed.
        passes: how often all of it was erased before.
        outages: how often in a row a store or the database was away.
        faults: how many unforeseen exceptions in a row ended it.
    """

    tenant: str
    pack_id: str
    job_id: str
    originals: tuple[str, ...]
    passes: int
    outages: int
    faults: int
    token: str


def is_known(tx: Tx, pack_id: str) -> bool:
    """Whether there is or was such a pack in this tenant: of one that was deleted something may be left."""
    columns = (packs.c.id, tombstones.c.pack_id, variants.c.pack_id, pack_originals.c.pack_id)
    return any(
        tx.connection.execute(
            sa.select(column).where(column.table.c.tenant_id == tx.tenant, column == pack_id).limit(1)
        ).first()
        for column in columns
    )


def find_originals(tx: Tx, pack_id: str) -> list[str]:
    """Return every original that the pack shows or ever showed, as far as it is still there."""
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
    """Order that a pack be erased, from the start where that is under way."""
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
        statement.on_conflict_do_update(
            index_elements=["tenant_id", "pack_id"], set_={**values, "lease_token": None, "lease_until": None}
        )
    )


def list_under_way(tx: Tx) -> set[tuple[str, str]]:
    """Return tenant and id of every pack of which something may still be stored."""
    return {(row.tenant_id, row.pack_id) for row in tx.connection.execute(sa.select(erasures))}


def is_due(tx: Tx, max_pause: timedelta) -> bool:
    """Whether `claim_due` has anything to do.

    Args:
        max_pause: how far ahead a pass is planned at most.
    """
    conditions = (
        backoff.is_due(tx, erasures.c.due_at, max_pause),
        backoff.is_free(tx, erasures.c.lease_until, LEASE_TIME),
    )
    return tx.connection.execute(sa.select(erasures.c.pack_id).where(*conditions).limit(1)).first() is not None


def claim_due(tx: Tx, max_pause: timedelta) -> ErasureClaim | None:
    """Take the lease of one erasure of any tenant that is due."""
    # After the clock moved back. Not due at once: the second pass must not come too soon after the first.
    latest = tx.now + max_pause
    tx.connection.execute(sa.update(erasures).where(erasures.c.due_at > latest).values(due_at=latest))
    statement = sa.select(erasures).where(*_due(tx)).order_by(erasures.c.due_at).limit(1)
    row = tx.connection.execute(statement.with_for_update(skip_locked=True)).first()
    if row is None:
        return None
    token = secrets.token_hex(16)
    tx.connection.execute(
        sa.update(erasures)
        .where(erasures.c.tenant_id == row.tenant_id, erasures.c.pack_id == row.pack_id)
        .values(lease_token=token, lease_until=tx.now + LEASE_TIME)
    )
    return ErasureClaim(
        row.tenant_id, row.pack_id, row.job_id, tuple(row.originals), row.passes, row.outages, row.faults, token
    )


def _due(tx: Tx) -> tuple[sa.ColumnElement[bool], ...]:
    return erasures.c.due_at <= tx.now, backoff.is_free(tx, erasures.c.lease_until, LEASE_TIME)


def end_pass(tx: Tx, held: ErasureClaim, counts: Counts, *, again_after: timedelta | None) -> bool:
    """Note that all of a pack was erased, once more after that time or for good; False: the lease has passed on."""
    if again_after is None:
        done = tx.connection.execute(sa.delete(erasures).where(*_held(tx, held))).rowcount
    else:
        done = tx.connection.execute(
            sa.update(erasures)
            .where(*_held(tx, held))
            .values(
                passes=held.passes + 1,
                outages=0,
                faults=0,
                reason=None,
                due_at=tx.now + again_after,
                lease_token=None,
                lease_until=None,
            )
        ).rowcount
    if done:
        job_items.count_originals(tx, held.job_id, counts)
    return bool(done)


def postpone(tx: Tx, held: ErasureClaim, reason: str) -> None:
    """Give an erasure back undone after an outage, to be tried again later."""
    _wait(tx, held, held.outages + 1, reason, outages=held.outages + 1)


def retry_after_fault(tx: Tx, held: ErasureClaim, reason: str) -> bool:
    """Give an erasure back after an unforeseen exception, to be tried again later; False: it was tried often enough."""
    if held.faults + 1 >= MAX_FAULTS:
        return False
    _wait(tx, held, held.faults + 1, reason, faults=held.faults + 1)
    return True


def fail(tx: Tx, held: ErasureClaim, failure: Failure) -> None:
    """End an erasure undone, and its job with it; what is stored of the pack stays until it is erased again."""
    if tx.connection.execute(sa.delete(erasures).where(*_held(tx, held))).rowcount:
        job_items.count_originals(tx, held.job_id, Counts(total=1, failed=1), [failure])


def _wait(tx: Tx, held: ErasureClaim, failures: int, reason: str, **counted: int) -> None:
    values = {
        "lease_token": None,
        "lease_until": None,
        "due_at": tx.now + backoff.pause_after(failures, MAX_PAUSE),
        "reason": backoff.shorten(reason),
        **counted,
    }
    tx.connection.execute(sa.update(erasures).where(*_held(tx, held)).values(**values))


def free_leases(tx: Tx) -> None:
    """Free every lease; only for the one process that may hold any, when it starts."""
    tx.connection.execute(sa.update(erasures).values(lease_token=None, lease_until=None))


def _held(tx: Tx, held: ErasureClaim) -> tuple[sa.ColumnElement[bool], ...]:
    return (
        erasures.c.tenant_id == tx.tenant,
        erasures.c.pack_id == held.pack_id,
        erasures.c.lease_token == held.token,
    )


def delete_variants(tx: Tx, pack_id: str) -> None:
    """Drop the ledger's rows of a pack whose blobs are gone."""
    tx.connection.execute(sa.delete(variants).where(variants.c.tenant_id == tx.tenant, variants.c.pack_id == pack_id))


def delete_pack_originals(tx: Tx, pack_id: str) -> None:
    """Forget which originals a pack showed."""
    conditions = (pack_originals.c.tenant_id == tx.tenant, pack_originals.c.pack_id == pack_id)
    tx.connection.execute(sa.delete(pack_originals).where(*conditions))


def find_uploads(tx: Tx, originals: Collection[str]) -> list[str]:
    """Return the uploads that brought those bytes and have not been swept yet."""
    conditions = (uploads.c.tenant_id == tx.tenant, uploads.c.sha256.in_(originals))
    return list(tx.connection.scalars(sa.select(uploads.c.id).where(*conditions)))
