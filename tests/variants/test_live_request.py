"""Live URLs: the meaning of their path segment and query."""

from urllib.parse import unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from packshot.errors import Invalid, NotFound
from packshot.geometry import Box, Gravity, Mode, Size, crop_box
from packshot.model import Format
from packshot.variants.live_request import (
    EXTENSIONS,
    FITS,
    LiveForm,
    check_image_id,
    crop_of,
    parse_live_request,
    parse_upload_crop,
    strip_extension,
)
from packshot.variants.request import FormatChoice, QualityChoice

ids = st.from_regex(r"[A-Za-z0-9_~-][A-Za-z0-9._~-]{0,30}", fullmatch=True)
sizes = st.builds(Size, st.integers(1, 99_999), st.integers(1, 99_999))
forms = st.builds(
    LiveForm,
    image_id=ids | st.text(st.characters(exclude_categories=["C"], exclude_characters="/"), min_size=1, max_size=8),
    extension=st.sampled_from(sorted(EXTENSIONS)),
    size=sizes,
    fit=st.sampled_from(sorted(FITS.values())),
    blur=st.booleans(),
    quality=st.integers(0, 100) | st.just(QualityChoice.AUTO),
    proxy=st.booleans(),
    allow_webp=st.booleans(),
)
LIMIT = Size(4096, 4096)


def parse(name: str, query: str = "") -> LiveForm:
    return parse_live_request(name, query)


@pytest.mark.parametrize(
    ("name", "image_id", "size"),
    [
        ("sfsdf_1040_1040.png", "sfsdf", (1040, 1040)),
        ("sfsdf_1040_1040_2x.png", "sfsdf", (2080, 2080)),
        ("sfsdf_104_10_13x.png", "sfsdf", (1352, 130)),
        ("a_33_21_1.5x.jpg", "a", (50, 32)),
        ("a_10_10_0.01x.jpg", "a", (1, 1)),
        ("a_100.5_100.jpg", "a", (101, 100)),
        ("a_100.4_99.5_2x.jpg", "a", (201, 199)),
        ("a_2000_1333.3333333333333.jpg", "a", (2000, 1333)),
        ("a_0.25_7.jpg", "a", (1, 7)),
        (f"a_10.{'0' * 400}_007.jpg", "a", (10, 7)),
        ("a_10_10_1.10000002384185791015625x.jpg", "a", (11, 11)),
        ("a_10._10.jpg", None, None),
        ("a_.5_10.jpg", None, None),
        ("a_b_c_10_20.jpg", "a_b_c", (10, 20)),
        ("a_100_200_10_20.jpg", "a_100_200", (10, 20)),
        ("a_10_20_2x_30_40.jpg", "a_10_20_2x", (30, 40)),
        ("a.b.png_10_20.jpg", "a.b.png", (10, 20)),
        ("_1_2.jpg", None, None),
        ("a_2x.jpg", None, None),
        ("a_100.jpg", None, None),
        ("a_-1_100.jpg", None, None),
        ("a_1e3_100.jpg", None, None),
        ("a.b.jpg", None, None),
    ],
)
def test_dimensions_are_read_from_the_right(name: str, image_id: str | None, size: tuple[int, int] | None) -> None:
    form = parse(name)
    assert form.size == size
    assert form.image_id == (image_id or name.rpartition(".")[0])


def test_a_live_request_is_independent_of_the_locations_policies() -> None:
    form = parse("a_10_20.jpg").request
    assert (form.width, form.height, form.resize_mode, form.resize_gravity) == (10, 20, Mode.CLIP, Gravity.CENTER)
    assert (form.format, form.quality, form.blur) == (FormatChoice.JPEG, QualityChoice.AUTO, None)
    form = parse("a_10_20.jpe", "fit=CROP&blur=true&quality=0").request
    assert (form.resize_mode, form.quality) == (Mode.CROP, 0)
    assert form.blur == 7


@pytest.mark.parametrize("extension", ["png", "avif"])
def test_quality_applies_to_jpeg_and_webp_only(extension: str) -> None:
    assert parse(f"a_10_20.{extension}", "quality=5").request == parse(f"a_10_20.{extension}").request


def test_a_quality_is_that_of_webp_too_and_auto_is_its_default() -> None:
    assert parse("a_10_20.webp", "quality=5").request.quality == 5
    assert parse("a_10_20.webp", "quality=auto").request.quality is None


@pytest.mark.parametrize(
    ("text", "quality"),
    [
        *(("-1", "auto"), ("abc", "auto"), ("", "auto"), ("AUTO", "auto"), ("NaN", "auto"), ("Infinity", "auto")),
        *(("1e1", "auto"), ("0x10", "auto"), ("%2B5", "auto"), ("%205", "auto"), ("5.", "auto"), ("-0", "auto")),
        *(("75.5", 75), ("75.9999999999999", 75), ("0", 0), ("0.9", 0), ("007", 7), ("100.0", 100)),
        *(("101", 100), ("200", 100), ("9" * 400, 100), ("0" * 400 + "5", 5), ("9" * 2000, "auto")),
    ],
)
def test_a_quality_is_read_leniently_and_becomes_one_of_a_hundred_or_auto(text: str, quality: int | str) -> None:
    form = parse("a_10_20.jpg", f"quality={text}")
    assert form.quality == quality
    assert form.query() == ("" if quality == "auto" else f"quality={quality}")


@pytest.mark.parametrize("text", ["1", "", "yes", "on", "false", "0", "7", "truee", "%D1%82rue"])
def test_a_blur_is_true_or_none(text: str) -> None:
    assert parse("a_10_20.jpg", f"blur={text}") == parse("a_10_20.jpg")
    assert parse("a_10_20.jpg", "blur").blur is False
    assert parse("a_10_20.jpg", "blur=True").blur is True


def test_redirects_of_the_old_service_are_parsed() -> None:
    form = parse("a_2000_1333.3333333333333.jpg", "fit=clip&blur=false&quality=-1")
    assert (form.size, form.query()) == ((2000, 1333), "")


def test_an_empty_fit_is_none() -> None:
    assert parse("a_10_20.jpg", "fit=&fit=crop").fit is Mode.CLIP


@pytest.mark.parametrize(("extension", "drawn"), [("jpg", "webp"), ("jpe", "webp"), ("png", "webp"), ("avif", "avif")])
def test_a_client_that_accepts_webp_gets_it_only_if_the_url_allows_it(extension: str, drawn: str) -> None:
    accept, plain = frozenset({Format.WEBP, Format.AVIF}), parse(f"a_9_9.{extension}")
    allowed = parse(f"a_9_9.{extension}", "allow_webp=true&quality=7")
    assert allowed.for_client(accept).request.format == drawn
    assert allowed.for_client(accept).request.quality == (7 if drawn == "webp" else None)
    assert allowed.for_client(frozenset()).request == parse(f"a_9_9.{extension}", "quality=7").request
    assert plain.for_client(accept) is plain
    assert (plain.negotiates, allowed.negotiates) == (False, extension != "avif")


@pytest.mark.parametrize("extension", ["gif", "bmp", "dib", "tif", "TIFF", "heic", "heif"])
def test_extensions_of_input_formats_name_an_original(extension: str) -> None:
    form = parse(f"a.{extension}")
    assert (form.size, form.original_ids) == (None, ("a", f"a.{extension.lower()}"))
    assert parse("a.png").original_ids == ("a",)
    with pytest.raises(Invalid):
        parse(f"a_10_10.{extension}")


def test_extensions_are_compared_without_case() -> None:
    assert parse("a_10_20.JPG") == parse("a_10_20.jpg")
    assert {parse(f"a_1_1.{extension}").request.format for extension in ("jpg", "jpeg", "jfif", "jpe")} == {
        FormatChoice.JPEG
    }


@pytest.mark.parametrize(
    ("name", "query", "field"),
    [
        ("a_1_1.gif", "", "ext"),
        ("a.mp4", "", "ext"),
        ("a_0_1.jpg", "", "width"),
        ("a_1_0.jpg", "", "height"),
        ("a_1_1_0x.jpg", "", "scale"),
        ("a_1_1_0.0x.jpg", "", "scale"),
        ("a_1234567890_1.jpg", "", "width"),
        ("a_1_1.jpg", "fit=fill", "fit"),
        ("a_0.0_1.jpg", "", "width"),
        ("a_1_0.0000000001.jpg", "", "height"),
        (f"a_1_{'9' * 400}.jpg", "", "height"),
        (f"a_1_1.{'0' * 1099}.jpg", "", "height"),
    ],
)
def test_an_invalid_option_is_refused_by_name(name: str, query: str, field: str) -> None:
    with pytest.raises(Invalid) as refused:
        parse(name, query)
    assert refused.value.field == (field,)
    assert refused.value.expected


@pytest.mark.parametrize("name", ["", "a", "a_10_10", ".jpg", "a."])
def test_a_name_without_an_extension_is_no_image(name: str) -> None:
    with pytest.raises(NotFound):
        parse(name)


@given(forms)
def test_a_form_reads_back_from_its_spelling(form: LiveForm) -> None:
    assert parse(unquote(form.name), form.query()) == form


@given(forms)
def test_a_request_beyond_the_limit_becomes_an_equal_one_within_it(form: LiveForm) -> None:
    within = form.within(LIMIT)
    assert form.size is not None
    assert within.size is not None
    assert within.size.width <= LIMIT.width
    assert within.size.height <= LIMIT.height
    assert within.within(LIMIT) is within
    if form.fit is Mode.CROP and within is not form:
        # As close to the ratio as whole pixels allow.
        exact = within.size.width * form.size.height / form.size.width
        assert abs(within.size.height - exact) <= 1 + form.size.height / form.size.width or within.size.height == 1


def test_a_crop_keeps_its_ratio_and_a_bound_on_one_side_leaves_the_other() -> None:
    assert parse("a_8192_100.jpg", "fit=crop").within(LIMIT).size == (4096, 50)
    assert parse("a_8192_100.jpg").within(LIMIT).size == (4096, 100)
    assert parse("a_8192_1000.jpg", "fit=canvas").within(LIMIT).size == (4096, 1000)
    assert parse("a_3000_3000_2x.jpg").within(LIMIT).size == (4096, 4096)


@pytest.mark.parametrize(
    "name",
    ["test", "a_b", "a_100", "a-b~c", "2024.05", "movie.mp4", "a_2x", "x" * 200, "_x", "@",
     "user@example.org", "12:30", "a+b", "a b", "Oslo, Norway", "a  b", "photo (1)", "it's", "k=v;w", "$1!*&", "a_1.5"],
)  # fmt: skip
def test_ids_that_every_url_form_leaves_alone_are_taken(name: str) -> None:
    assert check_image_id(name) == name
    for form in (parse(f"{name}_10_20_2x.jpg"), parse(f"{name}.png")):
        assert form.image_id == name


@pytest.mark.parametrize(
    "name",
    ["", "token", "_health", "robots.txt", "a.jpg", "a.PNG", "a_1_1", "a_1_1_2x", "a_1.5_1", "a/b", " ab", "ab ", " ",
     "ä", ".", "..", ".a", "x" * 201,
     "a\n", "a?b", "a%2f"],
)  # fmt: skip
def test_ids_that_do_not_fit_are_refused_with_the_rule(name: str) -> None:
    with pytest.raises(Invalid) as refused:
        check_image_id(name)
    assert "200 letters" in str(refused.value.expected)


def test_only_a_pictures_extension_is_taken_off() -> None:
    assert [strip_extension(name) for name in ("a.jpg", "a.b.WEBP", "a.b", "a", "a.gif")] == [
        "a", "a.b", "a.b", "a", "a.gif",
    ]  # fmt: skip


@given(st.data(), st.integers(1, 65_535), st.integers(1, 65_535))
def test_a_crop_in_pixels_is_exact(data: st.DataObject, width: int, height: int) -> None:
    left, top = data.draw(st.integers(0, width - 1)), data.draw(st.integers(0, height - 1))
    box = Box(left, top, data.draw(st.integers(1, width - left)), data.draw(st.integers(1, height - top)))
    query = f"x={box.left}&y={box.top}&width={box.width}&height={box.height}"
    assert parse_upload_crop(query) == box
    assert crop_box(Size(width, height), crop_of(box, Size(width, height))) == box


def test_without_numbers_there_is_no_crop_on_upload() -> None:
    assert parse_upload_crop("") is None
    assert parse_upload_crop("a=b") is None


def test_decimals_of_a_crop_on_upload_are_dropped() -> None:
    long = "9." + "9" * 400
    assert parse_upload_crop(f"x=30.9&y=0.5&width=100.99999999999999&height={long}") == Box(30, 0, 100, 9)


@pytest.mark.parametrize("query", ["width=0.9", "height=0", "x=-1", "x=abc", "y=1e3", "y=", "width=1.", "x=.5"])
def test_an_invalid_pixel_of_a_crop_is_refused(query: str) -> None:
    with pytest.raises(Invalid) as refused:
        parse_upload_crop(f"{query}&x=1&y=1&width=1&height=1")
    assert refused.value.field == (query.partition("=")[0],)


segments = st.lists(st.sampled_from("a_.x0129-%/é\0 2") | st.sampled_from(sorted(EXTENSIONS)), max_size=14).map("".join)


@given(
    st.text(max_size=20) | segments, st.text(max_size=20) | st.sampled_from(["fit=crop", "quality=%31", "blur=TRUE"])
)
def test_any_request_is_parsed_or_refused(name: str, query: str) -> None:
    for read in (parse_live_request, lambda name, _: check_image_id(name), lambda _, query: parse_upload_crop(query)):
        try:
            read(name, query)
        except (Invalid, NotFound) as refused:
            assert refused.expected  # noqa: PT017 - whether it is refused depends on what was drawn
