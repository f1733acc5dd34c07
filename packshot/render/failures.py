"""Originals that could not be decoded lately, so that another drawing of one is refused without a render."""

import copy
import threading

from cachetools import TTLCache

from packshot.errors import PackshotError
from packshot.model import FAILURE_SECONDS

MAX_ORIGINALS = 1000


class Failures:
    """Remembers refusals of whole originals by their SHA-256. Thread-safe."""

    def __init__(self, seconds: float = FAILURE_SECONDS) -> None:
        self._lock = threading.Lock()
        self._refusals: TTLCache[str, PackshotError] = TTLCache(MAX_ORIGINALS, seconds)

    def find(self, original: str) -> PackshotError | None:
        """Return a copy of the refusal, as callers put their own field path into it; None: no failure is known."""
        with self._lock:
            refusal = self._refusals.get(original)
        return None if refusal is None else copy.copy(refusal)

    def note(self, original: str, refusal: PackshotError | None) -> None:
        """Remember how decoding an original ended; None: it was decoded."""
        if not original:
            return
        with self._lock:
            if refusal is None:
                self._refusals.pop(original, None)
            else:
                self._refusals[original] = copy.copy(refusal)
