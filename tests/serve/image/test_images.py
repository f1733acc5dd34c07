"""What clients of the image URLs get."""

from dataclasses import replace
from hashlib import sha256
from io import BytesIO
from typing import Any

import pytest
from PIL import Image
from starlette.testclient import TestClient

from packshot.catalog.variants.ledger import VariantState
from packshot.catalog.work.orders import Priority
from packshot.cdn.varnish import VarnishPurger
from packshot.geometry import Crop
from packshot.storage.base import Opened
from pregen.queue.broker import make_broker
from resolvers import jobs, packs
from serve.app import create_app
from serve.http.negotiation import accepted_formats
from serve.image.images import RESTARTS
from tests.support.pictures import cutout, jpeg, photo, pixel, png
from tests.support.playground import TENANT, Playground


@pytest.fixture
def pack_id(playground: Playground) -> str:
    """A pack with a 600x400 JPEG at `main` and locations `thumb` and `cover` that fall back to it."""
    playground.location("thumb", width=160, height=90, fallback="main")
    playground.location("cover", width=100, height=150)
    pack_id = playground.pack(picture=photo(600, 400))
    playground.run_jobs()
    return pack_id


def picture(content: bytes) -> Image.Image:
    image = Image.open(BytesIO(content))
    image.load()
    return image


def test_a_stable_url_yields_the_location_in_its_size(client: TestClient, pack_id: str) -> None:
    answer = client.get(f"/api/v2/img/{pack_id}?location=thumb")
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "image/jpeg"
    assert answer.headers["x-packshot-source"] == "main"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["access-control-allow-origin"] == "*"
    assert answer.headers["cache-control"].startswith("public, max-age=60, s-maxage=60,")
    assert int(answer.headers["content-length"]) == len(answer.content)
    assert "vary" not in answer.headers
    assert picture(answer.content).size == (160, 90)


def test_responses_have_no_tags_without_a_cdn(client: TestClient, pack_id: str) -> None:
    stable = client.get(f"/api/v2/img/{pack_id}?location=thumb")
    for answer in (stable, client.get(stable.headers["content-location"])):
        assert not {"xkey", "surrogate-key", "x-amz-meta-tags"} & set(answer.headers)


def test_with_a_cdn_responses_have_every_tag_and_stable_urls_are_cached_for_a_day(
    playground: Playground, pack_id: str
) -> None:
    site = replace(playground.site, purger=VarnishPurger([]))
    app = create_app(site, make_broker(playground.settings), playground.doorbell, "test-token-0123456789abcdef")
    with TestClient(app, follow_redirects=False) as client:
        stable = client.get(f"/api/v2/img/{pack_id}?location=thumb")
        assert set(stable.headers["xkey"].split(" ")) == {
            f"t:{TENANT}",
            f"p:{TENANT}:{pack_id}",
            f"l:{TENANT}:thumb",
            f"l:{TENANT}:main",
        }
        assert stable.headers["cache-control"] == (
            "public, max-age=60, s-maxage=86400, stale-while-revalidate=60, stale-if-error=86400"
        )
        immutable = client.get(stable.headers["content-location"])
        assert immutable.headers["xkey"] == f"e:{TENANT}:{pack_id}", (
            "an immutable URL never gets stale, so only an erasure purges it"
        )
        assert immutable.headers["cache-control"] == "public, max-age=31536000, immutable"
        # A response to a revalidation has the tags too. Errors have none, as they are cached for seconds.
        for answer in (stable, immutable):
            again = client.get(str(answer.url), headers={"If-None-Match": answer.headers["etag"]})
            assert (again.status_code, again.headers["xkey"]) == (304, answer.headers["xkey"])
        assert "xkey" not in client.get(f"/api/v2/img/{'0' * 24}").headers


def test_the_response_of_an_enlarged_image_says_so(client: TestClient, playground: Playground, pack_id: str) -> None:
    playground.location("poster", width=900, height=600, fallback="main", allow_upscale=True)
    enlarged = client.get(f"/api/v2/img/{pack_id}?location=poster")
    assert picture(enlarged.content).size == (900, 600)
    assert enlarged.headers["x-packshot-upscaled"] == "true"
    for query in ("location=poster&width=600", "location=main&width=900"):
        assert "x-packshot-upscaled" not in client.get(f"/api/v2/img/{pack_id}?{query}").headers


def test_text_after_the_hyphen_and_unknown_parameters_have_no_effect(client: TestClient, pack_id: str) -> None:
    plain = client.get(f"/api/v2/img/{pack_id}?location=thumb")
    busted = client.get(f"/api/v2/img/{pack_id}-1662654467834?LOCATION=thumb&date=17&region=no-1&width=160&height=90")
    assert busted.content == plain.content
    assert busted.headers["content-location"] == plain.headers["content-location"]


def test_every_planned_variant_is_served_as_stored_and_cached_for_a_year(
    client: TestClient, playground: Playground, pack_id: str
) -> None:
    for key, target in playground.planned(pack_id).items():
        answer = client.get(f"/i/{key}")
        assert answer.status_code == 200
        assert answer.headers["cache-control"] == "public, max-age=31536000, immutable"
        assert answer.headers["content-type"] == target.drawing.format.media_type
        assert answer.content == playground.site.variants.get(key)[0]
        assert picture(answer.content).size == target.drawing.size


def test_a_deleted_variant_is_rendered_again_with_the_same_bytes(
    client: TestClient, playground: Playground, pack_id: str
) -> None:
    for key in playground.planned(pack_id):
        before = playground.site.variants.get(key)[0]
        playground.site.variants.delete(key)
        assert client.get(f"/i/{key}").content == before
        assert playground.site.variants.get(key)[0] == before


def test_an_unplanned_size_is_rendered_stored_and_recorded(
    client: TestClient, playground: Playground, pack_id: str
) -> None:
    url = f"/api/v2/img/{pack_id}?location=thumb&width=111&format=webp"
    answer = client.get(url)
    key = answer.headers["content-location"].removeprefix("/i/")
    assert (answer.status_code, picture(answer.content).format) == (200, "WEBP")
    assert picture(answer.content).size == (111, 74)
    assert playground.site.variants.get(key)[0] == answer.content
    entry = playground.entries(pack_id)[key]
    assert (entry.state, entry.sha256) == (VariantState.READY, sha256(answer.content).hexdigest())


def test_a_crop_changes_the_stable_url_and_keeps_the_old_immutable_url(
    client: TestClient, playground: Playground, pack_id: str
) -> None:
    url = f"/api/v2/img/{pack_id}?location=thumb"
    before = client.get(url)
    packs.set_crop(playground.caller, pack_id, "thumb", Crop(0.5, 0.5, 1, 1))
    after = client.get(url)
    assert after.content != before.content
    assert after.headers["content-location"] != before.headers["content-location"]
    old = client.get(before.headers["content-location"])
    assert (old.status_code, old.content) == (200, before.content)


def test_an_immutable_url_of_a_deleted_variant_redirects_to_the_current_one(
    client: TestClient, playground: Playground, pack_id: str
) -> None:
    old = client.get(f"/api/v2/img/{pack_id}?location=thumb").headers["content-location"]
    packs.set_crop(playground.caller, pack_id, "thumb", Crop(0.5, 0.5, 1, 1))
    playground.site.variants.delete(old.removeprefix("/i/"))
    answer = client.get(old)
    assert answer.status_code == 302
    assert answer.headers["cache-control"] == "no-store"
    current = client.get(f"/api/v2/img/{pack_id}?location=thumb")
    assert answer.headers["location"] == current.headers["content-location"]


def test_an_edit_during_an_on_demand_render_yields_the_new_variant(
    client: TestClient, playground: Playground, pack_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = playground.site.renderer.render
    crops = iter([Crop(0, 0, 0.5, 0.5)])

    def edit_meanwhile(*args: Any, **kwargs: Any) -> Any:
        for crop in crops:
            packs.set_crop(playground.caller, pack_id, "main", crop)
        return real(*args, **kwargs)

    monkeypatch.setattr(playground.site.renderer, "render", edit_meanwhile)
    answer = client.get(f"/api/v2/img/{pack_id}?width=77")
    assert answer.headers["content-location"] == f"/i/{playground.target(pack_id, 'width=77').key}"


def test_an_image_that_is_edited_during_every_render_is_served_and_not_cached(
    client: TestClient, playground: Playground, pack_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = playground.site.renderer.render
    keys: list[str] = []

    def edit_meanwhile(*args: Any, **kwargs: Any) -> Any:
        keys.append(f"/i/{playground.target(pack_id, 'width=77').key}")
        packs.set_crop(playground.caller, pack_id, "main", Crop(0, 0, 0.5, 0.3 + 0.05 * len(keys)))
        return real(*args, **kwargs)

    monkeypatch.setattr(playground.site.renderer, "render", edit_meanwhile)
    answer = client.get(f"/api/v2/img/{pack_id}?width=77")
    assert (answer.status_code, answer.headers["cache-control"]) == (200, "no-store")
    assert answer.headers["content-location"] == keys[-1]
    assert len(keys) == RESTARTS
    monkeypatch.undo()
    after = client.get(f"/api/v2/img/{pack_id}?width=77")
    assert after.headers["cache-control"].startswith("public")
    assert after.headers["content-location"] not in keys


def test_conditional_requests_ranges_and_head_work(client: TestClient, pack_id: str) -> None:
    url = f"/api/v2/img/{pack_id}?location=thumb"
    full = client.get(url)
    unchanged = client.get(url, headers={"If-None-Match": f'"other", W/{full.headers["etag"]}'})
    assert (unchanged.status_code, unchanged.content) == (304, b"")
    assert unchanged.headers["etag"] == full.headers["etag"]
    assert unchanged.headers["cache-control"] == full.headers["cache-control"]
    since = {"If-Modified-Since": full.headers["last-modified"]}
    assert client.get(full.headers["content-location"], headers=since).status_code == 304
    assert client.get(url, headers={"If-None-Match": '"other"'}).status_code == 200
    part = client.get(url, headers={"Range": "bytes=2-5"})
    assert (part.status_code, part.content) == (206, full.content[2:6])
    head = client.head(url)
    assert (head.status_code, head.content) == (200, b"")
    assert head.headers["content-length"] == full.headers["content-length"]
    refused = client.post(url)
    assert (refused.status_code, set(refused.headers["allow"].split(", "))) == (405, {"GET", "HEAD", "OPTIONS"})


def test_pages_of_another_origin_may_read_images_with_every_needed_header(client: TestClient, pack_id: str) -> None:
    stable = client.get(f"/api/v2/img/{pack_id}?location=thumb")
    key = stable.headers["content-location"]
    for url in (
        key,
        f"/api/v2/img/{pack_id}",
        f"/api/v2/img/{TENANT}/{pack_id}",
        f"/api/v2/img/{pack_id}/picture.json",
    ):
        asked = {"Origin": "https://shop.example", "Access-Control-Request-Method": "GET"}
        asked["Access-Control-Request-Headers"] = "x-packshot-access-key, range"
        preflight = client.options(url, headers=asked)
        assert (preflight.status_code, preflight.content) == (204, b"")
        assert preflight.headers["access-control-allow-origin"] == "*"
        allowed = preflight.headers["access-control-allow-headers"].lower().split(", ")
        assert {"range", "if-none-match", "x-packshot-access-key", "x-vimond-access-key"} <= set(allowed)
        shown = client.get(url, headers={"Origin": "https://shop.example"}).headers["access-control-expose-headers"]
        assert {"ETag", "Content-Location", "X-Packshot-Source"} <= set(shown.split(", "))


def test_a_path_with_a_final_slash_gives_404(client: TestClient, pack_id: str) -> None:
    answer = client.get(f"/api/v2/img/{pack_id}/")
    assert answer.status_code == 404
    assert answer.json()["status"] == 404


def test_format_auto_negotiates_and_varies_by_accept(client: TestClient, pack_id: str) -> None:
    url = f"/api/v2/img/{pack_id}?location=thumb&format=auto"
    for accept, media_type in [
        ("image/avif,image/webp,*/*", "image/avif"),
        ("image/webp;q=0.8", "image/webp"),
        ("image/avif;q=0, image/webp", "image/webp"),
        ("*/*", "image/jpeg"),
        ("", "image/jpeg"),
    ]:
        answer = client.get(url, headers={"Accept": accept})
        assert (answer.headers["content-type"], answer.headers["vary"]) == (media_type, "Accept")


@pytest.mark.parametrize("weight", ["0", "0.0", "0.000", ".0"])
def test_a_format_with_weight_0_is_not_accepted(weight: str) -> None:
    assert accepted_formats(f"image/avif; q={weight}") == frozenset()


@pytest.mark.parametrize(
    ("spelled", "canonical"),
    [
        ("width=300&dpr=1.100000023841858", "width=300&dpr=1.1"),
        ("width=300&dpr=1.10000002384185791015625", "width=330"),
        (f"width=300&blur=2.{'0' * 400}1", "width=300&blur=2"),
        ("width=200&height=200&resize-gravity=North-East", "width=200&height=200&resize-gravity=northeast"),
        ("width=200&height=200&resize-mode=INCLUDE_ALL", "width=200&height=200&resize-mode=includeAll"),
        ("width=200&format=Web-P", "width=200&format=webp"),
    ],
)
def test_other_spellings_of_numbers_and_names_yield_the_same_variant(
    client: TestClient, pack_id: str, spelled: str, canonical: str
) -> None:
    answers = [client.get(f"/api/v2/img/{pack_id}?{query}") for query in (spelled, canonical)]
    assert [answer.status_code for answer in answers] == [200, 200]
    assert answers[0].headers["content-location"] == answers[1].headers["content-location"]


@pytest.mark.parametrize(
    ("query", "status", "code", "parameter"),
    [
        ("location=nowhere", 404, "NOT_FOUND", "location"),
        ("width=-1", 400, "INVALID", "width"),
        ("width=+5", 400, "INVALID", "width"),
        ("width=1e3", 400, "INVALID", "width"),
        ("width=%205", 400, "INVALID", "width"),
        ("width=0", 400, "INVALID", "width"),
        ("height=4097", 400, "INVALID", "height"),
        ("resize-mode=zoom", 400, "INVALID", "resize-mode"),
        ("quality=101", 400, "INVALID", "quality"),
        ("location=%zz", 400, "INVALID", None),
        ("location=%ff", 400, "INVALID", None),
    ],
)
def test_the_refusal_of_a_bad_request_says_what_was_expected(
    client: TestClient, pack_id: str, query: str, status: int, code: str, parameter: str | None
) -> None:
    answer = client.get(f"/api/v2/img/{pack_id}?{query}")
    problem = answer.json()
    assert answer.status_code == problem["status"] == status
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.headers["cache-control"] == ("public, max-age=2" if status == 404 else "no-store")
    assert (problem["code"], problem.get("parameter")) == (code, parameter)
    assert problem["expected"]
    assert problem["got"]


@pytest.mark.parametrize(
    "path",
    [
        "/api/v2/img/" + "0" * 24,
        "/api/v2/img/nonsense",
        "/api/v2/img/" + "A" * 24,
        "/i/default/nonsense",
        "/i/default/" + "0" * 24 + "/main/" + "0" * 24 + "/w1-h1-crop-center-q80.jpg",
        "/i/other/" + "0" * 24 + "/main/" + "0" * 24 + "/w1-h1-crop-center-q80.jpg",
        "/i/../packshot.db",
        "/i/default/..%2f..%2fpackshot.db",
        "/i/%2e%2e/packshot.db",
        "/nowhere",
    ],
)
def test_unknown_paths_give_404(client: TestClient, path: str) -> None:
    answer = client.get(path)
    assert answer.status_code == 404
    assert answer.headers["content-type"] == "application/problem+json"


def test_an_immutable_url_with_a_forged_plan_is_not_rendered(
    client: TestClient, playground: Playground, pack_id: str
) -> None:
    key = playground.target(pack_id, "").key
    base = f"/i/{key.tenant}/{key.pack}/{key.location}/{key.fingerprint}"
    for plan in ("w4000-h4000-crop-center-q80.jpg", "w601-h400-crop-center-q80.jpg", "w60-h40-crop-north-q80.jpg"):
        assert client.get(f"{base}/{plan}").status_code == 404
    assert client.get(f"{base}/w60-h40-crop-center-q81.jpg").status_code == 200


def test_a_pack_without_an_original_gives_404(client: TestClient, playground: Playground) -> None:
    empty = packs.create_pack(playground.caller, {}).pack.id
    answer = client.get(f"/api/v2/img/{empty}")
    assert (answer.status_code, answer.json()["title"]) == (404, "This pack has nothing to show there.")


def test_include_all_yields_a_png_with_transparent_padding(client: TestClient, pack_id: str) -> None:
    answer = client.get(f"/api/v2/img/{pack_id}?location=cover&resize-mode=includeAll")
    image = picture(answer.content)
    assert (image.format, image.mode, image.size) == ("PNG", "RGBA", (100, 150))
    assert image.getpixel((50, 2))[3] == 0  # type: ignore[index]
    assert image.getpixel((50, 75))[3] == 255  # type: ignore[index]


def test_a_transparent_original_stays_transparent_in_png_and_gets_white_in_jpeg(
    client: TestClient, playground: Playground
) -> None:
    pack_id = playground.pack(picture=png(cutout(80, 60)))
    kept = picture(client.get(f"/api/v2/img/{pack_id}").content)
    assert (kept.format, kept.mode) == ("PNG", "RGBA")
    flat = picture(client.get(f"/api/v2/img/{pack_id}?format=jpeg").content)
    clear = next((x, y) for x in range(80) for y in range(60) if pixel(kept, (x, y))[3] == 0)
    assert min(pixel(flat, clear)) > 245


@pytest.fixture
def broken_pack(playground: Playground, monkeypatch: pytest.MonkeyPatch) -> str:
    """A pack whose original passed the check but cannot be decoded. An earlier release may have accepted one."""
    whole = jpeg(photo(300, 200, seed=9))
    facts = playground.site.renderer.probe(whole)
    with monkeypatch.context() as patched:
        patched.setattr(playground.site.renderer, "probe", lambda *_, **__: facts)
        return playground.pack(picture=whole[:2000])


def test_an_original_that_cannot_be_rendered_is_tried_once(
    client: TestClient, playground: Playground, broken_pack: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = f"/api/v2/img/{broken_pack}?width=50"
    real = playground.site.renderer.render
    calls: list[int] = []

    def count(*args: Any, **kwargs: Any) -> Any:
        calls.append(1)
        return real(*args, **kwargs)

    monkeypatch.setattr(playground.site.renderer, "render", count)
    answers = [client.get(url) for _ in range(5)]
    assert {answer.status_code for answer in answers} == {422}
    assert {answer.json()["code"] for answer in answers} == {"UNRENDERABLE"}
    assert len(calls) == 1
    jobs.regenerate_packs(playground.caller, [broken_pack], Priority.INTERACTIVE)
    client.get(url)
    assert len(calls) == 2, "a regeneration allows another attempt"


def test_an_outage_of_the_store_gives_503_without_details(
    client: TestClient, playground: Playground, pack_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(key: str) -> None:
        raise OSError("secret path")

    monkeypatch.setattr(playground.site.variants, "open", fail)
    answer = client.get(f"/api/v2/img/{pack_id}")
    assert (answer.status_code, answer.json()["code"]) == (503, "UNAVAILABLE")
    assert answer.headers["Retry-After"]
    assert answer.json()["reference"]
    assert "secret" not in answer.text


def test_a_failing_read_of_the_store_does_not_truncate_a_response(
    client: TestClient, playground: Playground, pack_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = playground.site.variants
    get, open_, faults = store.get, store.open, [OSError("the store broke off again")]

    class Broken:
        def read(self, size: int, /) -> bytes:
            raise OSError("the store broke off")

        def close(self) -> None:
            pass

    def broken(key: str) -> Opened:
        with open_(key) as opened:
            return Opened(opened.stored, Broken())

    def get_at_last(key: str) -> Any:
        if faults:
            raise faults.pop()
        return get(key)

    monkeypatch.setattr(store, "open", broken)
    monkeypatch.setattr(store, "get", get_at_last)
    assert client.get(f"/api/v2/img/{pack_id}?location=thumb").status_code == 503
    whole = client.get(f"/api/v2/img/{pack_id}?location=thumb")
    assert (whole.status_code, picture(whole.content).size) == (200, (160, 90))
    assert int(whole.headers["content-length"]) == len(whole.content)


def test_a_damaged_original_always_gives_422(client: TestClient, playground: Playground, pack_id: str) -> None:
    playground.spoil(pack_id)
    for _ in range(4):
        answer = client.get(f"/api/v2/img/{pack_id}?width=123")
        assert (answer.status_code, answer.json()["code"]) == (422, "UNRENDERABLE")


def test_conditions_by_date_are_ignored_for_stable_urls(
    client: TestClient, playground: Playground, pack_id: str
) -> None:
    url = f"/api/v2/img/{pack_id}?location=thumb"
    first = client.get(url)
    packs.set_crop(playground.caller, pack_id, "thumb", Crop(0, 0, 0.5, 0.5))
    second = client.get(url)
    assert second.content != first.content
    # Both may have the same second, and a later edit may go back to an older variant.
    for date in (first.headers["last-modified"], second.headers["last-modified"], "Thu, 01 Jan 2099 00:00:00 GMT"):
        answer = client.get(url, headers={"If-Modified-Since": date})
        assert (answer.status_code, answer.content) == (200, second.content)
        part = client.get(url, headers={"Range": "bytes=2-", "If-Range": date})
        assert (part.status_code, part.content) == (200, second.content)
    part = client.get(url, headers={"Range": "bytes=2-", "If-Range": second.headers["etag"]})
    assert (part.status_code, part.content) == (206, second.content[2:])


@pytest.mark.parametrize(
    "since", ["Thu, 99 Jan 99999999999999999999 00:00:00 GMT", "yesterday", "", "Thu, 01 Jan 2026"]
)
def test_a_malformed_date_is_ignored(client: TestClient, pack_id: str, since: str) -> None:
    assert client.get(f"/api/v2/img/{pack_id}", headers={"If-Modified-Since": since}).status_code == 200


@pytest.mark.parametrize("damage", ["longer", "shorter", "without its sidecar"])
def test_a_damaged_variant_is_rendered_again(
    client: TestClient, playground: Playground, pack_id: str, damage: str
) -> None:
    key = str(playground.target(pack_id, "location=thumb").key)
    before, _ = playground.site.variants.get(key)
    path = playground.site.variants.local_path(key)
    assert path is not None
    if damage == "without its sidecar":
        (path.parent / f".{path.name}.meta.json").unlink()
    else:
        path.write_bytes(before + b"x" if damage == "longer" else before[:-1])
    assert client.get(f"/api/v2/img/{pack_id}?location=thumb").content == before
    assert playground.site.variants.get(key)[0] == before
