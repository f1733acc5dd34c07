"""Read the markers and tables of a JPEG, and check that no pixels are missing."""

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from io import BytesIO
from itertools import islice

from PIL import Image, JpegImagePlugin
from PIL.JpegImagePlugin import JpegImageFile

from packshot.errors import TooLarge, UnsupportedMedia
from packshot.render.damage import DAMAGE
from packshot.render.formats.jpeg_frame import Frame, check_supported, first_frame

# Encoders write about ten scans. Each scan costs a pass over the whole image.
MAX_SCANS = 100

_SCAN, _END = 0xDA, 0xD9
_JFIF_SEGMENT, _ADOBE_SEGMENT = 0xE0, 0xEE
# Markers without a segment. Restart markers are missing, because `_MARKER` does not match them.
_ALONE = {0x01, 0xD8}
# A marker within entropy-coded data: no stuffed 0xFF, no restart marker, no fill byte.
_MARKER = re.compile(rb"\xff[^\x00\xff\xd0-\xd7]", re.DOTALL)

# Entropy-coded data without a marker. They are varied, so that some of them decode to pixels that are not grey.
_NOISE = bytes(value * 89 % 251 for value in range(4096))

# Tables K.1 and K.2 of the JPEG standard, in row order. libjpeg scales them by the quality.
_LUMINANCE = tuple(
    bytes.fromhex(
        "100b0a10 18283d33 0c0c0e13 1a3a3c37 0e0d1018 28394538 0e11161d 3357503e"
        "12162538 446d674d 18233740 51687151 314e4057 67797865 485c5f62 70646763"
    )
)
_CHROMINANCE = tuple(
    bytes.fromhex("1112182f 63636363 12151a42 63636363 181a3863 63636363 2f426363 63636363" + "63" * 32)
)


def check_frame(data: bytes) -> None:
    """Refuse kinds of JPEG that the decoder does not support.

    Raises:
        UnsupportedMedia: see `check_supported`; or the JPEG is lossless and its colours are YCbCr or YCCK.
    """
    if (frame := frame_of(data)) is None:
        return
    check_supported(frame)
    if frame.is_lossless and _is_converted(data, frame.components):
        raise UnsupportedMedia(
            "The image is a kind of JPEG that is not supported.",
            expected="a lossless JPEG of grey, RGB or CMYK",
            got="a lossless JPEG of YCbCr or YCCK",
        )


def _is_converted(data: bytes, components: int) -> bool:
    """Return whether libjpeg takes a lossless JPEG for YCbCr or YCCK; it converts neither for lossless files."""
    transform = 0
    for kind, at in _segments(data):
        if kind == _SCAN:
            break
        name = data[at + 2 : at + 7]
        if kind == _JFIF_SEGMENT and name == b"JFIF\0" and components == 3:
            return True
        if kind == _ADOBE_SEGMENT and name == b"Adobe" and int.from_bytes(data[at : at + 2], "big") >= 14:
            transform = data[at + 13]
    return components > 1 and transform != 0


def frame_of(data: bytes) -> Frame | None:
    """Return the first frame header; None if there is none."""
    return first_frame(data, _segments(data))


def check_scans(data: bytes) -> None:
    """Refuse a JPEG that would take too long to decode because of its scans.

    Raises:
        TooLarge: it has more than `MAX_SCANS` scans.
    """
    # These two bytes are rarely anything but a scan marker, and counting them is fast.
    if data.count(b"\xff\xda") <= MAX_SCANS:
        return
    if sum(1 for _ in islice(_scans(data), MAX_SCANS + 1)) > MAX_SCANS:
        raise TooLarge("The image has too many scans.", expected=f"at most {MAX_SCANS} scans", got="more")


def _scans(data: bytes) -> Iterator[bytes]:
    # Yield the header of each scan.
    for kind, at in _segments(data):
        if kind == _SCAN:
            yield data[at + 2 : at + int.from_bytes(data[at : at + 2], "big")]


def _segments(data: bytes) -> Iterator[tuple[int, int]]:
    # Yield each marker up to the end marker, and the position after it. Bytes between segments are skipped, as libjpeg
    # does.
    at = 2
    while (marker := _MARKER.search(data, at)) is not None:
        kind, at = data[marker.end() - 1], marker.end()
        yield kind, at
        if kind == _END:
            return
        if kind not in _ALONE:
            at += int.from_bytes(data[at : at + 2], "big")


def ignore_broken_segments() -> None:
    """Make Pillow ignore broken application segments of a JPEG (EXIF, profile, resolution and so on).

    libjpeg itself reads the segments that affect pixels.
    """
    for marker in range(0xFFE0, 0xFFF0):
        name, description, _ = JpegImagePlugin.MARKER[marker]
        JpegImagePlugin.MARKER[marker] = name, description, _read_segment


def _read_segment(self: JpegImageFile, marker: int) -> None:
    try:
        JpegImagePlugin.APP(self, marker)
    except DAMAGE:
        # The segment has been read to its end. If the file ends within it, the reader finds no image.
        self.info.pop("jfif", None)
    # Each part of a profile begins with a header of 14 bytes.
    self.icclist = [part for part in self.icclist if len(part) > 14]


def ends_early(data: bytes, source: JpegImageFile) -> bool:
    """Return whether a decoded JPEG lacks pixels although it has an end marker.

    libjpeg replaces missing data by zeros and reports no error. There are two signs:

    The scans do not cover every bit of every coefficient of every component. The standard allows that, but no known
    encoder does it.

    Pixels that the last scan lacks are mid-grey in the lower right corner. If that corner is grey, or if several scans
    contribute to it, more entropy-coded data are inserted before the end marker, and the image is decoded again. A
    complete image ignores them, so the pixels stay equal. Few complete images need this second decoding.

    Not detected: less than one missing block, and in a progressive JPEG the end of the last scan, which holds the
    lowest bit of each coefficient.

    Args:
        data: the file.
        source: the loaded image, at any scale.
    """
    scans = list(islice(_scans(data), MAX_SCANS))
    progressive = bool(source.info.get("progressive"))
    if not _is_complete(scans, [layer[0] for layer in source.layer], progressive=progressive):
        return True
    if not _is_mid_grey(source) and (progressive or len(scans) == 1):
        return False
    # The end marker of this image: phones append further images.
    end = next((at - 2 for kind, at in _segments(data) if kind == _END), None)
    if end is None:
        return False  # Pillow has refused such a file.
    # Grey is visible at an eighth of the size, which is fast to decode.
    frame = frame_of(data)
    scale = 1 if frame is not None and frame.is_lossless else 8
    whole = _decoded(data, scale)
    try:
        return whole != _decoded(data[:end] + _NOISE + data[end:], scale)
    except OSError:
        # The decoder has read the inserted data.
        return True


def _is_mid_grey(picture: Image.Image) -> bool:
    corner = picture.crop((picture.width - 1, picture.height - 1, picture.width, picture.height))
    return all(127 <= value <= 128 for value in corner.tobytes())


def _is_complete(scans: Sequence[bytes], components: Sequence[int], *, progressive: bool) -> bool:
    # Return whether the scans cover every bit of every coefficient of every component.
    missing = {(component, number) for component in components for number in range(64)}
    for scan in scans:
        count = scan[0] if scan else 0
        if len(scan) < 4 + 2 * count:
            continue
        # A scan of a sequential JPEG holds all coefficients, regardless of its header.
        first, last, bits = scan[1 + 2 * count : 4 + 2 * count] if progressive else (0, 63, 0)
        if bits & 15 == 0:
            missing -= {(scan[1 + 2 * part], number) for part in range(count) for number in range(first, last + 1)}
    return not missing


def _decoded(data: bytes, scale: int) -> bytes:
    source = JpegImageFile(BytesIO(data))
    # Pillow divides by each side, so it must not be 0.
    source.draft(None, (max(1, source.width // scale), max(1, source.height // scale)))
    return source.tobytes()


def estimated_quality(tables: Mapping[int, Sequence[int]]) -> int | None:
    """Return the libjpeg quality, 1 to 100, whose quantisation tables are closest to the given ones.

    Tables that libjpeg has scaled from the standard tables yield exactly their quality. Other tables, such as those of
    cameras or Photoshop, yield the quality with the nearest geometric mean of the quantisation steps.

    Args:
        tables: 64 values each, by number. Table 0 counts as luminance, table 1 as chrominance.

    Returns:
        None if there is no complete table.
    """
    wanted = [
        (tuple(tables[number]), base)
        for number, base in enumerate((_LUMINANCE, _CHROMINANCE))
        if len(tables.get(number, ())) == 64
    ]
    if not wanted:
        return None
    return min(range(100, 0, -1), key=lambda quality: _distance(wanted, quality))


def _distance(wanted: Sequence[tuple[Sequence[int], Sequence[int]]], quality: int) -> float:
    ideals = [_scaled(base, quality) for _, base in wanted]
    if all(tuple(ideal) == table for ideal, (table, _) in zip(ideals, wanted, strict=True)):
        return -1.0
    return abs(sum(_width(ideal) - _width(table) for ideal, (table, _) in zip(ideals, wanted, strict=True)))


def _width(table: Sequence[int]) -> float:
    return sum(math.log(max(step, 1)) for step in table)


def _scaled(base: Sequence[int], quality: int) -> list[int]:
    # The formula of libjpeg's `jpeg_set_quality` for 8-bit tables.
    percent = 5000 // quality if quality < 50 else 200 - 2 * quality
    return [min(max((value * percent + 50) // 100, 1), 255) for value in base]
