"""How a change of configuration goes live: refused with its plan, at once, or prepared beside what is live."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

from packshot.catalog.configuration import locations, pending_changes, tenants
from packshot.catalog.configuration.pending_changes import PendingChange
from packshot.catalog.database.transaction import Tx, next_sequence
from packshot.catalog.packs.activation import activate
from packshot.catalog.work import job_control, job_items, jobs
from packshot.catalog.work.jobs import Job, JobKind, JobState
from packshot.catalog.work.orders import Priority
from packshot.errors import ForceRequired, PlanStale
from packshot.model import Location, Tenant
from packshot.variants.change import FORCED, LABEL_ONLY, Change, touched_locations
from pregen.refreshing.enqueue import count_variants
from resolvers.caller import Caller
from resolvers.changing.plan_ids import check_plan
from resolvers.changing.plans import LocationPlan, plan_change
from resolvers.orders import single_pack_id


class Activation(StrEnum):
    """When a change of what packs show goes live."""

    WHEN_READY = "when_ready"
    IMMEDIATE = "immediate"


@dataclass(frozen=True, slots=True)
class Consent:
    """What the caller says to a change of what packs show.

    Attributes:
        plan_id: the plan that was looked at; None: none was.
    """

    force: bool = False
    plan_id: str | None = None
    activation: Activation = Activation.WHEN_READY


def foresee(caller: Caller, tx: Tx, change: Change, location: str | None) -> LocationPlan | None:
    """Return what a change costs, in a transaction that only reads; None: it alters no picture.

    A plan may take a second, and an edit must not wait for it: `apply` takes it
    over unless the configuration has changed since.
    """
    return _plan(caller, tx, pending_changes.with_pending(tx, change, location), location) if _alters(change) else None


def apply(
    caller: Caller,
    tx: Tx,
    change: Change,
    foreseen: LocationPlan | None,
    *,
    location: str | None,
    consent: Consent,
    cause: str,
) -> tuple[Job | None, LocationPlan | None]:
    """Make a change live, or begin to prepare it; return the job that renders it, and its plan where it had one.

    The caller holds the configuration.

    Args:
        foreseen: what `foresee` gave.
        location: whose change it is; None: the tenant's.
        cause: what asked for it, for the purges.

    Raises:
        ForceRequired: it alters pictures that are shown, and `consent` does not say force.
        PlanStale: the plan was for something else.
        BadState: another change is being prepared.
    """
    check_seen(caller, tx, change, location, consent)
    if not _alters(change):
        _settle_in_candidate(tx, change)
        return _make_live(caller, tx, change, location, cause), None
    whole, plan = pending_changes.with_pending(tx, change, location), foreseen
    if plan is None or not _still_holds(caller, tx, plan, whole):
        plan = _plan(caller, tx, whole, location)
    if plan.requires_force and not consent.force:
        raise ForceRequired(
            "This change alters pictures that are shown.", field=("force",), expected="true", got="false", plan=plan
        )
    pending_change = pending_changes.read_pending_change(tx)
    is_newer = pending_change is not None and pending_changes.concerns(pending_change, location)
    if not plan.requires_force and not is_newer:
        _settle_in_candidate(tx, change)
        return _make_live(caller, tx, change, location, cause), plan
    if pending_change is not None:
        _supersede(tx, pending_change, location)
        change = _still_different(tx, whole)
        if not (change.tenant or change.locations):
            return None, plan
    if consent.activation is Activation.IMMEDIATE:
        return _make_live(caller, tx, change, location, cause), plan
    return _prepare(caller, tx, change, location), plan


def check_seen(caller: Caller, tx: Tx, change: Change, location: str | None, consent: Consent) -> None:
    """Raise `PlanStale` if a plan was looked at that is not the one of this change upon what holds now."""
    if consent.plan_id is None:
        return
    name = tenants.get_tenant(tx).name if location is None else location
    check_plan(caller.site, tx, consent.plan_id, name, pending_changes.with_pending(tx, change, location))


def _make_live(caller: Caller, tx: Tx, change: Change, location: str | None, cause: str) -> Job | None:
    scope = touched_locations(locations.get_locations(tx), change)
    activate(tx, change, by=caller.subject, cause=cause)
    if not change.tenant and all(fields.keys() <= LABEL_ONLY for fields in change.locations.values()):
        return None
    # What they have left is to be drawn by what is live now, by the new job.
    for older in jobs.running_changes(tx, location):
        if scope is None or (older.scope is not None and set(older.scope) <= set(scope)):
            next_sequence(tx)
            job_control.end_open_job(tx, older.id, JobState.SUPERSEDED)
    return begin_job(caller, tx, location, scope, activated=True)


def begin_job(caller: Caller, tx: Tx, location: str | None, scope: Sequence[str] | None, *, activated: bool) -> Job:
    """Begin the job that renders a change of configuration, of all packs.

    Args:
        location: whose change it is; None: the tenant's.
        scope: the locations whose pictures it may change; None: all.
        activated: whether it is live already.
    """
    return jobs.create_job(
        tx,
        JobKind.LOCATION_CHANGE,
        Priority.BULK,
        location=location,
        scope=scope,
        whole_tenant=True,
        activated=activated,
        by=caller.subject,
    )


def _prepare(caller: Caller, tx: Tx, change: Change, location: str | None) -> Job:
    scope = touched_locations(locations.get_locations(tx), change)
    job = begin_job(caller, tx, location, scope, activated=False)
    pending_changes.begin_pending_change(tx, job.id, change, location=location, by=caller.subject)
    return job


def refresh(caller: Caller, tx: Tx, change: Change, *, priority: Priority, location: str | None) -> Job:
    """Begin to render what is there anew, beside what is live; the caller holds the configuration.

    Raises:
        BadState: another change is being prepared.
    """
    pending_changes.check_none_pending(tx)
    pack_ids = sorted(change.refreshed_packs)
    known = locations.get_locations(tx)
    job = jobs.create_job(
        tx,
        JobKind.REGENERATE,
        priority,
        location=location,
        pack_id=single_pack_id(pack_ids),
        scope=touched_locations(known, change),
        whole_tenant=not pack_ids,
        by=caller.subject,
    )
    pending_changes.begin_pending_change(tx, job.id, change, location=None, by=caller.subject)
    if pack_ids:
        totals, stored = count_variants(tx, job, pack_ids, limit=caller.site.limit)
        job_items.enqueue_packs(tx, job, totals, stored=stored, job_only=True)
    return jobs.get_job(tx, job.id)


def _alters(change: Change) -> bool:
    return bool(change.tenant) or any(FORCED & fields.keys() for fields in change.locations.values())


def _plan(caller: Caller, tx: Tx, change: Change, location: str | None) -> LocationPlan:
    if location is None:
        tenant = tenants.get_tenant(tx)
        return plan_change(caller.site, tx, change, name=tenant.name, base_version=tenant.version)
    base = locations.get_locations(tx)[location]
    return plan_change(caller.site, tx, change, name=location, base_version=base.version)


def _still_holds(caller: Caller, tx: Tx, plan: LocationPlan, change: Change) -> bool:
    try:
        check_plan(caller.site, tx, plan.id, plan.name, change)
    except PlanStale:
        return False
    return True


def _supersede(tx: Tx, pending_change: PendingChange, location: str | None) -> None:
    """Make room for a newer change of the same thing."""
    if not pending_changes.concerns(pending_change, location):
        raise pending_changes.already_pending(pending_change)
    # As whoever ends a job does it: the packs that it waits for are let go in one piece.
    next_sequence(tx)
    job_control.end_open_job(tx, pending_change.job_id, JobState.SUPERSEDED)


def _still_different(tx: Tx, change: Change) -> Change:
    known, tenant = locations.get_locations(tx), tenants.get_tenant(tx)
    fields = {name: _differing(known[name], wanted) for name, wanted in change.locations.items()}
    return Change(
        tenant=_differing(tenant, change.tenant), locations={name: kept for name, kept in fields.items() if kept}
    )


def _differing(held: Location | Tenant, wanted: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in wanted.items() if getattr(held, name) != value}


def _settle_in_candidate(tx: Tx, change: Change) -> None:
    """Let what is set at once stay set when a candidate of the same location goes live."""
    pending_change = pending_changes.read_pending_change(tx)
    if pending_change is None:
        return
    left = {
        name: {field: value for field, value in fields.items() if field not in change.locations.get(name, {})}
        for name, fields in pending_change.change.locations.items()
    }
    pending_changes.update_pending_change(tx, change=replace(pending_change.change, locations=left))
