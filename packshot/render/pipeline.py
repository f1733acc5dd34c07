"""One original, many drawings: decode once, then resample, finish and encode each.

Whatever leads to a drawing's bytes is a function of the fully decoded original
and of that drawing, so they are the same alone and in any company.
"""

import copy
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

from PIL import Image, ImageColor

from packshot.errors import PackshotError, Unrenderable
from packshot.geometry import Box, Size
from packshot.model import Format
from packshot.render.damage import refused_if_damaged
from packshot.render.decode import Decoded, check_pixels, decode
from packshot.render.encode import encode
from packshot.render.limits import Limits
from packshot.variants.plan import Drawing

# How far from the final size a cheap box filter may go before Lanczos takes
# over; from 3 on the result can hardly be told from Lanczos alone.
_REDUCING_GAP = 3.0

# Pixels of finished geometries kept for the formats still to come, 4 bytes each.
_KEPT_PIXELS = 16_000_000

# Under transparent padding where a drawing for an opaque format names no colour.
_WHITE = "ffffff"

_Geometry = tuple[Box, Size, Box]


@dataclass(frozen=True, slots=True)
class Rendered:
    """One drawing's finished file; width and height in pixels."""

    data: bytes
    width: int
    height: int


def render_all(original: bytes, drawings: Sequence[Drawing], limits: Limits) -> Iterator[Rendered | PackshotError]:
    """Decode `original` now, and return an iterator of one outcome per drawing.

    Outcomes come in the order of `drawings`, each drawn when it is asked for. A
    refusal stands in the place of its drawing and does not stop the others; an
    original that is refused is refused for every drawing.

    Raises:
        MemoryError: the process has no room; here, or from the iterator.
    """
    try:
        decoded = decode(original, limits)
    except PackshotError as refusal:
        # One each, as callers put their own field path into what they get.
        return iter([copy.copy(refusal) for _ in drawings])
    return _draw_all(_Original(decoded), drawings, limits)


def _draw_all(original: "_Original", drawings: Sequence[Drawing], limits: Limits) -> Iterator[Rendered | PackshotError]:
    to_come = Counter(_geometry(drawing) for drawing in drawings)
    kept: dict[_Geometry, Image.Image] = {}
    for drawing in drawings:
        geometry = _geometry(drawing)
        to_come[geometry] -= 1
        try:
            placed = kept.pop(geometry, None) or _compose(original, drawing, limits)
            if to_come[geometry] and _pixels(*kept.values(), placed) <= _KEPT_PIXELS:
                kept[geometry] = placed
            yield _finish(placed, drawing)
        except PackshotError as refusal:
            yield refusal


@dataclass(frozen=True)
class _Original:
    decoded: Decoded

    @cached_property
    def weighted(self) -> Image.Image:
        # Colours weighted by their alpha, or what is hidden under transparent
        # pixels would bleed into the edges. `resize` does the same, every time.
        picture = self.decoded.picture
        return picture.convert("RGBa") if picture.mode == "RGBA" else picture


def _geometry(drawing: Drawing) -> _Geometry:
    return drawing.box, drawing.size, drawing.placed


def _pixels(*pictures: Image.Image) -> int:
    return sum(picture.width * picture.height for picture in pictures)


def _compose(original: _Original, drawing: Drawing, limits: Limits) -> Image.Image:
    """Sample the original and put it in its place, on transparent padding."""
    check_pixels(drawing.size, limits)
    _check_inside(drawing.box, original.decoded.size, "the original")
    _check_inside(drawing.placed, drawing.size, "the output")
    with refused_if_damaged("The picture cannot be scaled to that size."):
        sampled = _resample(original, drawing.box, drawing.placed.size)
        if drawing.placed == Box(0, 0, *drawing.size):
            return sampled
        canvas = Image.new("RGBA", drawing.size, (0, 0, 0, 0))
        canvas.paste(sampled, (drawing.placed.left, drawing.placed.top))
        return canvas


def _resample(original: _Original, box: Box, size: Size) -> Image.Image:
    decoded = original.decoded
    left, top, width, height = decoded.stored(box)
    edges = (left, top, left + width, top + height)
    if box.size == size:
        return decoded.upright(decoded.picture.crop(edges))
    # Straight from the original, so that pixels just outside the box count at
    # its edges, as they would in the whole picture.
    sampled = original.weighted.resize(
        decoded.turned_size(size), Image.Resampling.LANCZOS, box=edges, reducing_gap=_REDUCING_GAP
    )
    return decoded.upright(sampled.convert("RGBA") if sampled.mode == "RGBa" else sampled)


def _finish(picture: Image.Image, drawing: Drawing) -> Rendered:
    with refused_if_damaged("The picture cannot be finished."):
        finished = _without_alpha(picture, drawing.format, drawing.background)
    data = encode(finished, drawing.format, drawing.quality)
    return Rendered(data, *drawing.size)


def _without_alpha(picture: Image.Image, format: Format, background: str | None) -> Image.Image:
    if picture.mode != "RGBA":
        return picture
    if picture.getchannel("A").getextrema() == (255, 255):
        return picture.convert("RGB")
    if background is None and format.has_alpha:
        return picture
    flat = Image.new("RGB", picture.size, ImageColor.getrgb(f"#{background or _WHITE}"))
    flat.paste(picture, mask=picture.getchannel("A"))
    return flat


def _check_inside(inner: Box, outer: Size, name: str) -> None:
    if (
        min(inner.left, inner.top) < 0
        or min(inner.width, inner.height, *outer) < 1
        or inner.left + inner.width > outer.width
        or inner.top + inner.height > outer.height
    ):
        raise Unrenderable(
            f"What is to be drawn does not lie inside {name}.",
            expected=f"inside {outer.width} x {outer.height}",
            got=f"{inner.width} x {inner.height} at {inner.left}, {inner.top}",
        )
