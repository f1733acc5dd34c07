"""How much one render may take before the picture is refused."""

import sys
from dataclasses import dataclass

MOVING_PIXELS = 20_000_000
"""Pixels of an animation, all frames together, that may take as long as one still picture."""

DECODING_SHARE = 0.25
"""Part of `Limits.seconds` that decoding a new original may take, so that its drawings fit into the rest."""


@dataclass(frozen=True, slots=True)
class Limits:
    """The most that one original, and the work on it, may need.

    Attributes:
        max_pixels: width times height of one frame, of the original and of an output.
        max_bytes: length of the original's file.
        max_frames_pixels: the same as `max_pixels` over all frames of an animation.
        max_frames: how many frames an animation has.
        seconds: wall-clock time for decoding, and again for each drawing, of an animation again for every
            `MOVING_PIXELS`; 0: no limit.
        memory_bytes: address space of one render process, or what of it is resident; 0: no limit.
        watched: the parent looks at what is resident, for systems that bound no address space; what
            comes and goes between two looks, 50 ms apart, it misses.
    """

    max_pixels: int = 80_000_000
    max_bytes: int = 64 * 2**20
    max_frames_pixels: int = 100_000_000
    max_frames: int = 1000
    seconds: float = 20.0
    memory_bytes: int = 4 * 2**30
    watched: bool = sys.platform != "linux"

    def seconds_for(self, pixels: int) -> float:
        """Return how long a drawing may take whose frames have so many pixels in all; 0: for ever.

        Args:
            pixels: 0 for what stands still.
        """
        return self.seconds * max(1.0, pixels / MOVING_PIXELS)

    def decoding_seconds_for(self, pixels: int) -> float:
        """Return the CPU seconds that decoding a new original may take; 0: no limit.

        Args:
            pixels: of all frames; 0 for what stands still.
        """
        return self.seconds_for(pixels) * DECODING_SHARE
