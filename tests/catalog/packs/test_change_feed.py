"""The change feed: every change in order and once, with deletions, and when a client must start over."""

from datetime import timedelta
from typing import Any

import pytest
import sqlalchemy as sa

from packshot.catalog.configuration import deletions
from packshot.catalog.configuration.tenants import ensure_tenant
from packshot.catalog.database.transaction import next_sequence
from packshot.catalog.packs import change_feed
from packshot.catalog.packs.change_feed import ChangeKind, ChangePage
from packshot.catalog.tables import artwork
from packshot.errors import Invalid, Limit, Resync
from packshot.maintenance import marks
from packshot.maintenance.marks import check_epoch, read_marks, write_marks
from packshot.storage.write_check import CHECK_METADATA, FOLDER
from pregen.services.marker import Marker
from resolvers import locations, packs
from resolvers.change_feed import get_epoch, list_changes
from tests.schema.request.test_statements import statements
from tests.support.pictures import photo
from tests.support.playground import TENANT, Playground


class Copy:
    """A client's copy of a tenant, which it keeps up to date."""

    def __init__(self, playground: Playground, size: int = 3) -> None:
        self._playground = playground
        self._size = size
        self.known: dict[str, tuple[int, Any]] = {}
        self.cursor: str | None = None
        self.seen: list[tuple[ChangeKind, str]] = []

    def page(self) -> ChangePage:
        return list_changes(self._playground.caller, first=self._size, after=self.cursor)

    def follow(self) -> "Copy":
        """Read the changes since the last call, page by page."""
        more = True
        while more:
            page = self.page()
            for change in page.changes:
                self.seen.append((change.kind, change.id))
                if change.pack is None and change.location is None:
                    self.known.pop(change.id, None)
                else:
                    self.known[change.id] = (change.sequence_number, change.external_id)
            self.cursor, more = page.end, page.has_next
        return self


def edit(playground: Playground, pack_id: str, asset_id: int) -> None:
    packs.update_pack(playground.caller, pack_id, {"asset_id": asset_id})


def make(playground: Playground, *names: str) -> list[str]:
    return [packs.create_pack(playground.caller, {"external_id": name}).pack.id for name in names]


def delete(playground: Playground, pack_id: str) -> None:
    packs.delete_pack(playground.caller, pack_id)


def age(playground: Playground, time: timedelta) -> None:
    """Make all deletions so far older."""
    table = artwork.deletions
    with playground.site.catalog.write_system() as tx:
        for row in tx.connection.execute(sa.select(table)).all():
            here = (table.c.tenant_id == row.tenant_id, table.c.id == row.id, table.c.subject == row.subject)
            tx.connection.execute(sa.update(table).where(*here).values(deleted_at=row.deleted_at - time))


def test_a_copy_that_follows_is_the_tenant(playground: Playground) -> None:
    ids = make(playground, *(f"film-{number}" for number in range(8)))
    playground.location("thumb", width=20, height=10)
    copy = Copy(playground).follow()
    assert set(copy.known) == {*ids, "main", "thumb"}
    assert len(copy.seen) == 10, "each is reported once"
    edit(playground, ids[3], 7)
    edit(playground, ids[3], 8)
    delete(playground, ids[0])
    playground.location("thumb", label="Small")
    (new,) = make(playground, "film-9")
    locations.delete_location(playground.caller, "thumb", force=True)
    copy.seen.clear()
    copy.follow()
    assert copy.seen == [
        (ChangeKind.PACK_CHANGED, ids[3]),
        (ChangeKind.PACK_DELETED, ids[0]),
        (ChangeKind.PACK_CHANGED, new),
        (ChangeKind.LOCATION_DELETED, "thumb"),
    ]
    assert set(copy.known) == {*ids[1:], new, "main"}
    assert Copy(playground, 100).follow().known == copy.known
    copy.seen.clear()
    assert copy.follow().seen == []


def test_what_was_deleted_is_told_with_what_it_was_called(playground: Playground) -> None:
    (gone, erased) = make(playground, "gone", "erased")
    for pack_id in (gone, erased):
        playground.show(pack_id, "main", photo(60, 40))
    cursor = Copy(playground).follow().cursor
    edit(playground, gone, 12)
    delete(playground, gone)
    packs.erase_pack(playground.caller, erased, "the rights have ended")
    page = list_changes(playground.caller, first=10, after=cursor)
    told = [(change.kind, change.id, change.external_id, change.asset_id) for change in page.changes]
    assert told == [(ChangeKind.PACK_DELETED, gone, "gone", 12), (ChangeKind.PACK_ERASED, erased, "erased", None)]
    numbers = [change.sequence_number for change in page.changes]
    assert numbers == sorted(set(numbers))
    # The feed reports a deleted pack again when it is erased.
    packs.erase_pack(playground.caller, gone, "the rights have ended")
    (last,) = list_changes(playground.caller, first=10, after=page.end).changes
    assert (last.kind, last.id, last.external_id) == (ChangeKind.PACK_ERASED, gone, "gone")
    assert last.sequence_number > numbers[-1]


def test_a_location_whose_pictures_get_new_keys_is_told(playground: Playground) -> None:
    playground.location("thumb", width=20, height=10)
    copy = Copy(playground).follow()
    playground.location("thumb", width=30)
    playground.run_jobs()
    assert (ChangeKind.LOCATION_CHANGED, "thumb") in copy.follow().seen[-1:]


def test_pages_never_shift_while_packs_change(playground: Playground) -> None:
    ids = make(playground, *(f"film-{number}" for number in range(9)))
    copy = Copy(playground, 2)
    for number in range(5):
        page = copy.page()
        copy.known |= {change.id: (change.sequence_number, change.external_id) for change in page.changes}
        copy.cursor = page.end
        # Reported changes move to the end, and so do changes that were not reported yet.
        edit(playground, ids[number], number)
        edit(playground, ids[8 - number // 2], 100 + number)
    delete(playground, ids[2])
    copy.follow()
    assert copy.known == Copy(playground, 100).follow().known


def test_equal_numbers_in_several_tables_are_all_told(playground: Playground) -> None:
    (pack_id,) = make(playground, "film")
    with playground.site.catalog.write(TENANT) as tx:
        number = next_sequence(tx)
        deletions.note_deleted_pack(tx, "d" * 24, number, external_id=None, asset_id=None)
        deletions.note_deleted_pack(tx, "e" * 24, number, external_id=None, asset_id=None)
        tx.connection.execute(sa.update(artwork.packs).values(sequence_number=number))
        tx.connection.execute(sa.update(artwork.locations).values(sequence_number=number))
    start = change_feed._spell(get_epoch(playground.caller), 0, 0, "", 0)
    for size in (1, 2, 3):
        copy = Copy(playground, size)
        copy.cursor = start
        assert [id for _, id in copy.follow().seen] == [pack_id, "main", "d" * 24, "e" * 24]


def test_a_page_costs_so_many_statements_and_rows(playground: Playground) -> None:
    ids = make(playground, *(f"film-{number}" for number in range(12)))
    for pack_id in ids[:6]:
        delete(playground, pack_id)
    with statements(playground.site.catalog) as seen:
        list_changes(playground.caller, first=5, after=None)
    selects = [text for text in seen if text.lstrip().startswith("SELECT")]
    assert len(selects) == 5
    assert sum("LIMIT" in text for text in selects) == 4, "all but the counter's one row"
    with playground.site.catalog.read(TENANT) as tx:
        if tx.connection.dialect.name == "sqlite":
            for text in (
                "packs WHERE tenant_id = 'default' AND sequence_number >= 5 AND sequence_number > 5",
                "deletions WHERE tenant_id = 'default' AND sequence_number > 0 AND sequence_number >= 5",
                "locations WHERE tenant_id = 'default' AND sequence_number >= 5",
            ):
                plan = tx.connection.execute(
                    sa.text(f"EXPLAIN QUERY PLAN SELECT * FROM {text} ORDER BY sequence_number LIMIT 5")  # noqa: S608
                )
                assert "tenant_id_sequence_number" in str(plan.all())


@pytest.mark.parametrize("cursor", ["nonsense", "W10", "WyJhIiwgMSwgMCwgInhcdTAwMDAiLCAwXQ", "x" * 5000])
def test_what_is_no_cursor_is_refused(playground: Playground, cursor: str) -> None:
    with pytest.raises(Invalid):
        list_changes(playground.caller, first=10, after=cursor)


def test_a_page_has_a_size(playground: Playground) -> None:
    for size in (0, 101):
        with pytest.raises(Limit):
            list_changes(playground.caller, first=size, after=None)


def test_who_looks_too_rarely_starts_over_and_who_looks_goes_on(playground: Playground) -> None:
    (first, second, third) = make(playground, "first", "second", "third")
    absent, present = Copy(playground).follow(), Copy(playground).follow()
    delete(playground, first)
    present.follow()
    age(playground, timedelta(days=91))
    delete(playground, second)
    begun = Copy(playground, 1)
    begun.cursor = begun.page().end
    with playground.site.catalog.write_system() as tx:
        assert deletions.delete_old_deletions(tx, timedelta(days=30)) == 1
        assert deletions.delete_old_deletions(tx, timedelta(days=30)) == 0
    with pytest.raises(Resync) as refused:
        absent.follow()
    assert refused.value.code == "RESYNC"
    assert set(present.follow().known) == {third, "main"}
    # A client that has just begun needs no dropped deletions.
    begun.known.clear()
    assert third in begun.follow().known
    absent.cursor, absent.known = None, {}
    assert absent.follow().known == present.known


def test_deletions_outlive_what_was_deleted_by_a_month(playground: Playground) -> None:
    (pack_id,) = make(playground, "film")
    delete(playground, pack_id)
    age(playground, timedelta(days=120))
    with playground.site.catalog.write_system() as tx:
        assert deletions.delete_old_deletions(tx, timedelta(days=100)) == 0
        assert deletions.delete_old_deletions(tx, timedelta(days=80)) == 1


def test_deletions_are_forgotten_some_at_a_time(playground: Playground, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(deletions, "PORTION", 2)
    for pack_id in make(playground, "a", "b", "c"):
        delete(playground, pack_id)
    age(playground, timedelta(days=91))
    with playground.site.catalog.write_system() as tx:
        assert [deletions.delete_old_deletions(tx, timedelta(0)) for _ in range(3)] == [2, 1, 0]


class Backup:
    """The rows that hold a tenant's sequence, restored as from a backup."""

    def __init__(self, playground: Playground) -> None:
        self._playground = playground
        with playground.site.catalog.read_system() as tx:
            self._row = tx.connection.execute(sa.select(artwork.sequences)).one()._asdict()
            self._epochs = tx.connection.execute(sa.select(artwork.epochs)).all()

    def restore(self) -> None:
        with self._playground.site.catalog.write_system() as tx:
            tx.connection.execute(sa.delete(artwork.deletions))
            tx.connection.execute(sa.delete(artwork.packs).where(artwork.packs.c.sequence_number > self._row["value"]))
            tx.connection.execute(sa.update(artwork.sequences).values(**self._row))
            tx.connection.execute(sa.delete(artwork.epochs))
            tx.connection.execute(sa.insert(artwork.epochs), [row._asdict() for row in self._epochs])


def test_a_restore_is_noticed_and_begins_an_epoch_above_every_number_that_was_drawn(playground: Playground) -> None:
    site = playground.site
    make(playground, "before")
    marker, backup = Marker(site), Backup(playground)
    (lost,) = make(playground, "lost")
    marker.step()
    copy, before = Copy(playground).follow(), get_epoch(playground.caller)
    highest = max(number for number, _ in copy.known.values())
    backup.restore()
    # Before the restore is noticed, the cursor is ahead of the counter.
    with pytest.raises(Resync):
        copy.follow()
    make(playground, "after")
    marker.step()
    after = get_epoch(playground.caller)
    assert after != before
    with pytest.raises(Resync):
        copy.follow()
    fresh = Copy(playground).follow()
    assert lost not in fresh.known
    (pack_id,) = make(playground, "later")
    assert fresh.follow().known[pack_id][0] > highest
    marker.step()
    marker.step()
    assert get_epoch(playground.caller) == after, "one restore is one epoch"
    assert len(read_marks(site)) == 1
    # A second restore, to before the first one, is noticed too.
    backup.restore()
    assert check_epoch(site) not in (None, before, after)


def test_without_a_restore_the_epoch_stays(playground: Playground) -> None:
    marker, before = Marker(playground.site), get_epoch(playground.caller)
    for number in range(3):
        make(playground, f"film-{number}")
        marker.step()
        assert check_epoch(playground.site) is None
        Marker(playground.site).step()
    assert get_epoch(playground.caller) == before
    (mark,) = read_marks(playground.site)
    assert (mark.tenant, mark.epoch) == (TENANT, before)


def test_an_operator_can_say_that_the_database_was_restored(playground: Playground) -> None:
    copy = Copy(playground).follow()
    write_marks(playground.site)
    assert check_epoch(playground.site, restored=True) == get_epoch(playground.caller)
    with pytest.raises(Resync):
        copy.follow()


def test_a_tenant_that_is_lost_begins_above_its_mark_when_it_is_made_again(playground: Playground) -> None:
    mark = marks.Mark("films", 70, get_epoch(playground.caller))
    playground.site.marks.put(mark.key, b"", marks._METADATA)
    assert check_epoch(playground.site)
    epoch = get_epoch(playground.caller)
    with playground.site.catalog.write("films") as tx:
        ensure_tenant(tx)
    assert check_epoch(playground.site) is None
    with playground.site.catalog.write("films") as tx:
        assert next_sequence(tx) > 70
    assert get_epoch(playground.caller) == epoch


def test_a_tenant_that_is_lost_does_not_keep_the_next_restore_from_being_noticed(playground: Playground) -> None:
    site = playground.site
    lost = marks.Mark("films", 70, get_epoch(playground.caller))
    site.marks.put(lost.key, b"", marks._METADATA)
    make(playground, "before")
    marker = Marker(site)
    marker.step()
    first = get_epoch(playground.caller)
    backup = Backup(playground)
    make(playground, "after")
    marker.step()
    assert {mark.tenant: mark.epoch for mark in read_marks(site)} == {"films": lost.epoch, TENANT: first}
    assert get_epoch(playground.caller) == first, "one restore is one epoch"
    backup.restore()
    marker.step()
    second = get_epoch(playground.caller)
    assert second not in (lost.epoch, first)
    assert {mark.tenant: mark.epoch for mark in read_marks(site)} == {"films": lost.epoch, TENANT: second}
    # A tenant that is created again never draws a number again, not even before the marker has run.
    assert marks.create_tenant(site, "films")
    assert not marks.create_tenant(site, "films")
    with site.catalog.write("films") as tx:
        drawn = next_sequence(tx)
    assert drawn > lost.number
    marker.step()
    assert get_epoch(playground.caller) == second
    (mark,) = (mark for mark in read_marks(site) if mark.tenant == "films")
    assert (mark.number >= drawn, mark.epoch) == (True, second)


def test_what_tries_the_store_of_marks_out_is_no_mark(playground: Playground) -> None:
    playground.site.marks.put(f"{FOLDER}/left", b"left", CHECK_METADATA)
    assert read_marks(playground.site) == []
