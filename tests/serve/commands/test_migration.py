"""Migration: from the old image service by its API, and from a folder of originals; repeated, and after a kill."""

import json
import os
import signal
import subprocess
import sys
import time
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from packshot.catalog.database.transaction import Catalog
from packshot.catalog.tables.columns import metadata
from packshot.catalog.variants import tombstones
from packshot.geometry import Crop, Gravity
from packshot.model import IncludeAll
from packshot.originals.ingest import digest_file
from resolvers import packs
from resolvers.migration import iaas
from resolvers.migration.report import Kind, Report
from resolvers.migration.vimond import service as vimond_service
from resolvers.migration.vimond.documents import map_names, map_pack_id, plain_id
from resolvers.migration.vimond.locations import Options, migrate_locations
from resolvers.migration.vimond.packs import RequestedPack, migrate_packs
from resolvers.migration.vimond.service import Credentials, VimondService
from tests.servers.old_service import ACCESS_KEY, PASSWORD, USER, OldService, old_service, pack_id
from tests.servers.postgres import Postgres
from tests.support.command import Command
from tests.support.pictures import jpeg, photo, png
from tests.support.playground import Playground
from tests.support.server import PROGRAM

LETS_IN = Credentials(basic=f"{USER}:{PASSWORD}", access_key=ACCESS_KEY)
FILM, SHOW, EMPTY, DAMAGED = map(pack_id, ("film", "show", "empty", "damaged"))
ODD = "legacy.pack_7"
CROP = {"topLeftX": 0.1, "topLeftY": 0.05, "bottomRightX": 0.9, "bottomRightY": 0.95}

# SQLite only, where no statement depends on the kind of database.
ON_ONE = pytest.mark.parametrize("database_url", [None])


@pytest.fixture
def old() -> Iterator[OldService]:
    """An old service with valid documents, and some invalid ones."""
    with old_service() as service:
        service.config("main", width=1920, height=1080, label="Main picture")
        service.config("thumb", width=320, height=180, fallback="main", resizeGravity="NORTH")
        service.config("Portal_Cover", width=300, height=450, fallback="thumb", useResizeIncludeAll="TRUE")
        service.config("Thumb", width=100)
        service.pack(
            FILM,
            assetId=101,
            resizeGravity="south",
            locations={
                "main": {},
                "thumb": {"cropInfo": CROP, "useResizeIncludeAll": "FALSE", "resizeGravity": "south-west"},
                "Portal_Cover": {"cropInfo": {"topLeftX": 0, "topLeftY": 0, "bottomRightX": 0.5, "bottomRightY": 1}},
            },
        )
        service.uploaded[FILM, "main"] = jpeg(photo(640, 480))
        service.uploaded[FILM, "thumb"] = jpeg(photo(400, 300, seed=2))
        service.pack(SHOW, assetId=102, mainImageLocation="thumb", locations={"thumb": {}})
        service.uploaded[SHOW, "thumb"] = jpeg(photo(300, 200, seed=3))
        yield service


def add_oddities(service: OldService) -> None:
    """Documents that cannot be migrated unchanged, or at all."""
    service.config("wide", width=99_999, height=10)
    service.config("loop-a", width=10, fallback="loop-b")
    service.config("loop-b", width=10, fallback="loop-a")
    service.config("lost", width=10, fallback="nowhere")
    service.extra_configs += [
        {"label": "without a name"},
        "no object",
        {"name": "x", "resizeGravity": "up", "width": 1},
    ]
    service.pack(ODD, locations={"main": {}})
    service.uploaded[ODD, "main"] = jpeg(photo(64, 48, seed=4))
    service.pack(EMPTY, assetId=103, locations={"main": {}, "thumb": {}})
    service.uploaded[EMPTY, "thumb"] = jpeg(photo(64, 48, seed=5))
    service.pack(
        DAMAGED, assetId="none", locations={"main": {"cropInfo": {**CROP, "topLeftX": 2}}, "thumb": {}, "wide": {}}
    )
    service.uploaded[DAMAGED, "main"] = b"<html>no picture</html>"
    service.uploaded[DAMAGED, "thumb"] = jpeg(photo(80, 60, seed=6))


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vimond_service, "FIRST_PAUSE_SECONDS", 0.001)


def move(playground: Playground, old: OldService, *ids: str, **options: Any) -> Report:
    """Migrate from an old service as the command does."""
    service, report = VimondService(old.url, LETS_IN, threads=4), Report()
    chosen = Options(**options)
    places = migrate_locations(playground.caller, service, chosen, report)
    folder = playground.settings.data / "importing"
    folder.mkdir(exist_ok=True)
    named = iter([RequestedPack(plain_id(id)) for id in ids])
    migrate_packs(playground.caller, service, places, named, chosen, report, folder=folder, seen=lambda *_: None)
    service.close()
    assert not list(folder.iterdir())
    return report


def move_folder(playground: Playground, folder: Path, **options: Any) -> Report:
    """Migrate a folder of originals as the command does."""
    report = Report()
    iaas.migrate_images(playground.caller, folder, iaas.Options(**options), report, seen=lambda *_: None)
    return report


def dump(catalog: Catalog) -> dict[str, list[Any]]:
    """Return every row of every table."""
    with catalog.engine.connect() as connection:
        return {
            name: sorted(map(repr, connection.execute(sa.select(table)).all()))
            for name, table in metadata.tables.items()
        }


def said(report: Report, kind: Kind = Kind.LEFT) -> dict[str, str]:
    """Return a report's messages by their subject."""
    return {f"{finding.what} {finding.id}": finding.message for finding in report.of(kind)}


def test_locations_and_packs_are_migrated_with_their_ids(playground: Playground, old: OldService) -> None:
    report = move(playground, old, FILM, f"{SHOW}-1662654467834")
    assert said(report) == {}
    covers = {finding.id: finding.to for finding in report.of(Kind.MAPPED)}
    assert covers == {"Portal_Cover": "portal-cover", "Thumb": map_names(["thumb", "Thumb"])["Thumb"]}
    film = playground.snapshot(FILM)
    places = film.locations
    assert {name: (place.width, place.height, place.fallback) for name, place in places.items()} == {
        "main": (1920, 1080, None),
        "thumb": (320, 180, "main"),
        "portal-cover": (300, 450, "thumb"),
        covers["Thumb"]: (100, None, None),
    }
    assert (places["main"].label, places["thumb"].resize_gravity) == ("Main picture", Gravity.NORTH)
    assert places["portal-cover"].include_all is IncludeAll.TRUE
    assert (film.pack.asset_id, film.pack.external_id, film.pack.resize_gravity) == (101, None, Gravity.SOUTH)
    # The old age and number are not compared here.
    assert (film.pack.created_at.year > 2022, film.pack.sequence_number > 0) == (True, True)
    thumb = film.pack_location("thumb")
    assert thumb.original is not None
    # The whole image in its own ratio, neither cropped nor in the location's 320 x 180.
    assert (thumb.original.width, thumb.original.height) == (400, 300)
    assert (thumb.crop, thumb.resize_gravity, thumb.include_all) == (
        Crop(0.1, 0.05, 0.9, 0.95),
        Gravity.SOUTHWEST,
        IncludeAll.FALSE,
    )
    # Only a crop is set there; the image comes from the fallback.
    assert film.pack_location("portal-cover").original is None
    assert film.pack_location("portal-cover").crop == Crop(0, 0, 0.5, 1)
    assert report.counts["shownByFallback"] == 1
    show = playground.snapshot(SHOW)
    assert (show.pack.main_location, show.pack_location("main").original) == ("thumb", None)
    assert report.counts["originalsRendered"] == report.counts["originalsTaken"] == 3
    playground.run_jobs()
    assert {entry.state.value for entry in playground.entries(FILM).values()} == {"ready"}
    assert len(playground.entries(FILM)) == len(playground.planned(FILM)) > 0


def test_a_second_run_changes_and_renders_nothing(playground: Playground, old: OldService) -> None:
    add_oddities(old)
    ids = (FILM, SHOW, ODD, EMPTY, DAMAGED, "0" * 24)
    first = move(playground, old, *ids)
    assert first.jobs
    before = dump(playground.site.catalog)
    again = move(playground, old, *ids)
    after = dump(playground.site.catalog)
    # The second run only requests the refused image again.
    assert {name for name in before if before[name] != after[name]} == set()
    assert not again.jobs
    assert again.counts["packsUnchanged"] == first.counts["packsCreated"] == 5
    assert said(again) == said(first)


def test_a_dry_run_says_what_would_be_done_and_does_nothing(playground: Playground, old: OldService) -> None:
    add_oddities(old)
    before = dump(playground.site.catalog)
    foreseen = move(playground, old, FILM, SHOW, ODD, dry_run=True)
    assert dump(playground.site.catalog) == before
    assert not any(path.startswith("/api/v2") for path in old.requests)
    done = move(playground, old, FILM, SHOW, ODD)
    names = ("locationsCreated", "locationsChanged", "packsCreated", "packsChanged")
    assert [foreseen.counts[name] for name in names] == [done.counts[name] for name in names]
    assert said(foreseen) == said(done)
    again = move(playground, old, FILM, SHOW, ODD, dry_run=True)
    assert again.counts["packsUnchanged"] == 3
    assert not again.jobs


@ON_ONE
def test_failures_are_reported_and_the_rest_is_migrated(playground: Playground, old: OldService) -> None:
    add_oddities(old)
    report = move(playground, old, ODD, EMPTY, DAMAGED, "0" * 24)
    left = said(report)
    assert set(left) == {
        "location wide",
        "location number 9",
        "location number 10",
        "location x",
        "fallback loop-b",
        "fallback lost",
        f"pack {DAMAGED}",
        f"pack location {DAMAGED}/main",
        f"pack location {DAMAGED}/wide",
        f"original {EMPTY}/main",
        f"original {DAMAGED}/main",
        f"pack {'0' * 24}",
    }
    assert "expected 1 to 4096, got 99999" in left["location wide"]
    assert "loop-b -> loop-a -> loop-b" in left["fallback loop-b"]
    assert "expected a whole number, got none" in left[f"pack {DAMAGED}"]
    assert "got 404" in left[f"original {EMPTY}/main"]
    damaged = playground.snapshot(DAMAGED)
    assert (damaged.pack_location("main").original, damaged.pack_location("main").crop, damaged.pack.asset_id) == (
        None,
        None,
        None,
    )
    assert damaged.pack_location("thumb").original is not None
    odd = map_pack_id(ODD)
    assert playground.snapshot(odd).pack.external_id == ODD
    assert {finding.id: finding.to for finding in report.of(Kind.MAPPED)}[ODD] == odd
    # The pack's name leads elsewhere in the old service's paths, so it is requested alone.
    move(playground, old, "../imageLocationConfigs")
    assert "/adminAPI/imagePack/..%2FimageLocationConfigs" in old.requests


@ON_ONE
def test_what_failed_is_migrated_once_it_exists(playground: Playground, old: OldService) -> None:
    old.bad_days[f"/api/v2/img/{FILM}"] = deque([500] * 15)
    left = said(move(playground, old, FILM))
    assert set(left) == {f"original {FILM}/{name}" for name in ("main", "thumb", "Portal_Cover")}
    assert "status 500" in left[f"original {FILM}/main"]
    assert playground.snapshot(FILM).pack_location("thumb").crop is not None
    report = move(playground, old, FILM)
    assert (said(report), report.counts["packsChanged"], report.counts["originalsTaken"]) == ({}, 1, 2)


@ON_ONE
def test_an_image_that_may_be_a_fallbacks_does_not_become_an_own_original(
    playground: Playground, old: OldService
) -> None:
    # The main location's image is missing, and those of other locations might equal it.
    old.bad_days[f"/api/v2/img/{FILM}"] = deque([500] * 5)
    left = said(move(playground, old, FILM))
    assert "may be the original at 'main'" in left[f"original {FILM}/thumb"]
    assert [playground.snapshot(FILM).pack_location(name).original for name in ("main", "thumb", "portal-cover")] == [
        None
    ] * 3
    assert said(move(playground, old, FILM)) == {}
    film = playground.snapshot(FILM)
    assert [film.pack_location(name).original is None for name in ("main", "thumb", "portal-cover")] == [
        False,
        False,
        True,
    ]
    # A later edit here does not make the fallback's image the location's own.
    playground.show(FILM, "thumb", photo(50, 50))
    assert (said(move(playground, old, FILM)), playground.snapshot(FILM).pack_location("portal-cover").original) == (
        {},
        None,
    )


@ON_ONE
def test_temporary_errors_are_retried(playground: Playground, old: OldService) -> None:
    old.bad_days["/adminAPI/imageLocationConfigs"] = deque([503, 0, 502])
    old.bad_days[f"/adminAPI/imagePack/{FILM}"] = deque([500, 429])
    old.bad_days[f"/api/v2/img/{FILM}"] = deque([0, 504])
    assert said(move(playground, old, FILM)) == {}
    assert playground.snapshot(FILM).pack_location("main").original is not None


@ON_ONE
def test_a_pack_that_is_not_shown_is_left_and_one_with_a_cache_buster_in_its_id_keeps_it(
    playground: Playground, old: OldService
) -> None:
    old.packs[FILM]["id"] = f"{FILM}-1662654467834"
    old.bad_days[f"/adminAPI/imagePack/{EMPTY}"] = deque([403])
    left = said(move(playground, old, EMPTY, FILM))
    assert "got 403" in left[f"pack {EMPTY}"]
    assert playground.snapshot(FILM).pack_location("main").original is not None


@ON_ONE
def test_the_target_of_a_redirect_does_not_get_the_credentials(playground: Playground, old: OldService) -> None:
    with old_service() as bucket:
        bucket.packs, bucket.uploaded, bucket.configs = old.packs, old.uploaded, old.configs
        old.leads_to = bucket
        assert said(move(playground, old, SHOW)) == {}
        assert (old.keys, bucket.keys) == ([(ACCESS_KEY, None)], [(None, None)])
    assert playground.snapshot(SHOW).pack_location("thumb").original is not None


@ON_ONE
def test_an_edit_there_is_followed_and_an_edit_here_is_kept(playground: Playground, old: OldService) -> None:
    move(playground, old, FILM, SHOW)
    old.packs[FILM] |= {"modified": "2999-01-01T00:00:00Z", "resizeGravity": "east"}
    old.uploaded[FILM, "main"] = jpeg(photo(500, 400, seed=9))
    packs.update_pack(playground.caller, SHOW, {"resize_gravity": Gravity.NORTH})
    report = move(playground, old, FILM, SHOW)
    film = playground.snapshot(FILM)
    main = film.pack_location("main").original
    assert main is not None
    assert (film.pack.resize_gravity, main.width) == (Gravity.EAST, 500)
    assert report.counts["packsChanged"] == 1
    assert "resize_gravity, and was changed later; --force" in said(report)[f"pack {SHOW}"]
    assert playground.snapshot(SHOW).pack.resize_gravity is Gravity.NORTH
    assert said(move(playground, old, SHOW, force=True)) == {}
    assert playground.snapshot(SHOW).pack.resize_gravity is None


@ON_ONE
def test_locations_in_use_are_changed_with_force_only(playground: Playground, old: OldService) -> None:
    move(playground, old, FILM)
    old.configs["thumb"] |= {"width": 200, "updated": "2999-01-01T00:00:00Z"}
    for dry_run in (True, False):
        report = move(playground, old, dry_run=dry_run)
        assert "another width would alter; --force" in said(report)["location thumb"]
    assert playground.snapshot(FILM).locations["thumb"].width == 320
    assert move(playground, old, force=True).counts["locationsChanged"] == 1
    assert playground.snapshot(FILM).locations["thumb"].width == 200


@ON_ONE
def test_erased_packs_and_assets_of_others_stay_as_they_are(playground: Playground, old: OldService) -> None:
    mine = playground.pack(picture=photo(20, 20), asset_id=102)
    before = playground.snapshot(mine)
    report = move(playground, old, FILM, SHOW)
    assert "Another pack has that id already" in said(report)[f"pack {SHOW}"]
    assert packs.find_pack(playground.caller, id=SHOW) is None
    after = playground.snapshot(mine)
    assert (after.pack, after.pack_locations) == (before.pack, before.pack_locations)
    packs.erase_pack(playground.caller, FILM, "asked to")
    while playground.eraser.erase_next():
        pass
    report = move(playground, old, FILM)
    assert "erased" in said(report)[f"pack {FILM}"]
    with playground.site.catalog.read(playground.caller.tenant) as tx:
        assert tombstones.find_erased(tx, [FILM]) == {FILM}
    assert packs.find_pack(playground.caller, id=FILM) is None


@ON_ONE
def test_originals_come_from_a_copy_of_the_bucket(playground: Playground, old: OldService, tmp_path: Path) -> None:
    bucket = tmp_path / "bucket"
    (bucket / FILM).mkdir(parents=True)
    (bucket / FILM / "main.jpg").write_bytes(old.uploaded[FILM, "main"])
    (bucket / FILM / "thumb").write_bytes(b"")
    (bucket / FILM / "Thumb.png").write_bytes(png(photo(9, 9)))
    (bucket / FILM / "unknown").write_bytes(png(photo(9, 9)))
    (bucket / SHOW).mkdir()
    (bucket / SHOW / "thumb").write_bytes(png(photo(30, 20)))
    report = move(playground, old, FILM, SHOW, originals=bucket)
    main = playground.snapshot(FILM).pack_location("main").original
    assert main is not None
    assert main.sha256 == digest_file(bucket / FILM / "main.jpg")
    assert report.counts["originalsRendered"] == 0
    assert set(said(report)) == {f"original {FILM}/{name}" for name in ("thumb", "Portal_Cover", "unknown")}
    # The document does not name the original, but the file exists.
    assert playground.snapshot(FILM).pack_location(map_names(["thumb", "Thumb"])["Thumb"]).original is not None
    assert not any(path.startswith("/api/v2") for path in old.requests)
    assert (bucket / FILM / "main.jpg").exists()
    assert not move(playground, old, FILM, SHOW, originals=bucket).jobs


@ON_ONE
def test_the_command_takes_packs_assets_and_a_range(
    playground: Playground, old: OldService, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    command = Command(playground)
    monkeypatch.setenv("VIMOND_BASIC", f"{USER}:{PASSWORD}")
    monkeypatch.setenv("VIMOND_ACCESS_KEY", ACCESS_KEY)
    old.wants_key = True
    ids, assets, findings = tmp_path / "ids", tmp_path / "assets", tmp_path / "findings"
    ids.write_text(f"# films\n{FILM}-166\n\n{'0' * 24}\n")
    assets.write_text("102\n999\n")
    told = command.json(
        "import", "vimond", "--url", f"{old.url}/", "--packs", str(ids), "--assets", str(assets),
        "--asset-range", "100-103", "--report", str(findings), code=3,
    )  # fmt: skip
    assert {left["id"] for left in told["left"]} == {"0" * 24, "999"}
    assert (told["counts"]["packsCreated"], told["counts"]["assetsWithoutPack"]) == (2, 2)
    assert told["jobCount"] >= 1
    lines = [json.loads(line) for line in findings.read_text().splitlines()]
    assert [line["kind"] for line in lines].count("left") == told["leftCount"] == 2
    result = command.run("import", "vimond", "--url", old.url, "--assets", "-", code=3, input="102\n999")
    assert "Packs: 0 created, 0 changed, 1 unchanged." in result.stdout
    assert "location Portal_Cover is portal-cover here" in result.stdout
    assert "asset 999: The old service has no pack of this id." in result.stderr
    output = json.dumps(told) + result.output + findings.read_text()
    assert PASSWORD not in output
    assert ACCESS_KEY not in output


@ON_ONE
def test_a_wrong_use_a_refusal_and_an_absent_service_are_told_apart(
    playground: Playground, old: OldService, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    command = Command(playground)
    here = ("import", "vimond", "--url")
    assert "expected two numbers" in command.run(*here, old.url, "--asset-range", "5", code=2).stderr
    assert "does not exist" in command.run(*here, old.url, "--packs", "nowhere", code=2).stderr
    assert "refuses the credentials" in command.run(*here, old.url, code=1).stderr
    refused = command.run(*here, f"http://{USER}:secret@127.0.0.1:1", code=1)
    assert "VIMOND_BASIC" in refused.stderr
    assert "secret" not in refused.stderr
    monkeypatch.setenv("VIMOND_BASIC", f"{USER}:{PASSWORD}")
    old.wants_key = True
    (tmp_path / "ids").write_text(SHOW)
    shut = command.run(*here, old.url, "--packs", str(tmp_path / "ids"), code=3)
    assert "or a key in VIMOND_ACCESS_KEY, got 403" in shut.stderr
    assert "The old service does not answer" in command.run(*here, "http://127.0.0.1:1", code=4).stderr
    many = [pack_id(str(number)) for number in range(12)]
    for id in many:
        old.bad_days[f"/adminAPI/imagePack/{id}"] = deque([500] * 5)
    (tmp_path / "ids").write_text("\n".join(many))
    away = command.run(*here, old.url, "--packs", str(tmp_path / "ids"), "--threads", "1", code=4)
    assert "no answer for 5 packs in a row" in away.stderr
    assert "run the same command again to continue" in away.stderr
    monkeypatch.setenv("VIMOND_TOKEN", "x")
    assert "got both" in command.run(*here, old.url, code=1).stderr


@ON_ONE
def test_a_killed_run_continues(
    playground: Playground, old: OldService, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VIMOND_BASIC", f"{USER}:{PASSWORD}")
    many = [pack_id(f"many {number}") for number in range(6)]
    for number, id in enumerate(many):
        old.pack(id, locations={"main": {}})
        old.uploaded[id, "main"] = jpeg(photo(24, 16, seed=number))
    (tmp_path / "ids").write_text("\n".join(many))
    words = ["import", "vimond", "--url", old.url, "--packs", str(tmp_path / "ids"), "--threads", "1"]
    command, pictures = Command(playground), "/api/v2/img/"
    environ = {name: value for name, value in os.environ.items() if not name.startswith("PACKSHOT_")}
    environ |= {name: value for name, value in command.environ.items() if value is not None}
    program = f"from resolvers.migration.vimond import packs\npacks.PACKS_AT_ONCE = 3\n{PROGRAM}"
    # The second portion has begun, and its last image is withheld.
    old.held.add(f"{pictures}{many[5]}")
    with subprocess.Popen([sys.executable, "-c", program, *words], env=environ) as killed:
        while not any(path.startswith(pictures + many[5]) for path in old.requests):
            assert killed.poll() is None
            time.sleep(0.01)
        killed.send_signal(signal.SIGKILL)
    old.held.clear()
    assert list((playground.settings.data / "importing").glob("*/*"))
    assert [packs.find_pack(playground.caller, id=id) is not None for id in many] == [True] * 3 + [False] * 3
    asked = len(old.requests)
    told = command.json(*words)
    assert (told["counts"]["packsUnchanged"], told["counts"]["packsCreated"], told["leftCount"]) == (3, 3, 0)
    assert sum(path.startswith(pictures) for path in old.requests[asked:]) == 3
    assert not (playground.settings.data / "importing").exists()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Originals as the live-resize service stores them."""
    folder = tmp_path / "originals"
    (folder / "ab" / "cd").mkdir(parents=True)
    (folder / "holiday").write_bytes(jpeg(photo(60, 40)))
    (folder / "ab" / "portrait_2.PNG").write_bytes(png(photo(40, 60)))
    (folder / "ab" / "cd" / "v1.final.jpg").write_bytes(jpeg(photo(50, 50)))
    (folder / ".keep").write_bytes(b"")
    return folder


def test_each_file_of_a_folder_becomes_a_pack(playground: Playground, folder: Path) -> None:
    report = move_folder(playground, folder)
    assert (said(report), report.counts["packsCreated"], len(report.jobs)) == ({}, 3, 1)
    for id, size in {"holiday": (60, 40), "portrait_2": (40, 60), "v1.final": (50, 50)}.items():
        found = packs.find_pack(playground.caller, external_id=id)
        assert found == map_pack_id(id, "iaas")
        original = playground.snapshot(found).pack_location("main").original
        assert original is not None
        assert (original.width, original.height) == size
    assert len(list(folder.rglob("*.*"))) == 3
    before = dump(playground.site.catalog)
    again = move_folder(playground, folder)
    assert (again.counts["packsUnchanged"], dump(playground.site.catalog) == before) == (3, True)


@ON_ONE
def test_a_dry_run_of_a_folder_does_nothing(playground: Playground, folder: Path) -> None:
    before = dump(playground.site.catalog)
    report = move_folder(playground, folder, dry_run=True)
    assert (report.counts["packsCreated"], dump(playground.site.catalog) == before) == (3, True)


@ON_ONE
def test_files_that_cannot_be_migrated_are_reported(playground: Playground, folder: Path) -> None:
    move_folder(playground, folder)
    erased = packs.find_pack(playground.caller, external_id="holiday")
    assert erased is not None
    packs.erase_pack(playground.caller, erased, "asked to")
    while playground.eraser.erase_next():
        pass
    (folder / "notes.txt").write_text("no picture")
    (folder / "none").write_bytes(b"")
    (folder / "portrait_2").write_bytes(jpeg(photo(41, 61)))
    (folder / os.fsdecode(b"caf\xe9.jpg")).write_bytes(jpeg(photo(10, 10)))
    (folder / "at_100_100").write_bytes(jpeg(photo(14, 14)))
    (folder / "twice.jpg").write_bytes(jpeg(photo(12, 12)))
    (folder / "twice.png").write_bytes(png(photo(12, 12)))
    os.utime(folder / "ab" / "portrait_2.PNG", (0, 0))
    report = move_folder(playground, folder)
    left = said(report)
    assert list(said(report, Kind.NOTED)) == ["image at_100_100"]
    assert packs.find_pack(playground.caller, external_id="at_100_100") is not None
    names = {name.rpartition("/")[2] for name in left}
    assert {"image holiday", "image notes.txt", "image none", "image portrait_2", "image twice"} <= {*left}
    assert any("caf" in name for name in names)
    assert "erased" in left["image holiday"]
    portrait = packs.find_pack(playground.caller, external_id="portrait_2")
    assert portrait is not None
    shown = playground.snapshot(portrait).pack_location("main").original
    assert shown is not None
    assert shown.width == 40


@pytest.fixture
def old_database(postgres: Postgres) -> Iterator[str]:
    """The URL of a live-resize service's database."""
    with postgres.database(migrated=False) as url:
        engine = sa.create_engine(url)
        with engine.begin() as connection:
            connection.exec_driver_sql(
                "CREATE TABLE images (id varchar(255), x int, y int, fit varchar(8), file_type varchar(16),"
                " url varchar(255), blur boolean default 'f', rendered_at timestamptz, quality int not null default -1)"
            )
            for id, x, quality in (("holiday", 100, -1), ("portrait_2", 100, -1), ("gone", 100, -1), ("gone", 50, 75)):
                connection.exec_driver_sql(
                    "INSERT INTO images (id, x, y, fit, file_type, quality)"
                    " VALUES (%s, %s, 90, 'clip', 'image/jpeg', %s)",
                    (id, x, quality),
                )
        engine.dispose()
        yield url.replace("postgresql+psycopg", "postgresql")


@ON_ONE
def test_the_old_database_names_frequent_sizes_and_missing_originals(
    playground: Playground, folder: Path, old_database: str
) -> None:
    command = Command(playground)
    told = command.json("import", "iaas", "--dir", str(folder), "--database", old_database, code=3)
    own = {"width": 100, "height": 90, "fit": "clip", "mediaType": "image/jpeg", "blur": False, "quality": None}
    assert told["mostRendered"] == [own | {"images": 3}, own | {"width": 50, "quality": 75, "images": 1}]
    assert [(left["id"], left["code"]) for left in told["left"]] == [("gone", "MISSING")]
    result = command.run("import", "iaas", "--dir", str(folder), "--database", old_database, "--dry-run")
    assert "rendered 100x90 clip image/jpeg of 3 images" in result.stdout
    assert "nothing is changed" in result.stdout
    secret = old_database.replace("://postgres:@", "://postgres:hidden@")
    refused = command.run("import", "iaas", "--dir", str(folder), "--database", secret, code=1)
    assert "PGPASSWORD" in refused.stderr
    assert "hidden" not in refused.stderr
    other = command.run("import", "iaas", "--dir", str(folder), "--database", old_database + "x", code=4)
    assert "The database does not answer" in other.stderr
