"""Blur, background and corners agree with a floating-point reference."""

import numpy as np
import pytest
from PIL import Image

from packshot.render.drawing.finish import blurred, on_background, opaque, rounded, without_idle_alpha
from tests.support import pictures, reference


def coverage(width: int, height: int, radius: int) -> np.ndarray:
    """Return the share of each pixel inside a rounded rectangle, estimated from 32 x 32 points."""
    points = 32
    x = np.abs((np.arange(width * points) + 0.5) / points - width / 2) - (width / 2 - radius)
    y = np.abs((np.arange(height * points) + 0.5) / points - height / 2) - (height / 2 - radius)
    inside = np.hypot(np.maximum(x, 0)[None, :], np.maximum(y, 0)[:, None]) <= radius
    return np.asarray(inside.reshape(height, points, width, points).mean(axis=(1, 3)))


def alpha(picture: Image.Image) -> np.ndarray:
    return np.asarray(picture.getchannel("A"), float)


@pytest.mark.parametrize("radius", [1, 2, 5, 20, 30])
@pytest.mark.parametrize(("width", "height"), [(60, 60), (61, 87), (120, 63)])
def test_the_alpha_of_a_corner_is_the_share_of_the_pixel_inside_it(width: int, height: int, radius: int) -> None:
    picture = rounded(pictures.photo(width, height), radius)
    assert np.abs(alpha(picture) / 255 - coverage(width, height, radius)).max() <= 1.5 / 255
    assert picture.convert("RGB").tobytes() == pictures.photo(width, height).tobytes()


def test_a_radius_beyond_half_of_the_shorter_side_gives_half_circles() -> None:
    wide = pictures.photo(91, 40)
    assert rounded(wide, 4000).tobytes() == rounded(wide, 20).tobytes()
    assert rounded(pictures.photo(1, 9), 3).mode == "RGB"


def test_corners_multiply_the_alpha_of_the_image() -> None:
    picture = pictures.photo(40, 40).convert("RGBA")
    picture.putalpha(100)
    before = picture.tobytes()
    assert np.abs(alpha(rounded(picture, 12)) - 100 * coverage(40, 40, 12)).max() <= 1.5
    assert picture.tobytes() == before  # other drawings share it


def test_large_corners_are_exact() -> None:
    mask = alpha(rounded(Image.new("RGB", (3000, 3000)), 1500))
    assert abs(mask.sum() / 255 - np.pi * 1500**2) < 50


@pytest.mark.parametrize("background", ["204060", "20406080", "20406000"])
def test_a_background_keeps_its_own_alpha(background: str) -> None:
    picture = Image.new("RGBA", (3, 1))
    picture.putdata([(250, 200, 150, 0), (250, 200, 150, 100), (250, 200, 150, 255)])
    result = np.asarray(on_background(picture, background), float)[0]
    colour = np.array([0x20, 0x40, 0x60], float)
    below = int(background[6:] or "ff", 16) / 255
    for pixel, own in zip(result, (0.0, 100 / 255, 1.0), strict=True):
        together = own + below * (1 - own)
        assert abs(pixel[3] - 255 * together) <= 1
        if together:
            expected = (np.array([250, 200, 150]) * own + colour * below * (1 - own)) / together
            assert np.abs(pixel[:3] - expected).max() <= 1.5


def test_an_opaque_image_covers_its_background() -> None:
    picture = pictures.photo(8, 8)
    assert on_background(picture, "204060") is picture
    assert opaque(picture, "204060") is picture


@pytest.mark.parametrize(
    ("background", "colour"),
    [(None, (255, 255, 255)), ("204060", (32, 64, 96)), ("20406080", (143, 159, 175)), ("00000000", (255, 255, 255))],
)
def test_flattening_shows_the_background_on_white(background: str | None, colour: tuple[int, int, int]) -> None:
    picture = Image.new("RGBA", (2, 1), (10, 20, 30, 0))
    picture.putpixel((1, 0), (10, 20, 30, 255))
    flat = opaque(picture, background)
    assert flat.mode == "RGB"
    assert np.abs(np.subtract(pictures.pixel(flat, (0, 0)), colour)).max() <= 1
    assert flat.getpixel((1, 0)) == (10, 20, 30)


def test_an_alpha_channel_of_opaque_pixels_is_dropped() -> None:
    assert without_idle_alpha(pictures.photo(4, 4).convert("RGBA")).mode == "RGB"
    assert without_idle_alpha(pictures.cutout(40, 40)).mode == "RGBA"


@pytest.mark.parametrize("deviation", [0.5, 1.0, 3.7, 12.0])
def test_blur_is_a_gaussian_of_that_deviation(deviation: float) -> None:
    picture = pictures.corners(120, 90)
    expected = reference.gaussian(np.asarray(picture), deviation)
    difference = np.abs(np.asarray(blurred(picture, deviation), float) - expected)
    # Pillow approximates the Gaussian by three box blurs.
    assert difference.mean() < 1.5
    assert difference.max() < 20


def test_no_blur_leaves_the_image_unchanged() -> None:
    picture = pictures.photo(8, 8)
    assert blurred(picture, 0.0) is picture


def test_hidden_colours_do_not_spread_by_blurring() -> None:
    pixels = np.asarray(blurred(pictures.cutout(100, 100), 4.0), int)
    seen = pixels[pixels[:, :, 3] > 32]
    assert seen[:, 0].min() > 230
    assert seen[:, 1].max() < 24
    assert 0 < pixels[50, 12, 3] < 255  # the edge itself is soft
