"""`packshot location`: plans, refusals without force, prepared changes, activation, reverts."""

import pytest

from tests.serve.commands.test_jobs import broken_pack
from tests.support.command import Command
from tests.support.pictures import photo
from tests.support.playground import Playground

SIZES = ("--width", "40", "--height", "20")


@pytest.fixture(params=["sqlite"])
def database_url() -> None:
    """SQLite only: the use cases behind the commands are tested on every database."""


@pytest.fixture
def command(playground: Playground) -> Command:
    return Command(playground)


@pytest.fixture
def pack_id(playground: Playground, command: Command) -> str:
    """A pack with an original at `thumb`, completely rendered."""
    command.run("location", "put", "thumb", "--width", "64", "--height", "36", "--fallback", "main")
    pack_id = playground.pack(picture=photo(300, 200))
    playground.run_jobs()
    return pack_id


def test_every_option_reaches_the_location(command: Command) -> None:
    command.run("location", "put", "wide", "--width", "90", "--height", "30")
    options = ["--label", "Thumbnail", "--width", "64", "--height", "36", "--fallback", "wide", "--gravity", "north"]
    options += ("--include-all", "true", "--allow-upscale", "--formats", "webp,jpeg", "--renditions", "640x360@2,x50")
    made = command.json("location", "put", "thumb", *options)["location"]
    expected = {
        "name": "thumb", "version": 1, "label": "Thumbnail", "width": 64, "height": 36, "fallback": "wide",
        "resizeGravity": "NORTH", "useResizeIncludeAll": "TRUE", "allowUpscale": True, "formats": ["WEBP", "JPEG"],
        "renditions": [{"width": 640, "height": 360, "dpr": 2.0}, {"width": None, "height": 50, "dpr": 1.0}],
    }  # fmt: skip
    assert {name: made[name] for name in expected} == expected
    assert [location["name"] for location in command.json("location", "list")] == ["main", "thumb", "wide"]
    shown = command.json("location", "show", "thumb")
    assert {name: shown[name] for name in made} == made
    assert (shown["packCount"], shown["pending"], shown["pendingJob"]) == (0, None, None)
    text = command.run("location", "show", "thumb").stdout
    assert "renditions     640x360@2,x50" in text
    cleared = ("label", "width", "gravity", "include-all", "formats", "renditions")
    words = [word for field in cleared for word in ("--clear", field)]
    after = command.json("location", "put", "thumb", "--no-fallback", "--no-allow-upscale", *words)["location"]
    assert {name: after[name] for name in expected} == expected | {
        "version": 2, "label": None, "width": None, "fallback": None, "resizeGravity": None,
        "useResizeIncludeAll": "UNSET", "allowUpscale": False, "formats": None, "renditions": None,
    }  # fmt: skip
    assert "64x36" in command.run("location", "history", "thumb").stdout


def test_a_gravity_and_a_dpr_are_read_as_urls_read_them(command: Command) -> None:
    options = ("--width", "9", "--gravity", "North-East", "--renditions", "640x360@1.100000023841858,9x@1.1")
    made = command.json("location", "put", "thumb", *options)["location"]
    assert made["resizeGravity"] == "NORTHEAST"
    assert [rendition["dpr"] for rendition in made["renditions"]] == [1.100000024, 1.1]
    command.run("location", "put", "thumb", "--gravity", "up", code=2)
    command.run("location", "put", "thumb", "--renditions", f"9x@1.{'0' * 1099}", code=2)


def test_an_invalid_value_is_refused_with_valid_ones(command: Command) -> None:
    refused = command.run("location", "put", "thumb", "--width", "70000", code=1)
    assert refused.stderr == "The width is out of range. (expected 1 to 4096, got 70000)\n"
    assert "[a-z0-9]" in command.run("location", "put", "Thumb!", "--width", "9", code=1).stderr
    assert "no location 'absent'" in command.run("location", "show", "absent", code=1).stderr
    assert "no location 'absent'" in command.run("location", "history", "absent", code=1).stderr
    command.run("location", "rollback", "absent", "--to", "1", code=1)
    moved_on = command.run("location", "put", "main", "--width", "9", "--expected-version", "7", code=1)
    assert "another version" in moved_on.stderr


def test_a_plan_is_printed_and_changes_nothing(playground: Playground, command: Command, pack_id: str) -> None:
    known = command.json("jobs", "list")
    text = command.run("location", "plan", "thumb", *SIZES, "--samples", "0").stdout
    assert "width          64 -> 40  (needs --force)" in text
    assert "to render      6 variants" in text
    plan = command.json("location", "plan", "thumb", *SIZES, "--samples", "1")
    assert (plan["requiresForce"], plan["packs"], plan["render"], plan["reuse"]) == (True, 1, 6, 0)
    assert {change["field"]: (change["before"], change["after"]) for change in plan["changes"]} == {
        "width": (64, 40),
        "height": (36, 20),
    }
    (sample,) = plan["samples"]
    assert sample["packId"] == pack_id
    assert sample["before"] != sample["after"]
    assert all(sample[name].startswith("http://127.0.0.1:8000/") for name in ("before", "after"))
    assert command.json("location", "show", "thumb")["width"] == 64
    assert command.json("jobs", "list") == known


def test_a_change_of_live_variants_is_refused_with_its_plan_and_forced(
    playground: Playground, command: Command, pack_id: str
) -> None:
    before = set(playground.planned(pack_id))
    refused = command.run("location", "put", "thumb", *SIZES, code=1)
    assert "width          64 -> 40  (needs --force)" in refused.stdout
    assert refused.stderr.startswith("This change alters images that packs show. To make the change: --force ")
    document = command.json("location", "put", "thumb", *SIZES, code=1)
    assert (document["code"], document["plan"]["packs"]) == ("FORCE_REQUIRED", 1)
    assert set(playground.planned(pack_id)) == before
    stale = command.run(
        "location", "put", "thumb", "--width", "41", "--force", "--plan", document["plan"]["id"], code=1
    )
    assert "another change" in stale.stderr
    begun = command.json("location", "put", "thumb", *SIZES, "--force", "--plan", document["plan"]["id"])
    assert (begun["location"]["width"], begun["job"]["activatedAt"]) == (64, None)
    shown = command.json("location", "show", "thumb")
    assert (shown["pending"], shown["pendingJob"]) == ({"width": 40, "height": 20}, begun["job"]["id"])
    assert f"pending, {begun['job']['id']}: width -> 40" in command.run("location", "show", "thumb").stdout
    playground.run_jobs()
    command.run("jobs", "watch", begun["job"]["id"])
    assert command.json("location", "show", "thumb")["width"] == 40
    assert set(playground.planned(pack_id)) != before


def test_a_rollback_renders_nothing_and_brings_the_old_pictures_back(
    playground: Playground, command: Command, pack_id: str
) -> None:
    before = set(playground.planned(pack_id))
    command.run("location", "put", "thumb", *SIZES, "--force")
    playground.run_jobs()
    newest, oldest = command.json("location", "history", "thumb")
    assert (newest["version"], newest["width"], newest["activeTo"]) == (2, 40, None)
    assert (oldest["version"], oldest["width"], oldest["activeTo"]) == (1, 64, newest["activeFrom"])
    assert (newest["freeUntil"], oldest["freeUntil"] > oldest["activeTo"]) == (None, True)
    assert command.run("location", "rollback", "thumb", "--to", "9", code=1).stdout == ""
    refused = command.run("location", "rollback", "thumb", "--to", "1", code=1)
    assert "width          40 -> 64  (needs --force)" in refused.stdout
    begun = command.json("location", "rollback", "thumb", "--to", "1", "--force")
    playground.run_jobs()
    ended = command.json("jobs", "show", begun["job"]["id"])
    assert (ended["state"], ended["done"]) == ("SUCCEEDED", 0)
    assert set(playground.planned(pack_id)) == before


def test_an_immediate_change_is_live_at_once(playground: Playground, command: Command, pack_id: str) -> None:
    begun = command.json("location", "put", "thumb", *SIZES, "--force", "--immediate")
    assert begun["location"]["width"] == 40
    assert begun["job"]["activatedAt"] is not None
    said = command.run("location", "put", "thumb", "--label", "Small", "--renditions", "90x")
    assert "thumb is at version 3." in said.stdout
    assert "The change is live: job:" in said.stdout


def test_a_label_needs_neither_force_nor_a_job(command: Command, pack_id: str) -> None:
    assert command.json("location", "put", "thumb", "--label", "Small")["job"] is None
    assert command.run("location", "put", "thumb", "--label", "Tiny").stdout == "thumb is at version 3.\n"


def test_a_plan_also_binds_changes_without_force(command: Command, pack_id: str) -> None:
    sides = ("--width", "50", "--height", "50")
    for name, options in (("thumb", ("--label", "Small")), ("cover", sides)):
        refused = command.run("location", "put", name, *options, "--plan", "plan:garbage", code=1)
        assert "not the id of a plan" in refused.stderr
        plan = command.json("location", "plan", name, *options, "--samples", "0")["id"]
        other = command.run("location", "put", name, "--width", "70", *sides[2:], "--plan", plan, code=1)
        assert "another change" in other.stderr
        assert command.json("location", "put", name, *options, "--plan", plan)["location"]["name"] == name


def test_a_change_with_failures_awaits_activation(playground: Playground, command: Command) -> None:
    command.run("location", "put", "thumb", "--width", "64", "--height", "36", "--fallback", "main")
    good, bad = playground.pack(picture=photo(300, 200)), broken_pack(playground)
    command.work()
    job_id = command.json("location", "put", "thumb", *SIZES, "--force")["job"]["id"]
    command.work()
    waiting = command.run("jobs", "watch", job_id, code=3)
    assert waiting.stdout.startswith(f"{job_id} awaiting activation: 12 of 12 variants, 6 failed")
    assert f"`packshot jobs activate {job_id} --accept-failures`" in waiting.stderr
    assert {failure["packId"] for failure in command.json("jobs", "show", job_id)["failures"]} == {bad}
    refused = command.run("jobs", "activate", job_id, code=1)
    assert "6 failed" in refused.stderr
    assert command.json("location", "show", "thumb")["width"] == 64
    command.json("jobs", "activate", job_id, "--accept-failures")
    command.work()
    assert command.json("location", "show", "thumb")["width"] == 40
    command.run("jobs", "watch", job_id, code=3)
    assert all(playground.site.variants.head(key) for key in playground.planned(good))


def test_a_newer_change_takes_the_place_of_an_older(playground: Playground, command: Command, pack_id: str) -> None:
    older = command.json("location", "put", "thumb", *SIZES, "--force")["job"]["id"]
    newer = command.json("location", "put", "thumb", "--width", "50", "--force")["job"]["id"]
    assert command.run("jobs", "watch", older, code=1).stdout.startswith(f"{older} superseded: ")
    assert command.json("location", "show", "thumb")["pending"] == {"width": 50, "height": 20}
    command.run("jobs", "cancel", newer)
    shown = command.json("location", "show", "thumb")
    assert (shown["width"], shown["height"], shown["pending"]) == (64, 36, None)
