"""Find damaged strips or tiles of a TIFF's first image that libtiff accepts.

libtiff stops reading a deflate or LZMA stream at its last pixel, before the checksum at its end. It fills missing rows
of fax data, and libjpeg fills missing data of a JPEG strip. LZW, PackBits, Zstandard and uncompressed data have no
checksum:
libtiff refuses short strips, and changed bytes cannot be noticed.
"""

import lzma
import zlib
from collections.abc import Iterator

from packshot.errors import Unrenderable
from packshot.render.formats.fax import DAMAGED, check_fax, fax_coding
from packshot.render.formats.tiff_tags import (
    COMPRESSION,
    FILL_ORDER,
    IMAGE_LENGTH,
    IMAGE_WIDTH,
    ROWS_PER_STRIP,
    STRIP_BYTE_COUNTS,
    STRIP_OFFSETS,
    T4_OPTIONS,
    TILE_BYTE_COUNTS,
    TILE_LENGTH,
    TILE_OFFSETS,
    TILE_WIDTH,
    Directory,
    first_directory,
)

_FAX = {2, 3, 4}
_JPEG = 7

_BLOCK = 2**20
# The largest dictionary of libtiff's encoder needs 65 MiB.
_MAX_LZMA_MEMORY = 2**28
_JPEG_END = b"\xff\xd9"
_MAX_PADDING = 64


def check_parts(data: bytes) -> None:
    """Check the strips or tiles of a TIFF that was decoded without an error.

    Raises:
        Unrenderable: a strip or tile is damaged.
    """
    directory = first_directory(data)
    if directory is None:
        return
    compression = directory.number(COMPRESSION, 1)
    if compression in _FAX:
        _check_fax_parts(directory, compression)
    elif compression in _STREAMS:
        for number, part in enumerate(_parts(directory), 1):
            _STREAMS[compression](part, number)
    elif compression == _JPEG:
        for number, part in enumerate(_parts(directory), 1):
            if _JPEG_END not in part[-_MAX_PADDING:]:
                raise Unrenderable(DAMAGED, got=f"a JPEG without an end marker in strip or tile {number}")


def _parts(directory: Directory) -> Iterator[bytes]:
    offsets = directory.numbers(STRIP_OFFSETS) or directory.numbers(TILE_OFFSETS)
    lengths = directory.numbers(STRIP_BYTE_COUNTS) or directory.numbers(TILE_BYTE_COUNTS)
    # If the lengths are missing, libtiff has guessed them. Then nothing can be checked.
    yield from (directory.data[at : at + length] for at, length in zip(offsets, lengths, strict=False))


def _check_fax_parts(directory: Directory, compression: int) -> None:
    width, height = directory.number(IMAGE_WIDTH, 0), directory.number(IMAGE_LENGTH, 0)
    coding = fax_coding(compression, directory.number(T4_OPTIONS, 0))
    is_tiled = TILE_OFFSETS in directory.entries
    part_width = directory.number(TILE_WIDTH, width) if is_tiled else width
    part_rows = (
        directory.number(TILE_LENGTH, height) if is_tiled else min(directory.number(ROWS_PER_STRIP, height), height)
    )
    top = 0
    for part in _parts(directory):
        rows = part_rows if is_tiled else min(part_rows, height - top)
        if rows <= 0:
            break
        check_fax(part, part_width, rows, coding, is_reversed=directory.number(FILL_ORDER, 1) == 2)
        top += 0 if is_tiled else part_rows


def _check_deflate(part: bytes, number: int) -> None:
    # In blocks, to bound the memory for decompressed data.
    stream, rest = zlib.decompressobj(), part
    try:
        while not stream.eof and stream.decompress(rest, _BLOCK):
            rest = stream.unconsumed_tail
    except zlib.error as error:
        raise Unrenderable(DAMAGED, got=f"{error} in strip or tile {number}") from error


def _check_lzma(part: bytes, number: int) -> None:
    stream, rest = lzma.LZMADecompressor(memlimit=_MAX_LZMA_MEMORY), part
    try:
        while not stream.eof and (stream.decompress(rest, _BLOCK) or not stream.needs_input):
            rest = b""
    except lzma.LZMAError as error:
        raise Unrenderable(DAMAGED, got=f"{error} in strip or tile {number}") from error


_STREAMS = {8: _check_deflate, 32946: _check_deflate, 34925: _check_lzma}
