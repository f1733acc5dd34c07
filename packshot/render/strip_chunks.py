"""Remove the metadata of JPEG, PNG, WebP and GIF files, which are sequences of segments, chunks and blocks."""

import re
import struct
import zlib
from collections.abc import Container, Iterator

from packshot.render import png, webp
from packshot.render.pieces import Piece, Pieces

_EXIF_PREFIX = b"Exif\0\0"

_JPEG_MARKER = re.compile(rb"\xff[^\x00\xff]")
_JPEG_END_OF_SCAN = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]")
_SCAN, _END = 0xDA, 0xD9
_STANDALONE = {0x01, *range(0xD0, 0xD9)}
# Huffman tables, frames and arithmetic coding; quantisation tables, scans' parameters; not APPn, comments, reserved.
_DRAWING = {*range(0xC0, 0xD0), *range(0xDB, 0xE0)}

_PNG_OVERHEAD = 12
# Ancillary chunks that stay, and how many bytes may be in each.
_PNG_LENGTHS: dict[bytes, Container[int]] = {
    b"tRNS": range(1, 257),
    b"iCCP": range(4, 2**31),
    b"gAMA": (4,),
    b"cHRM": (32,),
    b"sRGB": (1,),
    b"cICP": (4,),
    b"mDCV": (24,),
    b"mDCv": (24,),
    b"cLLI": (8,),
    b"cLLi": (8,),
    b"sBIT": range(1, 5),
    b"bKGD": (1, 2, 6),
    b"pHYs": (9,),
}
_PNG_ANIMATION = {b"acTL", b"fcTL", b"fdAT"}
_PNG_METADATA = {b"IHDR", b"eXIf", b"iTXt"}

_WEBP_KEPT = {b"ICCP", b"ANIM", b"ANMF", b"ALPH", b"VP8 ", b"VP8L"}
_WEBP_FRAME_PARTS = {b"ALPH", b"VP8 ", b"VP8L"}
_WEBP_FRAME_HEADER = 16
_WEBP_EXIF, _WEBP_XMP = 0x08, 0x04

_GIF_CONTROL, _GIF_APPLICATION = 0xF9, 0xFF
_GIF_REPEATS = (b"NETSCAPE2.0", b"ANIMEXTS1.0")
_GIF_PROFILE = b"ICCRGBG1012"


def strip_jpeg(data: bytes, exif: bytes | None) -> list[Piece]:
    """Strip a JPEG: drop every application segment but JFIF, Adobe and the colour profile, and what follows its end.

    Args:
        exif: what is kept of it, as `Image.Exif.tobytes` returns it; None: nothing.

    Raises:
        ValueError: a segment is longer than the file.
    """
    pieces = Pieces()
    pieces.keep(0, 2)
    at = 2
    has_scan = False
    pending = b"" if exif is None else _jpeg_segment(0xE1, exif)
    while (marker := _JPEG_MARKER.search(data, at)) is not None:
        # Fill bytes, and what stands between segments, is skipped by decoders.
        start, at, kind = marker.start(), marker.end(), data[marker.end() - 1]
        if kind in _STANDALONE:
            continue
        if kind == _END:
            pieces.keep(start, at)
            return pieces.list
        stop = at + int.from_bytes(data[at : at + 2], "big")
        if stop > len(data) and has_scan and kind not in _DRAWING:
            # Metadata that the file ends in, behind all of the pixels.
            pieces.insert(bytes((0xFF, _END)))
            return pieces.list
        if stop > len(data) or stop < at + 2:
            raise ValueError("a segment that is longer than the file")
        body, at = data[at + 2 : stop], stop
        if kind == 0xE0 and body[:5] == b"JFIF\0" and len(body) >= 14:
            # Without its thumbnail.
            pieces.insert(_jpeg_segment(0xE0, body[:12] + b"\0\0"))
            continue
        pieces.insert(pending)
        pending = b""
        if kind == _SCAN:
            has_scan = True
            end = _JPEG_END_OF_SCAN.search(data, stop)
            at = len(data) if end is None else end.start()
            pieces.keep(start, at)
        elif kind == 0xEE and body[:5] == b"Adobe" and len(body) >= 12:
            pieces.insert(_jpeg_segment(0xEE, body[:12]))
        elif kind in _DRAWING or (kind == 0xE2 and body[:12] == b"ICC_PROFILE\0"):
            pieces.keep(start, stop)
    return pieces.list


def _jpeg_segment(kind: int, body: bytes) -> bytes:
    return bytes((0xFF, kind)) + struct.pack(">H", len(body) + 2) + body


def strip_png(data: bytes, exif: bytes | None) -> list[Piece]:
    """Strip a PNG: drop every ancillary chunk that is broken, or says nothing of colours, density or animation.

    Raises:
        ValueError: a chunk of the picture is longer than the file.
    """
    pieces = Pieces()
    pieces.keep(0, png.SIGNATURE_BYTES)
    chunks = list(png.read_chunks(data))
    animated = png.is_animation(data, chunks)
    for chunk in chunks:
        if chunk.kind == b"IEND":
            break
        if chunk.kind == b"IDAT" and exif is not None:
            pieces.insert(_png_chunk(b"eXIf", exif.removeprefix(_EXIF_PREFIX)))
            exif = None
        if chunk.end - chunk.start - _PNG_OVERHEAD != int.from_bytes(data[chunk.start : chunk.start + 4], "big"):
            raise ValueError("a chunk that is longer than the file")
        # A critical chunk that is not known stays, as decoders refuse a file for it.
        if png.is_critical(chunk.kind) or _keeps_png_chunk(data, chunk, animated=animated):
            pieces.keep(chunk.start, chunk.end)
    pieces.insert(_png_chunk(b"IEND", b""))
    return pieces.list


def _keeps_png_chunk(data: bytes, chunk: png.Chunk, *, animated: bool) -> bool:
    if chunk.kind in _PNG_ANIMATION:
        return animated
    lengths = _PNG_LENGTHS.get(chunk.kind, ())
    return chunk.end - chunk.start - _PNG_OVERHEAD in lengths and png.has_checksum(data, chunk)


def png_metadata(data: bytes) -> bytes:
    """Return a PNG with the header and the metadata of another, whose chunks are sound, and no pixels."""
    chunks = [data[chunk.start : chunk.end] for chunk in png.read_chunks(data) if chunk.kind in _PNG_METADATA]
    return b"".join((data[: png.SIGNATURE_BYTES], *chunks, _png_chunk(b"IDAT", b""), _png_chunk(b"IEND", b"")))


def _png_chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def strip_webp(data: bytes, exif: bytes | None) -> list[Piece]:
    """Strip a WebP: keep the chunks of the picture, its frames and its colour profile.

    A chunk that does not end inside of the file, and what follows it, goes.

    Raises:
        ValueError: a part of the picture is longer than the file, or than its frame.
    """
    body = Pieces()
    extended = data[12:16] == b"VP8X"
    if exif is not None and not extended:
        raise ValueError("metadata in a WebP without a header for it")
    size = 4
    chunks, is_sound = webp.read_chunks(data)
    if not is_sound and not webp.has_pictures(data, chunks):
        raise ValueError("a chunk that is longer than the file")
    for kind, start, end in chunks:
        # Chunks end at even places; the last byte of a file may lack.
        stop = min(end + (end - start & 1), len(data))
        if kind == b"VP8X" and start == 12:
            flags = data[start + 8] & ~(_WEBP_EXIF | _WEBP_XMP) | (_WEBP_EXIF if exif is not None else 0)
            body.insert(data[start : start + 8] + bytes((flags,)))
            body.keep(start + 9, stop)
            size += stop - start
        elif kind == b"ANMF":
            size += _keep_frame(body, data, start, stop)
        elif kind in _WEBP_KEPT:
            body.keep(start, stop)
            size += stop - start
    if exif is not None:
        chunk = exif.removeprefix(_EXIF_PREFIX)
        chunk = b"EXIF" + struct.pack("<I", len(chunk)) + chunk + bytes(len(chunk) & 1)
        body.insert(chunk)
        size += len(chunk)
    return [b"RIFF" + struct.pack("<I", size) + b"WEBP", *body.list]


def _keep_frame(body: Pieces, data: bytes, start: int, stop: int) -> int:
    first = start + 8 + _WEBP_FRAME_HEADER
    kept = [(at, end) for kind, at, end in _riff_chunks(data, first, stop) if kind in _WEBP_FRAME_PARTS]
    size = _WEBP_FRAME_HEADER + sum(end - at for at, end in kept)
    if size == stop - start - 8:
        body.keep(start, stop)
    else:
        body.insert(b"ANMF" + struct.pack("<I", size))
        body.keep(start + 8, first)
        for at, end in kept:
            body.keep(at, end)
    return 8 + size


def _riff_chunks(data: bytes, at: int, end: int) -> Iterator[tuple[bytes, int, int]]:
    while at + 8 <= end:
        stop = at + 8 + int.from_bytes(data[at + 4 : at + 8], "little")
        if stop > end:
            raise ValueError("a chunk that is longer than the file")
        # Chunks end at even places; the last byte of a file may lack.
        stop = min(stop + (stop & 1), end)
        yield data[at : at + 4], at, stop
        at = stop


def strip_gif(data: bytes, exif: bytes | None) -> list[Piece]:
    """Strip a GIF: keep frames, their times and the repetitions. It has no place for credits.

    Raises:
        IndexError: the file ends inside of a block.
    """
    pieces = Pieces()
    at = 13 + _colours(data[10])
    pieces.keep(0, at)
    while at < len(data):
        start, kind = at, data[at]
        if kind == 0x21:
            label = data[at + 1]
            name = data[at + 3 : at + 3 + data[at + 2]]
            at = _past_blocks(data, at + 2)
            if label == _GIF_CONTROL or (label == _GIF_APPLICATION and name == _GIF_PROFILE):
                pieces.keep(start, at)
            elif label == _GIF_APPLICATION and name in _GIF_REPEATS:
                pieces.insert(data[start : start + 14] + _gif_repeats(data, start + 14))
        elif kind == 0x2C:
            at = _past_blocks(data, at + 11 + _colours(data[at + 9]))
            pieces.keep(start, at)
        elif kind == 0x3B:
            break
        else:
            at += 1
    pieces.insert(b";")
    return pieces.list


def _gif_repeats(data: bytes, at: int) -> bytes:
    """Return the blocks of a number of repetitions (1, two bytes) and of a buffer's size (2, four bytes)."""
    kept = b""
    while length := data[at]:
        if data[at : at + 2] in (b"\x03\x01", b"\x05\x02"):
            kept += data[at : at + 1 + length]
        at += length + 1
    return kept + b"\0"


def _colours(flags: int) -> int:
    return 3 << (flags & 7) + 1 if flags & 0x80 else 0


def _past_blocks(data: bytes, at: int) -> int:
    while length := data[at]:
        at += length + 1
    return at + 1
