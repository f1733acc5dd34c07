"""What libavif leaves to its callers: the clean aperture of an AVIF, and properties that old encoders left out."""

import struct
from collections.abc import Iterator
from fractions import Fraction
from typing import NamedTuple

from packshot.geometry import Box, Size
from packshot.render.boxes import boxes, find_box

_META = (b"meta", 4)
_SAMPLES = (
    (b"moov", 0),
    (b"trak", 0),
    (b"mdia", 0),
    (b"minf", 0),
    (b"stbl", 0),
    (b"stsd", 8),
    (b"av01", 78),
    (b"clap", 0),
)
_CLAP_BYTES = 32


class _Item(NamedTuple):
    """The properties of one item: where its entry's count is, and the numbers of its properties from 1."""

    id: int
    at: int
    numbers: tuple[int, ...]


def clean_aperture(data: bytes, size: Size) -> Box | None:
    """Return what is shown of an AVIF, in pixels as it is stored; None: all of it.

    Sizes that are no whole numbers are rounded as libheif does for HEIC. An aperture that makes no sense counts as
    none.

    Args:
        size: of the picture as it is stored.
    """
    at = _clap(data)
    if at is None or at + _CLAP_BYTES > len(data):
        return None
    values = struct.unpack_from(">IIIIiIiI", data, at)
    if not all(values[1::2]):
        return None
    width, height, right, down = (Fraction(*values[pair : pair + 2]) for pair in range(0, 8, 2))
    sides = [_side(*axis) for axis in ((size.width, width, right), (size.height, height, down))]
    (left, inner_width), (top, inner_height) = sides
    if min(inner_width, inner_height) < 1 or (inner_width, inner_height) == size:
        return None
    return Box(left, top, inner_width, inner_height)


def _side(whole: int, shown: Fraction, offset: Fraction) -> tuple[int, int]:
    start = offset + Fraction(whole - 1, 2) - (shown - 1) / 2
    first = start.numerator // start.denominator
    last = first + shown - 1
    end = (2 * last.numerator + last.denominator) // (2 * last.denominator) + 1
    first, end = max(0, first), min(whole, end)
    return first, end - first


def _clap(data: bytes) -> int | None:
    if data[8:12] == b"avis":
        found = find_box(data, 0, len(data), *_SAMPLES)
        return None if found is None else found.inside
    known = dict(_properties(data))
    numbers = next((item.numbers for item in _items(data) if item.id == _primary(data)), ())
    return next((known[number][1] for number in numbers if number in known and known[number][0] == b"clap"), None)


def _properties(data: bytes) -> Iterator[tuple[int, tuple[bytes, int]]]:
    """Yield each property's number, kind, and where its content is."""
    found = find_box(data, 0, len(data), _META, (b"iprp", 0), (b"ipco", 0))
    if found is not None:
        for number, box in enumerate(boxes(data, found.inside, found.after), 1):
            yield number, (box.kind, box.inside)


def _primary(data: bytes) -> int | None:
    found = find_box(data, 0, len(data), _META, (b"pitm", 0))
    if found is None:
        return None
    length = 2 if data[found.inside : found.inside + 1] == b"\0" else 4
    return int.from_bytes(data[found.inside + 4 : found.inside + 4 + length], "big")


def _items(data: bytes) -> Iterator[_Item]:
    found = find_box(data, 0, len(data), _META, (b"iprp", 0), (b"ipma", 0))
    if found is None or found.after - found.inside < 8:
        return
    id_bytes = 4 if data[found.inside] else 2
    number_bytes = 2 if data[found.inside + 3] & 1 else 1
    at = found.inside + 8
    while at + id_bytes + 1 <= found.after:
        count_at = at + id_bytes
        end = count_at + 1 + data[count_at] * number_bytes
        if end > found.after:
            return
        # The upper bit says that a reader must know the property.
        mask = (1 << (8 * number_bytes - 1)) - 1
        numbers = (
            int.from_bytes(data[place : place + number_bytes], "big") & mask
            for place in range(count_at + 1, end, number_bytes)
        )
        yield _Item(int.from_bytes(data[at:count_at], "big"), count_at, tuple(numbers))
        at = end


def with_sizes(data: bytes) -> bytes:
    """Return an AVIF in which auxiliary pictures without a size, such as alpha, have that of the main picture.

    The standard demands the property, and libavif refuses a file without; some encoders left it out. The box with the
    properties grows, so it moves to the end of the file, where no other offset changes.
    """
    meta = find_box(data, 0, len(data), _META)
    links = find_box(data, 0, len(data), _META, (b"iprp", 0), (b"ipma", 0))
    iprp = find_box(data, 0, len(data), _META, (b"iprp", 0))
    if meta is None or links is None or iprp is None or data[links.inside + 3] & 1:
        return data
    known, items = dict(_properties(data)), list(_items(data))
    own = next((item for item in items if item.id == _primary(data)), None)
    sizes = [number for number in own.numbers if known.get(number, (b"",))[0] == b"ispe"] if own else []
    lacking = [item for item in items if not _has(known, item, b"ispe") and _has(known, item, b"auxC")]
    if not sizes or not lacking:
        return data
    grown = bytearray(data[meta.start : meta.after])
    for item in reversed(lacking):
        at = item.at - meta.start
        grown[at] += 1
        grown.insert(at + 1, sizes[0])
    for box in (links, iprp, meta):
        if data[box.start : box.start + 4] in (b"\0\0\0\0", b"\0\0\0\1"):
            return data
        length = box.after - box.start + len(lacking)
        grown[box.start - meta.start : box.start - meta.start + 4] = length.to_bytes(4, "big")
    hole = data[meta.start : meta.start + 4] + b"free" + data[meta.start + 8 : meta.after]
    return data[: meta.start] + hole + data[meta.after :] + bytes(grown)


def without_exif(data: bytes) -> bytes:
    """Return an AVIF in which readers find no EXIF; it is read for credits only, as the boxes tell the orientation."""
    changed = bytearray(data)
    for path in ((_META,), ((b"moov", 0), (b"trak", 0), _META)):
        found = find_box(data, 0, len(data), *path, (b"iinf", 0))
        if found is None:
            continue
        own = 6 if data[found.inside : found.inside + 1] == b"\0" else 8
        for box in boxes(data, found.inside + own, found.after):
            # An entry of version 2 or 3: the item's number, its protection and its type.
            at = box.inside + (8 if data[box.inside : box.inside + 1] == b"\2" else 10)
            if box.kind == b"infe" and data[at : at + 4] == b"Exif":
                changed[at : at + 4] = b"skip"
    return bytes(changed)


def _has(known: dict[int, tuple[bytes, int]], item: _Item, kind: bytes) -> bool:
    return any(known.get(number, (b"",))[0] == kind for number in item.numbers)
