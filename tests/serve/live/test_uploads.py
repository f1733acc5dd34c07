"""Live uploads and their one-time tokens."""

import json
from hashlib import sha256
from io import BytesIO
from typing import Any
from urllib.parse import quote

import httpx2 as httpx
import pytest
import sqlalchemy as sa
from PIL import Image
from starlette.testclient import TestClient

from packshot.catalog.clients.uploads import UploadState
from packshot.catalog.tables.artwork import originals, packs
from packshot.catalog.tables.clients import uploads
from packshot.errors import BadState, NotFound
from packshot.geometry import Crop
from resolvers import tokens
from resolvers.caller import Scope
from resolvers.originals import Source, set_original
from resolvers.uploads import begin_upload
from tests.serve.conftest import TOKEN
from tests.serve.live.conftest import FAR, Opening
from tests.support.pictures import corners, exif, jpeg, markers, photo, pixel, png, turned
from tests.support.playground import TENANT, Playground

PICTURE = jpeg(photo(64, 48))
JSON = {"Content-Type": "application/json"}


def token_for(client: TestClient, image_id: str) -> str:
    answer = client.post("/live/token", json={"id": image_id})
    assert answer.status_code == 200, answer.text
    return str(answer.json()["token"])


def send(
    client: TestClient, path: str, token: str | None, data: bytes = PICTURE, field: str = "image"
) -> httpx.Response:
    headers = {} if token is None else {"X-Token": token}
    return client.post(f"/live/{path}", headers=headers, files={field: ("holiday.jpg", data)})


def taken(playground: Playground) -> set[str]:
    """Return the external ids of all packs."""
    with playground.site.catalog.read(TENANT) as tx:
        return set(tx.connection.scalars(sa.select(packs.c.external_id)))


def test_an_uploaded_image_is_served_by_its_id(client: TestClient, playground: Playground) -> None:
    answer = send(client, "test.jpg", token_for(client, "test"))
    assert answer.status_code == 200, answer.text
    assert answer.json() == {"status": "OK", "id": "test", "original_height": 48, "original_width": 64}
    assert answer.headers["access-control-allow-origin"] == "*"
    assert client.get("/live/test.jpg").content == PICTURE
    with Image.open(BytesIO(client.get("/live/test_32_32.png").content)) as image:
        assert image.size == (32, 24)
    assert list(playground.site.incoming.iterdir()) == []
    playground.run_jobs()
    assert playground.entries(pack_of(playground, "test")), "its planned variants are rendered, as for every pack"


def pack_of(playground: Playground, image_id: str) -> str:
    with playground.site.catalog.read(TENANT) as tx:
        return str(tx.connection.scalar(sa.select(packs.c.id).where(packs.c.external_id == image_id)))


@pytest.mark.parametrize(
    ("image_id", "path"),
    [("plain", "plain"), ("a.b", "a.b"), ("a.b", "a.b.jpeg"), ("movie.mp4", "movie.mp4"), ("a_b", "a_b.PNG"),
     ("anim", "anim.gif"), ("7", "7.webp"), ("scan", "scan.tiff")],
)  # fmt: skip
def test_the_extension_after_an_id_is_optional(client: TestClient, image_id: str, path: str) -> None:
    answer = send(client, path, token_for(client, image_id))
    assert (answer.status_code, answer.json().get("id")) == (200, image_id)


def test_a_number_is_accepted_as_id(client: TestClient) -> None:
    assert client.post("/live/token", content=b'{"id": 42}').status_code == 200
    assert client.post("/live/token", json={"id": True}).status_code == 400


@pytest.mark.parametrize("body", [b"", b"id=test", b"[]", b'"test"', b"{}", b'{"id": null}', b"[" * 60_000, b"\xff"])
def test_the_refusal_of_a_token_request_without_an_id_shows_an_example(client: TestClient, body: bytes) -> None:
    answer = client.post("/live/token", content=body)
    assert (answer.status_code, answer.json()["expected"]) == (400, '{"id": "holiday"}')
    assert client.post("/live/token", content=b" " * 70_000).status_code == 413


@pytest.mark.parametrize(
    "image_id", ["", "token", "a.jpg", "a_10_10", "a_10_10_2x", "a/b", " ab", "ü", "\ud800", "x" * 201]
)
def test_the_refusal_of_an_invalid_id_states_the_rule(client: TestClient, image_id: str) -> None:
    answer = client.post("/live/token", content=json.dumps({"id": image_id}))
    assert (answer.status_code, answer.json()["code"], answer.json()["parameter"]) == (400, "INVALID", "id")
    assert "letters, digits" in answer.json()["expected"]
    sized = send(client, "a_10_10.jpg", "any token")
    assert (sized.status_code, sized.json()["parameter"]) == (400, "id")


def test_a_token_allows_one_upload_to_one_id(client: TestClient, playground: Playground) -> None:
    token = token_for(client, "one")
    for wrong in (None, "", "guess", token + "x", token.replace(".", ""), "0" * 24 + "." + token.partition(".")[2]):
        assert send(client, "one.jpg", wrong).status_code == 403
    assert send(client, "two.jpg", token).status_code == 403
    assert taken(playground) == set()
    assert send(client, "one.jpg", token).status_code == 200
    again = send(client, "one.jpg", token)
    assert (again.status_code, again.json()["code"]) == (403, "FORBIDDEN")


@pytest.mark.parametrize(
    ("data", "query", "status"),
    [
        (b"no picture at all", "", 415),
        (b"", "", 415),
        (PICTURE[: len(PICTURE) // 2], "", 422),
        (PICTURE, "?x=60&y=0&width=10&height=10", 400),
        (PICTURE, "?x=0&y=40&width=10&height=10", 400),
    ],
)
def test_a_failed_upload_uses_up_its_token_and_leaves_the_id_free(
    client: TestClient, playground: Playground, data: bytes, query: str, status: int
) -> None:
    token = token_for(client, "test")
    failed = send(client, f"test.jpg{query}", token, data)
    assert failed.status_code == status, failed.text
    assert failed.headers["content-type"] == "application/problem+json"
    assert send(client, "test.jpg", token).status_code == 403
    assert (taken(playground), list(playground.site.incoming.iterdir())) == (set(), [])
    assert send(client, "test.jpg", token_for(client, "test")).status_code == 200


@pytest.mark.parametrize(
    ("query", "field", "headers", "status"),
    [
        ("?x=1&y=1&width=10", "image", {}, 400),
        ("?x=1&y=1&width=10&height=0.5", "image", {}, 400),
        ("?x=-1&y=1&width=10&height=10", "image", {}, 400),
        ("?x=abc&y=1&width=10&height=10", "image", {}, 400),
        ("?x=%zz", "image", {}, 400),
        ("", "file", {}, 400),
        ("", "image", {"Content-Type": "image/jpeg"}, 400),
        ("", "image", {"Content-Length": "9999999999"}, 413),
    ],
)
def test_a_refusal_before_the_image_is_read_does_not_use_up_the_token(
    client: TestClient, playground: Playground, query: str, field: str, headers: dict[str, str], status: int
) -> None:
    token = token_for(client, "test")
    files = {field: ("holiday.jpg", PICTURE)}
    refused = client.post(f"/live/test.jpg{query}", headers={"X-Token": token, **headers}, files=files)
    assert (refused.status_code, taken(playground)) == (status, set()), refused.text
    done = send(client, "test.jpg?x=30.9&y=0.5&width=10.99&height=20", token)
    assert (done.status_code, done.json()["original_width"], done.json()["original_height"]) == (200, 10, 20)
    crop = playground.snapshot(pack_of(playground, "test")).pack_location("main").crop
    assert crop == Crop(30 / 64, 0, 40 / 64, 20 / 48)


@pytest.mark.parametrize(
    "image_id", ["user@example.org", "12:30", "a+b", "Oslo, Norway", "my holiday", "photo (1)", "it's", "k=v;w&x"]
)
def test_an_id_may_contain_path_characters_and_spaces(client: TestClient, image_id: str) -> None:
    name = quote(image_id, safe="@:+,()'=;&")
    assert send(client, f"{name}.jpg", token_for(client, image_id)).json()["id"] == image_id
    assert client.get(f"/live/{name}_32_32.png").status_code == 200
    assert client.get(f"/live/{quote(image_id, safe='')}.jpg").status_code == 200


@pytest.mark.parametrize("kind", ["GIF", "BMP", "TIFF"])
def test_an_image_is_served_under_its_uploaded_extension(client: TestClient, kind: str) -> None:
    file = BytesIO()
    photo(40, 30).save(file, kind)
    path = f"x.{kind.lower()}"
    for image_id in ("x", f"y.{kind.lower()}"):
        posted = path if image_id == "x" else image_id
        assert send(client, posted, token_for(client, image_id), file.getvalue()).json()["id"] == image_id
        answer = client.get(f"/live/{posted}")
        assert (answer.status_code, answer.headers["content-type"]) == (200, f"image/{kind.lower()}")
        with Image.open(BytesIO(answer.content)) as image:
            assert (image.size, image.format) == ((40, 30), kind)
        assert client.head(f"/live/{posted}").status_code == 200


def test_the_secret_of_the_old_service_gives_tokens_to_any_address(opening: Opening) -> None:
    settings = {"live_token_secret": "1234hvhv1234hvp", "address": FAR, "base": "https://testserver"}
    far = opening(**settings)
    right = far.post("/live/token", json={"id": "x", "secret": "1234hvhv1234hvp"})
    assert right.status_code == 200
    assert send(far, "x.jpg", right.json()["token"]).status_code == 200
    for secret in ("", "wrong", "1234hvhv1234hvp ", "\ud800", TOKEN, None, 12345):
        body = json.dumps({"id": "y", "secret": secret})
        assert far.post("/live/token", content=body, headers=JSON).status_code == 401, secret
    plain = opening(**settings | {"base": "http://testserver"})
    assert plain.post("/live/token", json={"id": "x", "secret": "1234hvhv1234hvp"}).json()["code"] == "INSECURE"
    near = opening(live_token_secret="1234hvhv1234hvp")
    assert near.post("/live/token", json={"id": "z"}).status_code == 200, "a trusted address needs no secret"
    assert near.post("/live/token", json={"id": "z", "secret": "wrong"}).status_code == 401


def test_guesses_of_the_secret_get_pauses(opening: Opening) -> None:
    far = opening(live_token_secret="1234hvhv1234hvp", address=FAR, base="https://testserver")
    statuses = [far.post("/live/token", json={"id": "x", "secret": f"guess {n}"}).status_code for n in range(25)]
    assert statuses[0] == 401
    assert statuses[-1] == 429
    right = far.post("/live/token", json={"id": "x", "secret": "1234hvhv1234hvp"})
    assert (right.status_code, "retry-after" in right.headers) == (429, True), (
        "during a pause not even the correct secret is accepted"
    )


def test_without_a_configured_secret_the_secret_in_the_body_is_a_bearer_token(
    opening: Opening, playground: Playground
) -> None:
    far = opening(address=FAR, base="https://testserver")
    assert far.post("/live/token", json={"id": "x", "secret": TOKEN}).status_code == 200
    for scope, status in ((Scope.UPLOADS_WRITE, 200), (Scope.READ, 403)):
        secret = tokens.create_token(playground.caller, scope.name.lower().replace("_", "-"), [scope])[1]
        assert far.post("/live/token", json={"id": "x", "secret": secret}).status_code == status
    assert far.post("/live/token", json={"id": "x", "secret": "wrong"}).status_code == 401
    assert opening().post("/live/token", json={"id": "x", "secret": "ignored"}).status_code == 200


def test_the_refusal_of_a_crop_beyond_the_image_states_its_size(client: TestClient) -> None:
    answer = send(client, "test.jpg?x=60&y=0&width=10&height=10", token_for(client, "test")).json()
    assert (answer["expected"], answer["got"]) == ("x + width at most 64, y + height at most 48", "70 and 10")


def test_an_upload_above_the_size_limit_is_refused(opening: Opening, playground: Playground) -> None:
    client = opening(max_upload_bytes=1000)
    for size in (1001, 100_000):
        answer = send(client, "big.jpg", token_for(client, "big"), b"\xff" * size)
        assert (answer.status_code, answer.json()["code"]) == (413, "TOO_LARGE")
    assert list(playground.site.incoming.iterdir()) == []


def test_an_expired_token_is_refused(client: TestClient, playground: Playground) -> None:
    token = token_for(client, "late")
    with playground.site.catalog.write(TENANT) as tx:
        tx.connection.execute(sa.update(uploads).values(expires_at=tx.now))
    answer = send(client, "late.jpg", token)
    assert (answer.status_code, taken(playground)) == (403, set())
    assert "expired" in answer.json()["got"]


def test_an_id_in_use_gets_no_token_and_no_second_image(client: TestClient, playground: Playground) -> None:
    tokens_out = [token_for(client, "busy") for _ in range(3)]
    assert send(client, "busy.jpg", tokens_out[1]).status_code == 200
    for token in (tokens_out[0], tokens_out[2]):
        answer = send(client, "busy.jpg", token, jpeg(photo(20, 20)))
        assert (answer.status_code, answer.json()["got"]) == (403, "busy")
    refused = client.post("/live/token", json={"id": "busy"})
    assert (refused.status_code, refused.json()["code"]) == (403, "FORBIDDEN")
    assert client.get("/live/busy.jpg").content == PICTURE
    playground.pack(picture=photo(9, 9), external_id="made-by-graphql")
    assert client.post("/live/token", json={"id": "made-by-graphql"}).status_code == 403


def test_a_crop_on_upload_applies_to_the_upright_image_and_keeps_the_original(
    client: TestClient, playground: Playground
) -> None:
    upright = corners(120, 80)
    data = jpeg(turned(upright, 6), exif=exif(6))
    left, top, right, bottom = markers(120, 80)[0, 160, 0]
    query = f"?x={left}&y={top}&width={right - left}&height={bottom - top}"
    answer = send(client, f"turned.jpg{query}", token_for(client, "turned"), data)
    assert answer.status_code == 200, answer.text
    assert (answer.json()["original_width"], answer.json()["original_height"]) == (right - left, bottom - top)
    with Image.open(BytesIO(client.get("/live/turned_50_50.png?fit=crop").content)) as image:
        assert image.size == (50, 50)
        red, green, blue = pixel(image.convert("RGB"), (25, 25))
    assert (red < 40, green > 140, blue < 40) == (True, True, True)
    original = playground.snapshot(pack_of(playground, "turned")).pack_location("main").original
    assert original is not None
    assert original.sha256 == sha256(data).hexdigest()
    crop = playground.snapshot(pack_of(playground, "turned")).pack_location("main").crop
    assert crop == Crop(left / 120, top / 80, right / 120, bottom / 80)


def test_a_crop_of_the_whole_image_is_accepted(client: TestClient) -> None:
    answer = send(client, "all.jpg?x=0&y=0&width=64&height=48", token_for(client, "all"))
    assert answer.json()["original_width"] == 64
    assert client.get("/live/all_64_64.jpg").status_code == 200


def test_tokens_need_a_trusted_address_or_the_right_to_upload(opening: Opening, playground: Playground) -> None:
    far = opening(address=FAR, base="https://testserver")
    body = {"id": "x"}
    stranger = far.post("/live/token", json=body)
    assert (stranger.status_code, stranger.json()["code"]) == (401, "UNAUTHENTICATED")
    assert stranger.headers["www-authenticate"].startswith("Bearer")
    assert far.post("/live/token", json=body, headers={"Authorization": f"Bearer {TOKEN}"}).status_code == 200
    for scope, status in ((Scope.UPLOADS_WRITE, 200), (Scope.READ, 403)):
        secret = tokens.create_token(playground.caller, scope.name.lower().replace("_", "-"), [scope])[1]
        assert far.post("/live/token", json=body, headers={"Authorization": f"Bearer {secret}"}).status_code == status
    wrong = opening().post("/live/token", json=body, headers={"Authorization": "Bearer wrong"})
    assert wrong.status_code == 401, "credentials are checked at trusted addresses too"
    plain = opening(address=FAR).post("/live/token", json=body, headers={"Authorization": f"Bearer {TOKEN}"})
    assert (plain.status_code, plain.json()["code"]) == (403, "INSECURE")
    trusted = opening(address=FAR, trusted_ips="203.0.113.0/24")
    assert trusted.post("/live/token", json=body).status_code == 200


def test_an_untrusted_proxy_is_not_a_trusted_address(opening: Opening) -> None:
    forwarded = {"X-Forwarded-For": "127.0.0.1"}
    assert opening().post("/live/token", json={"id": "x"}, headers=forwarded).status_code == 401
    behind = opening(trusted_proxies="127.0.0.1")
    for client_address, status in (("203.0.113.9", 401), ("::1", 200)):
        headers = {"X-Forwarded-For": client_address, "X-Forwarded-Proto": "https"}
        assert behind.post("/live/token", json={"id": "x"}, headers=headers).status_code == status


def test_an_upload_with_a_token_from_an_untrusted_address_needs_https(opening: Opening) -> None:
    near = opening()
    insecure = send(opening(address=FAR), "a.jpg", token_for(near, "a"))
    assert (insecure.status_code, insecure.json()["code"]) == (403, "INSECURE")
    assert send(opening(address=FAR, base="https://testserver"), "a.jpg", token_for(near, "a")).status_code == 200


def test_live_uploads_and_graphql_uploads_are_separate(client: TestClient, playground: Playground) -> None:
    upload_id, _, secret = token_for(client, "live").partition(".")
    with pytest.raises(NotFound):
        begin_upload(playground.site, TENANT, upload_id, secret)
    assert send(client, "live.jpg", f"{upload_id}.{secret}").status_code == 200
    other = playground.pack(picture=photo(9, 9))
    with pytest.raises(BadState):
        set_original(playground.caller, other, "main", Source(upload_id=upload_id))


def test_only_the_digest_of_a_token_is_stored(client: TestClient, playground: Playground) -> None:
    token = token_for(client, "secret")
    with playground.site.catalog.read(TENANT) as tx:
        row: Any = tx.connection.execute(sa.select(uploads)).one()
    assert row.image_id == "secret"
    assert row.state == UploadState.OPEN.value
    assert token.partition(".")[2] not in str(row)


def test_a_live_host_accepts_uploads_at_its_root(opening: Opening) -> None:
    client = opening(live_host="img.example", live_prefix=None, base="http://img.example")
    token = client.post("/token", json={"id": "film"}).json()["token"]
    answer = client.post("/film", headers={"X-Token": token}, files={"image": ("a.png", png(photo(30, 20)))})
    assert answer.json()["original_width"] == 30
    assert client.get("/film_15_15.webp").status_code == 200


def test_the_same_image_under_two_ids_is_stored_once(client: TestClient, playground: Playground) -> None:
    for image_id in ("one", "two"):
        assert send(client, image_id, token_for(client, image_id)).status_code == 200
    with playground.site.catalog.read(TENANT) as tx:
        assert tx.connection.scalar(sa.select(sa.func.count()).select_from(originals)) == 1


@pytest.mark.parametrize("path", ["/live/a.jpg", "/live/a_10_10.jpg", "/live/a"])
def test_pages_of_any_origin_may_upload_with_a_token(client: TestClient, path: str) -> None:
    answer = client.options(path, headers={"Origin": "https://shop.example", "Access-Control-Request-Method": "POST"})
    assert answer.status_code == 204
    assert answer.headers["access-control-allow-origin"] == "*"
    assert "POST" in answer.headers["access-control-allow-methods"]
    assert "X-Token" in answer.headers["access-control-allow-headers"]


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "https://shop.example"},
        {"Origin": "null"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site", "Origin": "http://testserver"},
    ],
)
def test_pages_of_other_origins_get_no_token(client: TestClient, headers: dict[str, str]) -> None:
    answer = client.post("/live/token", json={"id": "a"}, headers=headers)
    assert (answer.status_code, answer.json()["code"]) == (403, "FORBIDDEN")
    same = client.post("/live/token", json={"id": "a"}, headers={"Origin": "http://testserver"})
    assert same.status_code == 200
    assert "access-control-allow-origin" not in same.headers


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x"])
def test_a_token_request_must_be_json(client: TestClient, kind: str) -> None:
    answer = client.post("/live/token", content=b'{"id": "a"}', headers={"Content-Type": kind})
    assert (answer.status_code, answer.json()["got"]) == (415, kind)


def test_a_trusted_address_is_not_enough_with_an_unknown_host(opening: Opening) -> None:
    known = {
        "public_url": "https://{tenant}.cdn.example/pictures",
        "live_host": "live.example",
        "tenant_domain": "images.example",
        "trusted_hosts": "packshot.internal, Other.Internal",
    }
    plain, settled = opening(), opening(**known)

    def status(client: TestClient, host: str) -> int:
        return client.post("/live/token", json={"id": "a"}, headers={"Host": host}).status_code

    for host in ("localhost", "LOCALHOST:8000", "127.0.0.1:8000", "127.8.9.1", "[::1]:8000", "testserver"):
        assert status(plain, host) == 200
    foreign = ["attacker.example", "localhost.attacker.example", "203.0.113.7", "", "a@localhost", "localhost:1:2"]
    for host in foreign:
        assert status(plain, host) == status(settled, host) == 403
    for host in ("films.cdn.example", "packshot.internal:8000", "other.internal"):
        assert status(plain, host) == 403
        assert status(settled, host) == 200
    refused = plain.post("/live/token", json={"id": "a"}, headers={"Host": "attacker.example"})
    assert (refused.json()["code"], refused.json()["got"]) == ("FORBIDDEN", "attacker.example")
    credentials = {"Host": "attacker.example", "Authorization": f"Bearer {TOKEN}"}
    assert plain.post("/live/token", json={"id": "a"}, headers=credentials).status_code == 200


def test_other_methods_and_paths_of_live_resize_are_refused(client: TestClient) -> None:
    for path in ("/live/a.jpg", "/live/token", "/live/a"):
        for method in ("PUT", "DELETE", "PATCH"):
            assert client.request(method, path).status_code == 405
    assert (client.get("/live/token").status_code, client.post("/live/_health").status_code) == (405, 405)
    for path in ("/live/a", "/live/"):
        assert client.get(path).status_code == 404
    assert "<id>_<width>_<height>.<ext>" in client.get("/live/a").json()["expected"]


def test_a_host_of_an_unknown_tenant_gives_no_token(opening: Opening) -> None:
    client = opening(tenant_domain="images.example", base="http://films.images.example")
    for headers in ({}, {"Authorization": f"Bearer {TOKEN}"}):
        answer = client.post("/live/token", json={"id": "x"}, headers=headers)
        assert (answer.status_code, answer.json()["parameter"]) == (404, "tenant")
