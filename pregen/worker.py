"""The worker: Dramatiq threads that refresh packs, and the background services."""

import logging
import threading
from collections.abc import Sequence

import dramatiq
from dramatiq import Broker

from packshot import faults
from packshot.catalog.work.orders import Priority
from packshot.site import Site
from pregen.queue.actors import declare_actors
from pregen.queue.broker import QueueDoorbell
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

log = logging.getLogger(__name__)

# Seconds that a stopping worker waits for renders. Then it releases the packs whose renders have not ended.
GRACE_SECONDS = 8.0
# Seconds that it waits for threads of the queue. A thread may hang in a silent queue or store; its leases expire.
STOP_SECONDS = 12.0
# Batches of bulk packs that the dispatcher rings for at a time if many workers share one queue.
SHARED_BULK_PLACES = 64


class Worker(QueueDoorbell):
    """Refreshes packs and runs the background services until it is stopped. One in each process.

    Without Redis it runs inside the application, and a lock makes it the only one of the data folder. With Redis there
    may be any number.

    Args:
        threads: packs that are refreshed at a time from each queue. The threads only wait for render processes. None:
            one less than there are render processes.
    """

    def __init__(self, site: Site, broker: Broker, *, threads: int | None = None) -> None:
        super().__init__(broker)
        self._site = site
        self._broker = broker
        self._is_alone = site.settings.redis_url is None
        places = threads or max(1, site.settings.effective_render_processes - 1)
        declare_actors(broker, self._refresh)
        self._worker = dramatiq.Worker(broker, worker_threads=2 * places, worker_timeout=100)
        # A busy process fetches no message that an idle one could take. Bulk packs take at most half of the threads.
        self._worker.queue_prefetch = places
        self.dispatcher = Dispatcher(
            site, self.send, bulk_places=places if self._is_alone else SHARED_BULK_PLACES, can_ring=self._can_ring
        )
        self._url_importer = UrlImporter(site, self)
        self._eraser = Eraser(site)
        # All services beside the dispatcher, in the order in which `stop` waits for them.
        self._services: list[Service] = [
            WebhookSender(site),
            self._url_importer,
            Purger(site),
            Collector(site),
            self._eraser,
            CostRecorder(site),
            Marker(site),
        ]
        if not self._is_alone:
            self._services += self._direct_work(places)
        self._stopped = threading.Event()
        self._refreshing, self._refreshing_lock = 0, threading.Lock()

    def start(self) -> None:
        """Start to work on everything that is due. That includes work that an earlier process left."""
        if self._is_alone:
            self.dispatcher.free_leases()
        self._broker.emit_after("process_boot")
        self._worker.start()
        for service in (self.dispatcher, *self._services):
            service.start()

    def stop(self) -> None:
        """Take no further work, wait a moment for the work in progress, and release the rest."""
        if self._stopped.is_set():
            return
        self._stopped.set()
        # A closed renderer ends its renders as an outage, and so the packs are postponed.
        closing = threading.Timer(GRACE_SECONDS, self._site.renderer.close)
        closing.start()
        # Every service stops before the first wait, so that the waits do not add up.
        for service in (self.dispatcher, *self._services):
            service.stop()
        # The dispatcher ends first: it must not ring once the queue's threads have stopped.
        self.dispatcher.join()
        self._worker.stop(timeout=int(STOP_SECONDS * 1000))
        for service in self._services:
            service.join()
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
        return self._refreshing == 0

    def _refresh(self, tenant: str, pack_ids: Sequence[str]) -> None:
        with self._refreshing_lock:
            self._refreshing += 1
        try:
            refresh_packs(self._site, tenant, pack_ids)
        except Exception as error:  # noqa: BLE001 - logged
            # The orders stay in the database. A dead letter in the queue would only fill memory.
            faults.count(log, error, "packs stay ordered, %s and others", pack_ids[0])
        finally:
            with self._refreshing_lock:
                self._refreshing -= 1
        self.wake()

    def _direct_work(self, places: int) -> list[Service]:
        # Imported here, because an installation without Redis does not have the package.
        from pregen.queue.redis import ObservedRedisBroker
        from pregen.services.direct_work import DirectWork, QueueCheck

        broker = self._broker
        assert isinstance(broker, ObservedRedisBroker)
        direct_work = [
            DirectWork(self._site, priority, self._refresh, broker, self._is_idle, threads=places)
            for priority in Priority
        ]
        return [QueueCheck(broker), *direct_work]
