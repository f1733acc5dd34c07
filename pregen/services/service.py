"""A thread that does one thing again and again, and does not end because it once could not."""

import logging
import threading
import time
from collections.abc import Callable

from packshot import faults

TICK_SECONDS = 1.0

log = logging.getLogger(__name__)


class Loop:
    """Takes a step every so often, and sooner when woken, until it is stopped.

    What a step raises is logged and no more: whatever it left undone is in the
    database, where the next step or another process finds it.

    Args:
        name: of the thread, and in the log.
        step: what is done; True: there is more, and the next one follows at once.
        tick: seconds from a step that found nothing to the next.
        gap: seconds from one step to the next at least, however often it is woken.
    """

    def __init__(
        self, name: str, step: Callable[[], bool | None], *, tick: float = TICK_SECONDS, gap: float = 0.0
    ) -> None:
        self.name = name
        self._step = step
        self._tick = tick
        self._gap = gap
        self._wake = threading.Event()
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def start(self) -> None:
        self._thread.start()

    def wake(self) -> None:
        """Take the next step now."""
        self._wake.set()

    def stop(self) -> None:
        """Take no further step."""
        self._stopping = True
        self._wake.set()

    def join(self, seconds: float | None = None) -> None:
        """Wait for the last step to end."""
        if self._thread.ident is not None:
            self._thread.join(seconds)

    def _run(self) -> None:
        while not self._stopping:
            # Before the step, so that a call during it is not missed.
            self._wake.clear()
            more = False
            try:
                more = bool(self._step())
            except Exception as error:  # noqa: BLE001 - it is logged
                faults.count(log, error, f"the {self.name} could not take its step")
            if not more:
                self._wake.wait(self._tick)
            if self._gap and not self._stopping:
                time.sleep(self._gap)


class Service:
    """Background work of one process: a loop from `start` to `stop`.

    Args:
        last: what is done once more after the loop has ended.
    """

    def __init__(self, loop: Loop, last: Callable[[], object] | None = None) -> None:
        self._loop = loop
        self._last = last

    def start(self) -> None:
        self._loop.start()

    def stop(self) -> None:
        """Take no further step. Does not wait."""
        self._loop.stop()

    def join(self, seconds: float | None = None) -> None:
        """Wait for the step in work, then do what is last. Other processes do what is left."""
        self._loop.join(seconds)
        if self._last is None:
            return
        try:
            self._last()
        except Exception as error:  # noqa: BLE001 - logged, so that the rest of the process still stops in order
            faults.count(log, error, f"the {self._loop.name} could not take its last step")

    def wake(self) -> None:
        """Take the next step now."""
        self._loop.wake()
