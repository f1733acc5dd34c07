"""What a JPEG's markers and tables tell, and whether its pixels were all there."""

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

# Encoders write about ten scans; each one costs a pass over the whole picture.
MAX_SCANS = 100

_SCAN, _END = 0xDA, 0xD9
_JFIF_SEGMENT, _ADOBE_SEGMENT = 0xE0, 0xEE
# Markers without a segment, besides restarts, which are not searched for.
_ALONE = {0x01, 0xD8}
# A marker in the entropy-coded data: not a stuffed 0xFF, a restart or a fill byte.
_MARKER = re.compile(rb"\xff[^\x00\xff\xd0-\xd7]", re.DOTALL)

# Codes that are no marker and no one bit pattern, so that some of them are colours.
_NOISE = bytes(value * 89 % 251 for value in range(4096))

# Tables K.1 and K.2 of the JPEG standard, in the order of pixels, which libjpeg scales by quality.
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
    """Refuse a JPEG that the decoder cannot read although the file may be sound.

    Raises:
        UnsupportedMedia: see `check_supported`; or the decoder cannot convert the colours of a lossless one.
    """
    if (frame := frame_of(data)) is None:
        return
    check_supported(frame)
    if frame.is_lossless and _is_converted(data, frame.components):
        raise UnsupportedMedia(
            "The picture is a kind of JPEG that is not supported.",
            expected="a lossless JPEG of grey, RGB or CMYK",
            got="a lossless JPEG of YCbCr or YCCK",
        )


def _is_converted(data: bytes, components: int) -> bool:
    """Whether a lossless JPEG is YCbCr or YCCK, by the rules of libjpeg, which converts neither of them here."""
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
    """Refuse a JPEG of so many scans that decoding it would never end.

    Raises:
        TooLarge: more than `MAX_SCANS`.
    """
    # Hardly ever are these two bytes anything else, and to count them takes next to no time.
    if data.count(b"\xff\xda") <= MAX_SCANS:
        return
    if sum(1 for _ in islice(_scans(data), MAX_SCANS + 1)) > MAX_SCANS:
        raise TooLarge("The picture has too many scans.", expected=f"at most {MAX_SCANS} scans", got="more")


def _scans(data: bytes) -> Iterator[bytes]:
    # Yields the header of each scan.
    for kind, at in _segments(data):
        if kind == _SCAN:
            yield data[at + 2 : at + int.from_bytes(data[at : at + 2], "big")]


def _segments(data: bytes) -> Iterator[tuple[int, int]]:
    # Yields each marker up to the end marker, and where what follows it begins. The next one is
    # searched for between segments too, as inside of scans: libjpeg skips what is not one.
    at = 2
    while (marker := _MARKER.search(data, at)) is not None:
        kind, at = data[marker.end() - 1], marker.end()
        yield kind, at
        if kind == _END:
            return
        if kind not in _ALONE:
            at += int.from_bytes(data[at : at + 2], "big")


def ignore_broken_segments() -> None:
    """Have Pillow read a JPEG whose application segments (EXIF, profile, resolution and so on) are broken.

    libjpeg reads the ones that matter for the pixels by itself.
    """
    for marker in range(0xFFE0, 0xFFF0):
        name, description, _ = JpegImagePlugin.MARKER[marker]
        JpegImagePlugin.MARKER[marker] = name, description, _read_segment


def _read_segment(self: JpegImageFile, marker: int) -> None:
    try:
        JpegImagePlugin.APP(self, marker)
    except DAMAGE:
        # The segment has been read to its end. Where the file itself ends in it, the reader finds no picture.
        self.info.pop("jfif", None)
    # Each part of a profile begins with 14 bytes that say which it is.
    self.icclist = [part for part in self.icclist if len(part) > 14]


def ends_early(data: bytes, source: JpegImageFile) -> bool:
    """Return whether a decoded JPEG lacks pixels although it has an end marker.

    libjpeg takes what is missing for zeros and says so to nobody. Two things tell:

    Its scans do not bring every coefficient of every component to the last bit. The
    standard lets an encoder leave some out; none is known that does.

    What the last scan lacks comes out mid-grey in the lower right corner. Where that
    corner is grey, or has got its colours from several scans, some codes are put
    before the end marker and the picture is decoded once more: a whole one does not
    look at them. So few honest pictures cost more.

    Not seen: less than one block missing, and in a progressive JPEG the end of
    the last scan, which holds the last bit of each coefficient.

    Args:
        source: loaded, at any scale.
    """
    scans = list(islice(_scans(data), MAX_SCANS))
    progressive = bool(source.info.get("progressive"))
    if not _is_complete(scans, [layer[0] for layer in source.layer], progressive=progressive):
        return True
    if not _is_mid_grey(source) and (progressive or len(scans) == 1):
        return False
    # Of this picture; a phone may have put another one behind it.
    end = next((at - 2 for kind, at in _segments(data) if kind == _END), None)
    if end is None:
        return False  # Pillow has refused it.
    # An eighth of the size shows what is grey, and costs little.
    frame = frame_of(data)
    scale = 1 if frame is not None and frame.is_lossless else 8
    whole = _decoded(data, scale)
    try:
        return whole != _decoded(data[:end] + _NOISE + data[end:], scale)
    except OSError:
        # The decoder has looked at the noise.
        return True


def _is_mid_grey(picture: Image.Image) -> bool:
    corner = picture.crop((picture.width - 1, picture.height - 1, picture.width, picture.height))
    return all(127 <= value <= 128 for value in corner.tobytes())


def _is_complete(scans: Sequence[bytes], components: Sequence[int], *, progressive: bool) -> bool:
    # Whether the scans bring every coefficient of every component to its last bit.
    missing = {(component, number) for component in components for number in range(64)}
    for scan in scans:
        count = scan[0] if scan else 0
        if len(scan) < 4 + 2 * count:
            continue
        # In other pictures than progressive ones each scan is of all coefficients, whatever it says.
        first, last, bits = scan[1 + 2 * count : 4 + 2 * count] if progressive else (0, 63, 0)
        if bits & 15 == 0:
            missing -= {(scan[1 + 2 * part], number) for part in range(count) for number in range(first, last + 1)}
    return not missing


def _decoded(data: bytes, scale: int) -> bytes:
    source = JpegImageFile(BytesIO(data))
    # A side of 0 is no size that Pillow can divide by.
    source.draft(None, (max(1, source.width // scale), max(1, source.height // scale)))
    return source.tobytes()


def estimated_quality(tables: Mapping[int, Sequence[int]]) -> int | None:
    """Return the libjpeg quality, 1 to 100, that gives these quantisation tables or the nearest to them.

    Tables that libjpeg has scaled from the standard's give just their quality.
    Others, of cameras or Photoshop, give the quality whose steps are as wide on
    average; the average is geometric, as from 1 to 2 is as far as from 50 to 100.

    Args:
        tables: 64 values each, by number; 0 is taken for that of luminance, 1 for chrominance.
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
    # As libjpeg's `jpeg_set_quality` does, for tables of 8 bits.
    percent = 5000 // quality if quality < 50 else 200 - 2 * quality
    return [min(max((value * percent + 50) // 100, 1), 255) for value in base]
