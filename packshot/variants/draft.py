"""Drafts: how a pack location is rendered for a request, regardless of the pack.

Most packs of a tenant are alike here: originals of a few sizes, no crop, no settings of their own. So planned
variants are computed once for all packs that are alike.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from decimal import Decimal
from fractions import Fraction
from functools import lru_cache

from packshot.geometry import Box, Crop, Gravity, Mode, Request, Size, contain, cover_size, crop_box, fit
from packshot.model import Focus, Format, FormatPolicy, Location, LocationFields, Original, Rendition
from packshot.variants.plan import DEFAULT_QUALITY, Drawing, Plan, canonical_gravity, drawing, encoding_of, needs_quick
from packshot.variants.request import MAX_BLUR, MAX_DPR, FormatChoice, QualityChoice, RequestForm
from packshot.variants.steps import Snapped, snap_blur, snap_colour, snap_quality, step_up

DEFAULT_FORMATS = (Format.AVIF, Format.WEBP, Format.JPEG)
DEFAULT_DPRS = (1.0, 2.0)
# The location's own size, for a location without renditions.
OWN_SIZE = tuple(Rendition(None, None, dpr) for dpr in DEFAULT_DPRS)
# Cached entries; each takes a few kilobytes.
LOOKS = 1024


@dataclass(frozen=True, slots=True)
class Policy:
    """The settings of one pack location, and the level that each comes from."""

    gravity: Gravity
    gravity_from: str
    include_all: bool
    include_all_from: str


@dataclass(frozen=True, slots=True)
class PackLocationView:
    """Everything that a draft depends on, besides the request.

    Attributes:
        original: its properties, without its identity.
    """

    config: Location
    policy: Policy
    original: Original
    crop: Crop | None
    focus: Focus | None
    format_policy: FormatPolicy
    credits: bool


@dataclass(frozen=True, slots=True)
class Choices:
    """The settings for one request, and where each comes from: `request`, a level of `Policy`, or `default`.

    Attributes:
        format: None: the format of the original.
        quality: None: the default of the format.
    """

    mode: Mode
    mode_from: str
    gravity: Gravity
    gravity_from: str
    format: FormatChoice | None
    format_from: str
    quality: int | QualityChoice | None
    quality_from: str


def choose(policy: Policy, format_policy: FormatPolicy, form: RequestForm) -> Choices:
    """Return the settings for a request: its own parameters, otherwise the defaults."""
    said = "request"
    mode = form.resize_mode or (Mode.INCLUDE_ALL if policy.include_all else Mode.CROP)
    return Choices(
        mode=mode,
        mode_from=policy.include_all_from if form.resize_mode is None else said,
        gravity=form.resize_gravity or policy.gravity,
        gravity_from=policy.gravity_from if form.resize_gravity is None else said,
        format=form.format or POLICY_CHOICE[format_policy],
        format_from="tenant" if form.format is None else said,
        quality=form.quality,
        quality_from="default" if form.quality is None else said,
    )


@dataclass(frozen=True, slots=True)
class Draft:
    """One variant without its pack.

    Attributes:
        upscaled: the image is enlarged; only if its location allows it.
    """

    plan: Plan
    drawing: Drawing
    upscaled: bool


def draft(
    look: PackLocationView, form: RequestForm, limit: Size, format: Format, *, snapped: Snapped | None = None
) -> Draft:
    """Return how a request is rendered in that format, or in PNG if transparency is needed and the format has none.

    Args:
        snapped: the box that replaces the request's box; the request's other numbers snap to steps too.
    """
    kept, config, chosen = look.original, look.config, choose(look.policy, look.format_policy, form)
    mode = chosen.mode
    full = bool(form.skip_crop) and look.crop is not None and not look.crop.is_full
    original = Size(kept.width, kept.height)
    region = crop_box(original, None if full else look.crop)
    box = asked_size(form, config) if snapped is None else snapped.box
    fitted = fit(region.size, box, mode, allow_upscale=config.allow_upscale, limit=limit)
    size, scale = fitted.size, fitted.scale
    if snapped is not None:
        scale = Fraction(1) if snapped.factor is None else scale * snapped.factor
        form = replace(form, background=None if form.background is None else snap_colour(form.background))
    corner = _rounded(form.rounded_corners * scale) if form.rounded_corners else 0
    blur = Decimal(_rounded(Fraction(form.blur) * scale * 100)) / 100 if form.blur else _NO_BLUR
    if snapped is not None:
        # The box may be up to an eighth larger than requested; the blur grows with it.
        corner, blur = step_up(corner), snap_blur(min(blur, Decimal(MAX_BLUR * MAX_DPR)))
    corner = min(corner, min(size) // 2)
    if (mode is Mode.INCLUDE_ALL or corner) and not format.has_alpha:
        format = Format.PNG
    if mode is Mode.CANVAS and format.has_alpha and _alpha(form.background) == "00":
        # Invisible padding equals includeAll.
        mode = Mode.INCLUDE_ALL
    background = _background(form, format) if _shows_background(mode, format, kept, region, size) else None
    quality = _quality(chosen.quality, format, kept)
    if snapped is not None:
        background = None if background is None else snap_colour(background)
        own = (DEFAULT_QUALITY.get(format), kept.quality if format is Format.JPEG else None)
        quality = None if quality is None else snap_quality(quality, own)
    plan = Plan(
        *size,
        mode,
        canonical_gravity(chosen.gravity, region, size, mode, look.focus, original),
        full,
        background,
        quality,
        format,
        blur=blur,
        corner=corner,
        credits=look.credits,
        quick=needs_quick(format, size, kept),
        encoding=encoding_of(format, kept),
    )
    drawn = drawing(plan, original, look.crop, look.focus)
    return Draft(plan, drawn, _is_enlarged(drawn))


@lru_cache(maxsize=LOOKS)
def planned_drafts(look: PackLocationView, limit: Size) -> tuple[Draft, ...]:
    """Return the planned variants without duplicates: renditions by formats, and the one without parameters."""
    drafts = [draft(look, form, limit, format) for form, format in _planned_forms(look.config, look.original)]
    bare = RequestForm(location=look.config.name)
    drafts.append(draft(look, bare, limit, format_for(look, bare, frozenset())))
    if look.format_policy is FormatPolicy.AUTO:
        for format in (Format.AVIF, Format.WEBP):
            drafts.append(draft(look, bare, limit, format_for(look, bare, frozenset({format}))))
    found: dict[Plan, Draft] = {}
    for drafted in drafts:
        found.setdefault(drafted.plan, drafted)
    return tuple(found.values())


@lru_cache(maxsize=LOOKS)
def offered_plans(look: PackLocationView, limit: Size) -> frozenset[Plan]:
    """Return the variants of the configuration: planned ones, and the `src` of a picture."""
    bare = RequestForm(location=look.config.name)
    source = draft(look, bare, limit, common_format(look.original))
    return frozenset((source.plan, *(drafted.plan for drafted in planned_drafts(look, limit))))


def region_of(look: PackLocationView, form: RequestForm) -> Size:
    """Return the size of what a request shows, after its crop."""
    full = bool(form.skip_crop) and look.crop is not None and not look.crop.is_full
    return crop_box(Size(look.original.width, look.original.height), None if full else look.crop).size


def _rounded(value: Fraction) -> int:
    return (2 * value.numerator + value.denominator) // (2 * value.denominator)


def _is_enlarged(drawn: Drawing) -> bool:
    sampled = cover_size(drawn.box.size, drawn.size) if drawn.smart else drawn.box.size
    return drawn.placed.width > sampled.width or drawn.placed.height > sampled.height


def _alpha(colour: str | None) -> str:
    return (colour or "")[6:] or "ff"


def _shows_background(mode: Mode, format: Format, original: Original, region: Box, size: Size) -> bool:
    if original.alpha:
        return mode is Mode.CANVAS or not format.has_alpha
    return mode is Mode.CANVAS and contain(region.size, size) != size


def _background(form: RequestForm, format: Format) -> str:
    colour, alpha = (form.background or _WHITE)[:6], _alpha(form.background)
    if alpha == "ff":
        return colour
    if format.has_alpha:
        return colour + alpha
    # A half transparent background under an opaque image means: on white.
    weight = int(alpha, 16)
    mixed = (_rounded(Fraction(part * weight + 255 * (255 - weight), 255)) for part in bytes.fromhex(colour))
    return bytes(mixed).hex()


def _quality(asked: int | QualityChoice | None, format: Format, original: Original) -> int | None:
    default = DEFAULT_QUALITY.get(format)
    if default is None or asked is None:
        return default
    if asked is not QualityChoice.AUTO:
        return asked
    own = original.quality if format is Format.JPEG else None
    return default if own is None else own


def asked_size(form: RequestForm, config: Location) -> Request:
    """Return the box that a request asks for at a location; equal boxes give equal sizes."""
    width, height = form.width, form.height
    ratio = None
    if form.location_ratio and (width is None) != (height is None) and config.width and config.height:
        ratio = Fraction(config.width, config.height)
    if width is None and height is None:
        width, height = config.width, config.height
    return Request(width, height, scale=Fraction(1) if form.dpr is None else _exact(form.dpr), ratio=ratio)


@lru_cache(maxsize=256)
def _exact(dpr: Decimal) -> Fraction:
    return Fraction(dpr)


def format_for(look: PackLocationView, form: RequestForm, accept: frozenset[Format]) -> Format:
    """Return the format of a request for a client that accepts these of AVIF and WebP."""
    original, choice = look.original, choose(look.policy, look.format_policy, form).format
    if choice is None:
        own = _ORIGINAL_FORMATS.get(original.format)
        if original.format == "gif" and original.moves:
            own = Format.GIF
        return own or (Format.PNG if original.alpha else Format.JPEG)
    if choice is not FormatChoice.AUTO:
        return Format(choice.value)
    best = (format for format in default_formats(original) if format in accept)
    return next(best, common_format(original))


def common_format(original: Original) -> Format:
    """Return the format in which every browser shows the image completely, including motion or transparency."""
    if original.moves:
        return Format.GIF
    return Format.PNG if original.alpha else Format.JPEG


def default_formats(original: Original) -> tuple[Format, ...]:
    """Return the default formats of an image, best first."""
    if original.moves:
        # AVIF is written as a still image only.
        return Format.WEBP, Format.GIF
    return tuple(common_format(original) if format is Format.JPEG else format for format in DEFAULT_FORMATS)


_NO_BLUR = Decimal(0)
_WHITE = "ffffff"
_ORIGINAL_FORMATS = {"jpeg": Format.JPEG, "png": Format.PNG, "webp": Format.WEBP}
POLICY_CHOICE: dict[FormatPolicy, FormatChoice | None] = {
    policy: None if policy is FormatPolicy.ORIGINAL else FormatChoice(policy.value) for policy in FormatPolicy
}


def _planned_forms(config: Location, original: Original) -> Iterator[tuple[RequestForm, Format]]:
    for rendition in effective_renditions(config):
        form = rendition_form(rendition)
        for format in config.formats or default_formats(original):
            yield form, format


def effective_renditions(fields: LocationFields) -> tuple[Rendition, ...]:
    """Return the renditions of a location, including the default ones."""
    renditions = OWN_SIZE if fields.renditions is None else fields.renditions
    return tuple(
        Rendition(fields.width, fields.height, one.dpr) if one.width is None and one.height is None else one
        for one in renditions
    )


def rendition_form(rendition: Rendition) -> RequestForm:
    """Return the request that a rendition stands for."""
    return RequestForm(
        width=rendition.width,
        height=rendition.height,
        location_ratio=True,
        dpr=Decimal(str(rendition.dpr)),
    )
