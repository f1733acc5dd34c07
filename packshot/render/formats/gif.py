"""GIF: its blocks, and its frames as browsers put them together.

Pillow grows the canvas to whatever a later frame says, counts frames slowly and
fills what a frame leaves behind with a colour where browsers leave a hole. So
the blocks are read here, and Pillow decodes one frame at a time, by itself.
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

# Netscape's extension, of which every writer of animations writes this form.
_REPEATS = re.compile(rb"!\xff\x0b(?:NETSCAPE2\.0|ANIMEXTS1\.0)\x03\x01(..)\0", re.DOTALL)

_DAMAGED = "The picture is damaged and cannot be decoded."

# What becomes of a frame before the next one is drawn; anything else leaves it.
_CLEARED, _TAKEN_BACK = 2, 3


@dataclass(frozen=True, slots=True)
class Part:
    """One frame as the file holds it.

    Attributes:
        box: where it goes, in pixels; some of it may lie outside of the canvas.
        flags: those of the image block.
        colours: its own table or the file's, three bytes each; empty: none, greys are meant.
        pixels: the compressed ones, from the width of the codes on.
        transparent: the index that leaves the pixel as it was; None: no one does.
        disposal: what becomes of it before the next one.
        milliseconds: how long it is shown.
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
    """What a GIF's blocks announce.

    Attributes:
        canvas: the screen, or the first frame where that is larger, in pixels. What later
            frames have outside of it is cut off, as browsers do.
        reach: how far to the right and down any frame goes, in pixels; at least the canvas.
        frames: how many pictures there are.
        plays: how often the animation runs; 0: for ever.
        colours: different ones in the table that has most of them.
    """

    canvas: Size
    reach: Size
    frames: int
    plays: int
    colours: int


def layout(data: bytes, max_frames: int, check: Callable[[Size], None]) -> Layout:
    """Walk over the blocks of a GIF; it may end without a trailer, but not inside of a block.

    Args:
        max_frames: the walk ends one frame after that many, so that `frames` may be `max_frames` + 1.
        check: called with how far the frames so far reach; what it raises ends the walk.

    Raises:
        Unrenderable: the file ends early, or has no frame.
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
                # Tables are filled up to a power of two.
                colours = max(colours, len({table[at : at + 3] for at in range(0, len(table), 3)}))
            if frames > max_frames:
                break
    except IndexError:
        raise Unrenderable(_DAMAGED, got="a GIF that ends inside of a block") from None
    if frames == 0:
        raise Unrenderable(_DAMAGED, got="a GIF without a frame")
    repeats = _REPEATS.search(data)
    # What is counted there are repetitions, and 0 means without end.
    plays = 1 if repeats is None else int.from_bytes(repeats[1], "little")
    return Layout(canvas, reach, frames, plays + 1 if repeats is not None and plays else plays, colours)


def _reaching(size: Size, box: Box) -> Size:
    return Size(max(size.width, box.left + box.width), max(size.height, box.top + box.height))


def composed(data: bytes, canvas: Size) -> Iterator[tuple[Image.Image, int]]:
    """Yield what is seen of each frame, in mode RGBA, and for how many milliseconds.

    Raises:
        OSError, ValueError, IndexError: the pixels of a frame are damaged, or end early.
    """
    shown = Image.new("RGBA", canvas)
    for part in parts(data):
        before = shown.copy() if part.disposal == _TAKEN_BACK else None
        frame = _decoded(part)
        corner = (part.box.left, part.box.top)
        shown.paste(frame, corner, frame if frame.mode == "RGBA" else None)
        yield shown.copy(), part.milliseconds
        if part.disposal == _CLEARED:
            shown.paste((0, 0, 0, 0), (*corner, corner[0] + frame.width, corner[1] + frame.height))
        elif before is not None:
            shown = before


def parts(data: bytes, check: Callable[[Box], None] = lambda box: None) -> Iterator[Part]:
    """Yield the frames of a GIF, not decoded.

    Args:
        check: called with where a frame goes before what is in it is looked at.

    Raises:
        IndexError: the file ends inside of a block.
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
            # Some writers leave zeros between blocks; every reader skips them.
            at += 1


def first_frame(data: bytes) -> bytes:
    """Return a GIF of the same screen with the first frame alone: no comment, no application's data.

    Raises:
        IndexError: the file ends inside of a block.
        StopIteration: there is no frame.
    """
    return _alone(next(parts(data)), data[6:10], keeps_place=True)


def _decoded(part: Part) -> Image.Image:
    frame = GifImageFile(BytesIO(_alone(part, struct.pack("<2H", part.box.width, part.box.height))))
    return frame.convert("RGB" if part.transparent is None else "RGBA")


def _alone(part: Part, screen: bytes, *, keeps_place: bool = False) -> bytes:
    # As a file of that one frame and nothing else.
    left, top = (part.box.left, part.box.top) if keeps_place else (0, 0)
    control = b""
    if part.transparent is not None:
        control = bytes((_EXTENSION, _CONTROL, 4, 1, 0, 0, part.transparent, 0))
    # The number of colours is a power of two, whose exponent is in the flags.
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
    """Return how many blocks a GIF has, those that hold pixels or text counted one by one, up to `limit` + 1.

    A file that ends inside of a block has as many as there are before it.
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
