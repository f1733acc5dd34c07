"""Decide which renders run: a bounded number, most urgent first, with limits for each tenant and original."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import IntEnum
from itertools import count


class Lane(IntEnum):
    """The urgency of a render. The lowest number goes first."""

    ON_DEMAND = 0
    # A client waits for the answer, and one original does not take long.
    UPLOAD = 1
    INTERACTIVE = 2
    BULK = 3


class RendererClosed(RuntimeError):
    """The renderer is closed, or its processes are ended from outside."""


class QueueTimeout(RuntimeError):
    """No process slot became free in the time that the caller can wait."""


@dataclass(frozen=True, slots=True)
class LoadShare:
    """The tenant and original of a render. Each may use a limited share of the process slots, see `Lanes`.

    Attributes:
        tenant: name of the tenant; no limit if empty.
        original: SHA-256 of the original; no limit if empty.
        slow: whether the render is expected to take long. Limited in the on-demand lane only.
    """

    tenant: str = ""
    original: str = ""
    slow: bool = False


ANY_CLIENT = LoadShare()


class Pulse:
    """Calls a function at intervals while the thread waits for something else.

    Args:
        beat: the function; None means never.
        seconds: time between calls.
    """

    def __init__(self, beat: Callable[[], None] | None = None, seconds: float = 15.0) -> None:
        self._beat = beat
        self._seconds = seconds
        self._due = time.monotonic() + seconds

    def remaining(self) -> float | None:
        """Return the seconds until the next call is due; None means never."""
        return None if self._beat is None else max(0.0, self._due - time.monotonic())

    def beat_if_due(self) -> None:
        """Call the function if it is due. Its exceptions reach the caller."""
        if self._beat is not None and time.monotonic() >= self._due:
            self._beat()
            self._due = time.monotonic() + self._seconds


@dataclass(frozen=True, slots=True)
class Places:
    """The number of process slots that one tenant, one original and all slow renders may use at once.

    A render counts the renders of its own lane and of more urgent lanes. So bulk work does not delay an urgent render
    of the same tenant.
    """

    process_slots: int

    @property
    def bulk(self) -> int:
        return max(1, self.process_slots - 1)

    @property
    def tenant(self) -> int:
        return max(1, self.process_slots - 1)

    @property
    def original(self) -> int:
        return max(1, self.process_slots // 2)

    @property
    def slow(self) -> int:
        return max(1, self.process_slots // 2)


@dataclass(frozen=True, slots=True)
class _Ticket:
    lane: Lane
    number: int
    share: LoadShare


class Lanes:
    """Limits the number of running renders. The order is: lane, then the tenant with the fewest renders, then arrival.

    Args:
        process_slots: how many renders run at once. Bulk work leaves one free if there are several, so that an urgent
            render does not wait for a whole pack.
    """

    def __init__(self, process_slots: int) -> None:
        self.places = Places(process_slots)
        self._changed = threading.Condition()
        self._numbers = count()
        self._waiting: set[_Ticket] = set()
        self._running: set[_Ticket] = set()
        self._closed = False

    @contextmanager
    def place(
        self, lane: Lane, pulse: Pulse | None = None, share: LoadShare = ANY_CLIENT, patience: float | None = None
    ) -> Iterator[None]:
        """Wait for a process slot, and hold it for the block.

        Args:
            lane: urgency of the render.
            pulse: is called while waiting.
            share: the tenant and original of the render.
            patience: seconds to wait at most; None means no limit.

        Raises:
            QueueTimeout: no process slot became free in that time.
            RendererClosed: closed before one became free.
        """
        ticket = self._queue(lane, share)
        try:
            self._wait(ticket, pulse or Pulse(), patience)
            yield
        finally:
            self._leave(ticket)

    def close(self) -> None:
        """Refuse all waiting and future callers. Running renders continue."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def waiting(self) -> int:
        """Return the number of waiting callers in all lanes."""
        with self._changed:
            return len(self._waiting)

    def _queue(self, lane: Lane, share: LoadShare) -> _Ticket:
        with self._changed:
            ticket = _Ticket(lane, next(self._numbers), share)
            self._waiting.add(ticket)
            self._start_fitting()
            return ticket

    def _wait(self, ticket: _Ticket, pulse: Pulse, patience: float | None) -> None:
        end = None if patience is None else time.monotonic() + patience
        while True:
            left = None if end is None else max(0.0, end - time.monotonic())
            pauses = [pause for pause in (pulse.remaining(), left) if pause is not None]
            with self._changed:
                self._changed.wait_for(lambda: self._closed or ticket in self._running, min(pauses, default=None))
                if self._closed:
                    raise RendererClosed("the renderer is closed")
                if ticket in self._running:
                    return
            if end is not None and time.monotonic() >= end:
                raise QueueTimeout(f"no render process became free in {patience:g} s")
            # Outside the lock, because a heartbeat may wait for a database.
            pulse.beat_if_due()

    def _leave(self, ticket: _Ticket) -> None:
        with self._changed:
            self._waiting.discard(ticket)
            self._running.discard(ticket)
            self._start_fitting()

    def _start_fitting(self) -> None:
        while len(self._running) < self.places.process_slots:
            fitting = [ticket for ticket in self._waiting if self._fits(ticket)]
            if not fitting:
                break
            ticket = min(fitting, key=lambda one: (one.lane, self._running_of_tenant(one), one.number))
            self._waiting.remove(ticket)
            self._running.add(ticket)
        self._changed.notify_all()

    def _fits(self, ticket: _Ticket) -> bool:
        places, share = self.places, ticket.share
        as_urgent = [other for other in self._running if other.lane <= ticket.lane]
        if ticket.lane is Lane.BULK and sum(other.lane is Lane.BULK for other in as_urgent) >= places.bulk:
            return False
        if share.tenant and self._running_of_tenant(ticket) >= places.tenant:
            return False
        if share.original:
            if sum(other.share.original == share.original for other in as_urgent) >= places.original:
                return False
            # Less urgent work on the same original must leave a process slot free too.
            everywhere = sum(other.share.original == share.original for other in self._running)
            if everywhere >= max(1, places.process_slots - 1):
                return False
        if share.slow and ticket.lane is Lane.ON_DEMAND:
            # Slow renders leave one process slot free for quick ones, beside edits and uploads.
            urgent = sum(other.lane is not Lane.BULK for other in self._running)
            return urgent < places.tenant and sum(other.share.slow for other in as_urgent) < places.slow
        return True

    def _running_of_tenant(self, ticket: _Ticket) -> int:
        return sum(other.lane <= ticket.lane and other.share.tenant == ticket.share.tenant for other in self._running)
