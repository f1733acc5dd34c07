"""All ways in which a drawing may decode an original.

Rendering uses only these, and ingest tries each of them. So an accepted original can be drawn at any size and in any
format.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from packshot.render.animation.animation import Animation, animation_of
from packshot.render.decoding.decode import Decoded, can_be_halved, decode
from packshot.render.limits import Limits


@dataclass(frozen=True, slots=True)
class DecodePaths:
    """The ways in which one original can be decoded.

    Attributes:
        whole: decodes the first frame at full size.
        half: decodes it at half its size, rounded up; None if the format has no fast way to do so.
        animation: returns the original as an animation; None if it is a still image.
    """

    whole: Callable[[], Decoded]
    half: Callable[[], Decoded] | None
    animation: Callable[[], Animation | None]


def decode_paths(original: bytes, limits: Limits) -> DecodePaths:
    """Return the ways to decode an original. Nothing is decoded yet; each function raises what `decode` raises."""
    # For a JPEG, decoding at half size is much faster than decoding and scaling down.
    half = partial(decode, original, limits, halved=True) if can_be_halved(original) else None
    return DecodePaths(partial(decode, original, limits), half, partial(animation_of, original, limits))
