"""Strip AVIF and HEIC files in place, because they contain offsets from the file's beginning.

Metadata items are overwritten, but stay as items. Metadata boxes become free space. The file keeps its length.
"""

import struct
from collections.abc import Iterator

from packshot.render.formats.profiles import profile_length
from packshot.render.stripping.pieces import Edit, Piece, edited_in_place

_EXIF_PREFIX = b"Exif\0\0"
# The shortest EXIF data: no tag.
_EMPTY_EXIF = b"MM\0*\0\0\0\x08\0\0\0\0\0\0"

# Top-level boxes that stay. Others are metadata of camera makers: videos, depth maps, signatures.
_TOP = {b"ftyp", b"styp", b"meta", b"moov", b"mdat", b"free", b"skip", b"wide"}
_FREE = {b"free", b"skip", b"wide"}
_CONTAINERS = {b"moov", b"trak", b"mdia", b"minf", b"stbl", b"meta", b"iprp", b"ipco", b"stsd"}
_METADATA_BOXES = {b"udta", b"uuid"}
# Properties that affect pixels. Others are descriptions: names, tags, times, cameras.
_PROPERTIES = {
    b"ispe", b"pixi", b"pasp", b"colr", b"clap", b"irot", b"imir", b"auxC", b"lsel", b"a1op", b"a1lx", b"rloc", b"iscl",
    b"av1C", b"hvcC", b"lhvC", b"avcC", b"vvcC", b"evcC", b"jpgC", b"j2kH", b"tols", b"oinf",
    b"clli", b"mdcv", b"cclv", b"amve", b"ndwt",
    b"uncC", b"cmpd", b"cmpC", b"icef", b"cpat", b"splz", b"sbpm", b"snuc", b"cloc", b"cicp",
}  # fmt: skip
_PROFILES = (b"prof", b"rICC")
_PROFILE_TYPE_BYTES = 4
# Bytes of a sample description box and of a visual sample entry before their child boxes.
_SAMPLE_LIST_BYTES, _SAMPLE_ENTRY_BYTES = 8, 78
_METADATA_ITEMS = {b"Exif", b"mime", b"uri "}

# Stands for data after the top-level boxes that are not a box, such as trailers of some phones.
_NO_BOX = b""

_MAX_DEPTH = 8
_MAX_ITEMS = 65_536


def strip_boxes(data: bytes, exif: bytes | None) -> list[Piece]:
    """Strip an AVIF or HEIC: overwrite EXIF and XMP items, and the boxes of camera makers.

    The orientation is an item property and stays.

    Args:
        exif: EXIF to keep, as `Image.Exif.tobytes` returns it. It needs an EXIF item of at least that length.

    Raises:
        ValueError: a box or an item is longer than the file, or the place of an item is unknown.
    """
    edits = list(_unused(data))
    for kind, at, body, end in _top(data):
        if kind == _NO_BOX:
            edits.append((at, end, struct.pack(">I4s", end - at, b"free") if end - at >= 8 else b""))
        elif kind in _FREE:
            edits.append((body, end, b""))
        elif kind not in _TOP:
            edits += _freed(at, body, end)
        else:
            edits += _inside(data, kind, body, end, exif, 0)
    return edited_in_place(len(data), edits)


def _top(data: bytes) -> Iterator[tuple[bytes, int, int, int]]:
    """Yield the top-level boxes like `_boxes`. Data after the image that are not a box have the type `_NO_BOX`."""
    at, has_meta = 0, False
    while at < len(data):
        try:
            box = next(_boxes(data, at, len(data)))
        except ValueError:
            if not has_meta:
                raise
            box = (_NO_BOX, at, at, len(data))
        yield box
        has_meta |= box[0] == b"meta"
        at = box[3]


def _unused(data: bytes) -> Iterator[Edit]:
    """Overwrite media data that belong to no item. Editors leave such data behind."""
    boxes = list(_top(data))
    metas = [(body + 4, end) for kind, _, body, end in boxes if kind == b"meta"]
    if len(metas) != 1 or any(kind == b"moov" for kind, _, _, _ in boxes):
        # A movie describes the places of its samples in another way.
        return
    inner = {kind: (body, end) for kind, _, body, end in _boxes(data, *metas[0])}
    if b"iloc" not in inner:
        return
    places = _item_places(data, *inner[b"iloc"], inner.get(b"idat", (0, 0))[0])
    used = sorted(extent for _, extents in places for extent in extents)
    for kind, _, body, end in boxes:
        if kind != b"mdat":
            continue
        at = body
        for start, stop in used:
            if start < end and stop > at:
                yield at, start, b""
                at = stop
        yield at, end, b""


def _freed(at: int, body: int, end: int) -> list[Edit]:
    return [(at + 4, at + 8, b"free"), (body, end, b"")]


def _inside(data: bytes, kind: bytes, body: int, end: int, exif: bytes | None, depth: int) -> list[Edit]:
    if kind not in _CONTAINERS:
        return []
    if depth > _MAX_DEPTH:
        raise ValueError(f"boxes nested deeper than {_MAX_DEPTH}")
    edits: list[Edit] = []
    if kind == b"meta":
        body += 4
        edits += _items(data, body, end, exif)
    if kind == b"stsd":
        for _, _, inside, stop in _boxes(data, body + _SAMPLE_LIST_BYTES, end):
            edits += _profiles(data, inside + _SAMPLE_ENTRY_BYTES, stop)
        return edits
    if kind == b"ipco":
        edits += _profiles(data, body, end)
    for inner, at, inside, stop in _boxes(data, body, end):
        if kind == b"ipco":
            edits += [] if inner in _PROPERTIES else _freed(at, inside, stop)
        elif inner in _METADATA_BOXES or (inner == b"meta" and kind != b"meta"):
            # Metadata of a movie or track. The `meta` box of the image is at the top level.
            edits += _freed(at, inside, stop)
        else:
            edits += _inside(data, inner, inside, stop, exif, depth + 1)
    return edits


def _profiles(data: bytes, at: int, end: int) -> Iterator[Edit]:
    """Overwrite invalid colour profiles, and the bytes after valid ones."""
    for kind, _, body, stop in _boxes(data, at, end):
        if kind == b"colr" and data[body : body + _PROFILE_TYPE_BYTES] in _PROFILES:
            start = body + _PROFILE_TYPE_BYTES
            yield start + profile_length(data[start:stop]), stop, b""


def _boxes(data: bytes, at: int, end: int) -> Iterator[tuple[bytes, int, int, int]]:
    """Yield each box as its type, start, start of the content, and end."""
    while at < end:
        length, header = int.from_bytes(data[at : at + 4], "big"), 8
        if length == 1:
            length, header = int.from_bytes(data[at + 8 : at + 16], "big"), 16
        elif length == 0:
            length = end - at
        if length < header or at + length > end:
            raise ValueError("a box that is longer than its parent")
        yield data[at + 4 : at + 8], at, at + header, at + length
        at += length


def _items(data: bytes, start: int, end: int, exif: bytes | None) -> Iterator[Edit]:
    boxes = {kind: (body, stop) for kind, _, body, stop in _boxes(data, start, end)}
    if b"iinf" not in boxes:
        return
    kinds = _item_kinds(data, *boxes[b"iinf"])
    if not any(kind in _METADATA_ITEMS for kind in kinds.values()):
        return
    if b"iloc" not in boxes:
        raise ValueError("items without locations")
    idat = boxes.get(b"idat", (0, 0))[0]
    for item, extents in _item_places(data, *boxes[b"iloc"], idat):
        if kinds.get(item) not in _METADATA_ITEMS:
            continue
        kept = b""
        if kinds[item] == b"Exif":
            room = sum(stop - at for at, stop in extents)
            # The first four bytes are the offset of the TIFF header.
            exif_item = bytes(4) + (exif or _EXIF_PREFIX + _EMPTY_EXIF).removeprefix(_EXIF_PREFIX)
            kept = exif_item if len(exif_item) <= room else (bytes(4) + _EMPTY_EXIF)[:room]
            exif = None
        for at, stop in extents:
            yield at, stop, kept[: stop - at]
            kept = kept[stop - at :]


def _item_kinds(data: bytes, body: int, end: int) -> dict[int, bytes]:
    # `iinf` has a 16-bit number of entries in version 0, and a 32-bit number in later versions.
    kinds = {}
    for kind, _, at, _ in _boxes(data, body + (8 if data[body] else 6), end):
        version = data[at]
        if kind != b"infe" or version < 2:
            raise ValueError("items without a type")
        # Item id of 16 bits, or of 32 bits from version 3 on, then the protection index.
        width = 2 if version == 2 else 4
        item = int.from_bytes(data[at + 4 : at + 4 + width], "big")
        kinds[item] = data[at + 6 + width : at + 10 + width]
    return kinds


def _item_places(data: bytes, body: int, end: int, idat: int) -> Iterator[tuple[int, list[tuple[int, int]]]]:
    version = data[body]
    sizes = struct.unpack(">H", data[body + 4 : body + 6])[0]
    offset_size, length_size, base_size, index_size = (sizes >> shift & 15 for shift in (12, 8, 4, 0))
    if version == 0:
        index_size = 0
    at = body + 6

    def number(width: int) -> int:
        nonlocal at
        if at + width > end:
            raise ValueError("item locations that are longer than their box")
        at += width
        return int.from_bytes(data[at - width : at], "big")

    count = number(2 if version < 2 else 4)
    if count > _MAX_ITEMS:
        raise ValueError(f"more than {_MAX_ITEMS} items")
    for _ in range(count):
        item = number(2 if version < 2 else 4)
        method = number(2) & 15 if version else 0
        number(2)
        base = number(base_size)
        extents = []
        for _ in range(number(2)):
            number(index_size)
            start = base + number(offset_size)
            length = number(length_size)
            if method == 1:
                start += idat
            # Without a length, the extent reaches to the end of the file.
            extents.append((start, start + length if length else len(data)))
        if method > 1:
            extents = [(-1, 0)]
        yield item, extents
