"""Whether the queue works, as this process finds it: from the result of every operation."""

import logging
import threading
import time

from packshot.faults import summarise

log = logging.getLogger(__name__)

# Seconds a failed operation counts. Whoever still needs the queue tries again sooner than that.
MEMORY_SECONDS = 10.0


class QueueState:
    """Remember which operations failed when they were last tried, and log when the queue fails and works again.

    Thread-safe.
    """

    def __init__(self, memory: float = MEMORY_SECONDS) -> None:
        self._memory = memory
        self._lock = threading.Lock()
        self._failed_at: dict[str, float] = {}
        self._failing_since: float | None = None

    def is_failing(self) -> bool:
        """Return whether any operation failed when it was last tried, within the memory."""
        with self._lock:
            self._forget()
            return bool(self._failed_at)

    def record_failure(self, operation: str, error: Exception) -> None:
        """Note that an operation failed."""
        with self._lock:
            self._forget()
            self._failed_at[operation] = time.monotonic()
            is_first = self._failing_since is None
            if is_first:
                self._failing_since = time.monotonic()
        if is_first:
            log.warning("the queue fails; workers take orders from the database: %s: %s", operation, summarise(error))

    def record_success(self, operation: str) -> None:
        """Note that an operation worked."""
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
