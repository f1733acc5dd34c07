"""Read the boxes of AVIF and HEIC files (ISO/IEC 14496-12)."""

import struct
from collections.abc import Iterator
from typing import NamedTuple


class Box(NamedTuple):
    """One box. `data[start:after]` holds all of it, `data[inside:after]` its content."""

    kind: bytes
    start: int
    inside: int
    after: int


def boxes(data: bytes, at: int, end: int) -> Iterator[Box]:
    """Yield the sibling boxes from `at` on. Stops at the first box that does not end before `end`."""
    while at + 8 <= end:
        length, kind = struct.unpack_from(">I4s", data, at)
        head = 8
        if length == 1 and at + 16 <= end:
            length, head = int.from_bytes(data[at + 8 : at + 16], "big"), 16
        after = at + length if length else end
        if (length and length < head) or after > end:
            return
        yield Box(kind, at, at + head, after)
        at = after


def find_box(data: bytes, at: int, end: int, *path: tuple[bytes, int]) -> Box | None:
    """Return the first box at a path of box types, or None.

    Args:
        path: a box type for each level, and the number of bytes in such a box before its child boxes.
    """
    found = None
    for kind, own in path:
        found = next((box for box in boxes(data, at, end) if box.kind == kind), None)
        if found is None:
            return None
        at, end = found.inside + own, found.after
    return found
