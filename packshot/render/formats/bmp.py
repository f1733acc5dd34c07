"""Convert BMP layouts that Pillow cannot read: arbitrary channel masks, 16 bits with alpha, short OS/2 headers."""

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
# The OS/2 2.x header has no channel masks. Its compression 3 is something else.
_OS2_HEADER = 64

# Masks of red, green, blue and alpha in the BMP that Pillow gets.
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
# Pixels that are converted at once.
_STRIP = 2**20


class Layout(NamedTuple):
    """How the pixels of a BMP are stored.

    Attributes:
        width: in pixels.
        height: in pixels. In the file, its sign gives the order of the rows.
        bits: bits per pixel, 16 or 32.
        masks: bit masks of red, green, blue and alpha. 0 means that there is no such channel.
        offset: where the pixels begin in the file, in bytes.
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
    """Return the layout of a BMP with channel masks that Pillow cannot read; None for any other BMP."""
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
    # Bits of a mask beyond the bits per pixel have no meaning.
    red, green, blue, alpha = (mask & (1 << bits) - 1 for mask in masks)
    return Layout(width, abs(height), bits, (red, green, blue, alpha), offset)


def readable(data: bytes, layout: Layout | None) -> bytes:
    """Convert a BMP into one with the same pixels that Pillow can read.

    Args:
        layout: the result of `find_layout`. The caller has checked its size against the limits.

    Returns:
        With a layout, a BMP of 32 bits per pixel. Without one, `data` with a header that Pillow can read.

    Raises:
        UnsupportedMedia: the bits of a mask are not contiguous.
    """
    if layout is None:
        return _with_whole_header(data)
    for mask in layout.masks:
        if mask and (mask // (mask & -mask) + 1) & (mask // (mask & -mask)):
            raise UnsupportedMedia(
                "The image is a BMP with a mask that is not supported.",
                expected="masks of contiguous bits",
                got=f"{mask:#x}",
            )
    pixels = b"".join(_strips(data, layout))
    # Width and height are copied, because the sign of the height gives the order of the rows.
    info = struct.pack("<I", _V4_HEADER) + data[18:26] + struct.pack("<HHIIIIII", 1, 32, _BITFIELDS, 0, 0, 0, 0, 0)
    header = (info + struct.pack("<IIII", *_BGRA)).ljust(_V4_HEADER, b"\0")
    offset = _FILE_HEADER + len(header)
    return b"BM" + struct.pack("<III", offset + len(pixels), 0, offset) + header + pixels


def _with_whole_header(data: bytes) -> bytes:
    """Extend the header of an OS/2 2.x BMP to 40 bytes; such a header may end after any field."""
    if len(data) < 18:
        return data
    offset, header = struct.unpack_from("<II", data, 10)
    if not 16 <= header < _OS2_HEADER or header in (_INFO_HEADER, 52, _V3_HEADER):
        return data
    fields = data[18 : _FILE_HEADER + header].ljust(_INFO_HEADER - 4, b"\0")[: _INFO_HEADER - 4]
    moved = offset + _INFO_HEADER - header if offset else 0
    return data[:10] + struct.pack("<II", moved, _INFO_HEADER) + fields + data[_FILE_HEADER + header :]


def _strips(data: bytes, layout: Layout) -> Iterator[bytes]:
    """Yield the pixels, converted to BGRA, a number of rows at a time."""
    sample = layout.bits // 8
    stride = (layout.width * sample + 3) // 4 * 4
    rows = max(1, _STRIP // max(1, layout.width))
    for top in range(0, layout.height, rows):
        start = layout.offset + top * stride
        strip = data[start : start + min(rows, layout.height - top) * stride]
        # A truncated file yields fewer rows. Pillow then refuses it.
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
    # Read the two bytes around the upper end of the mask. Lower bits of a wider mask do not change an 8-bit value.
    low = max(0, (mask.bit_length() - 1) // 8 - 1)
    window = bytearray(size[0] * size[1] * 2)
    window[0::2], window[1::2] = strip[low::sample], strip[low + 1 :: sample]
    seen = mask >> (8 * low) & 0xFFFF
    scaled = _scale(seen)
    values = Image.frombytes("I;16", size, bytes(window)).convert("I").point(scaled, "L")
    return values.crop((0, 0, width, size[1]))


@lru_cache(maxsize=4)
def _scale(mask: int) -> list[int]:
    """Return the 8-bit channel value under a mask for each of the 65,536 values of 16 bits."""
    shift = (mask & -mask).bit_length() - 1
    full = mask >> shift
    # Round to the nearest value.
    return [(((value & mask) >> shift) * 510 + full) // (2 * full) for value in range(65536)]


def is_fully_transparent(picture: Image.Image) -> bool:
    """Return whether all pixels are transparent. Many writers add an alpha channel of zeros that they do not use."""
    return picture.mode == "RGBA" and picture.getchannel("A").getextrema()[1] == 0
