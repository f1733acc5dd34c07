"""The order that every edit of a pack writes, in the edit's own transaction."""

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
    """Write a job that brings these packs up to date, and their orders.

    It exists exactly when the change that needs it does. After the commit the
    caller rings; should that be lost, the dispatcher rings again. With `job_only`
    nothing was changed that needs it, so that the orders end with the job.
    """
    job = jobs.create_job(
        tx, JobKind.REGENERATE, priority, pack_id=single_pack_id(pack_ids), check_store=check_store, by=by
    )
    snapshots = read_snapshots(tx, pack_ids)
    totals = {id: len(planned_all(snapshot, limit=site.limit)) for id, snapshot in snapshots.items()}
    job_items.enqueue_packs(tx, job, totals, job_only=job_only)
    return jobs.get_job(tx, job.id)


def single_pack_id(pack_ids: Iterable[str]) -> str | None:
    """Return the pack if there is one only; None: there are several."""
    named = set(pack_ids)
    return named.pop() if len(named) == 1 else None


def ring_doorbell(caller: Caller, pack_ids: Sequence[str], priority: Priority = Priority.INTERACTIVE) -> None:
    """Tell the worker of orders that have just been committed."""
    if priority is Priority.BULK:
        caller.doorbell.wake()
        return
    for pack_id in pack_ids:
        caller.doorbell.ring(caller.tenant, pack_id, priority)
