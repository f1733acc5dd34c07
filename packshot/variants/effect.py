"""What a change of configuration does to the planned variants of one pack. All functions are pure."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from packshot.geometry import Size
from packshot.model import Format, Original, Snapshot
from packshot.variants.request import RequestForm
from packshot.variants.resolve import Target, planned, policy_for, resolve, shown_at


@dataclass(frozen=True, slots=True)
class PlannedVariant:
    """A planned variant, without the pack it belongs to.

    Attributes:
        plan: the text of the variant plan.
        pixels: of the output, over all frames.
        upscaled: the image is enlarged beyond its own pixels.
    """

    plan: str
    format: Format
    pixels: int
    upscaled: bool


@dataclass(frozen=True, slots=True)
class PackLocationPlan:
    """What one pack location shows, and its planned variants.

    Attributes:
        bare: the variant plan of the stable URL without parameters.
        variants: by variant plan.
    """

    original: Original
    fingerprint: str
    bare: str
    variants: Mapping[str, PlannedVariant]


@dataclass(frozen=True, slots=True)
class NewVariant:
    """A variant that is planned under a change, but not under the present configuration."""

    location: str
    original: Original
    fingerprint: str
    planned: PlannedVariant


@dataclass(frozen=True, slots=True)
class ChangeEffect:
    """What a change does to one pack.

    Attributes:
        locations: where the stable URL without parameters yields another image, or a new variant is planned.
        new: variants that are planned only under the change.
        upscaled: number of these locations whose image is enlarged under the change.
    """

    locations: tuple[str, ...]
    new: tuple[NewVariant, ...]
    upscaled: int


class Planner:
    """Computes the planned variants under one configuration, once for all packs of one shape.

    Args:
        limit: maximum sides of a variant.
    """

    def __init__(self, limit: Size) -> None:
        self._limit = limit
        self._plans_by_shape: dict[tuple[object, ...], tuple[str, dict[str, PlannedVariant]]] = {}

    def at(self, snapshot: Snapshot, location: str) -> PackLocationPlan | None:
        """Return the plan of one location of a pack; None: it shows no image.

        Every snapshot must have the same tenant and locations as the first.
        """
        shown = shown_at(snapshot, location)
        if shown is None:
            return None
        # Everything except the configuration that a variant plan depends on.
        original, policy = shown.original, policy_for(snapshot, location)
        shape = (
            location,
            (original.width, original.height, original.format, original.alpha, original.frames),
            (shown.crop, shown.focus, policy.gravity, policy.include_all),
        )
        if shape not in self._plans_by_shape:
            bare = resolve(snapshot, RequestForm(location=location), limit=self._limit)
            targets = planned(snapshot, location, limit=self._limit)
            self._plans_by_shape[shape] = (
                str(bare.key.plan),
                {str(target.key.plan): _planned_variant(target) for target in targets},
            )
        return PackLocationPlan(original, shown.fingerprint, *self._plans_by_shape[shape])


def _planned_variant(target: Target) -> PlannedVariant:
    return PlannedVariant(str(target.key.plan), target.drawing.format, target.pixels, target.upscaled)


def effect_on(before: Iterable[tuple[str, PackLocationPlan | None, PackLocationPlan | None]]) -> ChangeEffect:
    """Return what changes for a pack.

    Args:
        before: each location that may change, with its plan under the present configuration and under the change.
    """
    locations: list[str] = []
    new: list[NewVariant] = []
    upscaled = 0
    for location, live, changed in before:
        if changed is None:
            if live is not None:
                locations.append(location)
            continue
        same = live is not None and live.fingerprint == changed.fingerprint
        existing = live.variants if live is not None and same else {}
        added = [variant for plan, variant in changed.variants.items() if plan not in existing]
        if not added and live is not None and same and live.bare == changed.bare:
            continue
        locations.append(location)
        new += [NewVariant(location, changed.original, changed.fingerprint, variant) for variant in added]
        upscaled += any(variant.upscaled for variant in changed.variants.values())
    return ChangeEffect(tuple(locations), tuple(new), upscaled)
