"""Drawings have the right pixels in the right place, in every format."""

from collections.abc import Sequence
from dataclasses import replace
from io import BytesIO
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageChops, ImageStat

from packshot.errors import ErrorCode, PackshotError
from packshot.geometry import Box, Crop, Gravity, Mode, Size
from packshot.model import Format
from packshot.render.drawing.encode import encode
from packshot.render.drawing.pipeline import Rendered, render_all
from packshot.render.limits import Limits
from packshot.variants.plan import Drawing, Plan, drawing
from tests.support import pictures

LIMITS = Limits()
QUALITY = {Format.JPEG: 80, Format.WEBP: 80, Format.AVIF: 50, Format.PNG: None, Format.GIF: None}


def render(original: bytes, *drawings: Drawing, limits: Limits = LIMITS) -> list[Rendered]:
    outcomes = list(render_all(original, drawings, limits))
    assert all(isinstance(outcome, Rendered) for outcome in outcomes), outcomes
    return [outcome for outcome in outcomes if isinstance(outcome, Rendered)]


def opened(rendered: Rendered) -> Image.Image:
    picture = Image.open(BytesIO(rendered.data))
    picture.load()
    assert picture.size == (rendered.width, rendered.height)
    return picture


def scaled(
    source: Size, width: int, height: int, format: Format = Format.PNG, background: str | None = None
) -> Drawing:
    size = Size(width, height)
    return Drawing(Box(0, 0, *source), size, Box(0, 0, *size), format, QUALITY[format], background)


def planned(source: Size, width: int, height: int, mode: Mode, gravity: Gravity, crop: Crop | None = None) -> Drawing:
    return drawing(Plan(width, height, mode, gravity, False, None, None, Format.PNG), source, crop)


def assert_markers_land(picture: Image.Image, source: Size, drawn: Drawing) -> None:
    """Check that every visible marker lies within a pixel of its calculated place."""
    pixels = np.asarray(picture.convert("RGB"), int)
    colours = np.array([*pictures.markers(*source), pictures.GREY])
    nearest = np.abs(pixels[:, :, None] - colours).sum(axis=-1).argmin(axis=-1)
    if picture.mode == "RGBA":
        nearest[np.asarray(picture)[:, :, 3] < 128] = -1
    box, placed = drawn.box, drawn.placed
    across, down = placed.width / box.width, placed.height / box.height
    for index, (left, top, right, bottom) in enumerate(pictures.markers(*source).values()):
        left, right = max(left, box.left), min(right, box.left + box.width)
        top, bottom = max(top, box.top), min(bottom, box.top + box.height)
        if (right - left) * across < 3 or (bottom - top) * down < 3:
            continue  # too small to be found
        rows, columns = np.nonzero(nearest == index)
        expected = (
            placed.left + (left - box.left) * across,
            placed.top + (top - box.top) * down,
            placed.left + (right - box.left) * across,
            placed.top + (bottom - box.top) * down,
        )
        found = (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)
        assert np.abs(np.subtract(expected, found)).max() <= 1, (index, expected, found)


@pytest.mark.parametrize("source_format", ["jpeg", "png", "webp", "avif"])
def test_every_input_format_is_encoded_in_every_output_format(source_format: str) -> None:
    original = getattr(pictures, source_format)(pictures.corners(90, 60))
    drawings = [scaled(Size(90, 60), 45, 30, format) for format in Format]
    for drawn, rendered in zip(drawings, render(original, *drawings), strict=True):
        picture = opened(rendered)
        assert picture.format == drawn.format.name
        assert picture.mode == ("P" if drawn.format is Format.GIF else "RGB")
        assert picture.size == (45, 30)


@pytest.mark.parametrize("format", [Format.AVIF, Format.WEBP, Format.PNG])
def test_alpha_is_kept_if_the_format_has_it(format: Format) -> None:
    cutout = pictures.cutout(80, 80)
    picture = opened(render(pictures.png(cutout), scaled(Size(80, 80), 80, 80, format))[0])
    assert picture.mode == "RGBA"
    assert picture.getchannel("A").tobytes() == cutout.getchannel("A").tobytes()


def test_colours_of_transparent_pixels_do_not_bleed_into_edges() -> None:
    original = pictures.png(pictures.cutout(300, 300))
    for side in (20, 40, 110):  # from smaller levels, and from the original
        pixels = np.asarray(opened(render(original, scaled(Size(300, 300), side, side))[0]), int)
        visible = pixels[pixels[:, :, 3] > 32]
        assert visible[:, 0].min() > 240
        assert visible[:, 1].max() < 16


def test_a_background_replaces_transparency() -> None:
    original = pictures.png(pictures.cutout(80, 80))
    drawings = [scaled(Size(80, 80), 40, 40, format, "204060") for format in Format]
    for rendered in render(original, *drawings):
        picture = opened(rendered)
        assert not picture.has_transparency_data
        corner = pictures.pixel(picture.convert("RGB"), (0, 0))
        assert np.abs(np.subtract(corner, (0x20, 0x40, 0x60))).max() <= 12  # lossy


def test_padding_is_fully_transparent_and_the_image_fully_opaque() -> None:
    original = pictures.jpeg(pictures.corners(61, 40))
    drawn = planned(Size(61, 40), 50, 50, Mode.INCLUDE_ALL, Gravity.SOUTH)
    alpha = np.asarray(opened(render(original, drawn)[0]))[:, :, 3]
    expected = np.zeros((50, 50), np.uint8)
    left, top, width, height = drawn.placed
    expected[top : top + height, left : left + width] = 255
    assert (alpha == expected).all()


def test_padding_is_white_in_an_opaque_format() -> None:
    drawn = planned(Size(60, 20), 60, 60, Mode.INCLUDE_ALL, Gravity.CENTER)
    as_jpeg = Drawing(drawn.box, drawn.size, drawn.placed, Format.JPEG, 90, None)
    corner = pictures.pixel(opened(render(pictures.png(pictures.corners(60, 20)), as_jpeg)[0]), (0, 0))
    assert np.abs(np.subtract(corner, 255)).max() <= 4


@pytest.mark.parametrize("gravity", [gravity for gravity in Gravity if gravity is not Gravity.SMART])
@pytest.mark.parametrize("mode", Mode)
@pytest.mark.parametrize("source", [Size(181, 120), Size(97, 155)])
def test_markers_land_at_their_planned_places(source: Size, mode: Mode, gravity: Gravity) -> None:
    original = pictures.png(pictures.corners(*source))
    for width, height in ((90, 90), (67, 101), (151, 43)):
        drawn = planned(source, width, height, mode, gravity)
        assert_markers_land(opened(render(original, drawn)[0]), source, drawn)


@pytest.mark.parametrize(
    ("gravity", "spot", "colour"),
    [
        (Gravity.NORTHWEST, (0, 0), pictures.RED),
        (Gravity.NORTHEAST, (-1, 0), pictures.GREEN),
        (Gravity.SOUTHWEST, (0, -1), pictures.BLUE),
        (Gravity.SOUTHEAST, (-1, -1), pictures.YELLOW),
        (Gravity.CENTER, (30, 30), pictures.MAGENTA),
    ],
)
@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_crop_keeps_the_side_that_its_gravity_names(
    orientation: int, gravity: Gravity, spot: tuple[int, int], colour: tuple[int, int, int]
) -> None:
    source = Size(181, 120)
    stored = pictures.turned(pictures.corners(*source), orientation)
    original = pictures.jpeg(stored, exif=pictures.exif(orientation))
    drawn = planned(source, 61, 61, Mode.CROP, gravity)
    picture = opened(render(original, drawn)[0])
    pixel = pictures.pixel(picture, (spot[0] % 61, spot[1] % 61))
    assert np.abs(np.subtract(pixel, colour)).max() < 40
    assert_markers_land(picture, source, drawn)


@pytest.mark.parametrize("orientation", [1, 3, 6])
@pytest.mark.parametrize("source_format", ["jpeg", "png"])
@pytest.mark.parametrize("source", [Size(1443, 961), Size(883, 1201)])
def test_markers_of_an_odd_sized_original_land_correctly_from_every_level(
    source: Size, source_format: str, orientation: int
) -> None:
    stored = pictures.turned(pictures.corners(*source), orientation)
    original = getattr(pictures, source_format)(stored, exif=pictures.exif(orientation))
    sizes = [(701, 467), (331, 247), (167, 101), (89, 71)]
    drawings = [planned(source, *size, Mode.CROP, Gravity.CENTER) for size in sizes]
    for drawn, rendered in zip(drawings, render(original, *drawings), strict=True):
        assert_markers_land(opened(rendered), source, drawn)


def test_a_stored_crop_is_sampled_from_the_upright_original() -> None:
    source = Size(181, 121)
    original = pictures.png(pictures.corners(*source))
    drawn = planned(source, 40, 60, Mode.CLIP, Gravity.CENTER, Crop(0.5, 0.25, 1.0, 1.0))
    assert_markers_land(opened(render(original, drawn)[0]), source, drawn)


def test_an_unscaled_drawing_has_the_pixels_of_the_original() -> None:
    photo = pictures.photo(61, 40)
    drawn = Drawing(Box(7, 5, 30, 20), Size(30, 20), Box(0, 0, 30, 20), Format.PNG, None, None)
    picture = opened(render(pictures.png(photo), drawn)[0])
    assert picture.tobytes() == photo.crop((7, 5, 37, 25)).tobytes()


def test_pixels_outside_the_box_influence_its_edges() -> None:
    original = pictures.png(pictures.photo(400, 300))
    whole, part = render(
        original,
        scaled(Size(400, 300), 200, 150),
        Drawing(Box(100, 60, 200, 100), Size(100, 50), Box(0, 0, 100, 50), Format.PNG, None, None),
    )
    cut = opened(whole).crop((50, 30, 150, 80))
    assert np.abs(np.asarray(cut, int) - np.asarray(opened(part), int)).max() <= 1


def test_jpeg_is_progressive_and_subsamples_chroma_below_quality_90() -> None:
    original = pictures.png(pictures.photo(64, 64))
    for quality, first_component in ((89, (2, 2)), (90, (1, 1))):
        drawn = Drawing(Box(0, 0, 64, 64), Size(32, 32), Box(0, 0, 32, 32), Format.JPEG, quality, None)
        picture = opened(render(original, drawn)[0])
        assert picture.info["progressive"]
        assert picture.layer[0][1:3] == first_component  # type: ignore[attr-defined]


@pytest.mark.parametrize("quality", [0, 89, 90, 94, 100])
def test_noise_fits_a_jpeg_at_any_quality(quality: int) -> None:
    drawn = Drawing(Box(0, 0, 300, 300), Size(300, 300), Box(0, 0, 300, 300), Format.JPEG, quality, None)
    assert opened(render(pictures.png(pictures.noise(300, 300)), drawn)[0]).size == (300, 300)


@pytest.mark.parametrize("source_format", ["jpeg", "png", "webp", "avif"])
def test_no_metadata_of_the_original_survives(source_format: str) -> None:
    secrets: dict[str, object] = {"exif": pictures.exif(), "icc_profile": pictures.display_p3()}
    if source_format == "jpeg":
        secrets["comment"] = b"a secret comment"
    if source_format != "png":
        secrets["xmp"] = b"<x:xmpmeta>a secret packet</x:xmpmeta>"
    original = getattr(pictures, source_format)(pictures.corners(60, 40), **secrets)
    for rendered in render(original, *(scaled(Size(60, 40), 30, 20, format) for format in Format)):
        picture = opened(rendered)
        assert not picture.getexif()
        assert {"exif", "icc_profile", "xmp", "comment", "dpi"} & set(picture.info) == set()
        assert b"secret" not in rendered.data
        assert b"Exif" not in rendered.data


@pytest.mark.parametrize("orientation", [1, 6])
def test_a_smart_drawing_shows_the_detail_of_the_upright_original(orientation: int) -> None:
    source = Size(900, 300)
    scene = Image.new("RGB", source, pictures.GREY)
    scene.paste(pictures.noise(160, 160), (700, 70))
    original = pictures.png(pictures.turned(scene, orientation), exif=pictures.exif(orientation))
    size = Size(100, 100)
    drawn = replace(scaled(source, *size), smart=True)
    alone = render(original, drawn)[0]
    pixels = np.asarray(opened(alone), int)
    assert np.abs(pixels - 128).max() > 60
    assert (np.abs(pixels - 128).max(axis=-1) > 8).mean() > 0.2
    assert render(original, scaled(source, 45, 15), scaled(source, *size), drawn)[2] == alone


def test_a_smart_drawing_beyond_the_original_is_refused() -> None:
    drawn = replace(scaled(Size(90, 90), 30, 30), smart=True)
    (outcome,) = render_all(pictures.png(pictures.corners(60, 40)), [drawn], LIMITS)
    assert isinstance(outcome, PackshotError)


def some_drawings() -> Sequence[Drawing]:
    source = Size(140, 100)
    boxes = [Box(0, 0, 140, 100), Box(20, 10, 100, 90)]
    sizes = [(12, 9), (35, 25), (90, 90), (140, 100)]
    plain = [
        Drawing(box, Size(*size), Box(0, 0, *size), format, QUALITY[format], None)
        for box in boxes
        for size in sizes
        for format in Format
    ]
    padded = planned(source, 80, 80, Mode.INCLUDE_ALL, Gravity.EAST)
    odd: dict[str, Any] = {"blur": 1.5, "corner": 9, "background": "20406080"}
    return [*plain, padded, *(replace(padded, **{name: value}) for name, value in odd.items()), replace(padded, **odd)]


DRAWINGS = some_drawings()
ORIGINALS = [pictures.png(pictures.cutout(140, 100)), pictures.jpeg(pictures.photo(140, 100))]
ALONE = [[render(original, drawn)[0].data for drawn in DRAWINGS] for original in ORIGINALS]


@settings(max_examples=25, deadline=None)
@given(st.lists(st.integers(0, len(DRAWINGS) - 1), min_size=1, max_size=8), st.integers(0, 1))
def test_the_bytes_of_a_drawing_are_the_same_in_any_batch(chosen: list[int], which: int) -> None:
    together = render(ORIGINALS[which], *(DRAWINGS[index] for index in chosen))
    assert [rendered.data for rendered in together] == [ALONE[which][index] for index in chosen]


def test_a_refused_drawing_does_not_stop_the_others() -> None:
    source = Size(60, 40)
    good = scaled(source, 30, 20)
    outside = Drawing(Box(10, 0, 60, 40), Size(30, 20), Box(0, 0, 30, 20), Format.PNG, None, None)
    too_long = Drawing(Box(0, 0, 60, 40), Size(20000, 1), Box(0, 0, 20000, 1), Format.WEBP, 80, None)
    too_large = scaled(source, 2000, 2000)
    drawings = [outside, good, too_long, too_large, good]
    outcomes = list(render_all(pictures.png(pictures.corners(*source)), drawings, Limits(max_pixels=1_000_000)))
    assert [type(outcome).__name__ for outcome in outcomes] == [
        "Unrenderable",
        "Rendered",
        "Unrenderable",
        "TooLarge",
        "Rendered",
    ]
    refusals = [outcome for outcome in outcomes if isinstance(outcome, PackshotError)]
    assert [(refusal.expected, refusal.got) for refusal in refusals] == [
        ("within 60 x 40", "60 x 40 at 10, 0"),
        ("at most 16383 pixels per side", "20000 x 1"),
        ("at most 1000000 pixels", "2000 x 2000 = 4000000"),
    ]
    assert outcomes[1] == outcomes[4]


def test_a_refused_original_is_refused_for_every_drawing() -> None:
    first, second = render_all(b"%PDF-1.7", [scaled(Size(1, 1), 1, 1)] * 2, LIMITS)
    assert isinstance(first, PackshotError)
    assert isinstance(second, PackshotError)
    assert first.code is second.code is ErrorCode.UNSUPPORTED_MEDIA
    assert first is not second


def test_a_large_gif_takes_its_colours_from_a_sample_and_looks_the_same() -> None:
    picture = pictures.photo(800, 600)
    careful, quick = (
        Image.open(BytesIO(encode(picture, Format.GIF, None, quick=quick))).convert("RGB") for quick in (False, True)
    )
    assert len(quick.getcolors(1000) or ()) <= 256
    errors = [ImageStat.Stat(ImageChops.difference(picture, one)).mean for one in (careful, quick)]
    assert max(errors[1]) < 1.5 * max(errors[0]) + 1


def test_the_alpha_of_a_large_avif_is_nearly_lossless() -> None:
    picture = pictures.cutout(400, 300)
    drawn = Image.open(BytesIO(encode(picture, Format.AVIF, 50, quick=True))).convert("RGBA")
    difference = ImageStat.Stat(ImageChops.difference(picture.getchannel("A"), drawn.getchannel("A")))
    assert difference.mean[0] < 0.5
    assert difference.extrema[0][1] < 32
