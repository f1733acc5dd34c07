"""The interface of every background service: threads that repeat one step until they are stopped."""

import logging
import threading
import time
from abc import ABC, abstractmethod

from packshot import faults

log = logging.getLogger(__name__)


class Service(ABC):
    """Background work of one process, from `start` to `stop`.

    A subclass defines `step`. When a step raises an exception, the service logs it and continues. The work that the
    step left is in the database, where the next step or another process finds it.

    Args:
        name: name of the threads, used in log messages.
        interval: seconds from a step that found no work to the next one.
        gap: least number of seconds between two steps, however often the service is woken.
        threads: how many threads repeat the step.
        patience: most seconds that `join` waits; None: until the steps in progress have ended.
    """

    def __init__(
        self,
        name: str,
        *,
        interval: float = 1.0,
        gap: float = 0.0,
        threads: int = 1,
        patience: float | None = 1.0,
    ) -> None:
        self.name = name
        self._interval = interval
        self._gap = gap
        self._patience = patience
        self._stopping = False
        self._wakes = [threading.Event() for _ in range(threads)]
        self._threads = [
            threading.Thread(target=self._run, args=(wake,), name=f"{name} {number}", daemon=True)
            for number, wake in enumerate(self._wakes, 1)
        ]

    @abstractmethod
    def step(self) -> bool | None:
        """Do one portion of work. True: there is more, and the next step follows at once."""

    def finish(self) -> None:  # noqa: B027 - most services have nothing to do here
        """Do the last work, after the threads have ended."""

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def wake(self) -> None:
        """Take the next step now."""
        for wake in self._wakes:
            wake.set()

    def stop(self) -> None:
        """Take no further step. Does not wait."""
        self._stopping = True
        self.wake()

    def join(self) -> None:
        """Wait for the steps in progress, then finish. Leases return the work that takes longer."""
        deadline = None if self._patience is None else time.monotonic() + self._patience
        for thread in self._threads:
            if thread.ident is not None:
                thread.join(None if deadline is None else max(0.0, deadline - time.monotonic()))
        try:
            self.finish()
        except Exception as error:  # noqa: BLE001 - logged, so that the process stops in order
            faults.count(log, error, f"the {self.name} could not take its last step")

    def _run(self, wake: threading.Event) -> None:
        while not self._stopping:
            # Before the step, so that a call of `wake` during the step counts.
            wake.clear()
            more = False
            try:
                more = bool(self.step())
            except Exception as error:  # noqa: BLE001 - logged
                faults.count(log, error, f"the {self.name} could not take its step")
            if not more:
                wake.wait(self._interval)
            if self._gap and not self._stopping:
                time.sleep(self._gap)
