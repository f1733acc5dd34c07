"""The dispatcher: looks every second for what is due, and rings for it.

It also lets bulk jobs in, a portion at a time, and sweeps what has expired. All
it knows is in the database, so nothing is lost with it. Of many processes one
dispatches at a time, by a lease; when it ends, the next one takes over.
"""

import logging
import secrets
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import timedelta
from functools import partial

from packshot import faults
from packshot.catalog.clients import idempotency, uploads, webhook_deliveries, webhooks
from packshot.catalog.configuration import deletions, pending_changes, tenants
from packshot.catalog.database import backoff, leases
from packshot.catalog.database.transaction import Tx
from packshot.catalog.purging import purge_batches, purges
from packshot.catalog.work import erasures, job_items, job_portions, jobs, orders, url_imports
from packshot.catalog.work.orders import DueOrder, Priority
from packshot.catalog.work.worker_state import DISPATCHER
from packshot.maintenance.retrying import is_outage
from packshot.site import Site
from pregen.queue.broker import QueueFull
from pregen.refreshing.activate import activate_if_ready, mark_portion
from pregen.refreshing.enqueue import enqueue_portion
from pregen.refreshing.failures import fail_job
from pregen.services.service import Loop

log = logging.getLogger(__name__)

LEASE = DISPATCHER
LEASE_TIME = timedelta(seconds=5)
SWEEP_TICKS = 60
PORTION = 200
# Bulk packs that may wait in the orders before a job's next portion is let in.
BULK_WAITING = 1000
# A job that somebody waits for must not keep those who edit waiting.
INTERACTIVE_WAITING = 25
# Of so many that wait, one batch; and so many packs are in it at the most.
SPREAD = 32
BATCH = 32
# Ticks are no closer than this, however often work ends.
GAP_SECONDS = 0.2
# So often each tenant gets its turn in one tick.
ROUNDS = 10
RINGS_A_TICK = 100
# Interactive packs that may be rung for or in work at a time: rung again and
# again, more of them would fill the queue faster than workers empty it.
INTERACTIVE_PLACES = 500

# Seconds after which the failed steps of a job that were not repeated are forgotten.
FORGET_SECONDS = 120.0

Ring = Callable[[str, Sequence[str], Priority], None]


class Dispatcher:
    """A thread that keeps workers busy with what the database says is due.

    Args:
        ring: what asks a worker for some packs of a tenant.
        bulk_places: how many batches of bulk packs may be in work at a time.
        can_ring: whether the queue carries messages; while it does not, workers take due orders by themselves.
    """

    def __init__(
        self, site: Site, ring: Ring, *, bulk_places: int, can_ring: Callable[[], bool] = lambda: True
    ) -> None:
        self._site = site
        self._ring = ring
        self._can_ring = can_ring
        self._bulk_places = bulk_places
        self._holder = secrets.token_hex(16)
        self._ticks = 0
        # Of jobs whose last step failed: how often in a row, and the monotonic second of the next one.
        self._failures: dict[str, tuple[int, float]] = {}
        self._loop = Loop("dispatcher", self.step, gap=GAP_SECONDS)

    def start(self) -> None:
        self._loop.start()

    def stop(self) -> None:
        """Stop looking and let another process do it."""
        self._loop.stop()
        self._loop.join()
        self._guard(self._hand_over)

    def wake(self) -> None:
        """Look now instead of at the next tick."""
        self._loop.wake()

    def free_leases(self) -> None:
        """Free what an earlier process held; only its one successor may call this."""
        with self._site.catalog.write_system() as tx:
            leases.release_all(tx)
            orders.free_leases(tx)
            url_imports.free_leases(tx)
            erasures.free_leases(tx)
            purge_batches.free_leases(tx)

    def _guard(self, step: Callable[[], None]) -> None:
        try:
            step()
        except Exception as error:  # noqa: BLE001 - it is logged
            # The next tick, or the next process, finds everything in the database.
            faults.count(log, error, "the dispatcher could not do its work")

    def _step(self, tenant: str, job_id: str, step: Callable[[], None], message: str) -> None:
        """Take a step of a job; after one that failed the next comes later, and after a few the job has failed."""
        failures, due = self._failures.get(job_id, (0, 0.0))
        if time.monotonic() < due:
            return
        try:
            step()
        except Exception as error:  # noqa: BLE001 - sorted and logged
            # After an outage nothing waits longer than the outage.
            if not is_outage(error):
                pause = backoff.pause_after(failures + 1, orders.MAX_PAUSE)
                self._failures[job_id] = failures + 1, time.monotonic() + pause.total_seconds()
            self._guard(partial(fail_job, self._site, tenant, job_id, error, message))
        else:
            self._failures.pop(job_id, None)

    def step(self) -> None:
        """Let bulk work in, ring for what is due, and now and then sweep; nothing if another process does."""
        with self._site.catalog.write_system() as tx:
            if not self._mine(tx):
                return
            job_items.count_finished(tx)
            prepared = pending_changes.list_pending_changes(tx)
            unmarked = tenants.tenants_to_mark(tx)
        now = time.monotonic()
        self._failures = {job: failed for job, failed in self._failures.items() if failed[1] > now - FORGET_SECONDS}
        self._enqueue_in_turn()
        for tenant, pending_change in prepared:
            activate = partial(activate_if_ready, self._site, tenant, pending_change.job_id)
            self._step(tenant, pending_change.job_id, activate, "the change of job %s could not go live")
        for tenant in unmarked:
            self._guard(partial(mark_portion, self._site, tenant))
        if self._can_ring():
            self._ring_for_due()
        self._ticks += 1
        if self._ticks % SWEEP_TICKS == 1:
            self._guard(self._sweep_uploads)
            self._guard(self._sweep_answers)

    def _ring_for_due(self) -> None:
        with self._site.catalog.write_system() as tx:
            if not self._mine(tx):
                return
            room = INTERACTIVE_PLACES - orders.count_leased(tx, Priority.INTERACTIVE)
            due = orders.take_due(tx, Priority.INTERACTIVE, limit=max(0, min(room, RINGS_A_TICK)))
            size = batch_size(tx)
            # One more than is in work waits in the queue, so that nobody waits for the next tick.
            room = 2 * self._bulk_places * size - orders.count_leased(tx, Priority.BULK)
            bulk = orders.take_due(tx, Priority.BULK, limit=room) if room > 0 else []
        self._ring_for([[order] for order in due] + list(split_by_tenant(bulk, size)))

    def _mine(self, tx: Tx) -> bool:
        return leases.take_lease(tx, LEASE, self._holder, LEASE_TIME)

    def _hand_over(self) -> None:
        with self._site.catalog.write_system() as tx:
            leases.release_lease(tx, LEASE, self._holder)

    def _ring_for(self, batches: list[list[DueOrder]]) -> None:
        for number, batch in enumerate(batches):
            try:
                self._ring(batch[0].tenant, [order.pack_id for order in batch], batch[0].priority)
            except QueueFull:
                self._put_back(batches[number:])
                return
            except Exception as error:  # noqa: BLE001 - whatever the queue raises is recorded
                faults.count(log, error, "the queue takes no message; packs stay due")
                self._put_back(batches[number:])
                return

    def _put_back(self, batches: list[list[DueOrder]]) -> None:
        with self._site.catalog.write_system() as tx:
            orders.requeue(tx, [order for batch in batches for order in batch])

    def _enqueue_in_turn(self) -> None:
        """Enqueue packs of jobs while the queue has room: in each round, a portion of one job of each tenant."""
        for _ in range(ROUNDS):
            with self._site.catalog.read_system() as tx:
                roomy = [priority for priority in Priority if _has_room(tx, priority)]
                open_jobs = job_portions.jobs_to_enqueue(tx, *roomy)
            if not open_jobs:
                return
            for tenant, job_id in open_jobs:
                # A job that cannot be enqueued must not delay the others.
                enqueue = partial(self._enqueue, tenant, job_id)
                self._step(tenant, job_id, enqueue, "the packs of job %s could not be enqueued")

    def _enqueue(self, tenant: str, job_id: str) -> None:
        with self._site.catalog.write(tenant) as tx:
            job = jobs.get_job(tx, job_id)
            if self._mine(tx) and _has_room(tx, job.priority):
                size = PORTION if job.priority is Priority.BULK else INTERACTIVE_WAITING
                enqueue_portion(tx, job, size, limit=self._site.limit)

    def _sweep_answers(self) -> None:
        with self._site.catalog.write_system() as tx:
            idempotency.delete_expired_answers(tx)
            webhook_deliveries.delete_old_deliveries(tx)
            webhooks.delete_expired_secrets(tx)
            purges.delete_old_purges(tx)
            deletions.delete_old_deletions(tx, self._site.settings.grace)

    def _sweep_uploads(self) -> None:
        for _ in range(ROUNDS):
            with self._site.catalog.read_system() as tx:
                expired = uploads.list_expired(tx, limit=PORTION)
            removed = sum(self._remove_upload(tenant, upload_id) for tenant, upload_id in expired)
            if removed < PORTION:
                return

    def _remove_upload(self, tenant: str, upload_id: str) -> bool:
        """Remove an expired upload; False: it could not be removed, and must not keep the others.

        Raises:
            Exception: an outage, which ends the sweep.
        """
        try:
            self._site.uploads.delete(f"{tenant}/{upload_id}")
            with self._site.catalog.write(tenant) as tx:
                uploads.delete_upload(tx, upload_id)
        except Exception as error:
            if is_outage(error):
                raise
            faults.count(log, error, "an expired upload could not be removed")
            return False
        return True


def batch_size(tx: Tx) -> int:
    """Return how many bulk packs are worked on as one batch: more, the more of them wait."""
    return min(BATCH, max(1, orders.count_pending(tx, Priority.BULK) // SPREAD))


def split_by_tenant(due: Sequence[DueOrder], size: int) -> Iterator[list[DueOrder]]:
    """Yield batches of at most `size` packs, each of one tenant."""
    of_tenant: dict[str, list[DueOrder]] = {}
    for order in due:
        of_tenant.setdefault(order.tenant, []).append(order)
    for alike in of_tenant.values():
        for start in range(0, len(alike), size):
            yield alike[start : start + size]


def _has_room(tx: Tx, priority: Priority) -> bool:
    most = BULK_WAITING if priority is Priority.BULK else INTERACTIVE_WAITING
    return orders.count_pending(tx, priority) < most
