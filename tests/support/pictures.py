"""Test images, drawn instead of stored, and their files."""

import struct
from collections.abc import Callable
from io import BytesIO

import numpy as np
import pillow_heif
from PIL import Image, ImageCms, ImageDraw

RED, GREEN, BLUE, YELLOW, MAGENTA = (255, 0, 0), (0, 160, 0), (0, 0, 255), (255, 255, 0), (255, 0, 255)
GREY = (128, 128, 128)

Encoder = Callable[..., bytes]
"""`jpeg`, `png` and so on: a picture and Pillow's options to a file."""

Rectangle = tuple[int, int, int, int]
"""Left, top, right and bottom in pixels; right and bottom are outside."""

# The stored pixels of an upright scene, by how the camera was held.
_AS_STORED = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
}


def markers(width: int, height: int) -> dict[tuple[int, int, int], Rectangle]:
    """Return the rectangle of each colour in `corners` of that size."""
    side = max(1, min(width, height) // 6)
    left, top = (width - side) // 2, (height - side) // 2
    return {
        RED: (0, 0, side, side),
        GREEN: (width - side, 0, width, side),
        BLUE: (0, height - side, side, height),
        YELLOW: (width - side, height - side, width, height),
        MAGENTA: (left, top, left + side, top + side),
    }


def corners(width: int, height: int) -> Image.Image:
    """Draw a grey RGB image with a coloured square in each corner and the centre."""
    picture = Image.new("RGB", (width, height), GREY)
    draw = ImageDraw.Draw(picture)
    for colour, (left, top, right, bottom) in markers(width, height).items():
        draw.rectangle((left, top, right - 1, bottom - 1), fill=colour)
    return picture


def photo(width: int, height: int, *, seed: int = 1) -> Image.Image:
    """Draw an RGB image that compresses like a photograph: smooth shapes, edges and some noise."""
    random = np.random.default_rng(seed)
    y, x = np.mgrid[0:height, 0:width] / max(width, height)
    waves = np.stack([np.sin(x * (5 + 3 * channel) + y * (9 - channel)) for channel in range(3)], axis=-1)
    edges = np.where((x * 7).astype(int) % 2 == (y * 5).astype(int) % 2, 25, -25)[..., None]
    pixels = 128 + 80 * waves + edges + random.normal(0, 6, (height, width, 3))
    return Image.fromarray(pixels.clip(0, 255).astype(np.uint8))


def noise(width: int, height: int, *, seed: int = 1) -> Image.Image:
    """Draw an RGB image that every codec compresses badly and slowly."""
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(pixels)


def cutout(width: int, height: int) -> Image.Image:
    """Draw an RGBA image: an opaque red disc on transparent green."""
    mask = Image.new("L", (width, height), 0)
    ImageDraw.Draw(mask).ellipse((width // 8, height // 8, width * 7 // 8, height * 7 // 8), fill=255)
    picture = Image.composite(Image.new("RGB", mask.size, RED), Image.new("RGB", mask.size, (0, 255, 0)), mask)
    picture.putalpha(mask)
    return picture


def jpeg(picture: Image.Image, **options: object) -> bytes:
    """Encode as JPEG; the default is quality 95 at full colour."""
    return encoded(picture, "JPEG", **{"quality": 95, "subsampling": "4:4:4", **options})


def png(picture: Image.Image, **options: object) -> bytes:
    """Encode as PNG, lightly compressed."""
    return encoded(picture, "PNG", **{"compress_level": 1, **options})


def webp(picture: Image.Image, **options: object) -> bytes:
    """Encode as WebP; the default is lossless."""
    return encoded(picture, "WEBP", **{"lossless": True, **options})


def avif(picture: Image.Image, **options: object) -> bytes:
    """Encode as AVIF, fast and with high quality."""
    return encoded(picture, "AVIF", **{"quality": 90, "speed": 9, "subsampling": "4:4:4", **options})


def gif(picture: Image.Image, **options: object) -> bytes:
    """Encode as GIF, with 256 colours chosen by Pillow."""
    return encoded(picture, "GIF", **options)


def tiff(picture: Image.Image, **options: object) -> bytes:
    """Encode as TIFF, lossless and uncompressed."""
    return encoded(picture, "TIFF", **options)


def bmp(picture: Image.Image, **options: object) -> bytes:
    """Encode as BMP."""
    return encoded(picture, "BMP", **options)


def heic(picture: Image.Image, **options: object) -> bytes:
    """Encode as HEIC with high quality."""
    pillow_heif.register_heif_opener()
    return encoded(picture, "HEIF", **{"quality": 95, "chroma": 444, **options})


def animated(format: str, frames: int = 3, **options: object) -> bytes:
    """Encode an animation of 64 x 48 photographs with 70 ms a frame."""
    first, *others = (photo(64, 48, seed=seed) for seed in range(frames))
    return encoded(first, format, **{"save_all": True, "append_images": others, "duration": 70, "loop": 0, **options})


def encoded(picture: Image.Image, format: str, **options: object) -> bytes:
    """Encode with Pillow's options."""
    file = BytesIO()
    picture.save(file, format, **options)
    return file.getvalue()


def exif(orientation: int = 1) -> bytes:
    """Return EXIF data with that orientation and a GPS position."""
    data = Image.Exif()
    data[0x0112] = orientation
    data[0x010E] = "a secret description"
    data.get_ifd(0x8825).update({1: "N", 2: (52.0, 31.0, 12.0), 3: "E", 4: (13.0, 24.0, 18.0)})
    return data.tobytes()


def pixel(picture: Image.Image, place: tuple[int, int]) -> tuple[int, ...]:
    """Return the bands of one pixel."""
    bands = picture.getpixel(place)
    assert isinstance(bands, tuple)
    return bands


def turned(upright: Image.Image, orientation: int) -> Image.Image:
    """Return the stored pixels of an upright image in a file with that EXIF orientation."""
    return upright.transpose(_AS_STORED[orientation]) if orientation in _AS_STORED else upright


def icc(space: str, pcs: str, tags: dict[str, bytes]) -> bytes:
    """Build an ICC profile (version 2, for a display or a printer) from its tags."""
    kind = b"prtr" if space == "CMYK" else b"mntr"
    table, body, start = b"", b"", 128 + 4 + 12 * len(tags)
    for name, content in tags.items():
        content += b"\0" * (-len(content) % 4)
        table += name.encode() + struct.pack(">II", start + len(body), len(content))
        body += content
    header = struct.pack(">I4xI4s4s4s", start + len(body), 0x02400000, kind, space.encode().ljust(4), pcs.encode())
    header = header.ljust(36, b"\0") + b"acsp"
    header = header.ljust(68, b"\0") + _fixed(0.9642, 1.0, 0.8249)
    return header.ljust(128, b"\0") + struct.pack(">I", len(tags)) + table + body


def display_p3() -> bytes:
    """Return a profile like Apple's Display P3, with a plain gamma of 2.2."""
    curve = b"curv" + struct.pack(">4xIH", 1, round(2.2 * 256))
    primaries = {"rXYZ": (0.5151, 0.2412, -0.0011), "gXYZ": (0.2920, 0.6922, 0.0419), "bXYZ": (0.1571, 0.0666, 0.7841)}
    tags = {name: b"XYZ \0\0\0\0" + _fixed(*values) for name, values in primaries.items()}
    return icc("RGB", "XYZ ", {"wtpt": _WHITE, **tags, "rTRC": curve, "gTRC": curve, "bTRC": curve})


def grey_gamma(gamma: float) -> bytes:
    """Return a grey profile with that gamma."""
    curve = b"curv" + struct.pack(">4xIH", 1, round(gamma * 256))
    return icc("GRAY", "XYZ ", {"wtpt": _WHITE, "kTRC": curve})


def grey_inks() -> bytes:
    """Return a CMYK profile in which every ink is grey and absorbs a quarter of the light."""
    corners = [sum(inks >> bit & 1 for bit in range(4)) for inks in range(16)]
    clut = b"".join(bytes((round(255 * (1 - count / 4)), 128, 128)) for count in corners)
    identity = bytes(range(256))
    matrix = _fixed(1, 0, 0, 0, 1, 0, 0, 0, 1)
    lut = b"mft1\0\0\0\0" + bytes((4, 3, 2, 0)) + matrix + identity * 4 + clut + identity * 3
    return icc("CMYK", "Lab ", {"wtpt": _WHITE, "A2B0": lut, "A2B1": lut})


def dim_black(*, printer: bool = True) -> bytes:
    """Return a CMYK profile like `grey_inks` whose darkest printable colour has an L* of 12.

    Args:
        printer: include the table from Lab to ink that profiles of presses have.
    """
    corners = [sum(inks >> bit & 1 for bit in range(4)) for inks in range(16)]
    clut = b"".join(bytes((round(2.55 * (100 - 22 * count)), 128, 128)) for count in corners)
    identity = bytes(range(256))
    matrix = _fixed(1, 0, 0, 0, 1, 0, 0, 0, 1)
    to_lab = b"mft1\0\0\0\0" + bytes((4, 3, 2, 0)) + matrix + identity * 4 + clut + identity * 3
    inks = b"".join(bytes([255 if not light else 0] * 4) for light in (0, 1) for _ in range(4))
    levels = bytes(max(0, min(255, round((level - 30.6) / (255 - 30.6) * 255))) for level in range(256))
    to_ink = b"mft1\0\0\0\0" + bytes((3, 4, 2, 0)) + matrix + levels + identity * 2 + inks + identity * 4
    tags = {"wtpt": _WHITE, "A2B0": to_lab, "A2B1": to_lab}
    return icc("CMYK", "Lab ", tags | ({"B2A0": to_ink, "B2A1": to_ink} if printer else {}))


def lifted_grey() -> bytes:
    """Return a grey profile whose black is dark grey."""
    curve = b"curv" + struct.pack(">4xI5H", 5, 3000, 15000, 30000, 45000, 65535)
    return icc("GRAY", "XYZ ", {"wtpt": _WHITE, "kTRC": curve})


def srgb() -> bytes:
    """Return littleCMS's own sRGB profile."""
    return ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def _fixed(*values: float) -> bytes:
    return struct.pack(f">{len(values)}i", *(round(value * 65536) for value in values))


_WHITE = b"XYZ \0\0\0\0" + _fixed(0.9642, 1.0, 0.8249)
