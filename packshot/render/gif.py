"""A GIF's blocks, read without decoding a pixel.

Pillow grows the picture to whatever a later frame says and counts frames by
reading every block slowly; both are known here before it is asked.
"""

from collections.abc import Callable
from dataclasses import dataclass

from packshot.errors import Unrenderable
from packshot.geometry import Size

_EXTENSION, _IMAGE, _TRAILER = 0x21, 0x2C, 0x3B


@dataclass(frozen=True, slots=True)
class Layout:
    """What a GIF's blocks announce.

    Attributes:
        canvas: the screen, or the first frame where that is larger, in pixels. What later
            frames have outside of it is cut off, as browsers do.
        reach: how far to the right and down any frame goes, in pixels; at least the canvas.
        frames: how many pictures there are.
    """

    canvas: Size
    reach: Size
    frames: int


def layout(data: bytes, max_frames: int, check: Callable[[Size], None]) -> Layout:
    """Walk over the blocks of a GIF; it may end without a trailer, but not inside of a block.

    Args:
        max_frames: the walk ends one frame after that many, so that `frames` may be `max_frames` + 1.
        check: called with how far the frames so far reach; what it raises ends the walk.

    Raises:
        Unrenderable: the file ends early, or has no frame.
    """
    try:
        return _walk(data, max_frames, check)
    except IndexError:
        raise Unrenderable(
            "The picture is damaged and cannot be decoded.", got="a GIF that ends inside of a block"
        ) from None


def _walk(data: bytes, max_frames: int, check: Callable[[Size], None]) -> Layout:
    canvas = reach = Size(*_pair(data, 6))
    check(reach)
    at = 13 + _table(data[10])
    frames = 0
    while at < len(data) and frames <= max_frames:
        kind = data[at]
        if kind == _EXTENSION:
            at = _past_blocks(data, at + 2)
        elif kind == _IMAGE:
            left, top = _pair(data, at + 1)
            width, height = _pair(data, at + 5)
            reach = Size(max(reach.width, left + width), max(reach.height, top + height))
            check(reach)
            if frames == 0:
                canvas = reach
            frames += 1
            # After the nine bytes of the frame and its colours comes the width of the codes.
            at = _past_blocks(data, at + 10 + _table(data[at + 9]) + 1)
        elif kind == _TRAILER:
            break
        else:
            # Some writers leave zeros between blocks; every reader skips them.
            at += 1
    if frames == 0:
        raise Unrenderable("The picture is damaged and cannot be decoded.", got="a GIF without a frame")
    return Layout(canvas, reach, frames)


def _table(flags: int) -> int:
    return 3 << (flags & 7) + 1 if flags & 0x80 else 0


def _pair(data: bytes, at: int) -> tuple[int, int]:
    return data[at] | data[at + 1] << 8, data[at + 2] | data[at + 3] << 8


def _past_blocks(data: bytes, at: int) -> int:
    while length := data[at]:
        at += length + 1
    return at + 1
