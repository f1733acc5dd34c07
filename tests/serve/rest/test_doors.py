"""Authentication, size limits and errors of the REST admin API."""

import base64
import logging
from typing import Any

import pytest
from argon2 import PasswordHasher
from graphql import GraphQLObjectType, build_schema
from pydantic import SecretStr
from starlette.testclient import TestClient

from resolvers import packs
from schema.build import sdl
from serve.logs.redaction import redact
from serve.rest.calls import Takes
from serve.rest.table import OPERATIONS
from tests.serve.conftest import TOKEN
from tests.serve.http.test_auth import KEY, serving, token
from tests.serve.rest.conftest import Rest
from tests.support.pictures import jpeg, photo
from tests.support.playground import Playground

PLACES = {"name": "thumb", "id": "0" * 24, "location": "main", "assetId": "1", "tenant": "default", "env": "eu"}
# The equivalent GraphQL operations.
LIKE = {
    "listImageLocationConfigs": ["locations"],
    "getImageLocationConfig": ["location"],
    "putImageLocationConfig": ["putLocation"],
    "deleteImageLocationConfig": ["deleteLocation"],
    "createImagePack": ["createPack"],
    "getImagePack": ["pack"],
    "putImagePack": ["updatePack", "updatePackLocations"],
    "deleteImagePack": ["deletePack"],
    "getImagePackViaAsset": ["pack"],
    "putImagePackLocation": ["updatePackLocation"],
    "uploadImage": ["createUpload", "setOriginal"],
    "fetchImage": ["setOriginal"],
    "purgeImagePack": ["purge"],
    "invalidateImagePack": ["purge"],
}


@pytest.fixture
def database_url() -> None:
    """SQLite only: these tests are about authentication."""


def send(client: TestClient, operation: Any, **headers: str) -> Any:
    """Call an operation with nothing but the parameters of its path."""
    body: dict[str, Any] = {"json": {}} if operation.takes in (Takes.OBJECT, Takes.MAYBE_OBJECT) else {}
    return client.request(operation.method, operation.path.format(**PLACES), headers=headers, **body)


def test_every_operation_needs_the_scopes_of_graphql() -> None:
    schema = build_schema(sdl())
    fields: dict[str, Any] = {}
    for root in (schema.query_type, schema.mutation_type):
        assert isinstance(root, GraphQLObjectType)
        fields |= root.fields
    for operation in OPERATIONS:
        wanted = set()
        for name in LIKE[operation.id]:
            (directive,) = fields[name].ast_node.directives
            wanted.add(directive.arguments[0].value.value)
        assert set(operation.scopes) == wanted, operation.id


def test_without_the_scope_nothing_is_done_and_the_scope_is_named(playground: Playground) -> None:
    with serving(playground, jwt_secret=SecretStr(KEY)) as client:
        for operation in OPERATIONS:
            for missing in operation.scopes:
                held = " ".join({"read", "locations:write", "packs:write", "uploads:write", "cdn:write"} - {missing})
                answer = send(client, operation, Authorization=f"Bearer {token(scope=held)}")
                told = answer.json()
                assert (answer.status_code, told["code"], told["expected"]) == (403, "FORBIDDEN", missing), operation.id


def test_a_request_without_credentials_gets_a_challenge(playground: Playground) -> None:
    users = SecretStr(f"ann:{PasswordHasher().hash('secret')}")
    with serving(playground) as client:
        for operation in OPERATIONS:
            for given in ("", "Bearer wrong", "Basic YW5uOnNlY3JldA==", "Digest x"):
                answer = send(client, operation, Authorization=given)
                assert (answer.status_code, answer.json()["code"]) == (401, "UNAUTHENTICATED")
                assert answer.headers["www-authenticate"] == 'Bearer realm="packshot"'
    with serving(playground, basic_users=users) as client:
        answer = client.get("/adminAPI/imageLocationConfigs")
        assert answer.headers["www-authenticate"].split(", ")[1] == 'Basic realm="packshot"'


def test_bearer_vimondauth_and_basic_are_accepted(playground: Playground) -> None:
    users = SecretStr(f"ann:{PasswordHasher().hash('secret')}")
    basic = base64.b64encode(b"ann:secret").decode()
    with serving(playground, basic_users=users, jwt_secret=SecretStr(KEY)) as client:
        for given in (f"Bearer {TOKEN}", f"VimondAuth {token()}", f"bearer {token()}", f"Basic {basic}"):
            answer = client.post("/adminAPI/imagePacks", json={}, headers={"Authorization": given})
            assert answer.status_code == 200, answer.text


def test_clients_outside_the_trusted_ips_need_https(playground: Playground) -> None:
    stranger = ("203.0.113.9", 50_000)
    with serving(playground, client=stranger) as client:
        for operation in OPERATIONS:
            answer = send(client, operation, Authorization=f"Bearer {TOKEN}")
            assert (answer.status_code, answer.json()["code"]) == (403, "INSECURE")
        assert client.get("/adminAPI/openapi.json").status_code == 200, "it has no secrets"
    with serving(playground, client=stranger, base_url="https://testserver") as client:
        assert client.get("/adminAPI/imageLocationConfigs", headers={"Authorization": f"Bearer {TOKEN}"}).is_success


def test_pages_of_other_sites_cannot_use_a_password_that_the_browser_remembers(playground: Playground) -> None:
    with serving(playground) as client:
        elsewhere, here = "http://testserver.example", "http://testserver"
        for said, status in (
            ({"Sec-Fetch-Site": "cross-site"}, 403),
            ({"Sec-Fetch-Site": "same-site"}, 403),
            ({"Sec-Fetch-Site": "same-origin", "Origin": elsewhere}, 200),
            ({"Sec-Fetch-Site": "none"}, 200),
            ({"Origin": elsewhere}, 403),
            ({"Origin": "null"}, 403),
            ({"Origin": here}, 200),
        ):
            headers = {"Authorization": f"Bearer {TOKEN}", **said}
            assert client.post("/adminAPI/imagePacks", json={}, headers=headers).status_code == status, said


def test_the_host_names_the_tenant(playground: Playground) -> None:
    settings: dict[str, Any] = {"tenant_domain": "images.example", "jwt_secret": SecretStr(KEY)}
    with serving(playground, base_url="http://films.images.example", **settings) as client:
        headers = {"Authorization": f"Bearer {token(tenant='films', scope='read packs:write cdn:write')}"}
        made = client.post("/adminAPI/imagePacks", json={}, headers=headers).json()
        assert made["tenant"] == "films"
        path = f"/adminAPI/images/films/{made['id']}"
        assert client.delete(path, headers=headers).status_code == 202
        other = {"Authorization": f"Bearer {token(tenant='default', scope='read packs:write cdn:write')}"}
        assert client.get(f"/adminAPI/imagePack/{made['id']}", headers=other).status_code == 404
        # The host decides before the path.
        admin = {"Authorization": f"Bearer {TOKEN}"}
        assert client.delete(f"/adminAPI/images/default/{made['id']}", headers=admin).status_code == 404
        assert client.delete(path, headers=admin).status_code == 202


def test_the_path_of_a_purge_names_the_tenant_where_the_host_names_none(playground: Playground) -> None:
    with serving(playground, jwt_secret=SecretStr(KEY)) as client:
        films = {"Authorization": f"Bearer {token(tenant='films', scope='packs:write cdn:write')}"}
        pack_id = client.post("/adminAPI/imagePacks", json={}, headers=films).json()["id"]
        for headers in (films, {"Authorization": f"Bearer {TOKEN}"}):
            assert client.delete(f"/eu-lof/images/films/{pack_id}", headers=headers).status_code == 202
            assert client.delete(f"/eu-lof/images/default/{pack_id}", headers=headers).status_code == 404


def test_a_token_without_read_sees_only_ids_and_names(playground: Playground) -> None:
    playground.location("thumb", width=20, height=10, label="secret label")
    pack_id = playground.pack(asset_id=7)
    with serving(playground, jwt_secret=SecretStr(KEY)) as client:

        def send(method: str, path: str, scope: str, **sent: Any) -> Any:
            headers = {"Authorization": f"Bearer {token(scope=scope)}"}
            return client.request(method, f"/adminAPI/{path}", headers=headers, **sent).json()

        packs, both = "packs:write", "packs:write uploads:write"
        picture = {"content": jpeg(photo(60, 40))}
        for method, path, scope, sent, seen in (
            ("POST", "imagePacks", packs, {"json": {}}, {"id", "tenant", "sequenceNumber"}),
            ("PUT", f"imagePack/{pack_id}", packs, {"json": {}}, {"id", "tenant", "sequenceNumber"}),
            ("PUT", f"imagePack/{pack_id}/main", packs, {"json": {}}, {"id", "tenant", "sequenceNumber"}),
            ("POST", f"imagePack/{pack_id}/main/upload", both, picture, {"id", "tenant", "sequenceNumber"}),
            ("PUT", "imageLocationConfig/thumb", "locations:write", {"json": {}}, {"name"}),
            ("DELETE", f"images/default/{pack_id}", "cdn:write", {}, {"job", "id", "tenant"}),
            ("DELETE", f"imagePack/{pack_id}", packs, {}, {"id"}),
        ):
            assert set(send(method, path, scope, **sent)) == seen, path
        taken = send("POST", "imagePacks", packs, json={"assetId": 7})
        assert "secret" not in str(taken)
        playground.pack(at="thumb")
        body = {"json": {"width": 30}}
        blind = send("PUT", "imageLocationConfig/thumb", "locations:write", **body)["plan"]["changes"]
        told = send("PUT", "imageLocationConfig/thumb", "locations:write read", **body)["plan"]["changes"]
        assert [{**each, "before": 20} for each in blind] == told


@pytest.mark.parametrize("operation", [each for each in OPERATIONS if each.body], ids=lambda each: each.id)
def test_a_body_has_64_kib_at_the_most(rest: Rest, operation: Any) -> None:
    path = operation.path.format(**PLACES)
    long = b'{"a": "' + b"x" * (1 << 16) + b'"}'
    for content in (long, iter([long[:60_000], long[60_000:]])):
        told = rest.ask(operation.method, path, content=content, status=413)
        assert (told["code"], told["parameter"], told["expected"]) == ("TOO_LARGE", "body", "at most 65536 bytes")


def test_a_path_takes_only_its_own_methods_and_lists_them(client: TestClient) -> None:
    methods = {"/adminAPI/openapi.json": {"GET"}}
    for operation in OPERATIONS:
        methods.setdefault(operation.path, set()).add(operation.method)
    for path, known in methods.items():
        allowed = sorted(known | {"OPTIONS"} | ({"HEAD"} if "GET" in known else set()))
        for method in {"GET", "HEAD", "PUT", "POST", "DELETE", "PATCH", "OPTIONS", "TRACE"} - set(allowed):
            answer = client.request(method, path.format(**PLACES))
            assert (answer.status_code, answer.headers["allow"]) == (405, ", ".join(allowed))
            if method != "HEAD":
                assert answer.json()["code"] == "METHOD_NOT_ALLOWED"


def test_an_unknown_path_gets_json(rest: Rest) -> None:
    for path in ("", "nothing", "imagePack", "imagePacks/", "imagePack/0/main/upload/more", "imagelocationconfigs"):
        assert rest.get(path, status=404)["code"] == "NOT_FOUND"


def test_every_error_has_an_id_of_its_own(rest: Rest) -> None:
    ids = {rest.get(f"imagePack/{'0' * 24}", status=404)["id"] for _ in range(10)}
    assert len(ids) == 10


def test_an_address_to_fetch_from_is_kept_out_of_the_access_log() -> None:
    path = "/adminAPI/imagePack/0/main/fetchImage"
    for name in ("imageUrl", "imageurl", "image%55rl", "%69mageUrl"):
        logged = redact(f"{path}?{name}=https%3A//host.example/a%3Fsignature=secret&force=true")
        assert logged == f"{path}?{name}=[redacted]&force=true"


@pytest.mark.parametrize(("kind", "status", "code"), [(OSError, 503, "UNAVAILABLE"), (RuntimeError, 500, "INTERNAL")])
def test_a_fault_is_masked_and_in_the_log_under_its_id(
    rest: Rest,
    kind: type[Exception],
    status: int,
    code: str,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    def fail(*_: Any) -> None:
        raise kind("secret path")

    monkeypatch.setattr(packs, "load_snapshots", fail)
    with caplog.at_level(logging.ERROR):
        told = rest.get(f"imagePack/{'0' * 24}", status=status)
    assert told["code"] == code
    assert "secret" not in str(told)
    (record,) = [record for record in caplog.records if told["id"] in record.getMessage()]
    assert record.exc_info is not None
    assert "secret path" in str(record.exc_info[1])
