"""The catalog: names, versions, sequence numbers, pages, schema migrations, and concurrent writers."""

import base64
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from packshot.catalog.configuration import locations
from packshot.catalog.configuration.tenants import ensure_tenant, get_tenant
from packshot.catalog.database import migrate
from packshot.catalog.database.transaction import Catalog
from packshot.catalog.packs import packs
from packshot.catalog.packs.listing import PackFilter, PackOrder, list_packs
from packshot.catalog.tables.artwork import location_versions, originals
from packshot.catalog.tables.artwork import packs as pack_table
from packshot.catalog.variants.tombstones import Tombstone, set_tombstone
from packshot.catalog.work import jobs
from packshot.catalog.work.jobs import JobFilter, JobKind, JobState
from packshot.catalog.work.orders import Priority
from packshot.errors import Cycle, Gone, Invalid, Limit, NotFound, PackshotError, Taken, VersionConflict
from packshot.geometry import Crop, Gravity
from packshot.model import Format, Original, Rendition
from resolvers import jobs as job_resolvers
from resolvers import locations as location_resolvers
from resolvers import packs as pack_resolvers
from resolvers import tenants
from resolvers.migration.vimond.documents import map_pack_id
from tests.support.pictures import jpeg, photo
from tests.support.playground import TENANT, Playground


@pytest.fixture(params=["sqlite", "postgresql"])
def empty(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Catalog]:
    """An empty database of each kind."""
    with ExitStack() as parts:
        url = f"sqlite:///{tmp_path}/history.db"
        if request.param == "postgresql":
            url = parts.enter_context(request.getfixturevalue("postgres").database(migrated=False))
        catalog = Catalog(url)
        parts.callback(catalog.close)
        yield catalog


@pytest.mark.slow
def test_the_history_goes_up_and_down_and_agrees_with_the_tables(empty: Catalog) -> None:
    catalog = empty
    assert not migrate.is_current(catalog)
    migrate.upgrade(catalog)
    migrate.check(catalog)
    assert migrate.is_current(catalog)
    migrate.downgrade(catalog, "base")
    assert not migrate.is_current(catalog)
    migrate.upgrade(catalog)
    migrate.check(catalog)


@pytest.mark.slow
def test_originals_of_before_are_live_where_an_import_or_an_upload_made_their_pack(empty: Catalog) -> None:
    migrate.upgrade(empty)
    imported, replaced = map_pack_id("holiday", "iaas"), map_pack_id("changed", "iaas")
    uploaded, made, unnamed = ("a" * 24, "b" * 24, "c" * 24)
    names = {imported: "holiday", replaced: "changed", uploaded: "sent", made: "made by GraphQL", unnamed: None}
    digests = {pack_id: f"{number:064x}" for number, pack_id in enumerate(names)}
    with empty.write(TENANT) as tx:
        ensure_tenant(tx)
        for pack_id, name in names.items():
            packs.create_pack(tx, {"external_id": name}, id=pack_id)
            for sha256 in (digests[pack_id], *(["f" * 64] if pack_id == replaced else [])):
                original = Original(sha256, 1, 1, 1, "jpeg", False, 1, None, None)
                packs.announce_original(tx, original)
                packs.keep_original(tx, pack_id, original)
        jobs.create_job(tx, JobKind.REGENERATE, Priority.INTERACTIVE, pack_id=uploaded, by="live upload")
    migrate.downgrade(empty, "0023")
    migrate.upgrade(empty)
    with empty.read(TENANT) as tx:
        found = packs.find_live_originals(tx, list(digests.items()))
    assert found == {(pack_id, digests[pack_id]) for pack_id in (imported, uploaded)}, "no picture of an editor"


@pytest.mark.slow
def test_a_database_that_a_later_release_has_migrated_still_serves_this_one(empty: Catalog) -> None:
    migrate.upgrade(empty)
    with empty.write_system() as tx:
        tx.connection.execute(sa.text("UPDATE alembic_version SET version_num = '9999'"))
    assert migrate.is_current(empty)
    with empty.write_system() as tx:
        tx.connection.execute(sa.text("UPDATE alembic_version SET version_num = '0001'"))
    assert not migrate.is_current(empty)


@pytest.mark.slow
def test_what_there_is_stays_through_a_migration_and_back(empty: Catalog) -> None:
    migrate.upgrade(empty, "0002")
    born = (
        "INSERT INTO tenants (id, version, resize_gravity, include_all, format_policy, created_at)"
        " VALUES ('acme', 1, 'center', false, 'original', '2026-01-01 00:00:00')"
    )
    numbered = "INSERT INTO sequences (tenant_id, value) VALUES ('acme', 7)"
    with empty.write("acme") as tx:
        tx.connection.execute(sa.text(born))
        tx.connection.execute(sa.text(numbered))
    migrate.upgrade(empty)
    with empty.read("acme") as tx:
        kept = get_tenant(tx)
    assert (kept.name, kept.keep_credits) == ("acme", False)
    migrate.downgrade(empty, "0002")
    with empty.read("acme") as tx:
        query = "SELECT tenants.id, value FROM tenants JOIN sequences ON tenant_id = tenants.id"
        assert [tuple(row) for row in tx.connection.execute(sa.text(query))] == [("acme", 7)]


@pytest.mark.slow
def test_rows_keep_their_values_when_tables_and_columns_get_new_names(empty: Catalog) -> None:
    migrate.upgrade(empty, "0026")
    moment = "'2026-01-01 00:00:00'"
    with empty.write("acme") as tx:
        for rows in (
            "tenants (id, version, resize_gravity, include_all, format_policy, created_at, configured)"
            f" VALUES ('acme', 1, 'center', false, 'original', {moment}, 3)",
            f"webhooks (tenant_id, id, url, events, secret, active, created_at)"
            f" VALUES ('acme', 'w', 'http://a.example/', '[]', '', true, {moment})",
            "deliveries (tenant_id, id, webhook_id, event, body, state, attempts, due_at, created_at)"
            f" VALUES ('acme', 'd', 'w', 'pack.changed', '{{}}', 'queued', 2, {moment}, {moment})",
            f"answers (tenant_id, id, body, answer, expires_at) VALUES ('acme', 'a', 'digest', '{{}}', {moment})",
            "crowded (tenant_id, pack_id, location) VALUES ('acme', 'p', 'main')",
        ):
            tx.connection.execute(sa.text(f"INSERT INTO {rows}"))

    def read(*queries: str) -> list[Any]:
        with empty.read("acme") as tx:
            return [tx.connection.execute(sa.text(query)).scalar_one() for query in queries]

    migrate.upgrade(empty)
    assert read(
        "SELECT configuration_number FROM tenants",
        "SELECT attempts FROM webhook_deliveries JOIN webhooks ON webhooks.id = webhook_id",
        "SELECT body_sha256 FROM idempotency_answers",
        "SELECT location FROM full_pack_locations",
    ) == [3, 2, "digest", "main"]
    migrate.downgrade(empty, "0026")
    assert read(
        "SELECT configured FROM tenants",
        "SELECT attempts FROM deliveries JOIN webhooks ON webhooks.id = webhook_id",
        "SELECT body FROM answers",
        "SELECT location FROM crowded",
    ) == [3, 2, "digest", "main"]


def test_keeping_credits_is_a_new_version_of_the_tenant_once(playground: Playground) -> None:
    caller = playground.caller
    pack_id = playground.pack()
    for keep, is_new in ((True, True), (True, False), (False, True)):
        before = tenants.get_tenant(caller)
        assert bool(tenants.update_tenant(caller, {"keep_credits": keep}, force=True)[1]) is is_new
        playground.run_jobs()
        after = tenants.get_tenant(caller)
        assert (after.keep_credits, after.version - before.version) == (keep, int(is_new))
        assert all(target.drawing.credits is keep for target in playground.planned(pack_id).values())
    with pytest.raises(NotFound):
        tenants.update_tenant(replace(caller, tenant="unknown"), {"keep_credits": True})


def test_an_originals_quality_is_kept_and_a_known_original_gains_what_was_not_known(playground: Playground) -> None:
    data = jpeg(photo(60, 40), quality=71)
    pack_id = playground.pack(picture=data)
    for known in (71, None, 71):
        if known is None:
            # As an earlier release wrote it.
            with playground.site.catalog.write(TENANT) as tx:
                tx.connection.execute(originals.update().values(quality=None))
        else:
            playground.show(pack_id, "main", data)
        quality = playground.target(pack_id, "quality=auto").key.plan.quality
        assert quality == (known or 80)


def test_a_tenant_is_born_once_with_a_main_location_of_no_size(playground: Playground) -> None:
    with playground.site.catalog.write(TENANT) as tx:
        assert not ensure_tenant(tx)
        main = locations.get_location(tx, "main")
    assert main is not None
    assert (main.width, main.height, main.version) == (None, None, 1)


def test_tenants_do_not_see_each_other(playground: Playground) -> None:
    pack_id = playground.pack()
    with playground.site.catalog.write("other") as tx:
        ensure_tenant(tx)
        with pytest.raises(NotFound):
            packs.touch_pack(tx, pack_id, cause="a test")
        assert list_packs(tx, first=10, after=None, filter=PackFilter(), order=PackOrder.CREATED_DESC).total == 0


@pytest.mark.parametrize(
    ("name", "changes", "error", "field"),
    [
        ("Thumb", {"width": 1}, Invalid, ("name",)),
        ("-thumb", {"width": 1}, Invalid, ("name",)),
        ("t" * 64, {"width": 1}, Invalid, ("name",)),
        ("thumb", {}, Invalid, ("width",)),
        ("thumb", {"width": 0}, Invalid, ("width",)),
        ("thumb", {"width": -5}, Invalid, ("width",)),
        ("thumb", {"height": 4097}, Invalid, ("height",)),
        ("thumb", {"width": 1, "fallback": "nowhere"}, NotFound, ("fallback",)),
        ("thumb", {"width": 1, "fallback": "thumb"}, Cycle, ("fallback",)),
        ("thumb", {"width": 1, "formats": ()}, Invalid, ("formats",)),
        ("thumb", {"width": 1, "formats": (Format.AVIF, Format.AVIF)}, Invalid, ("formats",)),
        ("thumb", {"width": 1, "renditions": (Rendition(None, None),)}, Invalid, ("renditions", "0", "width")),
        ("thumb", {"width": 1, "renditions": (Rendition(1, None, 9.0),)}, Invalid, ("renditions", "0", "dpr")),
        ("thumb", {"renditions": tuple(Rendition(n, 1) for n in range(1, 34)), "width": 1}, Invalid, ("renditions",)),
        ("thumb", {"width": 1, "label": "x" * 256}, Invalid, ("label",)),
    ],
)
def test_a_location_that_does_not_fit_is_refused_and_changes_nothing(
    playground: Playground, name: str, changes: dict[str, Any], error: type[PackshotError], field: tuple[str, ...]
) -> None:
    with pytest.raises(error) as refusal:
        playground.location(name, **changes)
    assert refusal.value.field == field
    assert refusal.value.expected
    assert list(location_resolvers.get_locations(playground.caller, ["main", name])) == ["main"]


def test_a_longer_fallback_cycle_is_refused_with_its_course(playground: Playground) -> None:
    playground.location("a", width=1)
    playground.location("b", width=1, fallback="a")
    with pytest.raises(Cycle) as refusal:
        playground.location("a", fallback="b")
    assert refusal.value.got == "a -> b -> a"


def test_a_fallback_chain_is_bounded_wherever_it_is_lengthened(playground: Playground) -> None:
    for number in range(1, 9):
        playground.location(f"l{number}", width=1, fallback=f"l{number - 1}" if number > 1 else None)
    with pytest.raises(Invalid) as refusal:
        playground.location("l9", width=1, fallback="l8")
    assert refusal.value.expected == "at most 8 locations"
    with pytest.raises(Invalid) as refusal:
        playground.location("l1", fallback="main")
    assert (refusal.value.got or "").startswith("l8 -> l7")


def test_every_change_of_a_location_is_a_version_and_the_old_one_is_kept(playground: Playground) -> None:
    playground.location("thumb", width=100, height=50, label="Small")
    playground.location("thumb", height=None, resize_gravity=Gravity.NORTH)
    thumb = location_resolvers.get_location(playground.caller, "thumb")
    assert thumb is not None
    assert (thumb.version, thumb.width, thumb.height, thumb.label) == (2, 100, None, "Small")
    with playground.site.catalog.read(TENANT) as tx:
        kept = tx.connection.execute(
            sa.select(location_versions)
            .where(location_versions.c.name == "thumb")
            .order_by(location_versions.c.version)
        ).all()
    assert [(row.height, row.active_to is None, row.changed_by) for row in kept] == [
        (50, False, "tester"),
        (None, True, "tester"),
    ]


def test_a_change_that_changes_nothing_is_no_version_and_no_job(playground: Playground) -> None:
    playground.location("thumb", width=100)
    assert playground.location("thumb", width=100, height=None) is None
    thumb = location_resolvers.get_location(playground.caller, "thumb")
    assert thumb is not None
    assert thumb.version == 1


def test_a_new_label_needs_no_job(playground: Playground) -> None:
    playground.location("thumb", width=100)
    assert playground.location("thumb", label="Little") is None
    assert playground.location("thumb", width=90) is not None


def test_an_expected_version_that_has_passed_is_refused(playground: Playground) -> None:
    playground.location("thumb", width=100)
    with pytest.raises(VersionConflict) as refusal:
        location_resolvers.put_location(playground.caller, "thumb", {"width": 90}, expected_version=7)
    assert (refusal.value.current_version, refusal.value.current_id) == (1, "location:thumb")
    pack_id = playground.pack()
    with pytest.raises(VersionConflict) as refusal:
        pack_resolvers.set_crop(playground.caller, pack_id, "main", Crop(0, 0, 1, 0.5), expected_version=1)
    assert (refusal.value.current_version, refusal.value.got) == (2, "1")
    assert playground.snapshot(pack_id).pack_location("main").crop is None


def test_asset_and_external_ids_belong_to_one_pack(playground: Playground) -> None:
    first = pack_resolvers.create_pack(playground.caller, {"asset_id": 7, "external_id": "x"}).pack.id
    for values in ({"asset_id": 7}, {"external_id": "x"}):
        with pytest.raises(Taken) as refusal:
            pack_resolvers.create_pack(playground.caller, values)
        assert refusal.value.existing_id == first
    assert pack_resolvers.list_packs(playground.caller, first=10).total == 1


def test_whoever_moves_here_may_say_which_id_a_pack_has(playground: Playground) -> None:
    known, erased = "62e89a0ce4b0003c6f22b5a3", "f" * 24
    with playground.site.catalog.write(TENANT) as tx:
        assert packs.create_pack(tx, {}, id=known) == known
        set_tombstone(tx, Tombstone(TENANT, erased, "asked to", "tester", tx.now))
    refused = {
        known: Taken,
        known.upper(): Invalid,
        known[1:]: Invalid,
        f"{known}-1": Invalid,
        "": Invalid,
        erased: Gone,
    }
    for id, error in refused.items():
        with playground.site.catalog.write(TENANT) as tx, pytest.raises(error):
            packs.create_pack(tx, {}, id=id)
    with playground.site.catalog.read(TENANT) as tx:
        assert [packs.exists(tx, id) for id in refused] == [True] + [False] * 5


@pytest.mark.parametrize(
    ("crop", "field"),
    [
        (Crop(-0.1, 0, 1, 1), "top_left_x"),
        (Crop(0, 0, 1, 1.01), "bottom_right_y"),
        (Crop(0.5, 0, 0.5, 1), "bottom_right_x"),
        (Crop(0, 0.9, 1, 0.1), "bottom_right_y"),
        (Crop(float("nan"), 0, 1, 1), "top_left_x"),
    ],
)
def test_a_crop_off_the_picture_or_inverted_is_refused_and_changes_nothing(
    playground: Playground, crop: Crop, field: str
) -> None:
    pack_id = playground.pack()
    before = playground.snapshot(pack_id)
    with pytest.raises(Invalid) as refusal:
        pack_resolvers.set_crop(playground.caller, pack_id, "main", crop)
    assert refusal.value.field == ("crop", field)
    assert playground.snapshot(pack_id) == before


def test_pages_do_not_shift_while_packs_are_made(playground: Playground) -> None:
    made = [pack_resolvers.create_pack(playground.caller, {}).pack.id for _ in range(5)]
    page = pack_resolvers.list_packs(playground.caller, first=2)
    pack_resolvers.create_pack(playground.caller, {})
    seen = [pack.id for pack in page.items]
    while page.has_next:
        page = pack_resolvers.list_packs(playground.caller, first=2, after=page.cursors[-1])
        seen += [pack.id for pack in page.items]
    assert sorted(seen) == sorted(made)
    assert len(seen) == len(set(seen))


@pytest.mark.parametrize("order", list(PackOrder))
def test_every_order_walks_all_packs_once(playground: Playground, order: PackOrder) -> None:
    made = [pack_resolvers.create_pack(playground.caller, {}).pack.id for _ in range(4)]
    seen: list[str] = []
    after = None
    while True:
        page = pack_resolvers.list_packs(playground.caller, first=3, after=after, order=order)
        seen += [pack.id for pack in page.items]
        if not page.has_next:
            break
        after = page.cursors[-1]
    assert sorted(seen) == sorted(made)
    assert (seen == made) == (order in (PackOrder.CREATED_ASC, PackOrder.SEQUENCE_ASC))


def test_a_page_that_cannot_be_is_refused(playground: Playground) -> None:
    for first in (0, -1, 101):
        with pytest.raises(Limit):
            pack_resolvers.list_packs(playground.caller, first=first)


@pytest.mark.parametrize(
    "forged",
    [
        "x",
        "é",
        *(
            base64.urlsafe_b64encode(text.encode()).decode()
            for text in (
                "null",
                "[1, 2]",
                "[" * 100_000,
                f'["0001-01-01T00:00:00+14:00", "{"0" * 24}"]',
                f'["2026-01-01T00:00:00", "{"0" * 24}"]',
                '["2026-01-01T00:00:00+00:00", "\\u0000"]',
                '["2026-01-01T00:00:00+00:00", "\\ud800"]',
            )
        ),
    ],
)
def test_a_forged_cursor_is_refused(playground: Playground, forged: str) -> None:
    with pytest.raises(Invalid) as refusal:
        pack_resolvers.list_packs(playground.caller, first=1, after=forged)
    assert refusal.value.field == ("after",)


def test_a_number_beyond_the_column_is_no_cursor(playground: Playground) -> None:
    forged = base64.urlsafe_b64encode(f'[{10**30}, "{"0" * 24}"]'.encode()).decode()
    with pytest.raises(Invalid):
        pack_resolvers.list_packs(playground.caller, first=1, after=forged, order=PackOrder.SEQUENCE_ASC)


def test_many_writers_at_once_lose_nothing_and_number_in_order(playground: Playground) -> None:
    start = threading.Barrier(8)

    def write(_: int) -> list[str]:
        start.wait()
        return [pack_resolvers.create_pack(playground.caller, {}).pack.id for _ in range(10)]

    with ThreadPoolExecutor(8) as pool:
        made = [pack_id for ids in pool.map(write, range(8)) for pack_id in ids]
    with playground.site.catalog.read(TENANT) as tx:
        numbers = tx.connection.scalars(sa.select(pack_table.c.sequence_number)).all()
    assert len(set(made)) == 80
    assert sorted(numbers) == list(range(min(numbers), min(numbers) + 80))


def test_one_asset_id_claimed_by_many_at_once_goes_to_one(playground: Playground) -> None:
    start = threading.Barrier(6)

    def claim(_: int) -> str | None:
        start.wait()
        try:
            return pack_resolvers.create_pack(playground.caller, {"asset_id": 42}).pack.id
        except Taken:
            return None

    with ThreadPoolExecutor(6) as pool:
        won = [pack_id for pack_id in pool.map(claim, range(6)) if pack_id]
    assert len(won) == 1


def test_a_transaction_that_fails_changes_nothing(playground: Playground) -> None:
    def fail_half_way() -> None:
        with playground.site.catalog.write(TENANT) as tx:
            packs.create_pack(tx, {"asset_id": 1})
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail_half_way()
    assert pack_resolvers.list_packs(playground.caller, first=1).total == 0


def test_a_reader_sees_one_state_while_a_writer_commits(playground: Playground) -> None:
    with playground.site.catalog.read(TENANT) as tx:
        count = sa.select(sa.func.count()).select_from(pack_table)
        assert tx.connection.scalar(count) == 0
        pack_resolvers.create_pack(playground.caller, {})
        assert tx.connection.scalar(count) == 0


def test_edits_changes_and_regenerations_at_once_do_not_block_each_other(playground: Playground) -> None:
    pack_ids = [playground.pack(picture=_SMALL) for _ in range(3)]
    start = threading.Barrier(5)

    def many(act: Callable[[int], object]) -> None:
        start.wait()
        for number in range(25):
            act(number)

    acts: list[Callable[[int], object]] = [
        lambda n: pack_resolvers.set_crop(playground.caller, pack_ids[n % 3], "main", Crop(0, 0, 1, 0.5 + n / 60)),
        lambda n: pack_resolvers.set_crop(playground.caller, pack_ids[-n % 3], "main", Crop(0, 0, 0.5 + n / 60, 1)),
        lambda n: job_resolvers.regenerate_packs(playground.caller, pack_ids, Priority.INTERACTIVE),
        lambda n: playground.location("thumb", width=10 + n),
        lambda n: job_resolvers.regenerate_tenant(playground.caller, None, Priority.BULK),
    ]
    with ThreadPoolExecutor(5) as pool:
        for done in [pool.submit(many, act) for act in acts]:
            done.result()
    playground.run_jobs()
    still_open = [JobState.QUEUED, JobState.RUNNING]
    assert job_resolvers.list_jobs(playground.caller, first=1, after=None, only=JobFilter(states=still_open)).total == 0


_SMALL = jpeg(photo(8, 8))
