"""What clients of live resize get: sizes, fits, redirects, originals."""

from datetime import UTC, datetime, timedelta
from io import BytesIO
from typing import Any

import pytest
import sqlalchemy as sa
from PIL import Image
from starlette.testclient import TestClient

from packshot.catalog.packs.packs import mark_live_originals
from packshot.catalog.tables.artwork import variants
from packshot.cdn.varnish import VarnishPurger
from packshot.errors import Invalid
from packshot.geometry import Crop, Gravity
from resolvers import access_keys, packs, purges
from resolvers.originals import Source, set_original
from tests.serve.live.conftest import FAR, Opening
from tests.support.pictures import GREY, corners, cutout, jpeg, markers, photo, pixel, png
from tests.support.playground import TENANT, Playground

CDN = "https://cdn.example"
LATER = datetime.now(UTC) + timedelta(days=300)


@pytest.fixture
def film(playground: Playground) -> str:
    """A pack with the external id `film`, as if its 600x400 original came through live resize; returns the id of the
    pack.
    """
    pack_id = playground.pack(picture=corners(600, 400), external_id="film")
    original = playground.snapshot(pack_id).pack_location("main").original
    assert original is not None
    with playground.site.catalog.write(TENANT) as tx:
        mark_live_originals(tx, [(pack_id, original.sha256)])
    return pack_id


def picture(content: bytes) -> Image.Image:
    image = Image.open(BytesIO(content))
    image.load()
    return image


@pytest.mark.parametrize(
    ("url", "size"),
    [
        ("film_300_300.jpg", (300, 200)),
        ("film_300_300_2x.jpg", (600, 400)),
        ("film_100_100_1.5x.jpg", (150, 100)),
        ("film_60_60_13x.jpg", (780, 520)),
        ("film_100_100.jpg?fit=clip", (100, 67)),
        ("film_100_100.jpg?fit=crop", (100, 100)),
        ("film_100_100.jpg?fit=canvas", (100, 100)),
        ("film_100_100.jpg?fit=cover", (150, 100)),
        ("film_1200_1200.jpg", (1200, 800)),
        ("film_900_900.jpg?fit=crop", (900, 900)),
        ("film_100_100_2x.jpg?FIT=Crop&unknown=1", (200, 200)),
    ],
)
def test_an_image_fits_the_box_in_the_url(client: TestClient, film: str, url: str, size: tuple[int, int]) -> None:
    answer = client.get(f"/live/{url}")
    assert answer.status_code == 200, answer.text
    assert picture(answer.content).size == size
    assert answer.headers["content-type"] == "image/jpeg"
    assert answer.headers["access-control-allow-origin"] == "*"
    assert answer.headers["cache-control"].startswith("public, max-age=60, s-maxage=60,")
    assert "vary" not in answer.headers
    assert (answer.headers.get("x-packshot-upscaled") == "true") == (max(size) > 600 or min(size) > 400)


@pytest.mark.parametrize(
    ("extension", "kind"),
    [("jpg", "JPEG"), ("jpeg", "JPEG"), ("jfif", "JPEG"), ("jpe", "JPEG"), ("PNG", "PNG"), ("webp", "WEBP"),
     ("avif", "AVIF")],
)  # fmt: skip
def test_the_extension_names_the_format(client: TestClient, film: str, extension: str, kind: str) -> None:
    assert picture(client.get(f"/live/film_60_60.{extension}").content).format == kind


def test_a_crop_is_centred_with_any_gravity_of_the_location(
    client: TestClient, playground: Playground, film: str
) -> None:
    playground.location("main", resize_gravity=Gravity.WEST)
    image = picture(client.get("/live/film_400_400.png?fit=crop").content).convert("RGB")
    left, top, right, bottom = markers(600, 400)[255, 0, 255]
    red, green, blue = pixel(image, ((left + right) // 2 - 100, (top + bottom) // 2))
    assert (red > 250, green < 5, blue > 250) == (True, True, True)
    assert image.getpixel((2, 200)) == GREY


def test_a_canvas_is_white_around_the_centred_image(client: TestClient, film: str) -> None:
    for extension in ("jpg", "png"):
        image = picture(client.get(f"/live/film_300_300.{extension}?fit=canvas").content).convert("RGBA")
        for y in (0, 48, 252, 299):
            assert min(pixel(image, (150, y))) >= 253, (extension, y)
        assert max(pixel(image, (150, 70))[:3]) < 150


def test_transparency_becomes_white_in_jpeg_and_stays_in_png(client: TestClient, playground: Playground) -> None:
    playground.pack(picture=png(cutout(80, 80)), external_id="logo")
    assert picture(client.get("/live/logo_80_80.jpg").content).convert("RGB").getpixel((1, 1)) == (255, 255, 255)
    assert pixel(picture(client.get("/live/logo_80_80.png").content).convert("RGBA"), (1, 1))[3] == 0


def test_blur_true_blurs_edges(client: TestClient, film: str) -> None:
    def edge(url: str) -> int:
        row = picture(client.get(url).content).convert("RGB")
        side = markers(600, 400)[255, 0, 0][2]
        return abs(pixel(row, (side - 2, 5))[1] - pixel(row, (side + 1, 5))[1])

    assert edge("/live/film_600_400.png") > 100
    assert edge("/live/film_600_400.png?blur=false") > 100
    assert edge("/live/film_600_400.png?blur=true") < 30


def test_the_quality_of_the_original_applies_unless_the_url_sets_one(
    client: TestClient, playground: Playground
) -> None:
    for quality in (40, 90):
        playground.pack(picture=jpeg(photo(300, 200), quality=quality, subsampling="4:2:0"), external_id=f"q{quality}")
    low, high = (client.get(f"/live/q{quality}_200_200.jpg").content for quality in (40, 90))
    assert len(low) * 2 < len(high)
    assert client.get("/live/q90_200_200.jpg?quality=auto").content == high
    assert client.get("/live/q90_200_200.jpg?quality=90").content == high
    assert len(client.get("/live/q90_200_200.jpg?quality=10").content) < len(low)
    for extension, is_smaller in (("webp", True), ("png", False), ("avif", False)):
        plain = client.get(f"/live/q90_200_200.{extension}").content
        assert (client.get(f"/live/q90_200_200.{extension}?quality=1").content != plain) == is_smaller


def test_a_stored_crop_applies_to_live_urls(client: TestClient, playground: Playground, film: str) -> None:
    packs.set_crop(playground.caller, film, "main", Crop(0, 0, 0.5, 1))
    assert picture(client.get("/live/film_100_100.jpg").content).size == (75, 100)


def test_live_urls_show_the_packs_main_location(client: TestClient, playground: Playground, film: str) -> None:
    playground.location("hero", width=50, height=50)
    playground.show(film, "hero", photo(90, 30))
    packs.update_pack(playground.caller, film, {"main_location": "hero"})
    answer = client.get("/live/film_45_45.jpg")
    assert picture(answer.content).size == (45, 15)
    assert answer.headers["x-packshot-source"] == "hero"


def test_ids_may_look_like_sizes_and_extensions(client: TestClient, playground: Playground) -> None:
    for image_id in ("a_b_10", "a.b.png", "film 42", "straße_7", "100_100"):
        playground.pack(picture=photo(40, 40), external_id=image_id)
        answer = client.get(f"/live/{image_id}_20_20.png")
        assert (answer.status_code, picture(answer.content).size) == (200, (20, 20))


def test_an_immutable_url_renders_a_deleted_enlarged_variant_again(
    client: TestClient, playground: Playground, film: str
) -> None:
    answer = client.get("/live/film_1200_1200.jpg?blur=true")
    place = answer.headers["content-location"]
    playground.site.variants.delete(place.removeprefix("/i/"))
    again = client.get(place)
    assert again.status_code == 200, again.text
    assert again.content == answer.content
    assert client.get(place.replace("w1200", "w5000")).status_code == 404


def test_a_replaced_original_is_shown_at_once(client: TestClient, playground: Playground, film: str) -> None:
    before = client.get("/live/film_30_30.jpg")
    playground.show(film, "main", photo(300, 400))
    after = client.get("/live/film_30_30.jpg")
    assert picture(after.content).size == (23, 30)
    assert before.headers["etag"] != after.headers["etag"]
    gone = client.get(before.headers["content-location"])
    assert gone.status_code == 200, "as long as the variant is stored"


def test_head_ranges_and_conditional_requests_work_for_live_urls(client: TestClient, film: str) -> None:
    for url in ("/live/film_30_30.jpg", "/live/film.jpg"):
        whole = client.get(url)
        head = client.head(url)
        assert (head.status_code, head.content) == (200, b"")
        assert head.headers["content-length"] == str(len(whole.content))
        part = client.get(url, headers={"Range": "bytes=10-19"})
        assert (part.status_code, part.content) == (206, whole.content[10:20])
        same = client.get(url, headers={"If-None-Match": whole.headers["etag"]})
        assert (same.status_code, same.content) == (304, b"")
        assert client.get(url, headers={"Range": "bytes=99999999-"}).status_code == 416


@pytest.mark.parametrize(
    ("url", "status", "code"),
    [
        ("film_10_10.gif", 400, "INVALID"),
        ("film_10_10.mp4", 400, "INVALID"),
        ("film_0_10.jpg", 400, "INVALID"),
        ("film_10_10.jpg?fit=fill", 400, "INVALID"),
        ("film_10_10.jpg?blur=%ff", 400, "INVALID"),
        ("film.jpg?a=%zz", 400, "INVALID"),
        ("absent_10_10.jpg", 404, "NOT_FOUND"),
        ("absent.jpg", 404, "NOT_FOUND"),
        ("film%00_10_10.jpg", 404, "NOT_FOUND"),
        ("film_10_.jpg", 404, "NOT_FOUND"),
        ("FILM_10_10.jpg", 404, "NOT_FOUND"),
        ("a/b_10_10.jpg", 404, "NOT_FOUND"),
    ],
)
def test_refusals_of_live_urls_have_a_code_and_a_problem_document(
    client: TestClient, film: str, url: str, status: int, code: str
) -> None:
    answer = client.get(f"/live/{url}")
    assert (answer.status_code, answer.json()["code"]) == (status, code)
    assert answer.headers["content-type"] == "application/problem+json"


def test_a_live_url_of_a_pack_without_an_original_gives_404(client: TestClient, playground: Playground) -> None:
    packs.create_pack(playground.caller, {"external_id": "empty"})
    for url in ("/live/empty_10_10.jpg", "/live/empty.jpg"):
        assert client.get(url).status_code == 404


def test_live_urls_of_an_erased_pack_give_404(client: TestClient, playground: Playground, film: str) -> None:
    assert client.get("/live/film_10_10.jpg").status_code == 200
    packs.erase_pack(playground.caller, film, "asked to")
    for url in ("/live/film_10_10.jpg", "/live/film.jpg"):
        assert client.get(url).status_code == 404


def test_with_a_public_url_live_urls_of_stored_variants_redirect_to_it(opening: Opening, film: str) -> None:
    client = opening(public_url=CDN, redirect_max_age=300, purger=VarnishPurger(["http://127.0.0.1:1"]))
    fresh = client.get("/live/film_100_100.jpg")
    assert fresh.status_code == 200
    stored = client.get("/live/film_100_100.jpg")
    assert (stored.status_code, stored.content) == (307, b"")
    assert stored.headers["location"] == CDN + fresh.headers["content-location"]
    assert stored.headers["cache-control"] == "max-age=300"
    tags = next(name for name in fresh.headers if fresh.headers[name].startswith("t:"))
    assert stored.headers[tags] == fresh.headers[tags], "a purge must find it"
    assert client.head("/live/film_100_100.jpg").status_code == 307
    bytes_there = client.get(stored.headers["location"].removeprefix(CDN))
    assert bytes_there.content == fresh.content

    plain = opening()
    assert plain.get("/live/film_100_100.jpg").status_code == 200


def test_after_an_edit_a_live_url_redirects_to_the_new_variant(
    opening: Opening, playground: Playground, film: str
) -> None:
    client = opening(public_url=CDN)
    client.get("/live/film_50_50.jpg")
    old = client.get("/live/film_50_50.jpg").headers["location"]
    playground.show(film, "main", photo(50, 50))
    assert client.get("/live/film_50_50.jpg").status_code == 200, "rendered again"
    assert client.get("/live/film_50_50.jpg").headers["location"] != old


def test_sizes_above_the_limit_redirect_to_the_largest_equivalent_request(
    opening: Opening, playground: Playground, film: str
) -> None:
    playground.pack(picture=photo(40, 40), external_id="a bé")
    client = opening(max_width=500, max_height=400, redirect_max_age=9)
    for url, place in {
        "/live/film_1000_1000.jpg?fit=crop&quality=50": "film_400_400.jpg?fit=crop&quality=50",
        "/live/film_250_100_4x.png": "film_500_400.png",
        "/live/film_600_300.webp?fit=canvas&a=b": "film_500_300.webp?fit=canvas&a=b",
        "/live/film_1000_250.5.jpg?fit=canvas&blur=false&quality=-1": (
            "film_500_251.jpg?fit=canvas&blur=false&quality=-1"
        ),
        "/live/a%20b%C3%A9_600_10.jpg": "a%20b%C3%A9_500_10.jpg",
    }.items():
        answer = client.get(url)
        assert (answer.status_code, answer.headers["location"]) == (307, place)
        assert "500 x 400" in answer.headers["x-redirect-info"]
        assert answer.headers["cache-control"] == "max-age=9"
    followed = client.get("/live/film_1000_1000.jpg?fit=crop", follow_redirects=True)
    assert picture(followed.content).size == (400, 400)
    assert picture(client.get("/live/film_500_400.jpg?fit=cover").content).size == (500, 333), (
        "the largest possible size"
    )


def test_originals_have_the_same_tags_as_variants(opening: Opening, film: str) -> None:
    client = opening(purger=VarnishPurger(["http://127.0.0.1:1"]))
    sized, original = (client.get(f"/live/{name}") for name in ("film_9_9.jpg", "film.jpg"))
    tags = next(name for name in sized.headers if f"p:default:{film}" in sized.headers[name])
    assert original.headers[tags] == sized.headers[tags]


def test_access_keys_are_required_before_any_other_response(
    opening: Opening, playground: Playground, film: str
) -> None:
    _, secret = access_keys.create_key(playground.caller, "site")
    access_keys.require_keys(playground.caller, required=True)
    client = opening(public_url=CDN, max_width=100, max_height=100)
    for url in ("film_10_10.jpg", "film_500_500.jpg", "film.jpg", "absent_10_10.jpg", "absent.jpg"):
        answer = client.get(f"/live/{url}")
        assert (answer.status_code, answer.json()["code"]) == (403, "FORBIDDEN"), url
        assert answer.headers["cache-control"] == "no-store"
    for _ in range(2):
        shown = client.get("/live/film_10_10.jpg", headers={"X-Packshot-Access-Key": secret})
        assert shown.status_code == 200, "a CDN cannot have it, so there is no redirect"
        assert shown.headers["cache-control"] == "private, no-store"
    assert client.get(f"/live/film.jpg?access-key={secret}").status_code == 200
    with pytest.raises(Invalid) as refused:
        # The redirect would go to a URL that this signature does not match.
        access_keys.sign_url(playground.caller, f"{CDN}/live/film_9000_10.jpg", LATER)
    assert refused.value.expected == "film_4096_10.jpg"
    signed, _ = access_keys.sign_url(playground.caller, f"{CDN}/live/film_010_10.jpg?fit=crop", LATER)
    assert client.get(signed.removeprefix(CDN)).status_code == 200
    assert client.get(signed.removeprefix(CDN).replace("010_10", "11_11")).status_code == 403


def test_a_live_host_serves_live_resize_at_its_root_and_every_other_path(opening: Opening, film: str) -> None:
    client = opening(live_host="img.example", live_prefix=None, base="http://img.example:8000")
    answer = client.get("/film_20_20.jpg")
    assert answer.status_code == 200
    assert client.get(answer.headers["content-location"]).content == answer.content
    assert client.get("/film.jpg").status_code == 200
    assert client.get("/healthz").status_code == 200
    assert client.post("/graphql", json={"query": "{__typename}"}).status_code == 401
    assert client.get("/live/film_20_20.jpg").status_code == 404
    elsewhere = opening(live_host="img.example", live_prefix=None)
    assert elsewhere.get("/film_20_20.jpg").status_code == 404
    assert opening(live_host="img.example", base="http://img.example").get("/live/film_20_20.jpg").status_code == 200


def test_the_prefix_of_live_resize_can_be_changed_or_removed(opening: Opening, film: str) -> None:
    client = opening(live_prefix="/old/images")
    assert client.get("/old/images/film_20_20.jpg").status_code == 200
    assert client.get("/live/film_20_20.jpg").status_code == 404
    off = opening(live_prefix=None)
    for url in ("/live/film_20_20.jpg", "/live/film.jpg", "/robots.txt"):
        assert off.get(url).status_code == 404
    assert off.post("/live/token", json={"id": "a"}).status_code == 404


@pytest.mark.parametrize(
    ("settings", "host", "rules"),
    [
        ({}, "testserver", {"/robots.txt": "Disallow: /live/", "/live/robots.txt": "Disallow: /"}),
        ({"allow_indexing": True}, "testserver", {"/robots.txt": "Allow: /", "/live/robots.txt": "Allow: /"}),
        ({"live_host": "img.example"}, "img.example", {"/robots.txt": "Disallow: /"}),
    ],
)
def test_robots_txt_forbids_indexing_unless_it_is_allowed(
    opening: Opening, settings: dict[str, Any], host: str, rules: dict[str, str]
) -> None:
    client = opening(base=f"http://{host}", address=FAR, **settings)
    for path, rule in rules.items():
        answer = client.get(path)
        assert answer.text.splitlines() == ["User-agent: *", rule]
        assert answer.headers["content-type"].startswith("text/plain")


def test_live_urls_show_only_images_of_the_hosts_tenant(opening: Opening, playground: Playground, film: str) -> None:
    client = opening(tenant_domain="images.example", base="http://films.images.example")
    assert client.get("/live/film_20_20.jpg").status_code == 404
    assert opening(tenant_domain="images.example").get("/live/film_20_20.jpg").status_code == 200


def test_a_lost_original_gives_404_until_it_is_uploaded_again(
    client: TestClient, playground: Playground, film: str
) -> None:
    original = playground.snapshot(film).pack_location("main").original
    assert original is not None
    playground.site.originals.delete(f"default/{original.sha256}")
    assert client.get("/live/film.jpg").status_code == 404
    assert client.head("/live/film.jpg").status_code == 404
    set_original(playground.caller, film, "main", Source(upload_id=playground.upload(jpeg(corners(600, 400)))))
    assert client.get("/live/film.jpg").status_code == 200


def test_live_variants_older_than_a_date_are_rendered_again(
    client: TestClient, playground: Playground, film: str
) -> None:
    playground.run_jobs()
    old = client.get("/live/film_33_33.jpg").headers["content-location"]
    assert client.get("/live/film_33_33.jpg").headers["content-location"] == old
    with playground.site.catalog.write(TENANT) as tx:
        tx.connection.execute(sa.update(variants).values(rendered_at=tx.now - timedelta(days=9000)))
    before = datetime(2016, 9, 1, tzinfo=UTC)
    assert purges.refresh_older_than(playground.caller, before, limit=100, pack_ids=None, location=None) is not None
    playground.run_jobs()
    new = client.get("/live/film_33_33.jpg")
    assert (new.status_code, new.headers["content-location"] != old) == (200, True)
    assert purges.refresh_older_than(playground.caller, before, limit=100, pack_ids=None, location=None) is None


def test_a_long_path_of_dots_is_routed_in_linear_time(client: TestClient) -> None:
    """A route that tries each dot would need minutes."""
    assert client.get("/live/" + "." * 60_000 + "/").status_code == 404
    assert client.get("/live/" + "a." * 30_000 + "/x").status_code == 404
