"""The worker: Dramatiq threads that refresh packs, and the dispatcher beside them."""

import logging
import threading
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import dramatiq
from dramatiq import Broker

from packshot import faults
from packshot.catalog.work.orders import Priority
from packshot.site import Site
from pregen.queue.broker import ACTOR, QUEUES, SEPARATOR, QueueDoorbell
from pregen.queue.state import QueueState
from pregen.refreshing.refresh import refresh_packs
from pregen.services.collector import Collector
from pregen.services.cost_recorder import CostRecorder
from pregen.services.dispatcher import Dispatcher
from pregen.services.eraser import Eraser
from pregen.services.marker import Marker
from pregen.services.purger import Purger
from pregen.services.service import Service
from pregen.services.url_importer import UrlImporter
from pregen.services.webhook_sender import WebhookSender

if TYPE_CHECKING:
    from pregen.services.direct_work import DirectWork

log = logging.getLogger(__name__)

# So long a stopping worker lets renders end; what is left then is handed back.
GRACE_SECONDS = 8.0
# Whoever still waits for a queue or store that is silent is left behind then; its leases run out.
STOP_SECONDS = 12.0
PURGE_SECONDS = 5.0
MAINTENANCE_SECONDS = 1.0
# Batches of bulk packs rung for at a time where many workers share one queue.
BULK_RINGS = 64


class Worker(QueueDoorbell):
    """Works on packs until it is stopped. One a process.

    Embedded, it is the only one of its data folder, and the folder's lock sees
    to it; on Redis there may be any number.

    Args:
        threads: packs worked on at once from each queue; threads only wait for
            render processes. None: one for each render process but one.
    """

    def __init__(self, site: Site, broker: Broker, *, threads: int | None = None) -> None:
        super().__init__(broker)
        self._site = site
        self._broker = broker
        self._alone = site.settings.redis_url is None
        places = threads or max(1, site.settings.effective_render_processes - 1)
        dramatiq.actor(actor_name=ACTOR, queue_name=QUEUES[Priority.INTERACTIVE], broker=broker)(self._refresh_named)
        self._direct = None if self._alone else _open_direct_work(site, broker, self._refresh, self._is_idle, places)
        self.dispatcher = Dispatcher(
            site, self.send, bulk_places=places if self._alone else BULK_RINGS, can_ring=self._can_ring
        )
        self._worker = dramatiq.Worker(broker, worker_threads=2 * places, worker_timeout=100)
        # No message waits in a process that is busy while another one is free;
        # and bulk work takes half of the threads at the most.
        self._worker.queue_prefetch = places
        self._webhook_sender = WebhookSender(site)
        self._url_importer = UrlImporter(site, self)
        self._eraser = Eraser(site)
        # With the seconds for which each is waited for; None: to its end.
        self._services: list[tuple[Service, float | None]] = [
            (Purger(site), PURGE_SECONDS),
            (Collector(site), MAINTENANCE_SECONDS),
            (self._eraser, MAINTENANCE_SECONDS),
            (CostRecorder(site), None),
            (Marker(site), MAINTENANCE_SECONDS),
        ]
        self._stopped = threading.Event()
        self._working, self._working_lock = 0, threading.Lock()

    def start(self) -> None:
        """Start working on whatever is due, what an earlier process left included."""
        if self._alone:
            self.dispatcher.free_leases()
        self._broker.emit_after("process_boot")
        self._worker.start()
        self.dispatcher.start()
        self._webhook_sender.start()
        self._url_importer.start()
        for service, _ in self._services:
            service.start()
        if self._direct is not None:
            self._direct.start()

    def stop(self) -> None:
        """Stop taking work; wait a moment for what is being done, and hand the rest back."""
        if self._stopped.is_set():
            return
        self._stopped.set()
        # A closed renderer ends its renders as an outage, which puts their packs back.
        closing = threading.Timer(GRACE_SECONDS, self._site.renderer.close)
        closing.start()
        # All are told before any is waited for, so that their waits do not add up.
        self._webhook_sender.stop()
        self._url_importer.stop()
        for service, _ in self._services:
            service.stop()
        if self._direct is not None:
            self._direct.stop()
        self.dispatcher.stop()
        self._worker.stop(timeout=int(STOP_SECONDS * 1000))
        self._webhook_sender.join()
        self._url_importer.join()
        for service, seconds in self._services:
            service.join(seconds)
        if self._direct is not None:
            # It had as long as the threads of the queue, which stopped beside it.
            self._direct.join(MAINTENANCE_SECONDS)
        closing.cancel()
        closing.join()
        self._broker.close()

    def wake(self) -> None:
        """Look for due work now."""
        self.dispatcher.wake()
        self._url_importer.wake()
        self._eraser.wake()

    def _can_ring(self) -> bool:
        state: QueueState | None = getattr(self._broker, "state", None)
        return state is None or not state.is_failing()

    def _is_idle(self) -> bool:
        return self._working == 0

    def _refresh_named(self, tenant: str, pack_ids: str) -> None:
        self._refresh(tenant, pack_ids.split(SEPARATOR))

    def _refresh(self, tenant: str, pack_ids: Sequence[str]) -> None:
        with self._working_lock:
            self._working += 1
        try:
            refresh_packs(self._site, tenant, pack_ids)
        except Exception as error:  # noqa: BLE001 - it is logged
            # The ledger still says what is to be done; a dead letter would only fill memory.
            faults.count(log, error, "packs stay ordered, %s and others", pack_ids[0])
        finally:
            with self._working_lock:
                self._working -= 1
        self.wake()


def _open_direct_work(
    site: Site, broker: Broker, refresh: Callable[[str, Sequence[str]], None], is_idle: Callable[[], bool], places: int
) -> "DirectWork":
    # Only here: not every installation has Redis.
    from pregen.queue.redis import ObservedRedisBroker
    from pregen.services.direct_work import DirectWork

    assert isinstance(broker, ObservedRedisBroker)
    return DirectWork(site, refresh, broker, is_idle, places=places)
