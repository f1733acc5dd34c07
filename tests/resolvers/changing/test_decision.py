"""What is done about a change of configuration follows from values alone."""

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from packshot.catalog.configuration.pending_changes import PendingChange
from packshot.errors import BadState, PlanStale
from packshot.geometry import Gravity
from packshot.model import FormatPolicy, Location, Rendition, Tenant
from packshot.variants.change import Change
from packshot.variants.change_plan import ChangePlan, ForceRequired
from resolvers.changing.configuration import Configuration
from resolvers.changing.decision import Action, Activation, Consent, Decision, decide, needs_plan
from resolvers.changing.plan_ids import basis_of

NOW = datetime(2026, 12, 1, tzinfo=UTC)
NONE, FORCE = Consent(), Consent(force=True)
AT_ONCE = Consent(force=True, activation=Activation.IMMEDIATE)
SIZES = (Rendition(20, None),)
TENANT = Tenant("acme", 1, Gravity.CENTER, False, FormatPolicy.ORIGINAL)


def location(name: str, width: int | None) -> Location:
    return Location(name=name, width=width, version=1, revision=0, added_at=NOW, updated_at=NOW)


def configuration(**pending: Any) -> Configuration:
    """Return `main` and `thumb`, with a pending change of these fields of `thumb` if there are any."""
    known = {"main": location("main", None), "thumb": location("thumb", 40)}
    return Configuration(TENANT, known, pending_change(Change(locations={"thumb": pending})) if pending else None)


def pending_change(change: Change, location: str | None = "thumb") -> PendingChange:
    return PendingChange("job1", location, change, accepts_failures=False, created_by="editor", prepared_at=None)


def plan_of(known: Configuration, change: Change, location: str | None, requires_force: bool) -> ChangePlan:
    return ChangePlan(
        id="plan:…",
        name=location or known.tenant.name,
        base_version=1,
        requires_force=requires_force,
        changes=(),
        packs=0,
        render=0,
        reuse=0,
        upscaled=0,
        cpu_seconds=0.0,
        wall_seconds=0.0,
        bytes=0,
        purge_requests=0,
        expires_at=NOW,
        basis=basis_of(known, change, location),
        change=known.resulting_change(change, location),
        sample_places=(),
    )


def decided(
    known: Configuration,
    change: Change,
    consent: Consent = NONE,
    *,
    at: str | None = "thumb",
    shown: bool = True,
    seen: Change | None = None,
) -> Decision:
    """Decide a change.

    Args:
        shown: whether packs show images at the location, so that its plan requires force.
        seen: the change whose plan the caller has seen.
    """
    plan = plan_of(known, change, at, shown) if needs_plan(known, change, at) else None
    basis = None if seen is None else basis_of(known, seen, at)
    return decide(known, change, location=at, consent=consent, plan=plan, seen=basis)


def of_thumb(**fields: Any) -> Change:
    return Change(locations={"thumb": fields})


@pytest.mark.parametrize(
    ("known", "change", "consent", "shown", "action", "goes_live"),
    [
        pytest.param(configuration(), of_thumb(), NONE, True, Action.NOTHING, of_thumb(), id="no field differs"),
        pytest.param(
            configuration(), of_thumb(label="T"), NONE, True, Action.ACTIVATE, of_thumb(label="T"), id="a text"
        ),
        pytest.param(
            configuration(),
            of_thumb(renditions=SIZES),
            NONE,
            True,
            Action.ACTIVATE,
            of_thumb(renditions=SIZES),
            id="only more variants",
        ),
        pytest.param(
            configuration(), of_thumb(width=50), FORCE, True, Action.PREPARE, of_thumb(width=50), id="with force"
        ),
        pytest.param(
            configuration(), of_thumb(width=50), AT_ONCE, True, Action.ACTIVATE, of_thumb(width=50), id="at once"
        ),
        pytest.param(
            configuration(),
            of_thumb(width=50),
            NONE,
            False,
            Action.ACTIVATE,
            of_thumb(width=50),
            id="no pack shows the location",
        ),
        pytest.param(
            configuration(width=50),
            of_thumb(height=20),
            FORCE,
            True,
            Action.PREPARE,
            of_thumb(width=50, height=20),
            id="a newer change includes the pending one",
        ),
        pytest.param(
            configuration(width=50),
            of_thumb(height=20),
            NONE,
            False,
            Action.PREPARE,
            of_thumb(width=50, height=20),
            id="a newer change of a location that no pack shows any more",
        ),
        pytest.param(
            configuration(width=50),
            of_thumb(height=20),
            AT_ONCE,
            True,
            Action.ACTIVATE,
            of_thumb(width=50, height=20),
            id="a newer change at once",
        ),
        pytest.param(
            configuration(width=50), of_thumb(width=40), FORCE, True, Action.NOTHING, Change(), id="taken back"
        ),
    ],
)
def test_a_change_is_activated_prepared_or_nothing(
    known: Configuration, change: Change, consent: Consent, shown: bool, action: Action, goes_live: Change
) -> None:
    decision = decided(known, change, consent, shown=shown)
    assert (decision.action, decision.change) == (action, goes_live)
    assert decision.amended is None
    is_newer = known.pending_change is not None
    assert decision.superseded is (known.pending_change if is_newer else None)


def test_a_location_that_does_not_exist_is_created() -> None:
    change = Change(locations={"poster": {"width": 10, "height": None}})
    decision = decided(configuration(width=50), change, at="poster")
    assert (decision.action, decision.change, decision.superseded) == (Action.CREATE, change, None)


def test_what_is_already_being_prepared_is_reported_by_its_job() -> None:
    known = configuration(width=50)
    assert decided(known, of_thumb()).job_id == "job1"
    assert decided(known, Change(locations={"main": {}}), at="main").job_id is None
    assert decided(known, Change(), at=None).job_id is None


@pytest.mark.parametrize(
    ("change", "at"), [(of_thumb(width=50), "thumb"), (Change(tenant={"include_all": True}), None)]
)
def test_a_change_of_shown_images_needs_force(change: Change, at: str | None) -> None:
    with pytest.raises(ForceRequired) as refused:
        decided(configuration(), change, at=at)
    assert refused.value.plan.change == change
    assert decided(configuration(), change, FORCE, at=at).action is Action.PREPARE


@pytest.mark.parametrize("consent", [FORCE, AT_ONCE])
@pytest.mark.parametrize(
    ("change", "at"),
    [(Change(locations={"main": {"width": 70}}), "main"), (Change(tenant={"include_all": True}), None)],
)
def test_one_change_at_a_time_is_prepared(change: Change, at: str | None, consent: Consent) -> None:
    with pytest.raises(BadState) as refused:
        decided(configuration(width=50), change, consent, at=at)
    assert "job1" in str(refused.value.expected)


def test_what_alters_no_shown_image_goes_live_beside_the_pending_change_of_another_location() -> None:
    change = Change(locations={"main": {"width": 70}})
    decision = decided(configuration(width=50), change, at="main", shown=False)
    assert (decision.action, decision.superseded, decision.amended) == (Action.ACTIVATE, None, None)


def test_a_field_that_is_set_at_once_leaves_the_pending_change() -> None:
    known = configuration(width=50, renditions=SIZES)
    decision = decided(known, of_thumb(renditions=(*SIZES, Rendition(13, None))))
    assert decision.action is Action.ACTIVATE
    assert decision.superseded is None
    assert decision.amended == of_thumb(width=50)


@pytest.mark.parametrize("change", [of_thumb(), of_thumb(label="T"), of_thumb(width=50)])
def test_a_change_is_bound_to_the_plan_that_was_seen(change: Change) -> None:
    for seen in (of_thumb(width=60), Change(locations={"main": {"width": 60}})):
        with pytest.raises(PlanStale, match="another change"):
            decided(configuration(), change, FORCE, seen=seen)
    assert decided(configuration(), change, FORCE, seen=change) == decided(configuration(), change, FORCE)
    moved = configuration()
    moved = replace(moved, locations={**moved.locations, "main": replace(moved.locations["main"], version=2)})
    for other in (configuration(width=60), moved):
        plan = plan_of(other, change, "thumb", True) if needs_plan(other, change, "thumb") else None
        with pytest.raises(PlanStale, match="has changed since"):
            decide(
                other,
                change,
                location="thumb",
                consent=FORCE,
                plan=plan,
                seen=basis_of(configuration(), change, "thumb"),
            )
