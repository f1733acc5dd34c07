"""Originals that could not be decoded, for the renders that wait for their place meanwhile."""

import copy
import threading
import time

from cachetools import LRUCache

from packshot.errors import PackshotError

MAX_ORIGINALS = 1000


class Failures:
    """Remembers refusals of whole originals by their SHA-256. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._refusals: LRUCache[str, tuple[float, PackshotError]] = LRUCache(MAX_ORIGINALS)

    def find(self, original: str, since: float) -> PackshotError | None:
        """Return a copy of a refusal that was noted at `since`, in monotonic seconds, or later; None: there is none.

        A copy, as callers put their own field path into it.
        """
        with self._lock:
            noted_at, refusal = self._refusals.get(original, (0.0, None))
        return None if refusal is None or noted_at < since else copy.copy(refusal)

    def note(self, original: str, refusal: PackshotError | None) -> None:
        """Remember how decoding an original ended; None: it was decoded."""
        if not original:
            return
        with self._lock:
            if refusal is None:
                self._refusals.pop(original, None)
            else:
                self._refusals[original] = time.monotonic(), copy.copy(refusal)
