"""Changes of configuration: prepared beside the live configuration, activated in one step, reverted, and never lost."""

from datetime import timedelta
from typing import Any

import pytest
import sqlalchemy as sa

from packshot.catalog.tables.artwork import variants as variant_table
from packshot.catalog.variants.ledger import VariantState
from packshot.catalog.work.jobs import Job, JobState
from packshot.catalog.work.orders import Priority
from packshot.errors import BadState, Cycle, NotFound, PlanStale
from packshot.geometry import Crop
from packshot.model import Location, Rendition
from packshot.variants.change_plan import ForceRequired
from pregen.refreshing import activate
from pregen.refreshing.refresh import refresh_packs
from resolvers import jobs, locations, packs, tenants
from resolvers.changing import plans
from resolvers.changing.decision import Consent
from resolvers.jobs import RegenerateMode
from tests.support.pictures import photo
from tests.support.playground import AT_ONCE, TENANT, Playground

FORCE = Consent(force=True)


@pytest.fixture
def ready(playground: Playground) -> Playground:
    """Two packs, all rendered, which `thumb` shows by fallback too."""
    playground.location("thumb", width=40, height=30, fallback="main")
    for seed in (1, 2):
        playground.pack(picture=photo(120, 90, seed=seed))
    playground.run_jobs()
    return playground


def pack_ids(playground: Playground) -> list[str]:
    return [pack.id for pack in packs.list_packs(playground.caller, first=10).items]


def location(playground: Playground, name: str = "thumb") -> Location:
    found = locations.get_location(playground.caller, name)
    assert found is not None
    return found


def put(playground: Playground, name: str = "thumb", **values: Any) -> Job:
    """Begin to prepare a change."""
    job = locations.put_location(playground.caller, name, values, FORCE).job
    assert job is not None
    return job


def prepare(playground: Playground) -> None:
    """Do all work, but activate nothing."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("pregen.services.dispatcher.activate_if_ready", lambda *_: None)
        playground.run_jobs()


def widths(playground: Playground, pack_id: str) -> set[int]:
    return {target.drawing.size.width for key, target in playground.planned(pack_id).items() if "/thumb/" in key}


def missing(playground: Playground, pack_id: str) -> set[str]:
    """Return the planned variants of a pack that are not stored."""
    entries = playground.entries(pack_id)
    return {
        key for key in playground.planned(pack_id) if key not in entries or entries[key].state is not VariantState.READY
    }


def test_a_change_goes_live_in_one_moment_with_everything_rendered(ready: Playground) -> None:
    before = {id: set(ready.planned(id)) for id in pack_ids(ready)}
    job = put(ready, width=50)
    assert location(ready).width == 40
    prepare(ready)
    assert location(ready).width == 40
    assert {id: set(ready.planned(id)) for id in before} == before
    ready.run_jobs()
    assert (location(ready).width, location(ready).version) == (50, 2)
    for id in before:
        assert widths(ready, id) == {50, 100}
        assert missing(ready, id) == set()
    done = ready.job(job)
    assert (done.state, done.done, done.skipped, done.failed) == (JobState.SUCCEEDED, 12, 0, 0)
    assert done.total == 12
    assert done.activated_at is not None
    assert locations.get_pending_change(ready.caller) is None


def test_what_is_replaced_is_superseded_after_the_switch_and_not_before(ready: Playground) -> None:
    pack_id = pack_ids(ready)[0]
    old = {key for key in ready.planned(pack_id) if "/thumb/" in key}

    def superseded() -> set[str]:
        statement = sa.select(variant_table).where(
            variant_table.c.pack_id == pack_id, variant_table.c.superseded_at.is_not(None)
        )
        with ready.site.catalog.read(TENANT) as tx:
            rows = tx.connection.execute(statement).all()
        return {"/".join((r.tenant_id, r.pack_id, r.location, r.fingerprint, r.plan)) for r in rows}

    put(ready, width=50)
    prepare(ready)
    assert superseded() == set()
    ready.run_jobs()
    ready.dispatcher.step()
    assert superseded() == old


def test_only_what_alters_shown_pictures_needs_force(ready: Playground) -> None:
    caller = ready.caller
    for values in ({"width": 50}, {"allow_upscale": True}, {"fallback": None}):
        with pytest.raises(ForceRequired) as refused:
            locations.put_location(caller, "thumb", values)
        assert (refused.value.plan.name, refused.value.plan.packs) == ("thumb", 2) or values != {"width": 50}
    assert location(ready).version == 1
    free = {"label": "Small", "renditions": (Rendition(20, None),), "formats": None}
    changed = locations.put_location(caller, "thumb", free)
    assert (changed.location.label, changed.location.version) == ("Small", 2)
    locations.put_location(caller, "empty", {"width": 10})
    # Every pack shows its main original there.
    with pytest.raises(ForceRequired):
        locations.put_location(caller, "empty", {"width": 20})


def test_a_location_that_no_pack_shows_anything_at_changes_at_once(playground: Playground) -> None:
    playground.location("poster", width=10)
    packs.create_pack(playground.caller, {})
    assert locations.put_location(playground.caller, "poster", {"width": 20}).location.width == 20


def test_at_once_the_change_is_live_before_anything_is_rendered(ready: Playground) -> None:
    changed = locations.put_location(ready.caller, "thumb", {"width": 50}, AT_ONCE)
    assert changed.location.width == 50
    assert all(missing(ready, id) for id in pack_ids(ready))
    assert changed.job is not None
    ready.run_jobs()
    assert ready.job(changed.job).state is JobState.SUCCEEDED
    assert not any(missing(ready, id) for id in pack_ids(ready))


def test_a_plan_binds_the_change_to_what_was_seen(ready: Playground) -> None:
    caller = ready.caller
    plan = plans.plan_location(caller, "thumb", {"width": 50})
    with pytest.raises(PlanStale):
        locations.put_location(caller, "thumb", {"width": 60}, Consent(force=True, plan_id=plan.id))
    locations.put_location(caller, "main", {"label": "Main"})
    with pytest.raises(PlanStale):
        locations.put_location(caller, "thumb", {"width": 50}, Consent(force=True, plan_id=plan.id))
    again = plans.plan_location(caller, "thumb", {"width": 50})
    assert locations.put_location(caller, "thumb", {"width": 50}, Consent(force=True, plan_id=again.id)).job is not None


def test_edits_made_meanwhile_are_rendered_under_both_and_stay(ready: Playground) -> None:
    first, second = pack_ids(ready)
    put(ready, width=50)
    prepare(ready)
    packs.set_crop(ready.caller, first, "thumb", Crop(0, 0, 0.5, 1))
    locations.put_location(ready.caller, "thumb", {"label": "Meanwhile"})
    new = ready.pack(picture=photo(100, 80, seed=9))
    prepare(ready)
    assert not any(missing(ready, id) for id in (first, second, new))
    ready.run_jobs()
    live = location(ready)
    assert (live.width, live.label) == (50, "Meanwhile")
    assert ready.snapshot(first).pack_location("thumb").crop == Crop(0, 0, 0.5, 1)
    assert not any(missing(ready, id) for id in (first, second, new))


def test_a_rendition_added_meanwhile_is_kept_and_rendered(ready: Playground) -> None:
    put(ready, width=50, renditions=(Rendition(50, None),))
    locations.add_rendition(ready.caller, "thumb", Rendition(13, None))
    ready.run_jobs()
    live = location(ready)
    assert live.width == 50
    assert live.renditions is not None
    assert Rendition(13, None) in live.renditions
    assert not any(missing(ready, id) for id in pack_ids(ready))


def test_one_change_at_a_time_and_the_refusal_names_it(ready: Playground) -> None:
    job = put(ready, width=50)
    calls = (
        lambda: locations.put_location(ready.caller, "main", {"width": 70}, FORCE),
        lambda: locations.put_location(ready.caller, "main", {"width": 70}, AT_ONCE),
        lambda: locations.delete_location(ready.caller, "thumb", force=True),
        lambda: tenants.update_tenant(ready.caller, {"include_all": True}, force=True),
        lambda: jobs.regenerate_tenant(ready.caller, None, Priority.BULK, RegenerateMode.REFRESH),
    )
    for call in calls:
        with pytest.raises(BadState) as refused:
            call()
        assert job.id in str(refused.value.expected)
    ready.run_jobs()
    assert (location(ready).width, location(ready, "main").width) == (50, None)


def test_a_newer_change_takes_the_place_of_one_that_is_prepared(ready: Playground) -> None:
    first = put(ready, width=50)
    second = put(ready, height=20)
    assert ready.job(first).state is JobState.SUPERSEDED
    again = put(ready, width=50)
    assert again.id == second.id, "it is in progress"
    ready.run_jobs()
    assert ready.job(second).state is JobState.SUCCEEDED
    live = location(ready)
    assert (live.width, live.height, live.version) == (50, 20, 2)


def test_a_change_taken_back_before_the_switch_leaves_nothing(ready: Playground) -> None:
    job = put(ready, width=50)
    changed = locations.put_location(ready.caller, "thumb", {"width": 40}, FORCE)
    assert (changed.job, changed.location.version) == (None, 1)
    assert ready.job(job).state is JobState.SUPERSEDED
    assert locations.get_pending_change(ready.caller) is None
    ready.run_jobs()
    assert location(ready).width == 40


def test_a_change_is_checked_against_what_is_about_to_be(ready: Playground) -> None:
    ready.location("third", width=10)
    put(ready, fallback="third")
    # The live configuration has no circle. The activation would make one.
    with pytest.raises(Cycle):
        locations.put_location(ready.caller, "third", {"fallback": "thumb"}, FORCE)


def test_failures_wait_for_a_user(ready: Playground) -> None:
    pack_id = pack_ids(ready)[0]
    original = ready.snapshot(pack_id).pack_location("main").original
    assert original is not None
    _damage(ready, original.sha256)
    job = put(ready, width=50)
    ready.run_jobs()
    waiting = ready.job(job)
    assert (waiting.state, waiting.failed, waiting.done) == (JobState.AWAITING_ACTIVATION, 6, 6)
    assert location(ready).width == 40
    with pytest.raises(BadState):
        jobs.activate_job(ready.caller, job.id)
    failures = jobs.list_failures(ready.caller, job.id, first=5, after=None)
    assert [(failure.pack_id, failure.location) for failure in failures.items] == [(pack_id, "thumb")]
    assert jobs.activate_job(ready.caller, job.id, accept_failures=True).state is JobState.RUNNING
    ready.run_jobs()
    assert (ready.job(job).state, location(ready).width) == (JobState.PARTIAL, 50)
    # Images that were shown are still shown: no stored variant was touched.
    assert {entry.state for key, entry in ready.entries(pack_id).items() if "/main/" in key} == {VariantState.READY}


def test_failures_are_tried_again_and_then_it_goes_live_by_itself(ready: Playground) -> None:
    pack_id = pack_ids(ready)[0]
    original = ready.snapshot(pack_id).pack_location("main").original
    assert original is not None
    data = ready.site.originals.get(f"{TENANT}/{original.sha256}")
    _damage(ready, original.sha256)
    job = put(ready, width=50)
    ready.run_jobs()
    ready.site.originals.delete(f"{TENANT}/{original.sha256}")
    ready.site.originals.put(f"{TENANT}/{original.sha256}", data[0], data[1].metadata)
    assert jobs.retry_failures(ready.caller, job.id).state is JobState.RUNNING
    ready.run_jobs()
    done = ready.job(job)
    assert (done.state, done.total, done.done, done.skipped, done.failed) == (JobState.SUCCEEDED, 12, 12, 0, 0)
    assert jobs.list_failures(ready.caller, job.id, first=5, after=None).total == 0
    assert location(ready).width == 50


def test_cancelled_before_the_switch_the_change_is_discarded(ready: Playground) -> None:
    job = put(ready, width=50)
    prepare(ready)
    assert jobs.cancel_job(ready.caller, job.id).state is JobState.CANCELLED
    ready.run_jobs()
    assert (location(ready).width, location(ready).version) == (40, 1)
    assert locations.get_pending_change(ready.caller) is None
    put(ready, width=60)
    ready.run_jobs()
    assert location(ready).width == 60


def test_a_revert_renders_only_packs_that_were_edited_or_created_since(ready: Playground) -> None:
    first, _ = pack_ids(ready)
    put(ready, width=50)
    ready.run_jobs()
    packs.set_crop(ready.caller, first, "thumb", Crop(0, 0, 0.5, 1))
    ready.run_jobs()
    job = locations.rollback_location(ready.caller, "thumb", 1, FORCE).job
    assert job is not None
    ready.run_jobs()
    done = ready.job(job)
    assert (done.state, done.done, done.skipped) == (JobState.SUCCEEDED, 6, 6)
    assert (location(ready).width, location(ready).version) == (40, 3)
    assert not any(missing(ready, id) for id in pack_ids(ready))
    history = locations.list_versions(ready.caller, "thumb", first=5, after=None).items
    assert [(version.version, version.width) for version in history] == [(3, 40), (2, 50), (1, 40)]
    assert history[0].active_to is None
    assert history[1].active_to is not None


def test_a_revert_to_an_unknown_version_is_refused(ready: Playground) -> None:
    for name, version, field in (("thumb", 9, ("to_version",)), ("nowhere", 1, ("name",))):
        with pytest.raises(NotFound) as refused:
            locations.rollback_location(ready.caller, name, version, FORCE)
        assert refused.value.field == field


def test_a_refresh_of_all_is_prepared_beside_the_live_variants(ready: Playground) -> None:
    before = {id: set(ready.planned(id)) for id in pack_ids(ready)}
    job = jobs.regenerate_tenant(ready.caller, None, Priority.BULK, RegenerateMode.REFRESH)
    prepare(ready)
    assert {id: set(ready.planned(id)) for id in before} == before
    ready.run_jobs()
    assert (ready.job(job).state, ready.job(job).done) == (JobState.SUCCEEDED, 18)
    for id, keys in before.items():
        assert not keys & set(ready.planned(id))
        assert missing(ready, id) == set()


def test_a_refresh_of_one_location_or_pack_leaves_the_others(ready: Playground) -> None:
    first, second = pack_ids(ready)
    before = {id: set(ready.planned(id)) for id in (first, second)}
    jobs.regenerate_tenant(ready.caller, "thumb", Priority.BULK, RegenerateMode.REFRESH)
    ready.run_jobs()
    kept = {id: {key for key in keys if "/main/" in key} for id, keys in before.items()}
    assert {id: before[id] & set(ready.planned(id)) for id in before} == kept
    before = {id: set(ready.planned(id)) for id in (first, second)}
    jobs.regenerate_packs(ready.caller, [first], Priority.INTERACTIVE, RegenerateMode.REFRESH)
    ready.run_jobs()
    assert not before[first] & set(ready.planned(first))
    assert before[second] == set(ready.planned(second))
    assert not any(missing(ready, id) for id in (first, second))


def test_a_tenants_defaults_are_prepared_too(ready: Playground) -> None:
    with pytest.raises(ForceRequired):
        tenants.update_tenant(ready.caller, {"include_all": True})
    tenant, job = tenants.update_tenant(ready.caller, {"include_all": True}, force=True)
    assert (tenant.include_all, job is not None) == (False, True)
    prepare(ready)
    assert not tenants.get_tenant(ready.caller).include_all
    ready.run_jobs()
    assert tenants.get_tenant(ready.caller).include_all
    assert not any(missing(ready, id) for id in pack_ids(ready))


def test_an_edit_that_never_ends_holds_a_change_up_only_for_a_while(
    ready: Playground, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(ready, width=50)
    prepare(ready)
    packs.set_crop(ready.caller, pack_ids(ready)[0], "thumb", Crop(0, 0, 0.5, 1))
    ready.doorbell.rings.clear()
    ready.dispatcher.step()
    assert location(ready).width == 40, "the activation waits for the edit"
    monkeypatch.setattr(activate, "PATIENCE", timedelta(0))
    monkeypatch.setattr(activate, "HOLD_SECONDS", 0.1)
    ready.dispatcher.step()
    assert location(ready).width == 50
    refresh_packs(ready.site, TENANT, pack_ids(ready)[:1])
    assert not any(missing(ready, id) for id in pack_ids(ready))


def test_a_location_of_a_change_that_is_prepared_shows_what_it_will_be(ready: Playground) -> None:
    put(ready, width=50)
    pending_change = locations.get_pending_change(ready.caller)
    assert pending_change is not None
    version = locations.pending_version(pending_change, location(ready))
    assert version is not None
    assert (version.version, version.width, version.height, version.changed_by) == (2, 50, 30, "tester")
    assert locations.pending_version(pending_change, location(ready, "main")) is None


def _damage(playground: Playground, sha256: str) -> None:
    key = f"{TENANT}/{sha256}"
    _, stored = playground.site.originals.get(key)
    playground.site.originals.delete(key)
    playground.site.originals.put(key, b"no picture at all", stored.metadata)


def test_a_plan_takes_in_what_is_being_prepared_of_the_same_location(ready: Playground) -> None:
    put(ready, width=50)
    plan = plans.plan_location(ready.caller, "thumb", {"height": 20})
    assert {(change.field, change.before, change.after) for change in plan.changes} == {
        ("width", 40, 50),
        ("height", 30, 20),
    }
    # Reverting one half alters what the other half shows.
    with pytest.raises(ForceRequired):
        locations.put_location(ready.caller, "thumb", {"height": 20})
    bound = Consent(force=True, plan_id=plan.id)
    locations.put_location(ready.caller, "thumb", {"height": 20}, bound)
    ready.run_jobs()
    assert (location(ready).width, location(ready).height) == (50, 20)


def test_a_plan_does_not_outlive_the_beginning_of_another_change(ready: Playground) -> None:
    plan = plans.plan_location(ready.caller, "thumb", {"height": 20})
    put(ready, width=50)
    with pytest.raises(PlanStale):
        locations.put_location(ready.caller, "thumb", {"height": 20}, Consent(force=True, plan_id=plan.id))


def test_a_revert_is_not_free_once_all_was_rendered_again(ready: Playground) -> None:
    put(ready, width=50)
    ready.run_jobs()
    jobs.regenerate_tenant(ready.caller, "thumb", Priority.BULK, RegenerateMode.REFRESH)
    ready.run_jobs()
    first = locations.list_versions(ready.caller, "thumb", first=5, after=None).items[-1]
    assert (first.version, first.revert_renders_all) == (1, True)


def test_an_added_rendition_leaves_the_rest_to_follow_the_locations_size(ready: Playground) -> None:
    locations.add_rendition(ready.caller, "thumb", Rendition(13, None))
    put(ready, width=50)
    ready.run_jobs()
    assert widths(ready, pack_ids(ready)[0]) == {50, 100, 13}


def test_an_edit_that_fails_while_a_change_is_prepared_is_counted_once(ready: Playground) -> None:
    put(ready, width=50)
    pack_id = ready.pack()
    ready.spoil(pack_id)
    edit = packs.set_crop(ready.caller, pack_id, "main", Crop(0, 0, 0.5, 1))[1]
    ready.run_jobs()
    failures = jobs.list_failures(ready.caller, edit.id, first=5, after=None).items
    assert {failure.location: failure.attempts for failure in failures} == {"main": 3, "thumb": 3}


def test_a_newer_change_takes_the_place_of_one_that_is_live_and_still_rendering(ready: Playground) -> None:
    first = ready.location("thumb", width=50)
    ready.dispatcher.step()
    tenant, pack_id, _ = ready.doorbell.rings.popleft()
    refresh_packs(ready.site, tenant, [pack_id])
    ready.doorbell.rings.clear()
    # The change of another location continues.
    other = ready.location("main", renditions=[Rendition(20, None)])
    second = ready.location("thumb", width=60)
    assert first is not None
    assert second is not None
    assert other is not None
    assert ready.job(first).state is JobState.SUPERSEDED
    ready.run_jobs()
    for job in (second, other):
        ended = ready.job(job)
        assert (ended.state, ended.done + ended.skipped) == (JobState.SUCCEEDED, ended.total)
    assert {id: missing(ready, id) for id in pack_ids(ready)} == {id: set() for id in pack_ids(ready)}
    old = ready.job(first)
    assert old.done + old.skipped + old.failed <= old.total


def test_a_change_of_more_locations_than_the_newer_one_is_not_superseded(ready: Playground) -> None:
    ready.location("cover", width=20, fallback="thumb")
    ready.run_jobs()
    first = ready.location("thumb", fallback=None)
    second = ready.location("thumb", width=50)
    assert first is not None
    assert second is not None
    assert set(ready.job(first).scope or ()) == {"thumb", "cover"}
    ready.run_jobs()
    assert [ready.job(job).state for job in (first, second)] == [JobState.SUCCEEDED, JobState.SUCCEEDED]
