"""Collecting what nobody needs any more, in small portions, after the grace period.

A variant or original that meets an unforeseen exception does not keep the rest of its portion: it has a few attempts.

A variant is looked at again under the configuration lock before it is given up:
what is current by now, or what putting a location's earlier version back would
give, stays. An original stays while any pack location shows it.
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
# Portions looked through for variants that clients do not ask for often.
MAX_PORTIONS = 20
# A place with too many unplanned variants keeps this part of what it may have.
THINNED_PERCENT = 90
# However short the grace period is: whoever has just kept an original is about to show it.
ORIGINALS_LEAST_GRACE = timedelta(hours=1)


@dataclass(slots=True)
class Collected:
    """How much was collected, or would be.

    Attributes:
        bytes: of variants and originals together.
        kept: variants that turned out to be current, or promised to a rollback.
        failed: keys of variants and originals that met unforeseen exceptions as often as they may, with an error id.
    """

    variants: int = 0
    originals: int = 0
    bytes: int = 0
    kept: int = 0
    failed: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Verdict:
    """What becomes of superseded variants.

    Attributes:
        collect: what nobody needs.
        current: what URLs give again.
        revertible: variants that a revert would need, by the moment from which its grace period counts.
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
    """Tell superseded variants that nobody needs from those that are current or promised.

    Args:
        change: what is being prepared; what it will give is current as well.
        snapshots: of their packs, as they are now; a pack that is absent is deleted.
        retired: earlier versions of locations that can still be put back, and until when each was live.
    """
    collect: list[SupersededVariant] = []
    current: list[SupersededVariant] = []
    revertible: dict[datetime, list[SupersededVariant]] = {}
    for one in found:
        snapshot = snapshots.get(one.pack_id)
        if snapshot is None:
            collect.append(one)
        elif _gives(snapshot, change, one, limit):
            current.append(one)
        elif (until := _revertible_until(snapshot, one, retired, limit)) is not None:
            revertible.setdefault(until, []).append(one)
        else:
            collect.append(one)
    return Verdict(collect, current, revertible)


def _gives(snapshot: Snapshot, change: Change | None, one: SupersededVariant, limit: Size) -> bool:
    now = current_variants(snapshot, change, one.location, limit=limit)
    return now.has(one.location, one.fingerprint, one.plan, planned=one.planned)


def _revertible_until(
    snapshot: Snapshot,
    one: SupersededVariant,
    retired: Mapping[str, Sequence[tuple[Location, datetime]]],
    limit: Size,
) -> datetime | None:
    # What a location shows may come by way of others, so each that was changed is put back by itself.
    moments = []
    for name, versions in retired.items():
        for version, until in versions if name in snapshot.locations else ():
            earlier = replace(snapshot, locations={**snapshot.locations, name: version})
            shown = shown_at(earlier, one.location)
            if shown is not None and shown.fingerprint == one.fingerprint and _gives(earlier, None, one, limit):
                moments.append(until)
    return max(moments, default=None)


def _judge(tx: Tx, site: Site, found: Sequence[SupersededVariant], before: datetime) -> Verdict:
    snapshots = read_snapshots(tx, {one.pack_id for one in found})
    return judge(found, snapshots, collection.read_former_locations(tx, before), read_change(tx), limit=site.limit)


def make_faults() -> ItemFaults:
    """Return the counter of exceptions that one collector keeps over its portions; items are keys of objects."""
    return ItemFaults(log, "%s could not be collected")


def collect_portion(site: Site, tenant: str, faults: ItemFaults) -> Collected:
    """Look at up to `PORTION` superseded variants of a tenant, and collect those that nobody needs."""
    total = Collected()
    with site.catalog.read(tenant) as tx:
        # What has failed stays at the front, and is passed over.
        left = _without(faults, tenant, collection.list_collecting(tx, limit=PORTION + len(faults.failed)))
    if not left:
        left = _choose_due(site, tenant, faults, total)
    _add(total, _delete_all(site, tenant, left, faults))
    return total


def _without(faults: ItemFaults, tenant: str, found: Sequence[SupersededVariant]) -> list[SupersededVariant]:
    return [one for one in found if one.key(tenant) not in faults.failed][:PORTION]


def _choose_due(site: Site, tenant: str, faults: ItemFaults, total: Collected) -> list[SupersededVariant]:
    """Begin the collection of superseded variants of which the grace period is over, and return them."""
    try:
        found, chosen = _decide(site, tenant, faults)
    except Exception as error:
        if is_outage(error):
            raise
        # One of them is at fault, so each is looked at by itself.
        with site.catalog.read(tenant) as tx:
            before = tx.now - site.settings.grace
            due = _without(faults, tenant, collection.list_due(tx, before, limit=PORTION + len(faults.failed)))
        found, chosen = 0, []
        for one in due:
            decided = faults.attempt(one.key(tenant), partial(_decide, site, tenant, faults, one))
            if decided is not None:
                found, chosen = found + decided[0], chosen + decided[1]
    total.kept += found - len(chosen)
    return chosen


def _decide(
    site: Site, tenant: str, faults: ItemFaults, only: SupersededVariant | None = None
) -> tuple[int, list[SupersededVariant]]:
    """Decide of a portion, or of one variant, what is collected; return how many those were, and what is."""
    with site.catalog.write(tenant) as tx:
        hold_configuration(tx)
        before = tx.now - site.settings.grace
        columns = None if only is None else only.columns
        found = _without(
            faults, tenant, collection.list_due(tx, before, limit=PORTION + len(faults.failed), only=columns)
        )
        verdict = _judge(tx, site, found, before)
        collection.set_superseded(tx, verdict.current, None)
        for moment, revertible in verdict.revertible.items():
            collection.set_superseded(tx, revertible, moment)
        collection.mark_collecting(tx, verdict.collect)
    return len(found), list(verdict.collect)


def _delete(site: Site, tenant: str, one: SupersededVariant) -> bool:
    key = one.key(tenant)
    # Asked before the row is locked: a store that is away must not hold up those who write.
    with suppress(DamagedObject):
        site.variants.head(key)
    with site.catalog.write(tenant) as tx:
        if not collection.lock_collecting(tx, one.columns, wait=False):
            return False
        site.variants.delete(key)
        collection.delete_variant(tx, one.columns)
        if not one.planned:
            unplanned_usage.add_usage(tx, -(one.bytes or 0) - unplanned_usage.ROW_BYTES)
    return True


def collect_originals(site: Site, tenant: str, faults: ItemFaults, *, limit: int = PORTION) -> Collected:
    """Collect up to `limit` originals of a tenant that nothing has shown for the grace period."""
    # Read first: that takes a while where there are many, and writers on SQLite queue.
    with site.catalog.read(tenant) as tx:
        newly = collection.find_newly_unused(tx)
        before = tx.now - max(site.settings.grace, ORIGINALS_LEAST_GRACE)
        unused = collection.list_unused_originals(tx, before, limit=limit + len(faults.failed))
    if newly:
        with site.catalog.write(tenant) as tx:
            collection.mark_unused(tx, newly)
    sizes = {original_key(tenant, sha256): size for sha256, size in unused}
    chosen = [sha256 for sha256, _ in unused if original_key(tenant, sha256) not in faults.failed][:limit]
    deleted = faults.attempt_each(
        {original_key(tenant, one): partial(_delete_original, site, tenant, one, before) for one in chosen}
    )
    gone = [sizes[str(key)] for key, is_gone in deleted.items() if is_gone]
    return Collected(originals=len(gone), bytes=sum(gone))


def _delete_original(site: Site, tenant: str, sha256: str, before: datetime) -> bool:
    key = original_key(tenant, sha256)
    with suppress(DamagedObject):
        site.originals.head(key)
    with site.catalog.write(tenant) as tx:
        # Whoever shows it takes the same lock, and finds that it is gone.
        if not collection.lock_original(tx, sha256) or not collection.is_unused_since(tx, sha256, before):
            return False
        site.originals.delete(key)
        collection.delete_original(tx, sha256)
    return True


def collect_all(site: Site, tenant: str, seen: Callable[[Collected], None] = lambda _: None) -> Collected:
    """Collect whatever is due of a tenant, a portion at a time.

    Args:
        seen: told after each portion how much it was so far.
    """
    total, faults = Collected(), make_faults()
    for portion in collect_unplanned(site, tenant, faults):
        _add(total, portion)
        seen(total)
    for collect in (collect_portion, collect_originals):
        for _ in range(MAX_FAULTS):
            # A portion of which nothing could be decided is in another process's hands, or meets exceptions.
            while (portion := collect(site, tenant, faults)).variants or portion.kept or portion.originals:
                _add(total, portion)
                seen(total)
    total.failed = {str(key): error_id for key, error_id in faults.failed.items()}
    return total


def collect_unplanned(site: Site, tenant: str, faults: ItemFaults) -> Iterator[Collected]:
    """Collect unplanned variants until the tenant is within its budget, a portion at a time."""
    count_usage(site, tenant)
    while (portion := collect_unplanned_portion(site, tenant, faults)).variants:
        yield portion


def count_usage(site: Site, tenant: str) -> None:
    """Count what the unplanned variants of a tenant take."""
    # Read first: that takes a while where there are many, and writers on SQLite queue.
    with site.catalog.read(tenant) as tx:
        difference = unplanned_usage.count_usage(tx)
    with site.catalog.write(tenant) as tx:
        unplanned_usage.correct_usage(tx, difference)


def collect_unplanned_portion(site: Site, tenant: str, faults: ItemFaults, *, limit: int = PORTION) -> Collected:
    """Collect up to `limit` unplanned variants of a tenant that is over its budget.

    The least recently requested go first, and last what clients ask for often. What is
    planned by now is left alone. Whatever is collected is rendered again when somebody asks for it.
    """
    with site.catalog.write(tenant) as tx:
        hold_configuration(tx)
        budget = unplanned_usage.read_budget(tx, site.settings.unplanned_bytes)
        chosen = _choose_unplanned(tx, site, unplanned_usage.read_usage(tx) - budget, limit)
        collection.mark_collecting(tx, chosen)
    return _delete_all(site, tenant, chosen, faults)


def thin_out(site: Site, tenant: str, pack_id: str, location: str, faults: ItemFaults) -> Collected:
    """Collect the least recently requested unplanned variants of a place that has too many of them."""
    with site.catalog.write(tenant) as tx:
        hold_configuration(tx)
        count = collection.count_unplanned(tx, pack_id, location)
        excess = count - unplanned_usage.MAX_VARIANTS_PER_PLACE * THINNED_PERCENT // 100
        found = collection.list_least_requested(tx, limit=count, place=(pack_id, location))
        others, popular = _split_unplanned(tx, site, found)
        chosen = [one.row for one in (*others, *popular)][: max(0, excess)]
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
        # So that the next portion does not begin with them.
        collection.touch_requested(tx, [one.row for one in spared])
    return chosen


def _take(found: Sequence[UnplannedVariant], excess: int, limit: int, chosen: list[SupersededVariant]) -> int:
    """Move variants to `chosen` until enough is freed; return how many bytes are still too many."""
    for one in found:
        if excess <= 0 or len(chosen) == limit:
            break
        chosen.append(one.row)
        excess -= (one.row.bytes or 0) + unplanned_usage.ROW_BYTES
    return excess


def _split_unplanned(
    tx: Tx, site: Site, found: Sequence[UnplannedVariant]
) -> tuple[list[UnplannedVariant], list[UnplannedVariant]]:
    """Return which unplanned variants may go first, and which clients ask for often; note which are planned by now."""
    snapshots, change = read_snapshots(tx, {one.row.pack_id for one in found}), read_change(tx)
    popular = demand.read_popular(tx, threshold=site.settings.demand_threshold)
    current: set[tuple[str, ...]] = set()
    often: set[tuple[str, ...]] = set()
    for pack_id, snapshot in snapshots.items():
        current |= {(pack_id, *place) for place in current_variants(snapshot, change, limit=site.limit).planned}
        often |= {place_of(one.key) for one in demand.popular_targets(popular, snapshot, (), limit=site.limit)}
    collection.mark_planned(tx, [one.row for one in found if one.row.columns in current])
    free = [one for one in found if one.row.columns not in current]
    return [one for one in free if one.row.columns not in often], [one for one in free if one.row.columns in often]


def _delete_all(site: Site, tenant: str, chosen: Sequence[SupersededVariant], faults: ItemFaults) -> Collected:
    by_key = {one.key(tenant): one for one in chosen}
    deleted = faults.attempt_each({key: partial(_delete, site, tenant, one) for key, one in by_key.items()})
    gone = [by_key[str(key)] for key, is_gone in deleted.items() if is_gone]
    return Collected(variants=len(gone), bytes=sum(one.bytes or 0 for one in gone))


def survey(site: Site, tenant: str) -> Collected:
    """Return what `collect_all` would collect now, and change nothing."""
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
    total.bytes += sum(one.bytes or 0 for one in found)


def _add(total: Collected, portion: Collected) -> None:
    total.variants += portion.variants
    total.originals += portion.originals
    total.bytes += portion.bytes
    total.kept += portion.kept
