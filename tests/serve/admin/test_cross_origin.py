"""Pages of other origins: which may upload and use the admin APIs, and which responses they may read."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from starlette.testclient import TestClient, WebSocketDenialResponse

from packshot.settings.loading import BadSettings, load_settings
from packshot.settings.settings import Settings
from pregen.queue.broker import make_broker
from serve.app import create_app
from tests.serve.conftest import TOKEN
from tests.support.pictures import photo, png
from tests.support.playground import Playground

CMS, OTHER = "https://cms.example", "https://other.example"
LISTED = f"{CMS}, http://localhost:3000"
PICTURE = png(photo(20, 20))
ALLOW_ORIGIN, VARY = "access-control-allow-origin", "vary"
ADMIN = {"Authorization": f"Bearer {TOKEN}"}


@contextmanager
def opened(playground: Playground, origins: str | None, **settings: Any) -> Iterator[TestClient]:
    """Open a client of the installation with a setting for origins."""
    values = playground.settings.model_dump() | {"cors_origins": origins} | settings
    site = playground.with_settings(Settings(**values))
    app = create_app(site, make_broker(site.settings), playground.doorbell, TOKEN)
    with TestClient(app, raise_server_exceptions=False, client=("127.0.0.1", 50_000)) as client:
        yield client


def announce(client: TestClient, method: str, **values: Any) -> Any:
    query = """mutation($input: UploadInput!) { createUpload(input: $input) {
        upload { url method fields { name value } headers { name value } } } }"""
    given = {"mediaType": "image/png", "bytes": len(PICTURE), "method": method} | values
    answer = client.post("/graphql", json={"query": query, "variables": {"input": given}}, headers=ADMIN)
    return answer.json()["data"]["createUpload"]["upload"]


def preflight(client: TestClient, path: str, method: str, origin: str = CMS, headers: str = "") -> Any:
    asked = {"Origin": origin, "Access-Control-Request-Method": method}
    return client.options(path, headers=asked | ({"Access-Control-Request-Headers": headers} if headers else {}))


def upload(client: TestClient, method: str, origin: str = CMS, data: bytes = PICTURE, token: str | None = None) -> Any:
    """Announce an upload and send it as a page does, with its preflight."""
    ticket = announce(client, method)
    if ticket["method"] == "PUT":
        headers = {header["name"]: token or header["value"] for header in ticket["headers"]}
        asked = preflight(client, ticket["url"], "PUT", origin, ", ".join(name.lower() for name in headers))
        assert asked.status_code in (204, 403)
        return client.put(ticket["url"], content=data, headers=headers | {"Origin": origin})
    fields = {field["name"]: token or field["value"] for field in ticket["fields"]}
    files = {"file": ("写真.png", data, "image/png")}
    return client.post(ticket["url"], data=fields, files=files, headers={"Origin": origin})


@pytest.mark.parametrize("method", ["ONE_TIME_TOKEN", "PRESIGNED_POST", "PRESIGNED_PUT"])
def test_without_a_setting_pages_of_any_origin_upload_with_a_token(playground: Playground, method: str) -> None:
    with opened(playground, None) as client:
        asked = preflight(client, announce(client, method)["url"], "PUT", headers="x-upload-token,content-type,x-trace")
        assert (asked.status_code, asked.headers[ALLOW_ORIGIN]) == (204, "*")
        assert "PUT" in asked.headers["access-control-allow-methods"]
        allowed = asked.headers["access-control-allow-headers"].lower()
        assert {"x-upload-token", "content-type", "x-trace"} <= set(allowed.replace(" ", "").split(","))
        assert int(asked.headers["access-control-max-age"]) > 0
        for answer in (upload(client, method), upload(client, method, "null")):
            assert (answer.status_code, answer.headers[ALLOW_ORIGIN]) == (200, "*")
            assert "access-control-allow-credentials" not in answer.headers


@pytest.mark.parametrize("method", ["ONE_TIME_TOKEN", "PRESIGNED_POST"])
def test_pages_read_why_an_upload_is_refused(playground: Playground, method: str) -> None:
    for origins, allowed in ((None, "*"), (LISTED, CMS)):
        with opened(playground, origins) as client:
            refused = [
                upload(client, method, token="guess"),
                upload(client, method, data=PICTURE + b"more"),
                client.put("/uploads/default/nothing", headers={"Origin": CMS}),
                client.get("/uploads/default/nothing", headers={"Origin": CMS}),
                client.post("/uploads/default/nothing", content=b"x", headers={"Origin": CMS}),
            ]
            assert [answer.status_code for answer in refused] == [404, 413, 404, 405, 400]
            assert {answer.headers[ALLOW_ORIGIN] for answer in refused} == {allowed}
            assert all("Retry-After" in answer.headers["access-control-expose-headers"] for answer in refused)


def test_pages_can_read_the_response_of_an_outage(playground: Playground, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any) -> None:
        raise ConnectionRefusedError("the store is away")

    monkeypatch.setattr("resolvers.uploads.finish_upload", fail)
    with opened(playground, LISTED) as client:
        answer = upload(client, "ONE_TIME_TOKEN")
        assert answer.status_code >= 500
        assert answer.headers[ALLOW_ORIGIN] == CMS


def test_where_origins_are_listed_no_other_page_uploads_or_reads(playground: Playground) -> None:
    with opened(playground, LISTED) as client:
        for origin in (CMS, "http://localhost:3000"):
            answer = upload(client, "ONE_TIME_TOKEN", origin)
            assert (answer.status_code, answer.headers[ALLOW_ORIGIN]) == (200, origin)
            assert "Origin" in answer.headers[VARY]
        for origin in (
            OTHER,
            "null",
            "http://cms.example",
            "https://cms.example:8443",
            "https://cms.example.evil.example",
        ):
            asked = preflight(client, "/uploads/default/x", "PUT", origin)
            assert (asked.status_code, asked.json()["code"]) == (403, "FORBIDDEN")
            answer = upload(client, "ONE_TIME_TOKEN", origin)
            for each in (asked, answer):
                assert ALLOW_ORIGIN not in each.headers
                assert "Origin" in each.headers[VARY]
        # Caches must not serve the response without an origin to a page.
        assert "Origin" in client.put("/uploads/default/x").headers[VARY]


@pytest.mark.parametrize("prefix", ["/live", ""])
def test_live_uploads_follow_the_same_list(playground: Playground, prefix: str) -> None:
    live: dict[str, Any] = {"live_prefix": "/live"} if prefix else {"live_host": "testserver", "live_prefix": None}
    with opened(playground, LISTED, **live) as client:
        for number, (origin, allowed) in enumerate([(CMS, CMS), (OTHER, None)]):
            path = f"{prefix}/film-{number}.png"
            asked = preflight(client, path, "POST", origin, "x-token")
            assert (asked.status_code, asked.headers.get(ALLOW_ORIGIN)) == ((204, CMS) if allowed else (403, None))
            token = client.post(f"{prefix}/token", json={"id": f"film-{number}"}).json()["token"]
            for secret, status in (("guess", 403), (token, 200)):
                answer = client.post(
                    path, headers={"X-Token": secret, "Origin": origin}, files={"image": ("a", PICTURE, "image/png")}
                )
                assert (answer.status_code, answer.headers.get(ALLOW_ORIGIN)) == (status, allowed)
            # Images are readable by pages of every origin.
            assert client.get(path, headers={"Origin": origin}).headers[ALLOW_ORIGIN] == "*"
            assert preflight(client, path, "GET", origin).headers[ALLOW_ORIGIN] == "*"


def test_the_admin_apis_are_for_pages_of_listed_origins_only(playground: Playground) -> None:
    body = {"query": "{ viewer { subject } }"}
    for origins, origin, allowed in (
        (None, CMS, None),
        (LISTED, CMS, CMS),
        (LISTED, OTHER, None),
        ("*", OTHER, "*"),
    ):
        with opened(playground, origins) as client:
            for path in ("/graphql", "/adminAPI/imagePacks", "/eu-lof/images/default/1"):
                method = "DELETE" if "lof" in path else "POST"
                asked = preflight(client, path, method, origin, "authorization,content-type,apollo-require-preflight")
                assert (asked.status_code, asked.headers.get(ALLOW_ORIGIN)) == (204 if allowed else 403, allowed)
                if not allowed:
                    assert origin in asked.text
                    assert ("errors" in asked.json()) == (path == "/graphql")
                else:
                    assert "authorization" in asked.headers["access-control-allow-headers"].lower()
            headers = ADMIN | {"Origin": origin}
            answers = [
                client.post("/graphql", json=body, headers=headers),
                client.post("/graphql", json=body, headers={"Origin": origin}),
                client.post("/graphql", json={"query": "x" * (1 << 20)}, headers=headers),
            ]
            assert [answer.status_code for answer in answers] == [200, 401, 413]
            assert {answer.headers.get(ALLOW_ORIGIN) for answer in answers} == {allowed}
            assert answers[0].headers[VARY] == ("Accept, Origin" if origins == LISTED else "Accept")
            made = client.post("/adminAPI/imagePacks", json={}, headers=headers)
            assert (made.status_code, made.headers.get(ALLOW_ORIGIN)) == (200 if allowed else 403, allowed)
            # The description is public.
            described = client.get("/adminAPI/openapi.json", headers={"Origin": origin})
            assert described.headers[ALLOW_ORIGIN] == "*"


def test_a_password_is_not_taken_from_listed_pages_either(playground: Playground) -> None:
    with opened(playground, LISTED) as client:
        headers = {"Authorization": "Basic ZWQ6c2VjcmV0", "Origin": CMS, "Sec-Fetch-Site": "cross-site"}
        assert client.post("/graphql", json={"query": "{ __typename }"}, headers=headers).status_code == 403
        assert client.post("/adminAPI/imagePacks", json={}, headers=headers).status_code == 403


def test_only_pages_of_listed_origins_open_sockets_and_others_get_the_reason(playground: Playground) -> None:
    with opened(playground, LISTED) as client:
        protocols = ["graphql-transport-ws"]
        with client.websocket_connect("/graphql", protocols, headers={"Origin": CMS}) as socket:
            socket.send_json({"type": "connection_init", "payload": {"authorization": f"Bearer {TOKEN}"}})
            assert socket.receive_json()["type"] == "connection_ack"
        with (
            pytest.raises(WebSocketDenialResponse) as refused,
            client.websocket_connect("/graphql", protocols, headers={"Origin": OTHER}),
        ):
            pytest.fail("it was opened")
        assert refused.value.status_code == 403
        assert refused.value.json()["errors"][0]["extensions"]["got"] == OTHER


@pytest.mark.parametrize(
    "value", ["https://cms.example/", "cms.example", "https://cms.example/a", "ftp://a", "https://*"]
)
def test_an_invalid_origin_is_refused_at_the_start(value: str) -> None:
    with pytest.raises(BadSettings, match="PACKSHOT_CORS_ORIGINS"):
        load_settings({"PACKSHOT_CORS_ORIGINS": value})
