"""Pixel geometry: whole numbers, origin top left, x to the right, y down.

Ratios are exact fractions, so that computing a size again from its result gives the same size.
"""

from dataclasses import dataclass
from enum import StrEnum
from fractions import Fraction
from functools import cached_property, lru_cache
from typing import NamedTuple


class Size(NamedTuple):
    """Width and height in pixels."""

    width: int
    height: int


class Box(NamedTuple):
    """A rectangle in pixels: its top left corner and its size."""

    left: int
    top: int
    width: int
    height: int

    @property
    def size(self) -> Size:
        return Size(self.width, self.height)


class Anchor(NamedTuple):
    """A point of an image, relative to its width and height (0.0 to 1.0)."""

    x: float
    y: float


class Mode(StrEnum):
    """How an image is fitted into a box; the value is its spelling in a key."""

    CROP = "crop"
    INCLUDE_ALL = "includeall"
    CLIP = "clip"
    COVER = "cover"
    CANVAS = "canvas"
    STRETCH = "stretch"

    @cached_property
    def pads(self) -> bool:
        """Whether the mode pads: the whole image is shown in a box of another ratio."""
        return self in (Mode.INCLUDE_ALL, Mode.CANVAS)


class Gravity(StrEnum):
    """Which part of an image is kept, or where it stands in the box."""

    CENTER = "center"
    NORTH = "north"
    NORTHEAST = "northeast"
    EAST = "east"
    SOUTHEAST = "southeast"
    SOUTH = "south"
    SOUTHWEST = "southwest"
    WEST = "west"
    NORTHWEST = "northwest"
    FOCUS = "focus"
    SMART = "smart"

    @cached_property
    def anchor(self) -> Anchor:
        """The anchor of a compass direction; the middle for gravities that depend on the image."""
        x = 0.0 if "west" in self.value else 1.0 if "east" in self.value else 0.5
        y = 0.0 if "north" in self.value else 1.0 if "south" in self.value else 0.5
        return Anchor(x, y)


@dataclass(frozen=True, slots=True)
class Crop:
    """A rectangle on the upright original, each edge from 0.0 to 1.0."""

    left: float
    top: float
    right: float
    bottom: float

    @property
    def is_full(self) -> bool:
        return (self.left, self.top, self.right, self.bottom) == (0.0, 0.0, 1.0, 1.0)


def half_up(value: Fraction) -> int:
    """Round to the nearest whole number, halves up, at least 1."""
    return max(1, (2 * value.numerator + value.denominator) // (2 * value.denominator))


def crop_box(source: Size, crop: Crop | None) -> Box:
    """Return the pixels of `source` inside `crop`, at least one by one.

    >>> crop_box(Size(400, 300), Crop(0.25, 0.0, 0.75, 0.5))
    Box(left=100, top=0, width=200, height=150)
    """
    if crop is None:
        return Box(0, 0, *source)
    left = min(round(crop.left * source.width), source.width - 1)
    top = min(round(crop.top * source.height), source.height - 1)
    right = max(round(crop.right * source.width), left + 1)
    bottom = max(round(crop.bottom * source.height), top + 1)
    return Box(left, top, right - left, bottom - top)


def focal_anchor(x: float, y: float, picture: Size, region: Box) -> Anchor:
    """Return the position of a point of the whole image within `region`, clamped to it.

    Args:
        x, y: the point relative to the whole image, 0.0 to 1.0.

    >>> focal_anchor(0.5, 0.9, Size(400, 200), Box(200, 0, 200, 100))
    Anchor(x=0.0, y=1.0)
    """
    return Anchor(
        min(max((x * picture.width - region.left) / region.width, 0.0), 1.0),
        min(max((y * picture.height - region.top) / region.height, 0.0), 1.0),
    )


def place(inner: Size, outer: Size, anchor: Anchor) -> Box:
    """Centre `inner` on `anchor` of `outer`, then move it inside `outer`.

    >>> place(Size(100, 50), Size(100, 100), Anchor(0.5, 1.0))
    Box(left=0, top=50, width=100, height=50)
    """
    left = round(anchor.x * outer.width - inner.width / 2)
    top = round(anchor.y * outer.height - inner.height / 2)
    return Box(
        max(0, min(left, outer.width - inner.width)),
        max(0, min(top, outer.height - inner.height)),
        *inner,
    )


def cover_box(source: Size, target: Size, anchor: Anchor) -> Box:
    """Return the largest box with the aspect ratio of `target` that fits in `source`.

    The box is centred on `anchor`, then moved inside the source. It is in source pixels; the renderer scales it to
    `target`.

    >>> cover_box(Size(4000, 3000), Size(1600, 900), Anchor(0.5, 0.1))
    Box(left=0, top=0, width=4000, height=2250)
    """
    return place(cover_size(source, target), source, anchor)


def cover_size(source: Size, target: Size) -> Size:
    """Return the largest size with the aspect ratio of `target` that fits in `source`, in source pixels."""
    if source.width * target.height > target.width * source.height:
        return Size(half_up(Fraction(source.height * target.width, target.height)), source.height)
    return Size(source.width, half_up(Fraction(source.width * target.height, target.width)))


def contain(source: Size, target: Size) -> Size:
    """Scale `source`, with its own ratio, to the largest size inside `target`.

    >>> contain(Size(400, 200), Size(100, 100))
    Size(width=100, height=50)
    """
    scale = min(Fraction(target.width, source.width), Fraction(target.height, source.height))
    return Size(half_up(source.width * scale), half_up(source.height * scale))


@dataclass(frozen=True, slots=True)
class Request:
    """The box that a client requests. A side that is None follows from the ratio.

    Attributes:
        scale: device pixel ratio; multiplies both sides.
        ratio: width / height that a missing side follows; None: the ratio of the image.
    """

    width: int | None
    height: int | None
    scale: Fraction = Fraction(1)
    ratio: Fraction | None = None


@dataclass(frozen=True, slots=True)
class Fit:
    """The final size of a variant in pixels.

    Attributes:
        scale: output pixels per pixel of the request: the dpr, or less if the box had to shrink.
    """

    size: Size
    scale: Fraction


# All formats of one size use the same value, so it is cached.
@lru_cache(maxsize=256)
def fit(picture: Size, request: Request, mode: Mode, *, allow_upscale: bool, limit: Size) -> Fit:
    """Return the size of a variant.

    Without `allow_upscale`, a box that would enlarge the image shrinks and keeps its ratio. Requesting the resulting
    size, by both sides or by one, gives the same size again.

    Args:
        picture: size of the shown part, after its crop.
        limit: maximum length of each side of the result.
    """
    width, height = _box(picture, request)
    across, down = width / picture.width, height / picture.height
    # The scale of the image: to fit in the box, or to fill it.
    scale = min(across, down) if mode.pads or mode is Mode.CLIP else max(across, down)
    shrink = Fraction(1)
    if scale > 1 and not allow_upscale:
        shrink = 1 / scale
    if mode in (Mode.CLIP, Mode.COVER):
        width, height = picture.width * scale, picture.height * scale
    shrink = min(shrink, limit.width / width, limit.height / height)
    return Fit(Size(half_up(width * shrink), half_up(height * shrink)), request.scale * shrink)


def _box(picture: Size, request: Request) -> tuple[Fraction, Fraction]:
    # Requested sides are rounded to whole pixels first. Only then does a request for the final size give that size
    # again.
    across = None if request.width is None else Fraction(half_up(request.width * request.scale))
    down = None if request.height is None else Fraction(half_up(request.height * request.scale))
    if across is not None and down is not None:
        return across, down
    if across is None and down is None:
        # The longer side decides, because a side of few pixels tells little about the other.
        if picture.width >= picture.height:
            across = Fraction(half_up(picture.width * request.scale))
        else:
            down = Fraction(half_up(picture.height * request.scale))
    elif request.ratio is not None:
        if across is not None:
            return across, Fraction(half_up(across / request.ratio))
        assert down is not None
        return Fraction(half_up(down * request.ratio)), down
    if across is not None:
        return across, across * picture.height / picture.width
    assert down is not None
    return down * picture.width / picture.height, down
