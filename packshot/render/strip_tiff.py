"""Remove the metadata of TIFF files in place, as offsets in them are counted from the file's beginning.

What the picture needs is found and stays: the header, the directories with the tags that decoders read, the values of
these tags, and the strips, tiles and tables that they name. All other bytes become zero, so nothing survives in a gap,
after the picture, or in a directory that nothing leads to. The file keeps its length.
"""

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from itertools import zip_longest

from PIL import Image

from packshot.render.pieces import Edit, Piece, edited_in_place
from packshot.render.profiles import profile_length

_WIDTH, _HEIGHT, _BITS, _COMPRESSION, _PHOTOMETRIC, _SAMPLES, _ROWS, _PLANAR = 256, 257, 258, 259, 262, 277, 278, 284
_TILE_WIDTH, _TILE_HEIGHT = 322, 323
_ORIENTATION, _ARTIST, _COPYRIGHT = 274, 315, 33432
_STRIPS, _TILES = 273, 324
# Tags of offsets, and those of the lengths of what stands there; the last pair is a whole file of old JPEG.
_PARTS = {_STRIPS: 279, _TILES: 325, 513: 514}
# Tables of old JPEG. A Huffman table begins with the numbers of its symbols.
_QUANTIZATION_TABLES, _HUFFMAN_TABLES = 519, (520, 521)
_QUANTIZATION_BYTES, _HUFFMAN_HEAD_BYTES = 64, 16
_UNCOMPRESSED, _SEPARATE_PLANES, _YCBCR = 1, 2, 6
# What decoders need, the density, the orientation and the colour profile.
_KEPT = {
    254, 255, 256, 257, 258, 259, 262, 263, 264, 265, 266, 273, 274, 277, 278, 279, 280, 281, 282, 283, 284,
    290, 291, 292, 293, 296, 297, 301, 317, 318, 319, 320, 321, 322, 323, 324, 325, 326, 327, 328, 332, 334, 336, 338,
    339, 340, 341, 342, 347, 512, 513, 514, 515, 517, 518, 519, 520, 521, 529, 530, 531, 532, 34675, 50674,
}  # fmt: skip
_TYPE_BYTES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8, 17: 8, 18: 8}
_SHORT, _ASCII = 3, 2
_PROFILE = 34675

_MAX_ENTRIES = 4_096
_MAX_DIRECTORIES = 4_096
# Writers align parts. A gap as short as that stays, since each gap makes two pieces more.
_MAX_PADDING = 3

_Range = tuple[int, int]


@dataclass(frozen=True, slots=True)
class _Tiff:
    data: bytes
    order: str
    is_big: bool

    @property
    def offset_bytes(self) -> int:
        return 8 if self.is_big else 4

    @property
    def count_bytes(self) -> int:
        return 8 if self.is_big else 2

    def number(self, at: int, width: int) -> int:
        if at + width > len(self.data):
            raise ValueError("a directory outside of the file")
        return int.from_bytes(self.data[at : at + width], self.order)  # type: ignore[arg-type]

    def spell(self, value: int, width: int) -> bytes:
        return value.to_bytes(width, self.order)  # type: ignore[arg-type]


@dataclass(frozen=True, slots=True)
class _Entry:
    """One tag of a directory.

    Attributes:
        data: its bytes there.
        value: the range of its value in the file, which may be in the entry itself.
        item_bytes: of each item of the value.
    """

    tag: int
    data: bytes
    value: _Range
    item_bytes: int

    def numbers(self, tiff: _Tiff) -> list[int]:
        """Return the value as whole numbers; none: it lies outside of the file."""
        start, stop = self.value
        if stop > len(tiff.data):
            return []
        return [tiff.number(at, self.item_bytes) for at in range(start, stop, self.item_bytes)]


@dataclass(frozen=True, slots=True)
class _Directory:
    """One directory of a file.

    Attributes:
        place: its range in the file.
        size: how many tags it has.
        kept: the tags that stay.
        next_at: where the next one is; 0: it is the last.
    """

    place: _Range
    size: int
    kept: Mapping[int, _Entry]
    next_at: int


def strip_tiff(data: bytes, exif: bytes | None) -> list[Piece]:
    """Strip every directory of a TIFF.

    Args:
        exif: orientation and credits that are kept, as `Image.Exif.tobytes` returns them. A credit stays where the
            removed bytes leave room for it.

    Raises:
        ValueError: a directory lies outside of the file or within the picture, there are too many, or the length of a
            part is not known.
    """
    tiff = _Tiff(data, "little" if data[:2] == b"II" else "big", is_big=43 in data[2:4])
    directories = list(_read_directories(tiff))
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
        for tag, value in added.items():
            is_room = len(entries) < directory.size and tag not in entries
            if is_room and (told := _told(tiff, tag, value, room, edits)) is not None:
                entries[tag] = told
        edits.append((*directory.place, _spell_directory(tiff, entries, directory.next_at)))
        added = Image.Exif()
    edits += ((start, stop, b"") for start, stop in room)
    return edited_in_place(len(data), edits)


def _read_directories(tiff: _Tiff) -> Iterator[_Directory]:
    at = tiff.number(8 if tiff.is_big else 4, tiff.offset_bytes)
    seen: set[int] = set()
    while at:
        if at in seen or len(seen) >= _MAX_DIRECTORIES:
            raise ValueError("directories that lead in a circle, or too many of them")
        seen.add(at)
        directory = _read_directory(tiff, at)
        yield directory
        at = directory.next_at


def _read_directory(tiff: _Tiff, at: int) -> _Directory:
    size, width = tiff.number(at, tiff.count_bytes), 4 + 2 * tiff.offset_bytes
    if size > _MAX_ENTRIES:
        raise ValueError(f"more than {_MAX_ENTRIES} tags in a directory")
    end = at + tiff.count_bytes + size * width
    kept: dict[int, _Entry] = {}
    for start in range(at + tiff.count_bytes, end, width):
        tag, item_bytes = tiff.number(start, 2), _TYPE_BYTES.get(tiff.number(start + 2, 2), 1)
        if tag not in _KEPT:
            continue
        length = tiff.number(start + 4, tiff.offset_bytes) * item_bytes
        value = start + 4 + tiff.offset_bytes
        if length > tiff.offset_bytes:
            value = tiff.number(value, tiff.offset_bytes)
        entry = _Entry(tag, tiff.data[start : start + width], (value, value + length), item_bytes)
        # Of a tag that comes twice libtiff reads the first.
        kept.setdefault(tag, entry)
    if _PROFILE in kept and (profile := _sound_profile(tiff, kept.pop(_PROFILE))) is not None:
        kept[_PROFILE] = profile
    return _Directory((at, end + tiff.offset_bytes), size, kept, tiff.number(end, tiff.offset_bytes))


def _sound_profile(tiff: _Tiff, entry: _Entry) -> _Entry | None:
    """Return the entry of a colour profile, without what follows the profile in its value; None: it is not sound."""
    start, stop = entry.value
    length = profile_length(tiff.data[start:stop]) if stop <= len(tiff.data) and entry.item_bytes == 1 else 0
    if length == 0:
        return None
    head = entry.data[:4] + tiff.spell(length, tiff.offset_bytes)
    return replace(entry, data=head + entry.data[len(head) :], value=(start, start + length))


def _parts(tiff: _Tiff, tags: Mapping[int, _Entry]) -> Iterator[_Range]:
    """Yield the ranges of the strips and tiles that a directory names."""
    for offsets_tag, lengths_tag in _PARTS.items():
        offsets, lengths = _numbers(tiff, tags, offsets_tag), _numbers(tiff, tags, lengths_tag)
        # What the samples take is certain; what the file says of it may be too little, or cover what hides behind.
        calculated = _uncompressed_lengths(tiff, tags, offsets_tag)
        for offset, length in zip_longest(offsets, (calculated or lengths)[: len(offsets)], fillvalue=0):
            if offset and not length:
                raise ValueError("a part whose length is not known")
            if offset:
                yield offset, offset + length


def _tables(tiff: _Tiff, tags: Mapping[int, _Entry]) -> Iterator[_Range]:
    """Yield the ranges of the tables of old JPEG that a directory names."""
    for offset in _numbers(tiff, tags, _QUANTIZATION_TABLES):
        yield offset, offset + _QUANTIZATION_BYTES
    for tag in _HUFFMAN_TABLES:
        for offset in _numbers(tiff, tags, tag):
            head = tiff.data[offset : offset + _HUFFMAN_HEAD_BYTES]
            yield offset, offset + _HUFFMAN_HEAD_BYTES + sum(head)


def _numbers(tiff: _Tiff, tags: Mapping[int, _Entry], tag: int) -> list[int]:
    return tags[tag].numbers(tiff) if tag in tags else []


def _number(tiff: _Tiff, tags: Mapping[int, _Entry], tag: int, otherwise: int) -> int:
    return next(iter(_numbers(tiff, tags, tag)), otherwise)


def _check_apart(parts: Iterable[_Range], directories: Iterable[_Directory], size: int) -> None:
    """Refuse samples that lie in a directory, as a shorter directory would change them."""
    gaps = _gaps(parts, size)
    for directory in directories:
        start, stop = directory.place
        before = bisect_right(gaps, (start, size))
        if not before or gaps[before - 1][1] < stop:
            raise ValueError("a directory within the picture")


def _uncompressed_lengths(tiff: _Tiff, tags: Mapping[int, _Entry], offsets_tag: int) -> list[int]:
    """Return how many bytes the samples of each strip or tile take; none: it is not certain, as of compressed ones."""
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


def _gaps(taken: Iterable[_Range], size: int) -> list[_Range]:
    """Return the ranges of a file that nothing takes, without the short ones."""
    gaps, at = [], 0
    for start, stop in sorted(taken):
        if start - at > _MAX_PADDING and at < size:
            gaps.append((at, min(start, size)))
        at = max(at, stop)
    if at < size:
        gaps.append((at, size))
    return gaps


def _told(tiff: _Tiff, tag: int, value: object, room: list[_Range], edits: list[Edit]) -> bytes | None:
    """Spell an entry; where its value needs more than the entry has, it is written into the room."""
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


def _entry(tiff: _Tiff, tag: int, type: int, count: int, value: bytes) -> bytes:
    head = tiff.spell(tag, 2) + tiff.spell(type, 2) + tiff.spell(count, tiff.offset_bytes)
    return head + value.ljust(tiff.offset_bytes, b"\0")


def _spell_directory(tiff: _Tiff, entries: Mapping[int, bytes], next_at: int) -> bytes:
    inner = b"".join(entries[tag] for tag in sorted(entries))
    return tiff.spell(len(entries), tiff.count_bytes) + inner + tiff.spell(next_at, tiff.offset_bytes)
