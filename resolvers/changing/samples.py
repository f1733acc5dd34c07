"""Samples of a plan: a few packs with their current variants and those under the change, rendered for the response."""

from collections.abc import Iterable
from dataclasses import dataclass, replace

from packshot.catalog.configuration.locations import get_locations
from packshot.catalog.configuration.snapshots import read_snapshots
from packshot.catalog.variants import ledger
from packshot.errors import Gone, Limit
from packshot.model import Snapshot
from packshot.production import announce_and_render, find_variant, supersede_outdated
from packshot.render.processes.pool import Lane
from packshot.site import Site
from packshot.variants.change import under
from packshot.variants.change_plan import ChangePlan
from packshot.variants.request import RequestForm
from packshot.variants.resolve import Target, resolve, shown_at
from resolvers.caller import Caller
from resolvers.changing.configuration import locations_after
from resolvers.changing.plans import MAX_SAMPLES


@dataclass(frozen=True, slots=True)
class Sample:
    """One pack: immutable URLs of its current and its new variant. `before` is None if it shows nothing now."""

    pack_id: str
    before: str | None
    after: str


def draw_samples(caller: Caller, plan: ChangePlan, first: int) -> list[Sample]:
    """Return up to `first` packs that the plan changes, with variants that are stored.

    The variants are stored under the keys that they will have, so the change need not render them again. If it is never
    made, they count as superseded. A pack that cannot be rendered, or no longer exists, is skipped.

    Raises:
        Limit: fewer than 1 or more than 16.
    """
    if not 1 <= first <= MAX_SAMPLES:
        raise Limit("Too many samples, or none.", field=("first",), expected=f"1 to {MAX_SAMPLES}", got=first)
    # A pack that cannot be rendered takes time as well.
    tried = plan.sample_places[: 2 * first]
    with caller.site.catalog.read(caller.tenant) as tx:
        snapshots = read_snapshots(tx, [pack_id for pack_id, _ in tried])
        after = locations_after(get_locations(tx), plan.change)
    found: list[Sample] = []
    for pack_id, location in tried:
        if len(found) == first:
            break
        if pack_id in snapshots:
            live = snapshots[pack_id]
            changed = replace(under(live, plan.change), locations=after)
            found += _draw(caller, _bare(caller.site, live, location), _bare(caller.site, changed, location))
    return found


def _bare(site: Site, snapshot: Snapshot, location: str) -> Target | None:
    if location not in snapshot.locations or shown_at(snapshot, location) is None:
        return None
    return resolve(snapshot, RequestForm(location=location), limit=site.limit)


def _draw(caller: Caller, before: Target | None, after: Target | None) -> Iterable[Sample]:
    if after is None or not all(_make(caller.site, target) for target in (before, after) if target is not None):
        return
    shown = None if before is None else caller.urls.immutable(before.key)
    yield Sample(after.key.pack, shown, caller.urls.immutable(after.key))


def _make(site: Site, target: Target) -> bool:
    """Store a variant if it is not stored yet. Return whether it is stored."""
    if find_variant(site, str(target.key)) is not None:
        return True
    try:
        outcomes = announce_and_render(site, [target], Lane.INTERACTIVE, planned=False)
    except Gone:
        return False
    with site.catalog.write(target.key.tenant) as tx:
        ledger.record(tx, outcomes)
        # If the pack was deleted in the meantime, the collector deletes the rows.
        supersede_outdated(tx, [target.key.pack], limit=site.limit)
    return isinstance(outcomes[0], ledger.StoredVariant)
