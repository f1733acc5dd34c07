"""Pictures: what a web page needs for one `<picture>` element."""

import re
from html.parser import HTMLParser
from typing import Any

import pytest

from packshot.catalog.tables.artwork import tenants
from packshot.geometry import Gravity
from packshot.model import Format, IncludeAll, Rendition
from tests.schema.api import Api
from tests.support.pictures import cutout, photo, png

PICTURE = """query Picture($id: ID!, $location: String!, $widths: [Int!], $formats: [ImageFormat!], $sizes: String,
                           $alt: String! = "") {
  pack(by: {id: $id}) { location(name: $location) { picture(widths: $widths, formats: $formats, sizes: $sizes) {
    src width height state thumbhash dominantColor html(alt: $alt)
    sources { mediaType media sizes srcset width height }
  } } }
}"""

SOURCES = """query Sources($id: ID!, $sources: [PictureSourceInput!]!) {
  pack(by: {id: $id}) { picture(sources: $sources) {
    src width sources { mediaType media sizes srcset } html(alt: "")
  } }
}"""


def picture(api: Api, pack_id: str, location: str = "main", **variables: Any) -> Any:
    """Return the picture of one location."""
    return api.data(PICTURE, id=pack_id, location=location, **variables)["pack"]["location"]["picture"]


def widths(source: dict[str, Any]) -> list[int]:
    """Return the widths in a srcset, after checking each against its URL."""
    found = []
    for part in source["srcset"].split(", "):
        url, descriptor = part.split(" ")
        assert re.search(rf"/w{descriptor[:-1]}-h", url)
        found.append(int(descriptor[:-1]))
    return found


def formats(found: dict[str, Any]) -> list[str]:
    return [source["mediaType"].removeprefix("image/") for source in found["sources"]]


class Elements(HTMLParser):
    """The elements of a piece of HTML, with their attributes."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))


def test_a_picture_offers_the_renditions_in_each_format_best_first(api: Api) -> None:
    api.playground.location("thumb", width=320, height=180, fallback="main")
    found = picture(api, api.playground.pack(picture=photo(1600, 900)), "thumb")
    assert formats(found) == ["avif", "webp", "jpeg"]
    for source in found["sources"]:
        assert widths(source) == [320, 640]
        assert (source["width"], source["height"], source["media"]) == (320, 180, None)
        assert source["sizes"] == "(max-width: 320px) 100vw, 320px"
    assert (found["width"], found["height"]) == (320, 180)
    assert found["src"].endswith("/w320-h180-crop-center-q80.jpg")
    assert found["src"] in found["sources"][2]["srcset"]


def test_requested_widths_are_offered_up_to_the_width_of_the_original(api: Api) -> None:
    api.playground.location("thumb", width=320, height=160, fallback="main")
    pack_id = api.playground.pack(picture=photo(600, 400))
    found = picture(api, pack_id, "thumb", widths=[1200, 300, 300, 900, 100], formats=["WEBP"])
    assert formats(found) == ["webp"]
    # 900 and 1200 would enlarge the image, so both become its own width.
    assert widths(found["sources"][0]) == [100, 300, 600]
    assert "/w300-h150-" in found["sources"][0]["srcset"]
    assert found["src"].endswith(".jpg")


def test_a_transparent_original_is_offered_as_png_instead_of_jpeg(api: Api) -> None:
    pack_id = api.playground.pack(picture=png(cutout(300, 200)))
    found = picture(api, pack_id)
    assert formats(found) == ["avif", "webp", "png"]
    assert found["src"].endswith(".png")
    # An explicit JPEG is drawn on white.
    (source,) = picture(api, pack_id, formats=["JPEG"])["sources"]
    assert source["mediaType"] == "image/jpeg"
    assert "-bffffff-" in source["srcset"]


def test_a_padded_image_is_offered_as_png_instead_of_jpeg(api: Api) -> None:
    api.playground.location("badge", width=100, height=100, fallback="main", include_all=IncludeAll.TRUE)
    found = picture(api, api.playground.pack(), "badge")
    assert formats(found) == ["avif", "webp", "png"]
    assert (found["width"], found["height"]) == (100, 100)
    assert found["src"].endswith("includeall-center.png")


def test_every_variant_of_a_picture_without_arguments_is_planned(api: Api) -> None:
    location = api.playground.location
    location("plain", width=300, height=200, fallback="main")
    location("wide", width=300, fallback="main")
    location("padded", width=200, height=200, fallback="main", include_all=IncludeAll.TRUE)
    location("modern", width=200, height=100, fallback="main", formats=(Format.AVIF, Format.WEBP))
    location("squares", width=200, height=100, fallback="main", resize_gravity=Gravity.NORTH)
    location("squares", renditions=(Rendition(200, None), Rendition(50, 50), Rendition(None, 50, 1.5)))
    packs = [
        api.playground.pack(picture=photo(900, 600)),
        api.playground.pack(picture=png(photo(900, 600))),
        api.playground.pack(picture=png(cutout(300, 200))),
    ]
    names = ["main", "plain", "wide", "padded", "modern", "squares"]
    for policy in ("original", "auto"):
        with api.playground.site.catalog.write("default") as tx:
            tx.connection.execute(tenants.update().values(format_policy=policy))
        for pack_id in packs:
            api.data(f'mutation {{ regenerate(scope: {{packIds: ["{pack_id}"]}}) {{ job {{ id }} }} }}')
        api.playground.run_jobs()
        for pack_id in packs:
            states = {name: picture(api, pack_id, name)["state"] for name in names}
            assert states == dict.fromkeys(names, "READY")


def test_a_location_can_have_the_format_gif_and_the_gravities_smart_and_focus(api: Api) -> None:
    put = """mutation L($input: LocationInput!) { putLocation(input: $input, force: true, activation: IMMEDIATE) {
      location { resizeGravity formats } userErrors { code } } }"""
    pack_id = api.playground.pack(picture=photo(900, 300))
    for gravity in ("SMART", "FOCUS"):
        wanted = {"name": "square", "width": 100, "height": 100, "fallback": "main", "resizeGravity": gravity}
        location = api.payload(put, input={**wanted, "formats": ["WEBP", "GIF"]})["location"]
        assert location == {"resizeGravity": gravity, "formats": ["WEBP", "GIF"]}
        found = picture(api, pack_id, "square")
        assert formats(found) == ["webp", "gif"]
        # Without a focus, FOCUS is the same as CENTER.
        spelled = "smart" if gravity == "SMART" else "center"
        assert f"/w100-h100-crop-{spelled}.gif" in found["sources"][1]["srcset"]


def test_a_picture_leaves_out_renditions_with_another_ratio(api: Api) -> None:
    api.playground.location("thumb", width=200, height=100, fallback="main")
    api.playground.location("thumb", renditions=(Rendition(200, None), Rendition(50, 50), Rendition(None, 77)))
    found = picture(api, api.playground.pack(), "thumb")
    assert [widths(source) for source in found["sources"]] == [[154, 200]] * 3


def test_a_picture_is_pending_until_every_variant_is_rendered(api: Api) -> None:
    pack_id = api.playground.pack()
    assert picture(api, pack_id)["state"] == "PENDING"
    api.playground.run_jobs()
    assert picture(api, pack_id)["state"] == "READY"
    assert picture(api, pack_id, widths=[123])["state"] == "PENDING"


def test_a_pack_location_without_an_original_has_no_picture(api: Api) -> None:
    api.playground.location("thumb", width=100)
    pack_id = api.payload("mutation { createPack { pack { id } userErrors { code } } }")["pack"]["id"]
    assert picture(api, pack_id, "thumb") is None
    query = """query N($id: ID!) { pack(by: {id: $id}) { stableUrl
      locations { name source currentUrl stableUrl original { width } variants { id } }
      location(name: "x") { name } } }"""
    pack = api.data(query, id=pack_id)["pack"]
    stable = f"http://test/api/v2/img/{pack_id}"
    assert pack["stableUrl"] == stable
    assert pack["location"] is None
    assert pack["locations"] == [
        {
            "name": name,
            "source": None,
            "currentUrl": None,
            "stableUrl": f"{stable}?location={name}",
            "original": None,
            "variants": [],
        }
        for name in ("main", "thumb")
    ]


@pytest.mark.parametrize(
    ("wanted", "code", "field", "expected"),
    [
        ([0], "INVALID", ["widths", "0"], "1 to 4096"),
        ([10, -5], "INVALID", ["widths", "1"], "1 to 4096"),
        ([4097], "INVALID", ["widths", "0"], "1 to 4096"),
        ([], "LIMIT", ["widths"], "1 to 32"),
        ([1] * 33, "LIMIT", ["widths"], "1 to 32"),
    ],
)
def test_invalid_widths_are_an_error_that_nulls_only_the_picture(
    api: Api, wanted: list[int], code: str, field: list[str], expected: str
) -> None:
    pack_id = api.playground.pack()
    result = api.run(PICTURE, id=pack_id, location="main", widths=wanted)
    assert result.data == {"pack": {"location": {"picture": None}}}
    assert result.errors is not None
    extensions = result.errors[0].extensions
    assert extensions is not None
    assert (extensions["code"], extensions["field"], extensions["expected"]) == (code, field, expected)
    error = api.error(SOURCES, id=pack_id, sources=[{"location": "main", "widths": wanted}])
    assert error["extensions"]["field"] == ["sources", "0", *field]


def test_html_is_one_picture_element_with_everything_escaped(api: Api) -> None:
    alt, sizes = """"><script>'&amp; ümlaut""", '(min-width: "1em") 5px'
    pack_id = api.playground.pack(picture=png(cutout(300, 200)))
    found = picture(api, pack_id, alt=alt, sizes=sizes)
    assert "<script" not in found["html"]
    elements = Elements(found["html"]).found
    assert [name for name, _ in elements] == ["picture", "source", "source", "source", "img"]
    for source, (_, attributes) in zip(found["sources"], elements[1:4], strict=True):
        assert attributes == {
            "type": source["mediaType"],
            "srcset": source["srcset"],
            "sizes": sizes,
            "width": str(source["width"]),
            "height": str(source["height"]),
        }
    assert elements[-1][1] == {
        "src": found["src"],
        "width": "300",
        "height": "200",
        "alt": alt,
        "loading": "lazy",
    }


def test_html_loads_lazily_or_eagerly(api: Api) -> None:
    pack_id = api.playground.pack()
    query = """query L($id: ID!, $loading: String!) {
      pack(by: {id: $id}) { location(name: "main") { picture { html(alt: "", loading: $loading) } } } }"""
    html = api.data(query, id=pack_id, loading="eager")["pack"]["location"]["picture"]["html"]
    assert 'loading="eager"' in html
    error = api.error(query, id=pack_id, loading='x" onload="')
    assert (error["extensions"]["code"], error["extensions"]["expected"]) == ("INVALID", "lazy, eager")


def test_one_picture_can_show_different_locations_by_media_condition(api: Api) -> None:
    api.playground.location("banner", width=400, height=100, fallback="main")
    api.playground.location("empty", width=100, fallback=None)
    pack_id = api.playground.pack(at="banner", picture=photo(800, 200))
    api.playground.show(pack_id, "main", photo(600, 400))
    found = api.data(
        SOURCES,
        id=pack_id,
        sources=[
            {"location": "banner", "media": "(min-width: 800px)", "formats": ["WEBP"], "sizes": "100vw"},
            {"location": "main", "widths": [300]},
        ],
    )["pack"]["picture"]
    assert [(s["mediaType"], s["media"], widths(s)) for s in found["sources"]] == [
        ("image/webp", "(min-width: 800px)", [400, 800]),
        ("image/avif", None, [300]),
        ("image/webp", None, [300]),
        ("image/jpeg", None, [300]),
    ]
    assert found["sources"][0]["sizes"] == "100vw"
    assert "/main/" in found["src"]
    assert Elements(found["html"]).found[1][1]["media"] == "(min-width: 800px)"


def test_sources_with_nothing_to_show_are_left_out(api: Api) -> None:
    pack_id = api.payload("mutation { createPack { pack { id } userErrors { code } } }")["pack"]["id"]
    api.playground.location("thumb", width=100)
    assert api.data(SOURCES, id=pack_id, sources=[{"location": "thumb"}])["pack"]["picture"] is None
    api.playground.show(pack_id, "thumb", photo(300, 200))
    found = api.data(SOURCES, id=pack_id, sources=[{"location": "thumb"}, {"location": "main"}])["pack"]["picture"]
    assert {"/thumb/" in source["srcset"] for source in found["sources"]} == {True}


def test_a_picture_needs_at_least_one_source_with_a_known_location(api: Api) -> None:
    pack_id = api.playground.pack()
    error = api.error(SOURCES, id=pack_id, sources=[{"location": "main"}, {"location": "poster"}])
    assert error["extensions"] == {
        "code": "NOT_FOUND",
        "field": ["sources", "1", "location"],
        "expected": "main",
        "got": "poster",
    }
    assert api.error(SOURCES, id=pack_id, sources=[])["extensions"]["code"] == "LIMIT"


def test_variants_can_be_narrowed_to_formats(api: Api) -> None:
    pack_id = api.playground.pack()
    query = """query V($id: ID!, $formats: [ImageFormat!]) {
      pack(by: {id: $id}) { location(name: "main") {
        currentUrl variants(formats: $formats) { format state url } } } }"""
    every = api.data(query, id=pack_id)["pack"]["location"]
    assert [variant["format"] for variant in every["variants"]] == ["AVIF", "WEBP", "JPEG"]
    assert {variant["state"] for variant in every["variants"]} == {"PENDING"}
    assert every["currentUrl"] in [variant["url"] for variant in every["variants"]]
    jpeg = api.data(query, id=pack_id, formats=["JPEG", "PNG"])["pack"]["location"]["variants"]
    assert jpeg == every["variants"][2:]


@pytest.mark.parametrize("field", ["alt", "sizes", "media"])
def test_texts_that_each_source_repeats_have_a_length_limit(api: Api, field: str) -> None:
    pack_id = api.playground.pack(picture=png(photo(30, 20)))

    def run(text: str) -> Any:
        if field == "media":
            return api.run(SOURCES, id=pack_id, sources=[{"location": "main", "media": text}])
        return api.run(PICTURE, id=pack_id, location="main", **{field: text})

    assert run("x" * 1000).errors is None
    (error,) = run("x" * 1001).errors
    assert error.extensions["code"] == "LIMIT"
    assert (error.extensions["expected"], error.extensions["got"]) == ("up to 1000 characters", "1001 characters")


def test_a_refusal_quotes_only_the_beginning_of_a_long_value(api: Api) -> None:
    pack_id = api.playground.pack(picture=png(photo(30, 20)))
    errors = api.run(SOURCES, id=pack_id, sources=[{"location": "x" * 50_000}]).errors
    assert errors is not None
    (error,) = errors
    assert len(error.message) <= 1000
