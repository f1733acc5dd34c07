"""The queue on Redis or Valkey: a Dramatiq broker that records the result of each operation."""

from collections.abc import Callable
from typing import Any
from uuid import uuid4

import redis
from dramatiq.brokers.redis import RedisBroker
from redis.backoff import NoBackoff
from redis.retry import Retry

from packshot.faults import summarise
from pregen.queue.state import QueueState

NAMESPACE = "packshot"
# A worker that is silent for this long counts as dead; its messages return to the queue.
HEARTBEAT_MILLISECONDS = 15_000
# Dramatiq returns a dead worker's messages during maintenance. By default that runs with one command in a thousand,
# which is too rare when there is little traffic.
MAINTENANCE_IN_A_MILLION = 50_000
# Dead letters are not read: the database holds the work.
DEAD_LETTER_MILLISECONDS = 3_600_000
CONNECT_SECONDS, ANSWER_SECONDS = 1.0, 2.0
# The queue that checks write and read. No worker consumes it.
CHECK_QUEUE = "check"


class ObservedRedisBroker(RedisBroker):
    """Records whether each operation works. Every failure is raised as `redis.ConnectionError`.

    Dramatiq retries after this error without a log message. After other errors it would log a traceback each time, and
    would not repeat an acknowledgement that failed once.

    Args:
        url: URL of the server.
        state: gets the result of every operation.
    """

    def __init__(self, url: str, state: QueueState) -> None:
        # A queue that does not answer must not delay the edit that rings. By default the client would retry for many
        # seconds.
        client = redis.Redis.from_url(
            url,
            socket_connect_timeout=CONNECT_SECONDS,
            socket_timeout=ANSWER_SECONDS,
            # A closed connection is opened again. A silent server is not asked twice.
            retry=Retry(NoBackoff(), 1, supported_errors=(redis.ConnectionError,)),
        )
        super().__init__(  # type: ignore[no-untyped-call]
            client=client,
            middleware=[],
            namespace=NAMESPACE,
            heartbeat_timeout=HEARTBEAT_MILLISECONDS,
            maintenance_chance=MAINTENANCE_IN_A_MILLION,
            dead_message_ttl=DEAD_LETTER_MILLISECONDS,
        )
        self.state = state
        self._unread_checks = 0

    def declare_queue(self, queue_name: str) -> None:
        """Declare a queue without Dramatiq's second queue for delayed messages: no message is delayed."""
        if queue_name not in self.queues:
            self.emit_before("declare_queue", queue_name)
            self.queues.add(queue_name)
            self.emit_after("declare_queue", queue_name)

    def count_waiting(self, queue_name: str) -> int:
        """Return how many messages wait in a queue."""
        return int(self._observe(f"length of {queue_name}", lambda: self.client.llen(f"{NAMESPACE}:{queue_name}")))

    def check(self) -> None:
        """Write a message, read one and acknowledge it, by the same commands as for other messages.

        Raises:
            redis.ConnectionError: the queue does not work.
        """
        message_id = uuid4().hex
        self.do_enqueue(CHECK_QUEUE, message_id, message_id)
        self._unread_checks += 1
        # Another process may read this message. Each process reads as many as it has written, so that none remains.
        read = self.do_fetch(CHECK_QUEUE, self._unread_checks)
        for found in filter(None, read):
            self.do_ack(CHECK_QUEUE, found)
        self._unread_checks = max(0, self._unread_checks - len(read))
        if not read:
            raise redis.ConnectionError("a message that was written could not be read")

    def _dispatch(self, command: str) -> Callable[..., Any]:
        dispatch = super()._dispatch(command)  # type: ignore[no-untyped-call]

        def observed(queue_name: str, *args: Any) -> Any:
            return self._observe(f"{command} {queue_name}", lambda: dispatch(queue_name, *args))

        return observed

    def _observe(self, operation: str, act: Callable[[], Any]) -> Any:
        try:
            answer = act()
        except redis.RedisError as error:
            self.state.record_failure(operation, error)
            raise redis.ConnectionError(summarise(error)) from error
        self.state.record_success(operation)
        return answer
