"""Read the directories and tags of a TIFF file without a codec.

Damaged directories are read as far as possible. A tag whose value lies outside the file has no values.
"""

import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

NEW_SUBFILE_TYPE, IMAGE_WIDTH, IMAGE_LENGTH, BITS_PER_SAMPLE, COMPRESSION, PHOTOMETRIC = 254, 256, 257, 258, 259, 262
FILL_ORDER, MAKE, STRIP_OFFSETS, SAMPLES_PER_PIXEL, ROWS_PER_STRIP, STRIP_BYTE_COUNTS = 266, 271, 273, 277, 278, 279
PLANAR_CONFIGURATION, T4_OPTIONS, PREDICTOR, TILE_WIDTH, TILE_LENGTH = 284, 292, 317, 322, 323
TILE_OFFSETS, TILE_BYTE_COUNTS, SUB_DIRECTORIES, EXTRA_SAMPLES, SAMPLE_FORMAT = 324, 325, 330, 338, 339
DNG_VERSION = 50706

MAX_ENTRIES = 4_096
# Values of one tag: a strip for each row of four planes at the maximum height.
MAX_VALUES = 262_144
# Camera raw files have up to ten directories.
_MAX_DIRECTORIES = 64

_WHOLE_NUMBERS = {1: "B", 3: "H", 4: "I", 13: "I", 16: "Q", 18: "Q"}
_TEXT = 2


@dataclass(frozen=True, slots=True)
class Directory:
    """One directory of a TIFF file.

    Attributes:
        data: the whole file.
        order: "<" for little endian, ">" for big endian.
        entries: by tag: type, number of values, position of the first value.
        following: position of the next directory; 0 if this is the last one.
    """

    data: bytes
    order: str
    entries: Mapping[int, tuple[int, int, int]]
    following: int

    def numbers(self, tag: int) -> tuple[int, ...]:
        """Return the whole numbers of a tag.

        Returns:
            Empty if the tag is missing, has another type, lies outside the file, or has more than `MAX_VALUES`
            values.
        """
        kind, count, at = self.entries.get(tag, (0, 0, 0))
        letter = _WHOLE_NUMBERS.get(kind)
        if letter is None or count > MAX_VALUES:
            return ()
        length = count * struct.calcsize("=" + letter)
        if at + length > len(self.data):
            return ()
        return struct.unpack_from(f"{self.order}{count}{letter}", self.data, at)

    def number(self, tag: int, default: int) -> int:
        """Return the first whole number of a tag."""
        return next(iter(self.numbers(tag)), default)

    def text(self, tag: int) -> str:
        """Return the text of a tag, at most 100 characters; empty if there is none."""
        kind, count, at = self.entries.get(tag, (0, 0, 0))
        found = self.data[at : at + min(count, 100)] if kind == _TEXT else b""
        return found.split(b"\0")[0].decode("latin-1").strip()


def first_directory(data: bytes) -> Directory | None:
    """Return the directory of a TIFF's first image; None if it cannot be read."""
    start, _ = _start(data)
    return _directory(data, start)


def directories(data: bytes) -> Iterator[Directory]:
    """Yield the directories of all images and of their subordinate images, the first image first."""
    start, _ = _start(data)
    waiting, seen = [start], set[int]()
    while waiting and len(seen) < _MAX_DIRECTORIES:
        at = waiting.pop(0)
        if at in seen:
            continue
        seen.add(at)
        directory = _directory(data, at)
        if directory is not None:
            yield directory
            waiting += [*directory.numbers(SUB_DIRECTORIES)[:_MAX_DIRECTORIES], directory.following]


def first_is_reduced(data: bytes) -> bool:
    """Return whether the first image is marked as a reduced version of a larger image in the file."""
    found = directories(data)
    first = next(found, None)
    if first is None or not first.number(NEW_SUBFILE_TYPE, 0) & 1:
        return False
    return any(not other.number(NEW_SUBFILE_TYPE, 0) & 1 and _pixels(other) > _pixels(first) for other in found)


def entry_counts(data: bytes) -> tuple[int, Iterator[tuple[int, int]]]:
    """Return the number of entries that the first directory announces, and the tag and number of values of each."""
    start, is_big = _start(data)
    order = _order(data)
    head, entry = (order + "Q", order + "HHQ") if is_big else (order + "H", order + "HHI")
    if start + struct.calcsize(head) > len(data):
        return 0, iter(())
    (count,) = struct.unpack_from(head, data, start)
    step = 20 if is_big else 12
    first = start + struct.calcsize(head)
    inside = range(first, min(first + count * step, len(data) - step + 1), step)
    return count, ((tag, values) for tag, _, values in (struct.unpack_from(entry, data, at) for at in inside))


def _pixels(directory: Directory) -> int:
    return directory.number(IMAGE_WIDTH, 0) * directory.number(IMAGE_LENGTH, 0)


def _order(data: bytes) -> str:
    return "<" if data[:2] == b"II" else ">"


def _start(data: bytes) -> tuple[int, bool]:
    # Return the position of the first directory, and whether the file is a BigTIFF with 64-bit numbers.
    is_big = 43 in data[2:4]
    if len(data) < (16 if is_big else 8):
        return 0, is_big
    (start,) = struct.unpack_from(_order(data) + ("Q" if is_big else "I"), data, 8 if is_big else 4)
    return start, is_big


def _directory(data: bytes, start: int) -> Directory | None:
    is_big, order = 43 in data[2:4], _order(data)
    head, entry, following = ("Q", "HHQQ", "Q") if is_big else ("H", "HHII", "I")
    at = start + struct.calcsize("=" + head)
    if start < 8 or at > len(data):
        return None
    (count,) = struct.unpack_from(order + head, data, start)
    step, inline = (20, 8) if is_big else (12, 4)
    end = at + count * step
    if count > MAX_ENTRIES or end > len(data):
        return None
    entries: dict[int, tuple[int, int, int]] = {}
    for place in range(at, end, step):
        tag, kind, values, value = struct.unpack_from(order + entry, data, place)
        size = struct.calcsize("=" + _WHOLE_NUMBERS.get(kind, "B" if kind in (1, _TEXT, 6, 7) else "Q")) * values
        entries[tag] = kind, values, place + step - inline if size <= inline else value
    has_following = end + struct.calcsize("=" + following) <= len(data)
    return Directory(data, order, entries, struct.unpack_from(order + following, data, end)[0] if has_following else 0)
