"""Collecting what nobody needs any more, in small portions, after the grace period.

A variant is looked at again under the configuration lock before it is given up:
what is current by now, or what putting a location's earlier version back would
give, stays. An original stays while any pack location shows it.
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from packshot.catalog import collection
from packshot.catalog.candidates import read_change
from packshot.catalog.collection import Superseded
from packshot.catalog.snapshots import read_snapshots
from packshot.catalog.transaction import Tx, hold_configuration
from packshot.geometry import Size
from packshot.make import current_variants
from packshot.model import Location, Snapshot
from packshot.site import Site, original_key
from packshot.storage.base import DamagedObject
from packshot.variants.change import Change
from packshot.variants.resolve import shown_at

PORTION = 100
# However short the grace period is: whoever has just kept an original is about to show it.
ORIGINALS_LEAST_GRACE = timedelta(hours=1)


@dataclass(slots=True)
class Collected:
    """How much was collected, or would be.

    Attributes:
        bytes: of variants and originals together.
        kept: variants that turned out to be current, or promised to a rollback.
    """

    variants: int = 0
    originals: int = 0
    bytes: int = 0
    kept: int = 0


@dataclass(frozen=True, slots=True)
class Verdict:
    """What becomes of superseded variants.

    Attributes:
        collect: what nobody needs.
        current: what URLs give again.
        promised: what a rollback would need, by the moment from which its grace period counts.
    """

    collect: Sequence[Superseded]
    current: Sequence[Superseded]
    promised: Mapping[datetime, Sequence[Superseded]]


def judge(
    found: Sequence[Superseded],
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
    collect: list[Superseded] = []
    current: list[Superseded] = []
    promised: dict[datetime, list[Superseded]] = {}
    for one in found:
        snapshot = snapshots.get(one.pack_id)
        if snapshot is None:
            collect.append(one)
        elif _gives(snapshot, change, one, limit):
            current.append(one)
        elif (until := _promised_until(snapshot, one, retired, limit)) is not None:
            promised.setdefault(until, []).append(one)
        else:
            collect.append(one)
    return Verdict(collect, current, promised)


def _gives(snapshot: Snapshot, change: Change | None, one: Superseded, limit: Size) -> bool:
    now = current_variants(snapshot, change, one.location, limit=limit)
    return now.has(one.location, one.fingerprint, one.plan, planned=one.planned)


def _promised_until(
    snapshot: Snapshot,
    one: Superseded,
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


def _judge(tx: Tx, site: Site, found: Sequence[Superseded], before: datetime) -> Verdict:
    snapshots = read_snapshots(tx, {one.pack_id for one in found})
    return judge(found, snapshots, collection.read_retired(tx, before), read_change(tx), limit=site.limit)


def collect_portion(site: Site, tenant: str) -> Collected:
    """Look at up to `PORTION` superseded variants of a tenant, and collect those that nobody needs."""
    total = Collected()
    with site.catalog.read(tenant) as tx:
        left = collection.list_collecting(tx, limit=PORTION)
    if not left:
        with site.catalog.write(tenant) as tx:
            hold_configuration(tx)
            before = tx.now - site.settings.grace
            found = collection.list_due(tx, before, limit=PORTION)
            verdict = _judge(tx, site, found, before)
            collection.set_superseded(tx, verdict.current, None)
            for moment, promised in verdict.promised.items():
                collection.set_superseded(tx, promised, moment)
            collection.mark_collecting(tx, verdict.collect)
        left = list(verdict.collect)
        total.kept = len(found) - len(left)
    for one in left:
        if _delete(site, tenant, one):
            total.variants += 1
            total.bytes += one.bytes or 0
    return total


def _delete(site: Site, tenant: str, one: Superseded) -> bool:
    key = one.key(tenant)
    # Asked before the row is locked: a store that is away must not hold up those who write.
    with suppress(DamagedObject):
        site.variants.head(key)
    with site.catalog.write(tenant) as tx:
        if not collection.lock_collecting(tx, one.columns, wait=False):
            return False
        site.variants.delete(key)
        collection.forget_variant(tx, one.columns)
    return True


def collect_originals(site: Site, tenant: str, *, limit: int = PORTION) -> Collected:
    """Collect up to `limit` originals of a tenant that nothing has shown for the grace period."""
    total = Collected()
    # Read first: that takes a while where there are many, and writers on SQLite queue.
    with site.catalog.read(tenant) as tx:
        newly = collection.find_newly_unused(tx)
        before = tx.now - max(site.settings.grace, ORIGINALS_LEAST_GRACE)
        unused = collection.list_unused_originals(tx, before, limit=limit)
    if newly:
        with site.catalog.write(tenant) as tx:
            collection.note_unused(tx, newly)
    for sha256, size in unused:
        if _delete_original(site, tenant, sha256, before):
            total.originals += 1
            total.bytes += size
    return total


def _delete_original(site: Site, tenant: str, sha256: str, before: datetime) -> bool:
    key = original_key(tenant, sha256)
    with suppress(DamagedObject):
        site.originals.head(key)
    with site.catalog.write(tenant) as tx:
        # Whoever shows it takes the same lock, and finds that it is gone.
        if not collection.lock_original(tx, sha256) or not collection.is_unused_since(tx, sha256, before):
            return False
        site.originals.delete(key)
        collection.forget_original(tx, sha256)
    return True


def collect_all(site: Site, tenant: str, seen: Callable[[Collected], None] = lambda _: None) -> Collected:
    """Collect whatever is due of a tenant, a portion at a time.

    Args:
        seen: told after each portion how much it was so far.
    """
    total = Collected()
    # A portion of which nothing could be decided is in another process's hands.
    while (portion := collect_portion(site, tenant)).variants or portion.kept:
        _add(total, portion)
        seen(total)
    while (portion := collect_originals(site, tenant)).originals:
        _add(total, portion)
        seen(total)
    return total


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


def _count(total: Collected, found: Sequence[Superseded]) -> None:
    total.variants += len(found)
    total.bytes += sum(one.bytes or 0 for one in found)


def _add(total: Collected, portion: Collected) -> None:
    total.variants += portion.variants
    total.originals += portion.originals
    total.bytes += portion.bytes
    total.kept += portion.kept
