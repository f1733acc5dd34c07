"""Collection: superseded and unused objects are deleted after the grace period, and no others."""

import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from hashlib import sha256
from typing import Any

import pytest
import sqlalchemy as sa

from packshot.catalog.database.transaction import hold_configuration
from packshot.catalog.packs import packs
from packshot.catalog.tables.artwork import location_versions, originals, variants
from packshot.catalog.variants import collection
from packshot.catalog.variants.ledger import VariantState
from packshot.errors import NotFound
from packshot.geometry import Crop
from packshot.maintenance import collect
from packshot.maintenance.collect import Collected, collect_all, collect_originals, make_faults, preview_collection
from packshot.model import Original
from packshot.production import announce_and_render
from packshot.render.processes.pool import Lane
from packshot.storage.base import NoSuchObject
from pregen.services.collector import Collector
from resolvers import packs as pack_calls
from tests.support.pictures import jpeg, photo
from tests.support.playground import TENANT, Playground

HALF, LEFT = Crop(0, 0, 1, 0.5), Crop(0, 0, 0.5, 1)


def pass_days(playground: Playground, days: float) -> None:
    """Move the times since when objects are superseded, retired or unused into the past."""
    for column in (variants.c.superseded_at, location_versions.c.active_to, originals.c.unused_since):
        with playground.site.catalog.write(TENANT) as tx:
            for row in tx.connection.execute(sa.select(column.table).where(column.is_not(None))).all():
                is_row = [key == row._mapping[key] for key in column.table.primary_key]
                values = {column.name: row._mapping[column] - timedelta(days=days)}
                tx.connection.execute(sa.update(column.table).where(*is_row).values(**values))


def blobs(playground: Playground) -> set[str]:
    return set(playground.site.variants.list(f"{TENANT}/"))


def crop(playground: Playground, pack_id: str, to: Crop) -> None:
    pack_calls.set_crop(playground.caller, pack_id, "main", to)
    playground.run_jobs()


def test_what_an_edit_replaced_goes_after_the_grace_period_and_not_before(playground: Playground) -> None:
    pack_id = playground.pack()
    playground.run_jobs()
    before = blobs(playground)
    crop(playground, pack_id, HALF)
    now = set(playground.planned(pack_id))
    pass_days(playground, 29.9)
    assert collect_all(playground.site, TENANT) == Collected()
    assert blobs(playground) == before | now
    pass_days(playground, 0.2)
    sizes = [playground.site.variants.get(key)[1].size for key in before]
    expected = Collected(variants=3, bytes=sum(sizes))
    assert preview_collection(playground.site, TENANT) == expected
    assert blobs(playground) == before | now, "a preview of the collection changes nothing"
    assert collect_all(playground.site, TENANT) == expected
    assert blobs(playground) == now == set(playground.entries(pack_id))
    assert preview_collection(playground.site, TENANT) == Collected()


def test_what_a_deleted_pack_showed_goes_too(playground: Playground) -> None:
    pack_id, other = playground.pack(), playground.pack(picture=photo(300, 200))
    playground.run_jobs()
    pack_calls.delete_pack(playground.caller, pack_id)
    pass_days(playground, 31)
    assert Collector(playground.site).collect_superseded()
    assert blobs(playground) == set(playground.planned(other))
    assert not Collector(playground.site).collect_superseded(), "another collector holds the lease"


def test_what_an_undone_edit_shows_again_stays(playground: Playground, monkeypatch: pytest.MonkeyPatch) -> None:
    pack_id = playground.pack()
    playground.run_jobs()
    crop(playground, pack_id, HALF)
    pass_days(playground, 31)
    # Reverted, but not refreshed: the rows still say that they are superseded.
    pack_calls.set_crop(playground.caller, pack_id, "main", Crop(0, 0, 1, 1))
    assert collect_all(playground.site, TENANT) == Collected(kept=3)
    monkeypatch.setattr(playground.site.renderer, "render", None)
    playground.run_jobs()
    assert all(playground.site.variants.head(key) for key in playground.planned(pack_id))


def test_what_a_rollback_would_need_stays_as_long_as_the_rollback_is_free(playground: Playground) -> None:
    playground.location("thumb", width=160, height=90)
    pack_id = playground.pack()
    playground.run_jobs()
    before = set(playground.planned(pack_id))
    playground.location("thumb", width=200, height=90)
    playground.run_jobs()
    pass_days(playground, 20)
    # Reverted and changed again between two renders: only the versions know of it.
    playground.location("thumb", width=160, height=90)
    playground.location("thumb", width=220, height=90)
    playground.run_jobs()
    pass_days(playground, 20)
    collect_all(playground.site, TENANT)
    assert before <= blobs(playground)
    pass_days(playground, 11)
    collect_all(playground.site, TENANT)
    assert blobs(playground) == set(playground.planned(pack_id))


def test_what_is_made_again_while_it_is_collected_is_there_afterwards(playground: Playground) -> None:
    pack_id = playground.pack()
    playground.run_jobs()
    targets = list(playground.planned(pack_id).values())
    crop(playground, pack_id, HALF)
    with playground.site.catalog.write(TENANT) as tx:
        due = collection.list_due(tx, tx.now + timedelta(days=1), limit=10)
        collection.mark_collecting(tx, due)
    assert not set(map(str, (target.key for target in targets))) & set(playground.entries(pack_id))
    pack_calls.set_crop(playground.caller, pack_id, "main", Crop(0, 0, 1, 1))
    playground.run_jobs()
    assert collect_all(playground.site, TENANT) == Collected()
    for key, entry in playground.entries(pack_id).items():
        if key in playground.planned(pack_id):
            assert entry.state is VariantState.READY
            assert playground.site.variants.get(key)[1].sha256 == entry.sha256


def test_a_collector_that_was_killed_leaves_the_rest_to_the_next(
    playground: Playground, monkeypatch: pytest.MonkeyPatch
) -> None:
    pack_id = playground.pack()
    playground.run_jobs()
    crop(playground, pack_id, HALF)
    pass_days(playground, 31)
    deleted: list[str] = []
    real = playground.site.variants.delete

    def die(key: str) -> None:
        if deleted:
            raise KeyboardInterrupt
        deleted.append(key)
        real(key)
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(playground.site.variants, "delete", die)
        with pytest.raises(KeyboardInterrupt):
            collect_all(playground.site, TENANT)
    assert len(deleted) == 1
    assert set(playground.entries(pack_id)) == set(playground.planned(pack_id)), "a collected variant is not stored"
    assert collect_all(playground.site, TENANT).variants == 3
    assert blobs(playground) == set(playground.planned(pack_id))


def test_a_store_that_is_away_stops_the_collector_and_loses_nothing(
    playground: Playground, monkeypatch: pytest.MonkeyPatch
) -> None:
    pack_id = playground.pack()
    playground.run_jobs()
    crop(playground, pack_id, HALF)
    pass_days(playground, 31)

    def away(key: str) -> Any:
        raise OSError("the store does not answer")

    with monkeypatch.context() as patched:
        patched.setattr(playground.site.variants, "head", away)
        with pytest.raises(OSError, match="does not answer"):
            collect_all(playground.site, TENANT)
    assert len(blobs(playground)) == 6
    assert collect_all(playground.site, TENANT).variants == 3


def test_edits_and_the_collector_race_and_no_ready_row_is_without_its_blob(playground: Playground) -> None:
    pack_id = playground.pack(picture=photo(60, 40))
    playground.run_jobs()
    ended = threading.Event()

    def keep_collecting() -> None:
        while not ended.is_set():
            pass_days(playground, 31)
            collect.collect_portion(playground.site, TENANT, collect.make_faults())

    with ThreadPoolExecutor(1) as threads:
        collecting = threads.submit(keep_collecting)
        try:
            for number in range(12):
                crop(playground, pack_id, (HALF, LEFT)[number % 2])
        finally:
            ended.set()
        collecting.result()
    playground.run_jobs()
    for key, entry in playground.entries(pack_id).items():
        if entry.state is VariantState.READY:
            assert playground.site.variants.get(key)[1].sha256 == entry.sha256
    assert set(playground.planned(pack_id)) <= set(playground.entries(pack_id))


def test_an_original_that_nothing_shows_goes_and_one_that_something_shows_stays(playground: Playground) -> None:
    old, new, shared = (jpeg(photo(size, 40)) for size in (60, 70, 80))
    pack_id, other = playground.pack(picture=old), playground.pack(picture=shared)
    playground.show(pack_id, "main", shared)
    playground.show(pack_id, "main", new)
    collect_originals(playground.site, TENANT, make_faults())  # Records the time.
    pass_days(playground, 29)
    assert collect_all(playground.site, TENANT).originals == 0
    pass_days(playground, 2)
    assert preview_collection(playground.site, TENANT).originals == 1
    assert collect_all(playground.site, TENANT).originals == 1
    kept = {f"{TENANT}/{sha256(data).hexdigest()}" for data in (new, shared)}
    assert set(playground.site.originals.list(f"{TENANT}/")) == kept
    playground.show(other, "main", old)
    playground.run_jobs()
    assert all(playground.site.variants.head(key) for key in playground.planned(other))


def test_bytes_that_no_pack_came_to_show_are_collected_too(playground: Playground) -> None:
    data = jpeg(photo(60, 40))
    pack_id = playground.pack(picture=photo(30, 30))
    with pytest.raises(NotFound):
        playground.show(pack_id, "absent", data)
    playground.location("small", width=9)
    pass_days(playground, 31)
    collect_all(playground.site, TENANT)
    assert len(list(playground.site.originals.list(f"{TENANT}/"))) == 1


@pytest.mark.parametrize("collected_first", [True, False])
def test_an_original_is_never_shown_without_its_bytes(playground: Playground, collected_first: bool) -> None:
    """A request for a variant that is due for collection either keeps it or gets the answer that it is gone."""
    data = jpeg(photo(60, 40))
    first = playground.pack(picture=data)
    original = playground.snapshot(first).pack_locations["main"].original
    assert original is not None
    pack_calls.delete_pack(playground.caller, first)
    collect_originals(playground.site, TENANT, make_faults())
    pass_days(playground, 31)
    second = pack_calls.create_pack(playground.caller, {}).pack.id
    if collected_first:
        assert collect_originals(playground.site, TENANT, make_faults()).originals == 1
        with pytest.raises(OSError, match="removed while"):
            _show(playground, second, original)
        assert playground.snapshot(second).pack_locations == {}
        return
    _show(playground, second, original)
    assert collect_originals(playground.site, TENANT, make_faults()).originals == 0
    assert playground.site.originals.get(f"{TENANT}/{original.sha256}")[0] == data


def _show(playground: Playground, pack_id: str, original: Original) -> None:
    with playground.site.catalog.write(TENANT) as tx:
        packs.touch_pack(tx, pack_id, cause="a test")
        packs.keep_original(tx, pack_id, original)
        packs.set_pack_location(tx, pack_id, "main", {"original_sha256": original.sha256, "original_at": tx.now})


def test_an_edit_that_is_under_way_is_waited_for(playground: Playground) -> None:
    """On PostgreSQL an open edit holds the configuration, so the collector reads it after the commit."""
    if playground.site.catalog.is_sqlite:
        pytest.skip("SQLite has one writer at a time")
    pack_id = playground.pack()
    playground.run_jobs()
    crop(playground, pack_id, HALF)
    pass_days(playground, 31)
    begun, collected = threading.Event(), []

    def run() -> None:
        begun.set()
        collected.append(collect_all(playground.site, TENANT))

    collecting = threading.Thread(target=run)
    with playground.site.catalog.write(TENANT) as tx:
        packs.touch_pack(tx, pack_id, cause="a test")
        packs.set_pack_location(
            tx, pack_id, "main", dict.fromkeys(("crop_left", "crop_top", "crop_right", "crop_bottom"))
        )
        collecting.start()
        begun.wait()
        collecting.join(0.3)
        assert collecting.is_alive()
    collecting.join()
    assert collected == [Collected(kept=3)]


def test_a_variant_that_was_collected_is_rendered_again_on_demand(playground: Playground) -> None:
    pack_id = playground.pack()
    playground.run_jobs()
    (target, *_) = playground.planned(pack_id).values()
    with playground.site.catalog.write(TENANT) as tx:
        hold_configuration(tx)
        tx.connection.execute(sa.update(variants).values(state=VariantState.COLLECTING.value))
    announce_and_render(playground.site, [target], Lane.ON_DEMAND, planned=False)
    assert playground.site.variants.head(str(target.key)) is not None
    key = next(key for key in playground.planned(pack_id) if key != str(target.key))
    collect_all(playground.site, TENANT)
    with pytest.raises(NoSuchObject):
        playground.site.variants.get(key)
    assert playground.site.variants.head(str(target.key)) is not None
