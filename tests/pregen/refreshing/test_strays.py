"""Jobs over every pack: they do not miss packs that are edited before their turn, and the newest packs come first."""

from collections.abc import Callable, Sequence
from operator import attrgetter
from typing import Any

import pytest
import sqlalchemy as sa

from packshot.catalog.tables.work import job_deferred_packs
from packshot.catalog.variants.ledger import VariantState
from packshot.catalog.work.jobs import Job, JobState
from packshot.catalog.work.orders import Priority
from packshot.geometry import Crop
from packshot.production import render_variants
from packshot.site import Site
from packshot.variants.resolve import Target
from pregen.refreshing import refresh
from pregen.services import dispatcher
from resolvers import jobs, locations, packs
from resolvers.changing.decision import Consent
from tests.support.pictures import photo
from tests.support.playground import TENANT, Playground

EDITS: dict[str, Callable[[Playground, str], object]] = {
    # It changes no variant, so it orders none.
    "id": lambda playground, pack_id: packs.update_pack(playground.caller, pack_id, {"external_id": "film-1"}),
    "crop": lambda playground, pack_id: packs.set_crop(playground.caller, pack_id, "main", Crop(0, 0, 0.5, 1)),
}


@pytest.fixture
def pack_ids(playground: Playground) -> list[str]:
    """Four packs, all rendered, which `thumb` shows by fallback; the oldest first."""
    playground.location("thumb", width=40, height=30, fallback="main")
    made = [playground.pack(picture=photo(120, 90, seed=seed)) for seed in range(4)]
    playground.run_jobs()
    return made


def widen(playground: Playground) -> Job:
    """Begin to prepare a wider `thumb`."""
    job = locations.put_location(playground.caller, "thumb", {"width": 50}, Consent(force=True)).job
    assert job is not None
    return job


def lacking(playground: Playground) -> dict[str, set[str]]:
    """Return the planned variants that are not stored, by pack."""
    found = {}
    for pack in packs.list_packs(playground.caller, first=10).items:
        entries = playground.entries(pack.id)
        planned = playground.planned(pack.id)
        found[pack.id] = {key for key in planned if key not in entries or entries[key].state is not VariantState.READY}
    return {pack_id: keys for pack_id, keys in found.items() if keys}


def strays(playground: Playground) -> int:
    with playground.site.catalog.read(TENANT) as tx:
        return tx.connection.scalar(sa.select(sa.func.count()).select_from(job_deferred_packs)) or 0


@pytest.mark.parametrize("edit", EDITS.values(), ids=EDITS)
@pytest.mark.parametrize("let_in", [0, 2], ids=["at-once", "half-way"])
def test_a_change_prepares_packs_that_are_edited_before_it_comes_to_them(
    playground: Playground,
    pack_ids: list[str],
    monkeypatch: pytest.MonkeyPatch,
    edit: Callable[[Playground, str], object],
    let_in: int,
) -> None:
    monkeypatch.setattr(dispatcher, "PORTION", 1)
    job = widen(playground)
    monkeypatch.setattr(dispatcher, "ROUNDS", let_in)
    playground.dispatcher.step()
    # The oldest pack, whose turn would be last, twice; and the newest, which may have been enqueued already.
    edit(playground, pack_ids[0])
    edit(playground, pack_ids[0])
    packs.update_pack(playground.caller, pack_ids[3], {"asset_id": 7})
    monkeypatch.setattr(dispatcher, "ROUNDS", 10)
    playground.run_jobs()
    ended = playground.job(job)
    assert (ended.state, ended.packs_enqueued, ended.failed) == (JobState.SUCCEEDED, 4, 0)
    assert ended.total == ended.done + ended.skipped == 24
    assert ended.activated_at is not None
    assert lacking(playground) == {}
    assert strays(playground) == 0


def test_what_an_edit_before_its_turn_spoils_keeps_a_change_from_going_live(
    playground: Playground, pack_ids: list[str]
) -> None:
    job = widen(playground)
    jobs.pause_job(playground.caller, job.id)
    restore = playground.spoil(pack_ids[1])
    packs.set_crop(playground.caller, pack_ids[1], "main", Crop(0, 0, 0.5, 1))
    playground.run_jobs()
    jobs.resume_job(playground.caller, job.id)
    playground.run_jobs()
    waiting = playground.job(job)
    assert (waiting.state, waiting.failed) == (JobState.AWAITING_ACTIVATION, 6)
    restore()
    jobs.retry_failures(playground.caller, job.id)
    playground.run_jobs()
    assert playground.job(job).state is JobState.SUCCEEDED
    assert lacking(playground) == {}


def test_a_regeneration_looks_into_the_store_for_packs_that_are_edited_before_their_turn(
    playground: Playground, pack_ids: list[str]
) -> None:
    lost = next(key for key in playground.planned(pack_ids[0]) if "/main/" in key)
    playground.site.variants.delete(lost)
    job = jobs.regenerate_tenant(playground.caller, None, Priority.BULK)
    packs.set_crop(playground.caller, pack_ids[0], "thumb", Crop(0, 0, 0.5, 1))
    playground.run_jobs()
    assert playground.job(job).state is JobState.SUCCEEDED
    assert playground.site.variants.head(lost) is not None


def test_packs_that_come_or_go_before_their_turn_hold_nothing_up(playground: Playground, pack_ids: list[str]) -> None:
    job = widen(playground)
    packs.delete_pack(playground.caller, pack_ids[0])
    packs.update_pack(playground.caller, pack_ids[1], {"external_id": "film-1"})
    packs.delete_pack(playground.caller, pack_ids[1])
    playground.pack(picture=photo(120, 90, seed=9))
    playground.run_jobs()
    ended = playground.job(job)
    assert (ended.state, ended.done + ended.skipped, ended.total) == (JobState.SUCCEEDED, 12, 12)
    assert lacking(playground) == {}
    assert strays(playground) == 0


def test_a_cancelled_job_keeps_no_packs(playground: Playground, pack_ids: list[str]) -> None:
    job = widen(playground)
    packs.update_pack(playground.caller, pack_ids[0], {"external_id": "film-1"})
    assert strays(playground) == 1
    jobs.cancel_job(playground.caller, job.id)
    assert strays(playground) == 0
    packs.update_pack(playground.caller, pack_ids[0], {"external_id": "film-2"})
    assert strays(playground) == 0


def test_the_packs_that_were_edited_last_are_rendered_first(playground: Playground, pack_ids: list[str]) -> None:
    for pack_id in (pack_ids[2], pack_ids[0]):
        packs.update_pack(playground.caller, pack_id, {"asset_id": None})
    newest = sorted(packs.list_packs(playground.caller, first=10).items, key=attrgetter("sequence_number"))[::-1]
    playground.doorbell.rings.clear()
    jobs.regenerate_tenant(playground.caller, None, Priority.BULK)
    playground.dispatcher.step()
    assert [pack_id for _, pack_id, _ in playground.doorbell.rings] == [pack.id for pack in newest]
    assert [pack.id for pack in newest] == [pack_ids[0], pack_ids[2], pack_ids[3], pack_ids[1]]


def test_a_batch_is_rendered_in_the_order_in_which_it_was_rung_for(
    playground: Playground, pack_ids: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for pack_id in pack_ids:
        for key in playground.planned(pack_id):
            playground.site.variants.delete(key)
    jobs.regenerate_tenant(playground.caller, None, Priority.BULK)
    playground.dispatcher.step()
    rung = [pack_id for _, pack_id, _ in playground.doorbell.rings]
    drawn: list[str] = []

    def draw(site: Site, targets: Sequence[Target], *args: Any, **kwargs: Any) -> Any:
        drawn.extend(target.key.pack for target in targets)
        return render_variants(site, targets, *args, **kwargs)

    monkeypatch.setattr(refresh, "render_variants", draw)
    refresh.refresh_packs(playground.site, TENANT, rung)
    assert list(dict.fromkeys(drawn)) == rung == pack_ids[::-1]
