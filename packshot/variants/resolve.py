"""From what a URL asks and what the catalog says to the one variant that is meant.

Which original, which crop, which policy and where each came from: the rules of
the contract, as pure functions over one snapshot.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction

from packshot.errors import Invalid, NotFound
from packshot.geometry import Crop, Gravity, Mode, Request, Size, crop_box, output_size
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
from packshot.variants.plan import DEFAULT_QUALITY, Drawing, Plan, drawing, layout
from packshot.variants.request import FormatChoice, RequestForm

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
    """

    key: Key
    original: Original
    source: str
    consulted: tuple[str, ...]
    drawing: Drawing

    @property
    def tags(self) -> tuple[str, ...]:
        """Purge tags: the tenant, the pack, and every location consulted."""
        tenant, pack = self.key.tenant, self.key.pack
        return (f"t:{tenant}", f"p:{tenant}:{pack}", *(f"l:{tenant}:{name}" for name in self.consulted))


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


def resolve(snapshot: Snapshot, form: RequestForm, *, limit: Size, accept: frozenset[Format] = frozenset()) -> Target:
    """Return the variant that a request means, now.

    Args:
        limit: longest allowed sides of a variant; larger requests are refused.
        accept: formats the client can show, for `format=auto`.

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
    return _target(snapshot, config, shown, form, limit, _format(snapshot, shown, form, accept))


def _target(
    snapshot: Snapshot, config: Location, shown: Shown, form: RequestForm, limit: Size, format: Format
) -> Target:
    policy = policy_for(snapshot, config.name)
    mode = form.resize_mode or (Mode.INCLUDE_ALL if policy.include_all else Mode.CROP)
    gravity = form.resize_gravity or policy.gravity
    if mode is Mode.INCLUDE_ALL and not format.has_alpha:
        format = Format.PNG
    full = bool(form.skip_crop) and shown.crop is not None and not shown.crop.is_full
    original = Size(shown.original.width, shown.original.height)
    region = crop_box(original, None if full else shown.crop)

    size = output_size(region.size, _request(form, config), mode, allow_upscale=config.allow_upscale, limit=limit)
    # Gravities that draw the same picture are the same plan.
    if layout(region, size, mode, gravity) == layout(region, size, mode, Gravity.CENTER):
        gravity = Gravity.CENTER
    quality = DEFAULT_QUALITY.get(format)
    if quality is not None and form.quality is not None:
        quality = form.quality
    background = "ffffff" if shown.original.alpha and not format.has_alpha else None
    plan = Plan(*size, mode, gravity, full, background, quality, format)
    key = Key(snapshot.tenant.name, snapshot.pack.id, config.name, shown.fingerprint, plan)
    return Target(key, shown.original, shown.source, shown.consulted, drawing(plan, original, shown.crop))


def _request(form: RequestForm, config: Location) -> Request:
    width, height = form.width, form.height
    ratio = Fraction(config.width, config.height) if config.width and config.height else None
    if width is None and height is None:
        width, height = config.width, config.height
    return Request(
        width,
        height,
        scale=Fraction(form.dpr) if form.dpr is not None else Fraction(1),
        ratio=ratio if form.location_ratio else None,
    )


def _format(snapshot: Snapshot, shown: Shown, form: RequestForm, accept: frozenset[Format]) -> Format:
    choice = form.format or _POLICY_CHOICE[snapshot.tenant.format_policy]
    opaque = Format.PNG if shown.original.alpha else Format.JPEG
    if choice is None:
        own = _ORIGINAL_FORMATS.get(shown.original.format)
        return own or opaque
    if choice is not FormatChoice.AUTO:
        return Format(choice.value)
    return next((format for format in (Format.AVIF, Format.WEBP) if format in accept), opaque)


def negotiates(snapshot: Snapshot, form: RequestForm) -> bool:
    """Whether the answer depends on what the client accepts (`Vary: Accept`)."""
    return (form.format or _POLICY_CHOICE[snapshot.tenant.format_policy]) is FormatChoice.AUTO


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
    renditions = config.renditions
    if renditions is None:
        renditions = tuple(Rendition(config.width, config.height, dpr) for dpr in DEFAULT_DPRS)
    formats = config.formats
    if formats is None:
        opaque = Format.PNG if original.alpha else Format.JPEG
        formats = tuple(opaque if format is Format.JPEG else format for format in DEFAULT_FORMATS)
    for rendition in renditions:
        form = rendition_form(rendition)
        for format in formats:
            yield form, format


def rendition_form(rendition: Rendition) -> RequestForm:
    """Return the request that a rendition stands for."""
    return RequestForm(
        width=rendition.width,
        height=rendition.height,
        location_ratio=True,
        dpr=Decimal(str(rendition.dpr)),
    )


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
    plan = key.plan
    # A clipped size rounds one axis, so it comes back from either axis alone.
    boxes = [(plan.width, plan.height), (plan.width, None), (None, plan.height)]
    candidates = []
    for width, height in boxes:
        form = RequestForm(
            width=width,
            height=height,
            resize_mode=plan.mode,
            resize_gravity=plan.gravity,
            skip_crop=plan.full,
            quality=plan.quality,
        )
        target = _target(snapshot, config, shown, form, limit, plan.format)
        if target.key == key:
            return target
        candidates.append(target)
    if shown.fingerprint == key.fingerprint:
        raise NotFound("No request gives a variant of that shape.", expected=str(candidates[0].key.plan), got=plan)
    return candidates[0]
