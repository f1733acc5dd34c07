"""Whether the queue works, judged by the result of each operation of this process."""

import logging
import threading
import time

from packshot.faults import summarise

log = logging.getLogger(__name__)

# Seconds for which a failed operation counts. A process that needs the queue retries sooner.
MEMORY_SECONDS = 10.0


class QueueState:
    """Remembers which operations failed at their last try. Logs when the queue begins to fail and when it works again.

    Thread-safe.
    """

    def __init__(self, memory: float = MEMORY_SECONDS) -> None:
        self._memory = memory
        self._lock = threading.Lock()
        self._failed_at: dict[str, float] = {}
        self._failing_since: float | None = None

    def is_failing(self) -> bool:
        """Return whether an operation failed at its last try and the memory of it has not expired."""
        with self._lock:
            self._forget()
            return bool(self._failed_at)

    def record_failure(self, operation: str, error: Exception) -> None:
        """Record that an operation failed."""
        with self._lock:
            self._forget()
            self._failed_at[operation] = time.monotonic()
            is_first = self._failing_since is None
            if is_first:
                self._failing_since = time.monotonic()
        if is_first:
            log.warning("the queue fails; workers take orders from the database: %s: %s", operation, summarise(error))

    def record_success(self, operation: str) -> None:
        """Record that an operation worked."""
        if self._failing_since is None:  # The common case, without the lock.
            return
        with self._lock:
            self._failed_at.pop(operation, None)
            self._forget()

    def _forget(self) -> None:
        oldest = time.monotonic() - self._memory
        self._failed_at = {operation: at for operation, at in self._failed_at.items() if at > oldest}
        if not self._failed_at and self._failing_since is not None:
            log.warning("the queue works again, after %.0f seconds", time.monotonic() - self._failing_since)
            self._failing_since = None
