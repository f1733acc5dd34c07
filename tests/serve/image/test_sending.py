"""Ranges, conditional requests, and the ways to deliver an image."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from starlette.testclient import TestClient

from packshot.geometry import Crop
from packshot.production import open_variant
from packshot.settings.settings import Settings
from packshot.site import Site
from packshot.storage.base import Opened
from pregen.queue.broker import make_broker
from resolvers import packs
from serve.app import create_app
from serve.image import sending
from tests.serve.conftest import TOKEN
from tests.support.admin import wait_for
from tests.support.pictures import photo
from tests.support.playground import TENANT, Playground


@pytest.fixture
def url(playground: Playground) -> str:
    """A stable URL whose variant is stored."""
    playground.location("thumb", width=160, height=90, fallback="main")
    pack_id = playground.pack(picture=photo(600, 400))
    playground.run_jobs()
    return f"/api/v2/img/{pack_id}?location=thumb"


@pytest.fixture(params=["whole", "in pieces"])
def size(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Read objects whole, or in chunks of 1000 bytes."""
    if request.param == "in pieces":
        monkeypatch.setattr("serve.image.sending.CHUNK_BYTES", 1000)
        monkeypatch.setattr("packshot.storage.base.CHUNK_BYTES", 1000)
    return str(request.param)


@contextmanager
def served(playground: Playground, **settings: Any) -> Iterator[TestClient]:
    """Return a client of the same installation with other settings."""
    changed = playground.with_settings(Settings(**playground.settings.model_dump() | settings))
    app = create_app(changed, make_broker(changed.settings), playground.doorbell, "test-token-0123456789abcdef")
    address = ("127.0.0.1", 50_000)
    with TestClient(app, raise_server_exceptions=False, follow_redirects=False, client=address) as client:
        yield client


@pytest.mark.parametrize(
    ("asked", "part"),
    [
        ("bytes=0-0", lambda n: (0, 1)),
        ("bytes=2-5", lambda n: (2, 6)),
        ("bytes=999-1000", lambda n: (999, 1001)),
        ("bytes=1500-", lambda n: (1500, n)),
        ("BYTES=-7", lambda n: (n - 7, n)),
        ("bytes=-99999999", lambda n: (0, n)),
        ("bytes=3-99999999", lambda n: (3, n)),
    ],
)
def test_a_range_is_sent_as_requested(
    client: TestClient, url: str, size: str, asked: str, part: Callable[[int], tuple[int, int]]
) -> None:
    whole = client.get(url).content
    assert len(whole) > 2000
    start, stop = part(len(whole))
    answer = client.get(url, headers={"Range": asked})
    assert (answer.status_code, answer.content) == (206, whole[start:stop])
    assert answer.headers["content-range"] == f"bytes {start}-{stop - 1}/{len(whole)}"
    assert answer.headers["content-length"] == str(stop - start)


@pytest.mark.parametrize("asked", ["bytes=5-2", "bytes=0-1,3-4", "bytes=-", "items=0-1", "bytes", "bytes=a-b", "0-1"])
def test_malformed_and_multiple_ranges_are_ignored(client: TestClient, url: str, size: str, asked: str) -> None:
    whole = client.get(url)
    answer = client.get(url, headers={"Range": asked})
    assert (answer.status_code, answer.content) == (200, whole.content)
    assert answer.headers["accept-ranges"] == "bytes"


@pytest.mark.parametrize("asked", ["bytes=99999999-", "bytes=-0"])
def test_a_range_beyond_the_end_is_refused_with_a_problem_document(
    client: TestClient, url: str, size: str, asked: str
) -> None:
    length = len(client.get(url).content)
    answer = client.get(url, headers={"Range": asked})
    assert (answer.status_code, answer.headers["content-type"]) == (416, "application/problem+json")
    assert answer.headers["content-range"] == f"bytes */{length}"
    assert str(length) in answer.json()["expected"]


def test_a_range_is_sent_only_if_if_range_matches(client: TestClient, url: str, size: str) -> None:
    whole = client.get(url)
    immutable = whole.headers["content-location"]
    for at, same in ((url, whole.headers["etag"]), (immutable, client.get(immutable).headers["last-modified"])):
        assert client.get(at, headers={"Range": "bytes=0-9", "If-Range": same}).status_code == 206
    for other in ('"another"', f"W/{whole.headers['etag']}", "Thu, 01 Jan 2099 00:00:00 GMT", "yesterday"):
        answer = client.get(url, headers={"Range": "bytes=0-9", "If-Range": other})
        assert (answer.status_code, answer.content) == (200, whole.content)
    unchanged = client.get(url, headers={"Range": "bytes=0-9", "If-None-Match": whole.headers["etag"]})
    assert (unchanged.status_code, unchanged.content) == (304, b"")
    head = client.head(url, headers={"Range": "bytes=0-9"})
    assert (head.status_code, head.headers["content-length"]) == (200, str(len(whole.content)))


def test_a_variant_that_is_deleted_during_its_response_is_sent_completely(
    client: TestClient, playground: Playground, url: str, size: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = client.get(url)

    def then_delete(site: Site, key: str) -> Opened | None:
        opened = open_variant(site, key)
        site.variants.delete(key)
        return opened

    monkeypatch.setattr(sending, "open_variant", then_delete)
    assert client.get(url).content == whole.content
    assert playground.site.variants.head(whole.headers["content-location"].removeprefix("/i/")) is None


def test_with_redirect_delivery_stable_urls_redirect_to_immutable_ones(playground: Playground, url: str) -> None:
    with served(playground, delivery="redirect") as client:
        answer = client.get(url)
        assert (answer.status_code, answer.content) == (302, b"")
        assert answer.headers["location"] == answer.headers["content-location"]
        # The redirect is cached and purged like the image itself.
        assert answer.headers["cache-control"].startswith("public, max-age=60, s-maxage=60,")
        admin = {"Authorization": f"Bearer {TOKEN}"}
        assert client.get(f"{url}&explain=1", headers=admin).json()["answer"]["status"] == 302
        picture = client.get(answer.headers["location"])
        assert (picture.status_code, picture.headers["content-type"]) == (200, "image/jpeg")
        assert client.head(url).status_code == 302
        # A missing variant is rendered before the client follows the redirect.
        assert client.get(client.get(f"{url}&width=97").headers["location"]).status_code == 200


def test_with_a_public_url_in_a_folder_every_redirect_stays_in_it(playground: Playground, url: str) -> None:
    known = {"public_url": "https://{tenant}.shop.example/art/{tenant}"}
    folder = f"/art/{TENANT}"
    with served(playground, **known) as client:
        old = client.get(url).headers["content-location"]
        assert old.startswith(f"{folder}/i/{TENANT}/")
    key = old.removeprefix(f"{folder}/i/")
    packs.set_crop(playground.caller, key.split("/")[1], "main", Crop(0, 0, 0.5, 0.5))
    playground.site.variants.delete(key)
    with served(playground, **known, delivery="redirect") as client:
        new = client.get(url).headers["location"]
        assert new.startswith(f"{folder}/i/{TENANT}/")
        assert new != old
        replaced = client.get(f"/i/{key}")
        assert (replaced.status_code, replaced.headers["location"]) == (302, new)


def test_with_accel_delivery_the_web_server_in_front_gets_the_path(playground: Playground, url: str) -> None:
    with served(playground, delivery="accel", accel_prefix="/inside/") as client:
        answer = client.get(url)
        key = answer.headers["content-location"].removeprefix("/i/")
        assert answer.headers["x-accel-redirect"] == f"/inside/{key}"
        assert (answer.status_code, answer.content, answer.headers["content-length"]) == (200, b"", "0")
        assert answer.headers["content-type"] == "image/jpeg"
        assert client.get(f"/i/{key}").headers["x-accel-redirect"] == f"/inside/{key}"
        unchanged = client.get(url, headers={"If-None-Match": answer.headers["etag"]})
        assert unchanged.status_code == 304
        assert "x-accel-redirect" not in unchanged.headers


def test_repeated_requests_are_served_from_memory_until_an_erasure(
    playground: Playground, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with served(playground) as client:
        key = client.get(url).headers["content-location"]
        first = client.get(key)
        with monkeypatch.context() as patched:
            patched.setattr(playground.site.variants, "open", lambda key: pytest.fail("the store was read"))
            again = client.get(key)
            part = client.get(key, headers={"Range": "bytes=1-3"})
            unchanged = client.get(key, headers={"If-None-Match": first.headers["etag"]})
        assert (again.content, again.headers["etag"]) == (first.content, first.headers["etag"])
        assert (part.status_code, part.content, unchanged.status_code) == (206, first.content[1:4], 304)
        assert dict(again.headers) == dict(first.headers)
        # This process notices the erasure at its next check.
        packs.erase_pack(playground.caller, key.split("/")[3], reason="a court order")
        monkeypatch.setattr("serve.image.erased.FRESH", 0.0)
        wait_for(lambda: client.get(key).status_code == 410)
        assert client.get(key, headers={"If-None-Match": first.headers["etag"]}).status_code == 410


def test_a_memory_cache_of_0_bytes_keeps_nothing(
    playground: Playground, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with served(playground, hot_bytes=0) as client:
        key = client.get(url).headers["content-location"]
        assert client.get(key).status_code == client.get(key).status_code == 200
        playground.site.variants.delete(key.removeprefix("/i/"))
        opened: list[str] = []
        real = playground.site.variants.open

        def open_noted(key: str) -> Any:
            opened.append(key)
            return real(key)

        monkeypatch.setattr(playground.site.variants, "open", open_noted)
        assert client.get(key).status_code == 200
        assert opened
