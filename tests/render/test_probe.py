"""What the catalog is told of an original."""

import pytest
from PIL import Image

from packshot.errors import Unrenderable
from packshot.render.limits import Limits
from packshot.render.probe import Facts, dominant_color, probe
from tests import pictures

LIMITS = Limits()


def test_the_facts_are_of_the_upright_picture() -> None:
    stored = pictures.turned(pictures.corners(61, 40), 6)
    facts = probe(pictures.jpeg(stored, exif=pictures.exif(6)), LIMITS)
    assert facts == Facts(61, 40, "jpeg", False, 1, None, facts.dominant_color)


def test_an_alpha_channel_without_a_transparent_pixel_is_no_alpha() -> None:
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


def test_what_cannot_be_seen_has_no_dominant_colour() -> None:
    assert dominant_color(pictures.cutout(64, 64)) == "#ff0000"
    assert dominant_color(Image.new("RGBA", (5, 5), (9, 9, 9, 0))) is None


@pytest.mark.parametrize("encode", [pictures.jpeg, pictures.png, pictures.webp, pictures.avif])
def test_a_truncated_original_is_found_out_at_once(encode: pictures.Encoder) -> None:
    data = encode(pictures.photo(200, 150))
    with pytest.raises(Unrenderable):
        probe(data[: len(data) * 2 // 3], LIMITS)
