"""Compute a ThumbHash: about 25 bytes that decode to a blurred placeholder.

The format is by Evan Wallace (https://evanw.github.io/thumbhash). Existing packages need an old Pillow, have no wheels
for newer Python versions, or round differently from the original code.
"""

import math
from collections.abc import Sequence

from PIL import Image

THUMBNAIL_SIDE = 32
"""The longest useful side of a hashed image in pixels: the shortest wave spans a seventh of it."""


def thumbhash(picture: Image.Image) -> bytes:
    """Return the ThumbHash of an upright thumbnail in mode RGB or RGBA."""
    width, height = picture.size
    rgba = picture.convert("RGBA").tobytes()
    alpha = [value / 255 for value in rgba[3::4]]
    covered = sum(alpha)
    has_alpha = covered < width * height
    colours = [_over_average(rgba[channel::4], alpha, covered) for channel in range(3)]
    lightness = [(red + green + blue) / 3 for red, green, blue in zip(*colours, strict=True)]
    yellow_blue = [(red + green) / 2 - blue for red, green, blue in zip(*colours, strict=True)]
    red_green = [red - green for red, green, _ in zip(*colours, strict=True)]

    most = 5 if has_alpha else 7
    across = max(1, _rounded(most * width / max(width, height)))
    down = max(1, _rounded(most * height / max(width, height)))
    light = _Waves(lightness, width, height, max(3, across), max(3, down))
    yellow = _Waves(yellow_blue, width, height, 3, 3)
    red = _Waves(red_green, width, height, 3, 3)
    waves = [light, yellow, red]

    head = (
        _rounded(63 * light.mean)
        | _rounded(31.5 + 31.5 * yellow.mean) << 6
        | _rounded(31.5 + 31.5 * red.mean) << 12
        | _rounded(31 * light.scale) << 18
        | has_alpha << 23
    )
    wide = width > height
    sides = (down if wide else across) | _rounded(63 * yellow.scale) << 3 | _rounded(63 * red.scale) << 9 | wide << 15
    result = head.to_bytes(3, "little") + sides.to_bytes(2, "little")
    if has_alpha:
        cover = _Waves(alpha, width, height, 5, 5)
        waves.append(cover)
        result += bytes([_rounded(15 * cover.mean) | _rounded(15 * cover.scale) << 4])
    nibbles = [_rounded(15 * value) for wave in waves for value in wave.others]
    nibbles += [0] * (len(nibbles) % 2)
    return result + bytes(low | high << 4 for low, high in zip(nibbles[::2], nibbles[1::2], strict=True))


def _over_average(channel: Sequence[int], alpha: Sequence[float], covered: float) -> list[float]:
    # Transparent pixels get the average of the visible ones, so that edges add no waves.
    pairs = list(zip(channel, alpha, strict=True))
    average = sum(value * share for value, share in pairs) / 255 / covered if covered else 0.0
    return [average * (1 - share) + value / 255 * share for value, share in pairs]


class _Waves:
    """The lowest frequencies of one channel: a cosine transform, cut off along a diagonal.

    Attributes:
        mean: average of the channel.
        scale: the largest absolute amplitude of the other waves.
        others: amplitudes of the other waves in units of `scale`, mapped to 0 … 1.
    """

    def __init__(self, values: Sequence[float], width: int, height: int, across: int, down: int) -> None:
        columns = [_cosines(width, wave) for wave in range(across)]
        rows = [_cosines(height, wave) for wave in range(down)]
        lines = [values[at : at + width] for at in range(0, width * height, width)]
        sums = [[_product(line, column) for line in lines] for column in columns]
        found = [
            _product(sums[x], rows[y]) / (width * height)
            for y in range(down)
            for x in range(across)
            if x * down < across * (down - y)
        ]
        self.mean, *others = found
        self.scale = max(map(abs, others), default=0.0)
        self.others = [0.5 + 0.5 * value / self.scale if self.scale else value for value in others]


def _cosines(length: int, wave: int) -> list[float]:
    return [math.cos(math.pi / length * wave * (at + 0.5)) for at in range(length)]


def _product(one: Sequence[float], other: Sequence[float]) -> float:
    return sum(a * b for a, b in zip(one, other, strict=True))


def _rounded(value: float) -> int:
    # Halves are rounded up, as in JavaScript.
    return math.floor(value + 0.5)
