"""The original that a process decoded last, as whoever asks for one variant of a pack often asks for more.

A page that names a few sizes of one picture, an editor who tries one crop after
another: each is a render of its own, and decoding is half of what it takes.
"""

import hashlib

from packshot.render.drawing.resample import Levels, levels_of
from packshot.render.limits import Limits

# Of decoded pixels, 4 bytes each; and of the file, which further levels are decoded from.
MOST_PIXELS, MOST_BYTES = 8_000_000, 8 * 2**20
# Small levels that outlive a larger one hold on to the memory that it had, as they lie behind it.
LARGEST_LEVEL = 16_000_000


class RecentOriginals:
    """Levels of the last original; those that are large are made anew."""

    def __init__(self) -> None:
        self._digest = b""
        self._levels: Levels | None = None

    def levels_of(self, original: bytes, limits: Limits) -> Levels:
        """Return the levels of an original, perhaps with some decoded; what is kept of any other is let go."""
        # Its bytes say which it is: a path may lead to other bytes by now.
        digest = hashlib.sha256(original).digest()
        if self._levels is None or digest != self._digest:
            self._levels = None
            levels = levels_of(original, limits)
            if len(original) > MOST_BYTES:
                return levels
            levels.spare = MOST_PIXELS
            self._digest, self._levels = digest, levels
        return self._levels

    def settle(self) -> None:
        """Let go of what is not worth its memory until somebody asks for more."""
        if self._levels is not None:
            self._levels.release(())
            if self._levels.most > LARGEST_LEVEL:
                self._levels = None
