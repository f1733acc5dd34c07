"""The facts that are measured of an original."""

from base64 import b64decode

import pytest
from PIL import Image

from packshot.errors import Unrenderable
from packshot.render.drawing.probe import Facts, dominant_color, probe
from packshot.render.drawing.thumbhash import thumbhash
from packshot.render.limits import Limits
from tests.support import pictures

LIMITS = Limits()


def test_facts_describe_the_upright_image() -> None:
    stored = pictures.turned(pictures.corners(61, 40), 6)
    facts = probe(pictures.jpeg(stored, exif=pictures.exif(6)), LIMITS)
    assert facts == Facts(61, 40, "jpeg", False, 1, facts.thumbhash, facts.dominant_color, 95)
    turned = probe(pictures.png(stored, exif=pictures.exif(6)), LIMITS)
    assert turned.thumbhash == probe(pictures.png(pictures.corners(61, 40)), LIMITS).thumbhash


@pytest.mark.parametrize("size", [(300, 200), (200, 300), (40, 40), (1, 1), (400, 1)])
@pytest.mark.parametrize("mode", ["RGB", "RGBA"])
def test_the_thumbhash_shows_the_ratio_and_the_average_colour(size: tuple[int, int], mode: str) -> None:
    picture = Image.new(mode, size, (210, 120, 40, 255)[: len(mode)])
    if mode == "RGBA":
        picture.paste((210, 120, 40, 0), (0, 0, size[0] // 2, size[1]))
    given = probe(pictures.png(picture), LIMITS).thumbhash
    assert given is not None
    shape, colour = decoded_thumbhash(b64decode(given))
    assert max(abs(one - other) for one, other in zip(colour, (210, 120, 40), strict=True)) <= 8
    assert shape[0] >= shape[1] if size[0] > size[1] else shape[0] <= shape[1]


def decoded_thumbhash(data: bytes) -> tuple[tuple[int, int], tuple[float, float, float]]:
    """Read the number of waves on each side and the average colour, as a browser does."""
    head, sides = int.from_bytes(data[:3], "little"), int.from_bytes(data[3:5], "little")
    light, yellow, red = (head & 63) / 63, (head >> 6 & 63) / 31.5 - 1, (head >> 12 & 63) / 31.5 - 1
    most, least = 5 if head >> 23 else 7, sides & 7
    blue = light - 2 / 3 * yellow
    colour_red = (3 * light - blue + red) / 2
    shape = (most, least) if sides >> 15 else (least, most)
    return shape, (colour_red * 255, (colour_red - red) * 255, blue * 255)


@pytest.mark.parametrize(
    ("size", "mode", "expected"),
    [
        ((20, 10), "RGB", "1fe8052488c9afa7fb6c737a4467f5d7c867cf"),
        ((20, 10), "RGBA", "63d885138418beaefb8d7af3d7d768cff78efc3e897376"),
        ((10, 20), "RGB", "61080a1c047a68aae75f3d64866779676fb9f4"),
        ((10, 20), "RGBA", "6708861302188b95cacf7488586fb7f57a68a579fee562"),
        ((30, 30), "RGB", "20f8050f06ba789777b779caafa55a927688e7cf505d9700"),
        ((30, 30), "RGBA", "24e885050218af8875a8daaf9bf80df66509b97777a8aa9f8b"),
    ],
)
def test_the_thumbhash_equals_that_of_the_reference_code(size: tuple[int, int], mode: str, expected: str) -> None:
    # The expected bytes come from the author's Rust crate.
    picture = pictures.photo(*size)
    if mode == "RGBA":
        picture.putalpha(pictures.photo(*size, seed=2).convert("L"))
    assert thumbhash(picture).hex() == expected


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_the_quality_of_a_libjpeg_file_is_recognised(mode: str) -> None:
    picture = pictures.photo(16, 16).convert(mode)
    found = [probe(pictures.jpeg(picture, quality=quality), LIMITS).quality for quality in range(1, 101)]
    assert found == list(range(1, 101))


def test_other_tables_give_the_nearest_quality() -> None:
    picture = pictures.photo(16, 16)
    presets = ("web_low", "web_medium", "web_high", "web_very_high", "web_maximum")
    found = [probe(pictures.jpeg(picture, quality=preset), LIMITS).quality for preset in presets]
    assert found == sorted(found, key=lambda quality: quality or 0)
    assert found[0] in range(40, 66)
    assert found[-1] in range(95, 101)
    assert probe(pictures.png(picture), LIMITS).quality is None


def test_an_alpha_channel_of_opaque_pixels_does_not_count() -> None:
    opaque = pictures.corners(40, 30).convert("RGBA")
    assert not probe(pictures.png(opaque), LIMITS).alpha
    opaque.putpixel((39, 29), (0, 0, 0, 254))
    assert probe(pictures.png(opaque), LIMITS).alpha


def test_the_frames_of_an_animation_are_counted() -> None:
    frames = [pictures.photo(20, 20, seed=seed) for seed in range(4)]
    data = pictures.webp(frames[0], save_all=True, append_images=frames[1:])
    assert probe(data, LIMITS).frames == 4


def test_the_dominant_colour_is_the_most_common_and_not_the_mean() -> None:
    picture = Image.new("RGB", (100, 100), (250, 10, 10))
    picture.paste((10, 10, 250), (0, 0, 40, 100))
    assert dominant_color(picture) == "#fa0a0a"


def test_transparent_pixels_have_no_dominant_colour() -> None:
    assert dominant_color(pictures.cutout(64, 64)) == "#ff0000"
    assert dominant_color(Image.new("RGBA", (5, 5), (9, 9, 9, 0))) is None


@pytest.mark.parametrize("encode", [pictures.jpeg, pictures.png, pictures.webp, pictures.avif])
def test_a_truncated_original_is_refused_at_once(encode: pictures.Encoder) -> None:
    data = encode(pictures.photo(200, 150))
    with pytest.raises(Unrenderable):
        probe(data[: len(data) * 2 // 3], LIMITS)
