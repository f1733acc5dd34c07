"""JWT key sets are fetched in the background and kept during an outage of their server."""

import asyncio
import gzip
import json
import socket
import threading
from collections.abc import Iterator
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from jwt.algorithms import ECAlgorithm

from schema.request.threads import ThreadsBusy
from serve.http import jwks
from serve.http.jwks import KeySet, parse_keys
from tests.serve.conftest import TOKEN
from tests.serve.http.test_auth import ask, issue, serving, token
from tests.support.admin import wait_for
from tests.support.playground import Playground


@pytest.fixture
def database_url() -> None:
    """SQLite is enough: these tests are about authentication."""


def described(key_id: str, key: Any) -> dict[str, Any]:
    public: dict[str, Any] = json.loads(ECAlgorithm.to_jwk(key.public_key()))
    return public | {"kid": key_id, "use": "sig", "alg": "ES256"}


class Keys:
    """A key server: its response, and how often it was requested."""

    def __init__(self) -> None:
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.status = 200
        self.headers: dict[str, str] = {}
        self.body = json.dumps({"keys": [described("1", self.key)]}).encode()
        self.fetches = 0
        self.accepts: set[str | None] = set()
        self.url = ""

    def is_fetched(self, times: int) -> bool:
        """Return whether the key set was fetched at least so many times."""
        return self.fetches >= times

    def add(self, key_id: str) -> Any:
        key = ec.generate_private_key(ec.SECP256R1())
        document = json.loads(self.body)
        self.body = json.dumps({"keys": [*document["keys"], described(key_id, key)]}).encode()
        return key


@pytest.fixture
def keys() -> Iterator[Keys]:
    served = Keys()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            served.fetches += 1
            served.accepts.add(self.headers["Accept"])
            self.send_response(served.status)
            for name, value in served.headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(served.body)))
            self.end_headers()
            self.wfile.write(served.body)

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    served.url = f"http://127.0.0.1:{server.server_address[1]}/keys"
    yield served
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def hole() -> Iterator[str]:
    """Return the URL of a server that accepts connections and never responds."""
    with socket.create_server(("127.0.0.1", 0), backlog=100) as listening:
        yield f"http://127.0.0.1:{listening.getsockname()[1]}/keys"


def test_keys_stay_valid_during_an_outage_of_their_server_until_they_expire(
    playground: Playground, keys: Keys, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jwks, "REFRESH_SECONDS", 0.02)
    monkeypatch.setattr(jwks, "MIN_PAUSE_SECONDS", 0.01)
    monkeypatch.setattr(jwks, "RETRY_SECONDS", 0.02)
    with serving(playground, jwks_url=keys.url) as client:
        good = f"Bearer {token(keys.key, 'ES256')}"
        assert ask(client, good).status_code == 200
        for status, body in ((503, b""), (200, b"<html>"), (200, b'{"keys": []}')):
            keys.status, keys.body = status, body
            before = keys.fetches
            wait_for(partial(keys.is_fetched, before + 3))
            assert ask(client, good).status_code == 200
        # The keys expire in the end.
        monkeypatch.setattr(jwks, "MAX_AGE_SECONDS", 0.0)
        refused = ask(client, good)
        assert (refused.status_code, refused.json()["errors"][0]["extensions"]["code"]) == (503, "UNAVAILABLE")


def test_the_key_set_is_requested_as_json_and_may_be_compressed(playground: Playground, keys: Keys) -> None:
    keys.body, keys.headers = gzip.compress(keys.body), {"Content-Encoding": "gzip"}
    with serving(playground, jwks_url=keys.url) as client:
        assert ask(client, f"Bearer {token(keys.key, 'ES256')}").status_code == 200
    assert keys.accepts == {"application/jwk-set+json, application/json, */*;q=0.5"}


def test_a_withdrawn_key_is_refused_after_the_next_background_refresh(
    playground: Playground, keys: Keys, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jwks, "REFRESH_SECONDS", 0.02)
    monkeypatch.setattr(jwks, "MIN_PAUSE_SECONDS", 0.01)
    monkeypatch.setattr(jwks, "RETRY_SECONDS", 0.02)
    keys.add("2")
    with serving(playground, jwks_url=keys.url) as client:
        good = f"Bearer {token(keys.key, 'ES256')}"
        assert ask(client, good).status_code == 200
        keys.body = json.dumps({"keys": json.loads(keys.body)["keys"][1:]}).encode()
        before = keys.fetches
        wait_for(lambda: keys.fetches >= before + 3)
        assert ask(client, good).status_code == 401


def test_unknown_keys_cause_at_most_one_fetch_per_interval(playground: Playground, keys: Keys) -> None:
    stranger = ec.generate_private_key(ec.SECP256R1())
    with serving(playground, jwks_url=keys.url) as client:
        assert ask(client, f"Bearer {token(keys.key, 'ES256')}").status_code == 200
        for number in range(15):
            unknown = jwt.encode({"exp": 4_000_000_000}, stranger, "ES256", headers={"kid": f"x{number}"})
            assert ask(client, f"Bearer {unknown}").status_code == 401
    assert keys.fetches == 1


def test_a_new_key_works_after_one_fetch(playground: Playground, keys: Keys, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jwks, "MIN_PAUSE_SECONDS", 0.0)
    with serving(playground, jwks_url=keys.url) as client:
        assert ask(client, f"Bearer {token(keys.key, 'ES256')}").status_code == 200
        new = jwt.encode({"exp": 4_000_000_000}, keys.add("new"), "ES256", headers={"kid": "new"})
        assert ask(client, f"Bearer {new}").status_code == 200


def test_a_silent_key_server_does_not_delay_other_tokens(
    playground: Playground, hole: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jwks, "FETCH_SECONDS", 1.0)
    monkeypatch.setattr(jwks, "WAIT_SECONDS", 1.0)
    with serving(playground, jwks_url=hole) as client:
        _, secret = issue(playground)
        waiting = threading.Thread(target=ask, args=(client, f"Bearer {token(_new_key(), 'ES256')}"))
        waiting.start()
        assert ask(client, f"Bearer {TOKEN}").status_code == 200
        assert ask(client, f"Bearer {secret}").status_code == 200
        assert client.get("/healthz").status_code == 200
        assert waiting.is_alive()
        waiting.join()


def _new_key() -> Any:
    return ec.generate_private_key(ec.SECP256R1())


def test_requests_that_wait_for_the_first_keys_share_one_fetch(
    playground: Playground, hole: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jwks, "WAIT_SECONDS", 0.05)
    reads: list[bool] = []

    def read(_: KeySet) -> dict[str, Any]:
        reads.append(threading.Event().wait(0.2))
        return {}

    monkeypatch.setattr(KeySet, "_read", read)

    async def ask_often() -> list[Any]:
        key_set = KeySet(playground.site, hole)
        answers = await asyncio.gather(*(key_set.find("1") for _ in range(50)), return_exceptions=True)
        answers.append((await asyncio.gather(key_set.find("1"), return_exceptions=True))[0])
        await key_set.stop()
        return answers

    answers = asyncio.run(ask_often())
    assert {type(answer) for answer in answers} == {ThreadsBusy}
    assert {answer.status for answer in answers} == {503}
    assert len(reads) <= 1


@pytest.mark.parametrize(
    "document",
    [
        b"",
        b"[]",
        b'{"keys": {}}',
        b'{"keys": ["x"]}',
        b'{"keys": []}',
        b'{"keys": [{"kty": "oct", "k": "c2VjcmV0", "use": "enc", "kid": "1"}]}',
        json.dumps({"keys": [{"kty": "oct", "k": "c2VjcmV0", "kid": str(number)} for number in range(101)]}).encode(),
    ],
)
def test_a_document_that_is_not_a_key_set_is_refused(document: bytes) -> None:
    with pytest.raises((ValueError, jwt.PyJWTError)):
        parse_keys(document)


@pytest.mark.parametrize(
    ("status", "headers", "body"),
    [
        (200, {}, b" " * (1 << 19)),
        (302, {"Location": "http://169.254.169.254/latest/meta-data"}, b""),
        (302, {"Location": "file:///etc/passwd"}, b""),
    ],
)
def test_a_large_key_set_and_a_redirect_of_the_key_server_are_refused(
    playground: Playground, keys: Keys, status: int, headers: dict[str, str], body: bytes
) -> None:
    good = f"Bearer {token(keys.key, 'ES256')}"
    keys.status, keys.headers, keys.body = status, headers, body
    with serving(playground, jwks_url=keys.url) as client:
        assert ask(client, good).status_code == 503
        assert list(playground.site.incoming.iterdir()) == []
