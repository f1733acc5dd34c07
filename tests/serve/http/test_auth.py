"""Authentication: which credentials are accepted, for which tenant, and from which addresses."""

import base64
import hashlib
import hmac
import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import jwt
import pytest
import sqlalchemy as sa
from argon2 import PasswordHasher
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from pydantic import SecretStr
from starlette.testclient import TestClient

from packshot.catalog.configuration.tenants import ensure_tenant
from packshot.settings.settings import Settings
from pregen.queue.broker import make_broker
from resolvers import tokens
from serve.app import create_app
from serve.http import tokens as door
from tests.serve.conftest import TOKEN
from tests.support.admin import wait_for
from tests.support.playground import TENANT, Playground

KEY = "0123456789abcdef0123456789abcdef"
VIEWER = "{ viewer { tenant { name } subject scopes expiresAt } }"
LOOPBACK = ("127.0.0.1", 50_000)


@pytest.fixture
def database_url() -> None:
    """SQLite is enough: these tests are about authentication."""


@contextmanager
def serving(
    playground: Playground, *, base_url: str = "http://testserver", client: tuple[str, int] = LOOPBACK, **changes: Any
) -> Iterator[TestClient]:
    settings = Settings(**playground.settings.model_dump() | changes)
    site = playground.with_settings(settings)
    with site.catalog.write("films") as tx:
        ensure_tenant(tx)
    app = create_app(site, make_broker(settings), playground.doorbell, TOKEN)
    with TestClient(app, base_url, raise_server_exceptions=False, client=client) as test_client:
        yield test_client


def ask(client: TestClient, authorization: str | bytes | None, query: str = VIEWER, **headers: Any) -> Any:
    if authorization is not None:
        headers["Authorization"] = authorization
    return client.post("/graphql", json={"query": query}, headers=headers)


def token(key: Any = KEY, algorithm: str | None = "HS256", **claims: Any) -> str:
    """Sign a token that is valid for a minute unless the claims say otherwise; a claim of None is left out."""
    usual = {"sub": "ann", "exp": datetime.now(UTC) + timedelta(minutes=1), "scope": "read packs:write"}
    kept = {name: value for name, value in (usual | claims).items() if value is not None}
    return jwt.encode(kept, key, algorithm, headers={"kid": "1"})


def test_the_admin_token_has_every_scope_and_no_end(playground: Playground) -> None:
    with serving(playground) as client:
        for scheme in ("Bearer", "bearer", "VimondAuth"):
            viewer = ask(client, f"{scheme} {TOKEN}").json()["data"]["viewer"]
            assert viewer == {
                "tenant": {"name": "default"},
                "subject": "admin",
                "scopes": ["cdn:write", "jobs:write", "locations:write", "packs:write", "read", "uploads:write"],
                "expiresAt": None,
            }


@pytest.mark.parametrize("given", [None, "", "Bearer", "Bearer wrong", f"Basic {TOKEN}", f"Digest {TOKEN}", TOKEN])
def test_a_request_without_valid_credentials_gets_401_with_the_accepted_scheme(
    playground: Playground, given: str | None
) -> None:
    with serving(playground) as client:
        answer = ask(client, given)
    assert answer.status_code == 401
    assert answer.headers["www-authenticate"].startswith("Bearer")
    assert answer.json()["errors"][0]["extensions"]["code"] == "UNAUTHENTICATED"


def test_a_jwt_sets_tenant_subject_scopes_and_end(playground: Playground) -> None:
    ends = datetime.now(UTC).replace(microsecond=0) + timedelta(minutes=5)
    with serving(playground, jwt_secret=SecretStr(KEY)) as client:
        viewer = ask(client, f"Bearer {token(tenant='films', exp=ends)}").json()["data"]["viewer"]
        assert viewer == {
            "tenant": {"name": "films"},
            "subject": "ann",
            "scopes": ["packs:write", "read"],
            "expiresAt": ends.strftime("%Y-%m-%dT%H:%M:%S.000000Z"),
        }
        listed = ask(client, f"Bearer {token(scope=None, scopes=['read', 'other'])}").json()["data"]["viewer"]
        assert listed["scopes"] == ["read"]
        assert ask(client, f"VimondAuth {token()}").status_code == 200


def forged(head: dict[str, Any], claims: dict[str, Any]) -> str:
    parts = (base64.urlsafe_b64encode(json.dumps(part).encode()).decode().rstrip("=") for part in (head, claims))
    return ".".join((*parts, ""))


def test_a_jwt_with_a_wrong_signature_or_wrong_claims_is_refused(playground: Playground) -> None:
    past = datetime.now(UTC) - timedelta(minutes=5)
    bad = [
        token(exp=past),
        token(exp=None),
        token(key="another-key-of-thirty-two-bytes-and-more"),
        token(algorithm="HS512", key=KEY * 2),
        token(nbf=datetime.now(UTC) + timedelta(minutes=5)),
        token(iss="https://elsewhere.example"),
        token(iss="https://login.example", aud="another"),
        token(iss="https://login.example"),
        token(iss="https://login.example", aud="packshot", tenant="../other"),
        token(iss="https://login.example", aud="packshot", tenant=7),
        forged({"alg": "none", "typ": "JWT"}, {"exp": 4_000_000_000, "iss": "https://login.example"}),
        forged({"alg": "None"}, {"exp": 4_000_000_000}),
        "a.b.c",
        "..",
    ]
    with serving(
        playground, jwt_secret=SecretStr(KEY), jwt_issuer="https://login.example", jwt_audience="packshot"
    ) as client:
        assert ask(client, f"Bearer {token(iss='https://login.example', aud='packshot')}").status_code == 200
        assert [ask(client, f"Bearer {wrong}").status_code for wrong in bad] == [401] * len(bad)


@contextmanager
def key_server(*keys: tuple[str, Any]) -> Iterator[str]:
    """Serve the public parts of keys, each with the name of its algorithm."""
    described = []
    for algorithm, key in keys:
        kind: Any = jwt.algorithms.ECAlgorithm if algorithm == "ES256" else jwt.algorithms.RSAAlgorithm
        described.append(json.loads(kind.to_jwk(key.public_key())) | {"kid": "1", "use": "sig", "alg": algorithm})

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = json.dumps({"keys": described}).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}/keys"
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.mark.parametrize("algorithm", ["RS256", "ES256"])
def test_a_jwt_of_a_key_set_is_verified_only_with_its_public_key(playground: Playground, algorithm: str) -> None:
    def make() -> Any:
        return (
            rsa.generate_private_key(65537, 2048) if algorithm == "RS256" else ec.generate_private_key(ec.SECP256R1())
        )

    key = make()
    public = key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    with key_server((algorithm, key)) as url, serving(playground, jwks_url=url) as client:
        assert ask(client, f"Bearer {token(key, algorithm)}").status_code == 200
        assert ask(client, f"Bearer {token(make(), algorithm)}").status_code == 401
        # The public key is not secret, so an HMAC with it must prove nothing.
        confused = forged({"alg": "HS256", "kid": "1"}, {"exp": 4_000_000_000}).rstrip(".")
        mac = base64.urlsafe_b64encode(hmac.digest(public, confused.encode(), hashlib.sha256)).decode().rstrip("=")
        assert ask(client, f"Bearer {confused}.{mac}").status_code == 401
        unsigned = forged({"alg": "none", "kid": "1"}, {"exp": 4_000_000_000})
        assert ask(client, f"Bearer {unsigned}").status_code == 401


def test_an_outage_of_the_key_server_gives_503_and_not_401(playground: Playground) -> None:
    with key_server() as url:
        pass
    with serving(playground, jwks_url=url) as client:
        answer = ask(client, f"Bearer {token(rsa.generate_private_key(65537, 2048), 'RS256')}")
        assert (answer.status_code, answer.json()["errors"][0]["extensions"]["code"]) == (503, "UNAVAILABLE")
        assert int(answer.headers["retry-after"]) >= 1
        assert ask(client, f"Bearer {TOKEN}").status_code == 200


def test_a_password_is_checked_against_the_hash_that_the_command_prints(playground: Playground) -> None:
    command = [sys.executable, "-c", "from serve.cli import main; main()", "basic-user", "ann"]
    printed = subprocess.run(command, input="pa:ss wörd\n", capture_output=True, text=True, check=True).stdout.strip()
    assert "wörd" not in printed

    def basic(name: str, password: str) -> str:
        return "Basic " + base64.b64encode(f"{name}:{password}".encode()).decode()

    with serving(playground, basic_users=SecretStr(f"bob:$argon2id$v=19$m=8,t=1,p=1$c2Fs$aGFz {printed}")) as client:
        for _ in range(2):
            viewer = ask(client, basic("ann", "pa:ss wörd")).json()["data"]["viewer"]
            assert (viewer["subject"], len(viewer["scopes"])) == ("ann", 6)
            beyond_ascii = (b"Basic \xe9", b"Basic Ym9iOng=\xe9", b"Bearer \xe9", b"Bearer pst_\xff")
            malformed = (basic("ann", "password"), basic("eve", "pa:ss wörd"), "Basic ///", "Basic YW5u")
            for wrong in (*malformed, *beyond_ascii):
                assert ask(client, wrong).status_code == 401


def test_clients_of_untrusted_addresses_need_https(playground: Playground) -> None:
    stranger = ("203.0.113.9", 50_000)
    with serving(playground, client=stranger) as client:
        refused = ask(client, f"Bearer {TOKEN}")
        assert (refused.status_code, refused.json()["errors"][0]["extensions"]["code"]) == (403, "INSECURE")
        assert client.put("/uploads/default/0123", headers={"X-Upload-Token": "x"}).status_code == 403
        assert client.get("/healthz").status_code == 200
    with serving(playground, client=stranger, base_url="https://testserver") as client:
        assert ask(client, f"Bearer {TOKEN}").status_code == 200
    with serving(playground, client=stranger, trusted_ips="203.0.113.0/24") as client:
        assert ask(client, f"Bearer {TOKEN}").status_code == 200


def test_forwarded_headers_count_only_from_trusted_proxies(playground: Playground) -> None:
    forwarded = {"X-Forwarded-Proto": "https", "X-Forwarded-For": "203.0.113.9"}
    proxy = ("10.0.0.7", 50_000)
    with serving(playground, client=proxy) as client:
        assert ask(client, f"Bearer {TOKEN}", **forwarded).status_code == 403
        lying = {"X-Forwarded-For": "127.0.0.1"}
        assert ask(client, f"Bearer {TOKEN}", **lying).status_code == 403
    with serving(playground, client=proxy, trusted_proxies="10.0.0.0/8") as client:
        assert ask(client, f"Bearer {TOKEN}", **forwarded).status_code == 200
        # The client of the proxy used plain HTTP.
        assert ask(client, f"Bearer {TOKEN}", **forwarded | {"X-Forwarded-Proto": "http"}).status_code == 403


def test_the_host_names_the_tenant_and_must_agree_with_the_token(playground: Playground) -> None:
    with serving(
        playground, tenant_domain="images.example", jwt_secret=SecretStr(KEY), base_url="http://films.images.example"
    ) as client:
        assert ask(client, f"Bearer {TOKEN}").json()["data"]["viewer"]["tenant"] == {"name": "films"}
        assert ask(client, f"Bearer {token(tenant='films')}").status_code == 200
        other = ask(client, f"Bearer {token(tenant='books')}")
        assert (other.status_code, other.json()["errors"][0]["extensions"]["code"]) == (404, "NOT_FOUND")
        assert ask(client, f"Bearer {token()}").status_code == 404


def test_a_missing_scope_is_a_user_error_in_a_mutation_and_an_error_in_a_query(playground: Playground) -> None:
    create = "mutation { createPack { pack { id } userErrors { code expected got } } }"
    with serving(playground, jwt_secret=SecretStr(KEY)) as client:
        refused = ask(client, f"Bearer {token(scope='read')}", create).json()
        error = {"code": "FORBIDDEN", "expected": "packs:write", "got": "read"}
        assert refused["data"] == {"createPack": {"pack": None, "userErrors": [error]}}
        assert ask(client, f"Bearer {token(scope='packs:write')}", create).json()["data"]["createPack"]["pack"]
        unread = ask(client, f"Bearer {token(scope='packs:write')}", "{ packs { totalCount } }").json()
        assert unread["errors"][0]["extensions"]["code"] == "FORBIDDEN"
        assert ask(client, f"Bearer {token(scope='')}").json()["data"]["viewer"]["scopes"] == []


@pytest.mark.parametrize(
    ("claims", "status"),
    [({"exp": 10**17}, 401), ({"scopes": None, "scope": 5}, 200), ({"scope": None, "scopes": {"read": 1}}, 200)],
)
def test_a_jwt_with_odd_claims_causes_no_fault(playground: Playground, claims: dict[str, Any], status: int) -> None:
    with serving(playground, jwt_secret=SecretStr(KEY)) as client:
        answer = ask(client, f"Bearer {token(**claims)}")
        assert answer.status_code == status
        if status == 200:
            assert answer.json()["data"]["viewer"]["scopes"] == []


def test_basic_authentication_is_refused_without_configured_users(playground: Playground) -> None:
    with serving(playground) as client:
        assert ask(client, "Basic " + base64.b64encode(b"ann:secret").decode()).status_code == 401


def issue(playground: Playground, name: str = "ci", *, tenant: str = TENANT, **values: Any) -> tuple[str, str]:
    """Create an API token; return its id and its secret."""
    caller = replace(playground.caller, tenant=tenant)
    made, secret = tokens.create_token(caller, name, values.pop("scopes", ["read", "packs:write"]), **values)
    return made.id, secret


def test_an_api_token_sets_tenant_subject_scopes_and_end(playground: Playground) -> None:
    ends = datetime.now(UTC).replace(microsecond=0) + timedelta(days=90)
    with serving(playground) as client:
        _, secret = issue(playground, tenant="films", expires_at=ends)
        for scheme in ("Bearer", "VimondAuth"):
            assert ask(client, f"{scheme} {secret}").json()["data"]["viewer"] == {
                "tenant": {"name": "films"},
                "subject": "token:ci",
                "scopes": ["packs:write", "read"],
                "expiresAt": ends.strftime("%Y-%m-%dT%H:%M:%S.000000Z"),
            }
        assert ask(client, f"Basic {secret}").status_code == 401
        create = "mutation { createPack { pack { id } userErrors { code } } }"
        assert ask(client, f"Bearer {secret}", create).json()["data"]["createPack"]["pack"]
        regenerate = 'mutation { regenerate(scope: {tenant: "tenant:films"}) { userErrors { code expected got } } }'
        assert ask(client, f"Bearer {secret}", regenerate).json()["data"]["regenerate"]["userErrors"] == [
            {"code": "FORBIDDEN", "expected": "jobs:write", "got": "packs:write read"}
        ]


def test_a_wrong_or_expired_api_token_is_refused(playground: Playground) -> None:
    with serving(playground, jwt_secret=SecretStr(KEY)) as client:
        token_id, secret = issue(playground)
        for wrong in (secret[:-1], secret + "A", secret.upper(), secret.removeprefix("pst_"), "pst_", token_id):
            assert ask(client, f"Bearer {wrong}").status_code == 401
        _, short = issue(playground, "short", expires_at=datetime.now(UTC) + timedelta(seconds=1))
        assert ask(client, f"Bearer {short}").status_code == 200
        # The server still caches the token as valid, but its end counts.
        wait_for(lambda: ask(client, f"Bearer {short}").status_code == 401)
        assert ask(client, f"Bearer {secret}").status_code == 200


def test_a_revoked_api_token_works_at_most_until_its_cache_entry_ends(
    playground: Playground, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    @sa.event.listens_for(playground.site.catalog.engine, "before_cursor_execute")
    def note(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        if "FROM tokens" in statement:
            asked.append(statement)

    assert door.BELIEVED_SECONDS <= 5
    monkeypatch.setattr(door, "BELIEVED_SECONDS", 3600)
    with serving(playground) as client:
        token_id, secret = issue(playground)
        assert [ask(client, f"Bearer {secret}").status_code for _ in range(3)] == [200] * 3
        assert len(asked) == 1
        tokens.revoke_token(playground.caller, token_id)
        assert ask(client, f"Bearer {secret}").status_code == 200
        monkeypatch.setattr(door, "BELIEVED_SECONDS", 0)
        assert ask(client, f"Bearer {secret}").status_code == 401
        assert ask(client, f"Bearer {TOKEN}").status_code == 200


def test_an_api_token_works_only_at_the_host_of_its_tenant(playground: Playground) -> None:
    with serving(playground, tenant_domain="images.example", base_url="http://films.images.example") as client:
        _, ours = issue(playground, tenant="films")
        _, theirs = issue(playground)
        assert ask(client, f"Bearer {ours}").json()["data"]["viewer"]["tenant"] == {"name": "films"}
        other = ask(client, f"Bearer {theirs}")
        assert (other.status_code, other.json()["errors"][0]["extensions"]["code"]) == (404, "NOT_FOUND")


def test_api_tokens_work_while_the_database_cannot_be_written_and_the_log_says_so(
    playground: Playground, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def full(*_: Any) -> None:
        raise sa.exc.OperationalError("UPDATE tokens", {}, Exception("database or disk is full"))

    monkeypatch.setattr("packshot.catalog.clients.tokens.note_use", full)
    with serving(playground) as client:
        _, secret = issue(playground)
        assert ask(client, f"Bearer {secret}").status_code == 200
    assert "could not be recorded" in caplog.text


@pytest.mark.parametrize(
    "sub",
    [
        "\ud800", "a\udfff", "", " ann", "a\nb", "a\0b", "x" * 256, 7, ["ann"],
        "admin", "Admin", "\uff41dmin", "token:ci", "TOKEN:ci", "cli:root", "demo", "live upload",
    ],
)  # fmt: skip
def test_a_jwt_with_an_invalid_or_reserved_subject_is_refused(playground: Playground, sub: Any) -> None:
    with serving(playground, jwt_secret=SecretStr(KEY)) as client:
        header, _, _ = token().split(".")
        claims = {"sub": sub, "exp": int(datetime.now(UTC).timestamp()) + 60, "scope": "read"}
        payload = base64.urlsafe_b64encode(json.dumps(claims).encode()).rstrip(b"=").decode()
        mac = hmac.digest(KEY.encode(), f"{header}.{payload}".encode(), "sha256")
        signed = f"{header}.{payload}.{base64.urlsafe_b64encode(mac).rstrip(b'=').decode()}"
        assert ask(client, f"Bearer {signed}").status_code == 401


@pytest.mark.parametrize("sub", ["ann", "auth0|5f7c", "ann@example.com", "Åsa Ø", "administrator", "tokens", "00u1:x"])
def test_the_viewer_shows_any_other_subject_unchanged(playground: Playground, sub: str) -> None:
    with serving(playground, jwt_secret=SecretStr(KEY)) as client:
        assert ask(client, f"Bearer {token(sub=sub)}").json()["data"]["viewer"]["subject"] == sub


def test_pages_of_other_sites_cannot_use_a_stored_browser_password(playground: Playground) -> None:
    hashed = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1).hash("secret")
    basic = f"Basic {base64.b64encode(b'bob:secret').decode()}"
    with serving(playground, basic_users=SecretStr(f"bob:{hashed}")) as client:
        for foreign in ({"Sec-Fetch-Site": "cross-site"}, {"Origin": "https://evil.example"}):
            assert ask(client, basic, **foreign).status_code == 403
            answer = client.get(
                "/graphql", params={"query": "{ viewer { subject } }"}, headers={"Authorization": basic} | foreign
            )
            assert answer.status_code == 403
        assert ask(client, basic, **{"Sec-Fetch-Site": "same-origin"}).status_code == 200
        assert ask(client, f"Bearer {TOKEN}", **{"Sec-Fetch-Site": "cross-site"}).status_code == 200
