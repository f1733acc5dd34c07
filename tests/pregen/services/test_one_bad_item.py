"""Portions of background work: an item that causes a fault does not delay the others."""

import logging
from collections.abc import Callable, Sequence
from typing import Any

import pytest
import sqlalchemy as sa

from packshot.catalog.database.backoff import MAX_FAULTS
from packshot.catalog.tables.artwork import tenants, variants
from packshot.catalog.work.jobs import JobState
from packshot.errors import BadState, ErrorCode
from packshot.geometry import Crop
from packshot.maintenance import collect, erase, scrub
from packshot.maintenance.marks import check_epoch, write_marks
from packshot.production import supersede_outdated
from packshot.storage.base import Metadata
from pregen.refreshing import activate
from pregen.refreshing.activate import mark_portion
from pregen.services.collector import Collector
from resolvers import jobs, maintenance, packs
from resolvers.migration.report import Kind, Report, portions, side_by_side
from tests.pregen.services.test_collector import blobs, pass_days
from tests.support.pictures import photo
from tests.support.playground import TENANT, Playground

CROP = Crop(0, 0, 1, 0.5)


def stumble_at(bad: str, act: Callable[..., Any], place: int) -> Callable[..., Any]:
    """Return a function that raises a fault if its argument at `place` contains a text, and else calls `act`."""

    def stumbling(*args: Any, **named: Any) -> Any:
        if bad in str(args[place]):
            raise LookupError("an unforeseen fault")
        return act(*args, **named)

    return stumbling


def replaced(playground: Playground, count: int) -> list[str]:
    """Return packs whose variants have been superseded for longer than the grace period."""
    pack_ids = [playground.pack(picture=photo(64, 48 + 2 * number)) for number in range(count)]
    playground.run_jobs()
    for pack_id in pack_ids:
        packs.set_crop(playground.caller, pack_id, "main", CROP)
    playground.run_jobs()
    pass_days(playground, 31)
    return pack_ids


def superseded(playground: Playground, pack_id: str) -> list[Any]:
    with playground.site.catalog.read(TENANT) as tx:
        superseded = (variants.c.pack_id == pack_id, variants.c.superseded_at.is_not(None))
        return list(tx.connection.execute(sa.select(variants.c.plan).where(*superseded)))


@pytest.mark.parametrize("function", ["_delete", "judge"])
def test_a_variant_that_cannot_be_collected_is_left_out_after_a_few_attempts(
    playground: Playground, monkeypatch: pytest.MonkeyPatch, function: str, caplog: pytest.LogCaptureFixture
) -> None:
    bad, *good = replaced(playground, 3)
    place = 2 if function == "_delete" else 0
    monkeypatch.setattr(collect, function, stumble_at(bad, getattr(collect, function), place))
    collector = Collector(playground.site)
    while collector.collect_superseded():
        pass
    assert [superseded(playground, pack_id) for pack_id in good] == [[], []]
    for _ in range(MAX_FAULTS):
        collector.collect_superseded()
    assert len(superseded(playground, bad)) == 3
    before = len(caplog.records)
    assert not collector.collect_superseded()
    assert len(caplog.records) == before, "it was retried"


def test_an_object_that_the_store_alone_cannot_delete_does_not_keep_the_others(
    playground: Playground, monkeypatch: pytest.MonkeyPatch
) -> None:
    bad, *good = replaced(playground, 2)
    bad_key = next(key for key in sorted(blobs(playground)) if bad in key)
    delete = playground.site.variants.delete

    def deny(key: str) -> None:
        if key == bad_key:
            raise PermissionError(1, "Operation not permitted", key)
        delete(key)

    monkeypatch.setattr(playground.site.variants, "delete", deny)
    total = collect.collect_all(playground.site, TENANT)
    assert total.variants >= 3
    assert superseded(playground, good[0]) == []
    assert bad_key in blobs(playground)


def test_a_store_that_is_away_is_no_items_fault(playground: Playground, monkeypatch: pytest.MonkeyPatch) -> None:
    replaced(playground, 2)

    def deny(key: str) -> None:
        raise OSError(5, "Input/output error", key)

    with monkeypatch.context() as patched:
        patched.setattr(playground.site.variants, "delete", deny)
        with pytest.raises(OSError, match="Input/output"):
            collect.collect_all(playground.site, TENANT)
    assert collect.collect_all(playground.site, TENANT).failed == {}


def test_a_round_of_collecting_names_what_it_could_not_collect(
    playground: Playground, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    bad, _ = replaced(playground, 2)
    monkeypatch.setattr(collect, "_delete", stumble_at(bad, collect._delete, 2))
    total, job = maintenance.collect(playground.caller, lambda _: None)
    assert (total.variants, len(total.failed)) == (3, 3)
    assert (job.failed, job.state) == (3, JobState.PARTIAL)
    (failure,) = jobs.list_failures(playground.caller, job.id, first=10, after=None).items
    assert (failure.pack_id, failure.code) == (bad, ErrorCode.INTERNAL)
    assert any(error_id in caplog.text for error_id in total.failed.values())


def test_a_tenant_that_cannot_be_collected_leaves_the_others_their_turn(
    playground: Playground, monkeypatch: pytest.MonkeyPatch
) -> None:
    (good,) = replaced(playground, 1)
    monkeypatch.setattr(Collector, "_tenants", lambda _: ["a-bad-one", TENANT])
    monkeypatch.setattr(
        "pregen.services.collector.collect_originals", stumble_at("a-bad-one", collect.collect_originals, 1)
    )
    playground.show(good, "main", photo(30, 20))
    playground.run_jobs()
    collector = Collector(playground.site)
    while collector.collect_superseded():
        pass
    pass_days(playground, 31)
    before = len(list(playground.site.originals.list(f"{TENANT}/")))
    while collector.collect_superseded():
        pass
    assert len(list(playground.site.originals.list(f"{TENANT}/"))) == before - 1


def test_a_scrub_compares_every_pack_but_the_one_at_fault(
    playground: Playground, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    bad, good = (playground.pack(picture=photo(64, 48 + number)) for number in range(2))
    playground.run_jobs()
    lost = next(iter(playground.planned(good)))
    playground.site.variants.delete(str(lost))
    monkeypatch.setattr(scrub, "find_fault", stumble_at(bad, scrub.find_fault, 1))
    result, job = maintenance.scrub_tenant(playground.caller, deep=False, seen=lambda _: None)
    assert (result.missing, result.ordered, list(result.failed)) == (1, 1, [bad])
    assert f"error id {result.failed[bad]}" in caplog.text
    (failure,) = jobs.list_failures(playground.caller, job.id, first=10, after=None).items
    assert (failure.pack_id, failure.code, job.failed) == (bad, ErrorCode.INTERNAL, 1)
    playground.run_jobs()
    assert playground.site.variants.head(str(lost)) is not None


def test_a_scrub_compares_every_original_but_the_one_at_fault(
    playground: Playground, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(2):
        playground.pack(picture=photo(64, 48 + number))
    bad, lost = sorted(key.partition("/")[2] for key in playground.site.originals.list(f"{TENANT}/"))
    playground.site.originals.delete(f"{TENANT}/{lost}")
    monkeypatch.setattr(scrub, "find_fault", stumble_at(bad, scrub.find_fault, 1))
    result = scrub.scrub(playground.site, TENANT, deep=False, repair=False)
    assert ([original.sha256 for original in result.lost], list(result.failed)) == ([lost], [bad])


def test_what_a_change_superseded_is_marked_of_every_pack_but_the_one_at_fault(
    playground: Playground, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    pack_ids = [playground.pack(picture=photo(64, 48 + number)) for number in range(3)]
    playground.run_jobs()
    with playground.site.catalog.write(TENANT) as tx:
        tx.connection.execute(sa.update(variants).values(fingerprint="0" * 16))
        tx.connection.execute(sa.update(tenants).values(unmarked_after=""))
    bad, *good = sorted(pack_ids)
    monkeypatch.setattr(activate, "supersede_outdated", stumble_at(bad, supersede_outdated, 1))
    mark_portion(playground.site, TENANT)
    assert [len(superseded(playground, pack_id)) for pack_id in good] == [3, 3]
    assert superseded(playground, bad) == []
    assert f"of pack {bad} are not marked" in caplog.text
    with playground.site.catalog.read(TENANT) as tx:
        assert tx.connection.scalar(sa.select(tenants.c.unmarked_after).where(tenants.c.id == TENANT)) is None


def test_a_tombstone_at_fault_does_not_keep_the_others_from_being_replayed(
    playground: Playground, monkeypatch: pytest.MonkeyPatch
) -> None:
    bad, good = sorted(playground.pack(picture=photo(64, 48 + number)) for number in range(2))
    replayed: list[str] = []

    def replay(_site: object, _tenant: str, pack_id: str, _now: object) -> bool:
        replayed.append(pack_id)
        return True

    for pack_id in (bad, good):
        playground.site.tombstones.put(f"{TENANT}/{pack_id}", b"{}", Metadata("application/json", None, ()))
    monkeypatch.setattr(erase, "_replay", stumble_at(bad, replay, 2))
    assert erase.replay_tombstones(playground.site) == 1
    assert replayed == [good]


def test_what_is_no_mark_is_named_and_stops_no_mark(playground: Playground, caplog: pytest.LogCaptureFixture) -> None:
    playground.site.marks.put("default/notes.txt", b"", Metadata("text/plain", None, ()))
    playground.pack()
    assert write_marks(playground.site) is not None
    assert check_epoch(playground.site) is None
    assert "'default/notes.txt' is in the store of marks" in caplog.text
    assert any(key.startswith(f"{TENANT}/0") for key in playground.site.marks.list(""))


def test_a_migration_skips_an_item_that_causes_a_fault_and_takes_the_rest(caplog: pytest.LogCaptureFixture) -> None:
    taken: list[int] = []

    def work(batch: Sequence[int]) -> Report:
        report = Report()
        for item in batch:
            if item == 3:
                raise LookupError("an unforeseen fault")
            taken.append(item)
            report.counts["packsCreated"] += 1
        return report

    total, sizes = Report(), []
    caplog.set_level(logging.INFO)
    side_by_side(
        work,
        portions(iter(range(10)), 4),
        total,
        name=lambda item: ("pack", str(item)),
        threads=2,
        seen=lambda _, size: sizes.append(size),
    )
    assert set(taken) == set(range(10)) - {3}
    (left,) = total.of(Kind.LEFT)
    assert (left.id, left.code, total.found[Kind.LEFT]) == ("3", "INTERNAL", 1)
    assert left.message.rpartition(" ")[2].rstrip(".") in caplog.text
    assert sum(sizes) == 10


@pytest.mark.parametrize("error", [OSError("the store does not answer"), BadState("It is another database.")])
def test_a_migration_ends_at_an_outage_and_at_a_refusal_of_all(error: Exception) -> None:
    def work(_: Sequence[int]) -> Report:
        raise error

    with pytest.raises(type(error)):
        side_by_side(
            work,
            portions(iter(range(10)), 4),
            Report(),
            name=lambda item: ("pack", str(item)),
            threads=2,
            seen=lambda *_: None,
        )
