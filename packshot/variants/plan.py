"""The plan form: what will be drawn, every value spelled out, no default left.

A plan names a variant among all that one (original, crop, focus, revision) can
give; it is the last segment of a key. A `Drawing` is the same in pixels of one
original, and is all that the renderer is told.
"""

import re
from dataclasses import dataclass

from packshot.errors import Invalid
from packshot.geometry import Box, Crop, Gravity, Mode, Size, contain, cover_box, crop_box, place
from packshot.model import Format

DEFAULT_QUALITY = {Format.JPEG: 80, Format.WEBP: 80, Format.AVIF: 50}


@dataclass(frozen=True, slots=True)
class Plan:
    """One variant's final pixels and encoding.

    Attributes:
        width, height: pixels of the output, padding included.
        full: the stored crop is ignored; False too where there is none.
        background: rrggbb under a transparent picture in an opaque format.
        quality: 0 to 100; None for formats without one.
    """

    width: int
    height: int
    mode: Mode
    gravity: Gravity
    full: bool
    background: str | None
    quality: int | None
    format: Format

    def __str__(self) -> str:
        parts = [f"w{self.width}", f"h{self.height}", self.mode.value, self.gravity.value]
        if self.full:
            parts.append("full")
        if self.background is not None:
            parts.append(f"b{self.background}")
        if self.quality is not None:
            parts.append(f"q{self.quality}")
        return f"{'-'.join(parts)}.{self.format.extension}"


_PLAN = re.compile(
    r"w(?P<width>[1-9][0-9]{0,5})-h(?P<height>[1-9][0-9]{0,5})"
    rf"-(?P<mode>{'|'.join(Mode)})-(?P<gravity>{'|'.join(Gravity)})"
    r"(?P<full>-full)?(-b(?P<background>[0-9a-f]{6}))?(-q(?P<quality>0|[1-9][0-9]?|100))?"
    r"\.(?P<extension>[a-z]+)"
)
_BY_EXTENSION = {format.extension: format for format in Format}


def parse_plan(text: str) -> Plan:
    """Read a plan form; `parse_plan(str(plan)) == plan`.

    Raises:
        Invalid: `text` is no plan form.
    """
    match = _PLAN.fullmatch(text)
    format = _BY_EXTENSION.get(match["extension"]) if match else None
    if match is None or format is None or (match["quality"] is None) != (format is Format.PNG):
        raise Invalid("That is no variant's name.", expected="w640-h360-crop-center-q80.jpg", got=text)
    return Plan(
        width=int(match["width"]),
        height=int(match["height"]),
        mode=Mode(match["mode"]),
        gravity=Gravity(match["gravity"]),
        full=match["full"] is not None,
        background=match["background"],
        quality=None if match["quality"] is None else int(match["quality"]),
        format=format,
    )


@dataclass(frozen=True, slots=True)
class Drawing:
    """A plan applied to one original, in whole pixels.

    Attributes:
        box: what is sampled, in pixels of the upright original.
        size: pixels of the output.
        placed: where in the output the sampled picture goes; the rest stays transparent.
        background: rrggbb or rrggbbaa laid under all of the output; None: nothing is,
            and an opaque format gets white.
        smart: the most telling part of `box` is sampled, of the ratio of `placed`,
            and not all of it.
        blur: standard deviation of a Gaussian over the sampled picture, in pixels of the output.
        corner: radius of rounded corners, in pixels of the output.
        credits: the original's copyright and credit lines are kept.
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


def drawing(plan: Plan, original: Size, crop: Crop | None) -> Drawing:
    """Lay `plan` out on an upright original of that size with that crop."""
    region = crop_box(original, None if plan.full else crop)
    size = Size(plan.width, plan.height)
    box, placed = layout(region, size, plan.mode, plan.gravity)
    return Drawing(box, size, placed, plan.format, plan.quality, plan.background)


def layout(region: Box, size: Size, mode: Mode, gravity: Gravity) -> tuple[Box, Box]:
    """Return what to sample of the original, and where in the output it goes."""
    if mode is Mode.CROP:
        inner = cover_box(region.size, size, gravity.anchor)
        return Box(region.left + inner.left, region.top + inner.top, *inner.size), Box(0, 0, *size)
    if mode is Mode.CLIP:
        return region, Box(0, 0, *size)
    return region, place(contain(region.size, size), size, gravity.anchor)
