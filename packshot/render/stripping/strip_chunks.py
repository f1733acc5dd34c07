"""Strip WebP and GIF files, which are sequences of chunks and blocks."""

import struct
from collections.abc import Iterator

from packshot.render.formats import webp
from packshot.render.formats.profiles import MAX_PROFILE_BYTES, profile_length
from packshot.render.stripping.pieces import Piece, Pieces

_EXIF_PREFIX = b"Exif\0\0"


_WEBP_KEPT = {b"ANIM", b"ANMF", b"ALPH", b"VP8 ", b"VP8L"}
_WEBP_FRAME_PARTS = {b"ALPH", b"VP8 ", b"VP8L"}
_WEBP_FRAME_HEADER = 16
_WEBP_PROFILE, _WEBP_EXIF, _WEBP_XMP = 0x20, 0x08, 0x04

_GIF_CONTROL, _GIF_APPLICATION = 0xF9, 0xFF
_GIF_REPEATS = (b"NETSCAPE2.0", b"ANIMEXTS1.0")
_GIF_PROFILE = b"ICCRGBG1012"


def strip_webp(data: bytes, exif: bytes | None) -> list[Piece]:
    """Strip a WebP: keep the chunks of the image, its frames and its colour profile.

    A truncated chunk is removed, with everything after it.

    Args:
        exif: EXIF to keep, as `Image.Exif.tobytes` returns it.

    Raises:
        ValueError: a chunk of the image is longer than the file or than its frame, or the file has no header for
        EXIF.
    """
    body = Pieces()
    extended = data[12:16] == b"VP8X"
    if exif is not None and not extended:
        raise ValueError("metadata in a WebP without a header for it")
    size = 4
    chunks, is_sound = webp.read_chunks(data)
    if not is_sound and not webp.has_pictures(data, chunks):
        raise ValueError("a chunk that is longer than the file")
    # Readers use the first profile.
    profile = next((chunk for chunk in chunks if chunk.kind == b"ICCP"), None)
    profile_bytes = 0 if profile is None else profile_length(data[profile.start + 8 : profile.end])
    for kind, start, end in chunks:
        # Chunks are padded to an even length. The padding may be missing at the end of the file.
        stop = min(end + (end - start & 1), len(data))
        if kind == b"VP8X" and start == 12:
            flags = data[start + 8] & ~(_WEBP_EXIF | _WEBP_XMP) | (_WEBP_EXIF if exif is not None else 0)
            flags &= ~(0 if profile_bytes else _WEBP_PROFILE)
            body.insert(data[start : start + 8] + bytes((flags,)))
            body.keep(start + 9, stop)
            size += stop - start
        elif kind == b"ANMF":
            size += _keep_frame(body, data, start, stop)
        elif kind == b"ICCP":
            if profile_bytes and profile is not None and start == profile.start:
                body.insert(b"ICCP" + struct.pack("<I", profile_bytes))
                body.keep(start + 8, start + 8 + profile_bytes)
                body.insert(bytes(profile_bytes & 1))
                size += 8 + profile_bytes + (profile_bytes & 1)
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
        # Chunks are padded to an even length. The padding may be missing at the end of the file.
        stop = min(stop + (stop & 1), end)
        yield data[at : at + 4], at, stop
        at = stop


def strip_gif(data: bytes, exif: bytes | None) -> list[Piece]:
    """Strip a GIF: keep frames, their durations and the number of repetitions. It has no place for EXIF.

    Raises:
        IndexError: the file ends within a block.
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
            is_profile = label == _GIF_APPLICATION and name == _GIF_PROFILE and _is_gif_profile(data, start, at)
            if label == _GIF_CONTROL or is_profile:
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
    """Return the sub-blocks for the number of repetitions (type 1) and the buffer size (type 2)."""
    kept = b""
    while length := data[at]:
        if data[at : at + 2] in (b"\x03\x01", b"\x05\x02"):
            kept += data[at : at + 1 + length]
        at += length + 1
    return kept + b"\0"


def _is_gif_profile(data: bytes, start: int, end: int) -> bool:
    """Return whether the blocks of an application extension hold exactly a valid profile."""
    profile, at = bytearray(), start + 14
    while at < end and (length := data[at]) and len(profile) <= MAX_PROFILE_BYTES:
        profile += data[at + 1 : at + 1 + length]
        at += length + 1
    return 0 < len(profile) == profile_length(bytes(profile))


def _colours(flags: int) -> int:
    return 3 << (flags & 7) + 1 if flags & 0x80 else 0


def _past_blocks(data: bytes, at: int) -> int:
    while length := data[at]:
        at += length + 1
    return at + 1
