"""Act on a decided change of configuration: create a location, make the change live, or begin to prepare it."""

from collections.abc import Sequence

from packshot.catalog.configuration import locations, pending_changes
from packshot.catalog.database.transaction import Tx, next_sequence
from packshot.catalog.packs.activation import activate
from packshot.catalog.work import job_control, job_items, jobs
from packshot.catalog.work.jobs import Job, JobKind, JobState
from packshot.catalog.work.orders import Priority
from packshot.model import TEXT_FIELDS
from packshot.site import Site
from packshot.variants.change import Change, touched_locations
from packshot.variants.change_plan import ChangePlan
from pregen.refreshing.enqueue import count_variants
from resolvers.caller import Caller
from resolvers.changing.configuration import Configuration
from resolvers.changing.decision import Action, Consent, Decision, decide, needs_plan
from resolvers.changing.plan_ids import basis_of, read_plan_id
from resolvers.changing.plans import plan_change
from resolvers.orders import single_pack_id


def plan_if_needed(
    site: Site,
    tx: Tx,
    configuration: Configuration,
    change: Change,
    location: str | None,
    plan: ChangePlan | None = None,
) -> ChangePlan | None:
    """Return what a change costs; None if it alters no image that exists.

    Planning may take a second. So callers plan first in a transaction that only reads, and again while they hold the
    configuration, with the first plan: it is returned unless the configuration has changed in between.

    Args:
        location: the location that is changed; None: the tenant's defaults.
        plan: a plan of this change that was made before.
    """
    if not needs_plan(configuration, change, location):
        return None
    if plan is not None and plan.basis == basis_of(configuration, change, location):
        return plan
    return plan_change(site, tx, configuration, change, location)


def apply(
    caller: Caller,
    tx: Tx,
    configuration: Configuration,
    change: Change,
    plan: ChangePlan | None,
    *,
    location: str | None,
    consent: Consent,
    cause: str,
) -> tuple[Job | None, ChangePlan | None]:
    """Decide what is done about a change, do it, and return its job and its plan, if it has them.

    The caller holds the configuration.

    Args:
        configuration: read in this transaction.
        change: the fields that differ from the configuration with its pending change.
        plan: the result of `plan_if_needed` before this transaction.
        location: the location that is changed; None: the tenant's defaults.
        cause: the mutation and its caller, for the purges.

    Raises:
        PlanStale, ForceRequired, BadState: see `resolvers.changing.decision.decide`.
    """
    seen = None if consent.plan_id is None else read_plan_id(caller.site, tx, consent.plan_id)
    plan = plan_if_needed(caller.site, tx, configuration, change, location, plan)
    decision = decide(configuration, change, location=location, consent=consent, plan=plan, seen=seen)
    return _act(caller, tx, configuration, decision, location, cause), decision.plan


def _act(
    caller: Caller, tx: Tx, configuration: Configuration, decision: Decision, location: str | None, cause: str
) -> Job | None:
    change = decision.change
    if decision.superseded is not None:
        # The sequence is drawn before a job ends, so that all packs that wait for the job are released together.
        next_sequence(tx)
        job_control.end_open_job(tx, decision.superseded.job_id, JobState.SUPERSEDED)
    if decision.amended is not None:
        pending_changes.update_pending_change(tx, change=decision.amended)
    if decision.action is Action.NOTHING:
        return None if decision.job_id is None else jobs.get_job(tx, decision.job_id)
    if decision.action is Action.CREATE:
        assert location is not None
        locations.create_location(tx, location, change.locations[location], by=caller.subject)
        return begin_job(caller, tx, location, [location], activated=True)
    scope = touched_locations(configuration.locations, change)
    if decision.action is Action.ACTIVATE:
        return _activate(caller, tx, change, location, scope, cause)
    job = begin_job(caller, tx, location, scope, activated=False)
    pending_changes.begin_pending_change(tx, job.id, change, location=location, by=caller.subject)
    return job


def _activate(
    caller: Caller, tx: Tx, change: Change, location: str | None, scope: Sequence[str] | None, cause: str
) -> Job | None:
    activate(tx, change, by=caller.subject, cause=cause)
    if not change.tenant and all(fields.keys() <= TEXT_FIELDS for fields in change.locations.values()):
        return None
    # The new job also renders what is left of older jobs whose scope it covers.
    for older in jobs.running_changes(tx, location):
        if scope is None or (older.scope is not None and set(older.scope) <= set(scope)):
            next_sequence(tx)
            job_control.end_open_job(tx, older.id, JobState.SUPERSEDED)
    return begin_job(caller, tx, location, scope, activated=True)


def begin_job(caller: Caller, tx: Tx, location: str | None, scope: Sequence[str] | None, *, activated: bool) -> Job:
    """Create the job that renders a change of configuration for all packs.

    Args:
        location: the location that is changed; None: the tenant's defaults.
        scope: the locations whose images may change; None: all.
        activated: whether the change is live already.
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


def refresh(caller: Caller, tx: Tx, change: Change, *, priority: Priority, location: str | None) -> Job:
    """Begin to render existing images again under new keys, beside the live ones.

    The caller holds the configuration.

    Raises:
        BadState: another change is being prepared.
    """
    pending_changes.check_none_pending(tx)
    pack_ids = sorted(change.refreshed_packs)
    job = jobs.create_job(
        tx,
        JobKind.REGENERATE,
        priority,
        location=location,
        pack_id=single_pack_id(pack_ids),
        scope=touched_locations(locations.get_locations(tx), change),
        whole_tenant=not pack_ids,
        by=caller.subject,
    )
    pending_changes.begin_pending_change(tx, job.id, change, location=None, by=caller.subject)
    if pack_ids:
        totals, stored = count_variants(tx, job, pack_ids, limit=caller.site.limit)
        job_items.enqueue_packs(tx, job, totals, stored=stored, job_only=True)
    return jobs.get_job(tx, job.id)
