"""Direct work: the services of a worker that takes due orders from the database while the queue carries no messages.

The database holds the orders, and the queue only rings for them. So leases, lanes and priorities are the same as with
a queue. When several workers poll at the same time, each takes other orders.
"""

import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import timedelta
from typing import Protocol

import redis

from packshot.catalog.work import orders
from packshot.catalog.work.orders import Priority
from packshot.site import Site
from pregen.queue.state import QueueState
from pregen.services.dispatcher import batch_size, split_by_tenant
from pregen.services.service import Service

CHECK_SECONDS = 2.0
# Seconds between two polls of one priority that found no order, while the queue fails.
POLL_SECONDS = 1.0
# The same while the queue seems to work: an idle worker looks for orders that are overdue.
IDLE_POLL_SECONDS = 5.0
OVERDUE = timedelta(seconds=10)
# The threads of the queue stop beside these services, and the worker waits for those first.
PATIENCE_SECONDS = 0.5


class ObservedQueue(Protocol):
    """A queue that records the results of its operations, and that a message can check."""

    @property
    def state(self) -> QueueState: ...

    def check(self) -> None: ...


class QueueCheck(Service):
    """Checks the queue every few seconds, so that this process notices when it fails and when it works again."""

    def __init__(self, queue: ObservedQueue) -> None:
        super().__init__("queue check", interval=CHECK_SECONDS, patience=0.0)
        self._queue = queue

    def step(self) -> None:
        """Send one message to the queue and read it."""
        # Every failure of the queue is raised as this error; the queue's state has recorded it.
        with suppress(redis.ConnectionError):
            self._queue.check()


class DirectWork(Service):
    """Polls the database for due orders of one priority, and refreshes their packs in its own threads.

    Args:
        refresh: brings some packs of a tenant up to date.
        queue: while it works, only an idle worker polls.
        is_idle: whether this worker refreshes no pack.
        threads: packs, or batches of bulk packs, that are refreshed at a time.
    """

    def __init__(
        self,
        site: Site,
        priority: Priority,
        refresh: Callable[[str, Sequence[str]], None],
        queue: ObservedQueue,
        is_idle: Callable[[], bool],
        *,
        threads: int,
    ) -> None:
        super().__init__(f"direct work {priority.name.lower()}", threads=threads, patience=PATIENCE_SECONDS)
        self._site = site
        self._priority = priority
        self._refresh = refresh
        self._queue = queue
        self._is_idle = is_idle
        self._lock = threading.Lock()
        self._next_poll = 0.0

    def step(self) -> bool:
        """Refresh the packs of some due orders. False: none is due, or the queue brings them."""
        is_failing = self._queue.state.is_failing()
        if not (is_failing or self._is_idle()) or not self._may_poll(POLL_SECONDS if is_failing else IDLE_POLL_SECONDS):
            return False
        with self._site.catalog.write_system() as tx:
            size = batch_size(tx) if self._priority is Priority.BULK else 1
            due = orders.take_due(tx, self._priority, limit=size, overdue=timedelta(0) if is_failing else OVERDUE)
        if not due:
            return False
        with self._lock:
            self._next_poll = 0.0
        # There may be more orders: the next free thread polls now.
        self.wake()
        for batch in split_by_tenant(due, size):
            self._refresh(batch[0].tenant, [order.pack_id for order in batch])
        return True

    def _may_poll(self, seconds: float) -> bool:
        """Return whether a poll is due, and set the time of the next one: one thread polls at a time."""
        with self._lock:
            if time.monotonic() < self._next_poll:
                return False
            self._next_poll = time.monotonic() + seconds
            return True
