"""Limit the number of parts in a file, and the bytes that are not pixels, before a codec reads it.

Millions of empty chunks, one-byte blocks or fill bytes can cost a decoder as much time as a large image. Each check
steps over the parts without reading their content, and stops at the limit. Limits grow with the file where encoders
write more parts for larger images.
"""

import re
from collections.abc import Callable, Iterator

from packshot.errors import TooLarge
from packshot.render.formats.gif import count_blocks
from packshot.render.formats.tiff_tags import (
    MAX_ENTRIES,
    MAX_VALUES,
    STRIP_BYTE_COUNTS,
    STRIP_OFFSETS,
    TILE_BYTE_COUNTS,
    TILE_OFFSETS,
    entry_counts,
)

MIN_PARTS = 65_536
"""The limit for a small file."""

# Larger files may have one part per this many bytes. Encoders write PNG chunks of 8 KiB or more, GIF blocks of 255
# bytes, and RIFF chunks of whole frames.
_BYTES_A_CHUNK, _BYTES_A_BLOCK = 1024, 128

# Photographs have about 20 segments. Large depth maps and long XMP packets fill many segments of 64 KiB.
MAX_JPEG_SEGMENTS = 4_096
MAX_JPEG_HEADER_BYTES = 16 * 2**20
MAX_JPEG_FILL_BYTES = 65_536

MAX_TIFF_STRIPS = MAX_VALUES
MAX_TIFF_ENTRIES = MAX_ENTRIES

MAX_BOXES = 65_536
_MAX_BOX_DEPTH = 8

_MARKER = re.compile(rb"\xff[^\x00\xff]")
_JPEG_SCAN, _JPEG_END = 0xDA, 0xD9
_JPEG_ALONE = {0x01, *range(0xD0, 0xD9)}

_TIFF_STRIPS = {STRIP_OFFSETS, STRIP_BYTE_COUNTS, TILE_OFFSETS, TILE_BYTE_COUNTS}

# Boxes that hold boxes, and the number of bytes before their child boxes.
_CONTAINERS = {
    b"moov": 0,
    b"trak": 0,
    b"mdia": 0,
    b"minf": 0,
    b"stbl": 0,
    b"dinf": 0,
    b"meta": 4,
    b"iprp": 0,
    b"ipco": 0,
}


def check_structure(data: bytes, format: str) -> None:
    """Refuse a file whose many parts take longer to read than an image may take to decode.

    A damaged file passes, because its codec refuses it.

    Raises:
        TooLarge: it has too many parts.
    """
    if format in _CHECKS:
        _CHECKS[format](data)


def _check_count(found: Iterator[object], limit: int, parts: str) -> None:
    if sum(1 for _ in zip(found, range(limit + 1), strict=False)) > limit:
        raise _too_many(parts, limit)


def _too_many(parts: str, limit: int) -> TooLarge:
    return TooLarge(f"The image has too many {parts}.", expected=f"at most {limit} {parts}", got="more")


def _limit(data: bytes, bytes_a_part: int) -> int:
    return max(MIN_PARTS, len(data) // bytes_a_part)


def _png(data: bytes) -> None:
    _check_count(_chunks(data, 8, 12, "big"), _limit(data, _BYTES_A_CHUNK), "chunks")


def _webp(data: bytes) -> None:
    _check_count(_chunks(data, 12, 8, "little"), _limit(data, _BYTES_A_CHUNK), "chunks")


def _chunks(data: bytes, at: int, overhead: int, order: str) -> Iterator[int]:
    # PNG has the length before the type. RIFF has it after the type, and pads chunks to an even length.
    is_png = order == "big"
    while at + 8 <= len(data):
        yield at
        length = int.from_bytes(data[at : at + 4], "big") if is_png else int.from_bytes(data[at + 4 : at + 8], "little")
        at += overhead + length + (0 if is_png else length & 1)


def _gif(data: bytes) -> None:
    limit = _limit(data, _BYTES_A_BLOCK)
    if count_blocks(data, limit) > limit:
        raise _too_many("blocks", limit)


def _jpeg(data: bytes) -> None:
    at, segments, skipped = 2, 0, 0
    while (marker := _MARKER.search(data, at, at + MAX_JPEG_FILL_BYTES + 2)) is not None:
        skipped += marker.end() - at - 2
        kind, at = data[marker.end() - 1], marker.end()
        if kind in (_JPEG_SCAN, _JPEG_END):
            break
        segments += 1
        if segments > MAX_JPEG_SEGMENTS:
            raise _too_many("segments", MAX_JPEG_SEGMENTS)
        if kind not in _JPEG_ALONE:
            at += int.from_bytes(data[at : at + 2], "big")
    else:
        skipped += len(data) - at
    if skipped > MAX_JPEG_FILL_BYTES:
        raise TooLarge(
            "The image has too many bytes between its segments.",
            expected=f"at most {MAX_JPEG_FILL_BYTES} bytes",
            got="more",
        )
    if at > MAX_JPEG_HEADER_BYTES:
        raise TooLarge(
            "The image has too much metadata before its pixels.",
            expected=f"at most {MAX_JPEG_HEADER_BYTES} bytes",
            got=at,
        )


def _tiff(data: bytes) -> None:
    entries, counts = entry_counts(data)
    if entries > MAX_TIFF_ENTRIES:
        raise _too_many("tags", MAX_TIFF_ENTRIES)
    if any(tag in _TIFF_STRIPS and count > MAX_TIFF_STRIPS for tag, count in counts):
        raise _too_many("strips or tiles", MAX_TIFF_STRIPS)


def _boxes(data: bytes) -> None:
    _check_count(_all_boxes(data, 0, len(data), 0), MAX_BOXES, "boxes")


def _all_boxes(data: bytes, at: int, end: int, depth: int) -> Iterator[int]:
    while at + 8 <= end:
        yield at
        length, kind, header = int.from_bytes(data[at : at + 4], "big"), data[at + 4 : at + 8], 8
        if length == 1:
            length, header = int.from_bytes(data[at + 8 : at + 16], "big"), 16
        box_end = end if length == 0 else min(end, at + max(length, header))
        if kind in _CONTAINERS and depth < _MAX_BOX_DEPTH:
            yield from _all_boxes(data, at + header + _CONTAINERS[kind], box_end, depth + 1)
        at = box_end


_CHECKS: dict[str, Callable[[bytes], None]] = {
    "jpeg": _jpeg,
    "png": _png,
    "webp": _webp,
    "avif": _boxes,
    "heic": _boxes,
    "gif": _gif,
    "tiff": _tiff,
}
