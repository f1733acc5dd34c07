"""Repair WebP files with broken metadata at the end."""

import struct
from collections.abc import Iterator, Sequence
from typing import NamedTuple

_HEADER_BYTES = 12
_STILL = (b"VP8 ", b"VP8L")
_FRAME = b"ANMF"


class Chunk(NamedTuple):
    """One chunk: `data[start:end]` holds all of it except the padding byte."""

    kind: bytes
    start: int
    end: int


def readable(data: bytes) -> bytes:
    """Drop broken chunks after the last frame of a WebP, and correct the length of the file.

    libwebp refuses a whole file if an EXIF or XMP chunk is truncated. A file with truncated pixels stays as it is.
    """
    chunks, is_sound = read_chunks(data)
    if is_sound:
        return data
    if not has_pictures(data, chunks):
        return data
    body = b"WEBP" + b"".join(_padded(data[chunk.start : chunk.end]) for chunk in chunks)
    return b"RIFF" + struct.pack("<I", len(body)) + body


def read_chunks(data: bytes) -> tuple[list[Chunk], bool]:
    """Return the complete chunks of a WebP.

    Returns:
        The chunks, and whether they fill the file exactly as its header announces.
    """
    riff_bytes = int.from_bytes(data[4:8], "little") + 8
    chunks = list(_chunks(data, min(riff_bytes, len(data))))
    if riff_bytes <= len(data) and chunks and riff_bytes - chunks[-1].end <= 1:
        return chunks, True
    return list(_chunks(data, len(data))), False


def has_pictures(data: bytes, chunks: Sequence[Chunk]) -> bool:
    """Return whether `chunks` include all frames of a WebP."""
    return any(chunk.kind in (*_STILL, _FRAME) for chunk in chunks) and _FRAME not in data[chunks[-1].end :]


def _chunks(data: bytes, end: int) -> Iterator[Chunk]:
    at = _HEADER_BYTES
    while at + 8 <= end:
        kind, length = data[at : at + 4], int.from_bytes(data[at + 4 : at + 8], "little")
        after = at + 8 + length
        if after > end or not all(32 <= letter < 127 for letter in kind):
            return
        yield Chunk(kind, at, after)
        at = after + (length & 1)


def _padded(chunk: bytes) -> bytes:
    return chunk + b"\0" * (len(chunk) & 1)
