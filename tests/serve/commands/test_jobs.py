"""`packshot jobs` and `packshot regenerate`: texts, JSON and exit codes."""

import json
import re
from datetime import timedelta
from hashlib import sha256
from typing import Any

import pytest
from sqlalchemy.exc import OperationalError

from packshot.catalog.work import jobs as job_rows
from packshot.catalog.work.jobs import NO_WORKER, JobKind
from packshot.catalog.work.orders import Priority
from resolvers import jobs, packs
from resolvers.packs import erase_pack
from serve.commands import following
from tests.support.command import Command
from tests.support.pictures import jpeg, photo
from tests.support.playground import TENANT, Playground

FIELDS = {
    "id", "kind", "state", "priority", "location", "packId", "total", "done", "skipped", "failed", "variantsPerSecond",
    "etaSeconds", "stalledReason", "createdBy", "createdAt", "startedAt", "heartbeatAt", "activatedAt", "finishedAt",
}  # fmt: skip


@pytest.fixture(params=["sqlite"])
def database_url() -> None:
    """SQLite only: the use cases behind the commands are tested on every database."""


@pytest.fixture
def command(playground: Playground) -> Command:
    return Command(playground)


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(following, "LOOK_SECONDS", 0.01)


def broken_pack(playground: Playground, seed: int = 0) -> str:
    """Create a pack whose original was cut short on the disk after ingest."""
    data = jpeg(photo(640, 480, seed=seed))
    pack_id = playground.pack(picture=data)
    path = playground.site.originals.local_path(f"{TENANT}/{sha256(data).hexdigest()}")
    assert path is not None
    path.write_bytes(data[:3000])
    return pack_id


def test_jobs_are_listed_as_the_admin_api_has_them(playground: Playground, command: Command) -> None:
    playground.pack(picture=photo(64, 48))
    playground.run_jobs()
    playground.location("thumb", width=20, height=10)
    newest, oldest = command.json("jobs", "list")
    assert set(newest) == FIELDS | {"externalId"}
    assert (newest["kind"], newest["state"], newest["location"]) == ("LOCATION_CHANGE", "QUEUED", "thumb")
    assert (oldest["state"], oldest["done"], oldest["total"], oldest["createdBy"]) == ("SUCCEEDED", 3, 3, "tester")
    assert command.json("jobs", "list", "--state", "succeeded") == [oldest]
    assert command.json("jobs", "list", "--state", "succeeded", "--state", "queued") == [newest, oldest]
    assert command.json("jobs", "list", "--state", "awaiting-activation") == []
    table = command.run("jobs", "list", "--first", "1")
    assert table.stdout.splitlines()[1].split()[:4] == [newest["id"], "location_change", "queued", "thumb"]
    assert table.stderr.startswith("The newest 1 of 2; `--all` lists all, `--after ")


def test_more_jobs_than_a_page_has_are_listed_page_by_page(playground: Playground, command: Command) -> None:
    with playground.site.catalog.write(TENANT) as tx:
        made = [job_rows.create_job(tx, JobKind.SCRUB, Priority.BULK).id for _ in range(230)]
    listed = command.json("jobs", "list", "--all")
    assert len(listed) == len({job["id"] for job in listed}) == len(made)
    assert command.json("jobs", "list", "--limit", "130") == listed[:130]
    table = command.run("jobs", "list", "--first", "110")
    assert len(table.stdout.splitlines()) == 111
    cursor = re.findall(r"--after (\S+)`", table.stderr)[0]
    assert command.json("jobs", "list", "--after", cursor, "--all") == listed[110:]
    assert command.run("jobs", "list", "--after", "nonsense", code=1).stderr.startswith("That is no cursor")


def test_jobs_are_listed_by_kind_pack_location_and_time(playground: Playground, command: Command) -> None:
    edited, other = (playground.pack(external_id=name, picture=photo(64, 48)) for name in ("film-1", "film-2"))
    playground.run_jobs()
    playground.location("thumb", width=20, height=10)
    (job,) = command.json("jobs", "list", "--pack", edited)
    assert (job["kind"], job["packId"], job["externalId"]) == ("REGENERATE", edited, "film-1")
    assert command.json("jobs", "list", "--pack", "film-1") == [job]
    (of_location,) = command.json("jobs", "list", "--location", "thumb")
    assert command.json("jobs", "list", "--kind", "location-change") == [of_location]
    assert of_location["packId"] is None
    both = command.json("jobs", "list", "--kind", "location-change", "--kind", "regenerate")
    assert {each["packId"] for each in both} == {None, edited, other}
    assert command.json("jobs", "list", "--since", "2099-01-01") == []
    assert command.json("jobs", "list", "--since", "2020-01-01T00:00:00Z", "--pack", "film-2")[0]["packId"] == other
    assert "There is no such pack" in command.run("jobs", "list", "--pack", "film-3", code=1).stderr
    assert "There is no location 'nosuch'" in command.run("jobs", "list", "--location", "nosuch", code=1).stderr
    shown = command.run("jobs", "show", job["id"]).stdout
    assert edited in shown
    assert "film-1" in shown
    assert "film-1" in command.run("jobs", "list").stdout


def test_a_job_of_a_pack_that_is_gone_still_names_it(playground: Playground, command: Command) -> None:
    pack_id = playground.pack(picture=photo(64, 48))
    playground.run_jobs()
    packs.delete_pack(playground.caller, pack_id)
    (job,) = command.json("jobs", "list", "--pack", pack_id)
    assert (job["packId"], job["externalId"]) == (pack_id, None)


def test_a_job_is_shown_with_what_failed_and_why(playground: Playground, command: Command) -> None:
    broken = [broken_pack(playground, seed) for seed in range(3)]
    playground.run_jobs()
    job = command.json("regenerate", *(word for pack_id in broken for word in ("--pack", pack_id)))
    playground.run_jobs()
    shown = command.json("jobs", "show", job["id"])
    assert set(shown) == FIELDS | {"externalId", "failures", "failuresTotal", "retrying"}
    assert (shown["state"], shown["failuresTotal"]) == ("FAILED", 3)
    assert {failure["packId"] for failure in shown["failures"]} == set(broken)
    assert set(shown["failures"][0]) == {"packId", "location", "code", "message", "attempts"}
    assert len(command.json("jobs", "show", job["id"], "--failures", "2")["failures"]) == 2
    text = command.run("jobs", "show", job["id"].removeprefix("job:"), "--failures", "2").stdout
    assert "3 failed, of which the first 2:" in text
    assert shown["failures"][0]["message"] in text


def test_following_ends_with_an_exit_code_for_how_the_job_ended(playground: Playground, command: Command) -> None:
    good = playground.pack(picture=photo(64, 48))
    playground.run_jobs()
    job = command.json("regenerate", "--pack", good)
    playground.run_jobs()
    ended = command.run("jobs", "watch", job["id"])
    assert ended.stdout == f"{job['id']} succeeded: 3 of 3 variants\n"
    bad = broken_pack(playground)
    job = command.json("regenerate", "--pack", bad, "--pack", good)
    playground.run_jobs()
    ended = command.run("jobs", "watch", job["id"], code=3)
    assert f"`packshot jobs show {job['id']}`" in ended.stderr
    lines = command.run("jobs", "watch", job["id"], "--json", code=3).stdout.splitlines()
    assert [json.loads(line)["state"] for line in lines] == ["PARTIAL"]


def test_a_dry_run_of_a_regeneration_counts_and_orders_nothing(playground: Playground, command: Command) -> None:
    playground.location("thumb", width=20, height=10, fallback="main")
    packs = [playground.pack(picture=photo(64, 48, seed=seed)) for seed in range(3)]
    playground.pack(picture=photo(40, 40), at="thumb")
    playground.run_jobs()
    known = command.json("jobs", "list")
    everything = sum(len(playground.planned(pack_id)) for pack_id in packs) + 6
    assert command.json("regenerate", "--all", "--dry-run") == {"packs": 4, "variants": everything}
    there = command.json("regenerate", "--location", "thumb", "--dry-run")
    assert there == {"packs": 4, "variants": 24}
    one = command.json("regenerate", "--pack", packs[0], "--pack", packs[0], "--dry-run")
    assert one == {"packs": 1, "variants": len(playground.planned(packs[0]))}
    said = command.run("regenerate", "--location", "thumb", "--dry-run").stdout
    assert said == "Would look at 4 packs with 24 variants. Nothing is changed.\n"
    assert command.json("jobs", "list") == known
    for wrong in (("--location", "absent"), ("--pack", "0" * 24)):
        command.run("regenerate", *wrong, "--dry-run", code=1)
        command.run("regenerate", *wrong, code=1)
    assert command.json("jobs", "list") == known


def test_missing_variants_or_all_are_rendered(playground: Playground, command: Command) -> None:
    pack_id = playground.pack(picture=photo(64, 48))
    command.work()
    lost, *kept = playground.planned(pack_id)
    playground.site.variants.delete(lost)
    job = command.json("regenerate", "--all")
    assert (set(job), job["state"], job["priority"], job["location"]) == (FIELDS, "QUEUED", "BULK", None)
    assert job["createdBy"].startswith("cli:")
    command.work()
    ended = command.json("jobs", "show", job["id"])
    assert (ended["state"], ended["done"], ended["skipped"]) == ("SUCCEEDED", 1, 2)
    assert playground.site.variants.head(lost) is not None
    job = command.json("regenerate", "--location", "main", "--mode", "refresh", "--priority", "interactive")
    assert (job["location"], job["priority"]) == ("main", "INTERACTIVE")
    assert set(playground.planned(pack_id)) == {lost, *kept}, "the old ones stay until the new are ready"
    command.work()
    assert not set(playground.planned(pack_id)) & {lost, *kept}
    assert command.json("jobs", "show", job["id"])["done"] == 3


def test_a_job_is_paused_resumed_and_cancelled(playground: Playground, command: Command) -> None:
    pack_id = playground.pack(picture=photo(64, 48))
    command.work()
    playground.site.variants.delete(next(iter(playground.planned(pack_id))))
    job = command.json("regenerate", "--pack", pack_id)
    assert command.json("jobs", "pause", job["id"])["state"] == "PAUSED"
    command.work()
    assert command.json("jobs", "show", job["id"])["done"] == 0
    refused = command.run("jobs", "pause", job["id"], code=1)
    assert refused.stderr.startswith("The job is paused. (expected ")
    assert command.run("jobs", "resume", job["id"]).stdout.startswith(f"{job['id']} queued: ")
    assert command.json("jobs", "cancel", job["id"])["state"] == "CANCELLED"
    command.run("jobs", "watch", job["id"], code=1)
    for verb in ("pause", "resume", "cancel", "retry", "activate"):
        command.run("jobs", verb, job["id"], code=1)
        assert "no such job" in command.run("jobs", verb, "job:" + "0" * 24, code=1).stderr


def test_erasing_jobs_are_neither_paused_nor_cancelled(playground: Playground, command: Command) -> None:
    job = f"job:{erase_pack(playground.caller, playground.pack(), 'rights').id}"
    for verb in ("pause", "resume", "cancel"):
        told = command.run("jobs", verb, job, code=1).stderr
        assert "(expected a job that renders" in told
        assert told.endswith("got ERASE)\n")
    assert command.json("jobs", "show", job)["state"] == "QUEUED"


def test_failures_are_tried_again(playground: Playground, command: Command) -> None:
    pack_id = broken_pack(playground)
    command.work()
    (job,) = command.json("jobs", "list", "--state", "failed")
    (path,) = (path for path in (playground.settings.data / "originals" / TENANT).iterdir() if path.name[0] != ".")
    path.write_bytes(jpeg(photo(640, 480, seed=0)))
    assert command.json("jobs", "retry", job["id"])["failed"] == 0
    command.work()
    assert command.json("jobs", "show", job["id"])["state"] == "SUCCEEDED"
    assert all(playground.site.variants.head(key) for key in playground.planned(pack_id))


def test_following_outlasts_a_database_that_is_away_for_a_moment(
    playground: Playground, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    playground.pack(picture=photo(64, 48))
    playground.run_jobs()
    (job,) = command.json("jobs", "list")
    real, faults = jobs.get_jobs, iter(range(3))

    def away(*arguments: Any) -> Any:
        for _ in faults:
            raise OperationalError("SELECT", {}, Exception("gone away"))
        return real(*arguments)

    monkeypatch.setattr(jobs, "get_jobs", away)
    ended = command.run("jobs", "watch", job["id"])
    assert ended.stderr == "The database does not answer; trying again.\n"
    assert "succeeded" in ended.stdout
    faults = iter(range(1000))
    monkeypatch.setattr(following, "PATIENCE_SECONDS", 0)
    assert "gone away" in command.run("jobs", "watch", job["id"], code=4).stderr


def test_a_followed_job_reports_once_that_no_worker_is_running(
    playground: Playground, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    playground.pack(picture=photo(64, 48))
    (job,) = command.json("jobs", "list")
    real, looks = jobs.get_jobs, iter(range(3))

    def work_at_last(*arguments: Any) -> Any:
        if next(looks, None) is None:
            playground.run_jobs()
        return real(*arguments)

    monkeypatch.setattr(jobs, "get_jobs", work_at_last)
    monkeypatch.setattr("packshot.catalog.work.jobs.QUIET", timedelta(0))
    assert "stalled" in command.run("jobs", "show", job["id"]).stdout
    ended = command.run("jobs", "watch", job["id"])
    assert ended.stderr == f"{NO_WORKER}\n"
    assert [line.split(":")[1].split()[-1] for line in ended.stdout.splitlines()] == ["queued", "succeeded"]
