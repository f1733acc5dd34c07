"""Refreshing: every planned variant is rendered once, in spite of failures."""

import time
from dataclasses import replace
from datetime import timedelta
from hashlib import sha256
from io import BytesIO
from shutil import rmtree
from typing import Any

import pytest
import sqlalchemy as sa
from PIL import Image

from packshot.catalog.tables.artwork import variants as variant_table
from packshot.catalog.tables.work import orders as order_table
from packshot.catalog.variants.ledger import VariantState
from packshot.catalog.work import orders
from packshot.catalog.work.jobs import JobFilter, JobState
from packshot.catalog.work.orders import Priority
from packshot.errors import ErrorCode
from packshot.geometry import Crop
from packshot.production import announce_and_render
from packshot.render.processes.pool import Lane
from packshot.storage.folder import FolderStore
from pregen.refreshing.refresh import LOST_AFTER_OUTAGES, refresh_packs
from pregen.services import dispatcher
from resolvers import jobs, packs
from tests.support.pictures import jpeg, photo
from tests.support.playground import TENANT, Playground


def test_every_planned_variant_is_rendered_stored_and_recorded(playground: Playground) -> None:
    playground.location("thumb", width=160, height=90)
    pack_id = playground.pack(picture=photo(600, 400))
    playground.run_jobs()
    entries, planned = playground.entries(pack_id), playground.planned(pack_id)
    assert len(planned) == 3 + 6
    assert set(entries) == set(planned)
    for key, target in planned.items():
        data, stored = playground.site.variants.get(key)
        assert entries[key].state is VariantState.READY
        assert (entries[key].bytes, entries[key].sha256) == (len(data), sha256(data).hexdigest())
        assert stored.metadata.content_type == target.drawing.format.media_type
        with Image.open(BytesIO(data)) as picture:
            assert picture.size == target.drawing.size
            assert picture.format == target.drawing.format.name


def test_the_fallback_makes_exactly_what_pregeneration_stored(playground: Playground) -> None:
    playground.location("thumb", width=160, height=90)
    pack_id = playground.pack()
    packs.set_crop(playground.caller, pack_id, "thumb", Crop(0.1, 0.0, 0.8, 0.9))
    playground.run_jobs()
    for key, target in playground.planned(pack_id).items():
        before, _ = playground.site.variants.get(key)
        playground.site.variants.delete(key)
        announce_and_render(playground.site, [target], Lane.ON_DEMAND, planned=False)
        assert playground.site.variants.get(key)[0] == before


def test_a_job_tells_how_far_it_is(playground: Playground) -> None:
    pack_id = packs.create_pack(playground.caller, {}).pack.id
    job = playground.show(pack_id, "main", photo(300, 200))
    assert (job.state, job.total, job.done, job.created_by) == (JobState.QUEUED, 3, 0, "tester")
    playground.run_jobs()
    job = playground.job(job)
    assert (job.state, job.total, job.done, job.skipped, job.failed) == (JobState.SUCCEEDED, 3, 3, 0, 0)
    assert job.started_at is not None
    assert job.finished_at is not None
    assert job.eta_seconds == 0


def test_ten_edits_are_one_render_of_the_latest_state(playground: Playground, monkeypatch: pytest.MonkeyPatch) -> None:
    pack_id = playground.pack()
    playground.run_jobs()
    edits = [packs.set_crop(playground.caller, pack_id, "main", Crop(0, 0, 1, 0.5 + n / 20))[1] for n in range(10)]
    rendered: list[str] = []
    real = playground.site.renderer.render

    def count(original: Any, drawings: Any, *args: Any, **kwargs: Any) -> Any:
        rendered.extend(map(str, drawings))
        return real(original, drawings, *args, **kwargs)

    monkeypatch.setattr(playground.site.renderer, "render", count)
    playground.run_jobs()
    assert len(rendered) == 3
    assert {playground.job(edit).state for edit in edits} == {JobState.SUCCEEDED}


def test_a_message_that_comes_five_times_does_the_work_once(playground: Playground) -> None:
    pack_id = playground.pack()
    playground.run_jobs()
    before = playground.entries(pack_id)
    for _ in range(5):
        refresh_packs(playground.site, TENANT, [pack_id])
    assert playground.entries(pack_id) == before


def test_a_lost_ring_is_rung_again_by_the_dispatcher(playground: Playground) -> None:
    pack_id = playground.pack()
    playground.doorbell.rings.clear()
    playground.dispatcher.step()
    assert not playground.doorbell.rings, "the ring of the mutation comes first"
    _let_pass(playground, orders.FIRST_RING_AFTER)
    playground.run_jobs()
    assert set(playground.entries(pack_id)) == set(playground.planned(pack_id))


def _let_pass(playground: Playground, duration: timedelta) -> None:
    """Move all times for which orders wait into the past."""
    with playground.site.catalog.write(TENANT) as tx:
        for row in tx.connection.execute(sa.select(order_table)).all():
            until = row.lease_until and row.lease_until - duration
            is_row = order_table.c.pack_id == row.pack_id
            values = {"due_at": row.due_at - duration, "lease_until": until}
            tx.connection.execute(sa.update(order_table).where(is_row).values(**values))


def test_work_left_by_a_dead_process_is_taken_up(playground: Playground) -> None:
    pack_id = playground.pack()
    with playground.site.catalog.write(TENANT) as tx:
        assert orders.claim(tx, [pack_id])
    refresh_packs(playground.site, TENANT, [pack_id])
    assert playground.entries(pack_id) == {}, "the lease still holds"
    playground.dispatcher.free_leases()
    playground.run_jobs()
    assert len(playground.entries(pack_id)) == 3


def test_an_expired_lease_is_taken_over_and_the_old_worker_finishes_nothing(playground: Playground) -> None:
    pack_id = playground.pack()
    with playground.site.catalog.write(TENANT) as tx:
        zombie = orders.claim(tx, [pack_id])
    assert zombie
    _let_pass(playground, orders.LEASE_TIME)
    with playground.site.catalog.write(TENANT) as tx:
        heir = orders.claim(tx, [pack_id])
        assert heir
        assert not orders.finish(tx, zombie)
        assert not orders.renew(tx, zombie)
        assert orders.finish(tx, heir)


def test_a_slow_store_does_not_cost_the_lease(playground: Playground, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pregen.refreshing.refresh.LEASE_CHECK_SECONDS", 0.0)
    monkeypatch.setattr("pregen.refreshing.refresh.RENEW_SECONDS", 0.0)
    pack_id = playground.pack()
    real = playground.site.variants.put

    def put_slowly(*args: Any) -> Any:
        _let_pass(playground, timedelta(seconds=45))
        with playground.site.catalog.write(TENANT) as tx:
            assert not orders.claim(tx, [pack_id])
        return real(*args)

    monkeypatch.setattr(playground.site.variants, "put", put_slowly)
    refresh_packs(playground.site, TENANT, [pack_id])
    assert {entry.state for entry in playground.entries(pack_id).values()} == {VariantState.READY}
    assert len(playground.entries(pack_id)) == 3


def test_an_edit_while_its_pack_is_rendered_is_rendered_too(
    playground: Playground, monkeypatch: pytest.MonkeyPatch
) -> None:
    pack_id = playground.pack()
    real = playground.site.renderer.render
    edits = iter([Crop(0, 0, 0.5, 0.5)])

    def edit_meanwhile(*args: Any, **kwargs: Any) -> Any:
        for crop in edits:
            packs.set_crop(playground.caller, pack_id, "main", crop)
        return real(*args, **kwargs)

    monkeypatch.setattr(playground.site.renderer, "render", edit_meanwhile)
    refresh_packs(playground.site, TENANT, [pack_id])
    entries = playground.entries(pack_id)
    assert len(entries) == 6
    for key in playground.planned(pack_id):
        assert entries[key].state is VariantState.READY


def test_an_outage_postpones_the_pack_and_counts_against_no_variant(
    playground: Playground, monkeypatch: pytest.MonkeyPatch
) -> None:
    pack_id = playground.pack()
    with monkeypatch.context() as outage:

        def fail(*args: Any) -> None:
            raise OSError("the store does not answer")

        outage.setattr(playground.site.variants, "put", fail)
        for _ in range(5):
            refresh_packs(playground.site, TENANT, [pack_id])
            _let_pass(playground, timedelta(minutes=2))
    assert {entry.attempts for entry in playground.entries(pack_id).values()} == {0}
    playground.run_jobs()
    assert {entry.state for entry in playground.entries(pack_id).values()} == {VariantState.READY}


def test_a_pack_is_postponed_in_spite_of_a_short_outage_of_the_database(
    playground: Playground, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pregen.refreshing.refresh.PAUSES", (0.0, 0.0, 0.0))
    pack_id = playground.pack()
    real, faults = orders.postpone, iter(range(2))

    def fail(*args: Any) -> None:
        raise OSError("the store does not answer")

    def put_off(*args: Any) -> None:
        for _ in faults:
            raise sa.exc.OperationalError("UPDATE orders", {}, Exception("the server closed the connection"))
        real(*args)

    with monkeypatch.context() as outage:
        outage.setattr(playground.site.variants, "put", fail)
        outage.setattr(orders, "postpone", put_off)
        refresh_packs(playground.site, TENANT, [pack_id])
    with playground.site.catalog.write(TENANT) as tx:
        assert orders.claim(tx, [pack_id]), "no worker waits until the lease expires"


def test_only_so_many_packs_are_rung_for_at_a_time(playground: Playground, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dispatcher, "INTERACTIVE_PLACES", 3)
    pack_ids = {playground.pack(picture=photo(16, 16, seed=n)) for n in range(5)}
    playground.doorbell.rings.clear()
    _let_pass(playground, orders.FIRST_RING_AFTER)
    playground.dispatcher.step()
    playground.dispatcher.step()
    assert len(playground.doorbell.rings) == 3
    playground.run_jobs()
    assert all(playground.entries(pack_id) for pack_id in pack_ids)


def test_a_picture_that_fails_three_times_is_named_and_touches_no_other(playground: Playground) -> None:
    playground.location("thumb", width=160, height=90)
    pack_id = playground.pack(picture=photo(600, 400))
    playground.run_jobs()
    job = playground.show(pack_id, "thumb", photo(500, 500))
    original = playground.snapshot(pack_id).pack_location("thumb").original
    assert original is not None
    # The disk returns other bytes than were checked, and the decoder refuses them.
    path = playground.site.originals.local_path(f"{TENANT}/{original.sha256}")
    assert path is not None
    path.write_bytes(path.read_bytes()[:3000])
    playground.run_jobs()
    job = playground.job(job)
    assert (job.state, job.done, job.skipped, job.failed) == (JobState.PARTIAL, 0, 3, 6)
    (failure,) = jobs.list_failures(playground.caller, job.id, first=10, after=None).items
    assert (failure.pack_id, failure.location, failure.code, failure.attempts) == (
        pack_id,
        "thumb",
        ErrorCode.UNRENDERABLE,
        3,
    )
    states = [entry.state for key, entry in playground.entries(pack_id).items() if "/thumb/" in key]
    assert states.count(VariantState.FAILED) == 6


def test_a_regeneration_makes_what_the_store_lacks(playground: Playground) -> None:
    pack_id = playground.pack()
    playground.run_jobs()
    lost = next(iter(playground.planned(pack_id)))
    playground.site.variants.delete(lost)
    job = jobs.regenerate_packs(playground.caller, [pack_id], Priority.BULK)
    playground.run_jobs()
    assert playground.site.variants.head(lost) is not None
    job = playground.job(job)
    assert (job.state, job.done, job.skipped) == (JobState.SUCCEEDED, 1, 2)


def test_a_location_change_reaches_every_pack_in_portions(
    playground: Playground, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pregen.services.dispatcher.PORTION", 2)
    picture = photo(64, 64)
    pack_ids = [playground.pack(picture=picture) for _ in range(5)]
    playground.run_jobs()
    job = playground.location("thumb", width=32, height=18)
    assert job is not None
    playground.run_jobs()
    job = playground.job(job)
    assert (job.state, job.total, job.done) == (JobState.SUCCEEDED, 30, 30)
    for pack_id in pack_ids:
        assert sum("/thumb/" in key for key in playground.entries(pack_id)) == 6


def test_a_job_over_nothing_ends(playground: Playground) -> None:
    job = jobs.regenerate_tenant(playground.caller, None, Priority.BULK)
    playground.run_jobs()
    assert playground.job(job).state is JobState.SUCCEEDED


def test_bulk_work_waits_while_an_edit_goes_first(playground: Playground) -> None:
    picture = photo(32, 32)
    pack_ids = [playground.pack(picture=picture) for _ in range(6)]
    playground.run_jobs()
    jobs.regenerate_tenant(playground.caller, None, Priority.BULK)
    playground.dispatcher.step()
    bulk = [pack for _, pack, priority in playground.doorbell.rings if priority is Priority.BULK]
    assert len(bulk) == 4, "as many as there are places, and as many to come next"
    waiting = next(pack for pack in pack_ids if pack not in bulk)
    packs.set_crop(playground.caller, waiting, "main", Crop(0, 0, 0.5, 1))
    with playground.site.catalog.read(TENANT) as tx:
        row = tx.connection.execute(sa.select(order_table).where(order_table.c.pack_id == waiting)).one()
    assert row.priority == Priority.INTERACTIVE
    playground.run_jobs()
    assert not playground.doorbell.rings


def test_what_an_edit_replaced_is_marked_and_unmarked_when_it_comes_back(playground: Playground) -> None:
    pack_id = playground.pack()
    playground.run_jobs()
    first = set(playground.planned(pack_id))
    packs.set_crop(playground.caller, pack_id, "main", Crop(0, 0, 0.5, 1))
    playground.run_jobs()
    assert _superseded(playground) == first
    packs.set_crop(playground.caller, pack_id, "main", Crop(0, 0, 1, 1))
    playground.run_jobs()
    assert _superseded(playground) == set(playground.entries(pack_id)) - first


def _superseded(playground: Playground) -> set[str]:
    with playground.site.catalog.read(TENANT) as tx:
        found = tx.connection.execute(sa.select(variant_table).where(variant_table.c.superseded_at.is_not(None)))
        return {f"{r.tenant_id}/{r.pack_id}/{r.location}/{r.fingerprint}/{r.plan}" for r in found}


def test_the_ledger_knows_a_variant_before_the_store_has_it(
    playground: Playground, monkeypatch: pytest.MonkeyPatch
) -> None:
    pack_id = playground.pack()
    real = playground.site.variants.put
    unknown: list[str] = []

    def check(key: str, *args: Any) -> Any:
        if key not in playground.entries(pack_id):
            unknown.append(key)
        return real(key, *args)

    monkeypatch.setattr(playground.site.variants, "put", check)
    playground.run_jobs()
    assert unknown == []
    assert len(playground.entries(pack_id)) == 3


def test_a_killed_render_process_is_no_outage_of_the_others(playground: Playground) -> None:
    pack_id = playground.pack(picture=photo(900, 900))
    with playground.limits(seconds=0.001) as hurried:
        started = time.monotonic()
        refresh_packs(hurried, TENANT, [pack_id])
        assert time.monotonic() - started < 60
    assert {entry.error_code for entry in playground.entries(pack_id).values()} == {ErrorCode.RENDER_TIMEOUT}
    jobs.regenerate_packs(playground.caller, [pack_id], Priority.INTERACTIVE)
    playground.run_jobs()
    assert {entry.state for entry in playground.entries(pack_id).values()} == {VariantState.READY}


def test_a_damaged_blob_does_not_stall_its_pack(playground: Playground) -> None:
    pack_id = playground.pack()
    playground.run_jobs()
    damaged = next(iter(playground.planned(pack_id)))
    path = playground.site.variants.local_path(damaged)
    assert path is not None
    path.write_bytes(b"")
    job = jobs.regenerate_packs(playground.caller, [pack_id], Priority.BULK)
    playground.run_jobs()
    job = playground.job(job)
    assert (job.state, job.done, job.skipped) == (JobState.SUCCEEDED, 1, 2)


def test_a_large_pack_is_kept_in_portions_and_left_for_a_newer_order(
    playground: Playground, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pregen.refreshing.refresh.PORTION", 2)
    playground.location("thumb", width=40, height=30)
    pack_id = playground.pack(picture=photo(200, 100))
    real = playground.site.renderer.render
    calls: list[int] = []
    edits = iter([Crop(0, 0, 0.5, 0.5)])

    def edit_after_the_first(original: Any, drawings: Any, *args: Any, **kwargs: Any) -> Any:
        calls.append(len(drawings))
        if len(calls) == 2:
            for crop in edits:
                packs.set_crop(playground.caller, pack_id, "main", crop)
        return real(original, drawings, *args, **kwargs)

    monkeypatch.setattr(playground.site.renderer, "render", edit_after_the_first)
    refresh_packs(playground.site, TENANT, [pack_id])
    assert set(calls) <= {1, 2}
    assert sum(calls) == 4 + 9, "two portions of the old state, and all of the new one"
    entries = playground.entries(pack_id)
    assert all(entries[key].state is VariantState.READY for key in playground.planned(pack_id))


def test_an_original_that_is_lost_ends_its_job_and_says_what_to_do(playground: Playground) -> None:
    playground.location("thumb", width=160, height=90)
    lost, kept = jpeg(photo(300, 200)), jpeg(photo(200, 300))
    pack_id = playground.pack(picture=lost)
    job = playground.show(pack_id, "thumb", kept)
    playground.site.originals.delete(f"{TENANT}/{sha256(lost).hexdigest()}")
    playground.run_jobs()
    assert playground.job(job).state is JobState.RUNNING, "a folder that is not mounted has no objects"
    for _ in range(LOST_AFTER_OUTAGES):
        _let_pass(playground, orders.MAX_PAUSE)
        playground.run_jobs()
    job = playground.job(job)
    assert (job.state, job.done, job.failed) == (JobState.PARTIAL, 6, 3)
    (failure,) = jobs.list_failures(playground.caller, job.id, first=5, after=None).items
    assert (failure.location, failure.code) == ("main", ErrorCode.UNRENDERABLE)
    assert failure.message == "The original is missing from its store; upload it again."
    again = playground.show(pack_id, "main", lost)
    playground.run_jobs()
    assert playground.job(again).state is JobState.SUCCEEDED
    assert all(playground.site.variants.head(key) for key in playground.planned(pack_id))


def test_a_store_that_is_away_blames_no_picture(playground: Playground, monkeypatch: pytest.MonkeyPatch) -> None:
    pack_id = playground.pack()

    def away(key: str) -> Any:
        raise OSError("the store does not answer")

    with monkeypatch.context() as patched:
        patched.setattr(playground.site.originals, "as_file", away)
        for _ in range(LOST_AFTER_OUTAGES + 2):
            playground.run_jobs()
            _let_pass(playground, orders.MAX_PAUSE)
    assert {entry.attempts for entry in playground.entries(pack_id).values()} == {0}
    playground.run_jobs()
    assert {entry.state for entry in playground.entries(pack_id).values()} == {VariantState.READY}


@pytest.mark.parametrize("restarted", [False, True])
def test_originals_that_are_away_are_an_outage_however_long_and_come_back_by_themselves(
    playground: Playground, *, restarted: bool
) -> None:
    pack_id = playground.pack()
    job = playground.show(pack_id, "main", photo(300, 200))
    folder = playground.settings.data / "originals"
    away = folder.rename(folder.with_name("away"))
    if restarted:
        # A process that starts creates missing folders, also inside the mount point.
        playground.use(replace(playground.site, originals=FolderStore(folder)))
    for _ in range(LOST_AFTER_OUTAGES + 2):
        playground.run_jobs()
        _let_pass(playground, orders.MAX_PAUSE)
    assert playground.job(job).state is JobState.RUNNING
    assert {entry.attempts for entry in playground.entries(pack_id).values()} == {0}
    if restarted:
        rmtree(folder)
    away.rename(folder)
    playground.run_jobs()
    assert playground.job(job).state is JobState.SUCCEEDED
    assert all(playground.site.variants.head(key) for key in playground.planned(pack_id))


def test_an_attempt_of_a_pack_in_portions_is_counted_once(
    playground: Playground, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pregen.refreshing.refresh.PORTION", 2)
    pack_id = playground.pack()
    playground.spoil(pack_id)
    playground.run_jobs()
    job = jobs.list_jobs(playground.caller, first=1, after=None, only=JobFilter()).items[0]
    (failure,) = jobs.list_failures(playground.caller, job.id, first=5, after=None).items
    assert (job.failed, failure.attempts) == (3, 3)
    assert {entry.attempts for entry in playground.entries(pack_id).values()} == {3}
