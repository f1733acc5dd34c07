"""Encode a finished image. The result is the same on every machine."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from io import BytesIO
from typing import Any

from PIL import Image, ImageFile

from packshot.errors import Unrenderable
from packshot.geometry import Size
from packshot.model import Format
from packshot.render.animation.gif_colours import with_sampled_colours
from packshot.render.damage import refused_if_unwritable

# The longest side in pixels that each format allows.
_LONGEST = {
    Format.JPEG: 65_535,
    Format.WEBP: 16_383,
    Format.AVIF: 65_535,
    Format.PNG: 1_000_000,
    Format.GIF: 65_535,
}

# From this quality on, chroma is not subsampled, because such clients want sharp coloured edges.
_FULL_COLOUR_FROM = 90


# For images with a transparent background, alpha differs by 0.01 of 255 on average, and by at most 18.
_NEARLY_LOSSLESS_ALPHA = {"alpha:cq-level": "10"}


def encode(
    picture: Image.Image, format: Format, quality: int | None, exif: bytes | None = None, *, quick: bool = False
) -> bytes:
    """Encode an image without metadata other than `exif`.

    Args:
        picture: mode RGB, or RGBA if the format has alpha.
        quality: 0 to 100; ignored by PNG and GIF. None means 80.
        exif: EXIF to write into the file; ignored by GIF.
        quick: encode faster. A GIF takes its colours from a sample of the pixels, the alpha of an AVIF is lossy, and
        a WebP
            becomes a few percent larger. Ignored by other formats.

    Raises:
        Unrenderable: the format cannot hold an image of that size, or the encoder fails.
        MemoryError: the process has too little memory.
    """
    assert picture.mode == "RGB" or (picture.mode == "RGBA" and format.has_alpha)
    check_sides(Size(*picture.size), format)
    with refused_if_unwritable("The image cannot be encoded."), _room(picture, format):
        file = BytesIO()
        options = _OPTIONS[format](quality if quality is not None else 80)
        if exif is not None and format is not Format.GIF:
            options["exif"] = exif
        if quick and format is Format.GIF and picture.mode == "RGB":
            picture = with_sampled_colours(picture, 256)
        elif quick and format is Format.AVIF:
            options["advanced"] = _NEARLY_LOSSLESS_ALPHA
        elif quick and format is Format.WEBP:
            options["method"] = 2
        picture.save(file, format.value, **options)
        return file.getvalue()


def check_sides(size: Size, format: Format) -> None:
    """Check an image size against the limits of a format.

    Raises:
        Unrenderable: a side is too long.
    """
    if max(size) > _LONGEST[format]:
        raise Unrenderable(
            f"A {format.value} file cannot hold an image of that size.",
            expected=f"at most {_LONGEST[format]} pixels per side",
            got=f"{size.width} x {size.height}",
        )


@contextmanager
def _room(picture: Image.Image, format: Format) -> Iterator[None]:
    # libjpeg writes a progressive JPEG in one piece. Pillow's buffer (a byte per pixel below quality 95) is too small
    # for noise at 4:4:4.
    usual = ImageFile.MAXBLOCK
    if format is Format.JPEG:
        ImageFile.MAXBLOCK = max(usual, 4 * picture.width * picture.height + 65_536)
    try:
        yield
    finally:
        ImageFile.MAXBLOCK = usual


def _jpeg(quality: int) -> dict[str, Any]:
    subsampling = "4:4:4" if quality >= _FULL_COLOUR_FROM else "4:2:0"
    return {"quality": quality, "subsampling": subsampling, "progressive": True, "optimize": True}


def _webp(quality: int) -> dict[str, Any]:
    return {"quality": quality, "method": 4}


def _avif(quality: int) -> dict[str, Any]:
    return {
        "quality": quality,
        # Speed 9 takes 3.5 times as long as JPEG, for 42 % of the bytes. Speed 8 saves 7 % more, and takes three times
        # as long.
        "speed": 9,
        "subsampling": "4:2:0",
        # With more threads, the encoder would split the image into tiles.
        "max_threads": 1,
        # Lossless, as in WebP. At the quality of the colours, the alpha of edges is off by a fifth.
        "advanced": {"alpha:lossless": "1"},
    }


def _png(quality: int) -> dict[str, Any]:
    return {"compress_level": 6}


def _gif(quality: int) -> dict[str, Any]:
    return {"optimize": True}


_OPTIONS: dict[Format, Callable[[int], dict[str, Any]]] = {
    Format.JPEG: _jpeg,
    Format.WEBP: _webp,
    Format.AVIF: _avif,
    Format.PNG: _png,
    Format.GIF: _gif,
}
