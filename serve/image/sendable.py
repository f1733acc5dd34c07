"""What is about to be sent: a stored object, or a picture that was drawn and not stored."""

from dataclasses import dataclass

from packshot.storage.base import Opened, Stored


@dataclass(frozen=True, slots=True)
class Sendable:
    """A stored object, and its bytes as far as they are wanted.

    Attributes:
        body: all bytes of a small object, or a large one opened; None: none are wanted here.
        is_kept: it is in the store; else only these bytes are there.
        is_recorded: the ledger knows it, or knows why it is not stored; else an erasure could not name its copies.
    """

    stored: Stored
    body: bytes | Opened | None = None
    is_kept: bool = True
    is_recorded: bool = True
