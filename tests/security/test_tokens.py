"""API tokens of other tenants and scopes are refused, and no secret of a token is stored or logged."""

import logging
import signal
import sqlite3
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from packshot.catalog.configuration.tenants import ensure_tenant
from resolvers import tokens
from resolvers.caller import EVERYTHING, Scope
from serve.http import tokens as door
from tests.support.pictures import photo
from tests.support.playground import Playground
from tests.support.server import packshot, serving

CROP = "{topLeftX: 0, topLeftY: 0, bottomRightX: 0.5, bottomRightY: 1}"


@pytest.fixture
def database_url() -> None:
    """One database is enough, because the tests of the catalog run on both."""


@pytest.fixture
def films(playground: Playground, monkeypatch: pytest.MonkeyPatch) -> str:
    """The secret of a token of another tenant, with every scope."""
    monkeypatch.setattr(door, "BELIEVED_SECONDS", 0)
    with playground.site.catalog.write("films") as tx:
        ensure_tenant(tx)
    return tokens.create_token(replace(playground.caller, tenant="films"), "ci", [scope.value for scope in EVERYTHING])[
        1
    ]


def ask(client: TestClient, secret: str, query: str) -> Any:
    return client.post("/graphql", json={"query": query}, headers={"Authorization": f"Bearer {secret}"})


def test_a_token_of_another_tenant_finds_nothing(playground: Playground, client: TestClient, films: str) -> None:
    pack_id = playground.pack(picture=photo(32, 32), external_id="film-1")
    absent = "0123456789abcdef01234567"
    queries = [
        '{ pack(by: {id: "ID"}) { id } }',
        '{ node(id: "ID") { id } }',
        f'mutation {{ setCrop(packId: "ID", location: "main", crop: {CROP}) {{ userErrors {{ code message }} }} }}',
        'mutation { deletePack(id: "ID") { deletedId userErrors { code message } } }',
        'mutation { regenerate(scope: {packIds: ["ID"]}) { job { id } userErrors { code message } } }',
    ]
    for query in queries:
        theirs, nobodys = (ask(client, films, query.replace("ID", id)) for id in (pack_id, absent))
        assert (theirs.status_code, theirs.text) == (nobodys.status_code, nobodys.text.replace(absent, pack_id))
    assert ask(client, films, "{ packs { totalCount } jobs { totalCount } }").json()["data"] == {
        "packs": {"totalCount": 0},
        "jobs": {"totalCount": 0},
    }
    assert playground.snapshot(pack_id).pack_location("main").crop is None


@pytest.mark.parametrize("scope", list(Scope))
def test_a_token_may_do_what_its_scope_says_and_nothing_else(
    playground: Playground, client: TestClient, scope: Scope
) -> None:
    _, secret = tokens.create_token(playground.caller, "one", [scope.value])
    attempts = {
        Scope.READ: "{ packs { totalCount } }",
        Scope.LOCATIONS_WRITE: 'mutation { made: putLocation(input: {name: "x", width: 9}) { userErrors { code } } }',
        Scope.PACKS_WRITE: "mutation { made: createPack { userErrors { code } } }",
        Scope.UPLOADS_WRITE: 'mutation { made: createUpload(input: {mediaType: "image/jpeg", bytes: 9}) '
        "{ userErrors { code } } }",
        Scope.JOBS_WRITE: 'mutation { made: regenerate(scope: {tenant: "tenant:default"}) { userErrors { code } } }',
    }
    for needed, query in attempts.items():
        answer = ask(client, secret, query).json()
        made = (answer["data"] or {}).get("made") or {}
        codes = [error["extensions"]["code"] for error in answer.get("errors", [])]
        codes += [error["code"] for error in made.get("userErrors", [])]
        assert codes == ([] if needed is scope else ["FORBIDDEN"]), query


def test_a_secret_is_in_no_log_and_in_no_answer(
    playground: Playground, client: TestClient, films: str, caplog: pytest.LogCaptureFixture
) -> None:
    revoked, gone = tokens.create_token(playground.caller, "gone", ["read"])
    tokens.revoke_token(playground.caller, revoked.id)
    with caplog.at_level(logging.DEBUG):
        answers = [
            ask(client, films, "{ viewer { subject } }"),
            ask(client, films, "{ nonsense }"),
            ask(client, films, f'{{ pack(by: {{id: "{"0" * 24}"}}) {{ id }} }}'),
            ask(client, gone, "{ viewer { subject } }"),
            ask(client, films[:-1], "{ viewer { subject } }"),
        ]
    assert [answer.status_code for answer in answers] == [200, 400, 200, 401, 401]
    for secret in (films[:-1], gone):
        assert secret not in caplog.text
        assert all(secret not in answer.text for answer in answers)


def test_a_secret_is_not_in_the_data_folder_nor_in_what_processes_print(tmp_path: Path) -> None:
    with serving(tmp_path, PACKSHOT_LOG_LEVEL="debug") as server:
        made = packshot(tmp_path, "token", "create", "ci", "--scope", "read", PACKSHOT_LOG_LEVEL="debug")
        secret = made.stdout.strip()
        assert secret.startswith("pst_")
        assert secret not in made.stderr
        server.token = secret
        assert server.ask("{ viewer { subject } }") == {"viewer": {"subject": "token:ci"}}
        listed = packshot(tmp_path, "token", "list", "--json")
        assert secret not in listed.stdout + listed.stderr + server.end(signal.SIGTERM)
    with closing(sqlite3.connect(tmp_path / "packshot.db")) as database:
        database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    for path in tmp_path.rglob("*"):
        assert not path.is_file() or secret.encode() not in path.read_bytes(), path
