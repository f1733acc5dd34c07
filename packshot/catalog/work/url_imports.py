"""Fetches: which originals are still to come from which addresses, and who is at it.

One row a pack location; whatever is set there later takes its place. A row is
claimed for a while, so that a process that dies leaves it to the next one.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import timedelta

import sqlalchemy as sa

from packshot.catalog.database import backoff
from packshot.catalog.database.leased_queue import LeasedQueue, new_token
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

QUEUE = LeasedQueue(url_imports, LEASE_TIME, MAX_PAUSE)


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
    def key(self) -> tuple[str, str]:
        return self.pack_id, self.location

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
    return QUEUE.has(tx, *_due(tx, busy))


def claim_due(tx: Tx, *, busy: Collection[str] = ()) -> tuple[str, UrlImportClaim] | None:
    """Take the lease of one fetch of any tenant that is due; return its tenant and it.

    Args:
        busy: tenants that are to get none.
    """
    order = (url_imports.c.priority, url_imports.c.due_at)
    rows = QUEUE.lock(tx, *_due(tx, busy), order_by=order, limit=1)
    if not rows:
        return None
    (row,) = rows
    token = new_token()
    # Counted before it is tried, so that a picture which ends this process counts too.
    QUEUE.lease(tx, row, token, attempts=row.attempts + 1)
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
    return QUEUE.is_due(tx), QUEUE.is_free(tx), url_imports.c.tenant_id.not_in(list(busy))


def finish(tx: Tx, held: UrlImportClaim, failure: Failure | None = None) -> bool:
    """Be done with a fetch, for good or ill, and count it in its job; False: it is another's, or nobody's, by now."""
    ended = sa.delete(url_imports).where(*QUEUE.held(tx, [held]))
    if not tx.connection.execute(ended).rowcount:
        return False
    counts = Counts(done=1) if failure is None else Counts(failed=1)
    job_items.count_originals(tx, held.job_id, counts, () if failure is None else (failure,))
    return True


def retry(tx: Tx, held: UrlImportClaim, reason: str) -> bool:
    """Put a fetch off that failed but may do better; False: it has been tried often enough."""
    if held.attempt >= MAX_ATTEMPTS:
        return False
    due_at = tx.now + PAUSES[held.attempt - 1]
    QUEUE.release(tx, [held], due_at=due_at, reason=backoff.shorten(reason), outages=0)
    return True


def retry_after_fault(tx: Tx, held: UrlImportClaim, reason: str) -> bool:
    """Put a fetch off that an unforeseen exception ended; False: it was tried often enough."""
    return QUEUE.retry_after_fault(tx, held, reason, attempts=held.attempt - 1)


def postpone(tx: Tx, held: UrlImportClaim, reason: str) -> None:
    """Give a fetch back undone after an outage of ours, which counts against no address."""
    QUEUE.postpone(tx, held, reason, attempts=held.attempt - 1)
