"""Erasing packs."""

from packshot.catalog.variants import tombstones
from packshot.catalog.work.jobs import Job
from packshot.maintenance.erase import order_erasure, set_tombstone
from resolvers.caller import Caller


def erase_pack(caller: Caller, pack_id: str, reason: str) -> Job:
    """Erase a pack, or what is left of one that was deleted, for good; return the job that does it.

    Raises:
        Invalid: the reason is empty or too long.
        NotFound: there is no such pack in this tenant.
        Gone: it was erased before.
    """
    tombstone, originals = set_tombstone(caller.site, caller.tenant, pack_id, reason=reason, by=caller.subject)
    with caller.write() as tx:
        tombstones.refuse_erased(tx, [pack_id], field=("id",))
        job = order_erasure(tx, tombstone, originals)
        caller.answer(job=f"job:{job.id}")
    caller.doorbell.wake()
    return job
