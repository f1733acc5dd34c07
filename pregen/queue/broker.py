"""The queue: Dramatiq carries a pack's id to whoever is free, and nothing else.

In memory for one process, on Redis or Valkey for many. Either may lose every
message and no work is lost: the dispatcher rings again for whatever is due.
"""

import logging
import os
import time
from collections.abc import Sequence

# Read by Dramatiq when it is imported; a worker sets its own number afterwards.
os.environ.setdefault("dramatiq_queue_prefetch", "1")
# Half of it is the most messages fetched at a time. Known beforehand, it need not be asked of a server
# that may be silent, while every other thread waits for the answer.
os.environ.setdefault("dramatiq_lua_max_stack", "1998")

from dramatiq import Broker, Message
from dramatiq.brokers.stub import StubBroker

from packshot import faults
from packshot.catalog.work.orders import Priority
from packshot.settings.settings import Settings
from pregen.queue.state import QueueState

log = logging.getLogger(__name__)

ACTOR = "refresh_pack"
# Between the packs of one message, so that it stays one text as it always was.
SEPARATOR = ","
QUEUES = {Priority.INTERACTIVE: "interactive", Priority.BULK: "bulk"}

# A queue in which so many messages wait is not rung: the dispatcher rings later for what is still due.
MAX_WAITING = 2_000
# So long a queue that was away is not rung: an edit of a hundred packs waits for it once.
SILENT_SECONDS = 5.0


def make_broker(settings: Settings) -> Broker:
    """Return the broker that the settings name, with both queues declared.

    Without middleware: the ledger decides what is tried again, when, and how
    long it may take.
    """
    broker: Broker
    if settings.redis_url is None:
        broker = StubBroker(middleware=[])
    else:
        # Only here: not every installation has Redis.
        from pregen.queue.redis import ObservedRedisBroker

        for queue in QUEUES.values():
            logging.getLogger(f"dramatiq.worker.ConsumerThread({queue})").addFilter(_is_no_retry)
        broker = ObservedRedisBroker(settings.redis_url.get_secret_value(), QueueState())
    for queue in QUEUES.values():
        broker.declare_queue(queue)
    return broker


class QueueFull(Exception):
    """So many messages wait that another one would not be read sooner than the dispatcher rings again."""


class QueueDoorbell:
    """Rings by a message in the queue.

    A queue that is away costs a few seconds, not the edit that rang: the order
    is committed by then, and the dispatcher finds it.
    """

    def __init__(self, broker: Broker) -> None:
        self._broker = broker
        self._away_until = 0.0

    def ring(self, tenant: str, pack_id: str, priority: Priority) -> None:
        """Ask for a pack to be brought up to date; log it if the queue is away.

        Then the next few rings are left to the dispatcher without asking again.
        """
        if time.monotonic() < self._away_until:
            return
        try:
            self.send(tenant, [pack_id], priority)
        except QueueFull:
            return
        except Exception as error:  # noqa: BLE001 - it is logged
            self._away_until = time.monotonic() + SILENT_SECONDS
            faults.count(log, error, "the queue is away; the dispatcher sends for pack %s and others", pack_id)

    def send(self, tenant: str, pack_ids: Sequence[str], priority: Priority) -> None:
        """Put a message for some packs into the queue.

        Raises:
            QueueFull: enough messages wait already.
            Exception: what the queue raises.
        """
        if _count_waiting(self._broker, QUEUES[priority]) >= MAX_WAITING:
            raise QueueFull
        message: Message[None] = Message(
            queue_name=QUEUES[priority],
            actor_name=ACTOR,
            args=(tenant, SEPARATOR.join(pack_ids)),
            kwargs={},
            options={},
        )
        self._broker.enqueue(message)

    def wake(self) -> None:
        """Do nothing: the dispatcher may be another process, and looks within a second."""


def _is_no_retry(record: logging.LogRecord) -> bool:
    """Drop what Dramatiq logs at each of many attempts: `QueueState` logs once that the queue fails."""
    return not record.msg.startswith(("Consumer encountered a connection error", "Failed to post_process_message"))


def _count_waiting(broker: Broker, queue: str) -> int:
    if isinstance(broker, StubBroker):
        in_memory: int = broker.queues[queue].qsize()
        return in_memory
    waiting: int = broker.count_waiting(queue)  # type: ignore[attr-defined]
    return waiting
