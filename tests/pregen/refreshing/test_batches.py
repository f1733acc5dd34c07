"""Bulk work in batches: few statements for many packs, and each pack succeeds or fails alone."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import sqlalchemy as sa

from packshot.catalog.variants.ledger import VariantState
from packshot.catalog.work import orders
from packshot.catalog.work.jobs import JobFilter, JobState
from packshot.catalog.work.orders import Priority
from packshot.geometry import Crop
from pregen.refreshing.refresh import refresh_packs
from pregen.services import dispatcher as dispatch
from pregen.services.dispatcher import Dispatcher
from resolvers import jobs, packs
from tests.support.pictures import jpeg, photo
from tests.support.playground import TENANT, Playground

SMALL = jpeg(photo(16, 12))


def ordered(playground: Playground, count: int) -> list[str]:
    """Make rendered packs, delete their objects, order the missing variants, and return the packs' ids."""
    pack_ids = [playground.pack(picture=jpeg(photo(16, 12, seed=seed))) for seed in range(count)]
    playground.run_jobs()
    for pack_id in pack_ids:
        for key in playground.planned(pack_id):
            playground.site.variants.delete(key)
    jobs.regenerate_packs(playground.caller, pack_ids, Priority.BULK)
    return pack_ids


def are_stored(playground: Playground, pack_ids: list[str]) -> list[bool]:
    return [all(playground.site.variants.head(key) for key in playground.planned(pack_id)) for pack_id in pack_ids]


@contextmanager
def counting(playground: Playground) -> Iterator[list[str]]:
    """Collect every statement that is executed in the block."""
    seen: list[str] = []

    def note(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        seen.append(statement)

    engine = playground.site.catalog.engine
    sa.event.listen(engine, "before_cursor_execute", note)
    try:
        yield seen
    finally:
        sa.event.remove(engine, "before_cursor_execute", note)


def test_statements_do_not_grow_with_the_batch(playground: Playground, monkeypatch: pytest.MonkeyPatch) -> None:
    # On a busy machine the longer batch would check, renew and record once more.
    for name in ("LEASE_CHECK_SECONDS", "RENEW_SECONDS", "FINISH_SECONDS"):
        monkeypatch.setattr(f"pregen.refreshing.refresh.{name}", 3600.0)
    numbers = []
    for count in (2, 8):
        pack_ids = ordered(playground, count)
        with counting(playground) as seen:
            refresh_packs(playground.site, TENANT, pack_ids)
        assert are_stored(playground, pack_ids) == [True] * count
        # Access policies are read once a second in their own transaction. SQLite's BEGIN of a read transaction counts
        # as a statement.
        numbers.append(
            len([statement for statement in seen if "access_keys" not in statement and statement != "BEGIN"])
        )
    assert numbers[0] == numbers[1]


def test_a_damaged_picture_fails_by_itself(playground: Playground) -> None:
    pack_ids = ordered(playground, 3)
    playground.spoil(pack_ids[1])
    refresh_packs(playground.site, TENANT, pack_ids)
    playground.run_jobs()
    assert are_stored(playground, pack_ids) == [True, False, True]
    job = jobs.list_jobs(playground.caller, first=1, after=None, only=JobFilter()).items[0]
    assert (job.state, job.failed) == (JobState.PARTIAL, 3)
    states = {entry.state for entry in playground.entries(pack_ids[1]).values()}
    assert states == {VariantState.FAILED}


def test_an_edit_takes_its_pack_out_of_a_batch(playground: Playground, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pregen.refreshing.refresh.LEASE_CHECK_SECONDS", 0.0)
    pack_ids = ordered(playground, 3)
    real = playground.site.renderer.render
    edited: list[str] = []

    def render(*args: Any, **keywords: Any) -> Any:
        if not edited:
            edited.append(pack_ids[1])
            packs.set_crop(playground.caller, pack_ids[1], "main", Crop(0, 0, 0.5, 1))
            # The variants of an edit are rendered at once, beside the batch that holds the pack.
            refresh_packs(playground.site, TENANT, [pack_ids[1]])
            assert are_stored(playground, [pack_ids[1]]) == [True]
        return real(*args, **keywords)

    monkeypatch.setattr(playground.site.renderer, "render", render)
    refresh_packs(playground.site, TENANT, pack_ids)
    assert edited
    assert are_stored(playground, pack_ids) == [True] * 3
    playground.run_jobs()
    open_jobs = jobs.list_jobs(
        playground.caller, first=5, after=None, only=JobFilter([JobState.QUEUED, JobState.RUNNING])
    )
    assert open_jobs.total == 0


def test_an_outage_postpones_the_packs_that_it_met_and_releases_the_rest(
    playground: Playground, monkeypatch: pytest.MonkeyPatch
) -> None:
    pack_ids = ordered(playground, 6)
    with monkeypatch.context() as patched:

        def away(*_: Any) -> Any:
            raise OSError("the store does not answer")

        patched.setattr(playground.site.originals, "as_file", away)
        refresh_packs(playground.site, TENANT, pack_ids)
    with playground.site.catalog.write(TENANT) as tx:
        free = orders.claim(tx, pack_ids)
        assert len(free) == 6, "no lease is left behind"
        assert sorted(claim.outages for claim in free) == [0, 0, 0, 1, 1, 1]
        orders.release(tx, free)
    refresh_packs(playground.site, TENANT, pack_ids)
    assert are_stored(playground, pack_ids) == [True] * 6


def test_bulk_packs_are_rung_for_in_batches_of_one_tenant(
    playground: Playground, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dispatch, "MIN_BATCHES", 2)
    pack_ids = ordered(playground, 6)
    messages: list[tuple[str, list[str], Priority]] = []
    playground.dispatcher.join()
    dispatcher = Dispatcher(playground.site, lambda t, ids, p: messages.append((t, list(ids), p)), bulk_places=4)
    dispatcher.step()
    assert [len(ids) for _, ids, _ in messages] == [3, 3]
    assert sorted(pack_id for _, ids, _ in messages for pack_id in ids) == sorted(pack_ids)
    assert {priority for *_, priority in messages} == {Priority.BULK}


def test_what_an_editor_waits_for_is_there_before_what_a_bulk_job_wants_of_the_same_pack(
    playground: Playground, monkeypatch: pytest.MonkeyPatch
) -> None:
    playground.location("thumb", width=8, fallback="main")
    pack_id = playground.pack(picture=SMALL)
    playground.run_jobs()
    playground.location("cover", width=9, height=9, fallback="main")
    playground.dispatcher.step()
    playground.doorbell.rings.clear()
    real = playground.site.renderer.render
    drawn: list[set[int]] = []

    def render(original: Any, drawings: Any, *args: Any, **keywords: Any) -> Any:
        if drawn:
            edited = {key for key in playground.planned(pack_id) if "/thumb/" in key}
            entries = playground.entries(pack_id)
            assert {entries[key].state for key in edited} == {VariantState.READY}
        drawn.append({drawing.size.width for drawing in drawings})
        return real(original, drawings, *args, **keywords)

    monkeypatch.setattr(playground.site.renderer, "render", render)
    packs.set_crop(playground.caller, pack_id, "thumb", Crop(0, 0, 0.5, 1))
    refresh_packs(playground.site, TENANT, [pack_id])
    assert drawn == [{8}, {9, 12}]
