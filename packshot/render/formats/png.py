"""Reduce a PNG to the valid chunks that its pixels need.

Ancillary chunks that are broken, repeated, misplaced or unused are dropped, as in browsers, so metadata never make an
image unreadable. Critical chunks stay unchanged, so the reader finds damage in them.
"""

import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

from PIL import Image, ImageChops
from PIL.PngImagePlugin import PngImageFile

from packshot.render.colour import check_profile

SIGNATURE_BYTES = 8
XMP_KEYWORD = b"XML:com.adobe.xmp"
# Orientation and credits stand near the beginning of an XMP packet.
MAX_XMP_BYTES = 2**20

_GREY, _RGB, _PALETTE = 0, 2, 3

# Colour chunks of fixed length in bytes. They count only before PLTE and IDAT.
_COLOUR_LENGTHS = {b"sRGB": 1, b"gAMA": 4, b"cHRM": 32}


class Chunk(NamedTuple):
    """One chunk: `data[start:end]` holds all of it, `data[start + 8:end - 4]` its body."""

    kind: bytes
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Readable:
    """A PNG prepared for the reader.

    Attributes:
        data: the file; the original's own bytes if no chunk was dropped.
        lacks_colours: whether a dropped chunk describes colours or transparency.
    """

    data: bytes
    lacks_colours: bool = False


def readable(data: bytes, max_profile_bytes: int) -> Readable:
    """Return a PNG without the ancillary chunks that rendering does not use.

    Raises:
        TooLarge: a valid colour profile is larger than `max_profile_bytes`.
    """
    chunks = list(read_chunks(data))
    if not chunks or chunks[0].kind != b"IHDR" or chunks[0].end - chunks[0].start != 25:
        return Readable(data)
    animated = is_animation(data, chunks)
    parts, kept, palette_entries = [data[:SIGNATURE_BYTES]], set[bytes](), 0
    lacks_colours = is_changed = False
    for chunk in chunks:
        if is_critical(chunk.kind):
            part: bytes | None = data[chunk.start : chunk.end]
            palette_entries = len(_body(data, chunk)) // 3 if chunk.kind == b"PLTE" else palette_entries
        elif chunk.kind in kept or not has_checksum(data, chunk):
            part = None
        else:
            part = _ancillary(data, chunk, kept, palette_entries, max_profile_bytes, animated=animated)
        if part is None:
            is_changed = True
            lacks_colours |= chunk.kind in _COLOUR_LENGTHS or chunk.kind in (b"tRNS", b"iCCP")
            continue
        is_changed |= len(part) != chunk.end - chunk.start
        kept.add(chunk.kind)
        parts.append(part)
    end = chunks[-1].end
    if chunks[-1].kind != b"IEND" and b"IDAT" not in kept:
        # What follows is not a chunk. The reader reports that.
        parts.append(data[end:])
    return Readable(b"".join(parts), lacks_colours) if is_changed or end < len(data) else Readable(data)


def read_chunks(data: bytes) -> Iterator[Chunk]:
    """Yield the chunks up to IEND, or up to the first invalid or truncated one.

    A truncated chunk is dropped if it is ancillary, and ends with the file if it is critical.
    """
    at = SIGNATURE_BYTES
    while at + 8 <= len(data):
        length, kind = int.from_bytes(data[at : at + 4], "big"), data[at + 4 : at + 8]
        if not kind.isalpha() or not kind.isascii():
            return
        end = at + 12 + length
        if end > len(data):
            if is_critical(kind):
                yield Chunk(kind, at, len(data))
            return
        yield Chunk(kind, at, end)
        if kind == b"IEND":
            return
        at = end


def is_critical(kind: bytes) -> bool:
    return not kind[0] & 0x20


def _body(data: bytes, chunk: Chunk) -> bytes:
    return data[chunk.start + 8 : chunk.end - 4]


def has_checksum(data: bytes, chunk: Chunk) -> bool:
    """Return whether the checksum of a chunk is correct."""
    found = zlib.crc32(memoryview(data)[chunk.start + 4 : chunk.end - 4])
    return found == int.from_bytes(data[chunk.end - 4 : chunk.end], "big")


def _made(kind: bytes, body: bytes) -> bytes:
    return len(body).to_bytes(4, "big") + kind + body + zlib.crc32(kind + body).to_bytes(4, "big")


def _ancillary(
    data: bytes, chunk: Chunk, kept: set[bytes], palette_entries: int, max_profile_bytes: int, *, animated: bool
) -> bytes | None:
    """Return the bytes of an ancillary chunk for the reader; None if the chunk is dropped."""
    kind, body = chunk.kind, _body(data, chunk)
    whole = data[chunk.start : chunk.end]
    before_pixels = b"IDAT" not in kept
    if kind in _COLOUR_LENGTHS:
        return whole if before_pixels and b"PLTE" not in kept and len(body) == _COLOUR_LENGTHS[kind] else None
    if kind == b"iCCP":
        fits = before_pixels and b"PLTE" not in kept
        return whole if fits and has_profile(body, max_profile_bytes) else None
    if kind == b"tRNS":
        return whole if before_pixels and fits_transparency(data, body, palette_entries) else None
    if kind == b"eXIf":
        return whole
    if kind == b"iTXt":
        text = _xmp(body)
        return None if text is None else whole if text == body else _made(kind, text)
    if kind in (b"acTL", b"fcTL"):
        return whole if animated and before_pixels else None
    return None


def has_profile(body: bytes, max_profile_bytes: int) -> bool:
    """Return whether the reader finds a profile, valid or not, in the body of an iCCP chunk.

    Raises:
        TooLarge: a valid profile is larger than `max_profile_bytes`.
    """
    name, separator, rest = body.partition(b"\0")
    if not separator or not 1 <= len(name) <= 79 or not rest or rest[0] != 0:
        return False
    profile = inflated(rest[1:], max_profile_bytes + 1)
    if profile is None or len(profile) <= max_profile_bytes:
        return profile is not None
    check_profile(profile, max_profile_bytes)
    return False


def fits_transparency(data: bytes, body: bytes, palette_entries: int) -> bool:
    """Return whether the body of a tRNS chunk has the length that the colour type requires."""
    kind = data[SIGNATURE_BYTES + 17]
    if kind == _PALETTE:
        return 1 <= len(body) <= palette_entries
    return len(body) == {_GREY: 2, _RGB: 6}.get(kind)


def _xmp(body: bytes) -> bytes | None:
    """Return the body of an iTXt chunk with XMP, decompressed and cut to `MAX_XMP_BYTES`; None if it holds no XMP."""
    keyword, _, rest = body.partition(b"\0")
    if keyword != XMP_KEYWORD or len(rest) < 2 or rest.count(b"\0", 2) < 2:
        return None
    _, _, text = rest[2:].split(b"\0", 2)
    if rest[0]:
        plain = inflated(text, MAX_XMP_BYTES) if rest[1] == 0 else None
        if plain is None:
            return None
        text = plain
    elif len(text) <= MAX_XMP_BYTES:
        return body
    return XMP_KEYWORD + b"\0\0\0\0\0" + text[:MAX_XMP_BYTES]


def inflated(data: bytes, max_bytes: int) -> bytes | None:
    """Decompress up to `max_bytes` of deflate data; None if they are damaged."""
    try:
        return zlib.decompressobj().decompress(data, max_bytes)
    except zlib.error:
        return None


def is_animation(data: bytes, chunks: list[Chunk]) -> bool:
    """Return whether the acTL and fcTL chunks of an animation are valid. Only its first frame is shown."""
    found = [chunk for chunk in chunks if chunk.kind in (b"acTL", b"fcTL")]
    if not found or found[0].kind != b"acTL" or any(not has_checksum(data, chunk) for chunk in found):
        return False
    control, frames = _body(data, found[0]), [chunk for chunk in found if chunk.kind == b"fcTL"]
    if len(control) != 8 or int.from_bytes(control[:4], "big") != len(frames) or not frames:
        return False
    first, pixels = _body(data, frames[0]), next((chunk.start for chunk in chunks if chunk.kind == b"IDAT"), len(data))
    if found[0].start > pixels or any(len(_body(data, frame)) != 26 for frame in frames):
        return False
    # If the default image is a frame, that frame covers all of it.
    whole = b"\0\0\0\0" + data[SIGNATURE_BYTES + 8 : SIGNATURE_BYTES + 16] + b"\0" * 8
    return frames[0].start > pixels or first[:20] == whole


def has_wide_key(source: PngImageFile) -> bool:
    """Return whether an unloaded RGB PNG of 16 bits per sample has a transparent colour."""
    return bool(source.tile) and source.tile[0].args == "RGB;16B" and "transparency" in source.info


def apply_wide_key(source: PngImageFile, low: PngImageFile) -> None:
    """Make exactly the transparent colour of a 16-bit RGB PNG transparent.

    Args:
        source: the loaded image. Its samples are the upper 8 bits.
        low: another reader of the same file, not loaded yet.
    """
    key = source.info.pop("transparency")
    halves = (*(value >> 8 for value in key), *(value & 255 for value in key))
    # Read in the opposite byte order, the samples are the lower 8 bits.
    low.tile = [low.tile[0]._replace(args="RGB;16L")]
    low.load()
    is_key = Image.new("L", source.size, 255)
    for plane, value in zip((*source.split(), *low.split()), halves, strict=True):
        is_key = ImageChops.darker(is_key, plane.point([255 if sample == value else 0 for sample in range(256)]))
    source.putalpha(ImageChops.invert(is_key))
