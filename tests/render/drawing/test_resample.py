"""Resampling agrees with a floating-point reference, shifts nothing, and does not depend on other drawings."""

from importlib.util import find_spec

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from packshot.errors import Unrenderable
from packshot.geometry import Box, Size
from packshot.render.decoding.decode import Decoded
from packshot.render.drawing import resample
from packshot.render.drawing.resample import Levels, level_factor, levels_of
from packshot.render.limits import Limits
from tests.support import pictures, reference

LIMITS = Limits()
SOURCE = Size(601, 453)
PHOTO = pictures.photo(*SOURCE)
# From levels 1, 1, 2, 4 and 8, and enlarged.
SIZES = [Size(500, 377), Size(301, 227), Size(150, 113), Size(75, 56), Size(45, 33), Size(640, 481)]

HAS_SIMD = find_spec("cykooz_resizer") is not None


@pytest.fixture(params=["SIMD", "Pillow"])
def _sampler(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.param == "Pillow":
        monkeypatch.setattr(resample, "Resizer", None)
    elif not HAS_SIMD:
        pytest.skip("this platform has no wheel of cykooz-resizer")


def levels_over(picture: Image.Image) -> Levels:
    return Levels(lambda: Decoded(picture, None))


def weighted(picture: Image.Image) -> np.ndarray:
    pixels = np.asarray(picture, float)
    return np.asarray(pixels[:, :, :3] * pixels[:, :, 3:] / 255)


@pytest.mark.usefixtures("_sampler")
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("box", [Box(0, 0, *SOURCE), Box(37, 21, 551, 414)], ids=["whole", "part"])
@pytest.mark.parametrize("source_format", ["png", "jpeg"])
def test_resampling_agrees_with_lanczos_in_floating_point(source_format: str, box: Box, size: Size) -> None:
    original = getattr(pictures, source_format)(PHOTO)
    levels = levels_of(original, LIMITS)
    sampled = levels.sample(box, size)
    assert sampled.size == size
    expected = reference.lanczos(np.asarray(levels.at(1).picture), box, size)
    assert reference.ssim(np.asarray(sampled), expected) >= 0.99
    assert np.abs(np.asarray(sampled, float) - expected).mean() < 2


@pytest.mark.usefixtures("_sampler")
@pytest.mark.parametrize("size", [Size(110, 1501), Size(75, 901), Size(30, 430), Size(15, 203)])
def test_a_tall_cutout_is_sampled_without_seams_or_hidden_colours(size: Size) -> None:
    cutout = pictures.cutout(151, 1803)
    sampled = levels_over(cutout).sample(Box(0, 0, 151, 1803), size)
    assert sampled.mode == "RGBA"
    expected = reference.lanczos(weighted(cutout), Box(0, 0, 151, 1803), size)
    assert reference.ssim(weighted(sampled), expected) >= 0.99
    pixels = np.asarray(sampled, int)
    assert pixels[pixels[:, :, 3] > 32][:, 1].max() < 16  # the hidden green


@pytest.mark.skipif(not HAS_SIMD, reason="this platform has no wheel of cykooz-resizer")
def test_the_pixels_are_the_same_with_every_instruction_set(monkeypatch: pytest.MonkeyPatch) -> None:
    from cykooz_resizer import CpuExtensions, Resizer

    picture = pictures.photo(301, 203)
    results = set()
    for extensions in CpuExtensions:
        resizer = Resizer()
        try:
            resizer.cpu_extensions = extensions
        except ValueError:
            continue  # from another kind of processor
        monkeypatch.setattr(resample, "Resizer", lambda resizer=resizer: resizer)
        results.add(resample.lanczos(picture, (0.5, 0.0, 300.25, 203.0), Size(119, 83)).tobytes())
    assert len(results) == 1


def test_both_resamplers_agree_except_for_rounding_between_passes(monkeypatch: pytest.MonkeyPatch) -> None:
    picture = pictures.photo(301, 203)
    edges = (3.5, 0.0, 300.25, 203.0)
    usual = np.asarray(resample.lanczos(picture, edges, Size(119, 83)), int)
    monkeypatch.setattr(resample, "Resizer", None)
    difference = np.abs(usual - np.asarray(resample.lanczos(picture, edges, Size(119, 83)), int))
    assert difference.mean() < 0.3
    assert difference.max() <= 16  # where an overshoot is clipped between the passes


sides = st.integers(1, 5000)
sizes = st.builds(Size, sides, sides)


@given(sizes, sizes)
def test_the_level_is_the_smallest_that_is_1_6_times_as_large(box: Size, size: Size) -> None:
    factor = level_factor(box, size)
    scale = min(box.width / size.width, box.height / size.height)
    assert factor == 1 or scale / factor >= 1.6 - 1e-9
    assert scale / (2 * factor) < 1.6 + 1e-9


@given(sizes, sizes)
def test_the_level_is_the_same_for_a_rotated_original(box: Size, size: Size) -> None:
    assert level_factor(box, size) == level_factor(Size(*reversed(box)), Size(*reversed(size)))


def noted(decoded: Decoded, calls: list[Decoded]) -> Decoded:
    """Return a function that decodes and notes the call."""
    calls.append(decoded)
    return decoded


@pytest.mark.parametrize("source_format", ["png", "jpeg"])
def test_an_original_is_decoded_only_as_far_as_needed(source_format: str) -> None:
    whole = Decoded(pictures.photo(400, 300), None)
    half = Decoded(whole.picture.reduce(2), None, Size(400, 300))
    calls: list[Decoded] = []
    levels = Levels(lambda: noted(whole, calls), (lambda: noted(half, calls)) if source_format == "jpeg" else None)
    for _ in range(2):
        levels.sample(Box(0, 0, 400, 300), Size(40, 30))
        levels.sample(Box(0, 0, 400, 300), Size(100, 75))
    assert levels.size == Size(400, 300)
    assert calls == ([half] if source_format == "jpeg" else [whole])


def test_a_level_is_kept_while_further_levels_need_it() -> None:
    whole = Decoded(pictures.photo(400, 300), None)
    calls: list[Decoded] = []
    levels = Levels(lambda: noted(whole, calls))
    levels.sample(Box(0, 0, 400, 300), Size(300, 225))
    levels.release([8])
    levels.sample(Box(0, 0, 400, 300), Size(30, 23))
    assert calls == [whole]
    levels.release([8])
    levels.sample(Box(0, 0, 400, 300), Size(300, 225))
    assert calls == [whole, whole]


@pytest.mark.parametrize("orientation", [1, 6])
@pytest.mark.parametrize(
    ("size", "expected"), [((1201, 903), (256, 192)), ((100, 300), (85, 256)), ((61, 40), (61, 40))]
)
def test_a_preview_is_small_upright_and_never_enlarged(
    orientation: int, size: tuple[int, int], expected: tuple[int, int]
) -> None:
    stored = pictures.turned(pictures.corners(*size), orientation)
    preview = levels_of(pictures.jpeg(stored, exif=pictures.exif(orientation)), LIMITS).preview
    assert preview.size == expected
    assert np.abs(np.subtract(pictures.pixel(preview, (2, 2)), pictures.RED)).max() < 30


def test_a_box_beyond_the_original_is_refused() -> None:
    with pytest.raises(Unrenderable):
        levels_over(pictures.photo(40, 30)).sample(Box(30, 0, 20, 30), Size(10, 15))
