"""Limits on one original and on the work for it."""

import sys
from dataclasses import dataclass

ANIMATED_PIXELS = 20_000_000
"""Pixels of an animation, over all frames, that may take as long as one still image."""

DECODING_SHARE = 0.25
"""Share of `Limits.seconds` that decoding a new original may take, so that its drawings fit into the rest."""


@dataclass(frozen=True, slots=True)
class Limits:
    """The limits of one original and of its rendering.

    Attributes:
        max_pixels: width times height of an original, of a frame or of an output.
        max_bytes: length of an original's file.
        max_frames_pixels: pixels of an animation over all its frames.
        max_frames: number of frames of an animation.
        seconds: wall-clock time for decoding, and again for each drawing. An animation gets it for every
        `ANIMATED_PIXELS`.
            0 means no limit.
        memory_bytes: address space or resident memory of one render process; 0 means no limit.
        watched: whether the parent process limits resident memory by polling every 50 ms, on systems that cannot
        limit the
            address space. It misses shorter peaks.
    """

    max_pixels: int = 80_000_000
    max_bytes: int = 64 * 2**20
    max_frames_pixels: int = 100_000_000
    max_frames: int = 1000
    seconds: float = 20.0
    memory_bytes: int = 4 * 2**30
    watched: bool = sys.platform != "linux"

    def seconds_for(self, pixels: int) -> float:
        """Return the wall-clock seconds for a drawing; 0 means no limit.

        Args:
            pixels: pixels of all frames of an animation; 0 for a still image.
        """
        return self.seconds * max(1.0, pixels / ANIMATED_PIXELS)

    def decoding_seconds_for(self, pixels: int) -> float:
        """Return the CPU seconds for decoding a new original; 0 means no limit.

        Args:
            pixels: pixels of all frames of an animation; 0 for a still image.
        """
        return self.seconds_for(pixels) * DECODING_SHARE
