"""Plans: what a change of configuration would cost, before anybody makes it.

The database groups the packs by their shapes, and only hundreds of packs are read
however many there are (docs/decisions/0010-plans-count-shapes.md). Up to 512 packs,
or shapes of packs, every count is exact. Of more shapes the commonest 128 are counted,
and the others are told from a fair sample of 128 packs. What is there already is
looked up for the 256 packs that were modified last and for 256 others; the ratio
among those holds for the rest. So it is exact where none or all of it is there, and
where no others than those were edited since it was made. A change that touches
several locations looks at fewer packs, 128 shapes at the least.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from packshot.catalog.configuration.locations import get_locations, read_changes
from packshot.catalog.configuration.pending_changes import read_pending_change, with_pending
from packshot.catalog.database.transaction import Tx
from packshot.catalog.packs.shapes import ShapeSurvey, is_shown_by_any_pack, read_packs, read_survey
from packshot.catalog.variants import ledger
from packshot.catalog.variants.render_costs import RenderCosts, read_costs
from packshot.model import Snapshot
from packshot.site import Site
from packshot.variants.change import FORCED, LABEL_ONLY, Change, chain, changed_locations, under
from packshot.variants.effect import ChangeEffect, NewVariant, Planner, effect_on
from resolvers.caller import Caller
from resolvers.changing.plan_ids import Configuration, make_plan_id, read_configuration

LIFETIME = timedelta(hours=1)
MAX_SAMPLES = 16
# Pack locations that are worked out; each takes about a millisecond.
_MOST_PLACES, _FEWEST_SHAPES = 512, 128
# Neither says what a URL gives, so nothing has to be purged for them.
_AHEAD_ONLY = frozenset({"label", "renditions", "formats"})
# Once when a change goes live, and once more for what was on its way to the CDN then.
_PURGES = 2


@dataclass(frozen=True, slots=True)
class FieldChange:
    """One field that would change, by the core's name; `before` is None too where there is no location yet."""

    field: str
    before: Any
    after: Any
    requires_force: bool


@dataclass(frozen=True, slots=True)
class LocationPlan:
    """What a change would cost.

    Attributes:
        name: the location's, or the tenant's where its defaults change.
        base_version: the version that it was planned upon; None: there is none yet.
        packs: packs of which some picture changes, or is new.
        render: variants to be rendered.
        reuse: variants that the change wants and that are there already.
        upscaled: pictures, each one location of one pack, that would be enlarged beyond their own pixels.
        cpu_seconds: of rendering, by what it took of late.
        wall_seconds: the same, shared by the render processes that bulk work may use in one process like this one.
        bytes: what the variants to be rendered will take, by what they took of late.
        purge_requests: one for the location or the tenant, when it goes live and again after that.
        candidates: packs and locations for `draw_samples`, last modified first.
    """

    id: str
    name: str
    base_version: int | None
    requires_force: bool
    changes: tuple[FieldChange, ...]
    packs: int
    render: int
    reuse: int
    upscaled: int
    cpu_seconds: float
    wall_seconds: float
    bytes: int
    purge_requests: int
    expires_at: datetime
    change: Change
    candidates: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class _Work:
    """An amount of rendering."""

    variants: float = 0.0
    seconds: float = 0.0
    bytes: float = 0.0

    def __add__(self, other: "_Work") -> "_Work":
        return _Work(self.variants + other.variants, self.seconds + other.seconds, self.bytes + other.bytes)

    def times(self, factor: float) -> "_Work":
        return _Work(self.variants * factor, self.seconds * factor, self.bytes * factor)


def plan_location(caller: Caller, name: str, changes: Mapping[str, Any]) -> LocationPlan:
    """Return what `put_location` with these changes would cost; nothing is changed.

    Of a location of which a change is being prepared, what that costs is part of it.

    Raises:
        Invalid, Cycle, NotFound: see `packshot.catalog.configuration.locations.read_changes`.
    """
    with caller.site.catalog.read(caller.tenant) as tx:
        known, pending_change = get_locations(tx), read_pending_change(tx)
        to_be = known if pending_change is None else changed_locations(known, pending_change.change)
        differing = read_changes(to_be, name, changes, limit=caller.site.limit)
        old = known.get(name)
        return plan_change(
            caller.site,
            tx,
            with_pending(tx, Change(locations={name: differing}), name),
            name=name,
            base_version=None if old is None else old.version,
        )


def plan_change(site: Site, tx: Tx, change: Change, *, name: str, base_version: int | None) -> LocationPlan:
    """Return what a change would cost. Reads only; the transaction may be of either kind.

    Args:
        change: fields that do not differ are left out; a location that there is not is planned as a new one.
        name: the location that is changed, or the tenant where its defaults are.
        base_version: the version of either; None: it is a new location.
    """
    configuration = read_configuration(tx, change)
    change = configuration.change
    forced = _forced(tx, configuration)
    expires_at = (tx.now + LIFETIME).replace(microsecond=0)
    plan = LocationPlan(
        id=make_plan_id(site, tx.tenant, name, configuration, expires_at),
        name=name,
        base_version=base_version,
        requires_force=bool(forced),
        changes=tuple(_field_changes(configuration, forced)),
        packs=0,
        render=0,
        reuse=0,
        upscaled=0,
        cpu_seconds=0.0,
        wall_seconds=0.0,
        bytes=0,
        purge_requests=_PURGES * _count_tags(configuration),
        expires_at=expires_at,
        change=change,
        candidates=(),
    )
    if not _touches_pictures(change):
        return plan
    return _with_costs(site, tx, configuration, plan)


def _touches_pictures(change: Change) -> bool:
    return bool(
        change.tenant
        or change.refreshed
        or change.refreshed_packs
        or any(values.keys() - LABEL_ONLY for values in change.locations.values())
    )


def _forced(tx: Tx, configuration: Configuration) -> set[str]:
    """Return the fields that need force, those of the tenant as `tenant.<field>`: what is shown changes by them."""
    forced: set[str] = set()
    if configuration.change.tenant and is_shown_by_any_pack(tx, configuration.known.keys()):
        forced = {f"tenant.{field}" for field in configuration.change.tenant}
    for name, fields in configuration.change.locations.items():
        found = fields.keys() & FORCED
        if found and name in configuration.known and is_shown_by_any_pack(tx, tuple(chain(configuration.known, name))):
            forced |= {f"{name}.{field}" for field in found}
    return forced


def _field_changes(configuration: Configuration, forced: set[str]) -> Iterable[FieldChange]:
    change = configuration.change
    for field, after in change.tenant.items():
        yield FieldChange(field, getattr(configuration.tenant, field), after, f"tenant.{field}" in forced)
    for name, fields in sorted(change.locations.items()):
        old = configuration.known.get(name)
        for field, after in fields.items():
            before = None if old is None else getattr(old, field)
            yield FieldChange(field, before, after, f"{name}.{field}" in forced)


def _count_tags(configuration: Configuration) -> int:
    change = configuration.change
    if change.tenant:
        return 1
    changed = {
        name for name, fields in change.locations.items() if name in configuration.known and fields.keys() - _AHEAD_ONLY
    }
    return len(changed | change.refreshed)


def _with_costs(site: Site, tx: Tx, configuration: Configuration, plan: LocationPlan) -> LocationPlan:
    survey = read_survey(tx, max(_FEWEST_SHAPES, _MOST_PLACES // max(1, len(configuration.touched))))
    rates = read_costs(tx)
    ids = {*(stand.pack_id for stand in survey.shapes), *survey.newest, *survey.spread}
    snapshots = read_packs(tx, ids, configuration.tenant, configuration.known)
    effects = _effects(site, configuration, snapshots)
    packs = upscaled = 0.0
    new = _Work()
    for stand in survey.shapes:
        effect = effects[stand.pack_id]
        packs += stand.packs * bool(effect.locations)
        upscaled += stand.packs * effect.upscaled
        new += _work(effect.new, rates).times(stand.packs)
    missing = _missing(tx, survey, effects, rates, new) if new.variants else _Work()
    processes = max(1, site.settings.effective_render_processes - 1)
    return replace(
        plan,
        packs=round(packs),
        render=round(missing.variants),
        reuse=round(new.variants) - round(missing.variants),
        upscaled=round(upscaled),
        cpu_seconds=missing.seconds,
        wall_seconds=missing.seconds / processes,
        bytes=round(missing.bytes),
        candidates=_candidates(configuration, survey, effects, plan.name),
    )


def _effects(site: Site, configuration: Configuration, snapshots: Mapping[str, Snapshot]) -> dict[str, ChangeEffect]:
    live, changed_planner = Planner(site.limit), Planner(site.limit)
    found = {}
    for pack_id, snapshot in snapshots.items():
        changed = replace(under(snapshot, configuration.change), locations=configuration.after)
        found[pack_id] = effect_on(
            (name, live.at(snapshot, name) if name in configuration.known else None, changed_planner.at(changed, name))
            for name in configuration.touched
        )
    return found


def _work(new: Iterable[NewVariant], rates: RenderCosts) -> _Work:
    """Return what rendering these variants of one pack takes; each original is decoded once."""
    total, decoded = _Work(), {}
    for one in new:
        seconds, size = rates.variant(one.wanted.format, one.wanted.pixels)
        total += _Work(1.0, seconds, size)
        decoded[one.original.sha256] = one.original.width * one.original.height
    return total + _Work(seconds=sum(map(rates.decoding, decoded.values())))


def _missing(tx: Tx, survey: ShapeSurvey, effects: Mapping[str, ChangeEffect], rates: RenderCosts, new: _Work) -> _Work:
    """Return how much of what is new is not in the ledger yet: counted for some packs, told from those for the rest."""
    looked_up = [*survey.newest, *survey.spread]
    ready = ledger.read_ready(tx, [_place(pack_id, one) for pack_id in set(looked_up) for one in effects[pack_id].new])

    def both(pack_ids: Iterable[str]) -> tuple[_Work, _Work]:
        wanted = lacking = _Work()
        for pack_id in pack_ids:
            effect = effects[pack_id]
            left = [one for one in effect.new if _place(pack_id, one) not in ready]
            wanted, lacking = wanted + _work(effect.new, rates), lacking + _work(left, rates)
        return wanted, lacking

    newest, newest_lacking = both(survey.newest)
    some, some_lacking = both(survey.spread)

    def rest(name: str) -> float:
        left = max(0.0, getattr(new, name) - getattr(newest, name))
        seen = getattr(some, name)
        ratio = getattr(some_lacking, name) / seen if seen else 1.0
        return float(getattr(newest_lacking, name) + ratio * left)

    return _Work(rest("variants"), rest("seconds"), rest("bytes"))


def _place(pack_id: str, one: NewVariant) -> tuple[str, str, str, str]:
    return pack_id, one.location, one.fingerprint, one.wanted.plan


def _candidates(
    configuration: Configuration, survey: ShapeSurvey, effects: Mapping[str, ChangeEffect], name: str
) -> tuple[tuple[str, str], ...]:
    """Return packs of different shapes that change, last modified first, each with a location to show."""
    found = []
    for stand in survey.shapes:
        locations = effects[stand.pack_id].locations
        if locations:
            found.append((stand.pack_id, name if name in locations else locations[0]))
    return tuple(found[: 2 * MAX_SAMPLES])
