"""Check that fax data (CCITT T.4 and T.6) hold every row of an image.

libtiff fills missing rows without an error. So this module parses the codes, but draws no pixels. Fax data have no
checksum: a changed byte is noticed only if it produces an unknown code or a row of the wrong length.
"""

from dataclasses import dataclass

from packshot.errors import Unrenderable

DAMAGED = "The image is damaged and cannot be decoded."

# Codes of runs of 0 to 63 pixels.
_WHITE = (
    "00110101 000111 0111 1000 1011 1100 1110 1111 10011 10100 00111 01000 001000 000011 110100 110101 "
    "101010 101011 0100111 0001100 0001000 0010111 0000011 0000100 0101000 0101011 0010011 0100100 "
    "0011000 00000010 00000011 00011010 00011011 00010010 00010011 00010100 00010101 00010110 00010111 "
    "00101000 00101001 00101010 00101011 00101100 00101101 00000100 00000101 00001010 00001011 01010010 "
    "01010011 01010100 01010101 00100100 00100101 01011000 01011001 01011010 01011011 01001010 01001011 "
    "00110010 00110011 00110100"
)
_BLACK = (
    "0000110111 010 11 10 011 0011 0010 00011 000101 000100 0000100 0000101 0000111 00000100 00000111 "
    "000011000 0000010111 0000011000 0000001000 00001100111 00001101000 00001101100 00000110111 "
    "00000101000 00000010111 00000011000 000011001010 000011001011 000011001100 000011001101 000001101000 "
    "000001101001 000001101010 000001101011 000011010010 000011010011 000011010100 000011010101 "
    "000011010110 000011010111 000001101100 000001101101 000011011010 000011011011 000001010100 "
    "000001010101 000001010110 000001010111 000001100100 000001100101 000001010010 000001010011 "
    "000000100100 000000110111 000000111000 000000100111 000000101000 000001011000 000001011001 "
    "000000101011 000000101100 000001011010 000001100110 000001100111"
)
# Codes of runs of 64, 128 … 1728 pixels, then codes of 1792 … 2560 pixels, which both colours share.
_LONG_WHITE = (
    "11011 10010 010111 0110111 00110110 00110111 01100100 01100101 01101000 01100111 011001100 011001101 "
    "011010010 011010011 011010100 011010101 011010110 011010111 011011000 011011001 011011010 011011011 "
    "010011000 010011001 010011010 011000 010011011"
)
_LONG_BLACK = (
    "0000001111 000011001000 000011001001 000001011011 000000110011 000000110100 000000110101 "
    "0000001101100 0000001101101 0000001001010 0000001001011 0000001001100 0000001001101 0000001110010 "
    "0000001110011 0000001110100 0000001110101 0000001110110 0000001110111 0000001010010 0000001010011 "
    "0000001010100 0000001010101 0000001011010 0000001011011 0000001100100 0000001100101"
)
_LONGEST = (
    "00000001000 00000001100 00000001101 000000010010 000000010011 000000010100 000000010101 000000010110 "
    "000000010111 000000011100 000000011101 000000011110 000000011111"
)

_WINDOW = 13  # bits of the longest run code
_END_OF_LINE_ZEROS = 11

# Codes of two-dimensional rows. Values up to 3 are the distance of the next change from the one in the row above.
_PASS, _HORIZONTAL, _NONE = 8, 9, 10
_MODES = {
    "1": 0,
    "011": 1,
    "000011": 2,
    "0000011": 3,
    "010": -1,
    "000010": -2,
    "0000010": -3,
    "0001": _PASS,
    "001": _HORIZONTAL,
}
_MODE_WINDOW = 7

_REVERSED = bytes(int(f"{value:08b}"[::-1], 2) for value in range(256))


@dataclass(frozen=True, slots=True)
class FaxCoding:
    """How fax data are coded.

    Attributes:
        two_dimensional: whether rows may refer to the row above: all rows in T.6, marked rows in T.4.
        has_end_of_line: whether an end-of-line code may precede each row (T.4).
        byte_aligned: whether each row begins at a byte boundary.
    """

    two_dimensional: bool
    has_end_of_line: bool
    byte_aligned: bool


def fax_coding(compression: int, t4_options: int) -> FaxCoding:
    """Return the coding that two TIFF tags describe.

    Args:
        compression: value of tag 259: 2, 3 or 4.
        t4_options: value of tag 292.
    """
    if compression == 4:
        return FaxCoding(two_dimensional=True, has_end_of_line=False, byte_aligned=False)
    if compression == 3:
        return FaxCoding(two_dimensional=bool(t4_options & 1), has_end_of_line=True, byte_aligned=False)
    return FaxCoding(two_dimensional=False, has_end_of_line=False, byte_aligned=True)


def check_fax(data: bytes, width: int, rows: int, coding: FaxCoding, *, is_reversed: bool = False) -> None:
    """Parse the codes of one strip or tile. Data after the last row are ignored.

    Args:
        width: pixels per row.
        rows: number of rows that the strip must hold.
        is_reversed: whether the first pixel is in the lowest bit of a byte (FillOrder 2).

    Raises:
        Unrenderable: a row is missing, or is not `width` pixels long.
    """
    reader = _Reader(data.translate(_REVERSED) if is_reversed else data)
    above = [width] * 4
    for row in range(rows):
        if coding.byte_aligned:
            reader.align()
        is_coded_by_row_above = coding.two_dimensional
        if coding.has_end_of_line:
            found = reader.skip_end_of_line()
            if coding.two_dimensional:
                # The bit after the end-of-line code is 0 for a two-dimensional row. Without the code there is no such
                # bit.
                is_coded_by_row_above = found and not reader.take_bit()
        changes = reader.row_by_above(above, width) if is_coded_by_row_above else reader.row(width)
        if changes is None or reader.is_beyond_end():
            raise Unrenderable(DAMAGED, got=f"fax data that are invalid or end in row {row + 1} of {rows} of a strip")
        above = changes


class _Reader:
    # Read the bits of `data`, highest bit of each byte first, with zeros after the end.

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0  # index of the next byte to load into `_bits`
        self._bits = 0
        self._count = 0  # number of unread bits: the lowest ones of `_bits`

    def is_beyond_end(self) -> bool:
        return self._at * 8 - self._count > len(self._data) * 8

    def align(self) -> None:
        self._count -= self._count % 8

    def take_bit(self) -> int:
        self._fill()
        self._count -= 1
        return self._bits >> self._count & 1

    def skip_end_of_line(self) -> bool:
        """Skip an end-of-line code and the fill zeros before it; return whether there was one."""
        self._fill()
        if self._bits >> (self._count - _END_OF_LINE_ZEROS) & (1 << _END_OF_LINE_ZEROS) - 1:
            return False
        while not self.take_bit():
            if self.is_beyond_end():
                return False
        return True

    def row(self, width: int) -> list[int] | None:
        """Parse a one-dimensional row.

        Returns:
            The columns where the colour changes, then `width` four times; None if the row is invalid.
        """
        changes: list[int] = []
        at, colour = 0, 0
        while True:
            length = self._run(_RUNS[colour])
            at += length
            if length < 0 or at > width:
                return None
            if at == width:
                return [*changes, width, width, width, width]
            changes.append(at)
            colour ^= 1

    def row_by_above(self, above: list[int], width: int) -> list[int] | None:
        """Parse a two-dimensional row.

        Args:
            above: the changes of the row above, as this method and `row` return them.
        """
        changes: list[int] = []
        at, colour, index = -1, 0, 0
        while at < width:
            # Find the next change above to the opposite colour. Changes at even indexes lead to black.
            while above[index] <= at:
                index += 2
            if self._count < _MODE_WINDOW:
                self._fill()
            mode, length = _MODE_TABLE[self._bits >> (self._count - _MODE_WINDOW) & 127]
            self._count -= length
            if mode < _PASS:
                to = above[index] + mode
                if to < at or to < 0 or to > width:
                    return None
                changes.append(to)
                at = to
                colour ^= 1
                index = index - 1 if index else 1
            elif mode == _PASS:
                at = above[index + 1]
            elif mode == _HORIZONTAL:
                first = self._run(_RUNS[colour])
                second = self._run(_RUNS[colour ^ 1])
                at = max(at, 0) + first
                changes.append(at)
                at += second
                changes.append(at)
                if first < 0 or second < 0 or at > width:
                    return None
            else:
                return None
        return [*changes, width, width, width, width]

    def _run(self, table: list[tuple[int, int]]) -> int:
        # Return the pixels of a run, including its make-up codes; -1 for an unknown code.
        total = 0
        while True:
            if self._count < _WINDOW:
                self._fill()
            length, bits = table[self._bits >> (self._count - _WINDOW) & 8191]
            if length < 0:
                return -1
            self._count -= bits
            total += length
            if length < 64:
                return total

    def _fill(self) -> None:
        taken = self._data[self._at : self._at + 8]
        self._at += 8
        left = self._bits & (1 << self._count) - 1
        self._bits = left << 64 | int.from_bytes(taken.ljust(8, b"\0"))
        self._count += 64


def _lookup(codes: dict[str, int], window: int, missing: int) -> list[tuple[int, int]]:
    # Map each bit pattern of `window` bits to the value and the length of the code that it begins with.
    table = [(missing, 0)] * (1 << window)
    for code, value in codes.items():
        rest = window - len(code)
        first = int(code, 2) << rest
        table[first : first + (1 << rest)] = [(value, len(code))] * (1 << rest)
    return table


def _runs(short: str, long: str) -> dict[str, int]:
    codes = {code: length for length, code in enumerate(short.split())}
    return codes | {code: 64 * number for number, code in enumerate((long + " " + _LONGEST).split(), 1)}


_RUNS = (_lookup(_runs(_WHITE, _LONG_WHITE), _WINDOW, -1), _lookup(_runs(_BLACK, _LONG_BLACK), _WINDOW, -1))
_MODE_TABLE = _lookup(_MODES, _MODE_WINDOW, _NONE)
