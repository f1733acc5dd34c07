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

from dramatiq import Broker, Message
from dramatiq.brokers.stub import StubBroker

from packshot.catalog.orders import Priority
from packshot.settings import Settings

log = logging.getLogger(__name__)

ACTOR = "refresh_pack"
# Between the packs of one message, so that it stays one text as it always was.
SEPARATOR = ","
QUEUES = {Priority.INTERACTIVE: "interactive", Priority.BULK: "bulk"}

# A worker that has not been heard of for so long is dead; its messages go back.
HEARTBEAT_MILLISECONDS = 15_000
# Dramatiq gives a dead worker's messages back only when maintenance runs, by
# default with one command in a thousand: too rarely for a quiet night.
MAINTENANCE_IN_A_MILLION = 50_000
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
        import redis
        from dramatiq.brokers.redis import RedisBroker
        from redis.backoff import NoBackoff
        from redis.retry import Retry

        # A queue that is away must not hold up the edit that rings; by default
        # the client would try again for many seconds.
        client = redis.Redis.from_url(
            settings.redis_url.get_secret_value(),
            socket_connect_timeout=1,
            socket_timeout=2,
            # A connection that was cut is made anew; a queue that is silent is not asked twice.
            retry=Retry(NoBackoff(), 1, supported_errors=(redis.ConnectionError,)),
        )
        broker = RedisBroker(  # type: ignore[no-untyped-call]
            client=client,
            middleware=[],
            namespace="packshot",
            heartbeat_timeout=HEARTBEAT_MILLISECONDS,
            maintenance_chance=MAINTENANCE_IN_A_MILLION,
        )
    for queue in QUEUES.values():
        broker.declare_queue(queue)
    return broker


class QueueBell:
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
        except Exception:
            self._away_until = time.monotonic() + SILENT_SECONDS
            log.warning("the queue is away; the dispatcher will ring for pack %s and others", pack_id, exc_info=True)

    def send(self, tenant: str, pack_ids: Sequence[str], priority: Priority) -> None:
        """Put a message for some packs into the queue, or raise what the queue raises."""
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


def is_reachable(broker: Broker) -> bool:
    """Whether the queue answers; one in memory always does."""
    client = getattr(broker, "client", None)
    return client is None or bool(client.ping())
