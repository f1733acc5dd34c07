"""Jobs: what somebody asked to have rendered, and how far it is. Counts are variants; of an import, originals.

A job is a set of items, one a pack, each with the number of the order that it
waits for. Whatever finishes that pack at or beyond that number finishes the
item, so an edit's render also moves the bulk job that wanted the same pack.
"""

import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

import sqlalchemy as sa

from packshot.catalog import webhooks
from packshot.catalog.orders import Priority, place_orders
from packshot.catalog.pages import Order, Page, fetch_page
from packshot.catalog.tables import erasures, fetches, job_failures, job_items, jobs, orders, pack_locations, packs
from packshot.catalog.transaction import Tx, next_sequence
from packshot.catalog.webhooks import Event
from packshot.errors import ErrorCode, NotFound


class JobKind(StrEnum):
    """Why something is rendered."""

    REGENERATE = "regenerate"
    LOCATION_CHANGE = "location_change"
    IMPORT = "import"
    ERASE = "erase"
    COLLECT = "collect"
    SCRUB = "scrub"


class JobState(StrEnum):
    """How a job stands; the last three are final."""

    QUEUED = "queued"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    PARTIAL = "partial"
    FAILED = "failed"


FINAL = frozenset({JobState.SUCCEEDED, JobState.PARTIAL, JobState.FAILED})


@dataclass(frozen=True, slots=True)
class Job:
    """One job as it stands."""

    id: str
    kind: JobKind
    state: JobState
    priority: Priority
    location: str | None
    verify: bool
    cursor: int | None
    total: int
    done: int
    skipped: int
    failed: int
    created_by: str | None
    created_at: datetime
    started_at: datetime | None
    heartbeat_at: datetime | None
    activated_at: datetime | None
    finished_at: datetime | None

    @property
    def variants_per_second(self) -> float | None:
        """Rendered variants a second from the first claim to the last finished pack."""
        if self.started_at is None or self.heartbeat_at is None or not self.done:
            return None
        seconds = (self.heartbeat_at - self.started_at).total_seconds()
        return self.done / seconds if seconds > 0 else None

    @property
    def eta_seconds(self) -> int | None:
        """Seconds until the end at the rate so far; None before there is a rate, 0 at the end."""
        if self.state in FINAL:
            return 0
        rate = self.variants_per_second
        return None if rate is None else round((self.total - self.done - self.skipped - self.failed) / rate)


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
    verify: bool = False,
    whole_tenant: bool = False,
    by: str | None = None,
) -> Job:
    """Write a job and return it.

    With `whole_tenant` the dispatcher admits the packs, in portions; otherwise
    the caller does, in the same transaction.
    """
    job_id = secrets.token_hex(12)
    tx.connection.execute(
        sa.insert(jobs).values(
            tenant_id=tx.tenant,
            id=job_id,
            kind=kind.value,
            state=JobState.QUEUED.value,
            priority=priority.value,
            location=location,
            verify=verify,
            # Packs edited from now on bring themselves up to date.
            cursor=next_sequence(tx) if whole_tenant else None,
            total=0,
            done=0,
            skipped=0,
            failed=0,
            created_by=by,
            created_at=tx.now,
        )
    )
    return get_job(tx, job_id)


def admit(tx: Tx, job: Job, totals: Mapping[str, int], *, cursor: int | None = None) -> None:
    """Order packs on behalf of a job; `totals` says how many variants it wants of each.

    Orders are locked before the job is, as a worker that finishes a pack does it.
    """
    if totals:
        _order(tx, job, totals)
    tx.connection.execute(_this(tx, job.id).values(total=jobs.c.total + sum(totals.values()), cursor=cursor))
    close_finished(tx, [job.id])


def _order(tx: Tx, job: Job, totals: Mapping[str, int]) -> None:
    seq = next_sequence(tx)
    tx.connection.execute(
        sa.insert(job_items),
        [
            {"tenant_id": tx.tenant, "job_id": job.id, "pack_id": pack_id, "seq": seq, "total": total}
            for pack_id, total in totals.items()
        ],
    )
    place_orders(tx, sorted(totals), seq, job.priority, verify=job.verify)


def next_portion(tx: Tx, job: Job, size: int) -> tuple[list[str], int | None]:
    """Return the job's next packs to admit, last modified first, and its cursor after them."""
    has_original = (
        sa.select(pack_locations.c.pack_id)
        .where(pack_locations.c.tenant_id == packs.c.tenant_id, pack_locations.c.pack_id == packs.c.id)
        .where(pack_locations.c.original_sha256.is_not(None))
        .exists()
    )
    found = tx.connection.execute(
        sa.select(packs.c.id, packs.c.sequence_number)
        .where(packs.c.tenant_id == tx.tenant, packs.c.sequence_number < job.cursor, has_original)
        .order_by(packs.c.sequence_number.desc())
        .limit(size)
    ).all()
    return [row.id for row in found], found[-1].sequence_number if len(found) == size else None


def unadmitted_jobs(tx: Tx) -> list[tuple[str, str]]:
    """Return (tenant, job id) of every job that still has packs to admit, oldest first."""
    statement = (
        sa.select(jobs.c.tenant_id, jobs.c.id)
        .where(jobs.c.finished_at.is_(None), jobs.c.cursor.is_not(None))
        .order_by(jobs.c.created_at)
    )
    return [(row.tenant_id, row.id) for row in tx.connection.execute(statement)]


def mark_started(tx: Tx, pack_id: str) -> None:
    """Note that work on a pack began, in every job that waits for it."""
    waiting = sa.select(job_items.c.job_id).where(
        job_items.c.tenant_id == tx.tenant, job_items.c.pack_id == pack_id, job_items.c.finished_at.is_(None)
    )
    # A job that another worker is just about to start needs no second start.
    queued = tx.connection.scalars(
        sa.select(jobs.c.id)
        .where(jobs.c.tenant_id == tx.tenant, jobs.c.id.in_(waiting), jobs.c.state == JobState.QUEUED.value)
        .order_by(jobs.c.id)
        .with_for_update(skip_locked=True)
    ).all()
    if queued:
        tx.connection.execute(
            sa.update(jobs)
            .where(jobs.c.tenant_id == tx.tenant, jobs.c.id.in_(queued))
            .values(state=JobState.RUNNING.value, started_at=tx.now)
        )


def settle(tx: Tx, pack_id: str, seq: int, counts: Mapping[str, Counts], failures: Sequence[Failure]) -> None:
    """Finish a pack's items in every job whose order `seq` has reached.

    Args:
        counts: how the pack's planned variants ended, by location.
    """
    waiting = tx.connection.execute(
        sa.select(job_items.c.job_id, job_items.c.total, jobs.c.location)
        .join(jobs, sa.and_(jobs.c.tenant_id == job_items.c.tenant_id, jobs.c.id == job_items.c.job_id))
        .where(job_items.c.tenant_id == tx.tenant, job_items.c.pack_id == pack_id)
        .where(job_items.c.finished_at.is_(None), job_items.c.seq <= seq)
        .order_by(job_items.c.job_id)
    ).all()
    for item in waiting:
        relevant = [count for location, count in counts.items() if item.location in (None, location)]
        total = sum(count.total for count in relevant)
        tx.connection.execute(
            sa.update(job_items)
            .where(job_items.c.tenant_id == tx.tenant, job_items.c.job_id == item.job_id)
            .where(job_items.c.pack_id == pack_id)
            .values(finished_at=tx.now, total=total)
        )
        tx.connection.execute(
            _this(tx, item.job_id).values(
                total=jobs.c.total + total - item.total,
                done=jobs.c.done + sum(count.done for count in relevant),
                skipped=jobs.c.skipped + sum(count.skipped for count in relevant),
                failed=jobs.c.failed + sum(count.failed for count in relevant),
                heartbeat_at=tx.now,
            )
        )
        _note_failures(tx, item.job_id, [f for f in failures if item.location in (None, f.location)])
    close_finished(tx, [item.job_id for item in waiting])


def count(tx: Tx, job_id: str, counts: Counts, failures: Sequence[Failure] = ()) -> None:
    """Add what became of originals to an import's counts, and end it with its last one."""
    added = {name: getattr(jobs.c, name) + getattr(counts, name) for name in ("total", "done", "skipped", "failed")}
    tx.connection.execute(_this(tx, job_id).values(**added, heartbeat_at=tx.now))
    _note_failures(tx, job_id, failures)
    close_finished(tx, [job_id])


def mark_running(tx: Tx, job_id: str) -> None:
    """Note that work on an import began."""
    queued = _this(tx, job_id).where(jobs.c.state == JobState.QUEUED.value)
    tx.connection.execute(queued.values(state=JobState.RUNNING.value, started_at=tx.now))


def drop_pack(tx: Tx, pack_id: str) -> None:
    """Let no job wait for a pack any more that is about to be deleted; its order goes with it."""
    here = (orders.c.tenant_id == tx.tenant, orders.c.pack_id == pack_id)
    # Orders are locked before jobs are, as a worker that finishes a pack does it.
    tx.connection.execute(sa.delete(orders).where(*here))
    waiting = tx.connection.execute(
        sa.select(job_items.c.job_id, job_items.c.total)
        .where(job_items.c.tenant_id == tx.tenant, job_items.c.pack_id == pack_id, job_items.c.finished_at.is_(None))
        .order_by(job_items.c.job_id)
    ).all()
    tx.connection.execute(
        sa.delete(job_items).where(job_items.c.tenant_id == tx.tenant, job_items.c.pack_id == pack_id)
    )
    for item in waiting:
        tx.connection.execute(_this(tx, item.job_id).values(total=jobs.c.total - item.total))
    close_finished(tx, [item.job_id for item in waiting])


def _note_failures(tx: Tx, job_id: str, failures: Sequence[Failure]) -> None:
    for failure in failures:
        tx.connection.execute(
            sa.insert(job_failures).values(
                tenant_id=tx.tenant,
                job_id=job_id,
                pack_id=failure.pack_id,
                location=failure.location,
                code=failure.code.value,
                message=failure.message,
                attempts=failure.attempts,
            )
        )


def close_finished(tx: Tx, job_ids: Sequence[str]) -> None:
    """Put those jobs that wait for nothing more into their final state."""
    open_items = (
        sa.select(job_items.c.job_id)
        .where(job_items.c.tenant_id == jobs.c.tenant_id, job_items.c.job_id == jobs.c.id)
        .where(job_items.c.finished_at.is_(None))
        .exists()
    )
    open_fetches = (
        sa.select(fetches.c.job_id)
        .where(fetches.c.tenant_id == jobs.c.tenant_id, fetches.c.job_id == jobs.c.id)
        .exists()
    )
    open_erasures = (
        sa.select(erasures.c.job_id)
        .where(erasures.c.tenant_id == jobs.c.tenant_id, erasures.c.job_id == jobs.c.id)
        .exists()
    )
    state = sa.case(
        (jobs.c.failed == 0, JobState.SUCCEEDED.value),
        (jobs.c.done + jobs.c.skipped > 0, JobState.PARTIAL.value),
        else_=JobState.FAILED.value,
    )
    ended = tx.connection.execute(
        sa.update(jobs)
        .where(jobs.c.tenant_id == tx.tenant, jobs.c.id.in_(job_ids))
        .where(jobs.c.finished_at.is_(None), jobs.c.cursor.is_(None), ~open_items, ~open_fetches, ~open_erasures)
        .values(state=state, finished_at=tx.now)
        .returning(jobs)
    )
    for row in ended.all():
        counts = {name: getattr(row, name) for name in ("total", "done", "skipped", "failed")}
        webhooks.tell(tx, Event.JOB_FINISHED, {"jobId": f"job:{row.id}", "state": row.state.upper(), **counts})


def _this(tx: Tx, job_id: str) -> sa.Update:
    return sa.update(jobs).where(jobs.c.tenant_id == tx.tenant, jobs.c.id == job_id)


def get_jobs(tx: Tx, job_ids: Sequence[str]) -> dict[str, Job]:
    """Return those jobs of the tenant that there are, by id."""
    found = tx.connection.execute(sa.select(jobs).where(jobs.c.tenant_id == tx.tenant, jobs.c.id.in_(job_ids)))
    return {row.id: _to_job(row) for row in found}


def get_jobs_anywhere(tx: Tx, places: Sequence[tuple[str, str]]) -> dict[tuple[str, str], Job]:
    """Return those jobs that there are, by tenant and id."""
    if not places:
        return {}
    found = tx.connection.execute(sa.select(jobs).where(sa.tuple_(jobs.c.tenant_id, jobs.c.id).in_(places)))
    return {(row.tenant_id, row.id): _to_job(row) for row in found}


def get_job(tx: Tx, job_id: str) -> Job:
    """Return one job.

    Raises:
        NotFound: there is no such job in this tenant.
    """
    job = get_jobs(tx, [job_id]).get(job_id)
    if job is None:
        raise NotFound("There is no such job.", field=("id",), expected="a job of this tenant", got=job_id)
    return job


def list_jobs(tx: Tx, *, first: int, after: str | None, states: Sequence[JobState] | None) -> Page[Job]:
    """Return a page of jobs, newest first."""
    statement = sa.select(jobs).where(jobs.c.tenant_id == tx.tenant)
    if states is not None:
        statement = statement.where(jobs.c.state.in_([state.value for state in states]))
    order = Order((jobs.c.created_at, jobs.c.id), descending=True)
    return fetch_page(tx, statement, order, _to_job, first=first, after=after)


def list_failures(tx: Tx, job_id: str, *, first: int, after: str | None) -> Page[Failure]:
    """Return a page of a job's failures."""
    statement = sa.select(job_failures).where(job_failures.c.tenant_id == tx.tenant, job_failures.c.job_id == job_id)
    order = Order((job_failures.c.pack_id, job_failures.c.location))
    return fetch_page(tx, statement, order, _to_failure, first=first, after=after)


def _to_failure(row: Any) -> Failure:
    return Failure(row.pack_id, row.location, ErrorCode(row.code), row.message, row.attempts)


def _to_job(row: Any) -> Job:
    return Job(
        id=row.id,
        kind=JobKind(row.kind),
        state=JobState(row.state),
        priority=Priority(row.priority),
        location=row.location,
        verify=row.verify,
        cursor=row.cursor,
        total=row.total,
        done=row.done,
        skipped=row.skipped,
        failed=row.failed,
        created_by=row.created_by,
        created_at=row.created_at,
        started_at=row.started_at,
        heartbeat_at=row.heartbeat_at,
        activated_at=row.activated_at,
        finished_at=row.finished_at,
    )
