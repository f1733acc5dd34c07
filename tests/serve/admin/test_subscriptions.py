"""Jobs and packs followed over WebSocket and server-sent events, on a real server."""

import asyncio
import json
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import jwt
import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect
from websockets.typing import Subprotocol

from resolvers.live_updates import read_subjects
from schema.request import live_updates
from schema.request.live_updates import LiveUpdates
from tests.support.pictures import jpeg, photo
from tests.support.playground import TENANT, Playground
from tests.support.server import TOKEN, Server, packshot, serving

KEY = "0123456789abcdef0123456789abcdef"
JOB = "subscription($id: ID!) { jobProgress(id: $id) { state total done skipped } }"
PACK = 'subscription($id: ID!) { packChanged(id: $id) { version location(name: "main") { crop { topLeftX } } } }'


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with serving(tmp_path_factory.mktemp("data"), PACKSHOT_JWT_SECRET=KEY) as server:
        yield server


@contextmanager
def socket(server: Server, authorization: str = f"Bearer {TOKEN}") -> Iterator[ClientConnection]:
    """Open a WebSocket and authenticate."""
    url = server.base.replace("http", "ws") + "/graphql"
    with connect(url, subprotocols=[Subprotocol("graphql-transport-ws")]) as connection:
        connection.send(json.dumps({"type": "connection_init", "payload": {"authorization": authorization}}))
        assert receive(connection) == {"type": "connection_ack", "payload": {}}
        yield connection


def receive(connection: ClientConnection) -> Any:
    text = connection.recv(30)
    assert isinstance(text, str), "clients in browsers read text"
    return json.loads(text)


def follow(connection: ClientConnection, query: str, id: str) -> None:
    payload = {"query": query, "variables": {"id": id}}
    connection.send(json.dumps({"type": "subscribe", "id": "1", "payload": payload}))


def drain(connection: ClientConnection) -> None:
    """Read until the socket is closed; a subscription that completes first would not be started again by clients."""
    while True:
        assert receive(connection)["type"] == "next"


def test_a_job_is_followed_to_its_end(server: Server) -> None:
    _, job_id = server.pack_showing(jpeg(photo(800, 600)))
    with socket(server) as connection:
        follow(connection, JOB, job_id)
        seen = []
        while (message := receive(connection))["type"] == "next":
            seen.append(message["payload"]["data"]["jobProgress"])
        assert message == {"type": "complete", "id": "1"}
    assert seen[-1] == {"state": "SUCCEEDED", "total": 3, "done": 3, "skipped": 0}
    assert [job["done"] for job in seen] == sorted(job["done"] for job in seen)


def test_a_pack_is_shown_now_and_after_each_edit_until_it_is_deleted(server: Server) -> None:
    pack_id, job_id = server.pack_showing(jpeg(photo(80, 60)))
    server.wait_for_job(job_id)
    with socket(server) as connection:
        follow(connection, PACK, pack_id)
        first = receive(connection)["payload"]["data"]["packChanged"]
        assert first["location"]["crop"] is None
        crop = "{topLeftX: 0.25, topLeftY: 0, bottomRightX: 1, bottomRightY: 1}"
        server.do("setCrop", f'packId: "{pack_id}", location: "main", crop: {crop}', "job { id }")
        second = receive(connection)["payload"]["data"]["packChanged"]
        assert second == {"version": first["version"] + 1, "location": {"crop": {"topLeftX": 0.25}}}
        server.do("deletePack", f'id: "{pack_id}"', "deletedId")
        while (message := receive(connection))["type"] == "next":
            assert message["payload"]["data"]["packChanged"]["version"] == second["version"], "it was rendered"
        assert message["type"] == "complete"


@pytest.mark.parametrize("query", [JOB, PACK])
def test_an_unknown_object_cannot_be_followed(server: Server, query: str) -> None:
    with socket(server) as connection:
        for id in ("0" * 24, f"job:{'0' * 24}", "nonsense", ""):
            follow(connection, query, id)
            message = receive(connection)
            errors = message["payload"]["errors"] if message["type"] == "next" else message["payload"]
            assert errors[0]["extensions"]["code"] == "NOT_FOUND"
            if message["type"] == "next":
                assert receive(connection)["type"] == "complete"


def test_each_query_on_a_socket_reads_current_data(server: Server) -> None:
    query = '{ location(name: "fresh") { label } }'
    with socket(server) as connection:
        for label in ("ten", "twenty"):
            server.do("putLocation", f'input: {{name: "fresh", width: 10, label: "{label}"}}', "location { name }")
            connection.send(json.dumps({"type": "subscribe", "id": label, "payload": {"query": query}}))
            assert receive(connection)["payload"]["data"] == {"location": {"label": label}}
            assert receive(connection)["type"] == "complete"


def test_the_parameter_with_the_token_has_the_headers_name_in_any_case(server: Server) -> None:
    url = server.base.replace("http", "ws") + "/graphql"
    for name in ("authorization", "Authorization", "AUTHORIZATION"):
        with connect(url, subprotocols=[Subprotocol("graphql-transport-ws")]) as connection:
            connection.send(json.dumps({"type": "connection_init", "payload": {name: f"Bearer {TOKEN}"}}))
            assert receive(connection)["type"] == "connection_ack"


@pytest.mark.parametrize("authorization", ["", "Bearer wrong", "nonsense"])
def test_a_socket_needs_a_token(server: Server, authorization: str) -> None:
    with pytest.raises(ConnectionClosed) as closed, socket(server, authorization):
        pytest.fail("no socket was accepted")
    assert closed.value.rcvd is not None
    assert closed.value.rcvd.code == 4401, "graphql-ws gives up after 4401 only"


def test_the_legacy_protocol_is_not_spoken(server: Server) -> None:
    url = server.base.replace("http", "ws") + "/graphql"
    with connect(url, subprotocols=[Subprotocol("graphql-ws")]) as connection:
        with pytest.raises(ConnectionClosed) as closed:
            connection.recv(30)
        assert closed.value.rcvd is not None
        assert closed.value.rcvd.code == 4406


def test_a_socket_ends_with_its_token_and_has_its_scopes(server: Server) -> None:
    pack_id, _ = server.pack_showing(jpeg(photo(80, 60)))
    claims = {"exp": datetime.now(UTC) + timedelta(seconds=3), "scope": "read"}
    with socket(server, f"Bearer {jwt.encode(claims, KEY)}") as connection:
        follow(connection, PACK, pack_id)
        with pytest.raises(ConnectionClosed) as closed:
            drain(connection)
    assert closed.value.rcvd is not None
    assert closed.value.rcvd.code == 4403, "graphql-ws connects again after 4403"
    with socket(server, f"Bearer {jwt.encode(claims | {'exp': 4_000_000_000, 'scope': ''}, KEY)}") as connection:
        follow(connection, PACK, pack_id)
        message = receive(connection)
        errors = message["payload"]["errors"] if message["type"] == "next" else message["payload"]
        assert errors[0]["extensions"]["code"] == "FORBIDDEN"


def new_token(server: Server, name: str) -> tuple[str, str]:
    """Create an API token with the scope `read`, as an operator does; return its id and its secret."""
    made = packshot(server.data, "token", "create", name, "--scope", "read", "--json")
    document = json.loads(made.stdout)
    return document["id"], document["secret"]


def test_a_socket_ends_when_its_api_token_is_revoked(server: Server) -> None:
    pack_id, job_id = server.pack_showing(jpeg(photo(80, 60)))
    server.wait_for_job(job_id)
    token_id, secret = new_token(server, "socket")
    with socket(server, f"Bearer {secret}") as quiet, socket(server, f"Bearer {secret}") as connection:
        follow(connection, PACK, pack_id)
        assert receive(connection)["type"] == "next"
        assert packshot(server.data, "token", "revoke", token_id).returncode == 0
        for each in (connection, quiet):
            with pytest.raises(ConnectionClosed) as closed:
                drain(each)
            assert closed.value.rcvd is not None
            assert closed.value.rcvd.code == 4403


def test_server_sent_events_end_when_their_api_token_is_revoked(server: Server) -> None:
    pack_id, job_id = server.pack_showing(jpeg(photo(80, 60)))
    server.wait_for_job(job_id)
    token_id, secret = new_token(server, "events")
    headers = {"Authorization": f"Bearer {secret}", "Accept": "text/event-stream"}
    body = {"query": PACK, "variables": {"id": pack_id}}
    with server.client.stream("POST", "/graphql", json=body, headers=headers) as answer:
        parts = answer.iter_text()
        assert "event: next" in next(parts)
        assert packshot(server.data, "token", "revoke", token_id).returncode == 0
        rest = "".join(parts)
    assert "UNAUTHENTICATED" in rest
    assert "event: complete" not in rest, "nothing completed"


def test_server_sent_events_that_expire_do_not_complete(server: Server) -> None:
    pack_id, _ = server.pack_showing(jpeg(photo(80, 60)))
    for seconds in (1, -1):
        claims = {"exp": datetime.now(UTC) + timedelta(seconds=seconds), "scope": "read"}
        headers = {"Authorization": f"Bearer {jwt.encode(claims, KEY)}", "Accept": "text/event-stream"}
        body = {"query": PACK, "variables": {"id": pack_id}}
        events = server.client.post("/graphql", json=body, headers=headers).text.split("\n\n")
        assert "UNAUTHENTICATED" in events[-2]
        assert not any(event.startswith("event: complete") for event in events)


def test_a_token_that_has_just_expired_opens_no_socket(server: Server) -> None:
    """The token is within the allowed clock skew. Clients retry, but an accepted socket would reset their counter of
    retries.
    """
    expired = jwt.encode({"exp": datetime.now(UTC) - timedelta(seconds=1), "scope": "read"}, KEY)
    with pytest.raises(ConnectionClosed) as closed, socket(server, f"Bearer {expired}"):
        pytest.fail("the socket was accepted")
    assert closed.value.rcvd is not None
    assert closed.value.rcvd.code == 4403


def test_too_many_wrong_tokens_are_asked_to_come_later(server: Server) -> None:
    codes = []
    for _ in range(100):
        with pytest.raises(ConnectionClosed) as closed, socket(server, "Bearer guessed"):
            pytest.fail("no socket was accepted")
        assert closed.value.rcvd is not None
        codes.append(closed.value.rcvd.code)
        if codes[-1] != 4401:
            break
    assert codes[-1] == 1013, "clients may try again after that"


def test_a_persisted_query_is_refused_without_closing_its_socket(server: Server) -> None:
    persisted = {"persistedQuery": {"version": 1, "sha256Hash": "a" * 64}}
    with socket(server) as connection:
        connection.send(json.dumps({"type": "subscribe", "id": "1", "payload": {"extensions": persisted}}))
        message = receive(connection)
        assert (message["type"], message["id"]) == ("error", "1")
        assert message["payload"][0]["message"] == "PersistedQueryNotSupported"
        payload = {"query": "{ __typename }", "extensions": persisted}
        connection.send(json.dumps({"type": "subscribe", "id": "1", "payload": payload}))
        assert receive(connection)["payload"]["data"] == {"__typename": "Query"}


def test_a_job_is_followed_by_server_sent_events(server: Server) -> None:
    _, job_id = server.pack_showing(jpeg(photo(80, 60)))
    headers = {"Authorization": f"Bearer {TOKEN}", "Accept": "text/event-stream"}
    body = {"query": JOB, "variables": {"id": job_id}}
    with server.client.stream("POST", "/graphql", json=body, headers=headers) as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        events = "".join(answer.iter_text()).split("\n\n")
    shown = [json.loads(event.partition("data: ")[2]) for event in events if event.startswith("event: next")]
    assert shown[-1]["data"]["jobProgress"]["state"] == "SUCCEEDED"
    assert events[-2].startswith("event: complete")


def test_many_followers_share_one_read(playground: Playground, monkeypatch: pytest.MonkeyPatch) -> None:
    pack_id = playground.pack(picture=photo(16, 16))
    monkeypatch.setattr(live_updates, "INTERVAL_SECONDS", 0.05)
    reads: list[int] = []

    def read(site: Any, subjects: Any) -> Any:
        reads.append(len(subjects))
        return read_subjects(site, subjects)

    monkeypatch.setattr(live_updates, "read_subjects", read)

    async def run() -> None:
        watch = LiveUpdates(playground.site)
        followers = [watch.follow(("pack", TENANT, pack_id), None) for _ in range(100)]
        first = await asyncio.gather(*(anext(follower) for follower in followers))
        assert len(set(first)) == 1
        playground.location("thumb", width=10)
        playground.run_jobs()
        before = len(reads)
        again = await asyncio.gather(*(anext(follower) for follower in followers))
        assert len(set(again)) == 1
        assert again != first
        assert len(reads) - before <= 5
        for follower in followers:
            await follower.aclose()

    asyncio.run(run())
    assert max(reads) == 1


def test_a_short_database_outage_ends_no_subscription(playground: Playground, monkeypatch: pytest.MonkeyPatch) -> None:
    pack_id = playground.pack(picture=photo(16, 16))
    monkeypatch.setattr(live_updates, "INTERVAL_SECONDS", 0.01)
    faults = iter(range(3))

    def read(site: Any, subjects: Any) -> Any:
        for _ in faults:
            raise OSError("the database does not answer")
        return read_subjects(site, subjects)

    monkeypatch.setattr(live_updates, "read_subjects", read)

    async def run() -> Any:
        follower = LiveUpdates(playground.site).follow(("pack", TENANT, pack_id), None)
        try:
            return await anext(follower)
        finally:
            await follower.aclose()

    assert asyncio.run(run()) is not None
