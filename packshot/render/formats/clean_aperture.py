"""Read the clean aperture (`clap`) of AVIF and HEIC: the part of the stored image that is shown.

libavif leaves the crop to its callers, so `clean_aperture` returns it. libheif crops the image itself, but refuses a
whole file for an invalid aperture. `with_sound_apertures` removes invalid apertures before a reader sees them.
"""

import struct
from collections.abc import Iterator
from fractions import Fraction

from packshot.geometry import Box, Size
from packshot.render.formats import boxes
from packshot.render.formats.boxes import find_box
from packshot.render.formats.item_properties import items, primary_item, properties

_CLAP_BYTES = 32
_MAX_NUMBER = 65_535
_SAMPLE_TABLE = ((b"mdia", 0), (b"minf", 0), (b"stbl", 0), (b"stsd", 8))
# Bytes of a visual sample entry before its child boxes.
_SAMPLE_ENTRY_BYTES = 78


def clean_aperture(data: bytes, size: Size) -> Box | None:
    """Return the part of an AVIF that is shown, in stored pixels; None if all of it is shown.

    Sizes that are not whole numbers are rounded as libheif rounds them for HEIC. An invalid aperture is ignored.

    Args:
        size: size of the stored image in pixels.
    """
    clap = _shown_clap(data)
    shown = None if clap is None else _cut(_aperture(data, clap, size), size)
    return None if shown is None or (shown.width, shown.height) == size else shown


def with_sound_apertures(data: bytes) -> bytes:
    """Remove invalid apertures from an AVIF or HEIC, and cut those that reach beyond the image.

    Returns:
        A file of the same length, or `data` itself if no aperture changed.
    """
    changed = bytearray(data)
    known, links, primary = properties(data), list(items(data)), primary_item(data)
    sizes = {item.id: size for item in links if (size := _size(data, known, item.numbers)) is not None}
    for number, box in known.items():
        if box.kind != b"clap":
            continue
        users = [item for item in links if number in item.numbers]
        # If several items share an aperture, the primary item decides.
        users.sort(key=lambda item: item.id != primary)
        size = next((sizes[item.id] for item in users if item.id in sizes), None)
        if size is None and _values(data, box) is not None:
            continue
        aperture = None if size is None else _aperture(data, box, size)
        shown = None if size is None else _cut(aperture, size)
        if size is None or shown is None:
            changed[box.start + 4 : box.start + 8] = b"free"
            for item in users:
                item.unlink(changed, number)
        elif shown != aperture or _has_large_numbers(data, box):
            changed[box.inside : box.inside + _CLAP_BYTES] = _spelled(shown, size)
    for box in _sample_claps(data):
        if _values(data, box) is None:
            changed[box.start + 4 : box.start + 8] = b"free"
    return data if changed == data else bytes(changed)


def _values(data: bytes, clap: boxes.Box) -> tuple[Fraction, ...] | None:
    """Return width, height, and the offsets of the centre to the right and down; None if a denominator is 0."""
    if clap.after - clap.inside < _CLAP_BYTES:
        return None
    values = struct.unpack_from(">IIIIiIiI", data, clap.inside)
    return tuple(map(Fraction, values[::2], values[1::2])) if all(values[1::2]) else None


def _has_large_numbers(data: bytes, clap: boxes.Box) -> bool:
    # libheif calculates in 32 bits, and refuses numbers that overflow.
    return any(abs(value) > _MAX_NUMBER for value in struct.unpack_from(">IIIIiIiI", data, clap.inside))


def _aperture(data: bytes, clap: boxes.Box, size: Size) -> Box | None:
    """Return the aperture in an image of `size`, which may reach beyond the image; None if its numbers are invalid."""
    values = _values(data, clap)
    if values is None:
        return None
    width, height, right, down = values
    left, right_end = _side(size.width, width, right)
    top, bottom = _side(size.height, height, down)
    return Box(left, top, right_end - left, bottom - top)


def _side(whole: int, shown: Fraction, offset: Fraction) -> tuple[int, int]:
    start = offset + Fraction(whole - 1, 2) - (shown - 1) / 2
    first = start.numerator // start.denominator
    last = first + shown - 1
    return first, (2 * last.numerator + last.denominator) // (2 * last.denominator) + 1


def _cut(aperture: Box | None, size: Size) -> Box | None:
    """Return the part of an aperture that lies within the image; None if no part does."""
    if aperture is None:
        return None
    left, top = max(0, aperture.left), max(0, aperture.top)
    right = min(size.width, aperture.left + aperture.width)
    bottom = min(size.height, aperture.top + aperture.height)
    return Box(left, top, right - left, bottom - top) if right > left and bottom > top else None


def _spelled(shown: Box, size: Size) -> bytes:
    right = 2 * shown.left + shown.width - size.width
    down = 2 * shown.top + shown.height - size.height
    return struct.pack(">IIIIiIiI", shown.width, 1, shown.height, 1, right, 2, down, 2)


def _size(data: bytes, known: dict[int, boxes.Box], numbers: tuple[int, ...]) -> Size | None:
    for number in numbers:
        box = known.get(number)
        if box is not None and box.kind == b"ispe" and box.after - box.inside >= 12:
            return Size(*struct.unpack_from(">II", data, box.inside + 4))
    return None


def _shown_clap(data: bytes) -> boxes.Box | None:
    if data[8:12] == b"avis":
        return next(_sample_claps(data), None)
    known, primary = properties(data), primary_item(data)
    numbers = next((item.numbers for item in items(data) if item.id == primary), ())
    return next((known[number] for number in numbers if number in known and known[number].kind == b"clap"), None)


def _sample_claps(data: bytes) -> Iterator[boxes.Box]:
    """Yield the apertures in the tracks of an image sequence."""
    movie = find_box(data, 0, len(data), (b"moov", 0))
    if movie is None:
        return
    for track in boxes.boxes(data, movie.inside, movie.after):
        table = find_box(data, track.inside, track.after, *_SAMPLE_TABLE) if track.kind == b"trak" else None
        if table is None:
            continue
        for entry in boxes.boxes(data, table.inside + 8, table.after):
            clap = find_box(data, entry.inside + _SAMPLE_ENTRY_BYTES, entry.after, (b"clap", 0))
            if clap is not None:
                yield clap
