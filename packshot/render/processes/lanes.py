"""Who may render next: a bounded number at once, the most urgent first, and no tenant or original in every place."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import IntEnum
from itertools import count


class Lane(IntEnum):
    """How urgent a render is; the lowest goes first."""

    ON_DEMAND = 0
    # Someone waits for the answer, which takes no longer than one original.
    UPLOAD = 1
    INTERACTIVE = 2
    BULK = 3


class RendererClosed(RuntimeError):
    """The renderer is shutting down, or its processes are being ended from outside."""


class QueueTimeout(RuntimeError):
    """No place became free within the time that the caller can wait."""


@dataclass(frozen=True, slots=True)
class LoadShare:
    """Whom a render is for. Each of these has a limit of its own, see `Lanes`.

    Attributes:
        tenant: name of the tenant; empty: none, and no limit.
        original: SHA-256 of the original; empty: not known, and no limit.
        slow: the render is expected to take long. Limited on demand only.
    """

    tenant: str = ""
    original: str = ""
    slow: bool = False


ANYBODY = LoadShare()


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


@dataclass(frozen=True, slots=True)
class Places:
    """How many of the slots one tenant, one original and all slow renders may have at once.

    A render counts those of its own lane and of more urgent ones. So bulk work never
    keeps an urgent render of the same tenant waiting.
    """

    slots: int

    @property
    def bulk(self) -> int:
        return max(1, self.slots - 1)

    @property
    def tenant(self) -> int:
        return max(1, self.slots - 1)

    @property
    def original(self) -> int:
        return max(1, self.slots // 2)

    @property
    def slow(self) -> int:
        return max(1, self.slots // 2)


@dataclass(frozen=True, slots=True)
class _Ticket:
    lane: Lane
    number: int
    share: LoadShare


class Lanes:
    """Admits a bounded number of renders: by lane, then the tenant with the fewest running, then first come.

    Args:
        slots: how many run at once. Bulk work leaves one of them free, so that
            an urgent render never waits for a whole pack; unless there is but one.
    """

    def __init__(self, slots: int) -> None:
        self.places = Places(slots)
        self._changed = threading.Condition()
        self._numbers = count()
        self._waiting: set[_Ticket] = set()
        self._running: set[_Ticket] = set()
        self._closed = False

    @contextmanager
    def place(
        self, lane: Lane, pulse: Pulse | None = None, share: LoadShare = ANYBODY, patience: float | None = None
    ) -> Iterator[None]:
        """Wait for a place in `lane` and hold it for the block.

        Args:
            patience: seconds to wait at most; None: no limit.

        Raises:
            QueueTimeout: no place became free in that time.
            RendererClosed: closed before a place was free.
        """
        ticket = self._queue(lane, share)
        try:
            self._wait(ticket, pulse or Pulse(), patience)
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
            # Outside the lock: a heartbeat may take its time in a database.
            pulse.beat_if_due()

    def _leave(self, ticket: _Ticket) -> None:
        with self._changed:
            self._waiting.discard(ticket)
            self._running.discard(ticket)
            self._start_fitting()

    def _start_fitting(self) -> None:
        while len(self._running) < self.places.slots:
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
            # Work of other lanes on the same original leaves a place as well.
            everywhere = sum(other.share.original == share.original for other in self._running)
            if everywhere >= max(1, places.slots - 1):
                return False
        if share.slow and ticket.lane is Lane.ON_DEMAND:
            # Beside edits and uploads, the last place is for quick renders.
            urgent = sum(other.lane is not Lane.BULK for other in self._running)
            return urgent < places.tenant and sum(other.share.slow for other in as_urgent) < places.slow
        return True

    def _running_of_tenant(self, ticket: _Ticket) -> int:
        return sum(other.lane <= ticket.lane and other.share.tenant == ticket.share.tenant for other in self._running)
