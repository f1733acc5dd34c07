"""Strip JPEG files, which are sequences of segments and scans.

The entropy-coded data of a scan stay up to the next marker. Bytes after the last pixel stay too, because only decoding
could find the end of the codes.
"""

import re
import struct
from collections.abc import Sequence

from packshot.render.formats.profiles import profile_length
from packshot.render.stripping.pieces import Piece, Pieces

_MARKER = re.compile(rb"\xff[^\x00\xff]")
_END_OF_SCAN = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]")
_SCAN, _END = 0xDA, 0xD9
_JFIF_SEGMENT, _EXIF_SEGMENT, _PROFILE_SEGMENT, _ADOBE_SEGMENT = 0xE0, 0xE1, 0xE2, 0xEE
_STANDALONE = {0x01, *range(0xD0, 0xD9)}
# Frame headers, then all segments that affect pixels: Huffman tables, arithmetic coding, scans, quantisation tables and
# restart intervals. Decoders check their lengths.
_FRAMES = {*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC}
_DRAWING = {*_FRAMES, 0xC4, 0xCC, _SCAN, 0xDB, 0xDD}

_PROFILE_NAME = b"ICC_PROFILE\0"
# The name, the number of the part, and the number of parts.
_PROFILE_HEAD = len(_PROFILE_NAME) + 2
_LENGTH_BYTES = 2

# The position of a segment's marker, and the range of its part of the profile.
_Part = tuple[int, int, int]


def strip_jpeg(data: bytes, exif: bytes | None) -> list[Piece]:
    """Strip a JPEG: keep segments that affect pixels, JFIF, Adobe and a valid colour profile. Drop everything after its
    end.

    Args:
        exif: EXIF to keep, as `Image.Exif.tobytes` returns it; None for none.

    Raises:
        ValueError: a segment is longer than the file.
    """
    pieces = Pieces()
    pieces.keep(0, 2)
    at = 2
    has_scan = False
    pending = b"" if exif is None else _segment(_EXIF_SEGMENT, exif)
    profile = _profile_parts(data)
    while (marker := _MARKER.search(data, at)) is not None:
        # Decoders skip fill bytes and other bytes between segments.
        start, at, kind = marker.start(), marker.end(), data[marker.end() - 1]
        if kind in _STANDALONE:
            continue
        if kind == _END:
            pieces.keep(start, at)
            return pieces.list
        stop = _segment_end(data, kind, at)
        if stop > len(data) and has_scan and kind not in _DRAWING:
            # The file ends within metadata after all pixels.
            pieces.insert(bytes((0xFF, _END)))
            return pieces.list
        if stop > len(data) or stop < at + _LENGTH_BYTES:
            raise ValueError("a segment that is longer than the file")
        body, at = data[at + _LENGTH_BYTES : stop], stop
        if kind == _JFIF_SEGMENT and body[:5] == b"JFIF\0" and len(body) >= 14:
            # Drop the JFIF thumbnail.
            pieces.insert(_segment(_JFIF_SEGMENT, body[:12] + b"\0\0"))
            continue
        pieces.insert(pending)
        pending = b""
        if kind == _SCAN:
            has_scan = True
            end = _END_OF_SCAN.search(data, stop)
            at = len(data) if end is None else end.start()
            pieces.keep(start, at)
        elif kind == _ADOBE_SEGMENT and body[:5] == b"Adobe" and len(body) >= 12:
            pieces.insert(_segment(_ADOBE_SEGMENT, body[:12]))
        elif kind in _DRAWING:
            pieces.keep(start, stop)
        elif start in profile:
            head, first, last = profile[start]
            pieces.insert(head)
            pieces.keep(first, last)
    return pieces.list


def _segment(kind: int, body: bytes) -> bytes:
    return bytes((0xFF, kind)) + struct.pack(">H", len(body) + _LENGTH_BYTES) + body


def _segment_end(data: bytes, kind: int, at: int) -> int:
    """Return the end of a segment whose length field is at `at`."""
    length = int.from_bytes(data[at : at + _LENGTH_BYTES], "big")
    # The length includes its own two bytes. Where decoders skip a segment, they take less for an empty one.
    return at + (length if kind in _DRAWING else max(length, _LENGTH_BYTES))


def _profile_parts(data: bytes) -> dict[int, tuple[bytes, int, int]]:
    """Return the segments of the colour profile that are kept; empty if it is missing, incomplete or invalid.

    Returns:
        By position of the marker: the new head of the segment, and the range of its part of the profile.
    """
    before_frame, before_scan = _all_profile_parts(data)
    for found in (before_frame, before_scan):
        # Combined as in Pillow: ordered by number, if there are as many parts as the first one says.
        parts = sorted(found, key=lambda part: data[part[1] - 2 : part[2]])
        if not parts or data[parts[0][1] - 1] != len(parts):
            continue
        whole = b"".join(data[first:last] for _, first, last in parts)
        if (room := profile_length(whole)) == 0:
            return {}
        kept = []
        for place, first, last in parts:
            last = min(last, first + room)
            room -= last - first
            if first < last:
                kept.append((place, first, last))
        return {
            place: (_profile_head(number, len(kept), last - first), first, last)
            for number, (place, first, last) in enumerate(kept, 1)
        }
    return {}


def _all_profile_parts(data: bytes) -> tuple[Sequence[_Part], Sequence[_Part]]:
    """Return the parts of a colour profile before the frame header, where Pillow looks, and those before the first
    scan.
    """
    parts: list[_Part] = []
    before_frame: list[_Part] | None = None
    at = 2
    while (marker := _MARKER.search(data, at)) is not None:
        start, at, kind = marker.start(), marker.end(), data[marker.end() - 1]
        if kind in _STANDALONE:
            continue
        if kind in (_SCAN, _END):
            break
        stop = _segment_end(data, kind, at)
        first = at + _LENGTH_BYTES + _PROFILE_HEAD
        if kind in _FRAMES and before_frame is None:
            before_frame = list(parts)
        elif (
            kind == _PROFILE_SEGMENT
            and data.startswith(_PROFILE_NAME, at + _LENGTH_BYTES)
            and first < stop <= len(data)
        ):
            parts.append((start, first, stop))
        at = stop
    return before_frame or [], parts


def _profile_head(number: int, count: int, length: int) -> bytes:
    whole = _segment(_PROFILE_SEGMENT, _PROFILE_NAME + bytes((number, count)) + bytes(length))
    return whole[: len(whole) - length]
