"""Every way in which a drawing may decode an original.

Rendering decodes in no other way, and ingest tries each of them. So an original that is accepted can be drawn at any
size and in any format.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from packshot.render.animation.animation import Animation, animation_of
from packshot.render.decoding.decode import Decoded, can_be_halved, decode
from packshot.render.limits import Limits


@dataclass(frozen=True, slots=True)
class DecodePaths:
    """How one original is decoded.

    Attributes:
        whole: decode the first frame at its own size.
        half: decode it at half its size, rounded up; None where the format has no quick way to.
        animation: find the animation that the original is; None: it is a still picture.
    """

    whole: Callable[[], Decoded]
    half: Callable[[], Decoded] | None
    animation: Callable[[], Animation | None]


def decode_paths(original: bytes, limits: Limits) -> DecodePaths:
    """Return how an original is decoded; nothing is decoded yet. Each path raises what `decode` does."""
    # A JPEG is decoded smaller far faster than it is decoded and then halved.
    half = partial(decode, original, limits, halved=True) if can_be_halved(original) else None
    return DecodePaths(partial(decode, original, limits), half, partial(animation_of, original, limits))
