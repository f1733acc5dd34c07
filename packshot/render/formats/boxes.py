"""The boxes that AVIF and HEIC files consist of (ISO/IEC 14496-12)."""

import struct
from collections.abc import Iterator
from typing import NamedTuple


class Box(NamedTuple):
    """One box: `data[inside:after]` is its content, and `data[start:after]` all of it."""

    kind: bytes
    start: int
    inside: int
    after: int


def boxes(data: bytes, at: int, end: int) -> Iterator[Box]:
    """Yield the boxes that lie side by side from `at` on, up to the first that does not end before `end`."""
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
    """Return the first box at the end of a path of kinds; with each, how many bytes come before the boxes in it."""
    found = None
    for kind, own in path:
        found = next((box for box in boxes(data, at, end) if box.kind == kind), None)
        if found is None:
            return None
        at, end = found.inside + own, found.after
    return found
