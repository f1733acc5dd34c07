"""The steps that on-demand requests snap to under the policy STEPS. All functions are pure.

A step is a whole number whose binary digits after the first four are zero: 1 to 16, then 18, 20, … 32, 36, 40, …
1024, 1152, 1280, … 1920, 2048, 2304, … Neighbouring steps differ by 6 to 13 percent. A requested side moves up to
the next step, so the image is never less sharp than requested, and at most an eighth larger.

A request with both sides keeps its aspect ratio: the longer side moves to a step, and the shorter one follows. It
follows exactly if the ratio is a common one or one of the tenant's own; otherwise it is rounded to seven binary
digits, which changes the ratio by less than one percent.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from functools import lru_cache

from packshot.geometry import Mode, Request, Size, half_up
from packshot.model import Location

COARSE_BITS, FINE_BITS = 4, 7
QUALITY_STEP = 10
# Steps above a final size that are tried as the box before it shrank; ratios of seven digits need no more.
MAX_SHRUNK = 32
# A colour channel snaps to the nearest value of a three-digit CSS colour.
CHANNEL_STEP = 17
# Shorter side over longer side.
COMMON_RATIOS = tuple(Fraction(*pair) for pair in ((1, 1), (4, 5), (3, 4), (2, 3), (5, 8), (9, 16), (1, 2), (9, 21)))


def step_up(value: int) -> int:
    """Return the smallest step that is not below `value`.

    >>> step_up(7), step_up(500), step_up(640), step_up(1081)
    (7, 512, 640, 1152)
    """
    unit = 1 << max(0, value.bit_length() - COARSE_BITS)
    return -(-value // unit) * unit


def near(value: Fraction) -> int:
    """Return the whole number of seven binary digits nearest to `value`, at least 1.

    >>> near(Fraction(281)), near(Fraction(540))
    (280, 544)
    """
    whole = half_up(value)
    unit = 1 << max(0, whole.bit_length() - FINE_BITS)
    return max(1, half_up(value / unit) * unit)


@dataclass(frozen=True, slots=True)
class Exact:
    """Sizes of the tenant's own locations, which count as steps.

    Attributes:
        ratios: shorter side over longer side.
    """

    widths: frozenset[int]
    heights: frozenset[int]
    sizes: frozenset[tuple[int, int]]
    ratios: tuple[Fraction, ...]


def exact_sizes(locations: Mapping[str, Location]) -> Exact:
    """Return the sizes of all locations and renditions, multiplied by their dpr."""
    return _exact(
        tuple(
            (one.width, one.height, tuple((r.width, r.height, r.dpr) for r in one.renditions or ()))
            for _, one in sorted(locations.items())
        )
    )


_Numbers = tuple[tuple[int | None, int | None, tuple[tuple[int | None, int | None, float], ...]], ...]


@lru_cache(maxsize=64)
def _exact(numbers: _Numbers) -> Exact:
    widths: set[int] = set()
    heights: set[int] = set()
    sizes: set[tuple[int, int]] = set()
    for own_width, own_height, renditions in numbers:
        ratio = Fraction(own_width, own_height) if own_width and own_height else None
        # A location without renditions has its own size at 1x and 2x.
        for width, height, dpr in (*renditions, (None, None, 1.0), (None, None, 2.0)):
            if width is None and height is None:
                width, height = own_width, own_height
            across, down = (None if side is None else half_up(side * Fraction(str(dpr))) for side in (width, height))
            if ratio is not None and across is not None and down is None:
                down = half_up(across / ratio)
            elif ratio is not None and down is not None and across is None:
                across = half_up(down * ratio)
            widths |= {across} if across is not None else set()
            heights |= {down} if down is not None else set()
            if across is not None and down is not None:
                sizes.add((across, down))
    ratios = {Fraction(min(size), max(size)) for size in sizes} | set(COMMON_RATIOS)
    return Exact(frozenset(widths), frozenset(heights), frozenset(sizes), tuple(sorted(ratios)))


@dataclass(frozen=True, slots=True)
class Snapped:
    """A box of steps, in output pixels; its scale is 1.

    Attributes:
        factor: output pixels per CSS pixel of the request; None: the request's other numbers are output pixels.
    """

    box: Request
    factor: Fraction | None = None


def snap(asked: Request, region: Size, mode: Mode, exact: Exact, limit: Size) -> Snapped:
    """Return the box that replaces the requested one.

    Args:
        region: size of the shown part, after its crop; its own size counts as a step.
        limit: maximum sides of a variant; the maximum counts as a step.
    """
    scale, width, height = asked.scale, asked.width, asked.height
    if width is None and height is None:
        if scale == 1:
            return Snapped(Request(None, None), Fraction(1))
        # The longer side tells more about the other than the shorter one.
        width, height = (region.width, None) if region.width >= region.height else (None, region.height)
    across = None if width is None else half_up(width * scale)
    down = None if height is None else half_up(height * scale)
    ratio = asked.ratio
    bounds_only = mode in (Mode.CLIP, Mode.COVER)
    if bounds_only and ratio is not None:
        # A side that follows the location's ratio limits the image like a given side.
        if across is None and down is not None:
            across = max(1, half_up(down * ratio))
        elif down is None and across is not None:
            down = max(1, half_up(across / ratio))
    if across is not None and down is not None and bounds_only and (across, down) not in exact.sizes:
        # The box only limits an image that keeps its own ratio, so one side decides.
        ratio, choose = None, min if mode is Mode.CLIP else max
        reach = choose(Fraction(across, region.width), Fraction(down, region.height))
        if region.width >= region.height:
            across, down = half_up(region.width * reach), None
        else:
            across, down = None, half_up(region.height * reach)
    if across is not None and down is not None:
        box = _both(across, down, region, exact, max(limit))
        # The longer side moves to a step, and so decides how much the whole box grows.
        factor = scale * (Fraction(box[0], across) if across >= down else Fraction(box[1], down))
        return Snapped(Request(*box, ratio=ratio), factor)
    if across is not None:
        to = across if across in exact.widths or across == region.width else step_up(across)
        return Snapped(Request(to, None, ratio=ratio), scale * Fraction(to, across))
    assert down is not None
    to = down if down in exact.heights or down == region.height else step_up(down)
    return Snapped(Request(None, to, ratio=ratio), scale * Fraction(to, down))


def _both(across: int, down: int, region: Size, exact: Exact, most: int) -> tuple[int, int]:
    if (across, down) in exact.sizes or (across, down) == region:
        return across, down
    longer, shorter = max(across, down), min(across, down)
    longer_to = min(step_up(longer), most)
    alike = [ratio for ratio in exact.ratios if _is_alike(longer * ratio, shorter)]
    if alike:
        nearest = min(alike, key=lambda ratio: abs(longer * ratio - shorter))
        shorter_to = half_up(longer_to * nearest)
    else:
        shorter_to = near(Fraction(shorter * longer_to, longer))
    return (longer_to, shorter_to) if across >= down else (shorter_to, longer_to)


def _is_alike(side: Fraction, asked: int) -> bool:
    """Whether `side` may be the request's side after the client's rounding: one pixel off, if that is below 1 %."""
    return half_up(side) == asked or abs(side - asked) < min(Fraction(1), Fraction(asked, 100))


def boxes_giving(
    size: Size, region: Size, mode: Mode, exact: Exact, own: Fraction | None, limit: Size
) -> Iterator[Snapped]:
    """Yield the boxes of steps that may have led to a final size, the likeliest first.

    Args:
        own: width over height of the location, which a missing side may follow.
    """
    width, height = size
    if size == region or (width, height) in exact.sizes:
        yield Snapped(Request(width, height))
    for follows in dict.fromkeys((None, own)):
        for one in (Request(width, None, ratio=follows), Request(None, height, ratio=follows)):
            yield Snapped(snap(one, region, mode, exact, limit).box)
    # A box larger than the image shrinks, so larger boxes may give this size too.
    is_shrunk = width in (region.width, limit.width) or height in (region.height, limit.height)
    tries = MAX_SHRUNK if is_shrunk else 1
    if own is not None and is_shrunk:
        # The following side was rounded before the box shrank.
        yield from (Snapped(Request(one, None, ratio=own)) for one in _from(width, exact.widths, tries))
        yield from (Snapped(Request(None, one, ratio=own)) for one in _from(height, exact.heights, tries))
    longer, shorter = max(size), min(size)
    longer_to = min(step_up(longer), max(limit))
    for _ in range(tries):
        scaled = Fraction(shorter * longer_to, longer)
        unit = Fraction(1 << max(0, half_up(scaled).bit_length() - FINE_BITS))
        alike = (one for one in exact.ratios if abs(longer_to * one - scaled) <= unit)
        sides = (*(half_up(longer_to * one) for one in alike), *(near(scaled + n * unit) for n in (0, 1, -1)))
        for shorter_to in dict.fromkeys(sides):
            yield Snapped(Request(longer_to, shorter_to) if width >= height else Request(shorter_to, longer_to))
        longer_to = step_up(longer_to + 1)


def _from(side: int, exact: Iterable[int], tries: int) -> Iterator[int]:
    """Yield the tenant's own sizes from `side` on, and that number of steps."""
    yield from sorted(one for one in exact if one >= side)
    for _ in range(tries):
        side = step_up(side)
        yield side
        side += 1


def snap_quality(quality: int, own: Iterable[int | None]) -> int:
    """Return the quality that replaces another; those in `own` stay."""
    return quality if quality in own else min(100, half_up_to(quality, QUALITY_STEP))


def half_up_to(value: int, unit: int) -> int:
    """Round to the nearest multiple of `unit`, halves up."""
    return (2 * value + unit) // (2 * unit) * unit


def snap_blur(blur: Decimal) -> Decimal:
    """Return a standard deviation on a step: 0, 0.5, 1, 2, 3 and so on."""
    if blur < Decimal("0.25"):
        return Decimal(0)
    return Decimal("0.5") if blur < Decimal("0.75") else Decimal(step_up(int(blur + Decimal("0.5"))))


def snap_colour(colour: str) -> str:
    """Return rrggbb or rrggbbaa with each channel at the nearest value of a three-digit CSS colour."""
    return bytes(half_up_to(channel, CHANNEL_STEP) for channel in bytes.fromhex(colour)).hex()
