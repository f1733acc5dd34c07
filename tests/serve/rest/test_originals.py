"""Originals as the old service's clients send them: raw, in a form, or by URL."""

import re
from collections.abc import Iterator
from hashlib import sha256
from io import BytesIO
from typing import Any

import pytest
from PIL import Image
from starlette.testclient import TestClient

from pregen.queue.broker import make_broker
from serve.app import create_app
from tests.serve.conftest import TOKEN
from tests.serve.rest.conftest import Rest
from tests.servers.host import Host, giving, leading
from tests.support.pictures import jpeg, photo, png
from tests.support.playground import TENANT, Playground

FIRST, SECOND = jpeg(photo(64, 48)), png(photo(40, 30, seed=2))
LIMIT = 100_000


@pytest.fixture
def database_url() -> None:
    """SQLite only: these tests are about requests."""


@pytest.fixture
def rest(playground: Playground) -> Iterator[Rest]:
    """The API of an installation that fetches from the tests' own host and accepts only small images."""
    changes = {"fetch_allow": "127.0.0.1", "max_upload_bytes": LIMIT}
    playground.use(playground.with_settings(playground.settings.model_copy(update=changes)))
    app = create_app(playground.site, make_broker(playground.settings), playground.doorbell, TOKEN)
    with TestClient(app, raise_server_exceptions=False, client=("127.0.0.1", 50_000)) as client:
        yield Rest(client)


@pytest.fixture
def pack_id(rest: Rest) -> str:
    return str(rest.post("imagePacks", {})["id"])


def shown(playground: Playground, pack_id: str) -> str:
    original = playground.snapshot(pack_id).pack_location("main").original
    assert original is not None
    return original.sha256


def kept(playground: Playground) -> list[Any]:
    return [*playground.site.incoming.iterdir(), *playground.site.originals.list(TENANT)]


@pytest.mark.parametrize("kind", ["image/jpeg", "application/octet-stream", "application/x-www-form-urlencoded", ""])
def test_a_raw_body_is_the_picture_whatever_it_is_called(
    rest: Rest, playground: Playground, pack_id: str, kind: str
) -> None:
    told = rest.post(f"imagePack/{pack_id}/main/upload", content=FIRST, headers={"Content-Type": kind})
    stamped = re.fullmatch(rf"{pack_id}-(\d+)", told["id"])
    assert stamped is not None
    modified = playground.snapshot(pack_id).pack.modified_at
    assert int(stamped[1]) == int(modified.timestamp() * 1000)
    assert told["imageLocations"] == {"main": {"useResizeIncludeAll": "UNSET"}}
    assert shown(playground, pack_id) == sha256(FIRST).hexdigest()
    answer = rest.client.get(f"/api/v2/img/{told['id']}?location=main")
    with Image.open(BytesIO(answer.content)) as picture:
        assert picture.size == (64, 48)


@pytest.mark.parametrize("part", ["file", "image", "data", "", "ünï"])
def test_the_first_file_of_a_form_is_the_picture_whatever_its_part_is_called(
    rest: Rest, playground: Playground, pack_id: str, part: str
) -> None:
    files = [(part, ("a.jpg", FIRST)), ("other", ("b.png", SECOND))]
    rest.post(f"imagePack/{pack_id}/main/upload", data={"note": "before"}, files=files)
    assert shown(playground, pack_id) == sha256(FIRST).hexdigest()
    assert list(playground.site.incoming.iterdir()) == []


def test_a_second_upload_takes_the_place_of_the_first_and_crops_stay(
    rest: Rest, playground: Playground, pack_id: str
) -> None:
    first = rest.post(f"imagePack/{pack_id}/main/upload", content=FIRST)
    crop = {"topLeftX": 0.25, "topLeftY": 0.0, "bottomRightX": 1.0, "bottomRightY": 1.0}
    rest.put(f"imagePack/{pack_id}/main", {"cropInfo": crop})
    second = rest.post(f"imagePack/{first['id']}/main/upload", content=SECOND)
    assert second["imageLocations"]["main"]["cropInfo"] == crop
    assert second["id"].startswith(f"{pack_id}-")
    assert shown(playground, pack_id) == sha256(SECOND).hexdigest()
    with Image.open(BytesIO(rest.client.get(f"/api/v2/img/{pack_id}").content)) as picture:
        assert picture.size == (30, 30), "three quarters of 40"


@pytest.mark.parametrize(
    ("sent", "status", "code"),
    [
        ({"content": b""}, 415, "UNSUPPORTED_MEDIA"),
        ({"content": b"<svg xmlns='http://www.w3.org/2000/svg'/>"}, 415, "UNSUPPORTED_MEDIA"),
        ({"content": FIRST[: len(FIRST) // 2]}, 422, "UNRENDERABLE"),
        ({"content": b"\xff\xd8" + b"x" * LIMIT}, 413, "TOO_LARGE"),
        ({"chunks": [b"x" * 60_000, b"x" * 60_000]}, 413, "TOO_LARGE"),
        ({"files": {"image": ("a.jpg", b"x" * (LIMIT + 1))}}, 413, "TOO_LARGE"),
        ({"files": {"image": ("a.jpg", b"")}}, 415, "UNSUPPORTED_MEDIA"),
        ({"data": {"image": "no file"}, "files": {}}, 415, "UNSUPPORTED_MEDIA"),
        ({"content": b"no form", "headers": {"Content-Type": "multipart/form-data"}}, 400, "INVALID"),
        ({"content": b"--", "headers": {"Content-Type": f"multipart/form-data; boundary={'b' * 300}"}}, 400, "INVALID"),
        ({"content": b"no form", "headers": {"Content-Type": "Multipart/Form-Data; boundary=b"}}, 400, "INVALID"),
    ],
)
def test_bytes_that_are_no_image_are_refused_and_leave_nothing(
    rest: Rest, playground: Playground, pack_id: str, sent: dict[str, Any], status: int, code: str
) -> None:
    if "chunks" in sent:
        sent = {"content": iter(sent["chunks"])}
    told = rest.post(f"imagePack/{pack_id}/main/upload", status=status, **sent)
    assert told["code"] == code
    assert told["message"]
    assert kept(playground) == []
    assert rest.get(f"imagePack/{pack_id}")["imageLocations"] == {}


def test_a_form_without_a_file_is_refused(rest: Rest, playground: Playground, pack_id: str) -> None:
    form = b'--b\r\nContent-Disposition: form-data; name="image"\r\n\r\ntext\r\n--b--\r\n'
    headers = {"Content-Type": "multipart/form-data; boundary=b"}
    told = rest.post(f"imagePack/{pack_id}/main/upload", content=form, headers=headers, status=400)
    assert told["expected"] == "fields, then a file to its end"
    assert kept(playground) == []


def test_a_picture_is_fetched_before_the_answer(rest: Rest, playground: Playground, pack_id: str, host: Host) -> None:
    host.answers["/a%20picture.jpg?v=1&w=2"] = giving(FIRST)
    url = host.url("/a%20picture.jpg?v=1&w=2")
    told = rest.post(f"imagePack/{pack_id}-1/main/fetchImage", {}, params={"imageUrl": url})
    assert re.fullmatch(rf"{pack_id}-\d+", told["id"])
    assert shown(playground, pack_id) == sha256(FIRST).hexdigest()
    host.answers["/b.png"] = leading("/c.png")
    host.answers["/c.png"] = giving(SECOND)
    rest.post(f"imagePack/{pack_id}/main/fetchImage", params={"imageUrl": host.url("/b.png")})
    assert shown(playground, pack_id) == sha256(SECOND).hexdigest(), "without a body, too"


def _missing(handler: Any) -> None:
    handler.send_error(404)


@pytest.mark.parametrize(
    ("answer", "status", "code"),
    [
        (_missing, 422, "FETCH_FAILED"),
        (leading("http://169.254.169.254/latest"), 400, "FETCH_BLOCKED"),
        (giving(b"<html>no picture</html>"), 415, "UNSUPPORTED_MEDIA"),
        (giving(FIRST[:-200]), 422, "UNRENDERABLE"),
        (giving(b"x" * (LIMIT + 1)), 413, "TOO_LARGE"),
    ],
)
def test_a_url_without_an_image_is_refused_and_leaves_nothing(
    rest: Rest, playground: Playground, pack_id: str, host: Host, answer: Any, status: int, code: str
) -> None:
    host.answers["/a"] = answer
    told = rest.post(f"imagePack/{pack_id}/main/fetchImage", {}, params={"imageUrl": host.url("/a")}, status=status)
    assert told["code"] == code
    assert kept(playground) == []


@pytest.mark.parametrize(
    "url", [None, "", "film.jpg", "ftp://host.invalid/a", "http://\0/", "http://[::1", "file:///etc/passwd"]
)
def test_an_invalid_url_is_refused(rest: Rest, playground: Playground, pack_id: str, url: str | None) -> None:
    params = {} if url is None else {"imageUrl": url}
    told = rest.post(f"imagePack/{pack_id}/main/fetchImage", {}, params=params, status=400)
    assert told["parameter"] == "imageUrl"
    assert kept(playground) == []


def test_the_body_of_a_fetch_is_json_or_empty(rest: Rest, pack_id: str) -> None:
    for body in (b"{", b"[]", b"imageUrl=x"):
        told = rest.post(f"imagePack/{pack_id}/main/fetchImage?imageUrl=x", content=body, status=400)
        assert told["message"].startswith("[Invalid Json]")
