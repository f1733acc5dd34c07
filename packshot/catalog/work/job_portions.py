"""Visit a job's packs in portions, the last modified first.

A job's cursor is a sequence number; the job has not visited the packs below it. An edit moves a pack beyond the cursor.
Then the pack becomes a deferred pack of every job that has not visited it.
"""

import sqlalchemy as sa

from packshot.catalog.database.transaction import Tx
from packshot.catalog.tables.artwork import pack_locations, packs
from packshot.catalog.tables.work import job_deferred_packs, jobs
from packshot.catalog.work.jobs import ACTIVE, Job
from packshot.catalog.work.orders import Priority

# No pack is below it, so only deferred packs are left.
_BELOW_ALL = 0
_OPEN_STATES = [state.value for state in ACTIVE]


def next_portion(tx: Tx, job: Job, size: int) -> tuple[list[str], int | None]:
    """Return the job's next packs to enqueue, and its cursor after them.

    The last modified packs come first. Packs that were edited since the job began, before it visited them, come
    last.
    """
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
    if len(found) == size:
        return [row.id for row in found], found[-1].sequence_number
    room = size - len(found)
    deferred = tx.connection.scalars(
        sa.select(packs.c.id)
        .join(
            job_deferred_packs,
            sa.and_(job_deferred_packs.c.tenant_id == packs.c.tenant_id, job_deferred_packs.c.pack_id == packs.c.id),
        )
        .where(job_deferred_packs.c.tenant_id == tx.tenant, job_deferred_packs.c.job_id == job.id, has_original)
        .order_by(packs.c.sequence_number.desc())
        .limit(room)
    ).all()
    # A pack that an edit moved between the two statements is in both results.
    portion = list(dict.fromkeys([*(row.id for row in found), *deferred]))
    return portion, _BELOW_ALL if len(deferred) == room else None


def jobs_to_enqueue(tx: Tx, *priorities: Priority) -> list[tuple[str, str]]:
    """Return (tenant, job id) of one job per tenant that still has packs to enqueue, longest waiting first."""
    statement = (
        sa.select(jobs.c.tenant_id, jobs.c.id)
        .where(jobs.c.finished_at.is_(None), jobs.c.cursor.is_not(None), jobs.c.state.in_(_OPEN_STATES))
        .where(jobs.c.priority.in_([priority.value for priority in priorities]))
        .order_by(sa.func.coalesce(jobs.c.enqueued_at, jobs.c.created_at), jobs.c.id)
    )
    first: dict[str, str] = {}
    for row in tx.connection.execute(statement):
        first.setdefault(row.tenant_id, row.id)
    return list(first.items())


def defer_pack(tx: Tx, pack_id: str, position: int) -> None:
    """Defer a pack that an edit moves in all jobs that have not visited it. The edit has drawn its sequence number.

    Args:
        position: the pack's sequence number before the edit.
    """
    unseen = sa.select(jobs.c.tenant_id, jobs.c.id, sa.literal(pack_id)).where(
        jobs.c.tenant_id == tx.tenant, jobs.c.finished_at.is_(None), jobs.c.cursor > position
    )
    deferred = tx.insert(job_deferred_packs).from_select(["tenant_id", "job_id", "pack_id"], unseen)
    tx.connection.execute(deferred.on_conflict_do_nothing())


def delete_deferred_packs(tx: Tx, job_id: str, *which: sa.ColumnElement[bool]) -> None:
    """Delete the deferred packs of a job that meet the conditions."""
    conditions = (job_deferred_packs.c.tenant_id == tx.tenant, job_deferred_packs.c.job_id == job_id)
    tx.connection.execute(sa.delete(job_deferred_packs).where(*conditions, *which))
