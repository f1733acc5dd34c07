"""Produce variants: announce them in the ledger, render them, and store them. Pregeneration and the fallback use the
same functions.
"""

import errno
import logging
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from itertools import groupby
from pathlib import Path

from packshot import faults
from packshot.catalog.configuration.pending_changes import read_change
from packshot.catalog.configuration.snapshots import read_snapshots
from packshot.catalog.database.transaction import Tx
from packshot.catalog.variants import collection, ledger, reconciliation
from packshot.catalog.variants.decoding import Decoding
from packshot.catalog.variants.ledger import Current, FailedVariant, StoredVariant
from packshot.errors import OriginalLost, PackshotError
from packshot.geometry import Size
from packshot.model import Original, Snapshot
from packshot.render.drawing.pipeline import Rendered
from packshot.render.processes.lanes import Pulse
from packshot.render.processes.pool import Lane, LoadShare, failure_of
from packshot.site import Site, original_key
from packshot.storage.base import AlreadyThere, DamagedObject, Metadata, NoSuchObject, Opened, Stored
from packshot.storage.write_check import is_check
from packshot.variants.change import Change, views
from packshot.variants.key import Key
from packshot.variants.resolve import Target, planned_all
from packshot.variants.tags import erase_tag

log = logging.getLogger(__name__)

# A write may take as long as the store's own limits allow; a worker's lease is extended by this so that it outlasts the
# write.
HEARTBEAT_SECONDS = 5.0

MISSING = "The original is missing from its store; upload it again."
DAMAGED = "The original in its store is damaged; upload it again."

FOREVER = "public, max-age=31536000, immutable"


class NotStored(OSError):
    """A variant was rendered, but its store did not accept it. For a caller that must store it, this is an outage.

    Attributes:
        rendered: the variant, for a caller that can answer without storing it.
    """

    def __init__(self, error: OSError, rendered: Rendered) -> None:
        super().__init__(error.errno, error.strerror or str(error))
        self.rendered = rendered


def announce_and_render(
    site: Site,
    targets: Sequence[Target],
    lane: Lane,
    *,
    planned: bool,
    is_slow: bool = False,
    deadline: float | None = None,
) -> list[StoredVariant | FailedVariant]:
    """Announce variants and render them for a waiting client; see `announce` and `render_variants`."""
    announce(site, targets, planned=planned)
    return render_variants(site, targets, lane, refuse_missing=True, is_slow=is_slow, deadline=deadline)


def announce(site: Site, targets: Sequence[Target], *, planned: bool) -> None:
    """Write rows into the ledger for variants of one tenant that will be rendered.

    Args:
        planned: whether they are planned variants.

    Raises:
        Gone: one of their packs was erased.
    """
    if not targets:
        return
    with site.catalog.write(targets[0].key.tenant) as tx:
        collecting = ledger.announce(tx, [target.key for target in targets], planned=planned)
    for announced in collecting:
        _reclaim(site, announced, planned=planned)


def render_variants(
    site: Site,
    targets: Sequence[Target],
    lane: Lane,
    *,
    heartbeat: Callable[[], None] | None = None,
    heartbeat_seconds: float = HEARTBEAT_SECONDS,
    refuse_missing: bool,
    is_slow: bool = False,
    deadline: float | None = None,
) -> list[StoredVariant | FailedVariant]:
    """Render announced variants and store them; each original is decoded once.

    The caller records the results in the ledger, in a transaction of its choice. A variant that is stored already is
    not rendered again.

    Args:
        heartbeat: called about every `heartbeat_seconds` meanwhile; an exception in it ends the work.
        refuse_missing: if an original is missing in its store, refuse its variants with `OriginalLost`, as for a
        damaged
            original; otherwise raise `NoSuchObject`, because the original may come back.
        is_slow: the work is expected to take long; see `packshot.render.processes.lanes.LoadShare`.
        deadline: until when each original waits for a render process, in monotonic seconds; None: no limit.

    Raises:
        QueueTimeout: no render process became free in time.
        NoSuchObject: an original is missing from its store.
        NotStored: the store did not accept a variant.
        OSError: a store does not answer, or has no original at all although it should.
    """
    pulse = Pulse(heartbeat, heartbeat_seconds)
    outcomes: list[StoredVariant | FailedVariant] = []
    in_order = sorted(targets, key=lambda target: target.original.sha256)
    for sha256, group in groupby(in_order, key=lambda target: target.original.sha256):
        alike = list(group)
        key = original_key(alike[0].key.tenant, sha256)
        pulse.beat_if_due()
        try:
            with site.originals.as_file(key) as original:
                drawings = [target.drawing for target in alike]
                rendered = site.renderer.render(
                    original,
                    drawings,
                    lane,
                    share=LoadShare(alike[0].key.tenant, sha256, is_slow),
                    patience=_patience(deadline),
                    heartbeat=heartbeat,
                    heartbeat_seconds=heartbeat_seconds,
                )
        except NoSuchObject:
            if not refuse_missing:
                raise
            _check_not_empty(site, alike[0].key.tenant)
            log.error("the original %s is missing from its store; upload the image again", key)
            rendered = [OriginalLost(MISSING) for _ in alike]
        except DamagedObject as error:
            log.error("the original %s is damaged; upload the image again: %s", key, error)
            rendered = [OriginalLost(DAMAGED) for _ in alike]
        _count(site, alike, rendered)
        for target, result in zip(alike, rendered, strict=True):
            pulse.beat_if_due()
            outcomes.append(_put(site, target, result))
    return outcomes


def _patience(deadline: float | None) -> float | None:
    return None if deadline is None else max(0.0, deadline - time.monotonic())


def render_unstored(
    site: Site, target: Target, lane: Lane, *, is_slow: bool = False, deadline: float | None = None
) -> Rendered:
    """Render one variant without storing it; the arguments are those of `render_variants`.

    Raises:
        QueueTimeout: no render process became free in time.
        Unrenderable, RenderTimeout: the original cannot be rendered with these parameters.
        OriginalLost: the original is missing or damaged.
        OSError: a store does not answer.
    """
    tenant, sha256 = target.key.tenant, target.original.sha256
    with _lend_original(site, tenant, sha256) as original:
        share, patience = LoadShare(tenant, sha256, is_slow), _patience(deadline)
        (rendered,) = site.renderer.render(original, [target.drawing], lane, share=share, patience=patience)
    _count(site, [target], [rendered])
    if isinstance(rendered, PackshotError):
        raise rendered
    return rendered


def metadata_of(target: Target) -> Metadata:
    """Return the metadata that is stored with a variant."""
    tags = (erase_tag(target.key.tenant, target.key.pack),)
    return Metadata(target.drawing.format.media_type, FOREVER, tags)


def current_variants(snapshot: Snapshot, change: Change | None, location: str | None = None, *, limit: Size) -> Current:
    """Return the variants that a pack's URLs give at one location (None: at all), now or under the pending change."""
    seen = views(snapshot, change)
    return Current.of(target.key for view in seen for target in planned_all(view, location, limit=limit))


def check_original(site: Site, tenant: str, sha256: str) -> None:
    """Raise the refusal that rendering this original would give if it is missing or damaged.

    Raises:
        OriginalLost: it is missing or damaged.
        OSError: its store does not answer.
    """
    with _lend_original(site, tenant, sha256):
        return


@contextmanager
def _lend_original(site: Site, tenant: str, sha256: str) -> Iterator[Path]:
    try:
        with site.originals.as_file(original_key(tenant, sha256)) as original:
            yield original
    except NoSuchObject:
        _check_not_empty(site, tenant)
        raise OriginalLost(MISSING) from None
    except DamagedObject:
        raise OriginalLost(DAMAGED) from None


def _check_not_empty(site: Site, tenant: str) -> None:
    # A process that started without the mount has created an empty store in its place.
    if not all(is_check(key) for key in site.originals.list("")):
        return
    with site.catalog.read(tenant) as tx:
        # If the store has any object, it is the right store, and the original is really missing.
        should_have = reconciliation.count_originals(tx, most=2)
    if should_have > 1:
        raise OSError(
            errno.EIO, "The store of originals counts as unavailable: the ledger has originals, but the store has none"
        )


def _count(site: Site, targets: Sequence[Target], results: Sequence[Rendered | PackshotError]) -> None:
    """Record the cost of rendering, for plans."""
    for target, result in zip(targets, results, strict=True):
        if isinstance(result, Rendered):
            site.tally.add(target.drawing.format, target.pixels, result.seconds, len(result.data))
            if result.decoding_seconds:
                site.tally.add_decoding(target.original.width * target.original.height, result.decoding_seconds)
    site.decoding.add(targets[0].key.tenant, targets[0].original, _decoding(targets[0].original, results))


def _decoding(original: Original, results: Sequence[Rendered | PackshotError]) -> Decoding:
    seconds = next((one.decoding_seconds for one in results if isinstance(one, Rendered)), 0.0)
    # Only the first frame is decoded before the first variant.
    return Decoding(seconds * original.frames or None, failure_of(results))


def supersede_outdated(tx: Tx, pack_ids: Collection[str], *, limit: Size) -> None:
    """Mark variants of packs as superseded in the ledger if their URLs no longer yield them, and unmark the others.

    Variants of a pending change count as current too.
    """
    snapshots, change = read_snapshots(tx, pack_ids), read_change(tx)
    ledger.supersede(
        tx, {pack_id: current_variants(snapshot, change, limit=limit) for pack_id, snapshot in snapshots.items()}
    )


def _reclaim(site: Site, key: Key, *, planned: bool) -> None:
    """End the collection of a variant that is rendered again: delete its object, keep its row.

    The row stays locked, so that the collector cannot delete the new object.
    """
    columns = ledger.place_of(key)
    with site.catalog.write(key.tenant) as tx:
        if collection.lock_collecting(tx, columns, wait=True):
            site.variants.delete(str(key))
            collection.reset_variant(tx, columns, planned=planned)
            return
        # The collector has removed the row, or another process has reset it.
        ledger.announce(tx, [key], planned=planned)


def find_variant(site: Site, key: str) -> Stored | None:
    """Return the stored variant; None if there is none, or it was damaged and has been removed."""
    try:
        return site.variants.head(key)
    except DamagedObject as error:
        drop_damaged(site, key, error)
        return None


def open_variant(site: Site, key: str) -> Opened | None:
    """Open the stored variant; None if there is none, or it was damaged and has been removed."""
    try:
        return site.variants.open(key)
    except NoSuchObject:
        return None
    except DamagedObject as error:
        drop_damaged(site, key, error)
        return None


def drop_damaged(site: Site, key: str, error: DamagedObject) -> None:
    """Remove a damaged variant from its store; the next request renders it again."""
    faults.record(log, error, "the object %s is damaged and will be rendered again", key)
    site.variants.delete(key)


def _put(site: Site, target: Target, result: Rendered | PackshotError) -> StoredVariant | FailedVariant:
    if isinstance(result, PackshotError):
        return FailedVariant(target.key, result)
    key = str(target.key)
    try:
        stored = site.variants.put(key, result.data, metadata_of(target))
    except AlreadyThere:
        found = find_variant(site, key)
        if found is None:
            # Deleted in between, or damaged: an outage, which is retried.
            raise OSError(f"The object {key} disappeared while it was being stored.") from None
        stored = found
    except OSError as error:
        raise NotStored(error, result) from error
    return StoredVariant(target.key, stored.size, stored.sha256)
