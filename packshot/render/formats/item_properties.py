"""Read the items of AVIF and HEIC files and their properties (ISO/IEC 23008-12)."""

from collections.abc import Iterator, Mapping
from typing import NamedTuple

from packshot.render.formats.boxes import Box, boxes, find_box

META = (b"meta", 4)


class Item(NamedTuple):
    """The properties of one item.

    Attributes:
        id: number of the item.
        at: position in the file of its number of properties, in `ipma`.
        numbers: numbers of its properties, counted from 1, in the order of `ipma`.
        number_bytes: bytes of each of these numbers in the file, 1 or 2.
    """

    id: int
    at: int
    numbers: tuple[int, ...]
    number_bytes: int

    def unlink(self, changed: bytearray, number: int) -> None:
        """Remove a property from this item in place: 0 stands for no property."""
        for place, found in enumerate(self.numbers):
            if found == number:
                start = self.at + 1 + place * self.number_bytes
                changed[start : start + self.number_bytes] = bytes(self.number_bytes)

    def has(self, known: Mapping[int, Box], kind: bytes) -> bool:
        """Return whether the item has a property of this box type."""
        return any(number in known and known[number].kind == kind for number in self.numbers)


def properties(data: bytes) -> dict[int, Box]:
    """Return the property boxes by number, counted from 1."""
    found = find_box(data, 0, len(data), META, (b"iprp", 0), (b"ipco", 0))
    return {} if found is None else dict(enumerate(boxes(data, found.inside, found.after), 1))


def primary_item(data: bytes) -> int | None:
    """Return the number of the primary item; None if the file names none."""
    found = find_box(data, 0, len(data), META, (b"pitm", 0))
    if found is None:
        return None
    length = 2 if data[found.inside : found.inside + 1] == b"\0" else 4
    return int.from_bytes(data[found.inside + 4 : found.inside + 4 + length], "big")


def items(data: bytes) -> Iterator[Item]:
    """Yield the items and the numbers of their properties."""
    iprp = find_box(data, 0, len(data), META, (b"iprp", 0))
    if iprp is None:
        return
    for box in boxes(data, iprp.inside, iprp.after):
        if box.kind == b"ipma" and box.after - box.inside >= 8:
            yield from _entries(data, box)


def _entries(data: bytes, box: Box) -> Iterator[Item]:
    id_bytes = 4 if data[box.inside] else 2
    number_bytes = 2 if data[box.inside + 3] & 1 else 1
    at = box.inside + 8
    while at + id_bytes + 1 <= box.after:
        count_at = at + id_bytes
        end = count_at + 1 + data[count_at] * number_bytes
        if end > box.after:
            return
        # The highest bit marks an essential property.
        mask = (1 << (8 * number_bytes - 1)) - 1
        numbers = (
            int.from_bytes(data[place : place + number_bytes], "big") & mask
            for place in range(count_at + 1, end, number_bytes)
        )
        yield Item(int.from_bytes(data[at:count_at], "big"), count_at, tuple(numbers), number_bytes)
        at = end
