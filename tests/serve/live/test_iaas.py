"""Requests that only clients of iaas send: lenient options, and endpoints of iaas."""

from io import BytesIO

import pytest
import sqlalchemy as sa
from PIL import Image
from starlette.testclient import TestClient

from packshot.catalog.database import migrate
from packshot.catalog.tables.artwork import variants
from tests.serve.live.conftest import FAR, Opening
from tests.support.pictures import photo
from tests.support.playground import TENANT, Playground

CDN = "https://cdn.example"
WEBP = {"Accept": "image/avif,image/webp,*/*"}


@pytest.fixture
def film(playground: Playground) -> str:
    """A pack of a 600x400 original with the external id `film`; returns the id of the pack."""
    return playground.pack(picture=photo(600, 400), external_id="film")


def kind(content: bytes) -> str | None:
    with Image.open(BytesIO(content)) as image:
        return image.format


@pytest.mark.parametrize(
    ("spelled", "plain"),
    [
        ("film_100_100.jpg?fit=clip&blur=false&quality=-1", "film_100_100.jpg"),
        ("film_100_100.jpg?quality=abc&blur=1", "film_100_100.jpg"),
        ("film_100_100.jpg?quality=&blur=&fit=", "film_100_100.jpg"),
        ("film_100_100.jpg?quality=75.5", "film_100_100.jpg?quality=75"),
        ("film_100_100.jpg?quality=101", "film_100_100.jpg?quality=100"),
        ("film_100.5_100.jpg?fit=crop", "film_101_100.jpg?fit=crop"),
        ("film_90_60.0000000001.jpg?fit=crop", "film_90_60.jpg?fit=crop"),
    ],
)
def test_lenient_spellings_yield_the_same_variant(
    client: TestClient, playground: Playground, film: str, spelled: str, plain: str
) -> None:
    first, again = client.get(f"/live/{plain}"), client.get(f"/live/{spelled}")
    assert (again.status_code, again.content) == (200, first.content)
    assert again.headers["content-location"] == first.headers["content-location"]
    with playground.site.catalog.read(TENANT) as tx:
        assert tx.connection.scalar(sa.select(sa.func.count()).select_from(variants)) == 1


@pytest.mark.parametrize("query", ["quality=-1", "quality=101", "quality=75.5", "quality=", "blur=true"])
def test_stable_urls_stay_strict(client: TestClient, film: str, query: str) -> None:
    assert client.get(f"/api/v2/img/{film}?{query}").status_code == 400


def test_a_missing_image_gives_404_and_no_redirect(opening: Opening, film: str) -> None:
    client = opening(max_width=500, max_height=400)
    assert client.get("/live/absent_9000_9000.jpg").status_code == 404
    assert client.get("/live/film_9000_9000.jpg").status_code == 307


def test_each_side_of_a_large_canvas_is_limited_separately(opening: Opening, film: str) -> None:
    client = opening(max_width=2000, max_height=2000)
    answer = client.get("/live/film_4000_1000.jpg?fit=canvas")
    assert (answer.status_code, answer.headers["location"]) == (307, "film_2000_1000.jpg?fit=canvas")
    with Image.open(BytesIO(client.get("/live/film_2000_1000.jpg?fit=canvas").content)) as image:
        assert image.size == (2000, 1000)


def test_proxy_true_sends_the_image_instead_of_a_redirect(opening: Opening, film: str) -> None:
    for settings in ({"public_url": CDN}, {"delivery": "redirect"}, {"public_url": CDN, "delivery": "redirect"}):
        client = opening(**settings)
        client.get("/live/film_50_50.jpg")
        stored = client.get("/live/film_50_50.jpg")
        assert stored.status_code in (302, 307)
        bytes_ = client.get("/live/film_50_50.jpg?proxy=true")
        assert (bytes_.status_code, kind(bytes_.content)) == (200, "JPEG")
        assert stored.headers["location"].endswith(bytes_.headers["content-location"])
        assert client.get("/live/film_50_50.jpg?proxy=1").status_code in (302, 307)


def test_allow_webp_sends_webp_to_clients_that_accept_it(opening: Opening, film: str) -> None:
    client = opening()
    for extension, own in (("jpg", "JPEG"), ("png", "PNG")):
        url = f"/live/film_60_60.{extension}"
        for query, headers, drawn in (
            ("?allow_webp=true", WEBP, "WEBP"),
            ("?allow_webp=true", {"Accept": "image/*"}, own),
            ("?allow_webp=true", {"Accept": "image/webp;q=0"}, own),
            ("?allow_webp=1", WEBP, own),
            ("", WEBP, own),
        ):
            answer = client.get(url + query, headers=headers)
            assert (kind(answer.content), answer.headers.get("vary")) == (
                drawn,
                "Accept" if query == "?allow_webp=true" else None,
            )
    webp = client.get("/live/film_60_60.jpg?allow_webp=true", headers=WEBP)
    assert webp.headers["content-location"] == client.get("/live/film_60_60.webp").headers["content-location"]
    low = client.get("/live/film_60_60.jpg?allow_webp=true&quality=5", headers=WEBP)
    assert len(low.content) < len(webp.content)


def test_a_redirect_to_a_negotiated_format_varies_by_accept(opening: Opening, film: str) -> None:
    client = opening(public_url=CDN)
    for headers, end in ((WEBP, ".webp"), ({"Accept": "*/*"}, ".jpg")):
        client.get("/live/film_60_60.jpg?allow_webp=true", headers=headers)
        answer = client.get("/live/film_60_60.jpg?allow_webp=true", headers=headers)
        assert (answer.status_code, answer.headers["vary"]) == (307, "Accept")
        assert answer.headers["location"].endswith(end)


def test_the_health_check_of_the_old_service_works(opening: Opening, playground: Playground) -> None:
    at_root = {"live_host": "img.example", "base": "http://img.example"}
    for client, path in (
        (opening(address=FAR), "/live/_health"),
        (opening(), "/_health"),
        (opening(**at_root, live_prefix=None), "/_health"),
        (opening(live_prefix="/old"), "/old/_health"),
    ):
        answer = client.get(path)
        assert (answer.status_code, answer.text, answer.headers["cache-control"]) == (200, "OK", "no-store")
        assert client.head(path).status_code == 200
    assert opening(live_prefix=None).get("/_health").status_code == 404

    migrate.downgrade(playground.site.catalog, "0001")
    failing = opening().get("/live/_health")
    assert (failing.status_code, failing.text) == (503, "Not ready, see /readyz")
