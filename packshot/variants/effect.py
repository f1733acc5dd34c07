"""What a change of configuration does to the planned variants of one pack. All pure."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from packshot.geometry import Size
from packshot.model import Format, Original, Snapshot
from packshot.variants.request import RequestForm
from packshot.variants.resolve import Target, planned, policy_for, resolve, shown_at


@dataclass(frozen=True, slots=True)
class PlannedVariant:
    """One planned variant, whichever pack it is of.

    Attributes:
        pixels: of the output, all frames together.
        upscaled: the picture is enlarged beyond its own pixels.
    """

    plan: str
    format: Format
    pixels: int
    upscaled: bool


@dataclass(frozen=True, slots=True)
class PackLocationPlan:
    """What one pack location shows, and which variants of it are planned, by their plan.

    Attributes:
        bare: the plan that the bare stable URL means.
    """

    original: Original
    fingerprint: str
    bare: str
    variants: Mapping[str, PlannedVariant]


@dataclass(frozen=True, slots=True)
class NewVariant:
    """A variant that is planned under a change and not as things are."""

    location: str
    original: Original
    fingerprint: str
    wanted: PlannedVariant


@dataclass(frozen=True, slots=True)
class ChangeEffect:
    """What a change does to one pack.

    Attributes:
        locations: where the bare stable URL gives something else, or anything new is planned.
        new: what is planned and was not.
        upscaled: at how many of the locations the picture is enlarged under the change.
    """

    locations: tuple[str, ...]
    new: tuple[NewVariant, ...]
    upscaled: int


class Planner:
    """Works out what is planned under one configuration, once for all packs that are alike.

    Args:
        limit: longest sides of a variant.
    """

    def __init__(self, limit: Size) -> None:
        self._limit = limit
        self._known: dict[tuple[object, ...], tuple[str, dict[str, PlannedVariant]]] = {}

    def at(self, snapshot: Snapshot, location: str) -> PackLocationPlan | None:
        """Return how one location of a pack stands; None: it shows nothing.

        Every snapshot must have the same tenant and locations as the first.
        """
        shown = shown_at(snapshot, location)
        if shown is None:
            return None
        # All that a plan can depend on beside the configuration.
        kept, policy = shown.original, policy_for(snapshot, location)
        alike = (
            location,
            (kept.width, kept.height, kept.format, kept.alpha, kept.frames),
            (shown.crop, shown.focus, policy.gravity, policy.include_all),
        )
        if alike not in self._known:
            bare = resolve(snapshot, RequestForm(location=location), limit=self._limit)
            targets = planned(snapshot, location, limit=self._limit)
            self._known[alike] = (
                str(bare.key.plan),
                {str(target.key.plan): _wanted(target) for target in targets},
            )
        return PackLocationPlan(kept, shown.fingerprint, *self._known[alike])


def _wanted(target: Target) -> PlannedVariant:
    return PlannedVariant(str(target.key.plan), target.drawing.format, target.pixels, target.upscaled)


def effect_on(before: Iterable[tuple[str, PackLocationPlan | None, PackLocationPlan | None]]) -> ChangeEffect:
    """Return what changes for a pack.

    Args:
        before: each location that may change, how it stands, and how it stands under the change.
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
        added = [wanted for plan, wanted in changed.variants.items() if plan not in existing]
        if not added and live is not None and same and live.bare == changed.bare:
            continue
        locations.append(location)
        new += [NewVariant(location, changed.original, changed.fingerprint, wanted) for wanted in added]
        upscaled += any(wanted.upscaled for wanted in changed.variants.values())
    return ChangeEffect(tuple(locations), tuple(new), upscaled)
