"""Direct work: a worker whose queue carries no messages takes due orders from the database itself.

The orders are the truth and the queue is only a doorbell, so leases, lanes and
priorities are the same; what several workers poll at a time, each takes apart.
"""

import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import timedelta
from functools import partial
from typing import Protocol

import redis

from packshot.catalog.work import orders
from packshot.catalog.work.orders import Priority
from packshot.site import Site
from pregen.queue.state import QueueState
from pregen.services.dispatcher import batch_size, split_by_tenant
from pregen.services.service import Loop

CHECK_SECONDS = 2.0
# Seconds between polls of each priority that found nothing, while the queue fails.
POLL_SECONDS = 1.0
# An idle worker looks so often for orders that have been due for long although the queue seems to work.
IDLE_POLL_SECONDS = 5.0
OVERDUE = timedelta(seconds=10)


class ObservedQueue(Protocol):
    """A queue that is checked by a message, and whose operations' results are recorded."""

    @property
    def state(self) -> QueueState: ...

    def check(self) -> None: ...


class DirectWork:
    """Polls the database and refreshes packs in threads of its own; they wait while the queue works.

    Args:
        refresh: brings some packs of a tenant up to date.
        queue: checked every few seconds, so that this process notices that it fails, and that it works again.
        is_idle: whether this process works on nothing.
        places: packs, or batches of bulk packs, worked on at a time of each priority.
    """

    def __init__(
        self,
        site: Site,
        refresh: Callable[[str, Sequence[str]], None],
        queue: ObservedQueue,
        is_idle: Callable[[], bool],
        *,
        places: int,
    ) -> None:
        self._site = site
        self._refresh = refresh
        self._queue = queue
        self._is_idle = is_idle
        self._lock = threading.Lock()
        self._next_poll = dict.fromkeys(Priority, 0.0)
        self._loops = {
            priority: [
                Loop(f"direct work {priority.name.lower()} {number}", partial(self._step, priority))
                for number in range(places)
            ]
            for priority in Priority
        }

        self._check_loop = Loop("queue check", self._check, tick=CHECK_SECONDS)

    def start(self) -> None:
        for loop in self._all():
            loop.start()

    def stop(self) -> None:
        """Take no further orders."""
        for loop in self._all():
            loop.stop()

    def join(self, seconds: float) -> None:
        """Wait for the packs in work, all together at most `seconds`; leases return the rest."""
        deadline = time.monotonic() + seconds
        for loop in self._all():
            loop.join(max(0.0, deadline - time.monotonic()))

    def _all(self) -> list[Loop]:
        return [self._check_loop, *(loop for loops in self._loops.values() for loop in loops)]

    def _check(self) -> None:
        # Every failure of the queue is raised as this; its state has recorded it.
        with suppress(redis.ConnectionError):
            self._queue.check()

    def _step(self, priority: Priority) -> bool:
        is_failing = self._queue.state.is_failing()
        if not (is_failing or self._is_idle()) or not self._may_poll(
            priority, POLL_SECONDS if is_failing else IDLE_POLL_SECONDS
        ):
            return False
        with self._site.catalog.write_system() as tx:
            size = batch_size(tx) if priority is Priority.BULK else 1
            due = orders.take_due(tx, priority, limit=size, overdue=timedelta(0) if is_failing else OVERDUE)
        if not due:
            return False
        with self._lock:
            self._next_poll[priority] = 0.0
        # There may be more: the next free thread polls now.
        for loop in self._loops[priority]:
            loop.wake()
        for batch in split_by_tenant(due, size):
            self._refresh(batch[0].tenant, [order.pack_id for order in batch])
        return True

    def _may_poll(self, priority: Priority, seconds: float) -> bool:
        """Return whether a poll is due, and put the next one off: one thread polls at a time."""
        with self._lock:
            if time.monotonic() < self._next_poll[priority]:
                return False
            self._next_poll[priority] = time.monotonic() + seconds
            return True
