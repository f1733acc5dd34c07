"""The queue: a Dramatiq broker, in memory for one process, or on Redis or Valkey for many.

Messages name packs and nothing else. A queue that loses every message loses no work: the dispatcher rings again for
every due order.
"""

import logging
import os
import time
from collections.abc import Sequence

# Dramatiq reads this when it is imported. A worker sets its own number afterwards.
os.environ.setdefault("dramatiq_queue_prefetch", "1")
# Half of this is the most messages that a worker fetches at a time. Without it, Dramatiq asks the server. If the server
# were silent, every other thread would wait for its answer.
os.environ.setdefault("dramatiq_lua_max_stack", "1998")

from dramatiq import Broker
from dramatiq.brokers.stub import StubBroker

from packshot import faults
from packshot.catalog.work.orders import Priority
from packshot.settings.settings import Settings
from pregen.queue.actors import QUEUES, refresh_message
from pregen.queue.state import QueueState

log = logging.getLogger(__name__)

# Messages that may wait in a queue. Beyond that nothing is sent: the dispatcher rings later for orders that stay due.
MAX_WAITING = 2_000
# Seconds without a message after the queue has failed, so that an edit of a hundred packs waits for it once.
SILENT_SECONDS = 5.0


def make_broker(settings: Settings) -> Broker:
    """Return the broker that the settings choose, with both queues declared.

    It has no middleware, because the ledger decides about retries and time limits.
    """
    broker: Broker
    if settings.redis_url is None:
        broker = StubBroker(middleware=[])
    else:
        # Imported here, because an installation without Redis does not have the package.
        from pregen.queue.redis import ObservedRedisBroker

        for queue in QUEUES.values():
            logging.getLogger(f"dramatiq.worker.ConsumerThread({queue})").addFilter(_is_no_retry)
        broker = ObservedRedisBroker(settings.redis_url.get_secret_value(), QueueState())
    for queue in QUEUES.values():
        broker.declare_queue(queue)
    return broker


class QueueFull(Exception):
    """The queue has `MAX_WAITING` messages: the dispatcher would ring again before a worker reads another one."""


class QueueDoorbell:
    """The doorbell that sends a message.

    If the queue does not answer, the edit takes a few seconds longer. It is not lost: its order is committed before the
    doorbell rings, and the dispatcher finds it.
    """

    def __init__(self, broker: Broker) -> None:
        self._broker = broker
        self._away_until = 0.0

    def ring(self, tenant: str, pack_id: str, priority: Priority) -> None:
        """Ask the workers to refresh a pack. Logs a failure of the queue.

        After a failure, rings of the next seconds send nothing: the dispatcher rings for their packs.
        """
        if time.monotonic() < self._away_until:
            return
        try:
            self.send(tenant, [pack_id], priority)
        except QueueFull:
            return
        except Exception as error:  # noqa: BLE001 - it is logged
            self._away_until = time.monotonic() + SILENT_SECONDS
            faults.count(log, error, "the queue does not answer; the dispatcher rings for pack %s and others", pack_id)

    def send(self, tenant: str, pack_ids: Sequence[str], priority: Priority) -> None:
        """Send a message that names some packs.

        Raises:
            QueueFull: too many messages wait.
            Exception: an error of the queue.
        """
        if _count_waiting(self._broker, QUEUES[priority]) >= MAX_WAITING:
            raise QueueFull
        self._broker.enqueue(refresh_message(tenant, pack_ids, priority))

    def wake(self) -> None:
        """Do nothing: the dispatcher may run in another process, and takes its next step within a second."""


def _is_no_retry(record: logging.LogRecord) -> bool:
    """Drop the message that Dramatiq logs at each attempt: `QueueState` logs once that the queue fails."""
    return not record.msg.startswith(("Consumer encountered a connection error", "Failed to post_process_message"))


def _count_waiting(broker: Broker, queue: str) -> int:
    if isinstance(broker, StubBroker):
        in_memory: int = broker.queues[queue].qsize()
        return in_memory
    waiting: int = broker.count_waiting(queue)  # type: ignore[attr-defined]
    return waiting
