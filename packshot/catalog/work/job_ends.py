"""Put jobs that wait for nothing more into their final state."""

from collections.abc import Collection
from functools import cache

import sqlalchemy as sa

from packshot.catalog.clients import webhook_deliveries
from packshot.catalog.clients.webhooks import Event
from packshot.catalog.database.transaction import Tx
from packshot.catalog.tables.work import erasures, job_items, jobs, pending_changes, purges, url_imports
from packshot.catalog.work.job_portions import delete_deferred_packs
from packshot.catalog.work.jobs import JobKind, JobState
from packshot.ids import IdKind, global_id


def close_finished(tx: Tx, job_ids: Collection[str]) -> None:
    """Put those of these jobs that wait for nothing more into their final state.

    A job that prepares a change waits for its activation.
    """
    if job_ids:
        end_jobs(tx, jobs.c.id.in_(job_ids), *_waits_for_nothing())


@cache
def _waits_for_nothing() -> tuple[sa.ColumnElement[bool], ...]:
    # Built once, because every edit and every batch of packs runs this query.
    of_job = (job_items.c.tenant_id == jobs.c.tenant_id, job_items.c.job_id == jobs.c.id)
    items = sa.select(job_items.c.job_id).where(*of_job).exists()
    open_fetches = (
        sa.select(url_imports.c.job_id)
        .where(url_imports.c.tenant_id == jobs.c.tenant_id, url_imports.c.job_id == jobs.c.id)
        .exists()
    )
    open_erasures = (
        sa.select(erasures.c.job_id)
        .where(erasures.c.tenant_id == jobs.c.tenant_id, erasures.c.job_id == jobs.c.id)
        .exists()
    )
    open_purges = (
        sa.select(purges.c.job_id)
        .where(purges.c.tenant_id == jobs.c.tenant_id, purges.c.job_id == jobs.c.id, purges.c.finished_at.is_(None))
        .exists()
    )
    # Checked only for jobs that have such rows.
    purged = sa.or_(jobs.c.kind != JobKind.PURGE.value, ~open_purges)
    prepares = (
        sa.select(pending_changes.c.job_id)
        .where(pending_changes.c.tenant_id == jobs.c.tenant_id, pending_changes.c.job_id == jobs.c.id)
        .exists()
    )
    return jobs.c.cursor.is_(None), ~items, ~open_fetches, ~open_erasures, purged, ~prepares


def end_jobs(tx: Tx, *which: sa.ColumnElement[bool], state: JobState | None = None) -> None:
    """Put open jobs into a final state, and write the webhook deliveries. Without a state, the jobs' counts decide."""
    by_counts = sa.case(
        (jobs.c.failed == 0, JobState.SUCCEEDED.value),
        (jobs.c.done + jobs.c.skipped > 0, JobState.PARTIAL.value),
        else_=JobState.FAILED.value,
    )
    ended = tx.connection.execute(
        sa.update(jobs)
        .where(jobs.c.tenant_id == tx.tenant, jobs.c.finished_at.is_(None), *which)
        .values(state=by_counts if state is None else state.value, finished_at=tx.now, cursor=None)
        .returning(jobs)
    )
    for row in ended.all():
        delete_deferred_packs(tx, row.id)
        counts = {name: getattr(row, name) for name in ("total", "done", "skipped", "failed")}
        webhook_deliveries.add_delivery(
            tx, Event.JOB_FINISHED, {"jobId": global_id(IdKind.JOB, row.id), "state": row.state.upper(), **counts}
        )
