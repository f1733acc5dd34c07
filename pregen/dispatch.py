"""The dispatcher: looks every second for what is due, and rings for it.

It also lets bulk jobs in, a portion at a time, and sweeps what has expired. All
it knows is in the database, so nothing is lost with it.
"""

import logging
import threading
from collections.abc import Callable

from packshot.catalog import jobs, orders, uploads
from packshot.catalog.orders import Priority
from packshot.catalog.snapshots import read_snapshots
from packshot.site import Site
from packshot.variants.resolve import planned_all

log = logging.getLogger(__name__)

TICK_SECONDS = 1.0
SWEEP_TICKS = 60
PORTION = 100
# Bulk packs that may wait in the orders before a job's next portion is let in.
BULK_WAITING = 500
RINGS_A_TICK = 100

Ring = Callable[[str, str, Priority], None]


class Dispatcher:
    """A thread that keeps the worker busy with what the database says is due.

    Args:
        ring: what asks a worker for one pack.
        bulk_places: how many bulk packs may be in work at a time.
    """

    def __init__(self, site: Site, ring: Ring, *, bulk_places: int) -> None:
        self._site = site
        self._ring = ring
        self._bulk_places = bulk_places
        self._wake = threading.Event()
        self._stopping = False
        self._ticks = 0
        self._thread = threading.Thread(target=self._run, name="dispatcher", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stopping = True
        self._wake.set()
        self._thread.join()

    def wake(self) -> None:
        """Look now instead of at the next tick."""
        self._wake.set()

    def free_leases(self) -> None:
        """Free what an earlier process held; only its one successor may call this."""
        with self._site.catalog.write("") as tx:
            orders.free_leases(tx)

    def _run(self) -> None:
        while not self._stopping:
            try:
                self.tick()
            except Exception:
                log.exception("the dispatcher could not look; it looks again in a second")
            self._wake.wait(TICK_SECONDS)
            self._wake.clear()

    def tick(self) -> None:
        """Let bulk work in, ring for what is due, and now and then sweep."""
        self._admit()
        with self._site.catalog.write("") as tx:
            due = orders.take_due(tx, Priority.INTERACTIVE, limit=RINGS_A_TICK)
            room = self._bulk_places - orders.count_in_work(tx, Priority.BULK)
            if room > 0:
                due += orders.take_due(tx, Priority.BULK, limit=room)
        for order in due:
            self._ring(order.tenant, order.pack_id, order.priority)
        if self._ticks % SWEEP_TICKS == 0:
            self._sweep_uploads()
        self._ticks += 1

    def _admit(self) -> None:
        with self._site.catalog.read("") as tx:
            open_jobs = jobs.unadmitted_jobs(tx)
        for tenant, job_id in open_jobs:
            with self._site.catalog.write(tenant) as tx:
                if orders.count_pending(tx, Priority.BULK) >= BULK_WAITING:
                    return
                job = jobs.get_job(tx, job_id)
                snapshots = read_snapshots(tx, jobs.next_portion(tx, job, PORTION))
                totals = {
                    pack_id: len(planned_all(snapshot, job.location, limit=self._site.limit))
                    for pack_id, snapshot in snapshots.items()
                }
                jobs.admit(tx, job, totals)
                jobs.close_finished(tx, [job_id])

    def _sweep_uploads(self) -> None:
        with self._site.catalog.read("") as tx:
            expired = uploads.list_expired(tx, limit=PORTION)
        for tenant, upload_id in expired:
            self._site.uploads.delete(f"{tenant}/{upload_id}")
            with self._site.catalog.write(tenant) as tx:
                uploads.forget_upload(tx, upload_id)
