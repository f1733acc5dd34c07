"""BMP in the forms that Pillow does not read: masks of any layout, alpha in 16 bits, short headers of OS/2."""

import struct
from collections.abc import Iterator
from functools import lru_cache
from typing import NamedTuple

from PIL import Image

from packshot.errors import UnsupportedMedia
from packshot.geometry import Size

_FILE_HEADER = 14
_INFO_HEADER, _V3_HEADER, _V4_HEADER = 40, 56, 108
_BITFIELDS, _ALPHA_BITFIELDS = 3, 6
# Of OS/2, which has no masks: there the same number is a compression.
_OS2_HEADER = 64

# Red, green, blue and alpha, as they are written for Pillow.
_BGRA = (0xFF0000, 0xFF00, 0xFF, 0xFF000000)
_READ_BY_PILLOW = {
    16: {(0xF800, 0x7E0, 0x1F, 0), (0x7C00, 0x3E0, 0x1F, 0)},
    32: {
        (0xFF0000, 0xFF00, 0xFF, 0),
        (0xFF000000, 0xFF0000, 0xFF00, 0),
        (0xFF000000, 0xFF00, 0xFF, 0),
        (0xFF000000, 0xFF0000, 0xFF00, 0xFF),
        (0xFF, 0xFF00, 0xFF0000, 0xFF000000),
        (0xFF000000, 0xFF00, 0xFF, 0xFF0000),
        (0, 0, 0, 0),
        _BGRA,
    },
}
# Pixels that are converted at a time.
_STRIP = 2**20


class Layout(NamedTuple):
    """How the pixels of a BMP are stored.

    Attributes:
        height: of the picture; the file says by its sign where the first row is.
        masks: of red, green, blue and alpha; 0: there is no such channel.
        offset: where the pixels begin.
    """

    width: int
    height: int
    bits: int
    masks: tuple[int, int, int, int]
    offset: int

    @property
    def size(self) -> Size:
        return Size(self.width, self.height)


def find_layout(data: bytes) -> Layout | None:
    """Return the layout of a BMP with masks that Pillow does not read as they are; None: of all others."""
    if len(data) < _FILE_HEADER + _INFO_HEADER:
        return None
    offset, header, width, height = struct.unpack_from("<IIii", data, 10)
    bits, compression = struct.unpack_from("<HI", data, 28)
    if header < _INFO_HEADER or header == _OS2_HEADER or bits not in _READ_BY_PILLOW:
        return None
    if compression not in (_BITFIELDS, _ALPHA_BITFIELDS) or len(data) < _FILE_HEADER + _INFO_HEADER + 16:
        return None
    masks = struct.unpack_from("<IIII", data, _FILE_HEADER + _INFO_HEADER)
    if header < _V3_HEADER and compression != _ALPHA_BITFIELDS:
        masks = (*masks[:3], 0)
    if compression == _BITFIELDS and masks in _READ_BY_PILLOW[bits]:
        return None
    # What a mask has beyond the bits of a pixel means nothing.
    red, green, blue, alpha = (mask & (1 << bits) - 1 for mask in masks)
    return Layout(width, abs(height), bits, (red, green, blue, alpha), offset)


def readable(data: bytes, layout: Layout | None) -> bytes:
    """Return a BMP that Pillow reads, with the same pixels.

    Args:
        layout: what `find_layout` found. Its size has been held against the limits.

    Raises:
        UnsupportedMedia: the bits of a mask do not lie side by side.
    """
    if layout is None:
        return _with_whole_header(data)
    for mask in layout.masks:
        if mask and (mask // (mask & -mask) + 1) & (mask // (mask & -mask)):
            raise UnsupportedMedia(
                "The picture is a BMP with a mask that is not supported.",
                expected="masks of bits that lie side by side",
                got=f"{mask:#x}",
            )
    pixels = b"".join(_strips(data, layout))
    # Width and height as they were, as the sign of the height says which row is the first.
    info = struct.pack("<I", _V4_HEADER) + data[18:26] + struct.pack("<HHIIIIII", 1, 32, _BITFIELDS, 0, 0, 0, 0, 0)
    header = (info + struct.pack("<IIII", *_BGRA)).ljust(_V4_HEADER, b"\0")
    offset = _FILE_HEADER + len(header)
    return b"BM" + struct.pack("<III", offset + len(pixels), 0, offset) + header + pixels


def _with_whole_header(data: bytes) -> bytes:
    """Return a BMP of OS/2 2.x, whose header may be cut off behind any field, with one of a usual length."""
    if len(data) < 18:
        return data
    offset, header = struct.unpack_from("<II", data, 10)
    if not 16 <= header < _OS2_HEADER or header in (_INFO_HEADER, 52, _V3_HEADER):
        return data
    fields = data[18 : _FILE_HEADER + header].ljust(_INFO_HEADER - 4, b"\0")[: _INFO_HEADER - 4]
    moved = offset + _INFO_HEADER - header if offset else 0
    return data[:10] + struct.pack("<II", moved, _INFO_HEADER) + fields + data[_FILE_HEADER + header :]


def _strips(data: bytes, layout: Layout) -> Iterator[bytes]:
    """Yield the pixels as blue, green, red and alpha, some rows at a time."""
    sample = layout.bits // 8
    stride = (layout.width * sample + 3) // 4 * 4
    rows = max(1, _STRIP // max(1, layout.width))
    for top in range(0, layout.height, rows):
        start = layout.offset + top * stride
        strip = data[start : start + min(rows, layout.height - top) * stride]
        # A file that ends early has fewer rows, and is refused by its reader.
        count = len(strip) // stride if stride else 0
        if not count:
            return
        red, green, blue, alpha = (
            _channel(strip[: count * stride], sample, stride // sample, layout.width, mask) for mask in layout.masks
        )
        if not layout.masks[3]:
            alpha = Image.new("L", red.size, 255)
        yield Image.merge("RGBA", (red, green, blue, alpha)).tobytes("raw", "BGRA")


def _channel(strip: bytes, sample: int, columns: int, width: int, mask: int) -> Image.Image:
    size = (columns, len(strip) // (columns * sample))
    if not mask:
        return Image.new("L", (width, size[1]))
    # Of 16 bits around the upper end of the mask, the rest of a wider one does not matter.
    low = max(0, (mask.bit_length() - 1) // 8 - 1)
    window = bytearray(size[0] * size[1] * 2)
    window[0::2], window[1::2] = strip[low::sample], strip[low + 1 :: sample]
    seen = mask >> (8 * low) & 0xFFFF
    scaled = _scale(seen)
    values = Image.frombytes("I;16", size, bytes(window)).convert("I").point(scaled, "L")
    return values.crop((0, 0, width, size[1]))


@lru_cache(maxsize=4)
def _scale(mask: int) -> list[int]:
    """Return for every number of 16 bits what it has in a mask, from 0 to 255."""
    shift = (mask & -mask).bit_length() - 1
    full = mask >> shift
    # Rounded to the nearest of 256.
    return [(((value & mask) >> shift) * 510 + full) // (2 * full) for value in range(65536)]


def shows_nothing(picture: Image.Image) -> bool:
    """Whether no pixel can be seen: many writers leave 0 in an alpha channel that they do not mean."""
    return picture.mode == "RGBA" and picture.getchannel("A").getextrema()[1] == 0
