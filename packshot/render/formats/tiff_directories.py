"""Read the directories of a TIFF that is stripped, and the tags that stay."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

from packshot.render.formats.profiles import profile_length

# Tags that decoders need, resolution, orientation and colour profile.
_KEPT = {
    254, 255, 256, 257, 258, 259, 262, 263, 264, 265, 266, 273, 274, 277, 278, 279, 280, 281, 282, 283, 284,
    290, 291, 292, 293, 296, 297, 301, 317, 318, 319, 320, 321, 322, 323, 324, 325, 326, 327, 328, 332, 334, 336, 338,
    339, 340, 341, 342, 347, 512, 513, 514, 515, 517, 518, 519, 520, 521, 529, 530, 531, 532, 34675, 50674,
}  # fmt: skip
_TYPE_BYTES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8, 17: 8, 18: 8}
_PROFILE = 34675

_MAX_ENTRIES = 4_096
_MAX_DIRECTORIES = 4_096

Range = tuple[int, int]
"""Start and stop in the file."""


@dataclass(frozen=True, slots=True)
class Tiff:
    """A TIFF or BigTIFF file. `order` is its byte order, "little" or "big"."""

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
            raise ValueError("a directory outside the file")
        return int.from_bytes(self.data[at : at + width], self.order)  # type: ignore[arg-type]

    def spell(self, value: int, width: int) -> bytes:
        return value.to_bytes(width, self.order)  # type: ignore[arg-type]


@dataclass(frozen=True, slots=True)
class Entry:
    """One tag of a directory.

    Attributes:
        data: bytes of the entry.
        value: range of its value in the file, possibly within the entry.
        item_bytes: bytes of each item of the value.
    """

    tag: int
    data: bytes
    value: Range
    item_bytes: int

    def numbers(self, tiff: Tiff) -> list[int]:
        """Return the value as whole numbers; empty if it lies outside the file."""
        start, stop = self.value
        if stop > len(tiff.data):
            return []
        return [tiff.number(at, self.item_bytes) for at in range(start, stop, self.item_bytes)]


@dataclass(frozen=True, slots=True)
class Directory:
    """One directory of a TIFF.

    Attributes:
        place: its range in the file.
        size: number of tags in the file.
        kept: the tags that stay, by number.
        next_at: position of the next directory; 0 if this is the last one.
    """

    place: Range
    size: int
    kept: Mapping[int, Entry]
    next_at: int


def read_directories(tiff: Tiff) -> Iterator[Directory]:
    at = tiff.number(8 if tiff.is_big else 4, tiff.offset_bytes)
    seen: set[int] = set()
    while at:
        if at in seen or len(seen) >= _MAX_DIRECTORIES:
            raise ValueError("a cycle of directories, or too many of them")
        seen.add(at)
        directory = _read_directory(tiff, at)
        yield directory
        at = directory.next_at


def _read_directory(tiff: Tiff, at: int) -> Directory:
    size, width = tiff.number(at, tiff.count_bytes), 4 + 2 * tiff.offset_bytes
    if size > _MAX_ENTRIES:
        raise ValueError(f"more than {_MAX_ENTRIES} tags in a directory")
    end = at + tiff.count_bytes + size * width
    kept: dict[int, Entry] = {}
    for start in range(at + tiff.count_bytes, end, width):
        tag, item_bytes = tiff.number(start, 2), _TYPE_BYTES.get(tiff.number(start + 2, 2), 1)
        if tag not in _KEPT:
            continue
        length = tiff.number(start + 4, tiff.offset_bytes) * item_bytes
        value = start + 4 + tiff.offset_bytes
        if length > tiff.offset_bytes:
            value = tiff.number(value, tiff.offset_bytes)
        entry = Entry(tag, tiff.data[start : start + width], (value, value + length), item_bytes)
        # libtiff reads the first entry if a tag is repeated.
        kept.setdefault(tag, entry)
    if _PROFILE in kept and (profile := _sound_profile(tiff, kept.pop(_PROFILE))) is not None:
        kept[_PROFILE] = profile
    return Directory((at, end + tiff.offset_bytes), size, kept, tiff.number(end, tiff.offset_bytes))


def _sound_profile(tiff: Tiff, entry: Entry) -> Entry | None:
    """Return the entry of a colour profile, cut to the profile's length; None if the profile is invalid."""
    start, stop = entry.value
    length = profile_length(tiff.data[start:stop]) if stop <= len(tiff.data) and entry.item_bytes == 1 else 0
    if length == 0:
        return None
    head = entry.data[:4] + tiff.spell(length, tiff.offset_bytes)
    return replace(entry, data=head + entry.data[len(head) :], value=(start, start + length))
