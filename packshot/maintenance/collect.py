"""Delete superseded variants and unused originals after the grace period, in small portions.

An object that meets an unforeseen exception does not stop the rest of its portion. It gets a few attempts.

A variant is checked again under the configuration lock before it is deleted. It stays if a URL yields it now, or if
reverting a location would need it. An original stays while any pack location uses it.
"""

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from functools import partial

from packshot.catalog.configuration.pending_changes import read_change
from packshot.catalog.configuration.snapshots import read_snapshots
from packshot.catalog.database.backoff import MAX_FAULTS
from packshot.catalog.database.transaction import Tx, hold_configuration
from packshot.catalog.variants import collection, demand, unplanned_usage
from packshot.catalog.variants.collection import SupersededVariant, UnplannedVariant
from packshot.catalog.variants.ledger import place_of
from packshot.geometry import Size
from packshot.maintenance.item_faults import ItemFaults
from packshot.maintenance.retrying import is_outage
from packshot.model import Location, Snapshot
from packshot.production import current_variants
from packshot.site import Site, original_key
from packshot.storage.base import DamagedObject
from packshot.variants.change import Change
from packshot.variants.resolve import shown_at

log = logging.getLogger(__name__)

PORTION = 100
# Portions that are searched for variants with little demand.
MAX_PORTIONS = 20
# A pack location with too many unplanned variants keeps this percentage of the limit.
THINNED_PERCENT = 90
# A lower limit for any configured grace period: a request that has just stored an original is about to use it.
ORIGINALS_LEAST_GRACE = timedelta(hours=1)


@dataclass(slots=True)
class Collected:
    """What was collected, or would be.

    Attributes:
        bytes: of variants and originals together.
        kept: superseded variants that are current again, or that a revert needs.
        failed: keys of objects whose attempts are used up by unforeseen exceptions, each with an error id.
    """

    variants: int = 0
    originals: int = 0
    bytes: int = 0
    kept: int = 0
    failed: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Verdict:
    """The decision about superseded variants.

    Attributes:
        collect: variants that can be deleted.
        current: variants that URLs yield again.
        revertible: variants that a revert would need, by the time at which their grace period starts.
    """

    collect: Sequence[SupersededVariant]
    current: Sequence[SupersededVariant]
    revertible: Mapping[datetime, Sequence[SupersededVariant]]


def judge(
    found: Sequence[SupersededVariant],
    snapshots: Mapping[str, Snapshot],
    retired: Mapping[str, Sequence[tuple[Location, datetime]]],
    change: Change | None = None,
    *,
    limit: Size,
) -> Verdict:
    """Decide which superseded variants are deleted, are current again, or are kept for a revert.

    Args:
        change: the pending change; variants that it will yield count as current.
        snapshots: their packs as they are now; a pack that is absent is deleted.
        retired: earlier versions of locations to which a revert is possible, and when each was replaced.
    """
    collect: list[SupersededVariant] = []
    current: list[SupersededVariant] = []
    revertible: dict[datetime, list[SupersededVariant]] = {}
    for variant in found:
        snapshot = snapshots.get(variant.pack_id)
        if snapshot is None:
            collect.append(variant)
        elif _is_current(snapshot, change, variant, limit):
            current.append(variant)
        elif (until := _revertible_until(snapshot, variant, retired, limit)) is not None:
            revertible.setdefault(until, []).append(variant)
        else:
            collect.append(variant)
    return Verdict(collect, current, revertible)


def _is_current(snapshot: Snapshot, change: Change | None, variant: SupersededVariant, limit: Size) -> bool:
    current = current_variants(snapshot, change, variant.location, limit=limit)
    return current.has(variant.location, variant.fingerprint, variant.plan, planned=variant.planned)


def _revertible_until(
    snapshot: Snapshot,
    variant: SupersededVariant,
    retired: Mapping[str, Sequence[tuple[Location, datetime]]],
    limit: Size,
) -> datetime | None:
    # An image of a location may come through its fallbacks, so the effect of each reverted location is checked.
    moments = []
    for name, versions in retired.items():
        for version, until in versions if name in snapshot.locations else ():
            earlier = replace(snapshot, locations={**snapshot.locations, name: version})
            shown = shown_at(earlier, variant.location)
            if (
                shown is not None
                and shown.fingerprint == variant.fingerprint
                and _is_current(earlier, None, variant, limit)
            ):
                moments.append(until)
    return max(moments, default=None)


def _judge(tx: Tx, site: Site, found: Sequence[SupersededVariant], before: datetime) -> Verdict:
    snapshots = read_snapshots(tx, {variant.pack_id for variant in found})
    return judge(found, snapshots, collection.read_former_locations(tx, before), read_change(tx), limit=site.limit)


def make_faults() -> ItemFaults:
    """Return a counter of exceptions for one collector, to keep over its portions; its items are keys of objects."""
    return ItemFaults(log, "%s could not be collected")


def collect_portion(site: Site, tenant: str, faults: ItemFaults) -> Collected:
    """Check up to `PORTION` superseded variants of a tenant, and delete those that are no longer needed."""
    total = Collected()
    with site.catalog.read(tenant) as tx:
        # Variants that failed come first in the list, and are skipped.
        chosen = _without_failed(faults, tenant, collection.list_collecting(tx, limit=PORTION + len(faults.failed)))
    if not chosen:
        chosen = _choose_due(site, tenant, faults, total)
    _add(total, _delete_all(site, tenant, chosen, faults))
    return total


def _without_failed(faults: ItemFaults, tenant: str, found: Sequence[SupersededVariant]) -> list[SupersededVariant]:
    return [variant for variant in found if variant.key(tenant) not in faults.failed][:PORTION]


def _choose_due(site: Site, tenant: str, faults: ItemFaults, total: Collected) -> list[SupersededVariant]:
    """Mark superseded variants whose grace period is over for deletion, and return them."""
    try:
        found, chosen = _decide(site, tenant, faults)
    except Exception as error:
        if is_outage(error):
            raise
        # One of the variants causes the exception, so each is tried separately.
        with site.catalog.read(tenant) as tx:
            before = tx.now - site.settings.grace
            due = _without_failed(faults, tenant, collection.list_due(tx, before, limit=PORTION + len(faults.failed)))
        found, chosen = 0, []
        for variant in due:
            decided = faults.attempt(variant.key(tenant), partial(_decide, site, tenant, faults, variant))
            if decided is not None:
                found, chosen = found + decided[0], chosen + decided[1]
    total.kept += found - len(chosen)
    return chosen


def _decide(
    site: Site, tenant: str, faults: ItemFaults, only: SupersededVariant | None = None
) -> tuple[int, list[SupersededVariant]]:
    """Decide about a portion, or only about one variant; return how many were checked, and those to delete."""
    with site.catalog.write(tenant) as tx:
        hold_configuration(tx)
        before = tx.now - site.settings.grace
        columns = None if only is None else only.columns
        found = _without_failed(
            faults, tenant, collection.list_due(tx, before, limit=PORTION + len(faults.failed), only=columns)
        )
        verdict = _judge(tx, site, found, before)
        collection.set_superseded(tx, verdict.current, None)
        for moment, revertible in verdict.revertible.items():
            collection.set_superseded(tx, revertible, moment)
        collection.mark_collecting(tx, verdict.collect)
    return len(found), list(verdict.collect)


def _delete(site: Site, tenant: str, variant: SupersededVariant) -> bool:
    key = variant.key(tenant)
    # Ask the store before the row is locked: a store that is down must not block writers.
    with suppress(DamagedObject):
        site.variants.head(key)
    with site.catalog.write(tenant) as tx:
        if not collection.lock_collecting(tx, variant.columns, wait=False):
            return False
        site.variants.delete(key)
        collection.delete_variant(tx, variant.columns)
        if not variant.planned:
            unplanned_usage.add_usage(tx, -(variant.bytes or 0) - unplanned_usage.ROW_BYTES)
    return True


def collect_originals(site: Site, tenant: str, faults: ItemFaults, *, limit: int = PORTION) -> Collected:
    """Delete up to `limit` originals of a tenant that no pack location has used for the grace period."""
    # A read transaction first: it takes long for many originals, and on SQLite writers wait for each other.
    with site.catalog.read(tenant) as tx:
        newly_unused = collection.find_newly_unused(tx)
        before = tx.now - max(site.settings.grace, ORIGINALS_LEAST_GRACE)
        unused = collection.list_unused_originals(tx, before, limit=limit + len(faults.failed))
    if newly_unused:
        with site.catalog.write(tenant) as tx:
            collection.mark_unused(tx, newly_unused)
    sizes = {original_key(tenant, sha256): size for sha256, size in unused}
    chosen = [sha256 for sha256, _ in unused if original_key(tenant, sha256) not in faults.failed][:limit]
    deleted = faults.attempt_each(
        {original_key(tenant, sha256): partial(_delete_original, site, tenant, sha256, before) for sha256 in chosen}
    )
    gone = [sizes[str(key)] for key, is_gone in deleted.items() if is_gone]
    return Collected(originals=len(gone), bytes=sum(gone))


def _delete_original(site: Site, tenant: str, sha256: str, before: datetime) -> bool:
    key = original_key(tenant, sha256)
    with suppress(DamagedObject):
        site.originals.head(key)
    with site.catalog.write(tenant) as tx:
        # A request that uses the original takes the same lock, and then finds that it is gone.
        if not collection.lock_original(tx, sha256) or not collection.is_unused_since(tx, sha256, before):
            return False
        site.originals.delete(key)
        collection.delete_original(tx, sha256)
    return True


def collect_all(site: Site, tenant: str, on_progress: Callable[[Collected], None] = lambda _: None) -> Collected:
    """Delete everything of a tenant that is due, one portion at a time.

    Args:
        on_progress: called after each portion with the total so far.
    """
    total, faults = Collected(), make_faults()
    for portion in collect_unplanned(site, tenant, faults):
        _add(total, portion)
        on_progress(total)
    for collect in (collect_portion, collect_originals):
        for _ in range(MAX_FAULTS):
            # If no item of a portion could be decided, another process works on it, or it meets exceptions.
            while (portion := collect(site, tenant, faults)).variants or portion.kept or portion.originals:
                _add(total, portion)
                on_progress(total)
    total.failed = {str(key): error_id for key, error_id in faults.failed.items()}
    return total


def collect_unplanned(site: Site, tenant: str, faults: ItemFaults) -> Iterator[Collected]:
    """Delete unplanned variants until the tenant is within its budget, one portion at a time."""
    count_usage(site, tenant)
    while (portion := collect_unplanned_portion(site, tenant, faults)).variants:
        yield portion


def count_usage(site: Site, tenant: str) -> None:
    """Correct the count of bytes that the unplanned variants of a tenant use."""
    # A read transaction first: it takes long for many variants, and on SQLite writers wait for each other.
    with site.catalog.read(tenant) as tx:
        difference = unplanned_usage.count_usage(tx)
    with site.catalog.write(tenant) as tx:
        unplanned_usage.correct_usage(tx, difference)


def collect_unplanned_portion(site: Site, tenant: str, faults: ItemFaults, *, limit: int = PORTION) -> Collected:
    """Delete up to `limit` unplanned variants of a tenant that is over its budget.

    The least recently requested are deleted first, and variants with high demand last. Variants that are planned now
    stay. A deleted variant is rendered again on the next request.
    """
    with site.catalog.write(tenant) as tx:
        hold_configuration(tx)
        budget = unplanned_usage.read_budget(tx, site.settings.unplanned_bytes)
        chosen = _choose_unplanned(tx, site, unplanned_usage.read_usage(tx) - budget, limit)
        collection.mark_collecting(tx, chosen)
    return _delete_all(site, tenant, chosen, faults)


def thin_out(site: Site, tenant: str, pack_id: str, location: str, faults: ItemFaults) -> Collected:
    """Delete the least recently requested unplanned variants of a pack location that has too many of them."""
    with site.catalog.write(tenant) as tx:
        hold_configuration(tx)
        count = collection.count_unplanned(tx, pack_id, location)
        excess = count - unplanned_usage.MAX_VARIANTS_PER_PLACE * THINNED_PERCENT // 100
        found = collection.list_least_requested(tx, limit=count, place=(pack_id, location))
        others, popular = _split_unplanned(tx, site, found)
        chosen = [variant.row for variant in (*others, *popular)][: max(0, excess)]
        collection.mark_collecting(tx, chosen)
    total = _delete_all(site, tenant, chosen, faults)
    with site.catalog.write(tenant) as tx:
        unplanned_usage.unmark_full(tx, pack_id, location)
    return total


def _choose_unplanned(tx: Tx, site: Site, excess: int, limit: int) -> list[SupersededVariant]:
    chosen: list[SupersededVariant] = []
    spared: list[UnplannedVariant] = []
    last = None
    for _ in range(MAX_PORTIONS):
        found = collection.list_least_requested(tx, limit=limit, after=last)
        if not found or excess <= 0 or len(chosen) == limit:
            break
        last = found[-1]
        others, popular = _split_unplanned(tx, site, found)
        spared += popular
        excess = _take(others, excess, limit, chosen)
    if not chosen:
        _take(spared, excess, limit, chosen)
    else:
        # So that the next portion does not start with them.
        collection.touch_requested(tx, [variant.row for variant in spared])
    return chosen


def _take(found: Sequence[UnplannedVariant], excess: int, limit: int, chosen: list[SupersededVariant]) -> int:
    """Move variants to `chosen` until enough bytes are freed; return the remaining excess."""
    for variant in found:
        if excess <= 0 or len(chosen) == limit:
            break
        chosen.append(variant.row)
        excess -= (variant.row.bytes or 0) + unplanned_usage.ROW_BYTES
    return excess


def _split_unplanned(
    tx: Tx, site: Site, found: Sequence[UnplannedVariant]
) -> tuple[list[UnplannedVariant], list[UnplannedVariant]]:
    """Divide unplanned variants into those without and those with high demand; mark those that are planned now, and
    omit them.
    """
    snapshots, change = read_snapshots(tx, {variant.row.pack_id for variant in found}), read_change(tx)
    popular = demand.read_popular(tx, threshold=site.settings.demand_threshold)
    current: set[tuple[str, ...]] = set()
    in_demand: set[tuple[str, ...]] = set()
    for pack_id, snapshot in snapshots.items():
        current |= {(pack_id, *place) for place in current_variants(snapshot, change, limit=site.limit).planned}
        in_demand |= {
            place_of(variant.key) for variant in demand.popular_targets(popular, snapshot, (), limit=site.limit)
        }
    collection.mark_planned(tx, [variant.row for variant in found if variant.row.columns in current])
    free = [variant for variant in found if variant.row.columns not in current]
    others = [variant for variant in free if variant.row.columns not in in_demand]
    return others, [variant for variant in free if variant.row.columns in in_demand]


def _delete_all(site: Site, tenant: str, chosen: Sequence[SupersededVariant], faults: ItemFaults) -> Collected:
    by_key = {variant.key(tenant): variant for variant in chosen}
    deleted = faults.attempt_each({key: partial(_delete, site, tenant, variant) for key, variant in by_key.items()})
    gone = [by_key[str(key)] for key, is_gone in deleted.items() if is_gone]
    return Collected(variants=len(gone), bytes=sum(variant.bytes or 0 for variant in gone))


def preview_collection(site: Site, tenant: str) -> Collected:
    """Return what `collect_all` would delete now, without deleting it."""
    total = Collected()
    after = None
    with site.catalog.read(tenant) as tx:
        before = tx.now - site.settings.grace
        while found := collection.list_due(tx, before, limit=PORTION, after=after):
            after = found[-1].superseded_at, found[-1].columns
            verdict = _judge(tx, site, found, before)
            _count(total, verdict.collect)
            total.kept += len(found) - len(verdict.collect)
        _count(total, collection.list_collecting(tx))
        before = tx.now - max(site.settings.grace, ORIGINALS_LEAST_GRACE)
        last = ""
        while unused := collection.list_unused_originals(tx, before, limit=PORTION, after=last):
            last = unused[-1][0]
            total.originals += len(unused)
            total.bytes += sum(size for _, size in unused)
    return total


def _count(total: Collected, found: Sequence[SupersededVariant]) -> None:
    total.variants += len(found)
    total.bytes += sum(variant.bytes or 0 for variant in found)


def _add(total: Collected, portion: Collected) -> None:
    total.variants += portion.variants
    total.originals += portion.originals
    total.bytes += portion.bytes
    total.kept += portion.kept
