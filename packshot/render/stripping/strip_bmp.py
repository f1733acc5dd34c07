"""Strip a BMP in place, because its header holds the offset of the pixels."""

import struct

from packshot.render.formats.profiles import profile_length
from packshot.render.stripping.pieces import Edit, Piece, edited_in_place

_FILE_HEADER = 14
_CORE_HEADER, _INFO_HEADER, _V5_HEADER = 12, 40, 124
_MASKS = {3: 12, 6: 16}
_OS2_HEADER = 64
# Run-length compressions, with the number of pixels per byte.
_RUNS = {1: 1, 2: 2}
# Type of an embedded colour profile in a version 5 header. A linked profile has another type.
_EMBEDDED = b"DEBM"
_PROFILE_AT = _FILE_HEADER + 112


def strip_bmp(data: bytes, exif: bytes | None) -> list[Piece]:
    """Strip a BMP: overwrite everything between palette and pixels, and everything after the pixels.

    A BMP has no metadata, and no place for EXIF, so `exif` is ignored.

    Raises:
        struct.error: the header is truncated.
    """
    offset, header = struct.unpack_from("<II", data, 10)
    fields = data[_FILE_HEADER + 4 : _FILE_HEADER + header].ljust(_INFO_HEADER, b"\0")
    if header == _CORE_HEADER:
        width, height, _, bits = struct.unpack_from("<HHHH", fields)
        compression = colours = 0
    else:
        width, height, _, bits, compression, _, _, _, colours = struct.unpack_from("<iiHHIIiiI", fields)
    entries = colours or (1 << bits if bits <= 8 else 0)
    masks = _MASKS.get(compression, 0) if header == _INFO_HEADER else 0
    table = _FILE_HEADER + header + masks + entries * (3 if header == _CORE_HEADER else 4)
    rows = (width * bits + 31) // 32 * 4 * abs(height)
    if offset < _FILE_HEADER + header:
        # The offset is invalid. Readers start the pixels at their current position, so nothing is overwritten.
        return edited_in_place(len(data), [])
    if compression in _RUNS:
        end = _end_of_runs(data, offset, _RUNS[compression])
    else:
        end = offset + rows if compression in (0, 3, 6) and not (header == _OS2_HEADER and compression) else len(data)
    edits: list[Edit] = [(table, min(offset, len(data)), b"")]
    start, stop = _profile(data, header)
    if start >= end:
        edits += [(end, start, b""), (stop, len(data), b"")]
    else:
        edits.append((end, len(data), b""))
    return edited_in_place(len(data), edits)


def _end_of_runs(data: bytes, at: int, pixels_a_byte: int) -> int:
    """Return where the runs end: after the end mark, or at the end of the file."""
    while at + 1 < len(data):
        count, value = data[at], data[at + 1]
        at += 2
        if count:
            continue
        if value == 1:
            return at
        if value == 2:
            at += 2
        elif value:
            # This many uncompressed pixels follow, in an even number of bytes.
            length = -(-value // pixels_a_byte)
            at += length + (length & 1)
    return len(data)


def _profile(data: bytes, header: int) -> tuple[int, int]:
    if header < _V5_HEADER or data[_FILE_HEADER + 56 : _FILE_HEADER + 60] != _EMBEDDED:
        return 0, 0
    at, length = struct.unpack_from("<II", data, _PROFILE_AT)
    start = _FILE_HEADER + at
    if start + length > len(data):
        return 0, 0
    return start, start + profile_length(data[start : start + length])
