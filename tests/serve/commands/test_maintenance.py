"""`packshot collect` and `packshot scrub` from a shell and in scripts."""

import json
import logging
import re
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from packshot.catalog.work.jobs import JobFilter
from packshot.geometry import Crop
from packshot.render.processes.pool import Renderer
from packshot.storage.folder import FolderStore
from resolvers import packs
from resolvers.jobs import list_jobs
from serve.cli import app
from tests.pregen.services.test_collector import pass_days
from tests.support.pictures import jpeg, photo
from tests.support.playground import TENANT, Playground


@pytest.fixture
def playground(tmp_path: Path, renderer: Renderer, monkeypatch: pytest.MonkeyPatch) -> Iterator[Playground]:
    """An installation that the command line finds by its environment."""
    monkeypatch.setenv("PACKSHOT_DATA", str(tmp_path / "data"))
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    playground = Playground(tmp_path / "data", renderer)
    yield playground
    playground.site.catalog.close()
    root.handlers = handlers
    root.setLevel(level)


def run(*arguments: str) -> Result:
    return CliRunner().invoke(app, arguments)


def said(result: Result) -> dict[str, Any]:
    return dict(json.loads(result.stdout))


def test_collect_previews_and_then_deletes(playground: Playground) -> None:
    pack_id = playground.pack(picture=photo(60, 40))
    playground.run_jobs()
    packs.set_crop(playground.caller, pack_id, "main", Crop(0, 0, 1, 0.5))
    playground.run_jobs()
    nothing = {"dryRun": False, "variants": 0, "originals": 0, "bytes": 0, "kept": 0, "failed": {}}
    early = said(run("collect", "--json"))
    assert early | {"job": None} == nothing | {"job": None}
    pass_days(playground, 31)
    planned = said(run("collect", "--dry-run", "--json"))
    assert (planned["variants"], planned["job"]) == (3, None)
    assert len(list(playground.site.variants.list(""))) == 6
    done = run("collect")
    assert (done.exit_code, done.stdout) == (
        0,
        f"3 variants and 0 originals deleted, {planned['bytes']} bytes; 0 are needed again and were kept.\n",
    )
    assert set(playground.site.variants.list("")) == set(playground.planned(pack_id))
    newest = list_jobs(playground.caller, first=1, after=None, only=JobFilter()).items[0]
    assert (newest.kind, newest.state, newest.done) == ("collect", "succeeded", 3)
    assert newest.created_by is not None
    assert newest.created_by.startswith("cli:")


@pytest.mark.slow
def test_scrub_finds_and_repairs_and_its_exit_code_says_what_is_left(playground: Playground) -> None:
    data = jpeg(photo(60, 40))
    pack_id = playground.pack(picture=data)
    playground.run_jobs()
    assert run("scrub").exit_code == 0
    playground.site.variants.delete(next(iter(playground.planned(pack_id))))
    found = run("scrub", "--dry-run", "--json")
    assert (found.exit_code, said(found)["missing"], said(found)["job"]) == (3, 1, None)
    repaired = run("scrub", "--json", "--deep")
    assert (repaired.exit_code, said(repaired)["missing"], said(repaired)["ordered"]) == (0, 1, 1)
    assert said(repaired)["job"].startswith("job:")
    playground.run_jobs()
    assert said(run("scrub", "--json"))["missing"] == 0
    digest = sha256(data).hexdigest()
    playground.site.originals.delete(f"{TENANT}/{digest}")
    lost = run("scrub")
    assert lost.exit_code == 3
    assert lost.stderr.endswith(f"The original {digest} is missing: upload it again, for main of {pack_id}.\n")
    document = said(run("scrub", "--json"))
    assert document["lost"] == [
        {"sha256": digest, "fault": "missing", "packLocations": [f"packLocation:{pack_id}:main"]}
    ]


@pytest.mark.slow
def test_items_with_faults_are_named_with_their_error_ids(
    playground: Playground, monkeypatch: pytest.MonkeyPatch
) -> None:
    pack_id = playground.pack(picture=photo(60, 40))
    playground.run_jobs()
    packs.set_crop(playground.caller, pack_id, "main", Crop(0, 0, 1, 0.5))
    playground.run_jobs()
    pass_days(playground, 31)

    def stumble(*_: Any, **__: Any) -> None:
        raise LookupError("an unforeseen fault")

    with monkeypatch.context() as patched:
        patched.setattr("packshot.maintenance.collect._delete", stumble)
        collected = run("collect")
        as_json = run("collect", "--json")
    assert (collected.exit_code, as_json.exit_code, len(said(as_json)["failed"])) == (3, 3, 3)
    assert re.search(rf"{pack_id}/main/\S+ could not be collected; .* error id [0-9a-f]{{16}}", collected.stderr)
    monkeypatch.setattr("packshot.maintenance.scrub.find_fault", stumble)
    scrubbed = run("scrub")
    assert scrubbed.exit_code == 3
    assert re.search(rf"{pack_id} could not be compared; .* error id [0-9a-f]{{16}}", scrubbed.stderr)


@pytest.mark.slow
@pytest.mark.parametrize("command", ["collect", "scrub"])
def test_an_unknown_tenant_is_refused_and_a_store_outage_is_reported(
    playground: Playground, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    pack_id = playground.pack(picture=photo(60, 40))
    playground.run_jobs()
    packs.delete_pack(playground.caller, pack_id)
    pass_days(playground, 31)
    refused = run(command, "--tenant", "unknown")
    assert refused.exit_code == 1
    assert "There is no such tenant." in refused.stderr

    def away(self: FolderStore, key: str) -> Any:
        raise OSError("the disk has gone")

    monkeypatch.setattr(FolderStore, "head", away)
    down = run(command)
    assert down.exit_code == 4
    assert "the disk has gone" in down.stderr
    assert run(command, "--what").exit_code == 2
