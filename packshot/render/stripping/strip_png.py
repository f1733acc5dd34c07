"""Strip PNG files, which are sequences of chunks. Compressed pixels stay unchanged."""

import struct
import zlib
from collections.abc import Container, Sequence
from typing import NamedTuple

from packshot.render.formats import png
from packshot.render.formats.profiles import MAX_PROFILE_BYTES, profile_length
from packshot.render.stripping.pieces import Piece, Pieces

_EXIF_PREFIX = b"Exif\0\0"
# Ancillary chunks that are kept, with their allowed lengths in bytes.
_LENGTHS: dict[bytes, Container[int]] = {
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
_COLOURS = {b"gAMA", b"cHRM", b"sRGB", b"iCCP"}
_HEADER_BYTES = 13
_COLOUR_KIND, _PALETTE = png.SIGNATURE_BYTES + 17, 3
# Every kept profile gets this name, because its own name may be any text.
_PROFILE_NAME = b"ICC Profile"
_ANIMATION = {b"acTL", b"fcTL", b"fdAT"}
_METADATA = {b"IHDR", b"eXIf", b"iTXt"}


def strip_png(data: bytes, exif: bytes | None) -> list[Piece]:
    """Strip a PNG: keep pixels, colours, density and animation. Drop broken chunks.

    Unknown critical chunks are dropped too, since the image is drawn without them.

    Args:
        exif: EXIF to keep, as `Image.Exif.tobytes` returns it.

    Raises:
        ValueError: a chunk of the image is longer than the file, or there are two headers.
    """
    pieces = Pieces()
    pieces.keep(0, png.SIGNATURE_BYTES)
    chunks = list(png.read_chunks(data))
    animated = png.is_animation(data, chunks)
    profile = _find_profile(data, chunks)
    palette_entries, seen = 0, set[bytes]()
    for chunk in chunks:
        kind, body = chunk.kind, data[chunk.start + 8 : chunk.end - 4]
        if kind == b"IEND":
            break
        if kind == b"IDAT" and exif is not None:
            pieces.insert(_chunk(b"eXIf", exif.removeprefix(_EXIF_PREFIX)))
            exif = None
        if len(body) != int.from_bytes(data[chunk.start : chunk.start + 4], "big"):
            raise ValueError("a chunk that is longer than the file")
        if kind == b"IHDR":
            if kind in seen:
                raise ValueError("two headers")
            if len(body) == _HEADER_BYTES:
                pieces.keep(chunk.start, chunk.end)
            else:
                pieces.insert(_chunk(kind, body[:_HEADER_BYTES]))
        elif png.is_critical(kind):
            # Only a palette image needs its palette.
            if kind == b"IDAT" or (kind == b"PLTE" and data[_COLOUR_KIND] == _PALETTE):
                pieces.keep(chunk.start, chunk.end)
                palette_entries = len(body) // 3 if kind == b"PLTE" else palette_entries
        elif kind in _ANIMATION:
            if animated:
                pieces.keep(chunk.start, chunk.end)
        elif kind in seen or not png.has_checksum(data, chunk):
            continue
        elif kind in _COLOURS and seen & {b"PLTE", b"IDAT"}:
            # Readers use these only before the palette, which may be dropped.
            continue
        elif kind in _COLOURS and profile is not None and profile.length == 0:
            # If readers find a profile, valid or not, they ignore other colour chunks.
            continue
        elif profile is not None and chunk == profile.chunk:
            _keep_profile(pieces, data, profile)
        elif len(body) in _LENGTHS.get(kind, ()) or (
            kind == b"tRNS" and png.fits_transparency(data, body, palette_entries)
        ):
            pieces.keep(chunk.start, chunk.end)
        else:
            continue
        seen.add(kind)
    pieces.insert(_chunk(b"IEND", b""))
    return pieces.list


class _Profile(NamedTuple):
    """The chunk from which readers take the colour profile.

    Attributes:
        chunk: its place in the file.
        name_bytes: length of the profile's name.
        profile: the decompressed data.
        length: bytes of `profile` that are the profile; 0 if it is invalid.
        is_whole: whether nothing follows the compressed data.
    """

    chunk: png.Chunk
    name_bytes: int
    profile: bytes
    length: int
    is_whole: bool


def _find_profile(data: bytes, chunks: Sequence[png.Chunk]) -> _Profile | None:
    for chunk in chunks:
        if chunk.kind in (b"PLTE", b"IDAT"):
            return None
        body = data[chunk.start + 8 : chunk.end - 4]
        if chunk.kind == b"iCCP" and png.has_checksum(data, chunk) and png.has_profile(body, MAX_PROFILE_BYTES):
            name_bytes, inflater = body.index(b"\0"), zlib.decompressobj()
            profile = inflater.decompress(body[name_bytes + 2 :], MAX_PROFILE_BYTES + 1)
            is_whole = inflater.eof and not inflater.unused_data
            return _Profile(chunk, name_bytes, profile, profile_length(profile), is_whole)
    return None


def _keep_profile(pieces: Pieces, data: bytes, profile: _Profile) -> None:
    """Keep a valid profile under the fixed name, without data after it."""
    start, end = profile.chunk.start + 8, profile.chunk.end - 4
    compressed = start + profile.name_bytes + 2
    head = _PROFILE_NAME + b"\0\0"
    if profile.length < len(profile.profile) or not profile.is_whole:
        pieces.insert(_chunk(b"iCCP", head + zlib.compress(profile.profile[: profile.length], 9)))
    elif data[start:compressed] == head:
        pieces.keep(profile.chunk.start, profile.chunk.end)
    else:
        pieces.insert(struct.pack(">I", len(head) + end - compressed) + b"iCCP" + head)
        pieces.keep(compressed, end)
        pieces.insert(struct.pack(">I", zlib.crc32(b"iCCP" + head + data[compressed:end])))


def png_metadata(data: bytes) -> bytes:
    """Return a PNG with the header and the metadata of `data`, whose chunks are valid, and without pixels."""
    chunks = [data[chunk.start : chunk.end] for chunk in png.read_chunks(data) if chunk.kind in _METADATA]
    return b"".join((data[: png.SIGNATURE_BYTES], *chunks, _chunk(b"IDAT", b""), _chunk(b"IEND", b"")))


def _chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
