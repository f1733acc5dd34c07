"""Strip TIFF files in place, because they contain offsets from the file's beginning.

These parts stay: the header, the directories with the tags that decoders read, the values of these tags, and the
strips, tiles and tables that they point to. All other bytes become zero, so nothing remains in a gap, after the image,
or in an unreachable directory. The file keeps its length.
"""

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping
from functools import partial
from itertools import zip_longest

from PIL import Image

from packshot.render.formats.tiff_directories import Directory, Entry, Range, Tiff, read_directories
from packshot.render.stripping.pieces import Edit, Piece, edited_in_place

_WIDTH, _HEIGHT, _BITS, _COMPRESSION, _PHOTOMETRIC, _SAMPLES, _ROWS, _PLANAR = 256, 257, 258, 259, 262, 277, 278, 284
_TILE_WIDTH, _TILE_HEIGHT = 322, 323
_ORIENTATION, _ARTIST, _COPYRIGHT = 274, 315, 33432
_STRIPS, _TILES = 273, 324
# Tags of offsets, with the tags of the lengths there. The last pair is a whole file of old-style JPEG.
_PARTS = {_STRIPS: 279, _TILES: 325, 513: 514}
# Tables of old-style JPEG. A Huffman table begins with its numbers of symbols by code length.
_QUANTIZATION_TABLES, _HUFFMAN_TABLES = 519, (520, 521)
_QUANTIZATION_BYTES, _HUFFMAN_HEAD_BYTES = 64, 16
_UNCOMPRESSED, _SEPARATE_PLANES, _YCBCR = 1, 2, 6
_SHORT, _ASCII = 3, 2
# Writers align parts. Gaps up to this many bytes stay, because each overwritten gap adds two pieces.
_MAX_PADDING = 3


def strip_tiff(data: bytes, exif: bytes | None) -> list[Piece]:
    """Strip all directories of a TIFF.

    Args:
        exif: orientation and credits to keep, as `Image.Exif.tobytes` returns them. A credit stays only if the
        removed bytes
            leave enough room for it.

    Raises:
        ValueError: a directory lies outside the file or within the image, there are too many directories, or the
        length of
            a part is unknown.
    """
    tiff = Tiff(data, "little" if data[:2] == b"II" else "big", is_big=43 in data[2:4])
    directories = list(read_directories(tiff))
    stays = [(0, 16 if tiff.is_big else 8)]
    for directory in directories:
        stays += (entry.value for entry in directory.kept.values())
        parts = list(_parts(tiff, directory.kept))
        stays += [*parts, *_tables(tiff, directory.kept)]
        if _number(tiff, directory.kept, _COMPRESSION, _UNCOMPRESSED) == _UNCOMPRESSED:
            _check_apart(parts, directories, len(data))
    room = _gaps([*stays, *(directory.place for directory in directories)], len(data))
    edits: list[Edit] = []
    added = Image.Exif()
    if exif is not None:
        added.load(exif)
    for directory in directories:
        entries = {tag: entry.data for tag, entry in directory.kept.items()}
        missing = {tag: value for tag, value in added.items() if tag not in entries}
        start, stop = _place(tiff, directory, len(entries) + len(missing), room)
        size = (stop - start - tiff.count_bytes - tiff.offset_bytes) // (4 + 2 * tiff.offset_bytes)
        # Lowest tag first, so the orientation takes precedence if the room is short.
        for tag, value in sorted(missing.items()):
            if len(entries) < size and (spelled := _spell_entry(tiff, tag, value, room, edits)) is not None:
                entries[tag] = spelled
        edits.append((start, stop, _spell_directory(tiff, entries, directory.next_at)))
        if start != directory.place[0]:
            # Only the first directory gets more tags, and the header holds its position.
            edits.append(_header_edit(tiff, start))
        added = Image.Exif()
    edits += ((start, stop, b"") for start, stop in room)
    return edited_in_place(len(data), edits)


def _parts(tiff: Tiff, tags: Mapping[int, Entry]) -> Iterator[Range]:
    """Yield the ranges of the strips and tiles of a directory."""
    for offsets_tag, lengths_tag in _PARTS.items():
        offsets, lengths = _numbers(tiff, tags, offsets_tag), _numbers(tiff, tags, lengths_tag)
        # Lengths in the file may be too short, or large enough to cover hidden data. Calculated lengths are exact.
        calculated = _uncompressed_lengths(tiff, tags, offsets_tag)
        for offset, length in zip_longest(offsets, (calculated or lengths)[: len(offsets)], fillvalue=0):
            if offset and not length:
                raise ValueError("a part whose length is not known")
            if offset:
                yield offset, offset + length


def _tables(tiff: Tiff, tags: Mapping[int, Entry]) -> Iterator[Range]:
    """Yield the ranges of the old-style JPEG tables of a directory."""
    for offset in _numbers(tiff, tags, _QUANTIZATION_TABLES):
        yield offset, offset + _QUANTIZATION_BYTES
    for tag in _HUFFMAN_TABLES:
        for offset in _numbers(tiff, tags, tag):
            head = tiff.data[offset : offset + _HUFFMAN_HEAD_BYTES]
            yield offset, offset + _HUFFMAN_HEAD_BYTES + sum(head)


def _numbers(tiff: Tiff, tags: Mapping[int, Entry], tag: int) -> list[int]:
    return tags[tag].numbers(tiff) if tag in tags else []


def _number(tiff: Tiff, tags: Mapping[int, Entry], tag: int, otherwise: int) -> int:
    return next(iter(_numbers(tiff, tags, tag)), otherwise)


def _check_apart(parts: Iterable[Range], directories: Iterable[Directory], size: int) -> None:
    """Check that no directory lies within the samples, because shortening it would change them.

    Raises:
        ValueError: one does.
    """
    gaps = _gaps(parts, size)
    for directory in directories:
        start, stop = directory.place
        before = bisect_right(gaps, (start, size))
        if not before or gaps[before - 1][1] < stop:
            raise ValueError("a directory within the picture")


def _uncompressed_lengths(tiff: Tiff, tags: Mapping[int, Entry], offsets_tag: int) -> list[int]:
    """Return the length of each strip or tile in bytes; empty if it cannot be calculated, as for compressed data."""
    number = partial(_number, tiff, tags)
    is_plain = number(_COMPRESSION, _UNCOMPRESSED) == _UNCOMPRESSED and number(_PHOTOMETRIC, 0) != _YCBCR
    if not is_plain or offsets_tag not in (_STRIPS, _TILES):
        return []
    parts = len(_numbers(tiff, tags, offsets_tag))
    are_separate = number(_PLANAR, 1) == _SEPARATE_PLANES
    bits = max(_numbers(tiff, tags, _BITS), default=1) * (1 if are_separate else number(_SAMPLES, 1))
    if offsets_tag == _TILES:
        return [-(-number(_TILE_WIDTH, 0) * bits // 8) * number(_TILE_HEIGHT, 0)] * parts
    row, height = -(-number(_WIDTH, 0) * bits // 8), number(_HEIGHT, 0)
    rows = max(1, min(number(_ROWS, height), height))
    strips = max(1, -(-height // rows))
    return [row * min(rows, height - part % strips * rows) for part in range(parts)]


def _gaps(taken: Iterable[Range], size: int) -> list[Range]:
    """Return the unused ranges of a file, without short ones."""
    gaps, at = [], 0
    for start, stop in sorted(taken):
        if start - at > _MAX_PADDING and at < size:
            gaps.append((at, min(start, size)))
        at = max(at, stop)
    if at < size:
        gaps.append((at, size))
    return gaps


def _place(tiff: Tiff, directory: Directory, tags: int, room: list[Range]) -> Range:
    """Return the range for a directory of `tags` tags: its own, or one in `room` if its own is too short."""
    needed = tiff.count_bytes + tags * (4 + 2 * tiff.offset_bytes) + tiff.offset_bytes
    if tags > directory.size:
        # If the directory moves, its own range becomes available too.
        wider = _joined([*room, directory.place])
        for index, (gap, end) in enumerate(wider):
            # Directories begin at even offsets.
            start = gap + (gap & 1)
            if end - start >= needed:
                room[:] = [*wider[:index], (gap, start), (start + needed, end), *wider[index + 1 :]]
                return start, start + needed
    return directory.place


def _joined(ranges: Iterable[Range]) -> list[Range]:
    """Return ranges in ascending order, with adjacent ones merged."""
    joined: list[Range] = []
    for start, stop in sorted(ranges):
        if joined and joined[-1][1] == start:
            start = joined.pop()[0]
        joined.append((start, stop))
    return joined


def _header_edit(tiff: Tiff, directory_at: int) -> Edit:
    at = 8 if tiff.is_big else 4
    return at, at + tiff.offset_bytes, tiff.spell(directory_at, tiff.offset_bytes)


def _spell_entry(tiff: Tiff, tag: int, value: object, room: list[Range], edits: list[Edit]) -> bytes | None:
    """Write an entry. A value that does not fit into the entry goes into `room`; None if the room is too small."""
    if tag == _ORIENTATION and isinstance(value, int):
        return _entry(tiff, tag, _SHORT, 1, tiff.spell(value, 2))
    if tag not in (_ARTIST, _COPYRIGHT):
        return None
    text = (value.encode("latin-1", "replace") if isinstance(value, str) else bytes(value)) + b"\0"  # type: ignore[call-overload]
    if len(text) <= tiff.offset_bytes:
        return _entry(tiff, tag, _ASCII, len(text), text)
    for index, (start, stop) in enumerate(room):
        if stop - start >= len(text):
            edits.append((start, start + len(text), text))
            room[index] = start + len(text), stop
            return _entry(tiff, tag, _ASCII, len(text), tiff.spell(start, tiff.offset_bytes))
    return None


def _entry(tiff: Tiff, tag: int, type: int, count: int, value: bytes) -> bytes:
    head = tiff.spell(tag, 2) + tiff.spell(type, 2) + tiff.spell(count, tiff.offset_bytes)
    return head + value.ljust(tiff.offset_bytes, b"\0")


def _spell_directory(tiff: Tiff, entries: Mapping[int, bytes], next_at: int) -> bytes:
    inner = b"".join(entries[tag] for tag in sorted(entries))
    return tiff.spell(len(entries), tiff.count_bytes) + inner + tiff.spell(next_at, tiff.offset_bytes)
