"""Repair AVIF files that libavif refuses: a missing `ispe` property of an auxiliary image, and broken EXIF."""

from packshot.render.formats.boxes import boxes, find_box
from packshot.render.formats.item_properties import META, items, primary_item, properties


def with_sizes(data: bytes) -> bytes:
    """Add the primary image's `ispe` property to auxiliary images, such as alpha, that have none.

    The standard requires the property, and libavif refuses a file without it. Some old encoders left it out.

    Returns:
        The file with the larger `meta` box at its end, so that no other offset changes. A `free` box replaces the old
        one. `data` itself if no property is missing.
    """
    meta = find_box(data, 0, len(data), META)
    links = find_box(data, 0, len(data), META, (b"iprp", 0), (b"ipma", 0))
    iprp = find_box(data, 0, len(data), META, (b"iprp", 0))
    if meta is None or links is None or iprp is None or data[links.inside + 3] & 1:
        return data
    known, linked = properties(data), [item for item in items(data) if links.start < item.at < links.after]
    own = next((item for item in linked if item.id == primary_item(data)), None)
    sizes = [number for number in own.numbers if number in known and known[number].kind == b"ispe"] if own else []
    lacking = [item for item in linked if not item.has(known, b"ispe") and item.has(known, b"auxC")]
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
    """Hide the EXIF item of an AVIF from readers by changing its type.

    Only credits are read from the EXIF of an AVIF. Its orientation comes from the boxes.
    """
    changed = bytearray(data)
    for path in ((META,), ((b"moov", 0), (b"trak", 0), META)):
        found = find_box(data, 0, len(data), *path, (b"iinf", 0))
        if found is None:
            continue
        own = 6 if data[found.inside : found.inside + 1] == b"\0" else 8
        for box in boxes(data, found.inside + own, found.after):
            # An entry of version 2 or 3: item id, protection index, item type.
            at = box.inside + (8 if data[box.inside : box.inside + 1] == b"\2" else 10)
            if box.kind == b"infe" and data[at : at + 4] == b"Exif":
                changed[at : at + 4] = b"skip"
    return bytes(changed)
