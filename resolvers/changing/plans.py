"""Plan a change of configuration: compute what it would cost, before it is made.

The database groups packs by shape, so a plan reads hundreds of packs however many there are
(docs/decisions/0010-plans-count-shapes.md):

- Up to 512 packs, or shapes of packs, are counted exactly.
- Of more shapes the most common 128 are counted, and the others are estimated from a random sample of 128 packs.
- Stored variants are looked up for the 256 packs modified last and for 256 others. The ratio among those others is
  taken for the rest. So the figure is exact if all or none of the rest is stored.
- A change that touches several locations reads fewer packs, but at least 128 shapes.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

from packshot.catalog.configuration.locations import read_changes
from packshot.catalog.database.transaction import Tx
from packshot.catalog.packs.shapes import ShapeSurvey, is_shown_by_any_pack, read_packs, read_survey
from packshot.catalog.variants import ledger
from packshot.catalog.variants.render_costs import RenderCosts, read_costs
from packshot.geometry import Size
from packshot.model import IMAGE_FIELDS, TEXT_FIELDS, Location, Snapshot
from packshot.site import Site
from packshot.variants.change import Change, chain, touched_locations, under
from packshot.variants.change_plan import ChangePlan, FieldChange
from packshot.variants.effect import ChangeEffect, NewVariant, Planner, effect_on
from resolvers.caller import Caller
from resolvers.changing.configuration import Configuration, read_configuration
from resolvers.changing.plan_ids import basis_of, make_plan_id

LIFETIME = timedelta(hours=1)
MAX_SAMPLES = 16
# Planning one pack location takes about a millisecond.
_MAX_PACK_LOCATIONS, _MIN_SHAPES = 512, 128
# One when a change goes live, and one more for what was on its way to the CDN at that moment.
_PURGES_PER_TAG = 2


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


def plan_location(caller: Caller, name: str, values: Mapping[str, Any]) -> ChangePlan:
    """Return what `put_location` with these values would cost, and change nothing.

    The plan includes the pending change of the same location.

    Raises:
        Invalid, Cycle, NotFound: see `packshot.catalog.configuration.locations.read_changes`.
    """
    with caller.site.catalog.read(caller.tenant) as tx:
        configuration = read_configuration(tx)
        fields = read_changes(configuration.locations_to_be(), name, values, limit=caller.site.limit)
        return plan_change(caller.site, tx, configuration, Change(locations={name: fields}), name)


def plan_change(site: Site, tx: Tx, configuration: Configuration, change: Change, location: str | None) -> ChangePlan:
    """Return what a change would cost. Only reads; the transaction may be of either kind.

    Args:
        configuration: read in this transaction.
        change: a location of it that does not exist is planned as a new one.
        location: the location that is changed; None: the tenant's defaults.
    """
    base = configuration.tenant if location is None else configuration.locations.get(location)
    basis = basis_of(configuration, change, location)
    change = configuration.resulting_change(change, location)
    forced = _forced_fields(tx, configuration, change)
    expires_at = (tx.now + LIFETIME).replace(microsecond=0)
    plan = ChangePlan(
        id=make_plan_id(site, tx.tenant, basis, expires_at),
        name=configuration.tenant.name if location is None else location,
        base_version=None if base is None else base.version,
        requires_force=bool(forced),
        changes=tuple(_field_changes(configuration, change, forced)),
        packs=0,
        render=0,
        reuse=0,
        upscaled=0,
        cpu_seconds=0.0,
        wall_seconds=0.0,
        bytes=0,
        purge_requests=_PURGES_PER_TAG * _count_tags(configuration, change),
        expires_at=expires_at,
        basis=basis,
        change=change,
        sample_places=(),
    )
    return _with_costs(site, tx, configuration, plan) if _touches_images(change) else plan


def _touches_images(change: Change) -> bool:
    return bool(change.tenant or change.refreshed or change.refreshed_packs or _without_texts(change).locations)


def _without_texts(change: Change) -> Change:
    locations = {name: fields for name, fields in change.locations.items() if fields.keys() - TEXT_FIELDS}
    return replace(change, locations=locations)


def _forced_fields(tx: Tx, configuration: Configuration, change: Change) -> set[str]:
    """Return the fields that need force because packs show images that depend on them.

    A field is named `<location>.<field>`, or `tenant.<field>`.
    """
    known = configuration.locations
    forced: set[str] = set()
    if change.tenant and is_shown_by_any_pack(tx, known.keys()):
        forced = {f"tenant.{field}" for field in change.tenant}
    for name, fields in change.locations.items():
        found = fields.keys() & IMAGE_FIELDS
        if found and name in known and is_shown_by_any_pack(tx, tuple(chain(known, name))):
            forced |= {f"{name}.{field}" for field in found}
    return forced


def _field_changes(configuration: Configuration, change: Change, forced: set[str]) -> Iterable[FieldChange]:
    for field, after in change.tenant.items():
        yield FieldChange(field, getattr(configuration.tenant, field), after, f"tenant.{field}" in forced)
    for name, fields in sorted(change.locations.items()):
        old = configuration.locations.get(name)
        for field, after in fields.items():
            before = None if old is None else getattr(old, field)
            yield FieldChange(field, before, after, f"{name}.{field}" in forced)


def _count_tags(configuration: Configuration, change: Change) -> int:
    if change.tenant:
        return 1
    changed = {
        name
        for name, fields in change.locations.items()
        if name in configuration.locations and fields.keys() & IMAGE_FIELDS
    }
    return len(changed | change.refreshed)


def _with_costs(site: Site, tx: Tx, configuration: Configuration, plan: ChangePlan) -> ChangePlan:
    after = configuration.locations_after(plan.change)
    touched = touched_locations({**after, **configuration.locations}, _without_texts(plan.change))
    names = sorted(after) if touched is None else touched
    survey = read_survey(tx, max(_MIN_SHAPES, _MAX_PACK_LOCATIONS // max(1, len(names))))
    costs = read_costs(tx)
    ids = {*(shape.pack_id for shape in survey.shapes), *survey.newest, *survey.spread}
    snapshots = read_packs(tx, ids, configuration.tenant, configuration.locations)
    effects = _effects(snapshots, plan.change, after, names, site.limit)
    packs = upscaled = 0.0
    wanted = _Work()
    for shape in survey.shapes:
        effect = effects[shape.pack_id]
        packs += shape.packs * bool(effect.locations)
        upscaled += shape.packs * effect.upscaled
        wanted += _work(effect.new, costs).times(shape.packs)
    missing = _missing(tx, survey, effects, costs, wanted) if wanted.variants else _Work()
    processes = max(1, site.settings.effective_render_processes - 1)
    return replace(
        plan,
        packs=round(packs),
        render=round(missing.variants),
        reuse=round(wanted.variants) - round(missing.variants),
        upscaled=round(upscaled),
        cpu_seconds=missing.seconds,
        wall_seconds=missing.seconds / processes,
        bytes=round(missing.bytes),
        sample_places=_sample_places(survey, effects, plan.name),
    )


def _effects(
    snapshots: Mapping[str, Snapshot], change: Change, after: Mapping[str, Location], names: Sequence[str], limit: Size
) -> dict[str, ChangeEffect]:
    """Return what the change does to each pack at the named locations, by pack id."""
    live_planner, changed_planner = Planner(limit), Planner(limit)
    found = {}
    for pack_id, live in snapshots.items():
        changed = replace(under(live, change), locations=after)
        found[pack_id] = effect_on(
            (
                name,
                live_planner.at(live, name) if name in live.locations else None,
                changed_planner.at(changed, name),
            )
            for name in names
        )
    return found


def _work(variants: Iterable[NewVariant], costs: RenderCosts) -> _Work:
    """Return the work of rendering these variants of one pack; each original is decoded once."""
    total, originals = _Work(), {}
    for variant in variants:
        seconds, size = costs.variant(variant.planned.format, variant.planned.pixels)
        total += _Work(1.0, seconds, size)
        originals[variant.original.sha256] = variant.original.width * variant.original.height
    return total + _Work(seconds=sum(map(costs.decoding, originals.values())))


def _missing(
    tx: Tx, survey: ShapeSurvey, effects: Mapping[str, ChangeEffect], costs: RenderCosts, wanted: _Work
) -> _Work:
    """Return how much of the wanted work the ledger does not have yet.

    The newest packs are counted. For all others the ratio among the spread packs is taken.
    """
    looked_up = {*survey.newest, *survey.spread}
    ready = ledger.read_ready(
        tx, [_place(pack_id, variant) for pack_id in looked_up for variant in effects[pack_id].new]
    )

    def count(pack_ids: Iterable[str]) -> tuple[_Work, _Work]:
        """Return the wanted and the missing work of some packs."""
        wanted = missing = _Work()
        for pack_id in pack_ids:
            variants = effects[pack_id].new
            left = [variant for variant in variants if _place(pack_id, variant) not in ready]
            wanted, missing = wanted + _work(variants, costs), missing + _work(left, costs)
        return wanted, missing

    newest_wanted, newest_missing = count(survey.newest)
    spread_wanted, spread_missing = count(survey.spread)

    def estimate(name: str) -> float:
        others = max(0.0, getattr(wanted, name) - getattr(newest_wanted, name))
        counted = getattr(spread_wanted, name)
        ratio = getattr(spread_missing, name) / counted if counted else 1.0
        return float(getattr(newest_missing, name) + ratio * others)

    return _Work(estimate("variants"), estimate("seconds"), estimate("bytes"))


def _place(pack_id: str, variant: NewVariant) -> tuple[str, str, str, str]:
    return pack_id, variant.location, variant.fingerprint, variant.planned.plan


def _sample_places(survey: ShapeSurvey, effects: Mapping[str, ChangeEffect], name: str) -> tuple[tuple[str, str], ...]:
    """Return packs of different shapes that change, last modified first, each with a location to show."""
    found = []
    for shape in survey.shapes:
        locations = effects[shape.pack_id].locations
        if locations:
            found.append((shape.pack_id, name if name in locations else locations[0]))
    return tuple(found[: 2 * MAX_SAMPLES])
