"""Fit modes agree with ImageMagick in size and appearance.

Clients of live resize come from a service that draws with ImageMagick.
"""

import os
import subprocess
from collections.abc import Iterator
from functools import cache
from io import BytesIO
from itertools import product
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageFilter

from packshot.geometry import Gravity, Mode, Size
from packshot.render.drawing.pipeline import Rendered, render_all
from packshot.render.limits import Limits
from packshot.variants.live_request import parse_live_request
from packshot.variants.request import FormatChoice, RequestForm
from packshot.variants.resolve import resolve
from tests.support.pictures import cutout, photo, png
from tests.support.reference import ssim
from tests.variants.samples import original, pack_location, snapshot

LIKE = 0.97
LIMIT = Size(4096, 4096)

_CENTRED = ("-gravity", "center")
# ImageMagick's arguments for each mode; {box} is the requested size.
COMMANDS = {
    Mode.CLIP: ("-resize", "{box}"),
    Mode.COVER: ("-resize", "{box}^"),
    Mode.STRETCH: ("-resize", "{box}!"),
    Mode.CROP: ("-resize", "{box}^", *_CENTRED, "-crop", "{box}+0+0", "+repage"),
    Mode.CANVAS: ("-resize", "{box}", "-background", "white", *_CENTRED, "-extent", "{box}"),
    Mode.INCLUDE_ALL: ("-resize", "{box}", "-background", "none", *_CENTRED, "-extent", "{box}"),
}
# Sizes and boxes whose halves and thirds are whole numbers, so that no edge falls between two pixels.
EXACT = {
    Size(480, 240): [Size(120, 120), Size(120, 30), Size(720, 180)],
    Size(120, 240): [Size(60, 60), Size(360, 240)],
}
# Sizes and boxes that leave a fraction of a pixel on either side, which both programs round differently.
ODD = [Size(240, 100), Size(101, 205), Size(128, 128), Size(167, 125), Size(160, 20)]
BOXES = [Size(60, 45), Size(39, 65), Size(175, 172), Size(150, 150)]


@cache
def magick() -> str | None:
    """Return the path of ImageMagick, even if another `convert` comes first in PATH."""
    for folder in os.get_exec_path():
        for name in ("magick", "convert", "convert-im6.q16"):
            path = Path(folder, name)
            if not os.access(path, os.X_OK):
                continue
            said = subprocess.run([path, "-version"], capture_output=True, text=True, check=False).stdout
            if said.startswith("Version: ImageMagick"):
                return str(path)
    return None


needs_magick = pytest.mark.skipif(magick() is None, reason="ImageMagick is not installed: apt-get install imagemagick")


def theirs(data: bytes, mode: Mode, box: Size) -> Image.Image:
    words = [word.replace("{box}", f"{box.width}x{box.height}") for word in COMMANDS[mode]]
    command = [str(magick()), "-filter", "Lanczos", "png:-", *words, "png32:-"]
    done = subprocess.run(command, input=data, capture_output=True, check=True)
    return Image.open(BytesIO(done.stdout)).convert("RGBA")


def ours(data: bytes, size: Size, mode: Mode, box: Size, *, alpha: bool) -> Image.Image:
    snap = snapshot(pack_location("main", original=original("a", *size, format="png", alpha=alpha)))
    form = RequestForm(
        width=box.width,
        height=box.height,
        resize_mode=mode,
        resize_gravity=Gravity.CENTER,
        format=FormatChoice.PNG,
    )
    target = resolve(snap, form, limit=LIMIT, upscale=True)
    (rendered,) = render_all(data, [target.drawing], Limits())
    assert isinstance(rendered, Rendered)
    return Image.open(BytesIO(rendered.data)).convert("RGBA")


def on_grey(picture: Image.Image) -> np.ndarray:
    """Return an image on grey, so that all transparent pixels have one colour."""
    return np.asarray(Image.alpha_composite(Image.new("RGBA", picture.size, (90, 90, 90, 255)), picture), float)


def assert_alike(data: bytes, size: Size, mode: Mode, box: Size, *, alpha: bool = False, off: int = 0) -> None:
    """Compare both results. Padded images may be shifted by `off` pixels."""
    drawn, other = ours(data, size, mode, box, alpha=alpha), theirs(data, mode, box)
    assert drawn.size == other.size, (size, box)
    # SSIM has a window of 11 pixels.
    if min(drawn.size) >= 11 + 2 * off:
        assert any(ssim(*pair) >= LIKE for pair in shifted(on_grey(drawn), on_grey(other), off)), (size, box)


def shifted(one: np.ndarray, other: np.ndarray, most: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield the overlap of two images, one of them shifted by up to `most` pixels each way."""
    height, width = one.shape[:2]
    inner = other[most : height - most, most : width - most]
    steps = sorted(range(2 * most + 1), key=lambda step: abs(step - most))
    for down, across in product(steps, repeat=2):
        yield one[down : height - 2 * most + down, across : width - 2 * most + across], inner


@needs_magick
@pytest.mark.parametrize("mode", COMMANDS)
def test_fit_modes_agree_with_imagemagick_to_the_pixel(mode: Mode) -> None:
    for size, boxes in EXACT.items():
        for box in boxes:
            assert_alike(png(photo(*size)), size, mode, box)


@needs_magick
@pytest.mark.parametrize("mode", COMMANDS)
def test_fit_modes_agree_with_imagemagick_where_half_a_pixel_is_left(mode: Mode) -> None:
    for size in ODD:
        # Blurred, because noise looks different when it is shifted by half a pixel.
        data = png(photo(*size).filter(ImageFilter.GaussianBlur(3)))
        for box in BOXES:
            assert_alike(data, size, mode, box, off=1 if mode.pads else 0)


@needs_magick
@pytest.mark.parametrize("mode", COMMANDS)
def test_transparent_images_agree_with_imagemagick(mode: Mode) -> None:
    for box in EXACT[Size(480, 240)]:
        assert_alike(png(cutout(480, 240)), Size(480, 240), mode, box, alpha=True)


@needs_magick
def test_the_slight_blur_of_live_urls_agrees_with_imagemagick() -> None:
    data, size = png(photo(240, 160)), Size(240, 160)
    snap = snapshot(pack_location("main", original=original("a", *size, format="png")))
    form = parse_live_request("a_240_160.png", "blur=true").request
    (rendered,) = render_all(data, [resolve(snap, form, limit=LIMIT, upscale=True).drawing], Limits())
    assert isinstance(rendered, Rendered)
    command = [str(magick()), "png:-", "-blur", "15x7", "png32:-"]
    done = subprocess.run(command, input=data, capture_output=True, check=True)
    mine, other = (Image.open(BytesIO(bytes)).convert("RGBA") for bytes in (rendered.data, done.stdout))
    assert ssim(on_grey(mine), on_grey(other)) >= LIKE
