"""Resolve a request to one variant.

Which original, which crop, which settings, and where each comes from: pure functions over one snapshot.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from decimal import Decimal

from packshot.errors import Invalid, NotFound
from packshot.geometry import Crop, Gravity, Size
from packshot.model import Focus, Format, IncludeAll, Location, OnDemand, Original, Snapshot
from packshot.variants.draft import (
    POLICY_CHOICE,
    Draft,
    PackLocationView,
    Policy,
    draft,
    format_for,
    offered_plans,
    planned_drafts,
)
from packshot.variants.key import Key, fingerprint
from packshot.variants.live_request import EXTENSIONS, FITS
from packshot.variants.on_demand import check_plan, drafts_giving, permitted
from packshot.variants.plan import Drawing, Plan, encoding_of, needs_quick
from packshot.variants.request import MAX_BLUR, MAX_DPR, FormatChoice, RequestForm
from packshot.variants.steps import snap_blur
from packshot.variants.tags import purge_tags


@dataclass(frozen=True, slots=True)
class ShownOriginal:
    """The original that one location of a pack shows.

    Attributes:
        source: the location whose original is shown.
        consulted: every location that was looked at, in order.
        crop_from, focus_from: the location that the value comes from; None if there is no value.
    """

    location: str
    source: str
    consulted: tuple[str, ...]
    original: Original
    crop: Crop | None
    crop_from: str | None
    focus: Focus | None
    focus_from: str | None
    fingerprint: str


@dataclass(frozen=True, slots=True)
class Target:
    """One variant: its key, its original, and how it is rendered.

    Attributes:
        consulted: every location whose change could change the result.
        upscaled: the image is enlarged; only if its location allows it.
    """

    key: Key
    original: Original
    source: str
    consulted: tuple[str, ...]
    drawing: Drawing
    upscaled: bool

    @property
    def moves(self) -> bool:
        """Whether the variant is animated."""
        return self.original.moves and self.drawing.format in (Format.WEBP, Format.GIF)

    @property
    def pixels(self) -> int:
        """Pixels of the output, all frames together."""
        return self.drawing.size.width * self.drawing.size.height * (self.original.frames if self.moves else 1)

    @property
    def tags(self) -> tuple[str, ...]:
        """Purge tags of a stable URL that gives this variant."""
        return purge_tags(self.key.tenant, self.key.pack, self.consulted)


def source_of(snapshot: Snapshot, location: str) -> tuple[str | None, tuple[str, ...]]:
    """Return the location whose original is shown, and all locations consulted.

    That is the location itself if it has an original; otherwise the first fallback with one, then the pack's main
    location; otherwise None.
    """
    consulted: list[str] = []
    following: str | None = location
    while following is not None and following not in consulted:
        consulted.append(following)
        if snapshot.pack_location(following).original is not None:
            return following, tuple(consulted)
        config = snapshot.locations.get(following)
        following = config.fallback if config else None
    main, _ = asked_location(snapshot, None)
    if main not in consulted:
        consulted.append(main)
        if snapshot.pack_location(main).original is not None:
            return main, tuple(consulted)
    return None, tuple(consulted)


def asked_location(snapshot: Snapshot, name: str | None) -> tuple[str, str]:
    """Return the requested location, and where it comes from: request, pack or default."""
    if name:
        return name, "request"
    if snapshot.pack.main_location:
        return snapshot.pack.main_location, "pack"
    return "main", "default"


def nothing_to_show(location: str) -> NotFound:
    """Return the refusal for a pack that has no original at the location or its fallbacks."""
    return NotFound(
        "This pack has nothing to show there.",
        field=("location",),
        expected="a location with an original, a fallback with one, or a main location with one",
        got=location,
    )


def shown_at(snapshot: Snapshot, location: str) -> ShownOriginal | None:
    """Return what `location` of this pack shows; None if nothing.

    Crop and focus are the location's own if set, otherwise those of the location whose original is shown.
    """
    config = snapshot.locations.get(location)
    source, consulted = source_of(snapshot, location)
    if config is None or source is None:
        return None
    own, giver = snapshot.pack_location(location), snapshot.pack_location(source)
    assert giver.original is not None
    crop, crop_from = next(
        ((pack_location.crop, pack_location.location) for pack_location in (own, giver) if pack_location.crop),
        (None, None),
    )
    focus, focus_from = next(
        ((pack_location.focus, pack_location.location) for pack_location in (own, giver) if pack_location.focus),
        (None, None),
    )
    original = giver.original
    digest = fingerprint(original.sha256, crop, focus, config.revision + own.revision, original.decode_revision or 0)
    return ShownOriginal(location, source, consulted, giver.original, crop, crop_from, focus, focus_from, digest)


def policy_for(snapshot: Snapshot, location: str) -> Policy:
    """Resolve gravity and includeAll: pack location, pack, location, tenant."""
    pack_location, pack, config = snapshot.pack_location(location), snapshot.pack, snapshot.locations[location]
    holders = (("packLocation", pack_location), ("pack", pack), ("location", config))
    gravity, gravity_from = snapshot.tenant.resize_gravity, "tenant"
    include_all, include_all_from = snapshot.tenant.include_all, "tenant"
    for name, holder in reversed(holders):
        if holder.resize_gravity is not None:
            gravity, gravity_from = holder.resize_gravity, name
        if holder.include_all is not IncludeAll.UNSET:
            include_all, include_all_from = holder.include_all is IncludeAll.TRUE, name
    return Policy(gravity, gravity_from, include_all, include_all_from)


@dataclass(frozen=True, slots=True)
class View:
    """One location of one pack, as all requests see it. It is computed once for all variants of a picture."""

    snapshot: Snapshot
    config: Location
    shown: ShownOriginal
    look: PackLocationView

    def target(self, drafted: Draft) -> Target:
        """Return one variant of this location."""
        shown = self.shown
        key = Key(self.snapshot.tenant.name, self.snapshot.pack.id, self.config.name, shown.fingerprint, drafted.plan)
        return Target(key, shown.original, shown.source, shown.consulted, drafted.drawing, drafted.upscaled)

    def planned(self, limit: Size) -> tuple[Target, ...]:
        """Return the planned variants without duplicates; see `planned`."""
        return tuple(map(self.target, planned_drafts(self.look, limit)))


def view_at(snapshot: Snapshot, location: str) -> View | None:
    """Return the view of one location of a pack; None if there is nothing to show."""
    config, shown = snapshot.locations.get(location), shown_at(snapshot, location)
    if config is None or shown is None:
        return None
    faceless = replace(
        shown.original,
        sha256="",
        bytes=0,
        thumbhash=None,
        dominant_color=None,
        decoding_seconds=None,
        decode_revision=None,
        failure=None,
        failed_at=None,
    )
    policy, tenant = policy_for(snapshot, location), snapshot.tenant
    look = PackLocationView(
        config, policy, faceless, shown.crop, shown.focus, tenant.format_policy, tenant.keep_credits
    )
    return View(snapshot, config, shown, look)


def resolve(
    snapshot: Snapshot,
    form: RequestForm,
    *,
    limit: Size,
    accept: frozenset[Format] = frozenset(),
    format: Format | None = None,
    upscale: bool = False,
    opened: bool = False,
) -> Target:
    """Return the variant that a request currently means, under the tenant's on-demand policy.

    Args:
        limit: maximum side lengths of a variant; larger requests are refused.
        accept: formats that the client accepts, for `format=auto`.
        format: overrides the request's format; GIF has no name in a request.
        upscale: enlarge small images even if the location does not allow it.
        opened: the request has an access key or a valid signature.

    Raises:
        NotFound: the location does not exist, or has nothing to show.
        Invalid: a side exceeds the limit.
        Forbidden: the policy refuses it.
    """
    name, _ = asked_location(snapshot, form.location)
    if name not in snapshot.locations:
        known = ", ".join(sorted(snapshot.locations))
        raise NotFound(f"There is no location {name!r}.", field=("location",), expected=known, got=name)
    view = view_at(snapshot, name)
    if view is None:
        raise nothing_to_show(name)
    return resolve_in(view, form, limit=limit, accept=accept, format=format, upscale=upscale, opened=opened)


def resolve_in(
    view: View,
    form: RequestForm,
    *,
    limit: Size,
    accept: frozenset[Format] = frozenset(),
    format: Format | None = None,
    upscale: bool = False,
    opened: bool = False,
) -> Target:
    """Return the variant of a request at this location, ignoring the location that it names; see `resolve`.

    Raises:
        Invalid: a side exceeds the limit.
        Forbidden: the policy refuses it.
    """
    _check_sides(form, limit)
    look = _enlarging(view.look) if upscale else view.look
    drafted = permitted(
        view.snapshot.tenant.on_demand,
        look,
        form,
        draft(look, form, limit, format or format_for(look, form, accept)),
        limit,
        locations=view.snapshot.locations,
        offered_by=view.look,
        opened=opened,
    )
    return view.target(drafted)


def _check_sides(form: RequestForm, limit: Size) -> None:
    for side, value, maximum in (("width", form.width, limit.width), ("height", form.height, limit.height)):
        if value is not None and value > maximum:
            raise Invalid(f"The {side} is too large.", field=(side,), expected=f"at most {maximum}", got=value)


def _enlarging(look: PackLocationView) -> PackLocationView:
    return replace(look, config=replace(look.config, allow_upscale=True))


def negotiates(snapshot: Snapshot, form: RequestForm) -> bool:
    """Whether the result depends on the client's accepted formats (`Vary: Accept`)."""
    return (form.format or POLICY_CHOICE[snapshot.tenant.format_policy]) is FormatChoice.AUTO


def planned(snapshot: Snapshot, location: str, *, limit: Size) -> tuple[Target, ...]:
    """Return the planned variants at one location, without duplicates.

    These are its renditions in each of its formats, and the result of its stable URL without parameters. Empty if the
    pack has nothing to show.
    """
    view = view_at(snapshot, location)
    return () if view is None else view.planned(limit)


def offered(snapshot: Snapshot, location: str, *, limit: Size) -> frozenset[Key]:
    """Return the variants of one location that every on-demand policy allows."""
    view = view_at(snapshot, location)
    if view is None:
        return frozenset()
    tenant, pack, fingerprint = snapshot.tenant.name, snapshot.pack.id, view.shown.fingerprint
    return frozenset(Key(tenant, pack, location, fingerprint, plan) for plan in offered_plans(view.look, limit))


def is_planned(snapshot: Snapshot, target: Target, *, limit: Size) -> bool:
    """Whether a variant is planned."""
    return any(one.key == target.key for one in planned(snapshot, target.key.location, limit=limit))


def planned_all(snapshot: Snapshot, location: str | None = None, *, limit: Size) -> tuple[Target, ...]:
    """Return the planned variants of one pack at one location; None: at all locations of the tenant."""
    names = snapshot.locations if location is None else [location]
    return tuple(target for name in names for target in planned(snapshot, name, limit=limit))


def is_offered(format: Format, config: Location, original: Original) -> bool:
    """Whether a location offers an image in that format."""
    # A request cannot name GIF: it is offered for animations, or if the location has it in its formats.
    return format is not Format.GIF or original.moves or format in (config.formats or ())


def retarget(snapshot: Snapshot, key: Key, *, limit: Size, live: bool = False, opened: bool = False) -> Target:
    """Return the current variant for the location and plan of a key.

    A key that a request still gives leads to itself. A key whose image was replaced leads to its replacement, and a key
    off the steps, under STEPS, to the one on them. So only plans that a request can mean under the tenant's policy are
    ever rendered.

    Args:
        live: also consider live URLs, which enlarge images of any location.
        opened: the request has an access key or a valid signature.

    Raises:
        NotFound: the location has nothing to show, or no request gives such a plan.
        Forbidden: the policy refuses it.
    """
    view = view_at(snapshot, key.location)
    if view is None:
        raise NotFound("This pack has nothing to show there.", field=("location",), got=key.location)
    config, shown, look = view.config, view.shown, view.look
    policy = snapshot.tenant.on_demand
    largest = Decimal(MAX_BLUR * MAX_DPR)
    largest = snap_blur(largest) if policy is OnDemand.STEPS else largest
    if key.plan.blur > largest or not is_offered(key.plan.format, config, shown.original):
        raise NotFound("No request yields such a variant.", expected="a plan that a URL can request", got=key.plan)
    # A spelling from before a change of the tenant or a release leads to the current one.
    quick = needs_quick(key.plan.format, Size(key.plan.width, key.plan.height), shown.original)
    encoding = encoding_of(key.plan.format, shown.original)
    plan = replace(key.plan, credits=snapshot.tenant.keep_credits, quick=quick, encoding=encoding)
    check_plan(policy, plan, look, limit, opened=opened)
    stepped = policy is OnDemand.STEPS and plan not in offered_plans(look, limit)
    candidates = []
    # Live URLs name a pack by its external id, and show its main location.
    live = live and snapshot.pack.external_id is not None and key.location == asked_location(snapshot, None)[0]
    drafts = _drafts_of(plan, look, limit, live=live, steps=snapshot.locations if stepped else None)
    for drafted in drafts:
        target = view.target(drafted)
        if target.key == replace(key, plan=plan):
            return target
        candidates.append(target)
    if shown.fingerprint == key.fingerprint and not stepped:
        raise NotFound("No request yields a variant of that shape.", expected=str(candidates[0].key.plan), got=plan)
    return next((target for target in candidates if target.key.plan == plan), candidates[0])


def _drafts_of(
    plan: Plan, look: PackLocationView, limit: Size, *, live: bool, steps: Mapping[str, Location] | None
) -> Iterator[Draft]:
    """Yield the results of requests that may have led to a variant plan.

    Args:
        steps: the tenant's locations, if requests snap to steps.
    """
    asked = [
        (
            look,
            RequestForm(
                resize_mode=plan.mode,
                resize_gravity=plan.gravity,
                skip_crop=plan.full,
                rounded_corners=plan.corner,
                quality=plan.quality,
                blur=plan.blur,
                background=plan.background,
            ),
        )
    ]
    if live and plan.mode in FITS.values() and plan.format in EXTENSIONS.values():
        # A live URL cannot express anything else.
        form = RequestForm(resize_mode=plan.mode, resize_gravity=Gravity.CENTER, quality=plan.quality, blur=plan.blur)
        asked.append((_enlarging(look), form))
    for seen, form in asked:
        if steps is not None:
            yield from drafts_giving(plan, seen, form, limit, steps)
            continue
        # The size of an image shown whole rounds one side, so only the other side leads back to it.
        for width, height in ((plan.width, plan.height), (plan.width, None), (None, plan.height)):
            yield draft(seen, replace(form, width=width, height=height), limit, plan.format)
