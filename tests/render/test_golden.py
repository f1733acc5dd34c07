"""From the query of a URL to the finished file: position, type and size.

The originals are drawn and stored in all eight EXIF orientations. Expected values are calculated here in floating
point, without the code under test. Type and size are read from the headers of the files.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from io import BytesIO

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from packshot.geometry import Crop, Size
from packshot.model import Focus, Original
from packshot.render.drawing.pipeline import Rendered, render_all
from packshot.render.drawing.probe import probe
from packshot.render.limits import Limits
from packshot.variants.request import parse_request
from packshot.variants.resolve import Target, resolve
from tests.render.drawing.test_smart import HAIR, WALL, add_person
from tests.support import pictures
from tests.variants.samples import location, pack_location, snapshot

LIMIT, LIMITS = Size(4096, 4096), Limits()
SOURCES = [Size(363, 241), Size(195, 311)]
# Odd sizes with different ratios; the last is larger than either source.
BOXES = [(91, 91), (67, 101), (151, 43), (901, 701)]
MODES = ["crop", "includeAll", "clip", "cover", "canvas", "stretch"]
ANCHORS = {
    f"{down}{across}" or "center": (x, y)
    for down, y in (("north", 0.0), ("", 0.5), ("south", 1.0))
    for across, x in (("west", 0.0), ("", 0.5), ("east", 1.0))
}
FOCUS = Focus(0.7, 0.3)
CROP = Crop(0.25, 0.125, 1.0, 0.875)

Pixels = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Expected:
    """Maps a region of the source to the output: output = offset + scale * (source - start)."""

    width: float
    height: float
    scale: tuple[float, float]
    start: tuple[float, float]
    offset: tuple[float, float]
    shown: tuple[float, float]


def expected(
    region: tuple[float, float, float, float], box: tuple[int, int], mode: str, anchor: tuple[float, float]
) -> Expected:
    """Return the specified result for a region (left, top, width, height) of the source."""
    left, top, wide, high = region
    across, down = box[0] / wide, box[1] / high
    filling = max(across, down) if mode in ("crop", "cover", "stretch") else min(across, down)
    shrink = min(1.0, 1 / filling)
    across, down, filling = across * shrink, down * shrink, filling * shrink
    if mode in ("clip", "cover"):
        return Expected(wide * filling, high * filling, (filling, filling), (left, top), (0, 0), (wide, high))
    width, height = box[0] * shrink, box[1] * shrink
    if mode == "stretch":
        return Expected(width, height, (across, down), (left, top), (0, 0), (wide, high))
    if mode == "crop":
        part = (width / filling, height / filling)
        start = [
            low + min(max(at * whole - length / 2, 0), whole - length)
            for low, at, whole, length in zip((left, top), anchor, (wide, high), part, strict=True)
        ]
        return Expected(width, height, (filling, filling), (start[0], start[1]), (0, 0), part)
    offset = (anchor[0] * (width - wide * filling), anchor[1] * (height - high * filling))
    return Expected(width, height, (filling, filling), (left, top), offset, (wide, high))


@cache
def stored(source: Size, orientation: int) -> bytes:
    """Return a JPEG of the marker image, stored in an EXIF orientation."""
    return pictures.jpeg(
        pictures.turned(pictures.corners(*source), orientation), quality=100, exif=pictures.exif(orientation)
    )


def original_of(data: bytes) -> Original:
    """Return what the catalog stores about a file."""
    facts = probe(data, LIMITS)
    known = (facts.format, facts.alpha, facts.frames, None, None, facts.quality)
    return Original("a" * 64, facts.width, facts.height, len(data), *known)


def drawn(data: bytes, queries: list[str], **own: object) -> Iterator[tuple[Target, bytes]]:
    """Yield the target of each query for that original, and its file."""
    snap = snapshot(location("main"), pack_location("main", original=original_of(data), **own))
    targets = [resolve(snap, parse_request(query), limit=LIMIT) for query in queries]
    outcomes = list(render_all(data, [target.drawing for target in targets], LIMITS))
    for target, outcome in zip(targets, outcomes, strict=True):
        assert isinstance(outcome, Rendered), outcome
        kind, width, height = measured(outcome.data)
        plan = target.key.plan
        assert (kind, width, height) == (plan.format.value, plan.width, plan.height)
        yield target, outcome.data


def pixels(data: bytes) -> Pixels:
    """Return rows of RGBA pixels."""
    return np.asarray(Image.open(BytesIO(data)).convert("RGBA"))


def measured(data: bytes) -> tuple[str, int, int]:
    """Read type, width and height from a file's headers."""
    if data.startswith(b"\x89PNG\r\n\x1a\n"):
        return "png", int.from_bytes(data[16:20], "big"), int.from_bytes(data[20:24], "big")
    if data.startswith(b"GIF89a"):
        return "gif", int.from_bytes(data[6:8], "little"), int.from_bytes(data[8:10], "little")
    if data.startswith(b"RIFF") and data[12:16] == b"VP8X":
        return "webp", int.from_bytes(data[24:27], "little") + 1, int.from_bytes(data[27:30], "little") + 1
    if data.startswith(b"RIFF") and data[12:16] == b"VP8L":
        bits = int.from_bytes(data[21:25], "little")
        return "webp", (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    if data.startswith(b"RIFF") and data[12:16] == b"VP8 ":
        return "webp", int.from_bytes(data[26:28], "little") & 0x3FFF, int.from_bytes(data[28:30], "little") & 0x3FFF
    if data[4:12] == b"ftypavif":
        at = data.index(b"ispe") + 8
        return "avif", int.from_bytes(data[at : at + 4], "big"), int.from_bytes(data[at + 4 : at + 8], "big")
    assert data.startswith(b"\xff\xd8\xff")
    at = 2
    while data[at + 1] not in (0xC0, 0xC2):
        at += 2 + int.from_bytes(data[at + 2 : at + 4], "big")
    return "jpeg", int.from_bytes(data[at + 7 : at + 9], "big"), int.from_bytes(data[at + 5 : at + 7], "big")


def assert_markers_land(found: Pixels, source: Size, where: Expected, query: str) -> int:
    """Check that every visible marker lies within a pixel of its place; return the number of visible markers."""
    assert abs(found.shape[1] - where.width) <= 0.51, query
    assert abs(found.shape[0] - where.height) <= 0.51, query
    marks = pictures.markers(*source)
    colours = np.array([*marks, pictures.GREY, (255, 255, 255)])
    nearest = np.abs(found[:, :, None, :3].astype(int) - colours).sum(axis=-1).argmin(axis=-1)
    nearest[found[:, :, 3] < 128] = -1
    seen = 0
    for index, (left, top, right, bottom) in enumerate(marks.values()):
        low, high = np.array([left, top], float), np.array([right, bottom], float)
        start, shown = np.array(where.start), np.array(where.shown)
        low, high = np.clip(low, start, start + shown), np.clip(high, start, start + shown)
        low, high = (np.array(where.offset) + np.array(where.scale) * (edge - start) for edge in (low, high))
        if (high - low).min() < 3:
            continue  # too small to be found
        rows, columns = np.nonzero(nearest == index)
        assert rows.size, (query, index)
        landed = np.array([[columns.min(), rows.min()], [columns.max() + 1, rows.max() + 1]])
        assert np.abs(landed - [low, high]).max() <= 1, (query, index, landed, low, high)
        seen += 1
    return seen


@pytest.mark.slow
@pytest.mark.parametrize("source", SOURCES, ids=["wide", "tall"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_every_mode_and_gravity_places_all_markers_correctly(orientation: int, source: Size) -> None:
    wanted = {
        f"width={w}&height={h}&resize-mode={mode}&resize-gravity={gravity}&format=png": expected(
            (0, 0, *source), (w, h), mode, anchor
        )
        for w, h in BOXES
        for mode in MODES
        for gravity, anchor in ANCHORS.items()
    }
    files = drawn(stored(source, orientation), list(wanted))
    seen = [
        assert_markers_land(pixels(data), source, where, query)
        for (query, where), (_, data) in zip(wanted.items(), files, strict=True)
    ]
    # Most show all five markers, and a narrow centred crop still shows one.
    assert sum(seen) > 3 * len(seen)


@pytest.mark.parametrize("source", SOURCES, ids=["wide", "tall"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_focus_and_crop_refer_to_the_upright_original(orientation: int, source: Size) -> None:
    # A crop consists of whole pixels of the original.
    left, right = round(CROP.left * source.width), round(CROP.right * source.width)
    top, bottom = round(CROP.top * source.height), round(CROP.bottom * source.height)
    region = (left, top, right - left, bottom - top)
    inside = ((FOCUS.x * source.width - region[0]) / region[2], (FOCUS.y * source.height - region[1]) / region[3])
    wanted = {}
    for w, h in BOXES[:3]:
        for mode in MODES:
            query = f"width={w}&height={h}&resize-mode={mode}&resize-gravity=focus&format=png"
            # An image that is shown as a whole is centred.
            wanted[query] = expected(region, (w, h), mode, inside if mode == "crop" else (0.5, 0.5))
            whole = (FOCUS.x, FOCUS.y) if mode == "crop" else (0.5, 0.5)
            wanted[f"{query}&skip-crop=true"] = expected((0, 0, *source), (w, h), mode, whole)
    files = drawn(stored(source, orientation), list(wanted), crop=CROP, focus=FOCUS)
    for (query, where), (_, data) in zip(wanted.items(), files, strict=True):
        assert_markers_land(pixels(data), source, where, query)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_smart_crop_finds_the_head_in_every_orientation(orientation: int) -> None:
    upright = Image.new("RGB", (900, 600), WALL)
    head = add_person(upright, 700, 130, 120)
    data = pictures.jpeg(pictures.turned(upright, orientation), exif=pictures.exif(orientation))
    query = "width=200&height=300&resize-gravity=smart&format=png"
    ((target, file),) = drawn(data, [query])
    assert str(target.key.plan) == "w200-h300-crop-smart.png"
    found = pixels(file)[:, :, :3].astype(int)
    rows, columns = np.nonzero(np.abs(found - HAIR[0]).sum(axis=-1) < 40)
    # The hair from ear to ear, half as large as drawn.
    assert columns.max() - columns.min() + 1 == pytest.approx(head.width / 2, abs=2)
    assert rows.min() == pytest.approx(head.top / 2, abs=2)
    assert columns.min() > 0
    assert columns.max() < 199


@pytest.mark.parametrize("format", ["png", "webp", "avif"])
@pytest.mark.parametrize("gravity", ANCHORS)
def test_padding_is_transparent_to_the_pixel(gravity: str, format: str) -> None:
    for source in SOURCES:
        for w, h in ((91, 90), (60, 101), (151, 43)):
            query = f"width={w}&height={h}&resize-mode=includeAll&resize-gravity={gravity}&format={format}"
            ((_, data),) = drawn(stored(source, 6), [query])
            scale = min(w / source.width, h / source.height)
            wide, high = (int(side * scale + 0.5) for side in source)
            x, y = ANCHORS[gravity]
            left, top = round(x * (w - wide)), round(y * (h - high))
            alpha = np.zeros((h, w), np.uint8)
            alpha[top : top + high, left : left + wide] = 255
            assert (pixels(data)[:, :, 3] == alpha).all(), query


@pytest.mark.parametrize("format", ["png", "webp", "avif"])
@pytest.mark.parametrize("radius", [1, 7, 20, 999])
def test_rounded_corners_cover_pixels_as_a_circle_does(radius: int, format: str) -> None:
    query = f"width=91&height=60&rounded-corners={radius}&format={format}"
    ((target, data),) = drawn(stored(SOURCES[0], 3), [query])
    alpha = pixels(data)[:, :, 3].astype(int)
    height, width = alpha.shape
    assert target.drawing.corner == min(radius, height // 2)
    # The share of 32 by 32 points of each pixel that lie inside.
    points = (np.arange(32) + 0.5) / 32
    ys, xs = (np.arange(side)[:, None] + points for side in (height, width))
    reach = target.drawing.corner
    dy = np.maximum(0, np.maximum(reach - ys, ys - (height - reach))).reshape(-1)
    dx = np.maximum(0, np.maximum(reach - xs, xs - (width - reach))).reshape(-1)
    inside = dy[:, None] ** 2 + dx[None, :] ** 2 <= reach**2
    share = inside.reshape(height, 32, width, 32).mean(axis=(1, 3))
    assert np.abs(alpha - share * 255).max() <= 2


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("format", ["jpeg", "png", "webp", "avif"])
@pytest.mark.parametrize("corners", [0, 9])
def test_every_file_has_the_promised_type_size_and_mode(format: str, mode: str, corners: int) -> None:
    queries = [
        f"width={w}&height={h}&resize-mode={mode}&rounded-corners={corners}&format={format}"
        for w, h in (*BOXES, (1, 1))
    ]
    for data in (stored(SOURCES[0], 8), pictures.png(pictures.cutout(117, 83))):
        for target, file in drawn(data, queries):
            see_through = mode == "includeAll" or target.drawing.corner > 0
            promised = "png" if see_through and format == "jpeg" else format
            assert target.key.plan.format.value == promised
            alpha = pixels(file)[:, :, 3]
            if target.drawing.corner:
                assert alpha[0, 0] < 255
            if promised == "jpeg" or (mode == "canvas" and not target.drawing.corner):
                assert alpha.min() == 255


@pytest.mark.parametrize(
    ("query", "colour"),
    [
        ("resize-mode=canvas", (255, 255, 255, 255)),
        ("resize-mode=canvas&background=204060", (0x20, 0x40, 0x60, 255)),
        ("resize-mode=canvas&background=204060&format=png", (0x20, 0x40, 0x60, 255)),
        ("resize-mode=canvas&background=20406080&format=png", (0x20, 0x40, 0x60, 0x80)),
        ("resize-mode=canvas&background=20406000&format=webp", None),
        ("resize-mode=canvas&background=00000080", (127, 127, 127, 255)),
    ],
)
def test_the_canvas_has_the_requested_colour(query: str, colour: tuple[int, ...] | None) -> None:
    ((_, data),) = drawn(stored(SOURCES[0], 5), [f"width=90&height=120&{query}"])
    corner = pixels(data)[2, 2].astype(int)
    if colour is None:
        assert corner[3] == 0
    else:
        assert np.abs(corner - colour).max() <= (0 if "png" in query else 3)


def test_a_transparent_image_is_drawn_on_the_canvas_and_in_jpeg_on_its_background() -> None:
    data = pictures.png(pictures.cutout(120, 120))
    queries = [
        "resize-mode=canvas&background=204060",
        "format=jpeg&quality=100&background=204060",
        "format=jpeg&quality=100",
    ]
    for (_, file), colour in zip(
        drawn(data, [f"width=60&height=60&{query}" for query in queries]),
        [(0x20, 0x40, 0x60, 255), (0x20, 0x40, 0x60, 255), (255, 255, 255, 255)],
        strict=True,
    ):
        found = pixels(file).astype(int)
        assert np.abs(found[1, 1] - colour).max() <= 6
        assert np.abs(found[30, 30] - (255, 0, 0, 255)).max() <= 6


@pytest.mark.parametrize("quality", [20, 37, 85, 95])
def test_quality_auto_keeps_the_quality_of_a_jpeg(quality: int) -> None:
    data = pictures.jpeg(pictures.photo(200, 150), quality=quality)
    ((_, file),) = drawn(data, ["width=100&quality=auto"])
    came, went = (Image.open(BytesIO(each)) for each in (data, file))
    assert went.quantization == came.quantization  # type: ignore[attr-defined]


def test_a_blur_looks_alike_at_every_pixel_density() -> None:
    data = pictures.jpeg(pictures.corners(600, 400))
    # Three times the size is not available, so it is drawn at the largest size.
    once, twice, thrice = (
        Image.open(BytesIO(file)).convert("RGB").resize((300, 200), Image.Resampling.BOX)
        for _, file in drawn(data, [f"width=300&blur=20&dpr={dpr}&format=png" for dpr in (1, 2, 3)])
    )
    sharp = Image.open(BytesIO(next(drawn(data, ["width=300&format=png"]))[1]))
    blurred = np.asarray(once, int)
    for other in (twice, thrice):
        assert np.abs(blurred - np.asarray(other, int)).mean() < 1.5
    assert np.abs(blurred - np.asarray(sharp, int)).mean() > 6
