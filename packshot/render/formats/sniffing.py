"""Recognise formats by a file's first bytes, before any codec reads it."""

import re
from collections.abc import Callable
from io import BytesIO

from PIL import features
from PIL.AvifImagePlugin import AvifImageFile
from PIL.BmpImagePlugin import BmpImageFile
from PIL.GifImagePlugin import GifImageFile
from PIL.ImageFile import ImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.WebPImagePlugin import WebPImageFile

from packshot.geometry import Size
from packshot.render.formats.tiff import TiffReader

try:
    from pillow_heif import HeifImageFile, options
except ImportError:
    HeifImageFile = None  # type: ignore[assignment, misc]
else:
    # The pool of render processes decides how many renders run in parallel.
    options.DECODE_THREADS = 1
    # Skip what phones store beside the image.
    options.THUMBNAILS = options.DEPTH_IMAGES = options.AUX_IMAGES = False

# Readers are called directly. `Image.open` would pass a JPEG with a second image, such as most phones' portraits, to
# the reader of another format.
READERS: dict[str, Callable[[BytesIO], ImageFile]] = {
    "jpeg": JpegImageFile,
    "png": PngImageFile,
    "webp": WebPImageFile,
    "avif": AvifImageFile,
    "gif": GifImageFile,
    "tiff": TiffReader,
    "bmp": BmpImageFile,
}
if HeifImageFile is not None:
    READERS["heic"] = HeifImageFile

ACCEPTED = tuple(READERS)
"""The formats that can be decoded, in the order in which errors list them; "heic" only with `packshot[heic]`."""

_CODECS = {
    "jpg": "JPEG",
    "zlib": "PNG",
    "webp": "WebP",
    "avif": "AVIF",
    "libtiff": "TIFF",
    "littlecms2": "colour profiles",
}

_SIGNATURES: tuple[tuple[str, re.Pattern[bytes]], ...] = tuple(
    (name, re.compile(pattern, re.DOTALL))
    for name, pattern in (
        ("jpeg", rb"\xff\xd8\xff"),
        ("png", rb"\x89PNG\r\n\x1a\n"),
        ("webp", rb"RIFF....WEBP"),
        # Such a container brand may also hold HEVC. The reader refuses that.
        ("avif", rb"....ftyp(avif|avis)|....ftyp(mif1|msf1).{0,64}?avi[fs]"),
        ("heic", rb"....ftyp(heic|heix|heim|heis|hevc|hevx|mif1|msf1)"),
        ("gif", rb"GIF8[79]a"),
        ("tiff", rb"II[*+]\0|MM\0[*+]"),
        ("bmp", rb"BM"),
        ("jpeg-xl", rb"\xff\x0a|\0\0\0\x0cJXL "),
        ("jpeg-2000", rb"\0\0\0\x0cjP  |\xff\x4f\xff\x51"),
        ("ico", rb"\0\0[\x01\x02]\0"),
        ("psd", rb"8BPS"),
        ("pdf", rb"%PDF-"),
        ("mp4", rb"....ftyp"),
        ("svg", rb"(\xef\xbb\xbf)?\s*<(.{0,1000}?<)?svg[\s/>]"),
        ("html or xml", rb"(\xef\xbb\xbf)?\s*<[!?a-zA-Z]"),
    )
)


def codecs() -> dict[str, bool]:
    """Return the codecs that Pillow needs, and whether it has each; HEIC only if it is installed."""
    found = {name: bool(features.check(feature)) for feature, name in _CODECS.items()}
    return found | {"HEIC": True} if "heic" in READERS else found


def sniff(data: bytes) -> str | None:
    """Return the format that a file's first bytes show; None if unknown.

    >>> sniff(b"GIF89a...")
    'gif'
    """
    head = data[:1024]
    return next((name for name, signature in _SIGNATURES if signature.match(head)), None)


def webp_canvas(data: bytes) -> Size | None:
    """Return the canvas size of a WebP file in pixels, read from its first chunk.

    The decoder allocates the whole canvas when it is created, so the size must be checked before.

    Returns:
        None if the first chunk gives no size; the decoder refuses such a file.
    """
    kind = data[12:16]
    if len(data) < 30:
        return None
    if kind == b"VP8X":
        return Size(int.from_bytes(data[24:27], "little") + 1, int.from_bytes(data[27:30], "little") + 1)
    if kind == b"VP8L":
        bits = int.from_bytes(data[21:25], "little")
        return Size((bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1)
    if kind == b"VP8 ":
        return Size(int.from_bytes(data[26:28], "little") & 0x3FFF, int.from_bytes(data[28:30], "little") & 0x3FFF)
    return None
