"""Purges that users request: of CDN copies, or by rendering variants again that are older than a date."""

from collections.abc import Sequence
from datetime import datetime

from packshot.catalog.configuration.snapshots import read_snapshots
from packshot.catalog.database.pages import Page
from packshot.catalog.database.transaction import Tx, hold_configuration
from packshot.catalog.packs import packs
from packshot.catalog.purging import purges
from packshot.catalog.purging.purges import Purge
from packshot.catalog.variants import ledger, render_age
from packshot.catalog.variants.ledger import VariantState
from packshot.catalog.work import jobs
from packshot.catalog.work.jobs import Job, JobKind
from packshot.catalog.work.orders import Priority
from packshot.errors import Invalid, Limit
from packshot.variants.change import Change
from packshot.variants.key import pack_of
from packshot.variants.resolve import planned_all
from packshot.variants.tags import erase_tag, location_tag, pack_tag, tenant_tag
from resolvers.caller import Answer, Caller
from resolvers.caller import Scope as TokenScope
from resolvers.changing import changes
from resolvers.jobs import check_pack_ids, read_existing_packs
from resolvers.orders import single_pack_id

# Packs of one job. They are activated together, and until then no other change of configuration can begin.
MAX_PACKS, DEFAULT_PACKS = 1000, 100


def list_purges(caller: Caller, *, first: int, after: str | None, total: bool = True) -> Page[Purge]:
    """Return a page of the tenant's purges, newest first."""
    with caller.site.catalog.read(caller.tenant) as tx:
        return purges.list_purges(tx, first=first, after=after, total=total)


def get_purges(caller: Caller, ids: Sequence[str]) -> dict[str, Purge]:
    """Return those of the tenant's purges that exist, by id."""
    with caller.site.catalog.read(caller.tenant) as tx:
        return purges.get_purges(tx, ids)


def purge(caller: Caller, *, pack_ids: Sequence[str] | None, location: str | None) -> Job:
    """Order the purge of copies: of these packs, or of the stable URLs of one location, or of the whole tenant.

    A purge of a location or tenant leaves immutable URLs alone, because their copies never become stale.

    Raises:
        Limit: no pack, or more than 100.
        NotFound: one of them is no pack of this tenant, or there is no such location; nothing is ordered.
    """
    with caller.write() as tx:
        tenant = tx.tenant
        if pack_ids is not None:
            checked = check_pack_ids(pack_ids)
            read_existing_packs(tx, checked)
            tags = [make(tenant, pack_id) for pack_id in checked for make in (pack_tag, erase_tag)]
            scope, total_items = f"pack {checked[0]}" if len(checked) == 1 else f"{len(checked)} packs", len(checked)
        elif location is not None:
            packs.check_location(tx, location, "scope", "location")
            scope, total_items, tags = f"location {location}", 1, [location_tag(tenant, location)]
        else:
            scope, total_items, tags = "tenant", 1, [tenant_tag(tenant)]
        job = jobs.create_job(
            tx,
            JobKind.PURGE,
            Priority.INTERACTIVE,
            location=location,
            pack_id=single_pack_id(pack_ids or ()),
            total=total_items,
            by=caller.subject,
        )
        purges.order_purge(tx, scope=scope, cause=f"purge by {caller.subject}", tags=tags, job_id=job.id)
        caller.record(tx, Answer(job=job))
    return job


def refresh_older_than(
    caller: Caller, before: datetime, *, limit: int, pack_ids: Sequence[str] | None, location: str | None
) -> Job | None:
    """Render variants again that are older than a date, of up to `limit` packs, the oldest first; None: there are none.

    All variants of these packs are rendered under new keys and activated together. Then their copies are purged.

    Args:
        pack_ids: only of these packs; None: of all packs.
        location: only of packs whose variants at this location are that old.

    Raises:
        Forbidden: the token may not order jobs.
        Invalid: the date is in the future.
        Limit: more than 1,000 packs, or none.
        NotFound: one of them is no pack of this tenant, or there is no such location.
        BadState: another change is pending.
    """
    caller.check(TokenScope.JOBS_WRITE)
    if not 1 <= limit <= MAX_PACKS:
        raise Limit(
            "Too many packs, or none.",
            field=("limit",),
            expected=f"1 to {MAX_PACKS}; then the next ones",
            got=limit,
        )
    with caller.site.catalog.read(caller.tenant) as tx:
        if before > tx.now:
            # Otherwise the new variants would be older than the date as well.
            raise Invalid("This date is in the future.", field=("rendered_before",), expected="a date in the past")
        checked = None if pack_ids is None else check_pack_ids(pack_ids)
        if checked is not None:
            read_existing_packs(tx, checked)
        if location is not None:
            packs.check_location(tx, location, "scope", "location")
        chosen = _choose(caller, tx, before, limit, checked, location)
    with caller.write() as tx:
        hold_configuration(tx)
        snapshots = read_snapshots(tx, chosen)
        if not snapshots:
            return None
        change = Change(refreshed_packs=frozenset(snapshots))
        job = changes.refresh(caller, tx, change, priority=Priority.BULK, location=None)
        caller.record(tx, Answer(job=job))
    caller.doorbell.wake()
    return job


def _choose(
    caller: Caller, tx: Tx, before: datetime, limit: int, pack_ids: Sequence[str] | None, location: str | None
) -> list[str]:
    chosen: list[str] = []
    for portion in render_age.iterate_oldest(
        tx, before, pack_ids=pack_ids, location=location, portion=max(limit, DEFAULT_PACKS)
    ):
        old = _find_old(caller, tx, before, portion, location)
        for pack_id in portion:
            if pack_id in old:
                chosen.append(pack_id)
                if len(chosen) == limit:
                    return chosen
    return chosen


def _find_old(caller: Caller, tx: Tx, before: datetime, pack_ids: Sequence[str], location: str | None) -> set[str]:
    """Return the packs with a current variant that was rendered before a moment."""
    # Replaced variants may not be marked as superseded yet, so the current keys are computed.
    planned, shown = [], []
    for pack_id, snapshot in read_snapshots(tx, pack_ids).items():
        targets = planned_all(snapshot, location, limit=caller.site.limit)
        planned += [target.key for target in targets]
        shown += list(dict.fromkeys((pack_id, target.key.location, target.key.fingerprint) for target in targets))
    old = {pack_id for pack_id, _, _ in ledger.find_rendered_before(tx, shown, before)}
    for entry in ledger.read_entries(tx, planned).values():
        if entry.state is VariantState.READY and entry.rendered_at is not None and entry.rendered_at < before:
            old.add(pack_of(entry.key))
    return old
