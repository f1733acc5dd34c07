"""Choose the part of an image that a smart crop keeps: heads first, then detail.

A crop is as large as its ratio allows, so it slides along one axis only. The region is divided into at most 64 by 64
cells. Each of 97 positions gets points for what lies within it:

- heads: skin-coloured patches with the shape of a head, with room for hair;
- its share of all detail (contrast to the surroundings), saturated colours and skin. The part without the margins
counts
  twice, so that a subject is not at the edge;
- the top edge of an object before a plain background;
- some points for the middle, or for the upper third on the vertical axis.

Integers and plain floats give the same box on every machine. Adding skin, detail and saturation is an idea of Jonas
Wagner's smartcrop.js. The detection and weights of heads are this module's own.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate

from PIL import Image, ImageChops, ImageFilter

from packshot.geometry import Box, Size, cover_size

_CELLS = 64
_PLACES = 96

# A cell counts as skin from this mean on, out of 255.
_SKIN = 90

# The maximum points for heads, share of detail, top edge and position.
_HEADS, _SHARE, _TOP, _PRIOR = 2.0, 1.0, 0.5, 0.15


@dataclass(frozen=True, slots=True)
class _Cells:
    """A region as rows of cells, with a value of 0 to 255 for each map."""

    columns: int
    rows: int
    skin: bytes
    detail: bytes
    colour: bytes

    def line(self, row: int) -> range:
        return range(row * self.columns, (row + 1) * self.columns)


@dataclass(frozen=True, slots=True)
class _Head:
    """A possible head, in cells, including its hair.

    Attributes:
        brow: where the skin begins, below `top`.
        weight: its likelihood and size.
    """

    left: float
    top: float
    brow: float
    right: float
    bottom: float
    weight: float


def smart_box(preview: Image.Image, full: Size, region: Box, target: Size) -> Box:
    """Return the best box with the ratio of `target` in `region`, as large as fits.

    Args:
        preview: the whole upright image in mode RGB or RGBA, scaled down in the same way for every drawing.
        full: size of the original in pixels.
        region: where to search, in pixels of `full`, as is the result.
    """
    inner = cover_size(region.size, target)
    cells = _cells(preview, full, region)
    if inner.height < region.height:
        place = _best(cells, inner.height / region.height, upright=True)
        return Box(region.left, region.top + round(place * (region.height - inner.height)), *inner)
    place = _best(cells, inner.width / region.width, upright=False)
    return Box(region.left + round(place * (region.width - inner.width)), region.top, *inner)


def _cells(preview: Image.Image, full: Size, region: Box) -> _Cells:
    across, down = preview.width / full.width, preview.height / full.height
    left = min(int(region.left * across), preview.width - 1)
    top = min(int(region.top * down), preview.height - 1)
    right = max(left + 1, round((region.left + region.width) * across))
    bottom = max(top + 1, round((region.top + region.height) * down))
    part = preview.crop((left, top, right, bottom))
    scale = min(1.0, _CELLS / max(part.size))
    size = (max(1, round(part.width * scale)), max(1, round(part.height * scale)))

    seen = part.getchannel("A") if part.mode == "RGBA" else Image.new("L", part.size, 255)
    grey = Image.new("RGB", part.size, (128, 128, 128))
    grey.paste(part.convert("RGB"), mask=seen)
    red, green, blue = grey.split()
    luma, cb, cr = grey.convert("YCbCr").split()
    skin = ImageChops.multiply(ImageChops.multiply(cb.point(_CB), cr.point(_CR)), luma.point(_LUMA))
    # Fine detail, and contrast of large areas. Pebbles count for less than the person who stands on them.
    soft = luma.filter(ImageFilter.BoxBlur(3))
    fine = ImageChops.difference(luma, soft).point(_FINE)
    coarse = ImageChops.difference(soft, luma.filter(ImageFilter.BoxBlur(24))).point(_COARSE)
    detail = ImageChops.lighter(fine, coarse)
    brightest = ImageChops.lighter(ImageChops.lighter(red, green), blue)
    darkest = ImageChops.darker(ImageChops.darker(red, green), blue)
    colour = ImageChops.difference(brightest, darkest).point(_COLOUR)
    maps = (ImageChops.multiply(each, seen).resize(size, Image.Resampling.BOX) for each in (skin, detail, colour))
    return _Cells(*size, *(each.tobytes() for each in maps))


def _ramp(*points: tuple[int, int]) -> list[int]:
    """Return a table of 256 values: linear between the points, constant outside them."""
    table = []
    for value in range(256):
        before = max((point for point in points if point[0] <= value), default=points[0])
        after = min((point for point in points if point[0] >= value), default=points[-1])
        run = after[0] - before[0]
        table.append(before[1] if run <= 0 else before[1] + (after[1] - before[1]) * (value - before[0]) // run)
    return table


# Skin tones have similar chrominance, and differ in luminance.
_CB = _ramp((76, 0), (86, 255), (120, 255), (127, 0))
_CR = _ramp((131, 0), (138, 255), (168, 255), (180, 0))
_LUMA = _ramp((25, 0), (55, 255))
_FINE = _ramp((4, 0), (64, 160))
_COARSE = _ramp((16, 0), (80, 255))
_COLOUR = _ramp((60, 0), (255, 255))


def _best(cells: _Cells, length: float, *, upright: bool) -> float:
    """Return the best position of a window of `length`, a share of the axis: 0.0 at the start, 1.0 at the end."""
    heads = _heads(cells)
    lines = _profile(cells, upright)
    sums = [0.0, *accumulate(lines)]
    size = len(lines) * length
    slack = len(lines) - size
    summit = _top(lines) if upright else None
    spans = [(*_span(head, size * 0.95, upright), head.weight) for head in heads]

    def points(place: float) -> float:
        start = place * slack
        end, margin = start + size, size * 0.15
        share = (_between(sums, start, end) + _between(sums, start + margin, end - margin)) / (2 * sums[-1] or 1.0)
        kept = sum(weight * _kept(low, high, start, end) for low, high, weight in spans)
        top = 0.0 if summit is None else float(start <= summit <= end - size / 4)
        return _HEADS * kept + _SHARE * share + _TOP * top - _PRIOR * abs(place - (1 / 3 if upright else 1 / 2))

    # Among equally good positions, the one nearest to the middle wins.
    return max((step / _PLACES for step in range(_PLACES + 1)), key=lambda place: (points(place), -abs(place - 0.5)))


def _span(head: _Head, longest: float, upright: bool) -> tuple[float, float]:
    """Return the range of a head that must be visible. If the head is too large, its hair is cut first."""
    low, high = (head.top, head.bottom) if upright else (head.left, head.right)
    if upright:
        low = max(low, min(head.brow, high - longest))
    spare = max(0.0, high - low - longest) / 2
    return low + spare, high - spare


def _profile(cells: _Cells, upright: bool) -> list[float]:
    weights = [d + c // 2 + s for d, c, s in zip(cells.detail, cells.colour, cells.skin, strict=True)]
    if upright:
        return [float(sum(weights[at] for at in cells.line(row))) for row in range(cells.rows)]
    return [float(sum(weights[column :: cells.columns])) for column in range(cells.columns)]


def _between(sums: Sequence[float], start: float, end: float) -> float:
    return _up_to(sums, end) - _up_to(sums, start)


def _up_to(sums: Sequence[float], at: float) -> float:
    whole = min(int(at), len(sums) - 2)
    return sums[whole] + (sums[whole + 1] - sums[whole]) * (at - whole)


def _top(lines: Sequence[float]) -> float | None:
    """Return the line where an object begins below a plain background; None if it begins at the edge."""
    total, reached = sum(lines), 0.0
    for index, line in enumerate(lines):
        reached += line
        if reached > total / 50:
            return max(0.0, index - len(lines) / 25) if index >= len(lines) / 16 else None
    return None


def _kept(low: float, high: float, start: float, end: float) -> float:
    """Return 1 for a head within the window, 0 for one outside, and less than 0 for one that is cut."""
    inside = min(high, end) - max(low, start)
    if inside <= 0:
        return 0.0
    part = inside / (high - low)
    return 1.0 if part > 0.999 else part / 2 - 0.5


def _heads(cells: _Cells) -> list[_Head]:
    found = [head for patch in _patches(cells) if (head := _head(cells, patch)) is not None]
    total = sum(head.weight for head in found)
    scale = 1 / max(total, 1.0)
    return [replace(head, weight=head.weight * scale) for head in found]


def _patches(cells: _Cells) -> Iterator[list[int]]:
    """Yield the connected patches of skin, each as its cells in reading order."""
    left = {at for at, value in enumerate(cells.skin) if value >= _SKIN}
    while left:
        patch, edge = [], [left.pop()]
        while edge:
            at = edge.pop()
            patch.append(at)
            column = at % cells.columns
            beside = [at - cells.columns, at + cells.columns]
            beside += [at - 1] if column else []
            beside += [at + 1] if column + 1 < cells.columns else []
            for neighbour in beside:
                if neighbour in left:
                    left.remove(neighbour)
                    edge.append(neighbour)
        yield sorted(patch)


def _head(cells: _Cells, patch: Sequence[int]) -> _Head | None:
    everything = cells.columns * cells.rows
    if len(patch) < max(3, everything / 1500) or len(patch) > everything * 0.45:
        return None
    # Read from the top to the length of a head. Neck and shoulders may follow.
    top = patch[0] // cells.columns
    first, last, face = cells.columns, 0, 0
    bottom = top
    for at in patch:
        row, column = divmod(at, cells.columns)
        if row - top > 1.5 * max(2, last + 1 - first):
            break
        first, last, bottom, face = min(first, column), max(last, column), row, face + 1
    width, height = last + 1 - first, bottom + 1 - top
    filled = face / (width * height)
    shape = min(width / height, height / width)
    if filled < 0.4 or shape < 0.35:
        return None
    weight = filled * shape * min(1.0, (face / everything / 0.02) ** 0.5) * (1 - top / cells.rows / 2)
    if not (top and first and last + 1 < cells.columns):
        # A head has hair above it and space beside it. Walls, sand and tables reach the edges of the image.
        weight *= 0.4
    columns = [at % cells.columns for at in patch]
    if patch[-1] // cells.columns + 1 - top > 2 * (max(columns) + 1 - min(columns)):
        # Probably an arm or a leg.
        weight *= 0.3
    return _Head(
        max(0.0, first - width * 0.3),
        max(0.0, top - width * 0.6),
        float(top),
        min(float(cells.columns), last + 1 + width * 0.3),
        min(float(cells.rows), bottom + 1 + height * 0.1),
        weight,
    )
