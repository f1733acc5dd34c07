"""Decompress BMP files with run-length compression (RLE8, RLE4).

Pillow refuses an image whose runs end before its last row, and displaces the rows after an empty one. Pixels that no
run covers get the first colour of the palette. Browsers show them as background.
"""

import struct
from typing import NamedTuple

from packshot.geometry import Size

_FILE_HEADER = 14
_INFO_HEADER = 40
_RLE8, _RLE4 = 1, 2
_COLOURS = 256
_END_OF_ROW, _END_OF_PICTURE, _JUMP = 0, 1, 2


class Runs(NamedTuple):
    """The header of a BMP with run-length compression.

    Attributes:
        header: length of the information header in bytes.
        width: in pixels.
        height: in pixels. In the file, its sign gives the order of the rows.
        is_nibbles: whether a byte holds two pixels (RLE4).
        colours: number of palette entries.
        offset: where the runs begin in the file, in bytes.
    """

    header: int
    width: int
    height: int
    is_nibbles: bool
    colours: int
    offset: int

    @property
    def size(self) -> Size:
        return Size(self.width, self.height)


def find_runs(data: bytes) -> Runs | None:
    """Return the header of a BMP with run-length compression; None if it has none, or if the header is damaged."""
    if len(data) < _FILE_HEADER + _INFO_HEADER:
        return None
    offset, header, width, height = struct.unpack_from("<IIii", data, 10)
    bits, compression = struct.unpack_from("<HI", data, 28)
    (colours,) = struct.unpack_from("<I", data, 46)
    is_known = (bits, compression) in ((8, _RLE8), (4, _RLE4)) and header >= _INFO_HEADER
    if not is_known or width < 1 or height == 0 or offset < _FILE_HEADER + header:
        return None
    return Runs(header, width, abs(height), bits == 4, min(colours or 1 << bits, 1 << bits), offset)


class Expanded(NamedTuple):
    """A BMP after decompression.

    Attributes:
        data: the file. If the original ends within its runs, rows are missing, and Pillow refuses it.
        is_plain: whether the runs cover every row from its first pixel to its last. Pillow reads such an original
        alike.
    """

    data: bytes
    is_plain: bool


def without_runs(data: bytes, runs: Runs) -> Expanded:
    """Decompress a BMP.

    Args:
        runs: the result of `find_runs`. The caller has checked its size against the limits.
    """
    table = _FILE_HEADER + runs.header
    colours = data[table : min(table + 4 * runs.colours, runs.offset)].ljust(4 * _COLOURS, b"\0")
    pixels, is_plain = _expanded(data, runs)
    info = struct.pack("<I8sHHIIiiII", _INFO_HEADER, data[18:26], 1, 8, 0, 0, 0, 0, _COLOURS, 0)
    offset = _FILE_HEADER + _INFO_HEADER + len(colours)
    head = b"BM" + struct.pack("<III", offset + len(pixels), 0, offset)
    return Expanded(b"".join((head, info, colours, pixels)), is_plain)


def _expanded(data: bytes, runs: Runs) -> tuple[bytes, bool]:
    """Decompress the rows, and return whether runs cover each of them.

    Returns:
        One byte per pixel, rows in the file's order, each padded to a multiple of four bytes. If the file ends within a
        row, that row and all further ones are missing.
    """
    width, height, nibbles = runs.width, runs.height, runs.is_nibbles
    stride = (width + 3) // 4 * 4
    rows, is_plain = bytearray(stride * height), True
    at, column, row = runs.offset, 0, 0
    # Some writers omit the end mark after a complete last row.
    while row < height and not (row == height - 1 and column >= width):
        count, value, at = data[at] if at < len(data) else 0, data[at + 1 : at + 2], at + 2
        if not value:
            return bytes(rows[: stride * row]), is_plain
        code = value[0]
        if count:
            pixels = (bytes((code >> 4, code & 15)) * ((count + 1) // 2))[:count] if nibbles else value * count
        elif code == _END_OF_PICTURE:
            is_plain = False
            break
        elif code == _END_OF_ROW:
            is_plain &= column > 0
            column, row = 0, row + 1
            continue
        elif code == _JUMP:
            is_plain = False
            column, row = column + int.from_bytes(data[at : at + 1]), row + int.from_bytes(data[at + 1 : at + 2])
            at += 2
            continue
        else:
            length = (code + 1) // 2 if nibbles else code
            pixels = data[at : at + length]
            if len(pixels) < length:
                return bytes(rows[: stride * row]), is_plain
            pixels = _split(pixels)[:code] if nibbles else pixels
            at += length + (length & 1)
            is_plain &= column + code <= width
        # Pixels beyond the end of a row are dropped.
        start, shown = stride * row + column, max(0, min(len(pixels), width - column))
        rows[start : start + shown] = pixels[:shown]
        column += len(pixels)
    return bytes(rows), is_plain


def _split(packed: bytes) -> bytes:
    pixels = bytearray(2 * len(packed))
    pixels[0::2] = bytes(value >> 4 for value in packed)
    pixels[1::2] = bytes(value & 15 for value in packed)
    return bytes(pixels)
