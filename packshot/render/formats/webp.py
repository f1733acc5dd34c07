"""A WebP whose metadata at its end is broken, as libwebp reads it."""

import struct
from collections.abc import Iterator, Sequence
from typing import NamedTuple

_HEADER_BYTES = 12
_STILL = (b"VP8 ", b"VP8L")
_FRAME = b"ANMF"


class Chunk(NamedTuple):
    """One chunk: `data[start:end]` holds all of it but the byte that makes its length even."""

    kind: bytes
    start: int
    end: int


def readable(data: bytes) -> bytes:
    """Return a WebP without what follows its last picture, where that is broken, and with its true length.

    libwebp refuses a whole file for a chunk of EXIF or XMP that ends outside of it. Pixels that end early still do.
    """
    chunks, is_sound = read_chunks(data)
    if is_sound:
        return data
    if not has_pictures(data, chunks):
        return data
    body = b"WEBP" + b"".join(_padded(data[chunk.start : chunk.end]) for chunk in chunks)
    return b"RIFF" + struct.pack("<I", len(body)) + body


def read_chunks(data: bytes) -> tuple[list[Chunk], bool]:
    """Return the chunks of a WebP that end inside of it.

    Returns:
        The chunks, and whether they are all of the file, whose length is right.
    """
    riff_bytes = int.from_bytes(data[4:8], "little") + 8
    chunks = list(_chunks(data, min(riff_bytes, len(data))))
    if riff_bytes <= len(data) and chunks and riff_bytes - chunks[-1].end <= 1:
        return chunks, True
    return list(_chunks(data, len(data))), False


def has_pictures(data: bytes, chunks: Sequence[Chunk]) -> bool:
    """Whether all pictures of a WebP are among its chunks that end inside of it."""
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
