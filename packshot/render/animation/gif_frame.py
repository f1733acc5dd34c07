"""Encode one frame of an animated GIF: choose its colour table, and compress its pixels."""

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

# Places of the global table that the first frame leaves for later frames.
_LEFT_FREE = 15
# Colours that any frame may have if they are not exact, since blended pixels add further colours.
_FEWEST = 64
# Colours of a local table: the minimum, and pixels per colour. A frame of few changed pixels gets a small table.
_FEWEST_OWN, _PIXELS_A_COLOUR = 16, 8

# If more than this share of a box is unchanged, unchanged pixels are always omitted.
_MOSTLY_UNCHANGED = 0.9


@dataclass(frozen=True, slots=True)
class Coded:
    """The encoded pixels of a frame within its box.

    Attributes:
        data: the local table, if there is one, and the compressed pixels.
        bits: the local table has 2^bits colours; 0 means that the frame uses the global table.
        has_clear: whether index 0 is transparent and leaves a pixel unchanged.
        shown: pixels that the box then shows; None if they equal the frame's pixels.
    """

    data: bytes
    bits: int
    has_clear: bool
    shown: Pixels | None = None

    def block(self, corner: tuple[int, int], size: tuple[int, int], disposal: int, milliseconds: int) -> bytes:
        """Return the frame's blocks: graphic control extension, image descriptor, table and pixels."""
        return (
            b"!\xf9\x04"
            + struct.pack("<BHBx", disposal << 2 | self.has_clear, milliseconds // 10, 0)
            + b","
            + struct.pack("<4HB", *corner, *size, OWN_COLOURS | self.bits - 1 if self.bits else 0)
            + self.data
        )


class Coder:
    """Encode a sequence of frames, and choose their colour tables.

    Frames share the global table while it has room for their colours. A frame with too many colours for it gets a local
    table. A frame of more than 256 colours gets the nearest of colours that are chosen from a sample.

    Args:
        keeps_exact: whether frames of up to 256 colours keep them all. Otherwise such a frame may use the nearest
        colours
            of another frame's table, if the difference is hardly visible.
        colours: number of colours of the original. Frames with inexact colours have no more, but at least 64.
    """

    def __init__(self, *, keeps_exact: bool, colours: int = MAX_COLOURS) -> None:
        self._keeps_exact = keeps_exact
        self._most_near = min(max(colours, _FEWEST), MAX_COLOURS) - 1
        # The global table. It is exact and grows with each frame, unless the first frame has too many colours.
        self._shared: ExactTable | NearTable = ExactTable()
        self._most = MAX_COLOURS - 1
        self._own = ExactTable()
        # Table of the last frame that is neither exact nor in the global table.
        self._near: NearTable | None = None
        self._is_first = True

    def shared_table(self) -> tuple[bytes, int]:
        """Return the global table, and the exponent of its size."""
        return _table(self._shared.colours, has_clear=self._most < MAX_COLOURS)

    def code(self, frame: Pixels, changed: Mask, shown: Pixels) -> Coded:
        """Encode the part of a frame within a box.

        Args:
            frame: pixels of the part, of shape (height, width).
            changed: which pixels differ from the previous frame.
            shown: pixels that the box shows now.
        """
        part = _Part(frame, changed, shown)
        coded = None
        if self._keeps_exact:
            coded = min(self._exact_ways(part), key=_length, default=None)
        coded = coded or self._nearest(part)
        # A frame without changes does not decide the global table.
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
        """Return a table that fits the pixels: an existing one, or a new one."""
        if self._is_first:
            # Leave room for colours of later frames.
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
    """The part of a frame within its box."""

    def __init__(self, frame: Pixels, changed: Mask, shown: Pixels) -> None:
        self.frame = frame
        self.changed = changed
        self.shown = shown
        self.wanted: Pixels = np.where(changed, frame, np.uint32(0))
        count = int(np.count_nonzero(changed))
        self.is_whole = count == changed.size
        # Unchanged pixels may be drawn again, unless they are transparent.
        is_mixed = not self.is_whole and count > (1 - _MOSTLY_UNCHANGED) * changed.size
        self.may_be_whole = is_mixed and bool((frame != 0).all())

    @property
    def drawn_pixels(self) -> Pixels:
        """The changed pixels, in one dimension."""
        return self.frame[self.changed]


def _whole_runs(numbers: Numbers, changed: Mask) -> Numbers:
    """Omit runs of one colour without changed pixels. Partly omitted runs compress worse."""
    row = numbers.ravel()
    starts = np.flatnonzero(np.concatenate((np.ones(1, np.bool_), row[1:] != row[:-1])))
    is_drawn = np.logical_or.reduceat(changed.ravel(), starts)
    lengths = np.diff(np.append(starts, len(row)))
    return np.where(np.repeat(is_drawn, lengths), row, np.uint16(0)).reshape(numbers.shape)


def _length(coded: Coded) -> int:
    return len(coded.data)


def _in_own(numbers: Numbers, colours: Pixels) -> Coded:
    """Encode pixels with a local table of the colours that they use."""
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
    # GIF allows no code size below 2 bits.
    bits = max(2, int(indices.max()).bit_length())
    return bytes((bits,)) + Image.fromarray(indices).tobytes("gif", "L", bits, 0) + b"\0"
