"""A variant that is ready to be sent, stored or not."""

from dataclasses import dataclass

from packshot.storage.base import Opened, Stored


@dataclass(frozen=True, slots=True)
class Sendable:
    """An object's metadata, and its bytes if they are needed.

    Attributes:
        body: all bytes of a small object, or a large object opened; None: no bytes are needed.
        is_kept: the object is in the store; otherwise only this process has it.
        is_recorded: the ledger knows the object or why it is not stored; otherwise an erasure cannot find copies of it.
    """

    stored: Stored
    body: bytes | Opened | None = None
    is_kept: bool = True
    is_recorded: bool = True
