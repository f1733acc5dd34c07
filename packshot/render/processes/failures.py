"""Remember originals that cannot be decoded, for renders that wait for a process slot meanwhile."""

import copy
import threading
import time

from cachetools import LRUCache

from packshot.errors import PackshotError

MAX_ORIGINALS = 1000


class Failures:
    """Refusals of whole originals by their SHA-256. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._refusals: LRUCache[str, tuple[float, PackshotError]] = LRUCache(MAX_ORIGINALS)

    def find(self, original: str, since: float) -> PackshotError | None:
        """Return a refusal that was noted at `since` or later; None if there is none.

        Args:
            original: SHA-256 of the original.
            since: time in monotonic seconds.

        Returns:
            A copy, because callers prepend their own field paths.
        """
        with self._lock:
            noted_at, refusal = self._refusals.get(original, (0.0, None))
        return None if refusal is None or noted_at < since else copy.copy(refusal)

    def note(self, original: str, refusal: PackshotError | None) -> None:
        """Remember the refusal of an original; None means that it was decoded."""
        if not original:
            return
        with self._lock:
            if refusal is None:
                self._refusals.pop(original, None)
            else:
                self._refusals[original] = time.monotonic(), copy.copy(refusal)
