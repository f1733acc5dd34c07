"""Remove the metadata of TIFF files in place, as offsets in them are counted from the file's beginning.

Tags that are not needed to draw the picture are taken out of their directory, and their values are overwritten. The
file keeps its length.
"""

from dataclasses import dataclass, field

from PIL import Image

from packshot.render.pieces import Edit, Piece, edited_in_place

_ORIENTATION, _ARTIST, _COPYRIGHT = 274, 315, 33432
# What decoders need, the density, the orientation and the colour profile.
_KEPT = {
    254, 255, 256, 257, 258, 259, 262, 263, 264, 265, 266, 273, 274, 277, 278, 279, 280, 281, 282, 283, 284, 288, 289,
    290, 291, 292, 293, 296, 297, 301, 317, 318, 319, 320, 321, 322, 323, 324, 325, 326, 327, 328, 332, 334, 336, 338,
    339, 340, 341, 342, 347, 512, 513, 514, 515, 517, 518, 519, 520, 521, 529, 530, 531, 532, 34675, 50674,
}  # fmt: skip
# EXIF, GPS and interoperability; directories of further pictures within this one.
_DIRECTORIES = {34665, 34853, 40965, 330}
_TYPE_BYTES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8, 17: 8, 18: 8}
_SHORT, _ASCII = 3, 2

_MAX_ENTRIES = 4_096
_MAX_DIRECTORIES = 4_096


@dataclass(slots=True)
class _Tiff:
    data: bytes
    order: str
    is_big: bool
    edits: list[Edit] = field(default_factory=list)
    seen: set[int] = field(default_factory=set)

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
    """One tag of a directory: its bytes there, and the range of its value in the file."""

    tag: int
    data: bytes
    start: int
    stop: int


def strip_tiff(data: bytes, exif: bytes | None) -> list[Piece]:
    """Strip every directory of a TIFF.

    Args:
        exif: orientation and credits that are kept, as `Image.Exif.tobytes` returns them. A credit stays where the
            removed values leave room for it.

    Raises:
        ValueError: a directory lies outside of the file, or they are too many, or values overlap.
    """
    order = "little" if data[:2] == b"II" else "big"
    tiff = _Tiff(data, order, is_big=43 in data[2:4])
    at = tiff.number(8 if tiff.is_big else 4, tiff.offset_bytes)
    kept = Image.Exif()
    if exif is not None:
        kept.load(exif)
    while at:
        at = _strip_directory(tiff, at, dict(kept.items()))
        kept = Image.Exif()
    return edited_in_place(len(data), _merged(tiff.edits))


def _strip_directory(tiff: _Tiff, at: int, added: dict[int, object]) -> int:
    """Strip one directory, and return where the next one is."""
    entries, next_at = _read_directory(tiff, at)
    removed = [entry for entry in entries if entry.tag not in _KEPT]
    kept = {entry.tag: entry.data for entry in entries if entry.tag in _KEPT}
    for entry in removed:
        if entry.tag in _DIRECTORIES:
            _erase_directories(tiff, entry)
    room = [(entry.start, entry.stop) for entry in removed if entry.stop > entry.start]
    for tag, value in added.items():
        if len(kept) < len(entries) and tag not in kept and (told := _told(tiff, tag, value, room)) is not None:
            kept[tag] = told
    tiff.edits += [(start, stop, b"") for start, stop in room]
    directory = tiff.spell(len(kept), tiff.count_bytes) + b"".join(kept[tag] for tag in sorted(kept))
    directory += tiff.spell(next_at, tiff.offset_bytes)
    tiff.edits.append((at, _end_of_directory(tiff, at, len(entries)), directory))
    return next_at


def _told(tiff: _Tiff, tag: int, value: object, room: list[tuple[int, int]]) -> bytes | None:
    """Spell an entry; where its value needs more than the entry has, it takes the place of a removed one."""
    if tag == _ORIENTATION and isinstance(value, int):
        return _entry(tiff, tag, _SHORT, 1, tiff.spell(value, 2))
    if tag not in (_ARTIST, _COPYRIGHT):
        return None
    text = (value.encode("latin-1", "replace") if isinstance(value, str) else bytes(value)) + b"\0"  # type: ignore[call-overload]
    if len(text) <= tiff.offset_bytes:
        return _entry(tiff, tag, _ASCII, len(text), text)
    for index, (start, stop) in enumerate(room):
        if stop - start >= len(text):
            tiff.edits.append((start, start + len(text), text))
            room[index] = start + len(text), stop
            return _entry(tiff, tag, _ASCII, len(text), tiff.spell(start, tiff.offset_bytes))
    return None


def _entry(tiff: _Tiff, tag: int, type: int, count: int, value: bytes) -> bytes:
    head = tiff.spell(tag, 2) + tiff.spell(type, 2) + tiff.spell(count, tiff.offset_bytes)
    return head + value.ljust(tiff.offset_bytes, b"\0")


def _end_of_directory(tiff: _Tiff, at: int, entries: int) -> int:
    return at + tiff.count_bytes + entries * (4 + 2 * tiff.offset_bytes) + tiff.offset_bytes


def _read_directory(tiff: _Tiff, at: int) -> tuple[list[_Entry], int]:
    if at in tiff.seen or len(tiff.seen) >= _MAX_DIRECTORIES:
        raise ValueError("directories that lead in a circle, or too many of them")
    tiff.seen.add(at)
    count = tiff.number(at, tiff.count_bytes)
    if count > _MAX_ENTRIES:
        raise ValueError(f"more than {_MAX_ENTRIES} tags in a directory")
    entries = []
    width = 4 + 2 * tiff.offset_bytes
    for index in range(count):
        start = at + tiff.count_bytes + index * width
        tag, type = tiff.number(start, 2), tiff.number(start + 2, 2)
        length = tiff.number(start + 4, tiff.offset_bytes) * _TYPE_BYTES.get(type, 1)
        value = tiff.number(start + 4 + tiff.offset_bytes, tiff.offset_bytes)
        is_inside = length > tiff.offset_bytes and value + length <= len(tiff.data)
        entries.append(
            _Entry(tag, tiff.data[start : start + width], value if is_inside else 0, value + length if is_inside else 0)
        )
    end = _end_of_directory(tiff, at, count)
    return entries, tiff.number(end - tiff.offset_bytes, tiff.offset_bytes)


def _erase_directories(tiff: _Tiff, entry: _Entry) -> None:
    """Overwrite the directories that an entry leads to, and all of their values."""
    width = tiff.offset_bytes
    if entry.stop > entry.start:
        offsets = [tiff.number(at, width) for at in range(entry.start, entry.stop - width + 1, width)]
    else:
        offsets = [int.from_bytes(entry.data[-width:], tiff.order)]  # type: ignore[arg-type]
    for at in offsets:
        if not at or at in tiff.seen:
            continue
        entries, _ = _read_directory(tiff, at)
        for inner in entries:
            # Strips and tiles of a further picture stay behind as bytes that nothing leads to.
            if inner.tag in _DIRECTORIES:
                _erase_directories(tiff, inner)
            tiff.edits.append((inner.start, inner.stop, b""))
        tiff.edits.append((at, _end_of_directory(tiff, at, len(entries)), b""))


def _merged(edits: list[Edit]) -> list[Edit]:
    """Let values that overlap, as writers share them between tags, be overwritten once."""
    merged: list[Edit] = []
    for start, stop, data in sorted(edits):
        if merged and start < merged[-1][1]:
            last = merged[-1]
            if data or last[2]:
                raise ValueError("values that overlap")
            merged[-1] = last[0], max(last[1], stop), b""
        else:
            merged.append((start, stop, data))
    return merged
