"""Animated GIF variants hold only changed pixels, keep their colours, and are about as large as the original."""

from io import BytesIO

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from packshot.geometry import Gravity, Mode, Size
from packshot.model import Format
from packshot.render.animation.animation import write_animation
from packshot.render.animation.gif_writer import write_gif
from packshot.render.drawing.pipeline import Rendered, render_all
from packshot.render.formats import gif
from packshot.render.limits import Limits
from packshot.variants.plan import Plan, drawing
from tests.support.pictures import photo

Frame = npt.NDArray[np.uint8]
RED, BLUE = (255, 0, 0), (0, 0, 255)


def noise(width: int, height: int, colours: int, *, seed: int = 1) -> Frame:
    """Draw pixels of `colours` colours, each different from its neighbours."""
    random = np.random.default_rng(seed)
    table = random.integers(0, 256, (colours, 3), dtype=np.uint8)
    return table[random.integers(0, colours, (height, width))]


def with_dots(still: Frame, frames: int) -> list[Frame]:
    """Move a red dot along the upper edge and a blue one along the lower edge. Their common box is the whole image."""
    drawn = []
    for step in range(frames):
        frame = still.copy()
        frame[2:10, 4 * step : 4 * step + 8] = RED
        frame[-10:-2, frame.shape[1] - 4 * step - 8 : frame.shape[1] - 4 * step] = BLUE
        drawn.append(frame)
    return drawn


def pictures_of(frames: list[Frame]) -> list[tuple[Image.Image, int]]:
    return [(Image.fromarray(frame), 100) for frame in frames]


def composed(data: bytes) -> list[Frame]:
    canvas = gif.layout(data, 1000, lambda size: None).canvas
    return [np.asarray(picture.convert("RGB")) for picture, _ in gif.composed(data, canvas)]


def scaled(data: bytes, width: int, height: int, format: Format = Format.GIF) -> bytes:
    found = gif.layout(data, 1000, lambda size: None).canvas
    plan = Plan(width, height, Mode.STRETCH, Gravity.CENTER, False, None, 80 if format is Format.WEBP else None, format)
    (outcome,) = render_all(data, [drawing(plan, found, None)], Limits())
    assert isinstance(outcome, Rendered), outcome
    return outcome.data


def lengths(data: bytes) -> list[int]:
    return [len(part.pixels) for part in gif.parts(data)]


def test_unchanged_pixels_between_distant_changes_are_omitted() -> None:
    frames = with_dots(noise(200, 150, 64), 20)
    data = write_gif(pictures_of(frames), 0)
    first, *others = lengths(data)
    assert sum(others) < first / 4
    assert all((got == want).all() for got, want in zip(composed(data), frames, strict=True))


@pytest.mark.slow
@pytest.mark.parametrize(("width", "height"), [(200, 150), (150, 112), (80, 60), (320, 240)])
def test_a_resized_variant_holds_only_changed_pixels(width: int, height: int) -> None:
    original = write_gif(pictures_of(with_dots(noise(200, 150, 64), 20)), 0)
    first, *others = lengths(scaled(original, width, height))
    assert sum(others) < first


def test_an_animated_webp_holds_only_changed_pixels() -> None:
    frames = with_dots(noise(200, 150, 64), 20)
    original = write_gif(pictures_of(frames), 0)
    moving, still = (scaled(one, 200, 150, Format.WEBP) for one in (original, write_gif(pictures_of(frames[:2]), 0)))
    assert len(moving) < 4 * len(still)


@pytest.mark.parametrize("colours", [2, 200, 255, 256])
def test_every_frame_of_a_table_keeps_its_colours(colours: int) -> None:
    frames = with_dots(noise(90, 70, colours), 4) if colours < 250 else [noise(90, 70, colours)] * 2
    frames += [noise(90, 70, colours, seed=seed) for seed in (2, 3)]
    data = write_gif(pictures_of(frames), 0)
    assert all((got == want).all() for got, want in zip(composed(data), frames, strict=True))


def test_frames_share_the_global_table_while_their_colours_fit() -> None:
    frames = [noise(40, 30, 100, seed=seed) for seed in (1, 2)] + [noise(40, 30, 100, seed=1)]
    parts = list(gif.parts(data := write_gif(pictures_of(frames), 0)))
    assert len({part.colours for part in parts}) == 1
    assert all((got == want).all() for got, want in zip(composed(data), frames, strict=True))
    more = [*frames, noise(40, 30, 200, seed=5), frames[0]]
    data = write_gif(pictures_of(more), 0)
    tables = [part.colours for part in gif.parts(data)]
    assert (tables[3] != tables[0], tables[4]) == (True, tables[0])
    assert all((got == want).all() for got, want in zip(composed(data), more, strict=True))


def test_a_small_new_object_keeps_its_colour() -> None:
    grey = np.asarray(photo(240, 180).convert("L").convert("RGB"))
    frames = [grey.copy() for _ in range(3)]
    frames[1][60:72, 60:72] = RED
    frames[2][100:112, 150:162] = (0, 200, 255)
    data = write_gif(pictures_of(frames), 0, keeps_exact=False)
    shown = composed(data)
    assert abs(shown[1][66, 66].astype(int) - RED).max() <= 8
    assert abs(shown[2][106, 156].astype(int) - (0, 200, 255)).max() <= 8


def test_large_areas_keep_their_exact_colour() -> None:
    flat = np.full((120, 160, 3), (253, 252, 247), np.uint8)
    frames = [flat.copy() for _ in range(3)]
    for step, frame in enumerate(frames):
        frame[30:90, 20 + 20 * step : 80 + 20 * step] = (17, 90, 201)
    data = scaled(write_gif(pictures_of(frames), 0), 107, 81)
    for frame in composed(data):
        assert tuple(frame[2, 2]) == (253, 252, 247)
    assert tuple(composed(data)[0][40, 30]) == (17, 90, 201)


@pytest.mark.slow
def test_photographs_look_alike_in_a_shared_table() -> None:
    large = photo(200, 140)
    frames = [large.crop((4 * step, 2 * step, 160 + 4 * step, 120 + 2 * step)) for step in range(8)]
    data = write_gif([(frame, 100) for frame in frames], 0, keeps_exact=False)
    for got, want in zip(composed(data), frames, strict=True):
        assert np.sqrt(((got.astype(float) - np.asarray(want)) ** 2).mean()) < 8


def test_slow_changes_are_drawn() -> None:
    frames = [np.full((40, 40, 3), value, np.uint8) for value in range(0, 250, 2)]
    frames = [np.where(np.indices((40, 40))[0][..., None] < 2, noise(40, 40, 300), frame) for frame in frames]
    data = write_gif(pictures_of(frames), 0, keeps_exact=False)
    for got, want in zip(composed(data), frames, strict=True):
        assert abs(got[20:].astype(int) - want[20:]).max() <= 12


def test_transparent_pixels_and_unchanged_frames_stay() -> None:
    clear = Image.new("RGBA", (60, 50), (0, 0, 0, 0))
    disc = photo(20, 20).convert("RGBA")
    frames = []
    for left, top in ((0, 0), (10, 5), (10, 5), (40, 30)):
        frame = clear.copy()
        frame.paste(disc, (left, top))
        frames.append(frame)
    frames.append(clear)
    for keeps_exact in (True, False):
        data = write_animation(
            iter([(frame, 100) for frame in [clear, *frames]]), 6, Format.GIF, None, 1, keeps_exact=keeps_exact
        )
        shown = [picture for picture, _ in gif.composed(data, Size(60, 50))]
        assert len(shown) == 6
        for got, want in zip(shown, [clear, *frames], strict=True):
            assert (np.asarray(got)[..., 3] == np.asarray(want)[..., 3]).all()


def test_the_same_frames_give_the_same_bytes() -> None:
    frames = [(photo(120, 90, seed=seed), 100) for seed in range(3)]
    assert write_gif(frames, 0, keeps_exact=False) == write_gif(frames, 0, keeps_exact=False)


def test_pillow_and_browsers_read_written_files_alike() -> None:
    frames = with_dots(noise(60, 40, 30), 5)
    with Image.open(BytesIO(write_gif(pictures_of(frames), 3))) as image:
        assert (image.n_frames, image.info["loop"]) == (5, 2)  # type: ignore[attr-defined]
        for number, want in enumerate(frames):
            image.seek(number)
            assert (np.asarray(image.convert("RGB")) == want).all()
