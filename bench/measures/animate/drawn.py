"""Animations of the common kinds, drawn the same in every run."""

from collections.abc import Callable, Iterator
from io import BytesIO

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from packshot.render.animation.gif_writer import write_gif
from tests.support.pictures import noise, photo

_UNDITHERED, _DITHERED = Image.Dither.NONE, Image.Dither.FLOYDSTEINBERG


def drawn() -> Iterator[tuple[str, bytes]]:
    """Yield the name and the file of each animation."""
    for make in (_two_dots, _ticker, _cursor, _cartoon, _sticker, _video, _video_of_one_table, _crossfade, _gradient):
        yield make.__name__.removeprefix("_").replace("_", " "), make()


def _saved(frames: list[Image.Image], **options: object) -> bytes:
    file = BytesIO()
    first, *others = frames
    first.save(file, "GIF", save_all=True, append_images=others, loop=0, duration=70, **options)
    return file.getvalue()


def _steps(frames: int, draw: Callable[[ImageDraw.ImageDraw, int], None], still: Image.Image) -> list[Image.Image]:
    drawn = []
    for step in range(frames):
        frame = still.copy()
        draw(ImageDraw.Draw(frame), step)
        drawn.append(frame)
    return drawn


def _two_dots() -> bytes:
    def draw(on: ImageDraw.ImageDraw, step: int) -> None:
        on.rectangle((step, 2, step + 8, 10), fill=(255, 0, 0))
        on.rectangle((390 - step, 288, 398 - step, 296), fill=(0, 0, 255))

    still = noise(400, 300).quantize(64).convert("RGB")
    return write_gif(((frame, 100) for frame in _steps(40, draw, still)), 0)


def _ticker() -> bytes:
    font = ImageFont.load_default(24)

    def draw(on: ImageDraw.ImageDraw, step: int) -> None:
        on.rectangle((0, 130, 999, 174), fill=(180, 20, 20))
        on.text(
            (1000 - 4 * step, 138), "all is well in the valley, more at ten o'clock", font=font, fill=(255, 255, 255)
        )
        on.text((880, 20), f"{step // 10:02}:{step % 10}", font=font, fill=(255, 240, 0))

    rows = np.linspace((20, 40, 90), (60, 80, 140), 1000).astype(np.uint8)
    frames = _steps(259, draw, Image.fromarray(np.broadcast_to(rows, (175, 1000, 3)).copy()))
    table = frames[0].quantize(160)
    return _saved([frame.quantize(palette=table, dither=_UNDITHERED) for frame in frames])


def _cursor() -> bytes:
    def draw(on: ImageDraw.ImageDraw, step: int) -> None:
        on.ellipse((5 * step, 100, 5 * step + 20, 120), fill=7)
        on.rectangle((460 - 3 * step, 300, 470 - 3 * step, 310), fill=200)

    return _saved(_steps(40, draw, photo(480, 320, seed=4).quantize(255, dither=_DITHERED)))


def _cartoon() -> bytes:
    def draw(on: ImageDraw.ImageDraw, step: int) -> None:
        on.rectangle((0, 220, 400, 300), fill=(60, 160, 60))
        on.ellipse((10 * step, 40, 10 * step + 60, 100), fill=(255, 255, 255))
        on.polygon([(200, 120), (120, 220), (280, 220)], fill=(160, 60, 40))

    frames = _steps(30, draw, Image.new("RGB", (400, 300), (160, 200, 240)))
    return _saved([frame.quantize(64) for frame in frames])


def _sticker() -> bytes:
    def draw(on: ImageDraw.ImageDraw, step: int) -> None:
        on.ellipse((40 + 4 * step, 60, 140 + 4 * step, 160), fill=(250, 200, 40), outline=(90, 60, 0), width=4)

    return _saved(_steps(24, draw, Image.new("RGBA", (240, 240), (0, 0, 0, 0))), disposal=2)


def _pan() -> list[Image.Image]:
    large = photo(520, 360)
    return [large.crop((3 * step, 2 * step, 320 + 3 * step, 240 + 2 * step)) for step in range(40)]


def _video() -> bytes:
    return _saved([frame.quantize(256, dither=_DITHERED) for frame in _pan()])


def _video_of_one_table() -> bytes:
    table = photo(520, 360).quantize(256)
    return _saved([frame.quantize(palette=table, dither=_DITHERED) for frame in _pan()])


def _crossfade() -> bytes:
    one, other = photo(320, 240, seed=6), photo(320, 240, seed=7)
    return _saved([Image.blend(one, other, step / 23).quantize(256) for step in range(24)])


def _gradient() -> bytes:
    rows, columns = np.mgrid[0:200, 0:300]
    return _saved([Image.fromarray(((rows + columns + 6 * step) % 256).astype(np.uint8)) for step in range(30)])
