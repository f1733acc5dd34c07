"""URL imports: originals that must be fetched.

A pack location has at most one row. A later original of the location cancels it.
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

# Longer than fetching and probing an original take.
LEASE_TIME = timedelta(minutes=3)
# The pauses after failed attempts. No attempt follows the last one.
PAUSES = (timedelta(seconds=10), timedelta(seconds=60))
MAX_ATTEMPTS = len(PAUSES) + 1
MAX_PAUSE = timedelta(seconds=60)

QUEUE = LeasedQueue(url_imports, LEASE_TIME, MAX_PAUSE)


@dataclass(frozen=True, slots=True)
class UrlImportClaim:
    """An original to fetch, and the right to do so until the lease runs out.

    Attributes:
        attempt: 1 for the first one.
        outages: consecutive outages of this installation.
        faults: consecutive unforeseen exceptions.
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
        """Whether all attempts were used up before this one, because the process died during the last."""
        return self.attempt > MAX_ATTEMPTS


def order_imports(tx: Tx, job: Job, urls: Mapping[tuple[str, str], str]) -> None:
    """Order URL imports, by pack and location. They replace earlier ones of the same pack locations."""
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
    """Cancel the URL import of a pack location, or all of a pack, because the location gets another original.

    Call it within an edit of the pack, after `packs.touch_pack`.
    """
    conditions = [url_imports.c.tenant_id == tx.tenant, url_imports.c.pack_id == pack_id]
    if location is not None:
        conditions.append(url_imports.c.location == location)
    dropped = tx.connection.execute(sa.delete(url_imports).where(*conditions).returning(url_imports.c.job_id)).scalars()
    for job_id in sorted(dropped.all()):
        job_items.count_originals(tx, job_id, Counts(skipped=1))


def cancel_imports_of(tx: Tx, job_id: str) -> None:
    """Cancel the URL imports of a job that is about to end. Its counts stay.

    A fetcher that works on one of them finds its claim lost, and undoes its changes.
    """
    tx.connection.execute(
        sa.delete(url_imports).where(url_imports.c.tenant_id == tx.tenant, url_imports.c.job_id == job_id)
    )


def is_due(tx: Tx, *, busy: Collection[str] = ()) -> bool:
    """Return whether `claim_due` would find a URL import."""
    return QUEUE.has(tx, *_due(tx, busy))


def claim_due(tx: Tx, *, busy: Collection[str] = ()) -> tuple[str, UrlImportClaim] | None:
    """Claim one due URL import of any tenant; return its tenant and the claim.

    Args:
        busy: tenants to skip.
    """
    order = (url_imports.c.priority, url_imports.c.due_at)
    rows = QUEUE.lock(tx, *_due(tx, busy), order_by=order, limit=1)
    if not rows:
        return None
    (row,) = rows
    token = new_token()
    # Counted before the attempt, so that an image which kills this process counts too.
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
    """End a URL import and count its result in the job. Returns False if the claim was lost."""
    ended = sa.delete(url_imports).where(*QUEUE.held(tx, [held]))
    if not tx.connection.execute(ended).rowcount:
        return False
    counts = Counts(done=1) if failure is None else Counts(failed=1)
    job_items.count_originals(tx, held.job_id, counts, () if failure is None else (failure,))
    return True


def retry(tx: Tx, held: UrlImportClaim, reason: str) -> bool:
    """Release a URL import that failed and may succeed later. Returns False after the last attempt."""
    if held.attempt >= MAX_ATTEMPTS:
        return False
    due_at = tx.now + PAUSES[held.attempt - 1]
    QUEUE.release(tx, [held], due_at=due_at, reason=backoff.shorten(reason), outages=0)
    return True


def retry_after_fault(tx: Tx, held: UrlImportClaim, reason: str) -> bool:
    """Release a URL import after an unforeseen exception. Returns False after too many in a row."""
    return QUEUE.retry_after_fault(tx, held, reason, attempts=held.attempt - 1)


def postpone(tx: Tx, held: UrlImportClaim, reason: str) -> None:
    """Release a URL import after an outage of this installation, which does not count as an attempt."""
    QUEUE.postpone(tx, held, reason, attempts=held.attempt - 1)
