"""The variant plan: all parameters of one rendering, with no default left open.

A plan names one variant of an original, crop, focus and revision; it is the last segment of a key. A `Drawing` is
the plan in the pixels of one original; it is all that the renderer receives.
"""

import re
from dataclasses import dataclass, field
from decimal import Decimal
from functools import lru_cache

from packshot.errors import Invalid
from packshot.geometry import (
    Anchor,
    Box,
    Crop,
    Gravity,
    Mode,
    Size,
    contain,
    cover_box,
    cover_size,
    crop_box,
    focal_anchor,
    place,
)
from packshot.model import Focus, Format, Original

# A still GIF with more pixels takes its colours from a sample of them, because using all pixels would dominate the
# render time.
MAX_CAREFUL_GIF_PIXELS = 4_000_000
# The alpha of a larger AVIF is not lossless, which would take as long as its colours; that of a larger WebP is
# compressed with less effort.
MAX_CAREFUL_ALPHA_PIXELS = 8_000_000

DEFAULT_QUALITY = {Format.JPEG: 80, Format.WEBP: 80, Format.AVIF: 50}


@dataclass(frozen=True, slots=True)
class Plan:
    """The final pixels and encoding of one variant.

    Attributes:
        width, height: pixels of the output, padding included.
        full: the stored crop is ignored; False if there is no crop.
        background: rrggbb, or rrggbbaa in a format with alpha; fills transparent parts.
        quality: 0 to 100; None for formats without a quality.
        blur: standard deviation of a Gaussian in output pixels, at most two decimals; 0: none.
        corner: radius of rounded corners in output pixels; 0: none.
        credits: the copyright and credit lines of the original are kept.
        quick: encoded with less effort; see `needs_quick`.
        encoding: revision of the encoder for this kind of file; see `encoding_of`.
    """

    width: int
    height: int
    mode: Mode
    gravity: Gravity
    full: bool
    background: str | None
    quality: int | None
    format: Format
    blur: Decimal = Decimal(0)
    corner: int = 0
    credits: bool = False
    quick: bool = False
    encoding: int = 1
    # Computed once, because the ledger, the state and the URL of a variant all need it.
    _text: str = field(default="", init=False, repr=False, compare=False)

    def __str__(self) -> str:
        if not self._text:
            object.__setattr__(self, "_text", self._spell())
        return self._text

    def _spell(self) -> str:
        parts = [f"w{self.width}-h{self.height}", self.mode, self.gravity]
        if self.full:
            parts.append("full")
        if self.blur:
            parts.append(f"blur{self.blur.normalize():f}")
        if self.corner:
            parts.append(f"r{self.corner}")
        if self.background is not None:
            parts.append(f"b{self.background}")
        if self.quality is not None:
            parts.append(f"q{self.quality}")
        if self.credits:
            parts.append("credits")
        if self.quick:
            parts.append("quick")
        if self.encoding > 1:
            parts.append(f"e{self.encoding}")
        return f"{'-'.join(parts)}.{self.format.extension}"


_PLAN = re.compile(
    r"w(?P<width>[1-9][0-9]{0,5})-h(?P<height>[1-9][0-9]{0,5})"
    rf"-(?P<mode>{'|'.join(Mode)})-(?P<gravity>{'|'.join(Gravity)})"
    r"(?P<full>-full)?(-blur(?P<blur>[1-9][0-9]{0,3}(\.[0-9]?[1-9])?|0\.[0-9]?[1-9]))?(-r(?P<corner>[1-9][0-9]{0,5}))?"
    r"(-b(?P<background>[0-9a-f]{6}([0-9a-f]{2})?))?(-q(?P<quality>0|[1-9][0-9]?|100))?(?P<credits>-credits)?(?P<quick>-quick)?"
    r"(-e(?P<encoding>[2-9]))?"
    r"\.(?P<extension>[a-z]+)"
)
_BY_EXTENSION = {format.extension: format for format in Format}


def parse_plan(text: str) -> Plan:
    """Parse a variant plan; `parse_plan(str(plan)) == plan`.

    Raises:
        Invalid: `text` is not a variant plan.
    """
    match = _PLAN.fullmatch(text)
    format = _BY_EXTENSION.get(match["extension"]) if match else None
    if match is None or format is None or (match["quality"] is None) == (format in DEFAULT_QUALITY):
        raise Invalid("This is not the plan of a variant.", expected="w640-h360-crop-center-q80.jpg", got=text)
    return Plan(
        width=int(match["width"]),
        height=int(match["height"]),
        mode=Mode(match["mode"]),
        gravity=Gravity(match["gravity"]),
        full=match["full"] is not None,
        background=match["background"],
        quality=None if match["quality"] is None else int(match["quality"]),
        format=format,
        blur=Decimal(match["blur"] or 0),
        corner=int(match["corner"] or 0),
        credits=match["credits"] is not None,
        quick=match["quick"] is not None,
        encoding=int(match["encoding"] or 1),
    )


def needs_quick(format: Format, size: Size, original: Original) -> bool:
    """Return whether a variant is so large that its encoder uses less effort, which gives other bytes.

    The largest variant of the largest original takes less than half of the render timeout in every format. Only these
    variants have `-quick` in their plan, so no other key depends on the rule.
    """
    pixels = size.width * size.height
    if format is Format.AVIF or (format is Format.WEBP and not original.moves):
        return original.alpha and pixels > MAX_CAREFUL_ALPHA_PIXELS
    # The frames of an animation are always encoded with little effort.
    return format is Format.GIF and not original.moves and pixels > MAX_CAREFUL_GIF_PIXELS


def encoding_of(format: Format, original: Original) -> int:
    """Return the revision of the encoder for a kind of file.

    Raise the number when the encoder's bytes change. The number is part of the plan of these variants, so that old
    bytes are not served as new ones; no other key changes.
    """
    return 2 if original.moves and format in (Format.GIF, Format.WEBP) else 1


@dataclass(frozen=True, slots=True)
class Drawing:
    """A variant plan applied to one original, in whole pixels.

    Attributes:
        box: the part that is sampled, in pixels of the upright original.
        size: pixels of the output.
        placed: where the sampled part stands in the output; the rest stays transparent.
        background: rrggbb or rrggbbaa under the whole output; None: none, or white for an opaque format.
        smart: sample only the most interesting part of `box`, with the ratio of `placed`.
        blur: standard deviation of a Gaussian over the sampled image, in output pixels.
        corner: radius of rounded corners, in output pixels.
        credits: the copyright and credit lines of the original are kept.
        quick: encode with less effort.
    """

    box: Box
    size: Size
    placed: Box
    format: Format
    quality: int | None
    background: str | None
    smart: bool = False
    blur: float = 0.0
    corner: int = 0
    credits: bool = False
    quick: bool = False


def drawing(plan: Plan, original: Size, crop: Crop | None, focus: Focus | None = None) -> Drawing:
    """Apply `plan` to an upright original of that size with that crop and focal point."""
    region = crop_box(original, None if plan.full else crop)
    size = Size(plan.width, plan.height)
    box, placed = layout(region, size, plan.mode, anchor_for(plan.gravity, plan.mode, focus, original, region))
    smart = plan.mode is Mode.CROP and plan.gravity is Gravity.SMART
    return Drawing(
        region if smart else box,
        size,
        placed,
        plan.format,
        plan.quality,
        plan.background,
        smart=smart,
        blur=float(plan.blur),
        corner=plan.corner,
        credits=plan.credits,
        quick=plan.quick,
    )


def anchor_for(gravity: Gravity, mode: Mode, focus: Focus | None, original: Size, region: Box) -> Anchor:
    """Return the point of `region` that a crop is centred on, or that padding moves towards."""
    # A crop of the whole region has no focal point to move towards.
    if gravity is Gravity.FOCUS and mode is Mode.CROP and focus is not None:
        return focal_anchor(focus.x, focus.y, original, region)
    return gravity.anchor


@lru_cache(maxsize=256)
def layout(region: Box, size: Size, mode: Mode, anchor: Anchor) -> tuple[Box, Box]:
    """Return the part of the original to sample, and its place in the output."""
    if mode is Mode.CROP:
        inner = cover_box(region.size, size, anchor)
        return Box(region.left + inner.left, region.top + inner.top, *inner.size), Box(0, 0, *size)
    if mode.pads:
        return region, place(contain(region.size, size), size, anchor)
    return region, Box(0, 0, *size)


def canonical_gravity(
    gravity: Gravity, region: Box, size: Size, mode: Mode, focus: Focus | None, original: Size
) -> Gravity:
    """Return `gravity`, or CENTER if that gives the same image."""
    if gravity is Gravity.CENTER:
        return gravity
    if gravity is Gravity.SMART:
        cut = mode is Mode.CROP and cover_size(region.size, size) != region.size
        return gravity if cut else Gravity.CENTER
    anchor = anchor_for(gravity, mode, focus, original, region)
    same = layout(region, size, mode, anchor) == layout(region, size, mode, Gravity.CENTER.anchor)
    return Gravity.CENTER if same else gravity
