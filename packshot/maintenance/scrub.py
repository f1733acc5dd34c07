"""Scrubbing: compare stores and ledger, and repair each from the other.

Both are read in the order of pack ids, a few packs at a time, so memory use stays constant. The ledger is read after
the store was listed. Every difference is checked again under a lock before it is repaired.
"""

import logging
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from functools import partial
from hashlib import sha256
from itertools import groupby, islice
from typing import TypeVar

from packshot import faults
from packshot.catalog.configuration.pending_changes import read_change
from packshot.catalog.configuration.snapshots import read_snapshots
from packshot.catalog.database.transaction import next_sequence
from packshot.catalog.packs.shapes import keep_shape
from packshot.catalog.variants import collection, reconciliation
from packshot.catalog.variants.reconciliation import LedgerRow
from packshot.catalog.work.orders import Priority, place_orders
from packshot.errors import Invalid, PackshotError
from packshot.maintenance.retrying import is_outage
from packshot.originals.ingest import redecode_original
from packshot.production import current_variants
from packshot.site import Site, original_key
from packshot.storage.base import DamagedObject, NoSuchObject, ObjectStore
from packshot.variants.key import pack_of, parse_key

log = logging.getLogger(__name__)
T = TypeVar("T")

PACKS_AT_ONCE = 50
# Stores answer parallel requests faster than sequential ones.
THREADS = 8
# A younger object may belong to a row that is being written or was just deleted, so it is not an orphan.
MIN_AGE = timedelta(hours=1)
MAX_PLACES = 100


class Fault(StrEnum):
    """What is wrong with an object."""

    MISSING = "missing"
    WRONG = "wrong"


@dataclass(frozen=True, slots=True)
class LostOriginal:
    """An original that pack locations use and that cannot be made again.

    Attributes:
        places: pack and location of at most a hundred of its users.
    """

    sha256: str
    fault: Fault
    places: list[tuple[str, str]]


@dataclass(slots=True)
class ScrubResult:
    """What was found, and repaired unless it was a dry run.

    Attributes:
        variants, originals: how many were checked.
        missing, wrong: variants that are missing in the store, or differ from the ledger.
        orphans: objects of variants that the ledger does not know.
        unknown_originals: originals in the store that the catalog does not know; they are kept.
        ordered: packs that are rendered again.
        moved: originals that this release decodes to other pixels than the release that ingested them.
        lost: originals that must be uploaded again.
        failed: packs and originals that an unforeseen exception kept from being compared, each with its error id.
    """

    variants: int = 0
    originals: int = 0
    missing: int = 0
    wrong: int = 0
    orphans: int = 0
    unknown_originals: int = 0
    ordered: int = 0
    moved: int = 0
    lost: list[LostOriginal] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)

    def add(self, part: "ScrubResult") -> None:
        """Add the findings of another part of the store."""
        for name in ("variants", "originals", "missing", "wrong", "orphans", "unknown_originals", "ordered", "moved"):
            setattr(self, name, getattr(self, name) + getattr(part, name))
        self.lost += part.lost
        self.failed |= part.failed

    @property
    def found(self) -> int:
        """How many variants and objects were not correct."""
        return self.missing + self.wrong + self.orphans


def scrub(
    site: Site,
    tenant: str,
    *,
    deep: bool,
    repair: bool,
    on_progress: Callable[[ScrubResult], None] = lambda _: None,
) -> ScrubResult:
    """Compare everything that is stored of a tenant with the ledger.

    Args:
        deep: read every byte, instead of only the size and digest that the store reports.
        repair: repair what can be repaired.
        on_progress: called after every few packs with the result so far.

    Raises:
        OSError: the store is down.
    """
    result = ScrubResult()
    walk = _side_by_side(site, tenant)
    with ThreadPoolExecutor(THREADS) as threads:
        while packs := dict(islice(walk, PACKS_AT_ONCE)):
            work = partial(_scrub_packs, site, tenant, threads=threads, deep=deep, repair=repair)
            result.add(_compare_each(packs, work, "pack"))
            on_progress(result)
        walk_originals = reconciliation.iterate_originals(site.catalog, tenant)
        while portion := dict(islice(walk_originals, PACKS_AT_ONCE)):
            compare = partial(_scrub_originals, site, tenant, threads=threads, deep=deep, repair=repair)
            result.add(_compare_each(portion, compare, "original"))
            on_progress(result)
    result.unknown_originals = _count_unknown_originals(site, tenant)
    return result


def _compare_each(portion: dict[str, T], compare: Callable[[dict[str, T]], ScrubResult], noun: str) -> ScrubResult:
    """Compare a portion; after an unforeseen exception, compare each item alone, to skip only the faulty one."""
    try:
        return compare(portion)
    except Exception as error:
        if is_outage(error):
            raise
        if len(portion) > 1:
            total = ScrubResult()
            for name, item in portion.items():
                total.add(_compare_each({name: item}, compare, noun))
            return total
        (name,) = portion
        return ScrubResult(failed={name: faults.record(log, error, f"the {noun} %s could not be compared", name)})


def _side_by_side(site: Site, tenant: str) -> Iterator[tuple[str, list[str]]]:
    """Yield every pack that the store or the ledger knows, with the store's keys of it."""
    listed = groupby(site.variants.list(f"{tenant}/"), key=pack_of)
    claimed = reconciliation.iterate_packs(site.catalog, tenant)
    group, pack_id = next(listed, None), next(claimed, None)
    while group is not None or pack_id is not None:
        if group is not None and (pack_id is None or group[0] <= pack_id):
            name, keys = group[0], list(group[1])
            if name == pack_id:
                pack_id = next(claimed, None)
            yield name, keys
            group = next(listed, None)
        elif pack_id is not None:
            yield pack_id, []
            pack_id = next(claimed, None)


def _scrub_packs(
    site: Site, tenant: str, packs: dict[str, list[str]], *, threads: ThreadPoolExecutor, deep: bool, repair: bool
) -> ScrubResult:
    with site.catalog.read(tenant) as tx:
        rows = reconciliation.read_ledger_rows(tx, list(packs))
    ready = {key: row for key, row in rows.items() if row.ready}

    def compare(key: str) -> Fault | None:
        row = ready[key]
        return find_fault(site.variants, key, row.bytes, row.sha256, deep=deep)

    wrong = {key: fault for key, fault in zip(ready, threads.map(compare, ready), strict=True) if fault is not None}
    result = ScrubResult(variants=len(rows))
    result.missing += sum(fault is Fault.MISSING for fault in wrong.values())
    result.wrong += sum(fault is Fault.WRONG for fault in wrong.values())
    unknown = [key for keys in packs.values() for key in keys if key not in rows]
    orphans = [
        key for key, old in zip(unknown, threads.map(lambda key: _is_old(site, key), unknown), strict=True) if old
    ]
    result.orphans += len(orphans)
    if not repair:
        return result
    # The rows are not ordered, so they are collected by pack; each pack is ordered once.
    by_pack: dict[str, dict[str, tuple[LedgerRow, Fault]]] = {}
    for key, fault in wrong.items():
        by_pack.setdefault(rows[key].pack_id, {})[key] = rows[key], fault
    for pack_id, found in by_pack.items():
        result.ordered += _repair(site, tenant, pack_id, found)
    for key in orphans:
        _drop_orphan(site, tenant, key)
    return result


def find_fault(store: ObjectStore, key: str, size: int | None, digest: str | None, *, deep: bool) -> Fault | None:
    """Return what is wrong with an object that should have that size and SHA-256; None: nothing.

    Raises:
        OSError: the store is down.
    """
    try:
        stored = store.head(key)
        if stored is None:
            return Fault.MISSING
        if (stored.size, stored.sha256) != (size, digest):
            return Fault.WRONG
        # Read a second time if necessary, because bytes can be changed on the way.
        if deep and _read_digest(store, key) != digest and _read_digest(store, key) != digest:
            return Fault.WRONG
    except NoSuchObject:
        return Fault.MISSING
    except DamagedObject:
        return Fault.WRONG
    return None


def _read_digest(store: ObjectStore, key: str) -> str | None:
    digest = sha256()
    try:
        with store.open(key) as opened:
            for chunk in opened:
                digest.update(chunk)
    except DamagedObject:
        return None
    return digest.hexdigest()


def _is_old(site: Site, key: str) -> bool:
    try:
        stored = site.variants.head(key)
    except DamagedObject:
        return True
    return stored is not None and datetime.now(UTC) - stored.modified_at > MIN_AGE


def _repair(site: Site, tenant: str, pack_id: str, found: dict[str, tuple[LedgerRow, Fault]]) -> bool:
    """Order the current variants again, and remove the others from the ledger; return whether the pack was ordered."""
    with site.catalog.write(tenant) as tx:
        # Deleting a pack takes a number, too, so the pack cannot disappear during this transaction.
        seq = next_sequence(tx)
        snapshot = read_snapshots(tx, [pack_id]).get(pack_id)
        current = None if snapshot is None else current_variants(snapshot, read_change(tx), limit=site.limit)
        # Unplanned variants are rendered again on the next request.
        to_render = [
            row
            for row, _ in found.values()
            if current is not None
            and row.planned
            and current.has(row.location, row.fingerprint, row.plan, planned=True)
        ]
        if to_render:
            # Locks the order before the variants, in the same sequence as the end of a refresh.
            place_orders(tx, [pack_id], seq, Priority.BULK, check_store=False)
        corrected = reconciliation.mark_missing(tx, to_render, again=True)
        corrected += reconciliation.mark_missing(
            tx, [row for row, _ in found.values() if row not in to_render], again=False
        )
        for key, (row, fault) in found.items():
            if fault is Fault.WRONG and row in corrected:
                # Deleted while the rows are locked: a new object is put only after this.
                site.variants.delete(key)
    return bool(to_render)


def _drop_orphan(site: Site, tenant: str, key: str) -> None:
    try:
        parsed = parse_key(key)
    except Invalid:
        # A foreign object; no URL leads to it.
        site.variants.delete(key)
        return
    with site.catalog.write(tenant) as tx:
        claimed = reconciliation.adopt_orphan(tx, parsed)
    if claimed:
        columns = (parsed.pack, parsed.location, parsed.fingerprint, str(parsed.plan))
        with site.catalog.write(tenant) as tx:
            if collection.lock_collecting(tx, columns, wait=True):
                site.variants.delete(key)
                collection.delete_variant(tx, columns)


def _scrub_originals(
    site: Site, tenant: str, sizes: dict[str, int], *, threads: ThreadPoolExecutor, deep: bool, repair: bool
) -> ScrubResult:
    def compare(digest: str) -> Fault | None:
        return find_fault(site.originals, original_key(tenant, digest), sizes[digest], digest, deep=deep)

    result = ScrubResult(originals=len(sizes))
    for digest, fault in zip(sizes, threads.map(compare, sizes), strict=True):
        if fault is not None:
            with site.catalog.read(tenant) as tx:
                places = reconciliation.list_places(tx, digest, limit=MAX_PLACES)
            # The request that uses the original may have recorded it before this check.
            if places:
                result.lost.append(LostOriginal(digest, fault, places))
    if deep and repair:
        _redecode_originals(site, tenant, list(sizes.items()), result)
    return result


def _redecode_originals(site: Site, tenant: str, portion: list[tuple[str, int]], result: ScrubResult) -> None:
    """Decode originals that only an earlier release has decoded, and order the packs whose images change."""
    with site.catalog.read(tenant) as tx:
        undated = reconciliation.find_undated_originals(tx, [digest for digest, _ in portion])
    for digest, size in portion:
        if digest not in undated:
            continue
        try:
            original = redecode_original(site, tenant, digest, size)
        except (PackshotError, NoSuchObject, DamagedObject):
            # It is lost, or refused by this release. Its stored variants stay; the next run tries again.
            continue
        if not original.decode_revision:
            continue
        result.moved += 1
        with site.catalog.write(tenant) as tx:
            seq = next_sequence(tx)
            pack_ids = reconciliation.list_packs_showing(tx, digest)
            for pack_id in pack_ids:
                keep_shape(tx, pack_id)
            place_orders(tx, pack_ids, seq, Priority.BULK, check_store=False)
        result.ordered += len(pack_ids)


def _count_unknown_originals(site: Site, tenant: str) -> int:
    count = 0
    listed = site.originals.list(f"{tenant}/")
    while names := [key.partition("/")[2] for key in islice(listed, reconciliation.PORTION)]:
        with site.catalog.read(tenant) as tx:
            count += len(set(names) - reconciliation.find_known_originals(tx, names))
    return count
