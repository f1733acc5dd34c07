"""A damaged file yields an image or a refusal, never another error."""

import os
import random
import time

import pytest
from PIL import Image

from packshot.errors import PackshotError
from packshot.geometry import Box, Size
from packshot.model import Format
from packshot.render.drawing.pipeline import Rendered, render_all
from packshot.render.limits import Limits
from packshot.variants.plan import Drawing
from tests.support import pictures

SMALL = Drawing(Box(0, 0, 8, 8), Size(4, 4), Box(0, 0, 4, 4), Format.PNG, None, None)
# A changed header may announce a far larger image, which other tests cover.
LIMITS = Limits(max_pixels=4_000_000)
EXTRAS: dict[str, object] = {"exif": pictures.exif(6), "icc_profile": pictures.display_p3()}
WHOLE = {
    "jpeg": pictures.jpeg(pictures.photo(64, 48), **EXTRAS),
    "progressive jpeg": pictures.jpeg(pictures.photo(64, 48), progressive=True, **EXTRAS),
    "cmyk jpeg": pictures.jpeg(pictures.photo(64, 48).convert("CMYK"), icc_profile=pictures.grey_inks()),
    "png": pictures.png(pictures.cutout(64, 48), **EXTRAS),
    "palette png": pictures.png(pictures.photo(64, 48).quantize(16), transparency=3),
    "webp": pictures.webp(pictures.cutout(64, 48), **EXTRAS),
    "lossy webp": pictures.webp(pictures.photo(64, 48), lossless=False),
    "avif": pictures.avif(pictures.cutout(64, 48), **EXTRAS),
    "gif": pictures.gif(pictures.photo(64, 48)),
    "animated gif": pictures.animated("GIF"),
    "animated webp": pictures.animated("WEBP"),
    "animated png": pictures.animated("PNG"),
    "tiff": pictures.tiff(pictures.photo(64, 48), icc_profile=pictures.display_p3()),
    "lzw tiff": pictures.tiff(pictures.photo(64, 48), compression="tiff_lzw"),
    "jpeg tiff": pictures.tiff(pictures.photo(64, 48), compression="jpeg"),
    "float tiff": pictures.tiff(pictures.photo(64, 48).convert("F")),
    "lab tiff": pictures.tiff(Image.frombytes("LAB", (64, 48), pictures.photo(64, 48).tobytes())),
    "bmp": pictures.bmp(pictures.photo(64, 48)),
    "palette bmp": pictures.bmp(pictures.photo(64, 48).quantize(16)),
    "heic": pictures.heic(pictures.photo(64, 48), exif=pictures.exif(6)),
}
# 2,000 files in all; PACKSHOT_MUTATIONS=1000 takes two minutes.
EACH = int(os.environ.get("PACKSHOT_MUTATIONS", "100"))
# Much more than any of these files needs.
SECONDS = 5.0


def mutated(data: bytes, seed: int) -> bytes:
    """Change, flip, remove, repeat or overwrite a few bytes, more often near the beginning."""
    chance = random.Random(seed)  # noqa: S311
    changed = bytearray(data)
    for _ in range(chance.randint(1, 8)):
        at = min(int(chance.random() ** 2 * len(changed)), len(changed) - 1)
        match chance.randrange(5):
            case 0:
                changed[at] = chance.randrange(256)
            case 1:
                changed[at] ^= 1 << chance.randrange(8)
            case 2:
                del changed[at : at + chance.randint(1, 16)]
            case 3:
                changed[at:at] = changed[at : at + chance.randint(1, 16)]
            case _:
                changed[at : at + 4] = chance.choice((b"\0\0\0\0", b"\xff\xff\xff\xff", b"\x7f\xff\xff\xff"))
        if not changed:
            break
    return bytes(changed)


@pytest.mark.slow
@pytest.mark.parametrize("kind", WHOLE)
def test_a_damaged_file_yields_an_image_or_a_refusal(kind: str) -> None:
    for seed in range(EACH):
        started = time.monotonic()
        (outcome,) = render_all(mutated(WHOLE[kind], seed), [SMALL], LIMITS)
        assert time.monotonic() - started < SECONDS
        assert isinstance(outcome, Rendered | PackshotError)
        if isinstance(outcome, PackshotError):
            assert outcome.got is not None


def test_undamaged_files_are_accepted() -> None:
    for data in WHOLE.values():
        (outcome,) = render_all(data, [SMALL], LIMITS)
        assert isinstance(outcome, Rendered)
