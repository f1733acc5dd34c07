"""Jobs are paused, resumed and cancelled without effect on edits."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from packshot.catalog.configuration.tenants import ensure_tenant
from packshot.catalog.variants.ledger import VariantState
from packshot.catalog.work import job_items, orders
from packshot.catalog.work import jobs as job_rows
from packshot.catalog.work.jobs import Job, JobState
from packshot.catalog.work.orders import Priority
from packshot.errors import BadState, NotFound
from packshot.geometry import Crop
from pregen.refreshing.enqueue import enqueue_portion
from pregen.refreshing.refresh import refresh_packs
from pregen.services import dispatcher
from resolvers import jobs, packs
from resolvers.caller import Caller
from tests.support.pictures import jpeg, photo
from tests.support.playground import TENANT, Playground

SMALL = jpeg(photo(16, 12))


def regenerate(playground: Playground, *pack_ids: str) -> Job:
    """Order the missing variants of these packs, or of all."""
    if pack_ids:
        return jobs.regenerate_packs(playground.caller, pack_ids, Priority.BULK)
    return jobs.regenerate_tenant(playground.caller, None, Priority.BULK)


def lose(playground: Playground, pack_id: str) -> None:
    """Delete a pack's stored variants, so that a regeneration has work."""
    for key in playground.planned(pack_id):
        playground.site.variants.delete(key)


def is_there(playground: Playground, pack_id: str) -> bool:
    return all(playground.site.variants.head(key) is not None for key in playground.planned(pack_id))


def is_pending(playground: Playground) -> bool:
    with playground.site.catalog.read(TENANT) as tx:
        return orders.count_pending(tx, Priority.BULK) > 0


@pytest.fixture
def lost(playground: Playground) -> list[str]:
    """Three rendered packs whose stored variants have been deleted."""
    pack_ids = [playground.pack(picture=SMALL) for _ in range(3)]
    playground.run_jobs()
    for pack_id in pack_ids:
        lose(playground, pack_id)
    return pack_ids


def test_a_paused_job_stands_still_and_goes_on_where_it_was(playground: Playground, lost: list[str]) -> None:
    job = regenerate(playground)
    playground.dispatcher.step()
    assert jobs.pause_job(playground.caller, job.id).state is JobState.PAUSED
    # A message that was sent before has no effect.
    playground.run_jobs()
    assert not any(is_there(playground, pack_id) for pack_id in lost)
    assert playground.job(job).eta_seconds is None
    assert jobs.resume_job(playground.caller, job.id).state is JobState.QUEUED
    playground.run_jobs()
    assert all(is_there(playground, pack_id) for pack_id in lost)
    done = playground.job(job)
    assert (done.state, done.total, done.done) == (JobState.SUCCEEDED, 9, 9)


def test_a_paused_job_enqueues_no_packs(playground: Playground, lost: list[str]) -> None:
    job = regenerate(playground)
    jobs.pause_job(playground.caller, job.id)
    playground.run_jobs()
    assert playground.job(job).cursor is not None
    assert not is_pending(playground)


def test_pausing_a_job_stops_the_worker_that_is_at_it(playground: Playground, lost: list[str]) -> None:
    job = regenerate(playground, lost[0])
    with playground.site.catalog.write(TENANT) as tx:
        held = orders.claim(tx, [lost[0]])
    assert held
    jobs.pause_job(playground.caller, job.id)
    with playground.site.catalog.write(TENANT) as tx:
        assert not orders.read_held_leases(tx, held)
        assert not orders.finish(tx, held)
        assert not orders.claim(tx, [lost[0]])


def test_edits_go_on_while_a_job_of_their_pack_is_paused_or_cancelled(playground: Playground, lost: list[str]) -> None:
    for stop in (jobs.pause_job, jobs.cancel_job):
        job = regenerate(playground)
        playground.dispatcher.step()
        stop(playground.caller, job.id)
        packs.set_crop(playground.caller, lost[0], "main", Crop(0, 0, 0.5, 0.5 if stop is jobs.pause_job else 1))
        playground.run_jobs()
        states = {
            entry.state for key, entry in playground.entries(lost[0]).items() if key in playground.planned(lost[0])
        }
        assert states == {VariantState.READY}
        if stop is jobs.pause_job:
            jobs.cancel_job(playground.caller, job.id)


def test_an_edit_before_a_job_is_not_stopped_with_it(playground: Playground) -> None:
    pack_id = playground.pack(picture=SMALL)
    job = regenerate(playground, pack_id)
    jobs.cancel_job(playground.caller, job.id)
    refresh_packs(playground.site, TENANT, [pack_id])
    assert is_there(playground, pack_id)


def test_a_pack_that_another_job_wants_is_not_stopped_with_the_first(playground: Playground, lost: list[str]) -> None:
    first, second = regenerate(playground, *lost), regenerate(playground, lost[0])
    jobs.cancel_job(playground.caller, first.id)
    playground.run_jobs()
    assert [is_there(playground, pack_id) for pack_id in lost] == [True, False, False]
    assert playground.job(second).state is JobState.SUCCEEDED


def test_a_cancelled_job_ends_at_once_and_for_good(playground: Playground, lost: list[str]) -> None:
    job = regenerate(playground)
    playground.dispatcher.step()
    cancelled = jobs.cancel_job(playground.caller, job.id)
    assert (cancelled.state, cancelled.cursor) == (JobState.CANCELLED, None)
    assert cancelled.finished_at is not None
    assert not is_pending(playground)
    playground.run_jobs()
    assert not any(is_there(playground, pack_id) for pack_id in lost)
    for act in (jobs.cancel_job, jobs.pause_job, jobs.resume_job, jobs.retry_failures, jobs.activate_job):
        with pytest.raises(BadState):
            act(playground.caller, job.id)
    # The packs can be ordered again.
    again = regenerate(playground)
    playground.run_jobs()
    assert (playground.job(again).state, playground.job(again).done) == (JobState.SUCCEEDED, 9)


def test_another_tenants_job_is_not_found(playground: Playground, lost: list[str]) -> None:
    job = regenerate(playground)
    with playground.site.catalog.write("other") as tx:
        ensure_tenant(tx)
    stranger = Caller(playground.site, playground.doorbell, "other", "stranger", "http://test")
    for act in (jobs.cancel_job, jobs.pause_job, jobs.resume_job, jobs.retry_failures, jobs.activate_job):
        with pytest.raises(NotFound):
            act(stranger, job.id)
    assert playground.job(job).state is JobState.QUEUED


def test_failures_are_tried_again_without_counting_the_rest_twice(playground: Playground) -> None:
    playground.location("thumb", width=8, fallback="main")
    good, bad = playground.pack(picture=SMALL), playground.pack(picture=jpeg(photo(20, 10)))
    restore = playground.spoil(bad)
    job = regenerate(playground)
    playground.run_jobs()
    failed = playground.job(job)
    assert (failed.state, failed.total, failed.failed) == (JobState.PARTIAL, 18, 9)
    restore()
    jobs.retry_failures(playground.caller, job.id)
    playground.run_jobs()
    done = playground.job(job)
    assert (done.state, done.total, done.failed) == (JobState.SUCCEEDED, 18, 0)
    assert done.done + done.skipped == 18
    assert is_there(playground, bad)
    assert is_there(playground, good)


def test_tenants_take_turns_with_their_bulk_work(playground: Playground, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dispatcher, "PORTION", 1)
    monkeypatch.setattr(dispatcher, "MAX_PENDING_BULK", 1)
    with playground.site.catalog.write("other") as tx:
        ensure_tenant(tx)
    mine = playground.caller
    callers = [mine, replace(mine, tenant="other")]
    for caller in callers:
        playground.caller = caller
        for _ in range(3):
            playground.show(packs.create_pack(caller, {}).pack.id, "main", SMALL)
    playground.caller = mine
    for caller in callers:
        jobs.regenerate_tenant(caller, None, Priority.BULK)
    while playground.doorbell.rings:
        tenant, pack_id, _ = playground.doorbell.rings.popleft()
        refresh_packs(playground.site, tenant, [pack_id])
    served = []
    for _ in range(6):
        playground.dispatcher.step()
        while playground.doorbell.rings:
            tenant, pack_id, _ = playground.doorbell.rings.popleft()
            served.append(tenant)
            refresh_packs(playground.site, tenant, [pack_id])
    assert served in ([TENANT, "other"] * 3, ["other", TENANT] * 3)


def test_failures_of_a_pack_that_was_deleted_hold_up_no_retry(playground: Playground) -> None:
    bad = [playground.pack(picture=jpeg(photo(20, 10, seed=seed))) for seed in (1, 2)]
    _, restore = [playground.spoil(pack_id) for pack_id in bad]
    job = regenerate(playground)
    playground.run_jobs()
    assert playground.job(job).failed == 6
    packs.delete_pack(playground.caller, bad[0])
    restore()
    jobs.retry_failures(playground.caller, job.id)
    playground.run_jobs()
    done = playground.job(job)
    assert (done.state, done.failed) == (JobState.SUCCEEDED, 0)
    assert is_there(playground, bad[1])


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
@pytest.mark.parametrize("named", [True, False], ids=["named", "all"])
def test_a_pack_that_is_deleted_while_it_is_ordered_holds_up_no_other(
    playground: Playground,
    lost: list[str],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    *,
    named: bool,
) -> None:
    real = job_items.enqueue_packs

    def admit(*args: Any, **kwargs: Any) -> bool:
        # By another transaction, after the packs were read. SQLite has one writer, so it cannot happen there.
        monkeypatch.setattr(job_items, "enqueue_packs", real)
        packs.delete_pack(playground.caller, lost[1])
        return real(*args, **kwargs)

    monkeypatch.setattr(job_items, "enqueue_packs", admit)
    job = regenerate(playground, *(lost if named else []))
    playground.dispatcher.step()
    playground.run_jobs()
    ended = playground.job(job)
    assert (ended.state, ended.total, ended.done, ended.failed) == (JobState.SUCCEEDED, 6, 6, 0)
    assert is_there(playground, lost[0])
    assert is_there(playground, lost[2])
    assert caplog.text == ""


def test_a_regeneration_of_all_gives_failed_variants_their_attempts_back(playground: Playground) -> None:
    pack_id = playground.pack(picture=SMALL)
    restore = playground.spoil(pack_id)
    playground.run_jobs()
    assert {entry.state for entry in playground.entries(pack_id).values()} == {VariantState.FAILED}
    restore()
    job = regenerate(playground)
    playground.run_jobs()
    assert playground.job(job).state is JobState.SUCCEEDED
    assert is_there(playground, pack_id)


@pytest.mark.parametrize("stop", [jobs.cancel_job, jobs.pause_job])
def test_a_portion_that_is_enqueued_while_its_job_is_stopped_is_not_ordered(
    playground: Playground, lost: list[str], monkeypatch: pytest.MonkeyPatch, stop: Callable[[Caller, str], Job]
) -> None:
    job = regenerate(playground)
    with playground.site.catalog.read(TENANT) as tx:
        before = job_rows.get_job(tx, job.id)
    stop(playground.caller, job.id)
    # As by a dispatcher that has read the job a moment before it was stopped.
    with playground.site.catalog.write(TENANT) as tx:
        enqueue_portion(tx, before, 10, limit=playground.site.limit)
    assert not is_pending(playground)
    stopped = playground.job(job)
    assert stopped.counted == 0
    assert stopped.state in (JobState.CANCELLED, JobState.PAUSED)


def test_what_only_stopped_jobs_want_stands_still(playground: Playground, lost: list[str]) -> None:
    first, second = regenerate(playground, *lost), regenerate(playground, *lost)
    jobs.pause_job(playground.caller, first.id)
    assert is_pending(playground), "the second job needs them too"
    jobs.cancel_job(playground.caller, second.id)
    assert not is_pending(playground)
    jobs.resume_job(playground.caller, first.id)
    playground.run_jobs()
    assert all(is_there(playground, pack_id) for pack_id in lost)
    assert playground.job(first).state is JobState.SUCCEEDED


def test_what_a_cancelled_job_wanted_to_be_verified_no_edit_waits_for(playground: Playground, lost: list[str]) -> None:
    jobs.cancel_job(playground.caller, regenerate(playground, *lost).id)
    playground.show(lost[0], "main", SMALL)
    with playground.site.catalog.write(TENANT) as tx:
        claimed = orders.claim(tx, lost)
    assert [(claim.pack_id, claim.check_store) for claim in claimed] == [(lost[0], False)]


def test_held_orders_leave_their_places_to_others(playground: Playground, lost: list[str]) -> None:
    job = regenerate(playground)
    playground.dispatcher.step()
    with playground.site.catalog.read(TENANT) as tx:
        assert orders.count_leased(tx, Priority.BULK) == len(lost)
    jobs.pause_job(playground.caller, job.id)
    with playground.site.catalog.read(TENANT) as tx:
        assert orders.count_leased(tx, Priority.BULK) == 0
