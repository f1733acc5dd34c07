"""One frame of an animated GIF: which table its pixels get their colours from, and their bytes."""

import struct
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from PIL import Image

from packshot.render.animation.gif_colours import (
    MAX_COLOURS,
    OPAQUE,
    ExactTable,
    Mask,
    NearTable,
    Numbers,
    Pixels,
    bytes_of,
)

OWN_COLOURS = 0x80

# Places of the file's table that the first frame leaves for the colours of later ones.
_LEFT_FREE = 15
# Colours that a frame may have at least where they are not exact, as pixels between two others have more.
_FEWEST = 64
# Of a frame's own table; a frame that changes few pixels is not worth more of it.
_FEWEST_OWN, _PIXELS_A_COLOUR = 16, 8

# Of a box that is unchanged in more than this part, the unchanged pixels are always left out.
_MOSTLY_UNCHANGED = 0.9


@dataclass(frozen=True, slots=True)
class Coded:
    """What of a frame is drawn within its box.

    Attributes:
        data: the frame's own table, if it has one, and its compressed pixels.
        bits: of the table's size, a power of two; 0: the table is that of the file.
        has_clear: index 0 leaves the pixel as it was.
        shown: what is seen within the box then; None: the frame as it is.
    """

    data: bytes
    bits: int
    has_clear: bool
    shown: Pixels | None = None

    def block(self, corner: tuple[int, int], size: tuple[int, int], disposal: int, milliseconds: int) -> bytes:
        """Return the frame's blocks in the file."""
        return (
            b"!\xf9\x04"
            + struct.pack("<BHBx", disposal << 2 | self.has_clear, milliseconds // 10, 0)
            + b","
            + struct.pack("<4HB", *corner, *size, OWN_COLOURS | self.bits - 1 if self.bits else 0)
            + self.data
        )


class Coder:
    """Chooses the colours of one frame after the other.

    Frames share the table of the file while it has room for their colours. A frame that has too many for it gets a
    table of its own, and one of more than 256 colours the nearest of a sample of them.

    Args:
        keeps_exact: frames of up to 256 colours keep each of them. Otherwise such a frame may get the nearest colours
            of a table that other frames have, where the difference is hardly seen.
        colours: how many the original has; a frame whose colours are not exact has no more, but at least 64.
    """

    def __init__(self, *, keeps_exact: bool, colours: int = MAX_COLOURS) -> None:
        self._keeps_exact = keeps_exact
        self._most_near = min(max(colours, _FEWEST), MAX_COLOURS) - 1
        # Of the file: exact, and larger with each frame, unless the first frame has too many colours.
        self._shared: ExactTable | NearTable = ExactTable()
        self._most = MAX_COLOURS - 1
        self._own = ExactTable()
        # That of the last frame which was not exact.
        self._near: NearTable | None = None
        self._is_first = True

    def shared_table(self) -> tuple[bytes, int]:
        """Return the table of the file, and of how many bits its size is."""
        return _table(self._shared.colours, has_clear=self._most < MAX_COLOURS)

    def code(self, frame: Pixels, changed: Mask, shown: Pixels) -> Coded:
        """Return what is to be drawn of a part of a frame.

        Args:
            changed: which of its pixels are not those of the frame before.
            shown: what is seen there now.
        """
        part = _Part(frame, changed, shown)
        coded = None
        if self._keeps_exact:
            coded = min(self._exact_ways(part), key=_length, default=None)
        coded = coded or self._nearest(part)
        # A frame that shows nothing settles no table.
        self._is_first = self._is_first and not changed.any()
        return coded

    def _exact_ways(self, part: "_Part") -> Iterator[Coded]:
        shared = self._shared
        if isinstance(shared, ExactTable):
            if self._is_first and shared.numbers(part.wanted, self._most) is None:
                self._most = MAX_COLOURS
            if (numbers := shared.numbers(part.wanted, self._most)) is not None:
                if part.is_whole or self._most < MAX_COLOURS:
                    yield self._in_shared(numbers)
                if not part.is_whole and (numbers := shared.numbers(part.frame, self._most)) is not None:
                    if part.may_be_whole:
                        yield self._in_shared(numbers)
                    if self._most < MAX_COLOURS:
                        yield self._in_shared(_whole_runs(numbers, part.changed))
                if self._most < MAX_COLOURS:
                    return
        self._own.forget()
        if (numbers := self._own.numbers(part.wanted, MAX_COLOURS - (not part.is_whole))) is not None:
            yield _in_own(numbers, self._own.colours)
        if part.may_be_whole and (numbers := self._own.numbers(part.frame, MAX_COLOURS)) is not None:
            yield _in_own(numbers, self._own.colours)

    def _nearest(self, part: "_Part") -> Coded:
        pixels = part.drawn_pixels
        if not len(pixels):
            return _in_own(np.zeros(part.frame.shape, np.uint16), np.zeros(0, np.uint32))
        table = self._near_table(pixels)
        numbers = table.numbers(part.frame)
        colours = np.concatenate((np.zeros(1, np.uint32), table.colours | OPAQUE))[numbers]
        is_same = colours == part.shown
        drawn = part.changed & ~is_same
        may_be_whole = part.may_be_whole and bool((is_same | drawn).all())
        left_out = np.where(drawn, numbers, np.uint16(0))
        ways = [left_out, numbers] if may_be_whole else [left_out]
        is_shared = table is self._shared
        coded = min((self._in_shared(way) if is_shared else _in_own(way, table.colours) for way in ways), key=_length)
        return Coded(coded.data, coded.bits, coded.has_clear, np.where(drawn, colours, part.shown))

    def _near_table(self, pixels: Pixels) -> NearTable:
        """Return a table that shows pixels well: one that there is, or a new one."""
        if self._is_first:
            # Room is left for what comes with later frames.
            self._shared, self._most = NearTable.of(pixels, self._most_near - _LEFT_FREE), MAX_COLOURS - 1
            return self._shared
        if isinstance(self._shared, NearTable) and (
            self._shared.fits(pixels) or self._shared.grow_to_fit(pixels, self._most_near)
        ):
            return self._shared
        if self._near is None or not self._near.fits(pixels):
            self._near = NearTable.of(pixels, min(self._most_near, max(_FEWEST_OWN, len(pixels) // _PIXELS_A_COLOUR)))
        return self._near

    def _in_shared(self, numbers: Numbers) -> Coded:
        if self._most == MAX_COLOURS:
            return Coded(_compressed((numbers - 1).astype(np.uint8)), 0, False)
        return Coded(_compressed(numbers.astype(np.uint8)), 0, bool((numbers == 0).any()))


class _Part:
    """What lies in the box of a frame."""

    def __init__(self, frame: Pixels, changed: Mask, shown: Pixels) -> None:
        self.frame = frame
        self.changed = changed
        self.shown = shown
        self.wanted: Pixels = np.where(changed, frame, np.uint32(0))
        count = int(np.count_nonzero(changed))
        self.is_whole = count == changed.size
        # Pixels that are not changed may be drawn again, unless they are holes.
        is_mixed = not self.is_whole and count > (1 - _MOSTLY_UNCHANGED) * changed.size
        self.may_be_whole = is_mixed and bool((frame != 0).all())

    @property
    def drawn_pixels(self) -> Pixels:
        """The pixels that are changed, in a row."""
        return self.frame[self.changed]


def _whole_runs(numbers: Numbers, changed: Mask) -> Numbers:
    """Leave out runs of one colour in which nothing changes. Runs that are drawn in part compress worse."""
    row = numbers.ravel()
    starts = np.flatnonzero(np.concatenate((np.ones(1, np.bool_), row[1:] != row[:-1])))
    is_drawn = np.logical_or.reduceat(changed.ravel(), starts)
    lengths = np.diff(np.append(starts, len(row)))
    return np.where(np.repeat(is_drawn, lengths), row, np.uint16(0)).reshape(numbers.shape)


def _length(coded: Coded) -> int:
    return len(coded.data)


def _in_own(numbers: Numbers, colours: Pixels) -> Coded:
    """Return pixels with a table of the colours that they need."""
    used = np.bincount(numbers.ravel(), minlength=len(colours) + 1) > 0
    has_clear = bool(used[0])
    used[0] = False
    table, bits = _table(colours[used[1:]], has_clear=has_clear)
    index_of = (np.cumsum(used) - (0 if has_clear else 1)) * used
    return Coded(table + _compressed(index_of.astype(np.uint8)[numbers]), bits, has_clear)


def _table(colours: Pixels, *, has_clear: bool) -> tuple[bytes, int]:
    data = bytes(3 * has_clear) + bytes_of(colours)
    bits = max(1, (len(data) // 3 - 1).bit_length())
    return data.ljust(3 << bits, b"\0"), bits


def _compressed(indices: "np.typing.NDArray[np.uint8]") -> bytes:
    # No code is shorter than two bits.
    bits = max(2, int(indices.max()).bit_length())
    return bytes((bits,)) + Image.fromarray(indices).tobytes("gif", "L", bits, 0) + b"\0"
