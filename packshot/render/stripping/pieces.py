"""An edited file as pieces of the original file, so that it can be sent without being held in memory."""

from collections.abc import Iterable, Sequence
from itertools import pairwise

Piece = tuple[int, int] | bytes | int
"""A range of the original's bytes as (start, stop), inserted bytes, or a number of zero bytes."""

Edit = tuple[int, int, bytes]
"""Start and stop in the original, and what takes that place, padded with zeros or cut to the same length."""


class Pieces:
    """Collects pieces in the order of the original's bytes. Adjacent ranges become one."""

    def __init__(self) -> None:
        self.list: list[Piece] = []

    def keep(self, start: int, stop: int) -> None:
        """Keep the bytes from `start` to `stop` of the original."""
        if start >= stop:
            return
        last = self.list[-1] if self.list else None
        if isinstance(last, tuple) and last[1] == start:
            self.list[-1] = last[0], stop
        else:
            self.list.append((start, stop))

    def insert(self, data: bytes) -> None:
        """Insert bytes that the original does not have here."""
        if data:
            self.list.append(data)


def edited_in_place(size: int, edits: Iterable[Edit]) -> list[Piece]:
    """Return the pieces of a file of `size` bytes in which each edit overwrites its range.

    Raises:
        ValueError: an edit lies outside of the file, or two overlap.
    """
    ordered = sorted(edit for edit in edits if edit[0] < edit[1])
    if any(first[1] > second[0] for first, second in pairwise(ordered)):
        raise ValueError("two ranges that are to be overwritten overlap")
    pieces, at = Pieces(), 0
    for start, stop, data in ordered:
        if start < 0 or stop > size:
            raise ValueError("a range that is to be overwritten lies outside of the file")
        pieces.keep(at, start)
        data = data[: stop - start]
        pieces.insert(data)
        if zeros := stop - start - len(data):
            pieces.list.append(zeros)
        at = stop
    pieces.keep(at, size)
    return pieces.list


def length_of(pieces: Sequence[Piece]) -> int:
    """Return how many bytes the edited file has."""
    return sum(_length(piece) for piece in pieces)


def _length(piece: Piece) -> int:
    if isinstance(piece, tuple):
        return piece[1] - piece[0]
    return piece if isinstance(piece, int) else len(piece)


def check_pieces(pieces: Sequence[Piece], size: int, most_inserted: int) -> None:
    """Check pieces that a render process has answered.

    Raises:
        ValueError: they are not in order, not within a file of `size` bytes, or insert more than `most_inserted`.
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
