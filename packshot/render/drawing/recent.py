"""Keep the last decoded original of a render process, because clients often request several variants of one pack.

Examples are a page with several sizes of an image, or an editor who tries crops. Each request is a render of its own,
and decoding takes half of its time.
"""

import hashlib

from packshot.render.drawing.resample import Levels, levels_of
from packshot.render.limits import Limits

# Limits for one kept original: decoded pixels of 4 bytes each, and bytes of the file, which further levels need.
MAX_KEPT_PIXELS, MAX_KEPT_BYTES = 8_000_000, 8 * 2**20
# Small levels lie in memory after a larger one, so that its memory is not returned to the system. Beyond this many
# pixels no level is kept.
LARGEST_LEVEL = 16_000_000


class RecentOriginals:
    """Keep levels of the last original, except large ones."""

    def __init__(self) -> None:
        self._digest = b""
        self._levels: Levels | None = None

    def levels_of(self, original: bytes, limits: Limits) -> Levels:
        """Return the levels of an original, some of which may be decoded. Levels of another original are dropped."""
        # Compare the bytes, because a path may lead to a different file now.
        digest = hashlib.sha256(original).digest()
        if self._levels is None or digest != self._digest:
            self._levels = None
            levels = levels_of(original, limits)
            if len(original) > MAX_KEPT_BYTES:
                return levels
            levels.spare = MAX_KEPT_PIXELS
            self._digest, self._levels = digest, levels
        return self._levels

    def settle(self) -> None:
        """Drop levels that are too large to keep until the next request."""
        if self._levels is not None:
            self._levels.release(())
            if self._levels.most > LARGEST_LEVEL:
                self._levels = None
