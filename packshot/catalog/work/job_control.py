"""Pause, resume, cancel and retry jobs.

Locks are taken in one order. The tenant's sequence number comes first, so that no other transaction enqueues the same
packs for another job meanwhile. Then come orders, as a worker locks them, then URL imports, as a fetcher locks them,
and last the job.

Only jobs that render can be paused. Jobs that fetch can be cancelled too. Jobs that purge, erase or check the stores
run to their end, because a half-done one is of no use.
"""

from collections.abc import Collection

import sqlalchemy as sa

from packshot.catalog.configuration import pending_changes
from packshot.catalog.configuration.tenants import schedule_marking
from packshot.catalog.database.transaction import Tx, hold_configuration, next_sequence
from packshot.catalog.tables.artwork import packs
from packshot.catalog.tables.work import job_failures, job_items, jobs, orders
from packshot.catalog.variants import ledger
from packshot.catalog.work import job_ends, url_imports
from packshot.catalog.work import job_items as items
from packshot.catalog.work.jobs import ACTIVE, FINAL, OF_NO_PACK, Failure, Job, JobKind, JobState, get_job
from packshot.errors import BadState

_OPEN = (JobState.QUEUED, JobState.RUNNING, JobState.PAUSED, JobState.AWAITING_ACTIVATION)
_RENDERS = frozenset({JobKind.REGENERATE, JobKind.LOCATION_CHANGE})


def pause(tx: Tx, job_id: str) -> Job:
    """Pause a job. Work that edits need as well continues.

    Raises:
        NotFound: the tenant has no such job.
        BadState: the job does not render, or is not active.
    """
    next_sequence(tx)
    _check_kind(tx, job_id, _RENDERS, "paused", "a job that renders")
    _check(tx, job_id, *ACTIVE)
    others = _other_jobs_want(job_id, jobs.c.state != JobState.PAUSED.value)
    _orders_of(tx, job_id, ~others, held=True, lease_token=None, lease_until=None)
    return _set(tx, job_id, state=JobState.PAUSED.value, rate=None, rate_at=None, rate_done=0)


def resume(tx: Tx, job_id: str) -> Job:
    """Resume a paused job.

    Raises:
        NotFound: the tenant has no such job.
        BadState: the job does not render, or is not paused.
    """
    next_sequence(tx)
    _check_kind(tx, job_id, _RENDERS, "resumed", "a job that renders")
    job = _check(tx, job_id, JobState.PAUSED)
    _orders_of(tx, job_id, held=False, due_at=tx.now, paused=False)
    state = JobState.QUEUED if job.started_at is None else JobState.RUNNING
    resumed = _set(tx, job_id, state=state.value, rate_at=tx.now, rate_done=0)
    job_ends.close_finished(tx, [job_id])
    return resumed


def cancel(tx: Tx, job_id: str) -> Job:
    """Cancel a job. What it rendered or fetched stays; a change that it prepares is dropped.

    Raises:
        NotFound: the tenant has no such job.
        BadState: the job neither renders nor fetches, or has ended.
    """
    hold_configuration(tx)
    next_sequence(tx)
    _check_kind(
        tx, job_id, _RENDERS | {JobKind.IMPORT}, "cancelled", "a job that renders, or one that fetches originals"
    )
    _check(tx, job_id, *_OPEN)
    return end_open_job(tx, job_id, JobState.CANCELLED)


def fail(tx: Tx, job_id: str, failure: Failure) -> None:
    """Fail an open job that cannot continue by itself.

    A job that has enqueued all packs of a pending change waits for a user's decision. Any other job ends.
    """
    hold_configuration(tx)
    next_sequence(tx)
    job = get_job(tx, job_id)
    if job.state in FINAL:
        return
    items.write_job_failure(tx, job_id, failure)
    pending_change = pending_changes.read_pending_change(tx)
    if job.cursor is None and pending_change is not None and pending_change.job_id == job_id:
        pending_changes.update_pending_change(tx, accepts_failures=False)
        _set(tx, job_id, state=JobState.AWAITING_ACTIVATION.value)
    else:
        end_open_job(tx, job_id, JobState.FAILED)


def end_open_job(tx: Tx, job_id: str, state: JobState) -> Job:
    """End an open job in that state and drop its pending change. The caller holds configuration and sequence."""
    pending_change = pending_changes.read_pending_change(tx)
    if pending_change is not None and pending_change.job_id == job_id:
        pending_changes.drop_pending_change(tx)
        schedule_marking(tx)
    # Orders that only paused jobs still need are held with them.
    waits = ~_other_jobs_want(job_id, jobs.c.state != JobState.PAUSED.value)
    _orders_of(tx, job_id, _other_jobs_want(job_id), waits, held=True, lease_token=None, lease_until=None)
    withdrawn = {"rendered_seq": orders.c.wanted_seq, "held": False, "lease_token": None, "lease_until": None}
    _orders_of(tx, job_id, ~_other_jobs_want(job_id), **withdrawn)
    tx.connection.execute(
        sa.delete(job_items)
        .where(job_items.c.tenant_id == tx.tenant, job_items.c.job_id == job_id)
        .where(job_items.c.finished_at.is_(None))
    )
    url_imports.cancel_imports_of(tx, job_id)
    job_ends.end_jobs(tx, jobs.c.id == job_id, state=state)
    return get_job(tx, job_id)


def retry_failures(tx: Tx, job_id: str) -> Job:
    """Render again what a job could not render. The job is open again.

    Raises:
        NotFound: the tenant has no such job.
        BadState: the job has no failures, was cancelled or superseded, is paused, or does not render.
    """
    next_sequence(tx)
    retried = (JobState.RUNNING, JobState.AWAITING_ACTIVATION, JobState.PARTIAL, JobState.FAILED)
    job = _check(tx, job_id, *retried)
    conditions = (job_failures.c.tenant_id == tx.tenant, job_failures.c.job_id == job_id)
    waiting = sa.select(job_items.c.pack_id).where(job_items.c.tenant_id == tx.tenant, job_items.c.job_id == job_id)
    found = sa.select(job_failures.c.pack_id).where(*conditions, job_failures.c.pack_id.not_in(waiting)).distinct()
    failed = tx.connection.scalars(found).all()
    if OF_NO_PACK in failed and job.state in FINAL:
        raise BadState(
            "This job ended before it came to all packs; start another job.",
            field=("id",),
            expected="a job that came to all of its packs",
            got=job.state.value.upper(),
        )
    if not failed or job.kind not in _RENDERS:
        raise BadState(
            "This job has nothing to retry.",
            field=("id",),
            expected="a job that renders, with failures",
            got=f"{job.kind.value}, {job.failed} failed",
        )
    for start in range(0, len(failed), items.ROWS_PER_STATEMENT):
        portion = failed[start : start + items.ROWS_PER_STATEMENT]
        # Packs that were deleted meanwhile are not rendered, and no longer count as failed.
        existing_ids = sa.select(packs.c.id).where(packs.c.tenant_id == tx.tenant, packs.c.id.in_(portion))
        pack_ids = tx.connection.scalars(existing_ids.order_by(packs.c.id)).all()
        items.enqueue_failed_packs(tx, job, pack_ids)
        ledger.retry_failures(tx, pack_ids)
        tx.connection.execute(sa.delete(job_failures).where(*conditions, job_failures.c.pack_id.in_(portion)))
    values = {"total": jobs.c.total - jobs.c.failed, "failed": 0, "finished_at": None}
    _set(tx, job_id, state=JobState.RUNNING.value, rate_at=tx.now, rate_done=0, **values)
    job_ends.close_finished(tx, [job_id])
    return get_job(tx, job_id)


def accept_failures(tx: Tx, job_id: str, *, failures: bool) -> Job:
    """Let a pending change be activated although some of its variants could not be rendered.

    Raises:
        NotFound: the tenant has no such job.
        BadState: the job does not await activation, or the caller does not accept its failures.
    """
    job = _check(tx, job_id, JobState.AWAITING_ACTIVATION)
    if not failures:
        raise BadState(
            "Some variants could not be rendered; they will be missing when the change goes live.",
            field=("accept_failures",),
            expected="true, or the failures retried",
            got=f"{job.failed} failed",
        )
    pending_changes.update_pending_change(tx, accepts_failures=True)
    return _set(tx, job_id, state=JobState.RUNNING.value)


def _check_kind(tx: Tx, job_id: str, kinds: Collection[JobKind], what: str, expected: str) -> None:
    kind = get_job(tx, job_id).kind
    if kind not in kinds:
        got = kind.value.upper()
        raise BadState(f"A job of this kind cannot be {what}.", field=("id",), expected=expected, got=got)


def _check(tx: Tx, job_id: str, *states: JobState) -> Job:
    job = get_job(tx, job_id)
    if job.state not in states:
        ended = " and has ended" if job.state in FINAL else ""
        raise BadState(
            f"The job is {job.state.value.replace('_', ' ')}{ended}.",
            field=("id",),
            expected="a job that is " + " or ".join(state.value.replace("_", " ") for state in states),
            got=job.state.value.upper(),
        )
    return job


def _orders_of(tx: Tx, job_id: str, *which: sa.ColumnElement[bool], **values: object) -> None:
    """Set columns of the orders that only jobs need and that this job waits for."""
    waited_for = sa.select(job_items.c.pack_id).where(
        job_items.c.tenant_id == tx.tenant, job_items.c.job_id == job_id, job_items.c.finished_at.is_(None)
    )
    tx.connection.execute(
        sa.update(orders)
        .where(orders.c.tenant_id == tx.tenant, orders.c.job_only, orders.c.wanted_seq > orders.c.rendered_seq)
        .where(orders.c.pack_id.in_(waited_for), *which)
        .values(**values)
    )


def _other_jobs_want(job_id: str, *which: sa.ColumnElement[bool]) -> sa.ColumnElement[bool]:
    return (
        sa.select(job_items.c.job_id)
        .join(jobs, sa.and_(jobs.c.tenant_id == job_items.c.tenant_id, jobs.c.id == job_items.c.job_id))
        .where(job_items.c.tenant_id == orders.c.tenant_id, job_items.c.pack_id == orders.c.pack_id)
        .where(job_items.c.finished_at.is_(None), job_items.c.job_id != job_id, *which)
        .exists()
    )


def _set(tx: Tx, job_id: str, **values: object) -> Job:
    tx.connection.execute(sa.update(jobs).where(jobs.c.tenant_id == tx.tenant, jobs.c.id == job_id).values(**values))
    return get_job(tx, job_id)
