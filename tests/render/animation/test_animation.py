"""Animations keep all frames, their durations and the number of plays."""

import struct
from collections.abc import Iterator
from io import BytesIO
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageDraw

from packshot.errors import PackshotError, TooLarge, Unrenderable
from packshot.geometry import Box, Size
from packshot.model import Format
from packshot.render.animation.animation import Animation, animation_of, write_animation
from packshot.render.decoding.decode import decode
from packshot.render.drawing.pipeline import Rendered, render_all
from packshot.render.drawing.probe import probe
from packshot.render.limits import Limits
from packshot.variants.plan import Drawing
from tests.support import pictures

LIMITS = Limits()
TRANSPARENT = (0, 0, 0, 0)
RED, GREEN, BLUE = (255, 0, 0, 255), (0, 255, 0, 255), (0, 0, 255, 255)
COLOURS = [RED, GREEN, BLUE]


def block(
    left: int, top: int, width: int, height: int, colour: int, *, disposal: int = 1, hundredths: int = 7
) -> bytes:
    """One frame of a GIF: a rectangle of one of the three colours; 3 is transparent."""
    control = b"!\xf9\x04" + bytes((disposal << 2 | 1,)) + struct.pack("<H", hundredths) + b"\x03\0"
    # Codes of three bits, with a clear code before each pixel, so that the code size never grows.
    bits = "".join(f"{code:03b}"[::-1] for _ in range(width * height) for code in (4, colour)) + "101"
    codes = bytes(int(bits[at : at + 8][::-1], 2) for at in range(0, len(bits), 8))
    pixels = b"".join(bytes((len(codes[at : at + 255]),)) + codes[at : at + 255] for at in range(0, len(codes), 255))
    return control + b"," + struct.pack("<4H", left, top, width, height) + b"\0\x02" + pixels + b"\0"


def gif(size: tuple[int, int], *blocks: bytes, repeats: int | None = None) -> bytes:
    palette = bytes(part for colour in COLOURS for part in colour[:3]) + b"\x10\x20\x30"
    loop = b"" if repeats is None else b"!\xff\x0bNETSCAPE2.0\x03\x01" + struct.pack("<H", repeats) + b"\0"
    return b"GIF89a" + struct.pack("<2H", *size) + b"\x81\x03\0" + palette + loop + b"".join(blocks) + b";"


def animation(data: bytes) -> Animation:
    found = animation_of(data, LIMITS)
    assert found is not None
    return found


def shown(data: bytes) -> list[Image.Image]:
    return [frame.shown(frame.picture).convert("RGBA") for frame, _ in animation(data).pictures()]


def durations(data: bytes) -> list[int]:
    return [milliseconds for _, milliseconds in animation(data).pictures()]


def pixel(picture: Image.Image, x: int, y: int) -> tuple[int, ...]:
    value = picture.getpixel((x, y))
    assert isinstance(value, tuple)
    return value


def test_frames_are_composed_by_their_disposal_methods() -> None:
    frames = shown(
        gif(
            (4, 1),
            block(0, 0, 4, 1, 0),
            block(0, 0, 1, 1, 1, disposal=2),  # cleared to transparent afterwards
            block(1, 0, 1, 1, 2, disposal=3),  # restored to the previous pixels afterwards
            block(3, 0, 1, 1, 3),  # wholly transparent
        )
    )
    rows = [[pixel(frame, x, 0) for x in range(4)] for frame in frames]
    assert rows == [
        [RED, RED, RED, RED],
        [GREEN, RED, RED, RED],
        [TRANSPARENT, BLUE, RED, RED],
        [TRANSPARENT, RED, RED, RED],
    ]


def test_pixels_outside_the_first_frame_are_transparent_and_those_outside_the_canvas_are_cut() -> None:
    data = gif((3, 2), block(0, 0, 2, 1, 0), block(2, 1, 5, 5, 1))
    first, second = shown(data)
    assert first.size == second.size == (3, 2)
    assert (pixel(first, 0, 0), pixel(first, 2, 1)) == (RED, TRANSPARENT)
    assert (pixel(second, 0, 0), pixel(second, 2, 1)) == (RED, GREEN)
    still = decode(data, LIMITS).picture
    assert still.tobytes() == first.tobytes()


def test_a_first_frame_larger_than_the_screen_is_the_canvas() -> None:
    assert [frame.size for frame in shown(gif((1, 1), block(0, 0, 3, 2, 0), block(0, 0, 1, 1, 1)))] == [(3, 2)] * 2


@pytest.mark.parametrize(("repeats", "plays"), [(None, 1), (0, 0), (1, 2), (9, 10)])
@pytest.mark.parametrize("format", [Format.GIF, Format.WEBP])
def test_the_number_of_plays_stays(format: Format, repeats: int | None, plays: int) -> None:
    data = gif((2, 2), block(0, 0, 2, 2, 0), block(0, 0, 2, 2, 1), repeats=repeats)
    assert animation(data).plays == plays
    assert animation(rewritten(data, format)).plays == plays


def test_more_plays_than_webp_can_store_become_endless() -> None:
    data = gif((2, 2), block(0, 0, 2, 2, 0), block(0, 0, 2, 2, 1), repeats=65535)
    assert animation(rewritten(data, Format.WEBP)).plays == 0
    assert animation(rewritten(data, Format.GIF)).plays == 65536


@pytest.mark.parametrize("source", ["GIF", "WEBP"])
@pytest.mark.parametrize("format", [Format.GIF, Format.WEBP])
def test_frames_and_durations_stay(source: str, format: Format) -> None:
    durations = [20, 150, 40, 1000]
    options: dict[str, Any] = {"lossless": True} if source == "WEBP" else {}
    data = pictures.animated(source, 4, duration=durations, loop=0, **options)
    result = rewritten(data, format)
    assert [milliseconds for _, milliseconds in animation(result).pictures()] == durations
    for one, other in zip(shown(data), shown(result), strict=True):
        difference = np.abs(np.asarray(one, float) - np.asarray(other, float))
        assert difference.mean() < 6
        assert (np.asarray(other)[..., 3] == 255).all()


def test_rounding_errors_of_gif_durations_do_not_add_up() -> None:
    data = pictures.animated("WEBP", 6, duration=33)
    times = durations(rewritten(data, Format.GIF))
    assert set(times) == {30, 40}
    assert abs(sum(times) - 6 * 33) <= 5


@pytest.mark.parametrize("milliseconds", [1, 4, 11, 16, 17, 19])
def test_frames_too_fast_for_gif_in_browsers_are_dropped(milliseconds: int) -> None:
    greys = [Image.new("RGB", (8, 8), (value, value, value)) for value in range(0, 240, 2)]
    moving = iter([(grey, milliseconds) for grey in greys])
    found = list(animation(write_animation(moving, len(greys), Format.GIF, None, 0)).pictures())
    assert sum(duration for _, duration in found) == pytest.approx(len(greys) * milliseconds, abs=5)
    now = 0
    for frame, duration in found:
        assert duration >= 20
        # The frame shown now is the one that is due now.
        assert abs(pixel(frame.picture, 0, 0)[0] // 2 - now / milliseconds) <= 20 / milliseconds + 1
        now += duration


def test_an_animation_too_short_for_browsers_becomes_its_first_frame() -> None:
    first, second = pictures.corners(9, 9), pictures.corners(9, 9).rotate(90)
    data = write_animation(iter([(first, 5), (second, 5)]), 2, Format.GIF, None, 0)
    assert probe(data, LIMITS).frames == 1
    assert decode(data, LIMITS).picture.tobytes() == first.tobytes()


@pytest.mark.parametrize("format", [Format.GIF, Format.WEBP])
def test_missing_durations_become_100_ms_as_in_browsers(format: Format) -> None:
    data = gif((2, 2), *(block(0, 0, 2, 2, number, hundredths=number) for number in range(3)))
    assert durations(rewritten(data, format)) == [100, 100, 20]


def test_a_frame_too_long_for_gif_gets_the_longest_duration() -> None:
    data = pictures.animated("WEBP", 3, duration=[70, 1_000_000, 70])
    assert durations(rewritten(data, Format.GIF)) == [70, 655_350, 70]


@pytest.mark.parametrize("format", [Format.GIF, Format.WEBP])
def test_transparent_pixels_stay_transparent_in_every_frame(format: Format) -> None:
    moving = []
    for step in range(4):
        frame = Image.new("RGBA", (60, 40), TRANSPARENT)
        ImageDraw.Draw(frame).rectangle((step * 10, 5, step * 10 + 15, 30), fill=COLOURS[step % 3])
        moving.append((frame, 100))
    data = write_animation(iter(moving), 4, format, 90, 0)
    for (drawn, _), seen in zip(moving, shown(data), strict=True):
        assert (np.asarray(drawn)[..., 3] == np.asarray(seen)[..., 3]).all()
        inside = np.asarray(drawn)[..., 3] == 255
        assert np.abs(np.asarray(drawn, float)[inside] - np.asarray(seen, float)[inside]).mean() < 12


def test_movement_on_a_transparent_background_is_exact() -> None:
    random = np.random.default_rng(7)
    moving = []
    for _ in range(40):
        frame = Image.new("RGBA", (24, 16), TRANSPARENT)
        for colour in COLOURS:
            left, top = (int(value) for value in random.integers(0, 20, 2))
            right, bottom = left + int(random.integers(0, 12)), top + int(random.integers(0, 8))
            ImageDraw.Draw(frame).rectangle((left, top, right, bottom), fill=colour)
        moving += [(frame, 50)] * int(random.integers(1, 3))
    data = write_animation(iter(moving), len(moving), Format.GIF, None, 0)
    assert durations(data) == [50] * len(moving)
    for (drawn, _), seen in zip(moving, shown(data), strict=True):
        assert drawn.tobytes() == seen.tobytes()


def test_a_padded_gif_holds_only_changed_pixels() -> None:
    ground = Image.new("RGBA", (120, 120), TRANSPARENT)
    ground.paste(pictures.photo(120, 80).quantize(200).convert("RGB"), (0, 20))
    moving = []
    for step in range(10):
        frame = ground.copy()
        ImageDraw.Draw(frame).rectangle((step * 10, 30, step * 10 + 8, 40), fill=RED)
        moving.append((frame, 100))
    single = len(pictures.gif(ground))
    assert len(write_animation(iter(moving), 10, Format.GIF, None, 0)) < 2 * single


def test_few_colours_stay_exact_in_gif() -> None:
    flat = pictures.corners(60, 40)
    data = write_animation(iter([(flat, 50), (flat.rotate(180), 50)]), 2, Format.GIF, None, 0)
    first, second = shown(data)
    assert first.convert("RGB").tobytes() == flat.tobytes()
    assert second.convert("RGB").tobytes() == flat.rotate(180).tobytes()


@pytest.mark.parametrize("alpha", [255, 0])
def test_a_photograph_keeps_its_colours_in_gif(alpha: int) -> None:
    frame = pictures.photo(300, 200)
    frame.putalpha(Image.new("L", frame.size, 255))
    frame.paste((0, 0, 0, alpha), (0, 0, 20, 20))
    drawn = frame if alpha == 0 else frame.convert("RGB")
    result, _ = shown(write_animation(iter([(drawn, 50), (drawn.rotate(180), 50)]), 2, Format.GIF, None, 0))
    difference = np.abs(np.asarray(frame, float) - np.asarray(result, float))[20:]
    # Choosing the 256 colours from all pixels gives a mean error of 6.5.
    assert difference[..., :3].mean() < 7
    assert difference[..., 3].max() == 0


def test_every_frame_is_converted_to_srgb_and_upright() -> None:
    frames = [Image.new("RGB", (6, 4), colour) for colour in ((200, 100, 100), (100, 200, 100))]
    options: dict[str, Any] = {"lossless": True, "icc_profile": pictures.display_p3(), "exif": pictures.exif(6)}
    data = pictures.webp(frames[0], save_all=True, append_images=frames[1:], **options)
    first, second = shown(data)
    assert first.size == second.size == (4, 6)
    assert pixel(first, 0, 0)[0] > 205
    assert pixel(second, 0, 0)[1] > 201


@pytest.mark.parametrize(
    "data", [pictures.gif(pictures.photo(9, 9)), pictures.animated("PNG"), pictures.jpeg(pictures.photo(9, 9))]
)
def test_a_still_image_is_not_an_animation(data: bytes) -> None:
    assert animation_of(data, LIMITS) is None


def test_damage_in_a_later_frame_is_found_at_ingest() -> None:
    whole = gif((4, 4), block(0, 0, 4, 4, 0), block(0, 0, 4, 4, 1))
    assert probe(whole, LIMITS).frames == 2
    lacking = whole.replace(block(0, 0, 4, 4, 1)[17:], b"\0\x02\x01\x2c\0")
    assert lacking != whole
    with pytest.raises(Unrenderable):
        probe(lacking, LIMITS)
    webp = bytearray(pictures.animated("WEBP", 3))
    at = webp.rindex(b"VP8 ")
    webp[at + 8 : at + 40] = bytes(32)
    with pytest.raises(PackshotError):
        probe(bytes(webp), LIMITS)


def test_alpha_of_a_later_frame_counts() -> None:
    data = gif((2, 1), block(0, 0, 2, 1, 0, disposal=2), block(0, 0, 1, 1, 1))
    assert decode(data, LIMITS).picture.mode == "RGB"
    assert probe(data, LIMITS).alpha


def test_frames_are_not_kept_in_memory() -> None:
    frames = animation(pictures.animated("WEBP", 5)).pictures()
    first, _ = next(frames)
    second, _ = next(frames)
    assert first.picture.tobytes() != second.picture.tobytes()


def test_too_many_pixels_in_all_frames_are_refused() -> None:
    data = pictures.animated("GIF", 3)
    with pytest.raises(TooLarge):
        animation_of(data, Limits(max_frames_pixels=3 * 64 * 48 - 1))


def scaled(format: Format, size: Size) -> Drawing:
    return Drawing(Box(0, 0, 64, 48), size, Box(0, 0, *size), format, 90, None)


@pytest.mark.parametrize("source", ["GIF", "WEBP"])
def test_variants_are_animated_in_webp_and_gif_only(source: str) -> None:
    data = pictures.animated(source, 3, loop=0)
    drawings = [scaled(format, Size(32, 24)) for format in Format]
    moving = 0
    for drawing, outcome in zip(drawings, render_all(data, drawings, LIMITS), strict=True):
        assert isinstance(outcome, Rendered)
        result = Image.open(BytesIO(outcome.data))
        assert result.size == (32, 24)
        if getattr(result, "n_frames", 1) == 1:
            continue
        moving += 1
        assert drawing.format in (Format.WEBP, Format.GIF)
        assert animation(outcome.data).plays == 0
        for (frame, milliseconds), seen in zip(animation(data).pictures(), shown(outcome.data), strict=True):
            assert milliseconds == 70
            small = frame.picture.convert("RGB").resize((32, 24), Image.Resampling.LANCZOS)
            assert np.abs(np.asarray(small, float) - np.asarray(seen.convert("RGB"), float)).mean() < 8
    assert moving == 2


def test_each_frame_is_cropped_placed_and_rounded_like_a_still_image() -> None:
    data = pictures.animated("GIF", 2)
    drawing = Drawing(Box(8, 8, 40, 40), Size(60, 40), Box(10, 0, 40, 40), Format.GIF, None, None, corner=8)
    (outcome,) = render_all(data, [drawing], LIMITS)
    assert isinstance(outcome, Rendered)
    frames = shown(outcome.data)
    assert len(frames) == 2
    for frame in frames:
        assert frame.size == (60, 40)
        assert pixel(frame, 2, 20)[3] == pixel(frame, 0, 0)[3] == 0
        assert pixel(frame, 30, 20)[3] == 255


def test_only_the_drawing_with_too_many_animated_pixels_is_refused() -> None:
    data = pictures.animated("WEBP", 3)
    limits = Limits(max_frames_pixels=3 * 64 * 48)
    large, small = render_all(data, [scaled(Format.WEBP, Size(128, 96)), scaled(Format.WEBP, Size(32, 24))], limits)
    assert isinstance(large, TooLarge)
    assert isinstance(small, Rendered)


def rewritten(data: bytes, format: Format) -> bytes:
    found = animation(data)

    def frames() -> Iterator[tuple[Image.Image, int]]:
        for frame, milliseconds in found.pictures():
            yield frame.shown(frame.picture), milliseconds

    result = write_animation(frames(), found.frames, format, 95, found.plays)
    assert Image.open(BytesIO(result)).format == format.value.upper()
    return result
