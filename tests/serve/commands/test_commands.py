"""The command line: what all commands share."""

import subprocess
import sys

import pytest

from packshot.catalog.configuration.tenants import ensure_tenant
from tests.support.command import Command
from tests.support.pictures import photo
from tests.support.playground import Playground

DATABASE_AWAY = "postgresql+psycopg://127.0.0.1:1/packshot"
# One command of each noun.
COMMANDS = (
    ("jobs", "list"),
    ("jobs", "watch", "job:0123"),
    ("regenerate", "--all"),
    ("location", "put", "thumb", "--width", "10"),
    ("token", "list"),
    ("tenant", "create", "films"),
    ("migrate",),
)


@pytest.fixture
def command(playground: Playground) -> Command:
    return Command(playground)


@pytest.mark.parametrize("arguments", [(), ("--help",), ("jobs", "--help"), ("location", "put", "--help")])
def test_help_imports_no_slow_modules(arguments: tuple[str, ...]) -> None:
    program = f"""
import sys
from serve.cli import app
try:
    app({list(arguments)!r})
except SystemExit:
    slow = {{"sqlalchemy", "PIL", "dramatiq", "starlette", "strawberry", "alembic"}}
    print(sorted(slow & set(sys.modules)))
"""
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert ran.stdout.splitlines()[-1] == "[]"
    assert "Usage:" in ran.stdout + ran.stderr


@pytest.mark.parametrize("arguments", COMMANDS)
def test_a_database_outage_is_reported_in_words_and_by_exit_code(
    playground: Playground, arguments: tuple[str, ...]
) -> None:
    command = Command(playground)
    command.environ["PACKSHOT_DATABASE_URL"] = DATABASE_AWAY
    result = command.run(*arguments, code=4)
    assert result.stderr.startswith("The database does not answer: start it")
    assert result.stdout == ""


def test_all_bad_settings_are_reported_at_once(playground: Playground) -> None:
    command = Command(playground)
    command.environ |= {"PACKSHOT_MAX_WIDTH": "wide", "PACKSHOT_MAX_HIGHT": "9"}
    result = command.run("jobs", "list", code=1)
    assert [line.split(":")[0] for line in result.stderr.splitlines()] == ["PACKSHOT_MAX_HIGHT", "PACKSHOT_MAX_WIDTH"]


@pytest.mark.parametrize(
    "arguments",
    [
        ("nonsense",),
        ("jobs", "nonsense"),
        ("jobs", "show"),
        ("jobs", "list", "--first", "0"),
        ("jobs", "list", "--state", "asleep"),
        ("regenerate",),
        ("regenerate", "--all", "--location", "main"),
        ("regenerate", "--all", "--mode", "some"),
        ("token", "create", "ci"),
        ("token", "create", "ci", "--scope", "read", "--expires", "soon"),
        ("location", "put", "thumb", "--width", "wide"),
        ("location", "put", "thumb", "--formats", "avif,bmp"),
        ("location", "put", "thumb", "--renditions", "640"),
        ("location", "put", "thumb", "--renditions", "x@2"),
        ("location", "put", "thumb", "--fallback", "main", "--no-fallback"),
        ("location", "put", "thumb", "--gravity", "north", "--clear", "gravity"),
        ("location", "rollback", "thumb"),
    ],
)
def test_wrong_usage_is_another_exit_code_and_changes_nothing(
    playground: Playground, arguments: tuple[str, ...]
) -> None:
    command = Command(playground)
    assert command.run(*arguments, code=2).stdout == ""
    assert command.json("jobs", "list") == []
    assert command.json("token", "list") == []
    assert [location["name"] for location in command.json("location", "list")] == ["main"]


def test_a_command_sees_one_tenant(playground: Playground, command: Command) -> None:
    with playground.site.catalog.write("films") as tx:
        ensure_tenant(tx)
    playground.pack(picture=photo(32, 32))
    (job,) = command.json("jobs", "list", "--first", "1")
    assert command.json("jobs", "list", "--tenant", "films") == []
    refused = command.run("jobs", "show", job["id"], "--tenant", "films", code=1)
    absent = command.run("jobs", "show", "job:" + "0" * 24, "--tenant", "films", code=1)
    assert refused.stderr == absent.stderr.replace("0" * 24, job["id"].removeprefix("job:"))
    assert "There is no such tenant" in command.run("jobs", "list", "--tenant", "unknown", code=1).stderr
    made = command.json("token", "create", "ci", "--scope", "read", "--tenant", "films")
    assert (made["tenant"], made["createdBy"].startswith("cli:")) == ("films", True)
    assert command.json("token", "list") == []
    command.run("token", "revoke", made["id"], code=1)
    assert command.json("token", "revoke", made["id"], "--tenant", "films")["state"] == "revoked"


def test_a_secret_alone_is_on_standard_output(command: Command) -> None:
    made = command.run("token", "create", "ci", "--scope", "read", "--scope", "packs:write", "--expires", "90d")
    assert made.stdout.startswith("pst_")
    assert len(made.stdout.splitlines()) == 1
    assert "packs:write, read; ends " in made.stderr
    (listed,) = command.json("token", "list")
    assert (listed["name"], listed["scopes"], listed["state"]) == ("ci", ["packs:write", "read"], "good")
    assert "secret" not in listed
    table = command.run("token", "list").stdout.splitlines()
    assert table[0].split()[:3] == ["ID", "NAME", "STATE"]
    assert table[1].split()[:3] == [listed["id"], "ci", "good"]
    refused = command.run("token", "create", "ci", "--scope", "read", code=1)
    assert "There is a token 'ci' already. (expected another name" in refused.stderr
    assert "expected cdn:write, " in command.run("token", "create", "cd", "--scope", "admin", code=1).stderr
