"""From what a URL asks and what the catalog says to the one variant that is meant.

Which original, which crop, which policy and where each came from: the rules of
the contract, as pure functions over one snapshot.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from decimal import Decimal
from fractions import Fraction

from packshot.errors import Invalid, NotFound
from packshot.geometry import Box, Crop, Gravity, Mode, Request, Size, contain, cover_size, crop_box, fit
from packshot.model import (
    Focus,
    Format,
    FormatPolicy,
    IncludeAll,
    Location,
    Original,
    Rendition,
    Snapshot,
)
from packshot.variants.key import Key, fingerprint
from packshot.variants.plan import DEFAULT_QUALITY, Drawing, Plan, canonical_gravity, drawing
from packshot.variants.request import LARGEST_BLUR, LARGEST_DPR, FormatChoice, QualityChoice, RequestForm

DEFAULT_FORMATS = (Format.AVIF, Format.WEBP, Format.JPEG)
DEFAULT_DPRS = (1.0, 2.0)


@dataclass(frozen=True, slots=True)
class Shown:
    """What one location of one pack shows.

    Attributes:
        source: the location whose original is shown.
        consulted: every location that was looked at on the way, in order.
    """

    location: str
    source: str
    consulted: tuple[str, ...]
    original: Original
    crop: Crop | None
    focus: Focus | None
    fingerprint: str


@dataclass(frozen=True, slots=True)
class Target:
    """One variant: where it is, and how it is drawn from which original.

    Attributes:
        consulted: every location whose change could have changed this answer.
        upscaled: the picture itself is enlarged; only where its location allows it.
    """

    key: Key
    original: Original
    source: str
    consulted: tuple[str, ...]
    drawing: Drawing
    upscaled: bool

    @property
    def pixels(self) -> int:
        """Pixels of the output, all frames together."""
        moves = self.original.moves and self.drawing.format in (Format.WEBP, Format.GIF)
        return self.drawing.size.width * self.drawing.size.height * (self.original.frames if moves else 1)

    @property
    def tags(self) -> tuple[str, ...]:
        """Purge tags: the tenant, the pack, and every location consulted."""
        tenant, pack = self.key.tenant, self.key.pack
        return tenant_tag(tenant), pack_tag(tenant, pack), *(location_tag(tenant, name) for name in self.consulted)


def tenant_tag(tenant: str) -> str:
    """Return the purge tag of all that a tenant shows."""
    return f"t:{tenant}"


def pack_tag(tenant: str, pack_id: str) -> str:
    """Return the purge tag of all that a pack shows."""
    return f"p:{tenant}:{pack_id}"


def location_tag(tenant: str, name: str) -> str:
    """Return the purge tag of all whose resolution looked at a location."""
    return f"l:{tenant}:{name}"


@dataclass(frozen=True, slots=True)
class Policy:
    """What applies to one pack location, and where each value came from."""

    gravity: Gravity
    gravity_from: str
    include_all: bool
    include_all_from: str


def source_of(snapshot: Snapshot, location: str) -> tuple[str | None, tuple[str, ...]]:
    """Return the location whose original is shown, and all that were consulted.

    Its own original; else its fallback chain, never twice the same; else the
    pack's main location; else None.
    """
    consulted: list[str] = []
    following: str | None = location
    while following is not None and following not in consulted:
        consulted.append(following)
        if snapshot.slot(following).original is not None:
            return following, tuple(consulted)
        config = snapshot.locations.get(following)
        following = config.fallback if config else None
    main = snapshot.pack.main_location or "main"
    if main not in consulted:
        consulted.append(main)
        if snapshot.slot(main).original is not None:
            return main, tuple(consulted)
    return None, tuple(consulted)


def shown_at(snapshot: Snapshot, location: str) -> Shown | None:
    """Return what `location` of this pack shows; None: nothing.

    Crop and focus are the location's own if set, else those of the location
    whose original is shown.
    """
    config = snapshot.locations.get(location)
    source, consulted = source_of(snapshot, location)
    if config is None or source is None:
        return None
    own, giver = snapshot.slot(location), snapshot.slot(source)
    assert giver.original is not None
    crop, focus = own.crop or giver.crop, own.focus or giver.focus
    digest = fingerprint(giver.original.sha256, crop, focus, config.revision + own.revision)
    return Shown(location, source, consulted, giver.original, crop, focus, digest)


def policy_for(snapshot: Snapshot, location: str) -> Policy:
    """Resolve gravity and includeAll: pack location, pack, location, tenant."""
    slot, pack, config = snapshot.slot(location), snapshot.pack, snapshot.locations[location]
    holders = (("packLocation", slot), ("pack", pack), ("location", config))
    gravity, gravity_from = snapshot.tenant.resize_gravity, "tenant"
    include_all, include_all_from = snapshot.tenant.include_all, "tenant"
    for name, holder in reversed(holders):
        if holder.resize_gravity is not None:
            gravity, gravity_from = holder.resize_gravity, name
        if holder.include_all is not IncludeAll.UNSET:
            include_all, include_all_from = holder.include_all is IncludeAll.TRUE, name
    return Policy(gravity, gravity_from, include_all, include_all_from)


def resolve(
    snapshot: Snapshot,
    form: RequestForm,
    *,
    limit: Size,
    accept: frozenset[Format] = frozenset(),
    format: Format | None = None,
) -> Target:
    """Return the variant that a request means, now.

    Args:
        limit: longest allowed sides of a variant; larger requests are refused.
        accept: formats the client can show, for `format=auto`.
        format: this one, whatever the request says; GIF has no name in a request.

    Raises:
        NotFound: no such location, or nothing to show there.
        Invalid: a side beyond the limit.
    """
    name = form.location or snapshot.pack.main_location or "main"
    config = snapshot.locations.get(name)
    if config is None:
        known = ", ".join(sorted(snapshot.locations))
        raise NotFound(f"There is no location {name!r}.", field=("location",), expected=known, got=name)
    for side, maximum in (("width", limit.width), ("height", limit.height)):
        value = getattr(form, side)
        if value is not None and value > maximum:
            raise Invalid(f"The {side} is too large.", field=(side,), expected=f"at most {maximum}", got=value)
    shown = shown_at(snapshot, name)
    if shown is None:
        raise NotFound(
            "This pack has nothing to show there.",
            field=("location",),
            expected="a location with an original, a fallback with one, or a main location with one",
            got=name,
        )
    return _target(snapshot, config, shown, form, limit, format or _format(snapshot, shown.original, form, accept))


def _target(
    snapshot: Snapshot, config: Location, shown: Shown, form: RequestForm, limit: Size, format: Format
) -> Target:
    policy, kept = policy_for(snapshot, config.name), shown.original
    mode = form.resize_mode or (Mode.INCLUDE_ALL if policy.include_all else Mode.CROP)
    full = bool(form.skip_crop) and shown.crop is not None and not shown.crop.is_full
    original = Size(kept.width, kept.height)
    region = crop_box(original, None if full else shown.crop)
    fitted = fit(region.size, asked_size(form, config), mode, allow_upscale=config.allow_upscale, limit=limit)
    size = fitted.size
    corner = min(_rounded((form.rounded_corners or 0) * fitted.scale), min(size) // 2)
    if (mode is Mode.INCLUDE_ALL or corner) and not format.has_alpha:
        format = Format.PNG
    if mode is Mode.CANVAS and format.has_alpha and _alpha(form.background) == "00":
        # Padding that nobody sees is what includeAll gives.
        mode = Mode.INCLUDE_ALL
    gravity = form.resize_gravity or policy.gravity
    plan = Plan(
        *size,
        mode,
        canonical_gravity(gravity, region, size, mode, shown.focus, original),
        full,
        _background(form, format) if _shows_background(mode, format, kept, region, size) else None,
        _quality(form, format, kept),
        format,
        blur=Decimal(_rounded(Fraction(form.blur or 0) * fitted.scale * 100)) / 100,
        corner=corner,
        credits=snapshot.tenant.keep_credits,
    )
    key = Key(snapshot.tenant.name, snapshot.pack.id, config.name, shown.fingerprint, plan)
    drawn = drawing(plan, original, shown.crop, shown.focus)
    return Target(key, kept, shown.source, shown.consulted, drawn, _is_enlarged(drawn))


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
    # Half transparent under an opaque picture means: on white.
    weight = int(alpha, 16)
    mixed = (_rounded(Fraction(part * weight + 255 * (255 - weight), 255)) for part in bytes.fromhex(colour))
    return bytes(mixed).hex()


def _quality(form: RequestForm, format: Format, original: Original) -> int | None:
    default = DEFAULT_QUALITY.get(format)
    if default is None or form.quality is None:
        return default
    if form.quality is not QualityChoice.AUTO:
        return form.quality
    own = original.quality if format is Format.JPEG else None
    return default if own is None else own


def asked_size(form: RequestForm, config: Location) -> Request:
    """Return the box that a request asks for at a location; requests of equal boxes give equal sizes."""
    width, height = form.width, form.height
    ratio = Fraction(config.width, config.height) if config.width and config.height else None
    one_sided = (width is None) != (height is None)
    if width is None and height is None:
        width, height = config.width, config.height
    return Request(
        width,
        height,
        scale=Fraction(form.dpr) if form.dpr is not None else Fraction(1),
        ratio=ratio if form.location_ratio and one_sided else None,
    )


def _format(snapshot: Snapshot, original: Original, form: RequestForm, accept: frozenset[Format]) -> Format:
    choice = form.format or _POLICY_CHOICE[snapshot.tenant.format_policy]
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
    """Return the format in which every browser shows all of a picture: its motion, else its alpha."""
    if original.moves:
        return Format.GIF
    return Format.PNG if original.alpha else Format.JPEG


def default_formats(original: Original) -> tuple[Format, ...]:
    """Return the formats in which a picture is offered where nothing else is said, best first."""
    if original.moves:
        # AVIF is written as a still picture.
        return Format.WEBP, Format.GIF
    return tuple(common_format(original) if format is Format.JPEG else format for format in DEFAULT_FORMATS)


def negotiates(snapshot: Snapshot, form: RequestForm) -> bool:
    """Whether the answer depends on what the client accepts (`Vary: Accept`)."""
    return (form.format or _POLICY_CHOICE[snapshot.tenant.format_policy]) is FormatChoice.AUTO


_WHITE = "ffffff"
_ORIGINAL_FORMATS = {"jpeg": Format.JPEG, "png": Format.PNG, "webp": Format.WEBP}
_POLICY_CHOICE: dict[FormatPolicy, FormatChoice | None] = {
    policy: None if policy is FormatPolicy.ORIGINAL else FormatChoice(policy.value) for policy in FormatPolicy
}


def planned(snapshot: Snapshot, location: str, *, limit: Size) -> tuple[Target, ...]:
    """Return the variants rendered ahead of time at one location, without doubles.

    Its renditions in each of its formats, and whatever its bare stable URL
    resolves to. Empty where the pack has nothing to show.
    """
    config, shown = snapshot.locations.get(location), shown_at(snapshot, location)
    if config is None or shown is None:
        return ()
    targets: dict[str, Target] = {}
    for form, format in _planned_forms(config, shown.original):
        target = _target(snapshot, config, shown, form, limit, format)
        targets.setdefault(str(target.key), target)
    bare = resolve(snapshot, RequestForm(location=location), limit=limit)
    targets.setdefault(str(bare.key), bare)
    if snapshot.tenant.format_policy is FormatPolicy.AUTO:
        for format in (Format.AVIF, Format.WEBP):
            target = resolve(snapshot, RequestForm(location=location), limit=limit, accept=frozenset({format}))
            targets.setdefault(str(target.key), target)
    return tuple(targets.values())


def planned_all(snapshot: Snapshot, location: str | None = None, *, limit: Size) -> tuple[Target, ...]:
    """Return the planned variants of one pack at one location; None: at every one of the tenant."""
    names = snapshot.locations if location is None else [location]
    return tuple(target for name in names for target in planned(snapshot, name, limit=limit))


def _planned_forms(config: Location, original: Original) -> Iterator[tuple[RequestForm, Format]]:
    for rendition in effective_renditions(config):
        form = rendition_form(rendition)
        for format in config.formats or default_formats(original):
            yield form, format


def effective_renditions(config: Location) -> tuple[Rendition, ...]:
    """Return a location's renditions, where it names none too."""
    if config.renditions is not None:
        return config.renditions
    return tuple(Rendition(config.width, config.height, dpr) for dpr in DEFAULT_DPRS)


def rendition_form(rendition: Rendition) -> RequestForm:
    """Return the request that a rendition stands for."""
    return RequestForm(
        width=rendition.width,
        height=rendition.height,
        location_ratio=True,
        dpr=Decimal(str(rendition.dpr)),
    )


def _offered(format: Format, config: Location, original: Original) -> bool:
    # A request has no word for GIF: it is given where a picture moves, or the location wants it.
    return format is not Format.GIF or original.moves or format in (config.formats or ())


def retarget(snapshot: Snapshot, key: Key, *, limit: Size) -> Target:
    """Return today's variant for a key's location and plan.

    For a key that some request still gives, the result carries that very key;
    for one whose picture has been replaced, the one that took its place. So
    only plans that a request can mean are ever rendered.

    Raises:
        NotFound: the location shows nothing any more, or no request gives such a plan.
    """
    config, shown = snapshot.locations.get(key.location), shown_at(snapshot, key.location)
    if config is None or shown is None:
        raise NotFound("This pack has nothing to show there.", field=("location",), got=key.location)
    if key.plan.blur > LARGEST_BLUR * LARGEST_DPR or not _offered(key.plan.format, config, shown.original):
        raise NotFound("No request gives a variant like that.", expected="what a URL can ask for", got=key.plan)
    # Of what the tenant changed for every picture, the old spelling leads to the new.
    plan = replace(key.plan, credits=snapshot.tenant.keep_credits)
    # The size of a picture shown whole rounds one axis, so it comes back from the other alone.
    boxes = [(plan.width, plan.height), (plan.width, None), (None, plan.height)]
    candidates = []
    for width, height in boxes:
        form = RequestForm(
            width=width,
            height=height,
            resize_mode=plan.mode,
            resize_gravity=plan.gravity,
            skip_crop=plan.full,
            rounded_corners=plan.corner,
            quality=plan.quality,
            blur=plan.blur,
            background=plan.background,
        )
        target = _target(snapshot, config, shown, form, limit, plan.format)
        if target.key == replace(key, plan=plan):
            return target
        candidates.append(target)
    if shown.fingerprint == key.fingerprint:
        raise NotFound("No request gives a variant of that shape.", expected=str(candidates[0].key.plan), got=plan)
    return candidates[0]
