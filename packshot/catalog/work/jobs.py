"""Jobs: what somebody asked to have rendered, and how far it is. Counts are variants; of an import, originals."""

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
    """Why something is rendered."""

    REGENERATE = "regenerate"
    LOCATION_CHANGE = "location_change"
    IMPORT = "import"
    PURGE = "purge"
    ERASE = "erase"
    COLLECT = "collect"
    SCRUB = "scrub"


class JobState(StrEnum):
    """How a job stands."""

    QUEUED = "queued"
    RUNNING = "running"
    PAUSED = "paused"
    AWAITING_ACTIVATION = "awaiting_activation"
    CANCELLED = "cancelled"
    SUCCEEDED = "succeeded"
    PARTIAL = "partial"
    FAILED = "failed"
    SUPERSEDED = "superseded"


# A job of which nothing has ended for so long is asked why.
QUIET = timedelta(seconds=15)
NO_WORKER = "No worker is running. Start `packshot worker`, or `packshot serve` where PACKSHOT_REDIS_URL is not set."
# Collecting and scrubbing may be done by a command instead.
_BY_WORKERS = frozenset(JobKind) - {JobKind.COLLECT, JobKind.SCRUB}
# In the place of a pack or a location: the failure is of neither.
OF_NO_PACK = OF_NO_LOCATION = ""
ACTIVE = frozenset({JobState.QUEUED, JobState.RUNNING})
FINAL = frozenset({JobState.CANCELLED, JobState.SUCCEEDED, JobState.PARTIAL, JobState.FAILED, JobState.SUPERSEDED})


@dataclass(frozen=True, slots=True)
class Job:
    """One job as it stands.

    Attributes:
        location: what it is about, for people; None: all of them.
        pack_id: the one pack it is about, which may be gone; None: several.
        scope: the locations whose variants it counts; None: all of them.
        check_store: the store is looked into, not only the ledger.
        cursor: packs below this sequence number are still to be let in; None: none.
        packs, packs_enqueued: how many there were to go through at its beginning, and how many were let in.
        counted: variants of the packs let in so far.
        rate: variants a second over the window that ends now; None: not known yet.
        stalled_reason: why nothing of it ends although it is open; None: it goes on, or why is not known.
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
        """How many variants it is about; while packs are still let in, by the share that is known."""
        if self.cursor is None or not self.packs_enqueued:
            return self.counted
        return max(self.counted, round(self.counted * self.packs / self.packs_enqueued))

    @property
    def ended(self) -> int:
        """How many variants are rendered, were there, or cannot be rendered."""
        return self.done + self.skipped + self.failed

    @property
    def variants_per_second(self) -> float | None:
        """Variants a second at the moment; of a job that has ended, over all of its time; None while it is stopped."""
        if self.state in ACTIVE:
            return self.rate
        if self.state not in FINAL or not self.ended or self.started_at is None or self.finished_at is None:
            return None
        seconds = (self.finished_at - self.started_at).total_seconds()
        return self.ended / seconds if seconds > 0 else None

    @property
    def eta_seconds(self) -> int | None:
        """Seconds until the end at that rate, 0 at the end; None before there is a rate, and while nothing ends."""
        if self.state in FINAL:
            return 0
        left, rate = self.total - self.ended, self.variants_per_second
        if self.state not in ACTIVE or left <= 0 or not rate or self.stalled_reason is not None:
            return None
        return round(left / rate)


@dataclass(frozen=True, slots=True)
class JobFilter:
    """Which jobs a listing has; None: any.

    Attributes:
        since: those created at this moment or later.
    """

    states: Sequence[JobState] | None = None
    kinds: Sequence[JobKind] | None = None
    pack_id: str | None = None
    location: str | None = None
    since: datetime | None = None


@dataclass(frozen=True, slots=True)
class Failure:
    """One pack location that could not be rendered, by its image's own fault."""

    pack_id: str
    location: str
    code: ErrorCode
    message: str
    attempts: int


@dataclass(slots=True)
class Counts:
    """How many variants of one pack location were wanted, and how each ended."""

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

    With `whole_tenant` the dispatcher lets the packs in, in portions; otherwise
    the caller does, in the same transaction.
    """
    job_id = secrets.token_hex(12)
    # Packs edited from now on are kept for it as strays, those made from now on bring themselves up to date.
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
    """Note that the change which a job prepared is live."""
    tx.connection.execute(this_job(tx, job_id).values(activated_at=tx.now, faults=0, reason=None))


def count_fault(tx: Tx, job_id: str, reason: str) -> int:
    """Count an unforeseen exception in a step of the job itself; return how many there were in a row."""
    counted = this_job(tx, job_id).values(faults=jobs.c.faults + 1, reason=backoff.shorten(reason))
    return tx.connection.scalar(counted.returning(jobs.c.faults)) or 0


def this_job(tx: Tx, job_id: str) -> sa.Update:
    """Return an UPDATE of one job of the tenant."""
    return sa.update(jobs).where(jobs.c.tenant_id == tx.tenant, jobs.c.id == job_id)


def get_jobs(tx: Tx, job_ids: Sequence[str]) -> dict[str, Job]:
    """Return those jobs of the tenant that there are, by id."""
    found = tx.connection.execute(_jobs(tx).where(jobs.c.tenant_id == tx.tenant, jobs.c.id.in_(job_ids)))
    return {job.id: job for job in _to_jobs(tx, found.all())}


def get_jobs_anywhere(tx: Tx, places: Sequence[tuple[str, str]]) -> dict[tuple[str, str], Job]:
    """Return those jobs that there are, by tenant and id."""
    if not places:
        return {}
    found = tx.connection.execute(_jobs(tx).where(sa.tuple_(jobs.c.tenant_id, jobs.c.id).in_(places))).all()
    return {(row.tenant_id, row.id): job for row, job in zip(found, _to_jobs(tx, found), strict=True)}


def get_job(tx: Tx, job_id: str) -> Job:
    """Return one job.

    Raises:
        NotFound: there is no such job in this tenant.
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
    """Return the open jobs that render a change of a location, or of the tenant, which is live already."""
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
    """Select jobs with the moment of the selection."""
    return sa.select(jobs, tx.clock.label("read_at"))


def _to_jobs(tx: Tx, rows: Sequence[Any]) -> list[Job]:
    """Return jobs as they are at the moment of their selection."""
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
