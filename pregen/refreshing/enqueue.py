"""Enqueue the packs of a job, and count the variants that each pack needs."""

from collections.abc import Mapping, Sequence

from packshot.catalog.configuration.pending_changes import read_pending_change
from packshot.catalog.configuration.snapshots import read_snapshots
from packshot.catalog.database.transaction import Tx
from packshot.catalog.variants import ledger
from packshot.catalog.work import job_items, job_portions
from packshot.catalog.work.jobs import Job
from packshot.geometry import Size
from packshot.variants.resolve import planned
from pregen.refreshing.prepare import count_missing


def enqueue_portion(tx: Tx, job: Job, size: int, *, limit: Size) -> None:
    """Enqueue the next packs of a job, last modified first."""
    if job.cursor is None:
        return
    pack_ids, cursor = job_portions.next_portion(tx, job, size)
    totals, stored = count_variants(tx, job, pack_ids, limit=limit)
    enqueued = job_items.enqueue_packs(tx, job, totals, cursor=cursor, portion=pack_ids, stored=stored, job_only=True)
    if enqueued and job.check_store:
        # Orders before variants: the end of a refresh locks them in the same order.
        ledger.retry_failures(tx, sorted(totals))


def count_variants(tx: Tx, job: Job, pack_ids: Sequence[str], *, limit: Size) -> tuple[Mapping[str, int], int]:
    """Return how many variants a job needs of each pack, and how many variants of the other packs are stored already.

    A pending change needs no work on a pack whose variants are all stored. So preparing a reversal only visits the
    packs that were edited since.
    """
    pending_change = read_pending_change(tx)
    known = read_snapshots(tx, pack_ids)
    snapshots = {pack_id: known[pack_id] for pack_id in pack_ids if pack_id in known}
    if pending_change is not None and pending_change.job_id == job.id:
        return count_missing(tx, snapshots, pending_change.change, limit=limit)
    totals = {
        pack_id: sum(len(planned(snapshot, name, limit=limit)) for name in job.scope or snapshot.locations)
        for pack_id, snapshot in snapshots.items()
    }
    return {pack_id: total for pack_id, total in totals.items() if total}, 0
