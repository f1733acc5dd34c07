"""Decide what is done about a change of configuration. Pure: every value was read before."""

from dataclasses import dataclass, replace
from enum import StrEnum

from packshot.catalog.configuration.pending_changes import PendingChange, already_pending
from packshot.model import IMAGE_FIELDS
from packshot.variants.change import Change
from packshot.variants.change_plan import ChangePlan, ForceRequired, PlanBasis
from resolvers.changing.configuration import Configuration
from resolvers.changing.plan_ids import basis_of, check_basis


class Activation(StrEnum):
    """When a change that alters shown images goes live."""

    WHEN_READY = "when_ready"
    IMMEDIATE = "immediate"


@dataclass(frozen=True, slots=True)
class Consent:
    """What the caller agrees to.

    Attributes:
        force: images that packs show may change.
        plan_id: the plan that the caller has seen; None: none.
        activation: when such a change goes live.
    """

    force: bool = False
    plan_id: str | None = None
    activation: Activation = Activation.WHEN_READY


class Action(StrEnum):
    """What is done about a change."""

    NOTHING = "nothing"
    CREATE = "create"
    ACTIVATE = "activate"
    PREPARE = "prepare"


@dataclass(frozen=True, slots=True)
class Decision:
    """What is done about a change.

    Attributes:
        change: what is created, activated or prepared.
        plan: what the change costs; None: it alters no image that exists.
        superseded: the pending change that ends first, because the change takes its place.
        amended: the pending change without the fields that are set now, so that they keep their values when it goes
            live; None: it stays as it is.
        job_id: the job that prepares the requested change already.
    """

    action: Action
    change: Change
    plan: ChangePlan | None = None
    superseded: PendingChange | None = None
    amended: Change | None = None
    job_id: str | None = None


def needs_plan(configuration: Configuration, change: Change, location: str | None) -> bool:
    """Whether a change can alter existing images. Then its plan decides."""
    if location is not None and location not in configuration.locations:
        return False
    return bool(change.tenant) or any(IMAGE_FIELDS & fields.keys() for fields in change.locations.values())


def decide(
    configuration: Configuration,
    change: Change,
    *,
    location: str | None,
    consent: Consent,
    plan: ChangePlan | None,
    seen: PlanBasis | None,
) -> Decision:
    """Return what is done about a change.

    Args:
        change: the fields that differ from the configuration with its pending change.
        location: the location that is changed; None: the tenant's defaults.
        plan: the current plan of the change; None if it needs none (see `needs_plan`).
        seen: what the plan of `consent` was made for.

    Raises:
        PlanStale: the caller has seen the plan of another change, or of an earlier configuration.
        ForceRequired: the change alters images that packs show, and `consent` does not include force.
        BadState: another change is being prepared.
    """
    if seen is not None:
        name = configuration.tenant.name if location is None else location
        check_basis(seen, basis_of(configuration, change, location), name)
    pending_change = configuration.pending_change_of(location)
    if location is not None and location not in configuration.locations:
        return Decision(Action.CREATE, change)
    if _is_empty(change):
        return Decision(Action.NOTHING, change, job_id=None if pending_change is None else pending_change.job_id)
    if plan is None:
        return Decision(Action.ACTIVATE, change, amended=_amended(pending_change, change))
    if plan.requires_force and not consent.force:
        raise ForceRequired(
            "This change alters images that packs show.", field=("force",), expected="true", got="false", plan=plan
        )
    if not plan.requires_force and pending_change is None:
        return Decision(Action.ACTIVATE, change, plan)
    if pending_change is None and configuration.pending_change is not None:
        raise already_pending(configuration.pending_change)
    resulting = configuration.resulting_change(change, location)
    if _is_empty(resulting):
        action = Action.NOTHING
    elif consent.activation is Activation.IMMEDIATE:
        action = Action.ACTIVATE
    else:
        action = Action.PREPARE
    return Decision(action, resulting, plan, superseded=pending_change)


def _is_empty(change: Change) -> bool:
    return not change.tenant and not any(change.locations.values())


def _amended(pending_change: PendingChange | None, change: Change) -> Change | None:
    if pending_change is None:
        return None
    locations = {
        name: {field: value for field, value in fields.items() if field not in change.locations.get(name, {})}
        for name, fields in pending_change.change.locations.items()
    }
    return replace(pending_change.change, locations=locations)
