"""`packshot purge`: now, or variants older than a date, some packs at a time."""

from datetime import timedelta

import pytest
import sqlalchemy as sa

from packshot.catalog.tables.artwork import variants
from packshot.catalog.tables.work import purges as purge_table
from serve.commands import following
from tests.support.command import Command
from tests.support.pictures import photo
from tests.support.playground import TENANT, Playground


@pytest.fixture(params=["sqlite"])
def database_url() -> None:
    """SQLite only: the use cases behind the commands are tested on every database."""


@pytest.fixture
def command(playground: Playground, monkeypatch: pytest.MonkeyPatch) -> Command:
    monkeypatch.setattr(following, "LOOK_SECONDS", 0.01)
    return Command(playground)


def test_named_packs_and_locations_are_purged(playground: Playground, command: Command) -> None:
    pack_id = playground.pack(picture=photo(20, 10))
    playground.run_jobs()
    asked: dict[tuple[str, ...], set[str]] = {("--pack", pack_id): {f"e:{TENANT}:{pack_id}", f"p:{TENANT}:{pack_id}"}}
    asked |= {("--location", "main"): {f"l:{TENANT}:main"}, ("--all",): {f"t:{TENANT}"}}
    for words, tags in asked.items():
        job = command.json("purge", *words)
        assert (job["kind"], job["state"], job["total"]) == ("PURGE", "QUEUED", 1)
        with playground.site.catalog.read(TENANT) as tx:
            of_job = purge_table.c.job_id == job["id"].removeprefix("job:")
            assert set(tx.connection.scalars(sa.select(purge_table.c.tags).where(of_job)).one()) == tags
    assert "`packshot jobs watch job:" in command.run("purge", "--all").stdout


def test_older_variants_are_rendered_again(playground: Playground, command: Command) -> None:
    pack_id = playground.pack(picture=photo(20, 10))
    playground.run_jobs()
    before = set(playground.planned(pack_id))
    assert "Nothing was rendered before 2020-01-31 12:00:00 UTC." in (
        command.run("purge", "--rendered-before", "2020-01-31T12:00:00Z").stdout
    )
    assert command.json("purge", "--rendered-before", "2020-01-31") is None
    with playground.site.catalog.write(TENANT) as tx:
        tx.connection.execute(sa.update(variants).values(rendered_at=tx.now - timedelta(days=9000)))
    job = command.json("purge", "--rendered-before", "2020-01-31", "--limit", "5")
    assert job["kind"] == "REGENERATE"
    command.work()
    assert command.json("jobs", "show", job["id"])["state"] == "SUCCEEDED"
    assert not before & set(playground.planned(pack_id))


def test_wrong_usage_is_reported(playground: Playground, command: Command) -> None:
    assert "Expected one of --location, --pack and --all." in command.run("purge", code=2).stderr
    assert "Expected one of" in command.run("purge", "--all", "--location", "main", code=2).stderr
    assert "--limit needs --rendered-before." in command.run("purge", "--all", "--limit", "3", code=2).stderr
    assert "rendered-before" in command.run("purge", "--rendered-before", "yesterday", code=2).stderr
    refused = command.run("purge", "--location", "none", code=1)
    assert "There is no location 'none'" in refused.stderr
    assert "1 to 1000" in command.run("purge", "--rendered-before", "2020-01-31", "--limit", "0", code=1).stderr
