"""Resample a box of an image with a Lanczos filter, from a smaller copy of the image where that suffices.

The copies are called levels: the original at full, half, quarter … size. The level of a drawing depends only on its box
and size, and the pixels of a level only on the original. So a drawing's pixels do not depend on other drawings.
"""

from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import cached_property

from PIL import Image

from packshot.errors import Unrenderable
from packshot.geometry import Box, Size, contain
from packshot.render.decoding.decode import Decoded
from packshot.render.drawing.paths import decode_paths
from packshot.render.limits import Limits

try:
    from cykooz_resizer import CropBox, FilterType, ResizeAlg, ResizeOptions, Resizer
except ImportError:  # the platform has no wheel of it
    Resizer = None

# Longest side of `Levels.preview` in pixels.
_PREVIEW = 256

# Rows that are premultiplied at once, to save memory.
_STRIP = 512

Edges = tuple[float, float, float, float]
"""Left, top, right and bottom in pixels, possibly fractional."""


class Levels:
    """One original and its levels, which are decoded when they are first needed.

    Attributes:
        whole: decodes the original.
        half: decodes it at half its size, rounded up; None if the format has no fast way to do so.
        spare: pixels of unneeded levels that `release` may keep.
        most: pixels of the largest level so far.
    """

    spare = 0
    most = 0

    def __init__(self, whole: Callable[[], Decoded], half: Callable[[], Decoded] | None = None) -> None:
        self.whole = whole
        self.half = half
        self._made: dict[int, Decoded] = {}

    @cached_property
    def size(self) -> Size:
        """Size of the upright original in pixels."""
        return (next(iter(self._made.values()), None) or self.at(2)).size

    def at(self, factor: int) -> Decoded:
        """Return the level in which a pixel stands for `factor` by `factor` pixels of the original.

        Args:
            factor: a power of two. Above 1, an image with alpha is in mode RGBa.

        Raises:
            PackshotError: as `decode` does.
        """
        if factor not in self._made:
            if factor == 1:
                level = self.whole()
            elif factor == 2 and self.half is not None:
                level = self.half()
                level = replace(level, picture=_weighted(level.picture))
            else:
                larger = self.at(factor // 2)
                level = replace(
                    larger, picture=_halved(larger.picture), whole=larger.whole or Size(*larger.picture.size)
                )
            self._made[factor] = level
            self.most = max(self.most, level.picture.width * level.picture.height)
        return self._made[factor]

    def release(self, wanted: Iterable[int]) -> None:
        """Drop levels that are not needed for the factors `wanted`. They can be decoded again."""
        wanted, made = set(wanted), self._made
        if self.half is None:
            # Build the wanted levels now, so that the original can be dropped.
            self._made = {factor: self.at(factor) for factor in wanted}
        else:
            # Levels beyond 2 are reduced from level 2, not from the whole original.
            last = max(wanted, default=0)
            self._made = {factor: level for factor, level in made.items() if factor in wanted or 1 < factor < last}
        spare = self.spare
        for factor, level in made.items():
            pixels = level.picture.width * level.picture.height
            if factor not in self._made and pixels <= spare:
                self._made[factor] = level
                spare -= pixels

    def sample(self, box: Box, size: Size) -> Image.Image:
        """Return a box of the upright original, resampled to `size`, in mode RGB or RGBA.

        Pixels just outside the box influence its edges, as in the whole image. If the size does not change, pixels
        are copied.

        Raises:
            Unrenderable: the box does not lie within the original.
            PackshotError: as `decode` does.
        """
        factor = level_factor(box.size, size)
        level = self.at(factor)
        check_inside(box, level.size, "the original")
        left, top, width, height = level.stored(box)
        if box.size == size:
            return level.shown(level.picture.crop((left, top, left + width, top + height)))
        # A pixel of a level covers whole pixels of the original; the last one may cover fewer. So division gives the
        # exact box.
        edges = (left / factor, top / factor, (left + width) / factor, (top + height) / factor)
        sampled = _resampled(level.picture, edges, level.turned_size(size))
        return level.shown(sampled.convert("RGBA") if sampled.mode == "RGBa" else sampled)

    @cached_property
    def preview(self) -> Image.Image:
        """The upright original, scaled down to at most 256 pixels on its longer side."""
        size = self.size
        return self.sample(Box(0, 0, *size), contain(size, Size(*(min(_PREVIEW, max(size)),) * 2)))


def levels_of(original: bytes, limits: Limits) -> Levels:
    """Return the levels of an original. Nothing is decoded yet."""
    paths = decode_paths(original, limits)
    return Levels(paths.whole, paths.half)


def level_factor(box: Size, size: Size) -> int:
    """Return the factor of the level from which `box` is sampled to `size`, both upright.

    It is the smallest level in which the box still has at least 1.6 times the size on both axes. Then the result hardly
    differs from one that is sampled from the original.

    >>> level_factor(Size(4000, 2250), Size(960, 540))
    2
    """
    if min(size) < 1:
        return 1
    factor = 1
    while 16 * factor * size.width <= 5 * box.width and 16 * factor * size.height <= 5 * box.height:
        factor *= 2
    return factor


def check_inside(inner: Box, outer: Size, name: str) -> None:
    """Check that a box is not empty and lies within an image.

    Args:
        name: what the error message calls the image.

    Raises:
        Unrenderable: it does not.
    """
    if (
        min(inner.left, inner.top) < 0
        or min(inner.width, inner.height, *outer) < 1
        or inner.left + inner.width > outer.width
        or inner.top + inner.height > outer.height
    ):
        raise Unrenderable(
            f"The box does not lie within {name}.",
            expected=f"within {outer.width} x {outer.height}",
            got=f"{inner.width} x {inner.height} at {inner.left}, {inner.top}",
        )


def lanczos(picture: Image.Image, edges: Edges, size: Size) -> Image.Image:
    """Resample the part of an image between `edges` to `size`, with a Lanczos filter of 3 lobes.

    Args:
        picture: mode RGB or RGBa.
    """
    if Resizer is None:
        return picture.resize(size, Image.Resampling.LANCZOS, box=edges)
    left, top, right, bottom = edges
    result = Image.new(picture.mode, size, None)
    # Results are the same with every instruction set. The resizer is not reused, because it keeps the memory for its
    # largest image.
    Resizer().resize_pil(
        picture,
        result,
        ResizeOptions(
            resize_alg=ResizeAlg.convolution(FilterType.lanczos3),
            use_alpha=False,
            crop_box=CropBox(left, top, right - left, bottom - top),
        ),
    )
    return result


def _resampled(picture: Image.Image, edges: Edges, size: Size) -> Image.Image:
    if picture.mode != "RGBA":
        return lanczos(picture, edges, size)
    # In strips, because a premultiplied copy of a whole original would double the memory.
    left, top, right, bottom = edges
    scale = (bottom - top) / size.height
    reach = 3 * max(scale, 1.0) + 1
    rows = max(1, int(_STRIP / scale))
    result = Image.new("RGBa", size)
    for first in range(0, size.height, rows):
        last = min(first + rows, size.height)
        upper = max(0, int(top + first * scale - reach))
        lower = min(picture.height, int(top + last * scale + reach) + 1)
        strip = _weighted(picture.crop((0, upper, picture.width, lower)))
        inner = (left, top + first * scale - upper, right, min(top + last * scale - upper, float(strip.height)))
        result.paste(lanczos(strip, inner, Size(size.width, last - first)), (0, first))
    return result


def _weighted(picture: Image.Image) -> Image.Image:
    # Premultiplied, because the colours of transparent pixels would bleed into edges.
    return picture.convert("RGBa") if picture.mode == "RGBA" else picture


def _halved(picture: Image.Image) -> Image.Image:
    if picture.mode != "RGBA":
        return picture.reduce(2)
    small = Image.new("RGBa", ((picture.width + 1) // 2, (picture.height + 1) // 2))
    for top in range(0, picture.height, _STRIP):
        strip = picture.crop((0, top, picture.width, min(top + _STRIP, picture.height)))
        small.paste(_weighted(strip).reduce(2), (0, top // 2))
    return small
