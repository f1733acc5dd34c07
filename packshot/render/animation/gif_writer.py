"""Write an animated GIF frame by frame, with only the changed pixels of each frame."""

import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
from PIL import Image

from packshot.render.animation.gif_colours import Mask, Pixels, pixels_of
from packshot.render.animation.gif_frame import OWN_COLOURS, Coder

# Browsers show a frame of 10 ms or less for 100 ms.
_SHORTEST = 20

# A duration has 16 bits, in hundredths of a second. The number of repetitions has 16 bits too.
_LONGEST = 655_350
_MAX_REPEATS = 65_535

# Pixels with a lower alpha become transparent, since GIF has no partial transparency.
_SEEN_FROM = 128

# Disposal methods: keep the frame, restore to background.
_KEPT, _RESTORE_BACKGROUND = 1, 2


@dataclass(frozen=True, slots=True)
class _Box:
    """Edges of a drawn area in pixels; right and bottom are exclusive."""

    left: int
    top: int
    right: int
    bottom: int

    @property
    def size(self) -> tuple[int, int]:
        return self.right - self.left, self.bottom - self.top

    @property
    def slices(self) -> tuple[slice, slice]:
        return slice(self.top, self.bottom), slice(self.left, self.right)

    def around(self, other: "_Box") -> "_Box":
        return _Box(
            min(self.left, other.left),
            min(self.top, other.top),
            max(self.right, other.right),
            max(self.bottom, other.bottom),
        )


def write_gif(
    frames: Iterable[tuple[Image.Image, int]], plays: int, *, keeps_exact: bool = True, colours: int = 256
) -> bytes:
    """Encode frames of one size as an animated GIF.

    Args:
        frames: images in mode RGB or RGBA, each with its duration in milliseconds.
        plays: how often it runs; 0 means without end.
        keeps_exact, colours: see `packshot.render.animation.gif_frame.Coder`.

    Raises:
        ValueError: there is no frame.
    """
    writer: _Writer | None = None
    # The previous frame, which is held until the next one decides its disposal method.
    waiting: tuple[Pixels, int] | None = None
    for picture, milliseconds in paced(frames):
        frame = _seen(picture)
        if writer is None:
            writer = _Writer(picture.size, Coder(keeps_exact=keeps_exact, colours=colours))
        if waiting is not None:
            writer.write(*waiting, frame)
        waiting = frame, milliseconds
    if writer is None or waiting is None:
        raise ValueError("expected a frame, got none")
    writer.write(*waiting, None)
    return writer.file(plays)


def paced(frames: Iterable[tuple[Image.Image, int]]) -> Iterator[tuple[Image.Image, int]]:
    """Drop frames that are shorter than browsers can show in a GIF. The total duration stays the same.

    Frame ends are rounded, not durations, so that rounding errors do not add up.

    Yields:
        Images, and durations in milliseconds: multiples of 10, from 20 to 655,350.
    """
    held: list[tuple[Image.Image, int]] = []  # at most two, with their start times
    end = 0
    for picture, milliseconds in frames:
        # Start after the previous frame's shortest duration; drop the frame if it has ended before that.
        start = max(round(end / 10) * 10, held[-1][1] + _SHORTEST) if held else 0
        end += milliseconds
        if held and end <= start:
            continue
        if len(held) == 2:
            yield held[0][0], min(held[1][1] - held[0][1], _LONGEST)
            del held[0]
        held.append((picture, start))
    over = round(end / 10) * 10
    if len(held) == 2 and over - held[1][1] < _SHORTEST:
        del held[1]
    for (picture, start), after in zip(held, [*(start for _, start in held[1:]), over], strict=True):
        yield picture, min(max(after - start, _SHORTEST), _LONGEST)


def _seen(picture: Image.Image) -> Pixels:
    # Every transparent pixel becomes 0, so that equal pixels compare equal.
    if picture.mode == "RGB":
        return pixels_of(picture.convert("RGBA"))
    opaque = picture.getchannel("A").point([255 * (value >= _SEEN_FROM) for value in range(256)])
    seen = Image.new("RGBA", picture.size)
    seen.paste(picture.convert("RGB"), mask=opaque)
    return pixels_of(seen)


class _Writer:
    """Write frames, and keep track of what the canvas shows."""

    def __init__(self, size: tuple[int, int], coder: Coder) -> None:
        self._size = size
        self._coder = coder
        self._blocks: list[bytes] = []
        # The pixels on the canvas: as in the given frames, and as drawn. While both are equal, they are one array.
        self._canvas: Pixels = np.zeros((size[1], size[0]), np.uint32)
        self._shown = self._canvas

    def file(self, plays: int) -> bytes:
        """Return the file of all frames so far."""
        table, bits = self._coder.shared_table()
        head = b"GIF89a" + struct.pack("<2H", *self._size) + bytes((OWN_COLOURS | bits - 1, 0, 0)) + table
        if plays != 1:
            # The file stores the number of repetitions, and 0 for no end.
            repeats = min(max(plays - 1, 0), _MAX_REPEATS)
            head += b"!\xff\x0bNETSCAPE2.0\x03\x01" + struct.pack("<H", repeats) + b"\0"
        return head + b"".join(self._blocks) + b";"

    def write(self, frame: Pixels, milliseconds: int, after: Pixels | None) -> None:
        """Write a frame. The next frame, `after`, decides its disposal method."""
        changed = frame != self._canvas
        box = _bounds(changed) if self._blocks else _Box(0, 0, *self._size)
        # Drawing cannot make a pixel transparent. So if `after` needs that, this frame is cleared afterwards.
        holes = None if after is None else (frame != 0) & (after == 0)
        is_cleared = holes is not None and bool(holes.any())
        if holes is not None and is_cleared:
            box = box.around(_bounds(holes))
        coded = self._coder.code(frame[box.slices], changed[box.slices], self._shown[box.slices])
        disposal = _RESTORE_BACKGROUND if is_cleared else _KEPT
        self._blocks.append(coded.block((box.left, box.top), box.size, disposal, milliseconds))
        if is_cleared:
            frame = frame.copy()
            frame[box.slices] = 0
        if self._shown is self._canvas:
            if coded.shown is None or is_cleared:
                self._shown = frame
            else:
                self._shown = self._canvas.copy()
        if self._shown is not frame:
            self._shown[box.slices] = 0 if is_cleared else frame[box.slices] if coded.shown is None else coded.shown
        self._canvas = frame


def _bounds(mask: Mask) -> _Box:
    """Return the bounding box of a mask; one pixel if it is empty, because the frame's duration needs a frame."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if not len(rows):
        return _Box(0, 0, 1, 1)
    return _Box(int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1)
