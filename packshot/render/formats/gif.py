"""Read GIF blocks, and compose the frames as browsers do.

Pillow enlarges the canvas for later frames, counts frames slowly, and fills cleared areas with a colour where browsers
leave them transparent. So this module reads the blocks, and Pillow decodes single frames.
"""

import re
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from io import BytesIO

from PIL import Image
from PIL.GifImagePlugin import GifImageFile

from packshot.errors import Unrenderable
from packshot.geometry import Box, Size

_EXTENSION, _IMAGE, _TRAILER = 0x21, 0x2C, 0x3B
_CONTROL = 0xF9
_INTERLACED, _OWN_COLOURS = 0x40, 0x80

# Netscape's application extension, in the only form that writers use.
_REPEATS = re.compile(rb"!\xff\x0b(?:NETSCAPE2\.0|ANIMEXTS1\.0)\x03\x01(..)\0", re.DOTALL)

_DAMAGED = "The image is damaged and cannot be decoded."

# Disposal methods: restore to background, restore to previous. Any other value keeps the frame.
_RESTORE_BACKGROUND, _RESTORE_PREVIOUS = 2, 3


@dataclass(frozen=True, slots=True)
class Part:
    """One frame as the file stores it.

    Attributes:
        box: position in pixels. Parts of it may lie outside the canvas.
        flags: the packed fields of the image descriptor.
        colours: the local or global colour table, three bytes per colour. If empty, the indexes are grey values.
        pixels: compressed pixels, beginning with the minimum code size.
        transparent: index of the transparent colour; None if there is none.
        disposal: disposal method, applied before the next frame.
        milliseconds: how long the frame is shown.
    """

    box: Box
    flags: int
    colours: bytes
    pixels: bytes
    transparent: int | None
    disposal: int
    milliseconds: int


@dataclass(frozen=True, slots=True)
class Layout:
    """What the blocks of a GIF describe.

    Attributes:
        canvas: the logical screen, enlarged to the first frame, in pixels. Later frames are cropped to it, as in
        browsers.
        reach: the size in pixels that covers the canvas and all frames.
        frames: number of frames.
        plays: how often the animation runs; 0 means without end.
        colours: number of different colours in the colour table that has most.
    """

    canvas: Size
    reach: Size
    frames: int
    plays: int
    colours: int


def layout(data: bytes, max_frames: int, check: Callable[[Size], None]) -> Layout:
    """Read the blocks of a GIF. The trailer may be missing.

    Args:
        max_frames: reading stops after `max_frames` + 1 frames.
        check: called with the size that covers the frames so far. It raises to stop reading.

    Raises:
        Unrenderable: the file ends within a block, or has no frame.
    """
    try:
        canvas = reach = Size(*_pair(data, 6))
        check(reach)
        frames, colours, table = 0, 0, b""
        for part in parts(data, lambda box: check(_reaching(Size(0, 0), box))):
            reach = _reaching(reach, part.box)
            check(reach)
            canvas = canvas if frames else reach
            frames += 1
            if part.colours != table:
                table = part.colours
                # Colour tables are padded to a power of two.
                colours = max(colours, len({table[at : at + 3] for at in range(0, len(table), 3)}))
            if frames > max_frames:
                break
    except IndexError:
        raise Unrenderable(_DAMAGED, got="a GIF that ends within a block") from None
    if frames == 0:
        raise Unrenderable(_DAMAGED, got="a GIF without a frame")
    repeats = _REPEATS.search(data)
    # The file stores the number of repetitions, and 0 for no end.
    plays = 1 if repeats is None else int.from_bytes(repeats[1], "little")
    return Layout(canvas, reach, frames, plays + 1 if repeats is not None and plays else plays, colours)


def _reaching(size: Size, box: Box) -> Size:
    return Size(max(size.width, box.left + box.width), max(size.height, box.top + box.height))


def composed(data: bytes, canvas: Size) -> Iterator[tuple[Image.Image, int]]:
    """Yield what is shown of each frame, in mode RGBA, and its duration in milliseconds.

    Raises:
        OSError, ValueError, IndexError: the pixels of a frame are damaged or truncated.
    """
    shown = Image.new("RGBA", canvas)
    for part in parts(data):
        before = shown.copy() if part.disposal == _RESTORE_PREVIOUS else None
        frame = _decoded(part)
        corner = (part.box.left, part.box.top)
        shown.paste(frame, corner, frame if frame.mode == "RGBA" else None)
        yield shown.copy(), part.milliseconds
        if part.disposal == _RESTORE_BACKGROUND:
            shown.paste((0, 0, 0, 0), (*corner, corner[0] + frame.width, corner[1] + frame.height))
        elif before is not None:
            shown = before


def parts(data: bytes, check: Callable[[Box], None] = lambda box: None) -> Iterator[Part]:
    """Yield the frames of a GIF without decoding them.

    Args:
        check: called with each frame's box before its blocks are read.

    Raises:
        IndexError: the file ends within a block.
    """
    colours, at = _colours(data, data[10], 13)
    transparent, disposal, milliseconds = None, 0, 0
    while at < len(data):
        kind = data[at]
        if kind == _EXTENSION:
            if data[at + 1] == _CONTROL and data[at + 2] >= 4:
                flags = data[at + 3]
                transparent = data[at + 6] if flags & 1 else None
                disposal = flags >> 2 & 7
                milliseconds = 10 * (data[at + 4] | data[at + 5] << 8)
            at = _past_blocks(data, at + 2)
        elif kind == _IMAGE:
            box = Box(*_pair(data, at + 1), *_pair(data, at + 5))
            check(box)
            flags = data[at + 9]
            own, at = _colours(data, flags, at + 10)
            start, at = at, _past_blocks(data, at + 1)
            yield Part(box, flags, own or colours, data[start:at], transparent, disposal, milliseconds)
            transparent, disposal, milliseconds = None, 0, 0
        elif kind == _TRAILER:
            return
        else:
            # Some writers put zero bytes between blocks, and every reader skips them.
            at += 1


def first_frame(data: bytes) -> bytes:
    """Return a GIF with the same logical screen and the first frame only, without comments and application extensions.

    Raises:
        IndexError: the file ends within a block.
        StopIteration: there is no frame.
    """
    return _alone(next(parts(data)), data[6:10], keeps_place=True)


def _decoded(part: Part) -> Image.Image:
    frame = GifImageFile(BytesIO(_alone(part, struct.pack("<2H", part.box.width, part.box.height))))
    return frame.convert("RGB" if part.transparent is None else "RGBA")


def _alone(part: Part, screen: bytes, *, keeps_place: bool = False) -> bytes:
    # Build a file with this single frame.
    left, top = (part.box.left, part.box.top) if keeps_place else (0, 0)
    control = b""
    if part.transparent is not None:
        control = bytes((_EXTENSION, _CONTROL, 4, 1, 0, 0, part.transparent, 0))
    # The flags hold the number of colours as the exponent of a power of two, minus 1.
    table = (_OWN_COLOURS | (len(part.colours) // 3).bit_length() - 2) if part.colours else 0
    return (
        b"GIF89a"
        + screen
        + bytes((table, 0, 0))
        + part.colours
        + control
        + bytes((_IMAGE,))
        + struct.pack("<4H", left, top, part.box.width, part.box.height)
        + bytes((part.flags & _INTERLACED,))
        + part.pixels
        + bytes((_TRAILER,))
    )


def _colours(data: bytes, flags: int, at: int) -> tuple[bytes, int]:
    length = 3 << (flags & 7) + 1 if flags & _OWN_COLOURS else 0
    return data[at : at + length], at + length


def _pair(data: bytes, at: int) -> tuple[int, int]:
    return data[at] | data[at + 1] << 8, data[at + 2] | data[at + 3] << 8


def count_blocks(data: bytes, limit: int) -> int:
    """Count the blocks of a GIF, including each data sub-block and each zero byte between blocks.

    If the file ends within a block, the blocks before it count.

    Returns:
        At most `limit` + 1.
    """
    blocks, zeros = 0, 0
    try:
        _, at = _colours(data, data[10], 13)
        while at < len(data) and blocks + zeros <= limit:
            kind = data[at]
            if kind == _EXTENSION:
                at += 2
            elif kind == _IMAGE:
                _, at = _colours(data, data[at + 9], at + 10)
                at += 1
            elif kind == _TRAILER:
                break
            else:
                zeros += 1
                at += 1
                continue
            blocks += 1
            while (length := data[at]) and blocks <= limit:
                blocks += 1
                at += length + 1
            at += 1
    except IndexError:
        pass
    return blocks + zeros


def _past_blocks(data: bytes, at: int) -> int:
    while length := data[at]:
        at += length + 1
    return at + 1
