"""A job's items, one for each pack, each with the sequence number of its order.

When a pack is finished at that number or a later one, its items are finished. So the render of an edit also advances a
bulk job that needs the same pack. A finished item holds its counts. They are added to the job in batches, so that the
job's row is not locked for each pack.
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
from packshot.catalog.work.job_portions import delete_deferred_packs
from packshot.catalog.work.jobs import ACTIVE, Counts, Failure, Job, JobState, get_job, this_job
from packshot.catalog.work.orders import place_orders

# The rate of a job is measured over this time.
RATE_WINDOW = timedelta(seconds=10)
ROWS_PER_STATEMENT = 500


@dataclass(frozen=True, slots=True)
class VariantCounts:
    """The results of one pack's variants, by location, with the failures."""

    counts: Mapping[str, Counts]
    failures: Sequence[Failure]


@dataclass(frozen=True, slots=True)
class FinishedPack:
    """A pack that is up to date.

    Attributes:
        seq: the sequence number of its order.
        live: results of the variants of the live configuration.
        prepared: results of the variants of the pending change, by the id of the job that prepares it.
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
    """Enqueue packs for a job. Returns whether it was done.

    It locks orders before the job, as a worker does that finishes a pack. It enqueues nothing if the job was stopped or
    got this portion meanwhile, and skips packs that were deleted.

    Args:
        totals: the number of variants that the job needs of each pack, in rendering order.
        cursor: where the next portion begins; None: this is the last one.
        portion: the packs that were visited for it.
        stored: the number of variants of packs that need no order, because all of their variants are stored.
        job_only: only jobs need the orders, so they end with the jobs.
    """
    seq = next_sequence(tx)
    # Every transaction that stops a job draws a sequence number first, so the job's state is final from here on.
    now = get_job(tx, job.id)
    if now.state not in ACTIVE or now.cursor != job.cursor:
        return False
    # Deletions draw one too, so packs that exist now exist until the end of this transaction.
    existing_ids = set(_list_existing(tx, list(totals)))
    totals = {pack_id: total for pack_id, total in totals.items() if pack_id in existing_ids}
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
        delete_deferred_packs(tx, job.id, job_deferred_packs.c.pack_id.in_(portion))
    close_finished(tx, [job.id])
    return True


def enqueue_failed_packs(tx: Tx, job: Job, pack_ids: Sequence[str]) -> None:
    """Enqueue packs with failures once more. Their other variants are not counted again."""
    _order(tx, job, dict.fromkeys(pack_ids, 0), next_sequence(tx), job_only=True, is_retry=True)


def _order(tx: Tx, job: Job, totals: Mapping[str, int], seq: int, *, job_only: bool, is_retry: bool = False) -> None:
    if totals:
        # In one statement, because the orders of several portions would not be locked in one order.
        place_orders(tx, list(totals), seq, job.priority, check_store=job.check_store, job_only=job_only)
        common = {"tenant_id": tx.tenant, "job_id": job.id, "seq": seq, "is_retry": is_retry}
        items = [{**common, "pack_id": pack_id, "total": total} for pack_id, total in totals.items()]
        tx.connection.execute(sa.insert(job_items), items)


def _list_existing(tx: Tx, pack_ids: Sequence[str]) -> Iterator[str]:
    for start in range(0, len(pack_ids), ROWS_PER_STATEMENT):
        conditions = (packs.c.tenant_id == tx.tenant, packs.c.id.in_(pack_ids[start : start + ROWS_PER_STATEMENT]))
        yield from tx.connection.scalars(sa.select(packs.c.id).where(*conditions))


def mark_started(tx: Tx, pack_ids: Sequence[str]) -> None:
    """Mark every job that waits for one of these packs as running."""
    waiting = sa.select(job_items.c.job_id).where(
        job_items.c.tenant_id == tx.tenant, job_items.c.pack_id.in_(pack_ids), job_items.c.finished_at.is_(None)
    )
    # Skip a job that another worker is starting.
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
    """Finish the items of these packs in every job whose order is reached."""
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
    """Fail the items of a pack that cannot be brought up to date, in every job whose order is at most `seq`."""
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
    """Add the counts of finished items of all tenants to their jobs, and end jobs that wait for nothing more."""
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
        # The clock has moved back, so the measurement begins again.
        rate = {"rate_at": heartbeat_at, "rate_done": 0}
    elif elapsed >= RATE_WINDOW:
        rate = {"rate": ended / elapsed.total_seconds(), "rate_at": heartbeat_at, "rate_done": 0}
    added = {name: jobs.c[name] + getattr(count, name) for name in ("total", "done", "skipped", "failed")}
    tx.connection.execute(this_job(tx, job_id).values(**added, **rate, heartbeat_at=heartbeat_at))


def count_originals(tx: Tx, job_id: str, counts: Counts, failures: Sequence[Failure] = ()) -> None:
    """Add results to the counts of an import, erasure or purge job. The last result ends the job."""
    added = {name: jobs.c[name] + getattr(counts, name) for name in ("total", "done", "skipped", "failed")}
    tx.connection.execute(this_job(tx, job_id).values(**added, heartbeat_at=tx.now))
    write_failures(tx, job_id, failures)
    close_finished(tx, [job_id])


def mark_running(tx: Tx, job_id: str) -> None:
    """Mark a job as running."""
    queued = this_job(tx, job_id).where(jobs.c.state == JobState.QUEUED.value)
    tx.connection.execute(queued.values(state=JobState.RUNNING.value, started_at=tx.now))


def remove_pack(tx: Tx, pack_id: str) -> None:
    """Remove a pack that will be deleted from every job, and its order."""
    conditions = (orders.c.tenant_id == tx.tenant, orders.c.pack_id == pack_id)
    # Lock orders before jobs, as a worker does that finishes a pack.
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
    """Record failures. A pack location keeps its last one."""
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
    """Record a failure of the job itself, which belongs to no pack. It counts as one."""
    write_failures(tx, job_id, [failure])
    counted = {"total": jobs.c.total + 1, "failed": jobs.c.failed + 1, "faults": 0, "reason": None}
    tx.connection.execute(this_job(tx, job_id).values(**counted))


def has_items(tx: Tx, job_id: str) -> bool:
    """Return whether a job waits for a pack, or for a finished item to be counted."""
    found = sa.select(job_items.c.job_id).where(job_items.c.tenant_id == tx.tenant, job_items.c.job_id == job_id)
    return tx.connection.execute(found.limit(1)).first() is not None
