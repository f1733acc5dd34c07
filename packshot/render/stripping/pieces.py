"""Describe an edited file by pieces of the original file, so that it can be sent without holding it in memory."""

from collections.abc import Iterable, Sequence
from itertools import pairwise

Piece = tuple[int, int] | bytes | int
"""A range of the original's bytes as (start, stop), inserted bytes, or a number of zero bytes."""

Edit = tuple[int, int, bytes]
"""Start and stop in the original, and the replacement, which is padded with zeros or cut to the same length."""


class Pieces:
    """Collects pieces in the order of the original's bytes. Adjacent ranges are merged."""

    def __init__(self) -> None:
        self.list: list[Piece] = []

    def keep(self, start: int, stop: int) -> None:
        """Keep the original's bytes from `start` to `stop`."""
        if start >= stop:
            return
        last = self.list[-1] if self.list else None
        if isinstance(last, tuple) and last[1] == start:
            self.list[-1] = last[0], stop
        else:
            self.list.append((start, stop))

    def insert(self, data: bytes) -> None:
        """Insert new bytes."""
        if data:
            self.list.append(data)


def edited_in_place(size: int, edits: Iterable[Edit]) -> list[Piece]:
    """Return the pieces of a file of `size` bytes in which each edit overwrites its range.

    Raises:
        ValueError: an edit lies outside the file, or two overlap.
    """
    ordered = sorted(edit for edit in edits if edit[0] < edit[1])
    if any(first[1] > second[0] for first, second in pairwise(ordered)):
        raise ValueError("two overwritten ranges overlap")
    pieces, at = Pieces(), 0
    for start, stop, data in ordered:
        if start < 0 or stop > size:
            raise ValueError("an overwritten range lies outside the file")
        pieces.keep(at, start)
        data = data[: stop - start]
        pieces.insert(data)
        if zeros := stop - start - len(data):
            pieces.list.append(zeros)
        at = stop
    pieces.keep(at, size)
    return pieces.list


def length_of(pieces: Sequence[Piece]) -> int:
    """Return the length of the edited file in bytes."""
    return sum(_length(piece) for piece in pieces)


def _length(piece: Piece) -> int:
    if isinstance(piece, tuple):
        return piece[1] - piece[0]
    return piece if isinstance(piece, int) else len(piece)


def check_pieces(pieces: Sequence[Piece], size: int, most_inserted: int) -> None:
    """Check pieces that a render process has returned.

    Args:
        size: length of the original in bytes.
        most_inserted: bytes that all pieces together may insert.

    Raises:
        ValueError: the pieces are out of order, lie outside the original, or insert too much.
    """
    at = inserted = zeros = 0
    for piece in pieces:
        if isinstance(piece, tuple):
            if not at <= piece[0] < piece[1] <= size:
                raise ValueError("expected ranges in ascending order within the file")
            at = piece[1]
        elif isinstance(piece, int):
            zeros += piece
        else:
            inserted += len(piece)
    if inserted > most_inserted or not 0 <= zeros <= size:
        raise ValueError(f"expected at most {most_inserted} inserted bytes")
