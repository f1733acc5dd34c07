"""Who may render next: a bounded number at once, the most urgent first."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import IntEnum
from itertools import count


class Lane(IntEnum):
    """How urgent a render is; the lowest goes first."""

    ON_DEMAND = 0
    INTERACTIVE = 1
    BULK = 2


class RendererClosed(RuntimeError):
    """The renderer is shutting down, or its processes are being ended from outside."""


class Pulse:
    """Calls back at intervals while its thread waits for something else.

    Args:
        beat: what is called; None: nothing ever is.
        seconds: the time from one call to the next.
    """

    def __init__(self, beat: Callable[[], None] | None = None, seconds: float = 15.0) -> None:
        self._beat = beat
        self._seconds = seconds
        self._due = time.monotonic() + seconds

    def remaining(self) -> float | None:
        """Return the seconds until the next call is due; None: never."""
        return None if self._beat is None else max(0.0, self._due - time.monotonic())

    def beat_if_due(self) -> None:
        """Call back if it is time; whatever that raises is the caller's to see."""
        if self._beat is not None and time.monotonic() >= self._due:
            self._beat()
            self._due = time.monotonic() + self._seconds


_Ticket = tuple[Lane, int]


class Lanes:
    """Admits a bounded number of renders: by lane, then first come, first served.

    Args:
        slots: how many run at once. Bulk work leaves one of them free, so that
            an urgent render never waits for a whole pack; unless there is but one.
    """

    def __init__(self, slots: int) -> None:
        self._slots = slots
        self._bulk_slots = max(1, slots - 1)
        self._changed = threading.Condition()
        self._numbers = count()
        self._waiting: set[_Ticket] = set()
        self._running: set[_Ticket] = set()
        self._closed = False

    @contextmanager
    def place(self, lane: Lane, pulse: Pulse | None = None) -> Iterator[None]:
        """Wait for a place in `lane` and hold it for the block.

        Raises:
            RendererClosed: closed before a place was free.
        """
        ticket = self._queue(lane)
        try:
            self._wait(ticket, pulse or Pulse())
            yield
        finally:
            self._leave(ticket)

    def close(self) -> None:
        """Turn away all who wait, now and later; those who run keep their place."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def waiting(self) -> int:
        """Return how many callers of any lane wait."""
        with self._changed:
            return len(self._waiting)

    def _queue(self, lane: Lane) -> _Ticket:
        with self._changed:
            ticket = (lane, next(self._numbers))
            self._waiting.add(ticket)
            self._admit()
            return ticket

    def _wait(self, ticket: _Ticket, pulse: Pulse) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._closed or ticket in self._running, pulse.remaining())
                if self._closed:
                    raise RendererClosed("the renderer is closed")
                if ticket in self._running:
                    return
            # Outside the lock: a heartbeat may take its time in a database.
            pulse.beat_if_due()

    def _leave(self, ticket: _Ticket) -> None:
        with self._changed:
            self._waiting.discard(ticket)
            self._running.discard(ticket)
            self._admit()

    def _admit(self) -> None:
        for ticket in sorted(self._waiting):
            bulk = sum(other[0] is Lane.BULK for other in self._running)
            if len(self._running) >= self._slots or (ticket[0] is Lane.BULK and bulk >= self._bulk_slots):
                break
            self._waiting.remove(ticket)
            self._running.add(ticket)
        self._changed.notify_all()
