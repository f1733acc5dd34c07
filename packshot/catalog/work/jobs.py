"""Jobs: work that users follow. They count variants; import jobs count originals, purge jobs count what they purge."""

import secrets
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

import sqlalchemy as sa

from packshot.catalog.database import backoff
from packshot.catalog.database.pages import Order, Page, fetch_page
from packshot.catalog.database.transaction import Tx, next_sequence
from packshot.catalog.tables.artwork import pack_locations
from packshot.catalog.tables.work import job_failures, jobs
from packshot.catalog.work.job_rates import current_rate
from packshot.catalog.work.orders import Priority
from packshot.catalog.work.worker_state import read_worker_state
from packshot.errors import ErrorCode, NotFound


class JobKind(StrEnum):
    """The kind of a job."""

    REGENERATE = "regenerate"
    LOCATION_CHANGE = "location_change"
    IMPORT = "import"
    PURGE = "purge"
    ERASE = "erase"
    COLLECT = "collect"
    SCRUB = "scrub"


class JobState(StrEnum):
    """The state of a job."""

    QUEUED = "queued"
    RUNNING = "running"
    PAUSED = "paused"
    AWAITING_ACTIVATION = "awaiting_activation"
    CANCELLED = "cancelled"
    SUCCEEDED = "succeeded"
    PARTIAL = "partial"
    FAILED = "failed"
    SUPERSEDED = "superseded"


# If no variant of a job has ended for this time, the reason is looked up.
QUIET = timedelta(seconds=15)
NO_WORKER = "No worker is running. Start `packshot worker`, or `packshot serve` where PACKSHOT_REDIS_URL is not set."
# Only workers do these jobs; commands may collect and scrub, too.
_BY_WORKERS = frozenset(JobKind) - {JobKind.COLLECT, JobKind.SCRUB}
# Stands for the pack or location of a failure that has none.
OF_NO_PACK = OF_NO_LOCATION = ""
ACTIVE = frozenset({JobState.QUEUED, JobState.RUNNING})
FINAL = frozenset({JobState.CANCELLED, JobState.SUCCEEDED, JobState.PARTIAL, JobState.FAILED, JobState.SUPERSEDED})


@dataclass(frozen=True, slots=True)
class Job:
    """A job and its progress.

    Attributes:
        location: the location to display; None: all locations.
        pack_id: the only pack of the job, which may be deleted; None: several.
        scope: the locations whose variants the job counts; None: all.
        check_store: check that variants are stored, beyond what the ledger says.
        cursor: packs below this sequence number are not enqueued yet; None: all are.
        packs, packs_enqueued: packs to visit, counted when the job began, and packs enqueued so far.
        counted: variants of the packs enqueued so far.
        rate: variants per second over the window that ends now; None: not known.
        stalled_reason: why an open job makes no progress; None: it does, or the reason is not known.
    """

    id: str
    kind: JobKind
    state: JobState
    priority: Priority
    location: str | None
    pack_id: str | None
    scope: tuple[str, ...] | None
    check_store: bool
    cursor: int | None
    packs: int
    packs_enqueued: int
    counted: int
    done: int
    skipped: int
    failed: int
    rate: float | None
    created_by: str | None
    created_at: datetime
    started_at: datetime | None
    heartbeat_at: datetime | None
    activated_at: datetime | None
    finished_at: datetime | None
    stalled_reason: str | None = None

    @property
    def total(self) -> int:
        """The number of variants of the job, extrapolated while packs are still enqueued."""
        if self.cursor is None or not self.packs_enqueued:
            return self.counted
        return max(self.counted, round(self.counted * self.packs / self.packs_enqueued))

    @property
    def ended(self) -> int:
        """The number of variants that were rendered, were stored before, or failed."""
        return self.done + self.skipped + self.failed

    @property
    def variants_per_second(self) -> float | None:
        """The current variants per second. Of an ended job, its average. None while the job is stopped."""
        if self.state in ACTIVE:
            return self.rate
        if self.state not in FINAL or not self.ended or self.started_at is None or self.finished_at is None:
            return None
        seconds = (self.finished_at - self.started_at).total_seconds()
        return self.ended / seconds if seconds > 0 else None

    @property
    def eta_seconds(self) -> int | None:
        """Seconds until the end at the current rate; 0 for an ended job. None without a rate, or at the rate 0."""
        if self.state in FINAL:
            return 0
        left, rate = self.total - self.ended, self.variants_per_second
        if self.state not in ACTIVE or left <= 0 or not rate or self.stalled_reason is not None:
            return None
        return round(left / rate)


@dataclass(frozen=True, slots=True)
class JobFilter:
    """Which jobs to list; None accepts any.

    Attributes:
        since: accept jobs created at this time or later.
    """

    states: Sequence[JobState] | None = None
    kinds: Sequence[JobKind] | None = None
    pack_id: str | None = None
    location: str | None = None
    since: datetime | None = None


@dataclass(frozen=True, slots=True)
class Failure:
    """A pack location that a job could not render or import."""

    pack_id: str
    location: str
    code: ErrorCode
    message: str
    attempts: int


@dataclass(slots=True)
class Counts:
    """Numbers of variants, in total and by result."""

    total: int = 0
    done: int = 0
    skipped: int = 0
    failed: int = 0


def create_job(
    tx: Tx,
    kind: JobKind,
    priority: Priority,
    *,
    location: str | None = None,
    pack_id: str | None = None,
    scope: Sequence[str] | None = None,
    check_store: bool = False,
    whole_tenant: bool = False,
    activated: bool = False,
    total: int = 0,
    by: str | None = None,
) -> Job:
    """Write a job and return it.

    With `whole_tenant`, the dispatcher enqueues the packs in portions. Otherwise the caller enqueues them in the same
    transaction.
    """
    job_id = secrets.token_hex(12)
    # Packs that are edited from now on become its deferred packs. New packs get orders of their own.
    cursor = next_sequence(tx) if whole_tenant else None
    count_packs = sa.select(sa.func.count(sa.distinct(pack_locations.c.pack_id))).where(
        pack_locations.c.tenant_id == tx.tenant, pack_locations.c.original_sha256.is_not(None)
    )
    tx.connection.execute(
        sa.insert(jobs).values(
            tenant_id=tx.tenant,
            id=job_id,
            kind=kind.value,
            state=JobState.QUEUED.value,
            priority=priority.value,
            location=location,
            pack_id=pack_id,
            scope=None if scope is None else list(scope),
            check_store=check_store,
            cursor=cursor,
            packs=(tx.connection.scalar(count_packs) or 0) if whole_tenant else 0,
            packs_enqueued=0,
            total=total,
            done=0,
            skipped=0,
            failed=0,
            created_by=by,
            created_at=tx.now,
            activated_at=tx.now if activated else None,
        )
    )
    return get_job(tx, job_id)


def set_state(tx: Tx, job_id: str, state: JobState) -> None:
    """Put an open job into another open state."""
    tx.connection.execute(this_job(tx, job_id).values(state=state.value))


def mark_activated(tx: Tx, job_id: str) -> None:
    """Record that the change which the job prepared is live."""
    tx.connection.execute(this_job(tx, job_id).values(activated_at=tx.now, faults=0, reason=None))


def count_fault(tx: Tx, job_id: str, reason: str) -> int:
    """Count an unforeseen exception of a job's own step; return the number of consecutive ones."""
    counted = this_job(tx, job_id).values(faults=jobs.c.faults + 1, reason=backoff.shorten(reason))
    return tx.connection.scalar(counted.returning(jobs.c.faults)) or 0


def this_job(tx: Tx, job_id: str) -> sa.Update:
    """Return an UPDATE of one job of the tenant."""
    return sa.update(jobs).where(jobs.c.tenant_id == tx.tenant, jobs.c.id == job_id)


def get_jobs(tx: Tx, job_ids: Sequence[str]) -> dict[str, Job]:
    """Return the tenant's jobs with these ids, by id."""
    found = tx.connection.execute(_jobs(tx).where(jobs.c.tenant_id == tx.tenant, jobs.c.id.in_(job_ids)))
    return {job.id: job for job in _to_jobs(tx, found.all())}


def get_jobs_anywhere(tx: Tx, places: Sequence[tuple[str, str]]) -> dict[tuple[str, str], Job]:
    """Return the jobs with these tenants and ids, by tenant and id."""
    if not places:
        return {}
    found = tx.connection.execute(_jobs(tx).where(sa.tuple_(jobs.c.tenant_id, jobs.c.id).in_(places))).all()
    return {(row.tenant_id, row.id): job for row, job in zip(found, _to_jobs(tx, found), strict=True)}


def get_job(tx: Tx, job_id: str) -> Job:
    """Return one job.

    Raises:
        NotFound: the tenant has no such job.
    """
    job = get_jobs(tx, [job_id]).get(job_id)
    if job is None:
        raise NotFound("There is no such job.", field=("id",), expected="a job of this tenant", got=job_id)
    return job


def list_jobs(tx: Tx, *, first: int, after: str | None, only: JobFilter, total: bool = True) -> Page[Job]:
    """Return a page of jobs, newest first."""
    statement = _jobs(tx).where(jobs.c.tenant_id == tx.tenant)
    if only.states is not None:
        statement = statement.where(jobs.c.state.in_([state.value for state in only.states]))
    if only.kinds is not None:
        statement = statement.where(jobs.c.kind.in_([kind.value for kind in only.kinds]))
    if only.pack_id is not None:
        statement = statement.where(jobs.c.pack_id == only.pack_id)
    if only.location is not None:
        statement = statement.where(jobs.c.location == only.location)
    if only.since is not None:
        statement = statement.where(jobs.c.created_at >= only.since)
    order = Order((jobs.c.created_at, jobs.c.id), descending=True)
    page = fetch_page(tx, statement, order, lambda row: row, first=first, after=after, total=total)
    return replace(page, items=tuple(_to_jobs(tx, page.items)))


def running_changes(tx: Tx, location: str | None) -> list[Job]:
    """Return the open jobs that render a live change of a location, or of the tenant defaults."""
    conditions = (
        jobs.c.tenant_id == tx.tenant,
        jobs.c.kind == JobKind.LOCATION_CHANGE.value,
        jobs.c.finished_at.is_(None),
    )
    found = _jobs(tx).where(
        *conditions, jobs.c.activated_at.is_not(None), jobs.c.location.is_not_distinct_from(location)
    )
    return _to_jobs(tx, tx.connection.execute(found).all())


def list_failures(tx: Tx, job_id: str, *, first: int, after: str | None, total: bool = True) -> Page[Failure]:
    """Return a page of a job's failures."""
    statement = sa.select(job_failures).where(job_failures.c.tenant_id == tx.tenant, job_failures.c.job_id == job_id)
    order = Order((job_failures.c.pack_id, job_failures.c.location))
    return fetch_page(tx, statement, order, _to_failure, first=first, after=after, total=total)


def _to_failure(row: Any) -> Failure:
    return Failure(row.pack_id, row.location, ErrorCode(row.code), row.message, row.attempts)


def _jobs(tx: Tx) -> sa.Select[Any]:
    """Select jobs with the time of the selection."""
    return sa.select(jobs, tx.clock.label("read_at"))


def _to_jobs(tx: Tx, rows: Sequence[Any]) -> list[Job]:
    """Return the jobs of selected rows, with their rates at the time of the selection."""
    found = [_to_job(row) for row in rows]
    quiet = [
        job.id
        for job, row in zip(found, rows, strict=True)
        if job.kind in _BY_WORKERS and job.state in ACTIVE and _is_quiet(job, row.read_at)
    ]
    if quiet and not read_worker_state(tx).has_worker:
        return [replace(job, stalled_reason=NO_WORKER) if job.id in quiet else job for job in found]
    return found


def _is_quiet(job: Job, now: datetime) -> bool:
    return now - (job.heartbeat_at or job.started_at or job.created_at) > QUIET


def _to_job(row: Any) -> Job:
    return Job(
        id=row.id,
        kind=JobKind(row.kind),
        state=JobState(row.state),
        priority=Priority(row.priority),
        location=row.location,
        pack_id=row.pack_id,
        scope=None if row.scope is None else tuple(row.scope),
        check_store=row.check_store,
        cursor=row.cursor,
        packs=row.packs,
        packs_enqueued=row.packs_enqueued,
        counted=row.total,
        done=row.done,
        skipped=row.skipped,
        failed=row.failed,
        rate=current_rate(row, row.read_at),
        created_by=row.created_by,
        created_at=row.created_at,
        started_at=row.started_at,
        heartbeat_at=row.heartbeat_at,
        activated_at=row.activated_at,
        finished_at=row.finished_at,
    )
