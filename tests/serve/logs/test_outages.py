"""Responses while the database does not answer."""

import json
import logging
from pathlib import Path

import pytest
from starlette.testclient import TestClient, WebSocketTestSession
from starlette.websockets import WebSocketDisconnect

from packshot.catalog.clients.tokens import PREFIX
from packshot.faults import MAX_LINES
from packshot.site import Site
from serve.admin.graphql_socket import MAX_REASON_BYTES
from tests.serve.conftest import TOKEN
from tests.support.playground import TENANT, Playground

ADMIN = {"Authorization": f"Bearer {TOKEN}"}
PACK = "0" * 24


def lose_database(site: Site) -> None:
    """Put a folder in place of the database file, so that SQLite cannot open it."""
    path = Path(str(site.catalog.url.database))
    site.catalog.close()
    path.rename(path.with_name("away.db"))
    path.mkdir()


@pytest.fixture
def away(client: TestClient, playground: Playground) -> TestClient:
    """A client of an application whose database does not answer."""
    lose_database(playground.site)
    return client


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", f"/api/v2/img/{PACK}?width=100"),
        ("GET", f"/api/v2/img/{PACK}/picture.json"),
        ("GET", "/live/film_10_10.jpg"),
        ("GET", "/live/film.jpg"),
        ("PUT", f"/uploads/{TENANT}/abc"),
        ("POST", "/live/token"),
        ("GET", f"/adminAPI/imagePack/{PACK}"),
        ("POST", "/adminAPI/imagePacks"),
        ("GET", "/adminAPI/imageLocationConfigs"),
    ],
)
def test_every_api_reports_a_database_outage_and_when_to_retry(
    away: TestClient, method: str, path: str, caplog: pytest.LogCaptureFixture
) -> None:
    headers = ADMIN | {"Content-Type": "application/json"}
    content = b'{"id": "film"}' if method != "GET" else None
    answer = away.request(method, path, headers=headers, content=content)
    told = answer.json()
    assert (answer.status_code, told["code"]) == (503, "UNAVAILABLE"), told
    assert int(answer.headers["Retry-After"]) > 0
    reference = told.get("reference") or told["id"]
    assert any(reference in record.getMessage() for record in caplog.records)


@pytest.mark.parametrize("accept", ["application/graphql-response+json", "application/json"])
@pytest.mark.parametrize(
    "query",
    [
        "{ packs { totalCount } }",
        "{ __typename packs { totalCount } }",
        f'{{ pack(by: {{id: "{PACK}"}}) {{ id }} }}',
        f'{{ __typename a: pack(by: {{id: "{PACK}"}}) {{ id }} }}',
        "{ viewer { tenant { id } } }",
        'mutation { createPack(input: {externalId: "x"}) { pack { id } userErrors { code } } }',
        "mutation { collect { job { id } } }",
    ],
)
def test_graphql_is_unavailable_while_the_database_is_away(away: TestClient, accept: str, query: str) -> None:
    answer = away.post("/graphql", json={"query": query}, headers=ADMIN | {"Accept": accept})
    assert (answer.status_code, answer.headers["Content-Type"].partition(";")[0]) == (503, accept)
    assert int(answer.headers["Retry-After"]) > 0
    (error,) = answer.json()["errors"]
    assert error["extensions"]["code"] == "UNAVAILABLE"
    assert error["extensions"]["errorId"] in error["message"]


def test_an_api_token_cannot_be_checked_while_the_database_is_away(away: TestClient) -> None:
    headers = {"Authorization": f"Bearer {PREFIX}{'a' * 40}"}
    answer = away.post("/graphql", json={"query": "{ viewer { subject } }"}, headers=headers)
    assert answer.status_code == 503
    assert answer.json()["errors"][0]["extensions"]["code"] == "UNAVAILABLE"


def test_a_mutations_result_is_returned_although_other_fields_failed(
    client: TestClient, playground: Playground, monkeypatch: pytest.MonkeyPatch
) -> None:
    query = """mutation {
      first: putLocation(input: {name: "a", width: 9}) { location { name } userErrors { code } }
      second: deletePack(id: "x") { userErrors { code } }
    }"""

    def away(*_: object, **__: object) -> None:
        raise ConnectionResetError("secret")

    monkeypatch.setattr("resolvers.packs.delete_pack", away)
    answer = client.post("/graphql", json={"query": query}, headers=ADMIN)
    assert answer.status_code == 200
    assert answer.json()["data"]["first"]["location"] == {"name": "a"}
    assert answer.json()["errors"][0]["extensions"]["code"] == "UNAVAILABLE"


def test_many_requests_in_an_outage_write_one_traceback(away: TestClient, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    ids = set()
    for number in range(2 * MAX_LINES):
        answer = away.get(f"/api/v2/img/{PACK}?width={number + 100}")
        ids.add(answer.json()["reference"])
        away.post("/graphql", json={"query": "{ packs { totalCount } }"}, headers=ADMIN)
    assert len(ids) == 2 * MAX_LINES
    assert sum(record.exc_info is not None for record in caplog.records) <= 2
    assert len(caplog.records) <= 2 * MAX_LINES


def drain(socket: WebSocketTestSession) -> None:
    while True:
        socket.receive_json()


def subscribe(client: TestClient, *messages: object) -> int:
    """Send messages on a WebSocket, and return the close code."""
    with client.websocket_connect("/graphql", subprotocols=["graphql-transport-ws"]) as socket:
        for message in messages:
            socket.send_text(message if isinstance(message, str) else json.dumps(message))
        with pytest.raises(WebSocketDisconnect) as closed:
            drain(socket)
    assert len(closed.value.reason.encode()) <= MAX_REASON_BYTES
    return closed.value.code


def test_a_subscriber_gets_a_close_code_for_a_retry(
    client: TestClient, playground: Playground, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(*_: object, **__: object) -> None:
        raise ConnectionResetError("secret")

    monkeypatch.setattr("serve.http.auth.Authenticator.authenticate", away)
    assert subscribe(client, {"type": "connection_init", "payload": {"authorization": "Bearer x"}}) == 1013
    assert sum(record.exc_info is not None for record in caplog.records) == 1


@pytest.mark.parametrize(
    "message",
    [
        "[]",
        "5",
        "null",
        '"x"',
        "{}",
        "{",
        "[" * 9000,
        {"type": 5},
        {"type": []},
        {"type": "x" * 500},
        {"type": "é" * 200},
        {"type": "connection_init", "payload": []},
        {"type": "subscribe"},
        {"type": "subscribe", "id": []},
        {"type": "subscribe", "id": "1", "payload": None},
        {"type": "subscribe", "id": "1", "payload": {"query": 5}},
        {"type": "subscribe", "id": "1", "payload": {"query": "{ a }", "variables": []}},
        {"type": "subscribe", "id": "1", "payload": {"query": "{ a }", "operationName": {}}},
        {"type": "complete", "id": {}},
    ],
)
@pytest.mark.parametrize("known", [False, True])
def test_a_message_that_the_protocol_lacks_closes_the_socket_and_logs_nothing(
    client: TestClient, message: object, known: bool, caplog: pytest.LogCaptureFixture
) -> None:
    init = {"type": "connection_init", "payload": {"authorization": f"Bearer {TOKEN}"}}
    code = subscribe(client, *([init] if known else []), message)
    assert code == 4400
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]


def test_a_long_reason_to_close_a_socket_is_shortened(client: TestClient, caplog: pytest.LogCaptureFixture) -> None:
    init = {"type": "connection_init", "payload": {"authorization": f"Bearer {TOKEN}"}}
    twice = {"type": "subscribe", "id": "é" * 300, "payload": {"query": "subscription { packChanged(id: 1) { id } }"}}
    assert subscribe(client, init, twice, twice) in (4400, 4409)
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]


@pytest.mark.parametrize("query", ["{", "", "{ nothing }", "{ a(b: " + '"é' * 200 + ") }", "query { a } }"])
def test_a_document_at_fault_ends_no_other_operation_of_its_socket(
    client: TestClient, query: str, caplog: pytest.LogCaptureFixture
) -> None:
    with client.websocket_connect("/graphql", subprotocols=["graphql-transport-ws"]) as socket:
        socket.send_json({"type": "connection_init", "payload": {"authorization": f"Bearer {TOKEN}"}})
        assert socket.receive_json()["type"] == "connection_ack"
        socket.send_json({"type": "subscribe", "id": "1", "payload": {"query": query}})
        refused = socket.receive_json()
        assert (refused["id"], refused["type"]) == ("1", "error")
        assert refused["payload"][0]["message"]
        # The operation's id is free again.
        socket.send_json({"type": "subscribe", "id": "1", "payload": {"query": "{ __typename }"}})
        assert socket.receive_json()["payload"]["data"] == {"__typename": "Query"}
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]


@pytest.mark.parametrize(
    ("query", "name"),
    [
        ("{", None),
        ("", None),
        ("{ nothing }", None),
        ("{a" * 2000 + "}" * 2000, None),
        ('{ a(b: "\ud800") }', None),
        ("query a { __typename }", "b"),
        ("query a { __typename } query b { __typename }", None),
        ("fragment a on Query { __typename }", None),
    ],
)
def test_a_document_at_fault_is_answered_and_logs_nothing(
    client: TestClient, query: str, name: str | None, caplog: pytest.LogCaptureFixture
) -> None:
    body = json.dumps({"query": query, "operationName": name})
    for accept in ("application/json", "text/event-stream"):
        headers = ADMIN | {"Accept": accept, "Content-Type": "application/json"}
        answer = client.post("/graphql", content=body, headers=headers)
        assert answer.status_code in (200, 400)
        assert "errors" in answer.text
        assert "error id" not in answer.text
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]
