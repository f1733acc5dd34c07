"""A change of configuration that is not live yet, and a pack's snapshot under it. All functions are pure.

A change holds only the fields that differ, so edits of other fields stay.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from packshot.geometry import Size
from packshot.model import Location, Snapshot
from packshot.variants.resolve import Target, planned


@dataclass(frozen=True, slots=True)
class Change:
    """The fields of a tenant's configuration that a change sets.

    Attributes:
        tenant: fields of `packshot.model.Tenant`.
        locations: fields of `packshot.model.Location`, by location.
        refreshed: locations whose images are all rendered again.
        refreshed_packs: packs whose images are all rendered again.
    """

    tenant: Mapping[str, Any] = field(default_factory=dict)
    locations: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    refreshed: frozenset[str] = frozenset()
    refreshed_packs: frozenset[str] = frozenset()


def changed_locations(known: Mapping[str, Location], change: Change) -> dict[str, Location]:
    """Return the tenant's locations under the change."""
    return {name: _changed(location, change) for name, location in known.items()}


def _changed(location: Location, change: Change) -> Location:
    fields = change.locations.get(location.name, {})
    return replace(location, **fields, revision=location.revision + (location.name in change.refreshed))


def under(snapshot: Snapshot, change: Change) -> Snapshot:
    """Return the snapshot under the change."""
    pack_locations = snapshot.pack_locations
    if snapshot.pack.id in change.refreshed_packs:
        held = ((name, snapshot.pack_location(name)) for name in snapshot.locations)
        pack_locations = {
            name: replace(pack_location, revision=pack_location.revision + 1) for name, pack_location in held
        }
    return replace(
        snapshot,
        tenant=replace(snapshot.tenant, **change.tenant),
        locations=changed_locations(snapshot.locations, change),
        pack_locations=pack_locations,
    )


def views(snapshot: Snapshot, change: Change | None) -> tuple[Snapshot, ...]:
    """Return the snapshot, and the snapshot under the change if there is one."""
    return (snapshot,) if change is None else (snapshot, under(snapshot, change))


def touched_locations(known: Mapping[str, Location], change: Change) -> tuple[str, ...] | None:
    """Return the locations at which the change may give images new keys; None: all.

    A changed fallback also touches every location whose chain leads through it.
    """
    if change.tenant or change.refreshed_packs:
        return None
    touched = set(change.locations) | change.refreshed
    moved = {name for name, fields in change.locations.items() if "fallback" in fields}
    if moved:
        after = changed_locations(known, change)
        touched |= {name for name in known if moved & {*chain(known, name), *chain(after, name)}}
    return tuple(sorted(touched))


def chain(known: Mapping[str, Location], start: str) -> Iterable[str]:
    """Yield a location and its fallbacks in order, each once."""
    seen: set[str] = set()
    following: str | None = start
    while following is not None and following not in seen and following in known:
        seen.add(following)
        yield following
        following = known[following].fallback


def merged(older: Change, newer: Change) -> Change:
    """Return one change that makes both; the newer one wins where they differ."""
    names = {*older.locations, *newer.locations}
    return Change(
        tenant={**older.tenant, **newer.tenant},
        locations={name: {**older.locations.get(name, {}), **newer.locations.get(name, {})} for name in names},
        refreshed=older.refreshed | newer.refreshed,
        refreshed_packs=older.refreshed_packs | newer.refreshed_packs,
    )


def planned_under(snapshot: Snapshot, change: Change, *, limit: Size) -> tuple[Target, ...]:
    """Return the planned variants of a pack under a change, at the locations that it touches."""
    touched, changed = touched_locations(snapshot.locations, change), under(snapshot, change)
    names = changed.locations if touched is None else touched
    return tuple(target for name in names for target in planned(changed, name, limit=limit))
