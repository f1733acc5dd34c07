"""The orders of an edit: each edit of a pack writes a job and an order in its own transaction."""

from collections.abc import Iterable, Sequence

from packshot.catalog.configuration.snapshots import read_snapshots
from packshot.catalog.database.transaction import Tx
from packshot.catalog.work import job_items, jobs
from packshot.catalog.work.jobs import Job, JobKind
from packshot.catalog.work.orders import Priority
from packshot.site import Site
from packshot.variants.resolve import planned_all
from resolvers.caller import Caller


def order_packs(
    tx: Tx,
    site: Site,
    pack_ids: Sequence[str],
    *,
    by: str,
    priority: Priority = Priority.INTERACTIVE,
    check_store: bool = False,
    job_only: bool = False,
) -> Job:
    """Write a job that refreshes these packs, and their orders.

    They commit together with the edit. The caller rings after the commit; if the ring is lost, the dispatcher rings
    again. With `job_only`, no edit needs the orders, so they end with the job.
    """
    job = jobs.create_job(
        tx, JobKind.REGENERATE, priority, pack_id=single_pack_id(pack_ids), check_store=check_store, by=by
    )
    snapshots = read_snapshots(tx, pack_ids)
    totals = {id: len(planned_all(snapshot, limit=site.limit)) for id, snapshot in snapshots.items()}
    job_items.enqueue_packs(tx, job, totals, job_only=job_only)
    return jobs.get_job(tx, job.id)


def single_pack_id(pack_ids: Iterable[str]) -> str | None:
    """Return the pack if there is exactly one, else None."""
    named = set(pack_ids)
    return named.pop() if len(named) == 1 else None


def ring_doorbell(caller: Caller, pack_ids: Sequence[str], priority: Priority = Priority.INTERACTIVE) -> None:
    """Ring for packs whose orders have been committed."""
    if priority is Priority.BULK:
        caller.doorbell.wake()
        return
    for pack_id in pack_ids:
        caller.doorbell.ring(caller.tenant, pack_id, priority)
