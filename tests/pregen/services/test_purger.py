"""Purges: every edit orders its own, and each is sent twice in spite of failures of the CDN or the process."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
import sqlalchemy as sa

from packshot.catalog.purging import purge_batches, purges
from packshot.catalog.purging.purges import Purge, PurgeState
from packshot.catalog.tables.work import erasures as erasure_table
from packshot.catalog.tables.work import purges as purge_table
from packshot.cdn.base import REPEAT_AFTER, ProviderBusy
from packshot.errors import Invalid, PackshotError, VersionConflict
from packshot.geometry import Crop, Gravity
from packshot.model import Format, IncludeAll, Rendition
from packshot.variants.request import RequestForm
from packshot.variants.resolve import Target, resolve
from pregen.queue.broker import make_broker
from pregen.services.purger import Purger
from pregen.worker import Worker
from resolvers import locations, pack_imports, packs, tenants
from resolvers.originals import Source
from resolvers.pack_imports import NewOriginal, NewPack, OnExisting
from tests.servers.host import Host, giving
from tests.support.admin import wait_for
from tests.support.pictures import jpeg, photo
from tests.support.playground import TENANT, Playground


class RecordingPurger:
    """A CDN that records its purges, completes them when the test says so, and fails on demand."""

    by_tags = True
    repeat_after = REPEAT_AFTER

    def __init__(self, most_tags: int = 30) -> None:
        self.most_tags = most_tags
        self.purged: list[list[str]] = []
        self.references: list[str] = []
        self.erased: list[bool] = []
        self.requests = 0
        self.slow = False
        self.fault: BaseException | None = None
        self.asking_fault: BaseException | None = None
        self.refused: set[str] = set()

    def headers(self, tags: Sequence[str]) -> dict[str, str]:
        return {"Xkey": " ".join(tags)}

    def check(self) -> str:
        return "a CDN of this test"

    def purge(self, tags: Sequence[str], *, reference: str, erasing: bool) -> str:
        self.references.append(reference)
        if self.fault is not None:
            raise self.fault
        if self.refused & set(tags):
            raise Invalid("That tag is refused.", got=" ".join(tags))
        self.purged.append(list(tags))
        self.erased.append(erasing)
        return f"purge-{len(self.purged)}"

    def is_complete(self, provider_id: str) -> bool:
        self.requests += 1
        if self.asking_fault is not None:
            raise self.asking_fault
        assert provider_id in {f"purge-{number}" for number in range(1, len(self.purged) + 1)}
        return not self.slow


class Front:
    """A playground behind a CDN. Its purges are carried out step by step."""

    def __init__(self, playground: Playground, purger: RecordingPurger) -> None:
        self.playground = playground
        self.purger = purger
        self.carrier = Purger(replace(playground.site, purger=purger))

    def rows(self) -> list[Purge]:
        """Return every purge, newest first."""
        with self.playground.site.catalog.read(TENANT) as tx:
            return list(purges.list_purges(tx, first=100, after=None).items)

    def row(self) -> Purge:
        (row,) = self.rows()
        return row

    def tags(self) -> set[str]:
        """Return the tags of purges that have not begun."""
        with self.playground.site.catalog.read(TENANT) as tx:
            queued = sa.select(purge_table.c.tags).where(purge_table.c.state == "queued")
            return {tag for tags in tx.connection.scalars(queued) for tag in tags}

    def carry(self) -> None:
        """Send due purges, after the time in which purges are collected into a batch."""
        self.collect()
        while self.carrier.step():
            self.collect()

    def collect(self) -> None:
        """Let the time pass in which purges are collected into a batch."""
        queued = purge_table.c.state == "queued"
        with self.playground.site.catalog.write(TENANT) as tx:
            for row in tx.connection.execute(sa.select(purge_table).where(queued)).all():
                due_at = row.due_at - purges.COLLECTED_FOR
                tx.connection.execute(sa.update(purge_table).where(purge_table.c.id == row.id).values(due_at=due_at))

    def settle(self) -> None:
        """Carry all purges out to the end, and delete them."""
        self.carry()
        self.let_pass(REPEAT_AFTER)
        self.carry()
        assert {row.state for row in self.rows()} <= {PurgeState.SUCCEEDED}
        with self.playground.site.catalog.write(TENANT) as tx:
            tx.connection.execute(sa.delete(purge_table))
        self.purger.purged.clear()

    def let_pass(self, duration: timedelta) -> None:
        """Move all times for which purges wait into the past."""
        with self.playground.site.catalog.write(TENANT) as tx:
            for row in tx.connection.execute(sa.select(purge_table)).all():
                names = ("due_at", "lease_until", "sent_at", "finished_at")
                values = {name: getattr(row, name) and getattr(row, name) - duration for name in names}
                tx.connection.execute(sa.update(purge_table).where(purge_table.c.id == row.id).values(**values))

    def edit(self, pack_id: str) -> None:
        packs.set_crop(self.playground.caller, pack_id, "main", Crop(0, 0, 1, 0.5))


@pytest.fixture
def front(playground: Playground) -> Front:
    return Front(playground, RecordingPurger())


def _fetched(front: Front, host: Host, pack_id: str) -> None:
    playground = front.playground
    host.answers["/a.jpg"] = giving(jpeg(photo(40, 30)))
    settings = playground.settings.model_copy(update={"fetch_allow": "127.0.0.1"})
    playground.url_importer._site = playground.with_settings(settings)
    original = NewOriginal("main", Source(url=host.url("/a.jpg")))
    pack_imports.create_packs(playground.caller, [NewPack({"external_id": "film"}, [original])], OnExisting.UPDATE)
    front.settle()
    assert playground.url_importer.step()


def _imported(front: Front, host: Host, pack_id: str) -> None:
    new = NewPack({"external_id": "film", "resize_gravity": Gravity.NORTH})
    pack_imports.create_packs(front.playground.caller, [new], OnExisting.UPDATE)


EDITS: dict[str, Callable[[Front, Host, str], Any]] = {
    "edit of main by tester": lambda front, host, id: front.edit(id),
    "setOriginal by tester": lambda front, host, id: front.playground.show(id, "main", photo(50, 40)),
    "removeOriginal by tester": lambda front, host, id: packs.remove_original(front.playground.caller, id, "main"),
    "updatePack by tester": lambda front, host, id: packs.update_pack(front.playground.caller, id, {"asset_id": 7}),
    "deletePack by tester": lambda front, host, id: packs.delete_pack(front.playground.caller, id),
    "createPacks by tester": _imported,
    "an original fetched by job:": _fetched,
}


@pytest.mark.parametrize("cause", EDITS)
def test_every_edit_of_a_pack_orders_its_purge(front: Front, host: Host, cause: str) -> None:
    pack_id = front.playground.pack(external_id="film")
    front.settle()
    EDITS[cause](front, host, pack_id)
    row = front.row()
    assert (row.scope, row.state, row.attempts) == (f"pack {pack_id}", PurgeState.QUEUED, 0)
    assert row.cause.startswith(cause)
    assert front.tags() == {f"p:{TENANT}:{pack_id}"}


def test_a_refused_edit_orders_nothing_and_a_new_pack_has_no_copies(front: Front) -> None:
    pack_id = packs.create_pack(front.playground.caller, {}).pack.id
    with pytest.raises(VersionConflict):
        packs.set_crop(front.playground.caller, pack_id, "main", Crop(0, 0, 1, 1), expected_version=9)
    assert front.rows() == []


CHANGES: dict[str, dict[str, Any]] = {
    "width": {"width": 100},
    "height": {"height": None},
    "fallback": {"fallback": None},
    "gravity": {"resize_gravity": Gravity.NORTH},
    "includeAll": {"include_all": None},
    "upscale": {"allow_upscale": True},
}


def _shown(front: Front, pack_ids: Sequence[str], names: Sequence[str]) -> dict[tuple[str, str], Target | None]:
    """Return the response of the bare stable URL of each pack and location."""
    found: dict[tuple[str, str], Target | None] = {}
    for pack_id in pack_ids:
        snapshot = front.playground.snapshot(pack_id)
        for name in names:
            try:
                found[pack_id, name] = resolve(snapshot, RequestForm(location=name), limit=front.playground.site.limit)
            except PackshotError:
                found[pack_id, name] = None
    return found


@pytest.mark.parametrize("changes", CHANGES.values(), ids=CHANGES)
def test_a_location_change_is_one_tag_that_every_changed_picture_carries(front: Front, changes: dict[str, Any]) -> None:
    playground = front.playground
    playground.location("cover", width=900, height=600, fallback="main")
    playground.location("thumb", width=800, height=800, fallback="cover", include_all=IncludeAll.TRUE)
    pack_ids = [playground.pack(), playground.pack(at="cover"), playground.pack(at="thumb")]
    front.settle()
    changed = 0
    for name in ("cover", "thumb"):
        before = _shown(front, pack_ids, ("main", "cover", "thumb"))
        playground.location(name, **changes)
        after = _shown(front, pack_ids, ("main", "cover", "thumb"))
        ordered = front.tags()
        assert ordered <= {f"l:{TENANT}:{name}"}
        for place, was in before.items():
            now = after[place]
            if was is not None and (now is None or now.key != was.key):
                assert set(was.tags) & ordered, place
                changed += 1
        front.settle()
    assert changed


def test_what_alters_no_picture_is_not_purged(front: Front) -> None:
    playground = front.playground
    playground.location("thumb", width=60, height=60)
    playground.location("thumb", label="Small")
    playground.location("thumb", width=60)
    assert front.rows() == []
    playground.location("thumb", formats=[Format.WEBP], renditions=[Rendition(30, 30)])
    assert front.tags() == {f"l:{TENANT}:thumb"}, "picture.json lists the offered variants"


def test_a_deleted_location_and_a_changed_tenant_are_purged(front: Front) -> None:
    playground = front.playground
    playground.location("thumb", width=60, height=60)
    locations.delete_location(playground.caller, "thumb", force=False)
    tenants.update_tenant(playground.caller, {"resize_gravity": Gravity.NORTH})
    tenants.update_tenant(playground.caller, {"resize_gravity": Gravity.NORTH})
    assert [(row.scope, row.cause) for row in front.rows()] == [
        ("tenant", "updateTenant by tester"),
        ("location thumb", "deleteLocation by tester"),
    ]
    assert front.tags() == {f"t:{TENANT}", f"l:{TENANT}:thumb"}


def test_edits_within_a_moment_are_one_purge(front: Front) -> None:
    pack_id = front.playground.pack()
    for _ in range(5):
        front.edit(pack_id)
    row = front.row()
    assert (row.state, row.cause) == (PurgeState.QUEUED, "edit of main by tester")
    front.carry()
    assert front.purger.purged == [[f"p:{TENANT}:{pack_id}"]]


def test_orders_are_collected_and_edits_without_end_wait_no_longer(
    front: Front, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Longer than the test can take.
    monkeypatch.setattr(purges, "COLLECTED_FOR", timedelta(hours=1))
    monkeypatch.setattr(purge_batches, "COLLECTED_FOR", timedelta(hours=1))
    pack_id, other = front.playground.pack(), front.playground.pack()
    assert not front.carrier.step(), "more purges may follow"
    front.let_pass(purges.COLLECTED_FOR / 2)
    front.edit(pack_id)
    assert not front.carrier.step()
    front.let_pass(purges.COLLECTED_FOR / 2)
    late = front.playground.pack()
    assert front.carrier.step()
    (together,) = front.purger.purged
    assert together == sorted(f"p:{TENANT}:{id}" for id in (pack_id, other, late)), (
        "purges of the same time are sent together"
    )


def test_an_edit_while_its_pack_is_purged_has_a_purge_of_its_own(front: Front) -> None:
    pack_id = front.playground.pack()
    edited: list[bool] = []
    real = front.purger.purge

    def purge(tags: Sequence[str], **how: Any) -> str:
        if not edited:
            edited.append(True)
            front.edit(pack_id)
        return real(tags, **how)

    front.purger.purge = purge  # type: ignore[method-assign]
    front.carry()
    assert len(front.rows()) == 2
    assert front.purger.purged == [[f"p:{TENANT}:{pack_id}"]] * 2, "the first may have been sent before the edit"


def test_the_second_purge_comes_after_the_first_is_complete(front: Front) -> None:
    front.purger.slow = True
    pack_id = front.playground.pack()
    tags = [f"p:{TENANT}:{pack_id}"]
    front.carry()
    assert (front.row().state, front.row().provider_id) == (PurgeState.RUNNING, "purge-1")
    front.let_pass(REPEAT_AFTER)
    front.carry()
    assert front.purger.purged == [tags], "it only asks again whether it is complete"
    front.purger.slow = False
    front.let_pass(purge_batches.LOOK_AGAIN)
    front.carry()
    front.let_pass(REPEAT_AFTER - timedelta(seconds=2))
    front.carry()
    assert (front.purger.purged, front.row().state) == ([tags], PurgeState.RUNNING)
    front.let_pass(timedelta(seconds=2))
    front.carry()
    row = front.row()
    assert front.purger.purged == [tags, tags]
    assert (row.state, row.attempts, row.provider_id, row.error) == (PurgeState.SUCCEEDED, 2, "purge-2", None)
    assert row.finished_at is not None
    requests = front.purger.requests
    front.let_pass(timedelta(hours=1))
    front.carry()
    assert front.purger.requests == requests


def test_what_is_due_together_is_one_call_as_far_as_the_cdn_takes_it(front: Front) -> None:
    front.purger.most_tags = 3
    tags = sorted(f"p:{TENANT}:{front.playground.pack()}" for _ in range(7))
    front.carry()
    assert [len(call) for call in front.purger.purged] == [3, 3, 1]
    assert sorted(tag for call in front.purger.purged for tag in call) == tags
    assert front.purger.requests == 3


def test_an_outage_is_shown_and_passes(front: Front) -> None:
    pack_id = front.playground.pack()
    front.purger.fault = OSError("the CDN does not answer")
    for attempt in range(1, 5):
        front.carry()
        row = front.row()
        assert (row.state, row.attempts, row.error) == (PurgeState.RUNNING, attempt, "OSError: the CDN does not answer")
        front.carry()
        assert front.row().attempts == attempt, "not before its pause is over"
        front.let_pass(timedelta(seconds=2**attempt))
    front.edit(pack_id)
    front.purger.fault = None
    front.carry()
    assert front.purger.purged == [[f"p:{TENANT}:{pack_id}"]], "both at once"
    assert [row.error for row in front.rows()] == [None, None]
    front.settle()


def test_an_outage_while_the_cdn_is_asked_purges_nothing_again(front: Front) -> None:
    front.playground.pack()
    front.purger.asking_fault = OSError("no answer")
    front.carry()
    row = front.row()
    assert (row.provider_id, row.error) == ("purge-1", "OSError: no answer")
    front.let_pass(timedelta(seconds=2))
    front.purger.asking_fault = None
    front.carry()
    assert len(front.purger.purged) == 1
    assert front.row().error is None


def test_a_purge_that_is_never_complete_is_sent_again(front: Front) -> None:
    front.playground.pack()
    front.purger.slow = True
    front.carry()
    front.let_pass(purge_batches.PATIENCE)
    front.carry()
    assert len(front.purger.purged) == 2
    assert front.row().attempts == 2
    assert "within 10 minutes" in (front.row().error or "")


@pytest.mark.parametrize("fault", ["away", "never complete"])
def test_a_day_of_outage_ends_in_a_failure_that_is_seen(
    front: Front, fault: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(purge_batches, "MAX_OUTAGES", 3)
    front.playground.pack()
    if fault == "away":
        front.purger.fault = OSError("the CDN does not answer")
    else:
        front.purger.slow = True
    for _ in range(4):
        front.carry()
        front.let_pass(purge_batches.PATIENCE)
    row = front.row()
    assert row.state is PurgeState.FAILED
    assert row.error is not None
    assert row.finished_at is not None


def test_a_cdn_that_has_no_room_is_asked_for_as_long_as_it_takes(front: Front, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(purge_batches, "MAX_OUTAGES", 3)
    first = front.playground.pack()
    front.purger.fault = ProviderBusy("3,000 are in progress")
    for attempt in range(1, 10):
        front.carry()
        row = front.row()
        assert (row.state, row.attempts, row.error) == (
            PurgeState.RUNNING,
            attempt,
            "ProviderBusy: 3,000 are in progress",
        )
        front.let_pass(purge_batches.ROOM_AFTER)
    front.purger.fault = None
    second = front.playground.pack()
    front.carry()
    assert front.purger.purged == [sorted(f"p:{TENANT}:{id}" for id in (first, second))], (
        "it was not accepted, so both are sent"
    )
    front.settle()


def test_one_refused_purge_takes_no_other_with_it(front: Front) -> None:
    good, bad = front.playground.pack(), front.playground.pack()
    front.purger.refused = {f"p:{TENANT}:{bad}"}
    front.carry()
    assert front.purger.purged == [[f"p:{TENANT}:{good}"]]
    states = {row.scope: row.state for row in front.rows()}
    assert states == {f"pack {good}": PurgeState.RUNNING, f"pack {bad}": PurgeState.FAILED}


def test_what_may_have_been_taken_is_asked_for_again_as_it_was(front: Front) -> None:
    """A provider that recognizes references purges once, although its response was lost."""
    for _ in range(3):
        front.playground.pack()
    front.purger.fault = OSError("the response was lost")
    front.carry()
    for attempt in range(1, purge_batches.MAX_CLAIMS + 1):
        front.let_pass(timedelta(seconds=2**attempt))
        front.carry()
    (first,) = set(front.purger.references)
    assert len(front.purger.references) == purge_batches.MAX_CLAIMS + 1
    front.let_pass(timedelta(minutes=1))
    front.purger.fault = None
    front.playground.pack()
    front.carry()
    assert [len(call) for call in front.purger.purged] == [4], "later it may be sent with others"
    assert front.purger.references[-1] != first
    front.settle()


def test_killed_while_sending_it_asks_for_the_very_same_again(front: Front) -> None:
    front.purger.most_tags = 2
    tags = sorted(f"p:{TENANT}:{front.playground.pack()}" for _ in range(2))
    front.purger.asking_fault = Killed()
    with pytest.raises(Killed):
        front.carry()
    front.purger.asking_fault = None
    front.let_pass(purge_batches.LEASE_TIME)
    front.playground.pack()
    front.carry()
    first, again, other = front.purger.references
    assert front.purger.purged[:2] == [tags, tags] or front.purger.purged[0] == front.purger.purged[2] == tags
    assert first in (again, other)
    assert len({first, again, other}) == 2
    front.settle()
    assert first not in front.purger.references[3:], "the second purge is a new one"


def test_what_is_erased_together_is_purged_together_and_apart_from_the_rest(front: Front) -> None:
    playground = front.playground
    kept, *gone = [playground.pack() for _ in range(3)]
    front.settle()
    front.purger.erased.clear()
    front.edit(kept)
    for pack_id in gone:
        packs.erase_pack(playground.caller, pack_id, "the rights have ended")
    front.carry()
    requests = {erased: set(tags) for tags, erased in zip(front.purger.purged, front.purger.erased, strict=True)}
    assert len(front.purger.purged) == 2
    assert requests == {
        True: {f"{kind}:{TENANT}:{pack_id}" for pack_id in gone for kind in "ep"},
        False: {f"p:{TENANT}:{pack_id}" for pack_id in (kept, *gone)},
    }


def test_what_is_erased_is_purged_for_good_and_with_each_pass(front: Front) -> None:
    playground = front.playground
    kept, gone = playground.pack(), playground.pack()
    front.settle()
    front.purger.erased.clear()
    front.edit(kept)
    packs.erase_pack(playground.caller, gone, "the rights have ended")
    front.carry()
    requests = dict(zip(map(tuple, front.purger.purged), front.purger.erased, strict=True))
    everything = (f"e:{TENANT}:{gone}", f"p:{TENANT}:{gone}")
    assert requests == {everything: True, tuple(sorted([f"p:{TENANT}:{kept}", f"p:{TENANT}:{gone}"])): False}
    front.settle()
    front.purger.erased.clear()
    assert playground.eraser.erase_next()
    front.carry()
    assert (front.purger.purged, front.purger.erased) == ([list(everything)], [True]), "it was cached until now"
    row = front.row()
    assert (row.scope, row.erasing) == (f"pack {gone}, erased", True)
    front.settle()
    with playground.site.catalog.write(TENANT) as tx:
        tx.connection.execute(sa.update(erasure_table).values(due_at=tx.now))
    assert playground.eraser.erase_next()
    front.carry()
    assert front.purger.purged == [list(everything)], "and again when no late worker can have stored it"
    front.settle()


class Killed(BaseException):
    """The end of a process without cleanup."""


@pytest.mark.parametrize("point", ["before it is sent", "after it is sent", "at the second purge"])
def test_a_process_killed_at_any_point_loses_no_purge(front: Front, point: str) -> None:
    pack_id = front.playground.pack()
    if point == "at the second purge":
        front.carry()
        front.let_pass(REPEAT_AFTER)
    kill = "asking_fault" if point == "after it is sent" else "fault"
    setattr(front.purger, kill, Killed())
    with pytest.raises(Killed):
        front.carry()
    setattr(front.purger, kill, None)
    front.purger.purged.clear()
    heir = Front(front.playground, front.purger)
    heir.carry()
    assert front.purger.purged == [], "the lease of the dead process has not expired"
    heir.let_pass(purge_batches.LEASE_TIME)
    heir.settle()
    front.edit(pack_id)
    front.purger.fault = Killed()
    with pytest.raises(Killed):
        front.carry()
    front.purger.fault = None
    front.playground.dispatcher.free_leases()
    heir.carry()
    assert front.purger.purged == [[f"p:{TENANT}:{pack_id}"]], "an embedded worker continues at once"


def test_who_lost_the_lease_ends_nothing(front: Front) -> None:
    front.playground.pack()
    catalog = front.playground.site.catalog
    with catalog.write_system() as tx:
        (zombie,) = purge_batches.claim_due(tx, limit=10, most_tags=30)
        assert purge_batches.claim_due(tx, limit=10, most_tags=30) == []
    front.let_pass(purge_batches.LEASE_TIME)
    with catalog.write_system() as tx:
        (heir,) = purge_batches.claim_due(tx, limit=10, most_tags=30)
        purge_batches.mark_complete(tx, zombie, "purge-1", repeat_after=None)
    assert front.row().state is PurgeState.RUNNING
    with catalog.write_system() as tx:
        purge_batches.mark_complete(tx, heir, "purge-2", repeat_after=None)
    assert (front.row().state, front.row().provider_id) == (PurgeState.SUCCEEDED, "purge-2")


def test_a_purge_is_not_begun_before_the_edit_that_shares_it_has_committed(front: Front) -> None:
    catalog = front.playground.site.catalog
    if catalog.is_sqlite:
        pytest.skip("SQLite has one writer at a time")
    pack_id = front.playground.pack()
    front.collect()
    with catalog.write(TENANT) as edit:
        purges.order_pack_purge(edit, pack_id, cause="a later edit")
        assert not front.carrier.step()
        assert front.purger.purged == []
    front.carry()
    assert len(front.purger.purged) == 1


def test_without_a_cdn_a_purge_is_done_at_once(playground: Playground) -> None:
    front = Front(playground, RecordingPurger())
    playground.pack()
    front.collect()
    assert Purger(playground.site).step()
    row = front.row()
    assert (row.state, row.attempts, row.provider_id) == (PurgeState.SUCCEEDED, 1, "none")


def test_what_ended_a_week_ago_is_forgotten(front: Front) -> None:
    front.playground.pack()
    front.carry()
    front.let_pass(purges.KEEP_PURGES)
    front.playground.dispatcher.step()
    assert len(front.rows()) == 1, "it has not ended"
    front.carry()
    front.let_pass(purges.KEEP_PURGES + timedelta(seconds=1))
    front.playground.dispatcher._sweep_rows()
    assert front.rows() == []


def test_the_worker_carries_purges_out(playground: Playground) -> None:
    purger = RecordingPurger()
    pack_id = playground.pack()
    site = replace(playground.site, purger=purger)
    worker = Worker(site, make_broker(playground.settings), threads=2)
    worker.start()
    try:
        wait_for(lambda: purger.purged)
        caller = replace(playground.caller, doorbell=worker)
        packs.set_crop(caller, pack_id, "main", Crop(0, 0, 1, 0.5))
        wait_for(lambda: len(purger.purged) >= 2)
    finally:
        worker.stop()
    assert purger.purged[:2] == [[f"p:{TENANT}:{pack_id}"]] * 2
