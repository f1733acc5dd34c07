"""Fetches: which originals are still to come from which addresses, and who is at it.

One row a pack location; whatever is set there later takes its place. A row is
claimed for a while, so that a process that dies leaves it to the next one.
"""

import secrets
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import sqlalchemy as sa

from packshot.catalog.database import backoff
from packshot.catalog.database.backoff import MAX_FAULTS
from packshot.catalog.database.transaction import Tx
from packshot.catalog.tables.work import url_imports
from packshot.catalog.work import job_items
from packshot.catalog.work.jobs import Counts, Failure, Job
from packshot.catalog.work.orders import Priority

# Longer than a fetch and a look at what came take together.
LEASE_TIME = timedelta(minutes=3)
# How long after each attempt that failed the next one comes; after the last there is none.
PAUSES = (timedelta(seconds=10), timedelta(seconds=60))
MAX_ATTEMPTS = len(PAUSES) + 1
MAX_PAUSE = timedelta(seconds=60)


@dataclass(frozen=True, slots=True)
class UrlImportClaim:
    """One original to be fetched, and the right to do it until the lease runs out.

    Attributes:
        attempt: 1 for the first.
        outages: how often in a row something of ours was away.
        faults: how many unforeseen exceptions in a row ended it.
    """

    job_id: str
    pack_id: str
    location: str
    url: str
    priority: Priority
    attempt: int
    outages: int
    faults: int
    token: str

    @property
    def is_exhausted(self) -> bool:
        """Whether every attempt that it may have was begun before this one, and none was ended by its process."""
        return self.attempt > MAX_ATTEMPTS


def order_imports(tx: Tx, job: Job, urls: Mapping[tuple[str, str], str]) -> None:
    """Order that originals be fetched, by pack and location; what was ordered there before is not any more."""
    for pack_id, location in urls:
        cancel_import(tx, pack_id, location)
    rows = [
        {
            "tenant_id": tx.tenant,
            "pack_id": pack_id,
            "location": location,
            "job_id": job.id,
            "url": url,
            "priority": job.priority.value,
            "attempts": 0,
            "outages": 0,
            "faults": 0,
            "due_at": tx.now,
        }
        for (pack_id, location), url in urls.items()
    ]
    tx.connection.execute(sa.insert(url_imports), rows)
    job_items.count_originals(tx, job.id, Counts(total=len(rows)))


def cancel_import(tx: Tx, pack_id: str, location: str | None = None) -> None:
    """Let nobody fetch for a pack location any more, or for none of a pack: something else is shown there.

    Call it within an edit of the pack, after `packs.touch_pack`.
    """
    conditions = [url_imports.c.tenant_id == tx.tenant, url_imports.c.pack_id == pack_id]
    if location is not None:
        conditions.append(url_imports.c.location == location)
    dropped = tx.connection.execute(sa.delete(url_imports).where(*conditions).returning(url_imports.c.job_id)).scalars()
    for job_id in sorted(dropped.all()):
        job_items.count_originals(tx, job_id, Counts(skipped=1))


def cancel_imports_of(tx: Tx, job_id: str) -> None:
    """Let nobody fetch for a job any more that is about to be ended; its counts stay as they are.

    Whoever is at one of them finds that it is nobody's by now, and undoes what it set.
    """
    tx.connection.execute(
        sa.delete(url_imports).where(url_imports.c.tenant_id == tx.tenant, url_imports.c.job_id == job_id)
    )


def is_due(tx: Tx, *, busy: Collection[str] = ()) -> bool:
    """Whether `claim_due` would find any."""
    return tx.connection.execute(sa.select(url_imports.c.pack_id).where(*_due(tx, busy)).limit(1)).first() is not None


def claim_due(tx: Tx, *, busy: Collection[str] = ()) -> tuple[str, UrlImportClaim] | None:
    """Take the lease of one fetch of any tenant that is due; return its tenant and it.

    Args:
        busy: tenants that are to get none.
    """
    row = tx.connection.execute(
        sa.select(url_imports)
        .where(*_due(tx, busy))
        .order_by(url_imports.c.priority, url_imports.c.due_at)
        .limit(1)
        .with_for_update(skip_locked=True)
    ).first()
    if row is None:
        return None
    token = secrets.token_hex(16)
    tx.connection.execute(
        sa.update(url_imports)
        .where(url_imports.c.tenant_id == row.tenant_id, url_imports.c.pack_id == row.pack_id)
        .where(url_imports.c.location == row.location)
        # Counted before it is tried, so that a picture which ends this process counts too.
        .values(lease_token=token, lease_until=tx.now + LEASE_TIME, attempts=row.attempts + 1)
    )
    return row.tenant_id, UrlImportClaim(
        row.job_id,
        row.pack_id,
        row.location,
        row.url,
        Priority(row.priority),
        row.attempts + 1,
        row.outages,
        row.faults,
        token,
    )


def _due(tx: Tx, busy: Collection[str]) -> tuple[sa.ColumnElement[bool], ...]:
    is_free = backoff.is_free(tx, url_imports.c.lease_until, LEASE_TIME)
    return backoff.is_due(tx, url_imports.c.due_at, MAX_PAUSE), is_free, url_imports.c.tenant_id.not_in(list(busy))


def finish(tx: Tx, held: UrlImportClaim, failure: Failure | None = None) -> bool:
    """Be done with a fetch, for good or ill, and count it in its job; False: it is another's, or nobody's, by now."""
    ended = sa.delete(url_imports).where(*_held(tx, held))
    if not tx.connection.execute(ended).rowcount:
        return False
    counts = Counts(done=1) if failure is None else Counts(failed=1)
    job_items.count_originals(tx, held.job_id, counts, () if failure is None else (failure,))
    return True


def retry(tx: Tx, held: UrlImportClaim, reason: str) -> bool:
    """Put a fetch off that failed but may do better; False: it has been tried often enough."""
    if held.attempt >= MAX_ATTEMPTS:
        return False
    _release(tx, held, due_at=tx.now + PAUSES[held.attempt - 1], reason=backoff.shorten(reason), outages=0)
    return True


def retry_after_fault(tx: Tx, held: UrlImportClaim, reason: str) -> bool:
    """Put a fetch off that an unforeseen exception ended; False: it was tried often enough."""
    if held.faults + 1 >= MAX_FAULTS:
        return False
    values = {"attempts": held.attempt - 1, "faults": held.faults + 1, "reason": backoff.shorten(reason)}
    _release(tx, held, due_at=tx.now + backoff.pause_after(held.faults + 1, MAX_PAUSE), **values)
    return True


def postpone(tx: Tx, held: UrlImportClaim, reason: str) -> None:
    """Give a fetch back undone after an outage of ours, which counts against no address."""
    values = {"attempts": held.attempt - 1, "outages": held.outages + 1, "reason": backoff.shorten(reason)}
    _release(tx, held, due_at=tx.now + backoff.pause_after(held.outages + 1, MAX_PAUSE), **values)


def free_leases(tx: Tx) -> None:
    """Free every lease; only for the one process that may hold any, when it starts."""
    tx.connection.execute(
        sa.update(url_imports).where(url_imports.c.lease_token.is_not(None)).values(lease_token=None, lease_until=None)
    )


def _release(tx: Tx, held: UrlImportClaim, **values: Any) -> None:
    tx.connection.execute(
        sa.update(url_imports).where(*_held(tx, held)).values(lease_token=None, lease_until=None, **values)
    )


def _held(tx: Tx, held: UrlImportClaim) -> tuple[sa.ColumnElement[bool], ...]:
    return (
        url_imports.c.tenant_id == tx.tenant,
        url_imports.c.pack_id == held.pack_id,
        url_imports.c.location == held.location,
        url_imports.c.lease_token == held.token,
    )
