"""The dispatcher: the service that rings for due orders every second, and moves jobs on.

It also enqueues the packs of jobs in portions, activates pending changes, and deletes expired rows. Its state is in the
database, so a killed dispatcher loses nothing. A lease decides which process dispatches; when that one ends, another
takes over.
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
from pregen.services.service import Service

log = logging.getLogger(__name__)

LEASE = DISPATCHER
LEASE_TIME = timedelta(seconds=5)
STEPS_PER_SWEEP = 60
PORTION = 200
# Orders of bulk packs that may be pending before the next portion of a job is enqueued.
MAX_PENDING_BULK = 1000
# The same of interactive packs. It is small, because an interactive job must not delay users who edit.
MAX_PENDING_INTERACTIVE = 25
# Pending bulk packs are spread over at least this many batches. A batch has at most this many packs.
MIN_BATCHES = 32
MAX_BATCH = 32
# Least seconds between two steps, however often work ends.
GAP_SECONDS = 0.2
# Portions that one step enqueues for each tenant.
ROUNDS = 10
MAX_RINGS = 100
# Interactive packs that may be rung for or claimed at a time. More would fill the queue faster than workers empty it,
# because the dispatcher rings again for each.
INTERACTIVE_PLACES = 500

# Seconds after which a job's failed steps no longer count, if no further step fails.
FORGET_SECONDS = 120.0

Ring = Callable[[str, Sequence[str], Priority], None]


class Dispatcher(Service):
    """Runs in every worker; a lease decides which one dispatches.

    Args:
        ring: asks the workers to refresh some packs of a tenant.
        bulk_places: batches of bulk packs that workers can refresh at a time.
        can_ring: whether the queue carries messages. While it does not, workers take due orders from the database.
    """

    def __init__(
        self, site: Site, ring: Ring, *, bulk_places: int, can_ring: Callable[[], bool] = lambda: True
    ) -> None:
        super().__init__("dispatcher", gap=GAP_SECONDS, patience=None)
        self._site = site
        self._ring = ring
        self._can_ring = can_ring
        self._bulk_places = bulk_places
        self._holder = secrets.token_hex(16)
        self._steps = 0
        # By job id: how many steps failed in a row, and the monotonic time of the next step.
        self._failures: dict[str, tuple[int, float]] = {}

    def free_leases(self) -> None:
        """Release everything that an earlier process held. Only the one process that replaces it may call this."""
        with self._site.catalog.write_system() as tx:
            leases.release_all(tx)
            orders.free_leases(tx)
            for queue in (url_imports.QUEUE, erasures.QUEUE, purge_batches.QUEUE):
                queue.free_leases(tx)

    def _guard(self, step: Callable[[], None]) -> None:
        try:
            step()
        except Exception as error:  # noqa: BLE001 - it is logged
            # The next step, or another process, finds the work in the database.
            faults.count(log, error, "the dispatcher could not do its work")

    def _step_job(self, tenant: str, job_id: str, step: Callable[[], None], message: str) -> None:
        """Take a step of a job. After a failed step the next one waits longer; after a few the job fails."""
        failures, due = self._failures.get(job_id, (0, 0.0))
        if time.monotonic() < due:
            return
        try:
            step()
        except Exception as error:  # noqa: BLE001 - classified and logged
            # An outage causes no pause: the next step follows as soon as the outage ends.
            if not is_outage(error):
                pause = backoff.pause_after(failures + 1, orders.MAX_PAUSE)
                self._failures[job_id] = failures + 1, time.monotonic() + pause.total_seconds()
            self._guard(partial(fail_job, self._site, tenant, job_id, error, message))
        else:
            self._failures.pop(job_id, None)

    def step(self) -> None:
        """Enqueue packs of jobs, ring for due orders, and delete expired rows from time to time.

        Does nothing while another process holds the lease.
        """
        with self._site.catalog.write_system() as tx:
            if not self._mine(tx):
                return
            job_items.count_finished(tx)
            changes = pending_changes.list_pending_changes(tx)
            unmarked = tenants.tenants_to_mark(tx)
        now = time.monotonic()
        self._failures = {job: failed for job, failed in self._failures.items() if failed[1] > now - FORGET_SECONDS}
        self._enqueue_in_turn()
        for tenant, pending_change in changes:
            activate = partial(activate_if_ready, self._site, tenant, pending_change.job_id)
            self._step_job(tenant, pending_change.job_id, activate, "the change of job %s could not be activated")
        for tenant in unmarked:
            self._guard(partial(mark_portion, self._site, tenant))
        if self._can_ring():
            self._ring_for_due()
        self._steps += 1
        if self._steps % STEPS_PER_SWEEP == 1:
            self._guard(self._sweep_uploads)
            self._guard(self._sweep_rows)

    def finish(self) -> None:
        """Release the lease, so that another process dispatches at once."""
        with self._site.catalog.write_system() as tx:
            leases.release_lease(tx, LEASE, self._holder)

    def _ring_for_due(self) -> None:
        with self._site.catalog.write_system() as tx:
            if not self._mine(tx):
                return
            room = INTERACTIVE_PLACES - orders.count_leased(tx, Priority.INTERACTIVE)
            due = orders.take_due(tx, Priority.INTERACTIVE, limit=max(0, min(room, MAX_RINGS)))
            size = batch_size(tx)
            # As many again wait in the queue, so that no worker waits for the next step.
            room = 2 * self._bulk_places * size - orders.count_leased(tx, Priority.BULK)
            bulk = orders.take_due(tx, Priority.BULK, limit=room) if room > 0 else []
        self._ring_batches([[order] for order in due] + list(split_by_tenant(bulk, size)))

    def _mine(self, tx: Tx) -> bool:
        return leases.take_lease(tx, LEASE, self._holder, LEASE_TIME)

    def _ring_batches(self, batches: list[list[DueOrder]]) -> None:
        for number, batch in enumerate(batches):
            try:
                self._ring(batch[0].tenant, [order.pack_id for order in batch], batch[0].priority)
            except QueueFull:
                self._requeue(batches[number:])
                return
            except Exception as error:  # noqa: BLE001 - logged
                faults.count(log, error, "the queue takes no message; packs stay due")
                self._requeue(batches[number:])
                return

    def _requeue(self, batches: list[list[DueOrder]]) -> None:
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
                self._step_job(tenant, job_id, enqueue, "the packs of job %s could not be enqueued")

    def _enqueue(self, tenant: str, job_id: str) -> None:
        with self._site.catalog.write(tenant) as tx:
            job = jobs.get_job(tx, job_id)
            if self._mine(tx) and _has_room(tx, job.priority):
                size = PORTION if job.priority is Priority.BULK else MAX_PENDING_INTERACTIVE
                enqueue_portion(tx, job, size, limit=self._site.limit)

    def _sweep_rows(self) -> None:
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
        """Remove an expired upload. False: it could not be removed; the sweep continues with the others.

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
    """Return how many bulk packs a batch has: the more packs are pending, the larger the batch."""
    return min(MAX_BATCH, max(1, orders.count_pending(tx, Priority.BULK) // MIN_BATCHES))


def split_by_tenant(due: Sequence[DueOrder], size: int) -> Iterator[list[DueOrder]]:
    """Yield batches of at most `size` packs, each of one tenant."""
    by_tenant: dict[str, list[DueOrder]] = {}
    for order in due:
        by_tenant.setdefault(order.tenant, []).append(order)
    for tenant_orders in by_tenant.values():
        for start in range(0, len(tenant_orders), size):
            yield tenant_orders[start : start + size]


def _has_room(tx: Tx, priority: Priority) -> bool:
    most = MAX_PENDING_BULK if priority is Priority.BULK else MAX_PENDING_INTERACTIVE
    return orders.count_pending(tx, priority) < most
