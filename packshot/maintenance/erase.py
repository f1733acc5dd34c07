"""Erase a pack: put its tombstone, then delete all its bytes in two passes.

The tombstone is an object outside the database. A restored database that is older than the erasure learns of it
again.
"""

import json
import logging
import math
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from itertools import groupby

from packshot import faults
from packshot.catalog.configuration import deletions
from packshot.catalog.configuration.tenants import list_tenants
from packshot.catalog.database.transaction import Tx, hold_configuration
from packshot.catalog.packs import packs
from packshot.catalog.purging import purges
from packshot.catalog.variants import collection, tombstones
from packshot.catalog.variants.tombstones import Tombstone
from packshot.catalog.work import erasures, job_items, jobs
from packshot.catalog.work.erasures import ErasureClaim
from packshot.catalog.work.jobs import Counts, Job, JobKind
from packshot.catalog.work.orders import LEASE_TIME, Priority
from packshot.errors import Invalid, NotFound
from packshot.ids import IdKind, global_id
from packshot.maintenance.retrying import is_outage
from packshot.settings.settings import Settings
from packshot.site import Site, original_key
from packshot.storage.base import AlreadyThere, DamagedObject, Metadata, NoSuchObject
from packshot.storage.write_check import is_check

log = logging.getLogger(__name__)

MAX_REASON_CHARACTERS = 500
# The longest time that a put can take: the patience of the store, and a margin.
PUT_TIME = timedelta(seconds=60)
# A younger tombstone may belong to a mutation whose transaction is still open.
SETTLED = timedelta(seconds=60)
_METADATA = Metadata("application/json", "no-store", ())


@dataclass(frozen=True, slots=True)
class ErasureResult:
    """The result of one pass.

    Attributes:
        shared: originals that were kept because other packs use them, each with some of these packs.
    """

    variants: int
    originals: int
    shared: dict[str, list[str]]


def set_tombstone(site: Site, tenant: str, pack_id: str, *, reason: str, by: str) -> tuple[Tombstone, list[str]]:
    """Put a pack's tombstone; return it, and the originals that are erased with the pack.

    From now on the pack counts as erased. If the process dies before `order_erasure`, `replay_tombstones` continues
    within an hour.

    Raises:
        Invalid: the reason is empty or too long.
        NotFound: the tenant has no such pack, and no remains of one.
    """
    if not 1 <= len(reason.strip()) <= MAX_REASON_CHARACTERS:
        raise Invalid(
            "An erasure requires a reason.",
            field=("reason",),
            expected=f"1 to {MAX_REASON_CHARACTERS} characters",
            got=f"{len(reason.strip())} characters",
        )
    with site.catalog.read(tenant) as tx:
        if not erasures.is_known(tx, pack_id):
            raise NotFound("There is no such pack.", field=("id",), expected="a pack of this tenant", got=pack_id)
        originals = erasures.find_originals(tx, pack_id)
    tombstone = Tombstone(tenant, pack_id, reason.strip(), by, datetime.now(UTC))
    text = json.dumps({**asdict(tombstone), "erased_at": tombstone.erased_at.isoformat(), "originals": originals})
    try:
        site.tombstones.put(f"{tenant}/{pack_id}", text.encode(), _METADATA)
    except AlreadyThere:
        log.info("pack %s of %s has a tombstone already", pack_id, tenant)
    return tombstone, originals


def order_erasure(tx: Tx, tombstone: Tombstone, originals: list[str]) -> Job:
    """Delete a pack from the catalog and order the erasure of its bytes; return the job."""
    pack_id = tombstone.pack_id
    originals = sorted({*originals, *erasures.find_originals(tx, pack_id)})
    if packs.exists(tx, pack_id):
        packs.delete_pack(tx, pack_id, cause=f"erasePack by {tombstone.erased_by}", erased=True)
    else:
        deletions.note_erased_pack(tx, pack_id)
    tombstones.set_tombstone(tx, tombstone)
    purges.order_erasing_purge(tx, pack_id, cause=f"erasePack by {tombstone.erased_by}")
    job = jobs.create_job(tx, JobKind.ERASE, Priority.INTERACTIVE, pack_id=pack_id, by=tombstone.erased_by)
    erasures.order_erasure(tx, pack_id, job, originals)
    log.info(
        "erasing pack %s of %s for %s; reason: %s", pack_id, tombstone.tenant, tombstone.erased_by, tombstone.reason
    )
    return job


def erase(site: Site, claim: ErasureClaim) -> None:
    """Erase everything that is stored of a pack, and record it; harmless to repeat."""
    with site.catalog.write(claim.tenant) as tx:
        job_items.mark_running(tx, claim.job_id)
    erased = _erase_bytes(site, claim)
    last = claim.passes > 0
    with site.catalog.write(claim.tenant) as tx:
        erasures.delete_variants(tx, claim.pack_id)
        erasures.delete_pack_originals(tx, claim.pack_id)
        done = erased.variants + erased.originals
        # Counted once, by the last pass.
        kept = len(erased.shared) if last else 0
        counts = Counts(total=done + kept, done=done, skipped=kept)
        if not erasures.end_pass(tx, claim, counts, again_after=None if last else settling_time(site.settings)):
            return
        # A cache may have requested an object between the previous purge and its deletion.
        cause = f"{global_id(IdKind.JOB, claim.job_id)}, pass {claim.passes + 1}"
        purges.order_erasing_purge(tx, claim.pack_id, cause=cause)
    for sha256, users_of_original in erased.shared.items():
        log.warning(
            "kept original %s of erased pack %s: packs %s show it too",
            sha256,
            claim.pack_id,
            ", ".join(users_of_original),
        )
    log.info(
        "erased pack %s of %s, pass %d: %d variants, %d originals; %d originals kept",
        claim.pack_id,
        claim.tenant,
        claim.passes + 1,
        erased.variants,
        erased.originals,
        len(erased.shared),
    )


def _erase_bytes(site: Site, claim: ErasureClaim) -> ErasureResult:
    variants = site.variants.erase(f"{claim.tenant}/{claim.pack_id}/")
    with site.catalog.read(claim.tenant) as tx:
        upload_ids = erasures.find_uploads(tx, claim.originals)
    for upload_id in upload_ids:
        site.uploads.erase(f"{claim.tenant}/{upload_id}")
    originals, shared = 0, {}
    for sha256 in claim.originals:
        key = original_key(claim.tenant, sha256)
        # Ask the store before the row is locked: a store that is down must not block writers.
        with suppress(DamagedObject):
            site.originals.head(key)
        with site.catalog.write(claim.tenant) as tx:
            # A request that is about to use the original waits for these locks, and then finds that it is gone.
            hold_configuration(tx)
            collection.lock_original(tx, sha256)
            users_of_original = collection.list_packs_showing(tx, sha256, limit=5)
            if users_of_original:
                shared[sha256] = users_of_original
                continue
            originals += site.originals.erase(key)
            collection.delete_original(tx, sha256)
    return ErasureResult(variants, originals, shared)


def settling_time(settings: Settings) -> timedelta:
    """Return the time after a tombstone until which a worker that lost its lease may still put a variant."""
    # An animation may take the time limit once for every 20 megapixels.
    longest = settings.render_timeout_seconds * math.ceil(settings.max_frames_pixels / 20_000_000)
    return LEASE_TIME + timedelta(seconds=longest or 600) + PUT_TIME


def replay_tombstones(site: Site) -> int:
    """Order the erasure of every pack whose tombstone the database does not know; return how many there were.

    This happens after a restore from a backup, or if a process died after it put the tombstone.
    """
    ordered = 0
    found = (key for key in site.tombstones.list("") if not is_check(key))
    for tenant, keys in groupby(found, key=lambda key: key.partition("/")[0]):
        with site.catalog.read(tenant) as tx:
            known = tenant in list_tenants(tx)
        if not known:
            log.warning("there are tombstones of the tenant %s, which the database does not know", tenant)
            continue
        for pack_ids in _portions(key.partition("/")[2] for key in keys):
            with site.catalog.read(tenant) as tx:
                settled = tombstones.find_erased(tx, pack_ids)
                existing = {pack_id for pack_id in settled if packs.exists(tx, pack_id)}
                now = tx.now
            for pack_id in pack_ids:
                if pack_id in settled - existing:
                    continue
                try:
                    ordered += _replay(site, tenant, pack_id, now)
                except Exception as error:
                    if is_outage(error):
                        raise
                    # The other packs are still erased.
                    faults.record(log, error, "the tombstone of pack %s of %s could not be replayed", pack_id, tenant)
    return ordered


def _replay(site: Site, tenant: str, pack_id: str, now: datetime) -> bool:
    try:
        body, stored = site.tombstones.get(f"{tenant}/{pack_id}")
    except NoSuchObject:
        return False
    except DamagedObject:
        # A tombstone means that the pack was erased, even if its content is unreadable.
        return _order_again(site, Tombstone(tenant, pack_id, "its tombstone is damaged", "unknown", now), [])
    # The absolute difference: the clock of the machine that put it may differ, and clocks can be set back.
    if abs(now - stored.modified_at) < SETTLED:
        return False
    try:
        text = json.loads(body)
        reason, by, originals = str(text["reason"]), str(text["erased_by"]), list(map(str, text["originals"]))
    except (ValueError, KeyError, TypeError):
        reason, by, originals = "its tombstone cannot be read", "unknown", []
    return _order_again(site, Tombstone(tenant, pack_id, reason, by, stored.modified_at), originals)


def _order_again(site: Site, tombstone: Tombstone, originals: list[str]) -> bool:
    where = tombstone.pack_id, tombstone.tenant
    log.warning("pack %s of %s has a tombstone that the database does not know; erasing it again", *where)
    with site.catalog.write(tombstone.tenant) as tx:
        order_erasure(tx, tombstone, originals)
    return True


def _portions(items: Iterator[str], size: int = 500) -> Iterator[list[str]]:
    portion: list[str] = []
    for item in items:
        portion.append(item)
        if len(portion) == size:
            yield portion
            portion = []
    if portion:
        yield portion
