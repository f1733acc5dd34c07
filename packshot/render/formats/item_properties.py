"""The items of AVIF and HEIC files and the properties that belong to each (ISO/IEC 23008-12)."""

from collections.abc import Iterator, Mapping
from typing import NamedTuple

from packshot.render.formats.boxes import Box, boxes, find_box

META = (b"meta", 4)


class Item(NamedTuple):
    """The properties of one item.

    Attributes:
        id: number of the item.
        at: where its entry has the count of its properties.
        numbers: of its properties, from 1 on, in the order of its entry.
        number_bytes: of each number in the file, 1 or 2.
    """

    id: int
    at: int
    numbers: tuple[int, ...]
    number_bytes: int

    def unlink(self, changed: bytearray, number: int) -> None:
        """Overwrite a property's number in this item's entry with 0, which stands for no property."""
        for place, found in enumerate(self.numbers):
            if found == number:
                start = self.at + 1 + place * self.number_bytes
                changed[start : start + self.number_bytes] = bytes(self.number_bytes)

    def has(self, known: Mapping[int, Box], kind: bytes) -> bool:
        """Whether a property of this kind belongs to the item."""
        return any(number in known and known[number].kind == kind for number in self.numbers)


def properties(data: bytes) -> dict[int, Box]:
    """Return each property's box by its number."""
    found = find_box(data, 0, len(data), META, (b"iprp", 0), (b"ipco", 0))
    return {} if found is None else dict(enumerate(boxes(data, found.inside, found.after), 1))


def primary_item(data: bytes) -> int | None:
    """Return the number of the main picture; None: the file names none."""
    found = find_box(data, 0, len(data), META, (b"pitm", 0))
    if found is None:
        return None
    length = 2 if data[found.inside : found.inside + 1] == b"\0" else 4
    return int.from_bytes(data[found.inside + 4 : found.inside + 4 + length], "big")


def items(data: bytes) -> Iterator[Item]:
    """Yield the items with the numbers of their properties."""
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
        # The upper bit says that a reader must know the property.
        mask = (1 << (8 * number_bytes - 1)) - 1
        numbers = (
            int.from_bytes(data[place : place + number_bytes], "big") & mask
            for place in range(count_at + 1, end, number_bytes)
        )
        yield Item(int.from_bytes(data[at:count_at], "big"), count_at, tuple(numbers), number_bytes)
        at = end
