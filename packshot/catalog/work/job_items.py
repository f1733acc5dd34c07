"""A job's items: one a pack, each with the number of the order that it waits for.

Whatever finishes that pack at or beyond that number finishes the item, so an
edit's render also moves the bulk job that wanted the same pack. A finished item
carries its counts; they are added to the job in batches, not one row lock a pack.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa

from packshot.catalog.database.transaction import Tx, next_sequence
from packshot.catalog.tables.artwork import packs
from packshot.catalog.tables.work import (
    job_deferred_packs,
    job_failures,
    job_items,
    jobs,
    orders,
)
from packshot.catalog.work.job_ends import close_finished
from packshot.catalog.work.job_portions import delete_strays
from packshot.catalog.work.jobs import ACTIVE, Counts, Failure, Job, JobState, get_job, this_job
from packshot.catalog.work.orders import place_orders

# Over so long the rate of a job is taken.
RATE_WINDOW = timedelta(seconds=10)
ROWS_PER_STATEMENT = 500


@dataclass(frozen=True, slots=True)
class VariantCounts:
    """How one pack's variants ended, by location, and what could not be rendered."""

    counts: Mapping[str, Counts]
    failures: Sequence[Failure]


@dataclass(frozen=True, slots=True)
class FinishedPack:
    """A pack that is as it was wanted.

    Attributes:
        seq: the order that was reached.
        live: how what its URLs give now ended.
        prepared: how what they are to give ended, by the job that prepares it.
    """

    seq: int
    live: VariantCounts
    prepared: Mapping[str, VariantCounts]


def enqueue_packs(
    tx: Tx,
    job: Job,
    totals: Mapping[str, int],
    *,
    cursor: int | None = None,
    portion: Sequence[str] = (),
    stored: int = 0,
    job_only: bool = False,
) -> bool:
    """Order packs on behalf of a job; return whether it was done.

    Orders are locked before the job is, as a worker that finishes a pack does it.
    Nothing is ordered if the job was stopped, or got this portion, meanwhile, and of no pack that was deleted.

    Args:
        totals: how many variants the job wants of each pack, in the order in which they are to be rendered.
        cursor: where the next portion begins; None: this is the last one.
        portion: the packs that were gone through for it.
        stored: number of variants of packs that need no order, because all of their variants are stored.
        job_only: only jobs want it, so that the orders end with them.
    """
    seq = next_sequence(tx)
    # Whoever stops a job draws a number first: now it is known whether somebody has.
    now = get_job(tx, job.id)
    if now.state not in ACTIVE or now.cursor != job.cursor:
        return False
    # Whoever deletes a pack draws one too: what is there now stays until the end.
    there_still = set(_still_there(tx, list(totals)))
    totals = {pack_id: total for pack_id, total in totals.items() if pack_id in there_still}
    _order(tx, job, totals, seq, job_only=job_only)
    values = {
        "total": jobs.c.total + sum(totals.values()) + stored,
        "skipped": jobs.c.skipped + stored,
        "cursor": cursor,
        "packs_enqueued": jobs.c.packs_enqueued + len(portion),
        "enqueued_at": tx.now,
        "faults": 0,
        "reason": None,
    }
    tx.connection.execute(this_job(tx, job.id).values(**values))
    if portion:
        delete_strays(tx, job.id, job_deferred_packs.c.pack_id.in_(portion))
    close_finished(tx, [job.id])
    return True


def enqueue_failed_packs(tx: Tx, job: Job, pack_ids: Sequence[str]) -> None:
    """Order packs of which something failed once more; the rest of them is not counted again."""
    _order(tx, job, dict.fromkeys(pack_ids, 0), next_sequence(tx), job_only=True, is_retry=True)


def _order(tx: Tx, job: Job, totals: Mapping[str, int], seq: int, *, job_only: bool, is_retry: bool = False) -> None:
    if totals:
        # All at once: orders of several portions would not be locked in one order.
        place_orders(tx, list(totals), seq, job.priority, check_store=job.check_store, job_only=job_only)
        common = {"tenant_id": tx.tenant, "job_id": job.id, "seq": seq, "is_retry": is_retry}
        items = [{**common, "pack_id": pack_id, "total": total} for pack_id, total in totals.items()]
        tx.connection.execute(sa.insert(job_items), items)


def _still_there(tx: Tx, pack_ids: Sequence[str]) -> Iterator[str]:
    for start in range(0, len(pack_ids), ROWS_PER_STATEMENT):
        conditions = (packs.c.tenant_id == tx.tenant, packs.c.id.in_(pack_ids[start : start + ROWS_PER_STATEMENT]))
        yield from tx.connection.scalars(sa.select(packs.c.id).where(*conditions))


def mark_started(tx: Tx, pack_ids: Sequence[str]) -> None:
    """Note that work on packs began, in every job that waits for them."""
    waiting = sa.select(job_items.c.job_id).where(
        job_items.c.tenant_id == tx.tenant, job_items.c.pack_id.in_(pack_ids), job_items.c.finished_at.is_(None)
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


def finish_items(tx: Tx, packs: Mapping[str, FinishedPack]) -> None:
    """Finish the items of packs, by id, in every job whose order they have reached."""
    waiting = tx.connection.execute(
        sa.select(
            job_items.c.job_id,
            job_items.c.pack_id,
            job_items.c.seq,
            job_items.c.total,
            job_items.c.is_retry,
            jobs.c.scope,
        )
        .join(jobs, sa.and_(jobs.c.tenant_id == job_items.c.tenant_id, jobs.c.id == job_items.c.job_id))
        .where(job_items.c.tenant_id == tx.tenant, job_items.c.pack_id.in_(list(packs)))
        .where(job_items.c.finished_at.is_(None))
        .order_by(job_items.c.job_id, job_items.c.pack_id)
    ).all()
    rows: list[dict[str, Any]] = []
    for item in waiting:
        finished = packs[item.pack_id]
        if item.seq > finished.seq:
            continue
        ended = finished.prepared.get(item.job_id, finished.live)
        relevant = [count for name, count in ended.counts.items() if item.scope is None or name in item.scope]
        done, failed = sum(count.done for count in relevant), sum(count.failed for count in relevant)
        skipped = 0 if item.is_retry else sum(count.skipped for count in relevant)
        counts = {
            "done": done,
            "skipped": skipped,
            "failed": failed,
            "total_change": done + skipped + failed - item.total,
        }
        rows.append({"b_job": item.job_id, "b_pack": item.pack_id, **counts})
        write_failures(tx, item.job_id, [f for f in ended.failures if item.scope is None or f.location in item.scope])
    if rows:
        statement = sa.update(job_items).where(job_items.c.tenant_id == tx.tenant)
        statement = statement.where(
            job_items.c.job_id == sa.bindparam("b_job"), job_items.c.pack_id == sa.bindparam("b_pack")
        )
        tx.connection.execute(statement.values(finished_at=tx.now), rows)


def fail_pack(tx: Tx, pack_id: str, seq: int, failure: Failure) -> None:
    """Finish the items of a pack that cannot be brought up to date, in every job whose order `seq` has reached."""
    conditions = (job_items.c.tenant_id == tx.tenant, job_items.c.pack_id == pack_id, job_items.c.seq <= seq)
    waiting = (*conditions, job_items.c.finished_at.is_(None))
    failed = sa.case((job_items.c.total > 0, job_items.c.total), else_=1)
    ended = sa.update(job_items).where(*waiting).returning(job_items.c.job_id)
    values = {
        "failed": failed,
        "done": 0,
        "skipped": 0,
        "total_change": failed - job_items.c.total,
        "finished_at": tx.now,
    }
    for job_id in sorted(tx.connection.scalars(ended.values(**values)).all()):
        write_failures(tx, job_id, [failure])


def count_finished(tx: Tx) -> None:
    """Add what finished items of all tenants carry to their jobs, and close those that wait for nothing more."""
    finished = sa.delete(job_items).where(job_items.c.finished_at.is_not(None)).returning(job_items)
    _fold(tx, tx.connection.execute(finished).all())


def _fold(tx: Tx, finished: Sequence[Any]) -> None:
    sums: dict[tuple[str, str], Counts] = {}
    last: dict[tuple[str, str], datetime] = {}
    for row in finished:
        place = (row.tenant_id, row.job_id)
        count = sums.setdefault(place, Counts())
        count.done += row.done
        count.skipped += row.skipped
        count.failed += row.failed
        count.total += row.total_change
        last[place] = max(row.finished_at, last.get(place, row.finished_at))
    for (tenant, job_id), count in sorted(sums.items(), key=lambda entry: entry[0]):
        tenant_tx = tx.of(tenant)
        _add(tenant_tx, job_id, count, last[tenant, job_id])
        close_finished(tenant_tx, [job_id])


def _add(tx: Tx, job_id: str, count: Counts, heartbeat_at: datetime) -> None:
    row = tx.connection.execute(
        sa.select(jobs.c.rate_at, jobs.c.rate_done, jobs.c.started_at)
        .where(jobs.c.tenant_id == tx.tenant, jobs.c.id == job_id)
        .with_for_update(key_share=True)
    ).one()
    since = row.rate_at or row.started_at or tx.now
    ended, elapsed = row.rate_done + count.done + count.skipped + count.failed, heartbeat_at - since
    rate = {"rate_at": since, "rate_done": ended}
    if elapsed < timedelta():
        # The clock has moved back: the stretch begins again.
        rate = {"rate_at": heartbeat_at, "rate_done": 0}
    elif elapsed >= RATE_WINDOW:
        rate = {"rate": ended / elapsed.total_seconds(), "rate_at": heartbeat_at, "rate_done": 0}
    added = {name: jobs.c[name] + getattr(count, name) for name in ("total", "done", "skipped", "failed")}
    tx.connection.execute(this_job(tx, job_id).values(**added, **rate, heartbeat_at=heartbeat_at))


def count_originals(tx: Tx, job_id: str, counts: Counts, failures: Sequence[Failure] = ()) -> None:
    """Add what became of originals to an import's counts, and end it with its last one."""
    added = {name: jobs.c[name] + getattr(counts, name) for name in ("total", "done", "skipped", "failed")}
    tx.connection.execute(this_job(tx, job_id).values(**added, heartbeat_at=tx.now))
    write_failures(tx, job_id, failures)
    close_finished(tx, [job_id])


def mark_running(tx: Tx, job_id: str) -> None:
    """Note that work on an import began."""
    queued = this_job(tx, job_id).where(jobs.c.state == JobState.QUEUED.value)
    tx.connection.execute(queued.values(state=JobState.RUNNING.value, started_at=tx.now))


def remove_pack(tx: Tx, pack_id: str) -> None:
    """Let no job wait for a pack any more that is about to be deleted; its order goes with it."""
    conditions = (orders.c.tenant_id == tx.tenant, orders.c.pack_id == pack_id)
    # Orders are locked before jobs are, as a worker that finishes a pack does it.
    tx.connection.execute(sa.delete(orders).where(*conditions))
    dropped = tx.connection.execute(
        sa.delete(job_items)
        .where(job_items.c.tenant_id == tx.tenant, job_items.c.pack_id == pack_id)
        .returning(job_items)
    ).all()
    _fold(tx, [item for item in dropped if item.finished_at is not None])
    still_open = sorted((item.job_id, item.total) for item in dropped if item.finished_at is None)
    for job_id, total in still_open:
        tx.connection.execute(this_job(tx, job_id).values(total=jobs.c.total - total))
    close_finished(tx, [job_id for job_id, _ in still_open])


def write_failures(tx: Tx, job_id: str, failures: Sequence[Failure]) -> None:
    """Write down what could not be rendered; a pack location's last failure counts."""
    for failure in failures:
        why = {"code": failure.code.value, "message": failure.message, "attempts": failure.attempts}
        place = {
            "tenant_id": tx.tenant,
            "job_id": job_id,
            "pack_id": failure.pack_id,
            "location": failure.location,
        }
        statement = tx.insert(job_failures).values(**place, **why)
        tx.connection.execute(statement.on_conflict_do_update(index_elements=list(place), set_=why))


def write_job_failure(tx: Tx, job_id: str, failure: Failure) -> None:
    """Write down a failure of the job itself, of no pack; it counts as one."""
    write_failures(tx, job_id, [failure])
    counted = {"total": jobs.c.total + 1, "failed": jobs.c.failed + 1, "faults": 0, "reason": None}
    tx.connection.execute(this_job(tx, job_id).values(**counted))


def has_items(tx: Tx, job_id: str) -> bool:
    """Whether a job waits for any pack, or for a finished one to be counted."""
    found = sa.select(job_items.c.job_id).where(job_items.c.tenant_id == tx.tenant, job_items.c.job_id == job_id)
    return tx.connection.execute(found.limit(1)).first() is not None
