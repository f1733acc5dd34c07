"""The queue: Dramatiq carries a pack's id to whoever is free, and nothing else.

Embedded, the queue is memory and the worker is threads of this process. A lost
message loses no work: the dispatcher rings again for whatever is due.
"""

import logging
import os
import threading

# Read by Dramatiq when it is imported: a worker takes one message at a time, so
# that none waits behind a long one in a process that is busy.
os.environ.setdefault("dramatiq_queue_prefetch", "1")

import dramatiq
from dramatiq.brokers.stub import StubBroker

from packshot.catalog.orders import Priority
from packshot.site import Site
from pregen.dispatch import Dispatcher
from pregen.refresh import refresh_pack

log = logging.getLogger(__name__)

QUEUES = {Priority.INTERACTIVE: "interactive", Priority.BULK: "bulk"}


class Pregen:
    """The embedded worker: a broker in memory, worker threads and the dispatcher.

    One a process, and one process a data folder; the folder's lock sees to it.
    """

    def __init__(self, site: Site) -> None:
        self._site = site
        # No Retries: the ledger decides what is tried again, and when.
        self.broker = StubBroker(middleware=[])
        declare = dramatiq.actor(actor_name="refresh_pack", queue_name=QUEUES[Priority.INTERACTIVE], broker=self.broker)
        self._actor = declare(self._refresh)
        self.broker.declare_queue(QUEUES[Priority.BULK])
        self.dispatcher = Dispatcher(site, self.ring, bulk_places=max(1, site.settings.effective_render_processes - 1))
        # Threads only wait for render processes; two more than those, so that
        # an edit finds one free while bulk work holds all it may.
        self._worker = dramatiq.Worker(
            self.broker, worker_threads=site.settings.effective_render_processes + 2, worker_timeout=100
        )
        self._stopped = threading.Event()

    def start(self) -> None:
        """Start working on whatever is due, what an earlier process left included."""
        self.dispatcher.free_leases()
        self.broker.emit_after("process_boot")
        self._worker.start()
        self.dispatcher.start()

    def stop(self) -> None:
        """Stop taking work, and wait for what is being done."""
        if not self._stopped.is_set():
            self._stopped.set()
            self.dispatcher.stop()
            self._worker.stop()
            self.broker.close()

    def ring(self, tenant: str, pack_id: str, priority: Priority) -> None:
        """Ask for a pack to be brought up to date."""
        # The queue is chosen by the order; the actor is the same for both.
        message = self._actor.message(tenant, pack_id).copy(queue_name=QUEUES[priority])
        self.broker.enqueue(message)

    def wake(self) -> None:
        """Look for due work now."""
        self.dispatcher.wake()

    def _refresh(self, tenant: str, pack_id: str) -> None:
        try:
            refresh_pack(self._site, tenant, pack_id)
        except Exception:
            # The ledger still says what is to be done; a dead letter would only fill memory.
            log.exception("the catalog is out of reach; pack %s stays ordered", pack_id)
        self.wake()
