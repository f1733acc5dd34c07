"""The client URLs of the old service, word for word: its host names and ids, and every parameter that it documents."""

from collections.abc import Iterator
from io import BytesIO
from typing import Any

import pytest
from PIL import Image
from starlette.testclient import TestClient

from packshot.catalog.configuration.tenants import ensure_tenant
from packshot.geometry import Crop, Gravity
from packshot.model import IncludeAll
from packshot.security import access_policy
from packshot.settings.settings import Settings
from pregen.queue.broker import make_broker
from resolvers import access_keys, locations, originals, packs
from resolvers.caller import Caller
from resolvers.originals import Source
from resolvers.packs import PackLocationPatch
from serve.app import create_app
from tests.serve.conftest import TOKEN
from tests.support.pictures import BLUE, GREEN, GREY, RED, YELLOW, corners, jpeg
from tests.support.playground import AT_ONCE, Playground

DOMAIN = "image-service.eu-north-1-prod.vmnd.tv"
PACK = "62e89a0ce4b0003c6f22b5a3"
DEFAULT = f"https://sales.{DOMAIN}/api/v2/img/{PACK}-1662654467834"


@pytest.fixture
def database_url() -> None:
    """SQLite is enough: the code behind the URLs has its own tests on every database."""


@pytest.fixture
def caller(playground: Playground, monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> Caller:
    """A caller of the tenant `sales`, which has the pack and the locations that its web pages request."""
    monkeypatch.setattr(access_policy, "FRESH", 0)
    settings = Settings(**playground.settings.model_dump() | {"tenant_domain": DOMAIN})
    site = playground.with_settings(settings)
    with site.catalog.write("sales") as tx:
        ensure_tenant(tx)
    caller = Caller(site, playground.doorbell, "sales", "tester", "http://test")
    for name, width, height in (("portal-cover", 300, 450), ("thumb", 160, 90), ("portal-carousel", 640, 240)):
        values = {"width": width, "height": height, "fallback": "main"}
        locations.put_location(caller, name, values, AT_ONCE)
    with monkeypatch.context() as patched:
        patched.setattr("secrets.token_hex", lambda _: PACK)
        assert packs.create_pack(caller, {}).pack.id == PACK
    (tmp_path / "original.jpg").write_bytes(jpeg(corners(1200, 800), quality=95))
    originals.set_original(caller, PACK, "main", Source(received=tmp_path / "original.jpg"))
    return caller


@pytest.fixture
def client(caller: Caller) -> Iterator[TestClient]:
    app = create_app(caller.site, make_broker(caller.site.settings), caller.doorbell, TOKEN)
    with TestClient(app, raise_server_exceptions=False, follow_redirects=False) as client:
        yield client


def get(client: TestClient, url: str, **headers: str) -> Image.Image:
    answer = client.get(url, headers=headers)
    assert answer.status_code == 200, answer.text
    picture = Image.open(BytesIO(answer.content))
    picture.load()
    assert answer.headers["content-type"] == f"image/{(picture.format or '').lower()}"
    return picture


def near(picture: Image.Image, x: int, y: int) -> tuple[int, int, int]:
    """Return the colour of `corners` that is nearest to a pixel."""
    pixel: Any = picture.convert("RGB").getpixel((x % picture.width, y % picture.height))
    return min(
        (RED, GREEN, BLUE, YELLOW, GREY), key=lambda one: sum(abs(a - b) for a, b in zip(one, pixel, strict=True))
    )


def test_the_url_templates_of_content_discovery_yield_images(client: TestClient) -> None:
    assert get(client, DEFAULT).size == (1200, 800)
    assert get(client, f"https://sales.{DOMAIN}/api/v2/img/{PACK}?location=main&width=300").size == (300, 200)
    for location, size in (("portal-cover", (300, 450)), ("thumb", (160, 90)), ("main", (1200, 800))):
        assert get(client, f"{DEFAULT}?location={location}").size == size
        assert get(client, f"{DEFAULT}?region=NO&location={location}").size == size
    assert get(client, f"{DEFAULT}?region=NO").size == (1200, 800)
    assert get(client, f"{DEFAULT}?location=portal-cover&width=300&height=450").size == (300, 450)


def test_cache_busters_and_unknown_parameters_yield_the_same_variant(client: TestClient) -> None:
    plain = client.get(f"https://sales.{DOMAIN}/api/v2/img/{PACK}?location=thumb")
    for url in (
        f"{DEFAULT}?location=thumb",
        f"{DEFAULT}-more-1?location=thumb",
        f"{DEFAULT}?location=thumb&date=1662654467834",
        f"{DEFAULT}?date=&region=NO&location=thumb",
        f"{DEFAULT}?location=thumb&utm_source=letter&zoom=2",
    ):
        assert client.get(url).content == plain.content
        assert client.get(url).headers["content-location"] == plain.headers["content-location"]


def test_the_host_of_another_tenant_does_not_serve_the_pack(client: TestClient, caller: Caller) -> None:
    with caller.site.catalog.write("vimond") as tx:
        ensure_tenant(tx)
    for tenant in ("vimond", "absent"):
        assert client.get(DEFAULT.replace("sales", tenant)).status_code == 404


@pytest.mark.parametrize(
    ("query", "size", "format"),
    [
        ("width=300", (300, 200), "JPEG"),
        ("height=200", (300, 200), "JPEG"),
        ("width=300&height=300", (300, 300), "JPEG"),
        ("location=thumb&width=320", (320, 213), "JPEG"),
        ("location=thumb&width=320&location-ratio=true", (320, 180), "JPEG"),
        ("location=thumb&width=320&location-ratio=false", (320, 213), "JPEG"),
        ("location=thumb&resize-mode=crop", (160, 90), "JPEG"),
        ("location=thumb&resize-mode=includeAll", (160, 90), "PNG"),
        ("width=200&format=png", (200, 133), "PNG"),
        ("width=200&format=webp", (200, 133), "WEBP"),
        ("width=200&format=jpeg", (200, 133), "JPEG"),
        ("width=200&format=avif", (200, 133), "AVIF"),
        ("location=thumb&rounded-corners=20", (160, 90), "PNG"),
        ("location=thumb&rounded-corners=20&format=webp", (160, 90), "WEBP"),
    ],
)
def test_images_have_the_requested_size_and_format(
    client: TestClient, query: str, size: tuple[int, int], format: str
) -> None:
    picture = get(client, f"{DEFAULT}?{query}")
    assert (picture.size, picture.format) == (size, format)


def test_include_all_pads_with_transparency(client: TestClient) -> None:
    picture = get(client, f"{DEFAULT}?width=300&height=300&resize-mode=includeAll").convert("RGBA")
    assert [picture.getpixel((150, y))[3] for y in (10, 290)] == [0, 0]  # type: ignore[index]
    assert near(picture, 5, 55) == RED
    assert near(picture, -5, -55) == YELLOW


def test_corners_are_rounded_by_the_given_pixels(client: TestClient) -> None:
    picture = get(client, f"{DEFAULT}?location=thumb&rounded-corners=20").convert("RGBA")
    alpha = picture.getchannel("A")
    assert [alpha.getpixel(place) for place in ((0, 0), (3, 3), (20, 0), (0, 20), (80, 45))] == [0, 0, 255, 255, 255]


@pytest.mark.parametrize(
    ("gravity", "kept"),
    [
        ("north", {(0, 0): RED, (-1, 0): GREEN, (0, -1): GREY}),
        ("south", {(0, -1): BLUE, (-1, -1): YELLOW, (0, 0): GREY}),
        ("northeast", {(0, 0): RED, (-1, 0): GREEN}),
        ("southwest", {(0, -1): BLUE, (-1, -1): YELLOW}),
        ("center", {(0, 0): GREY, (-1, -1): GREY}),
    ],
)
def test_gravity_selects_the_part_that_is_kept(
    client: TestClient, gravity: str, kept: dict[tuple[int, int], tuple[int, int, int]]
) -> None:
    picture = get(client, f"{DEFAULT}?width=400&height=100&resize-gravity={gravity}")
    assert {place: near(picture, *place) for place in kept} == kept


@pytest.mark.parametrize(
    ("gravity", "colour"), [("west", RED), ("east", GREEN), ("northwest", RED), ("southeast", GREEN)]
)
def test_gravity_also_selects_the_horizontal_part(
    client: TestClient, gravity: str, colour: tuple[int, int, int]
) -> None:
    picture = get(client, f"{DEFAULT}?width=100&height=400&resize-gravity={gravity}")
    assert near(picture, -1 if "east" in gravity else 0, 0) == colour


def test_a_stored_crop_applies_unless_skip_crop_is_set(client: TestClient, caller: Caller) -> None:
    packs.edit_pack_location(caller, PACK, PackLocationPatch("thumb", {"crop": Crop(0.5, 0.0, 1.0, 0.5)}))
    assert near(get(client, f"{DEFAULT}?location=thumb&width=150&height=100"), -1, 0) == GREEN
    assert near(get(client, f"{DEFAULT}?location=thumb&width=150&height=100"), 0, 0) == GREY
    skipped = get(client, f"{DEFAULT}?location=thumb&width=150&height=100&skip-crop=true")
    assert (near(skipped, 0, 0), near(skipped, -1, -1)) == (RED, YELLOW)


def test_include_all_of_request_pack_location_pack_and_location_take_precedence_in_that_order(
    client: TestClient, caller: Caller
) -> None:
    url = f"{DEFAULT}?location=portal-cover"
    assert get(client, url).format == "JPEG", "the tenant's default is crop"
    locations.put_location(caller, "portal-cover", {"include_all": IncludeAll.TRUE}, AT_ONCE)
    assert get(client, url).format == "PNG"
    packs.update_pack(caller, PACK, {"include_all": IncludeAll.FALSE})
    assert get(client, url).format == "JPEG"
    packs.edit_pack_location(caller, PACK, PackLocationPatch("portal-cover", {"include_all": IncludeAll.TRUE}))
    assert get(client, url).format == "PNG"
    assert get(client, f"{url}&resize-mode=crop").format == "JPEG"


def test_gravity_has_the_same_precedence_as_include_all(client: TestClient, caller: Caller) -> None:
    url = f"{DEFAULT}?location=portal-carousel"
    locations.put_location(caller, "portal-carousel", {"resize_gravity": Gravity.NORTH}, AT_ONCE)
    assert near(get(client, url), 0, 0) == RED
    packs.update_pack(caller, PACK, {"resize_gravity": Gravity.SOUTH})
    assert near(get(client, url), 0, -1) == BLUE
    packs.edit_pack_location(caller, PACK, PackLocationPatch("portal-carousel", {"resize_gravity": Gravity.NORTH}))
    assert near(get(client, url), 0, 0) == RED
    assert near(get(client, f"{url}&resize-gravity=south"), 0, -1) == BLUE


def test_the_access_key_header_of_the_old_service_is_accepted(client: TestClient, caller: Caller) -> None:
    _, secret = access_keys.create_key(caller, "players")
    access_keys.require_keys(caller, required=True)
    assert client.get(DEFAULT).status_code == 403
    assert get(client, DEFAULT, **{"X-vimond-access-key": secret}).size == (1200, 800)
    assert get(client, f"{DEFAULT}?access-key={secret}").size == (1200, 800)
