"""Log unforeseen exceptions: one traceback for each kind of fault and minute, an id for each fault."""

import logging
import secrets
import threading
import time
from collections import OrderedDict
from dataclasses import dataclass

WINDOW_SECONDS = 60.0
MAX_KINDS = 256


@dataclass(slots=True)
class _Kind:
    """One kind of fault in its current window.

    Attributes:
        error_id: of the fault whose traceback was logged.
        since: monotonic seconds when the window began.
        count: faults of this kind in the window after the first one.
    """

    error_id: str
    since: float
    count: int = 0


class FaultLog:
    """Bounds what repeated faults write into the log. Thread-safe.

    Two faults are of one kind when the same message is logged for the same type of exception raised at the same line.

    Args:
        window: seconds in which the traceback of one kind is logged once.
    """

    def __init__(self, window: float = WINDOW_SECONDS) -> None:
        self._window = window
        self._lock = threading.Lock()
        self._kinds: OrderedDict[tuple[object, ...], _Kind] = OrderedDict()

    def record(self, log: logging.Logger, error: BaseException, message: str, *args: object) -> str:
        """Log one fault in one line and return its id, which a person can search the log for.

        The first fault of a kind in a window also has its traceback. A later one names the id of the first.
        """
        error_id = secrets.token_hex(8)
        kind, is_first, before = self._count(error, message, error_id)
        if is_first:
            note = f" ({before} more of this kind since error id {kind.error_id})" if before else ""
            kind.error_id = error_id
            log.error(f"error id %s: {message}{note}", error_id, *args, exc_info=error)
        else:
            log.error(
                f"error id %s: {message}: %s (traceback at error id %s)",
                error_id,
                *args,
                summarise(error),
                kind.error_id,
            )
        return error_id

    def count(self, log: logging.Logger, error: BaseException, message: str, *args: object) -> None:
        """Log a fault that a loop meets again and again: the first of a kind in a window, then only their number."""
        error_id = secrets.token_hex(8)
        kind, is_first, before = self._count(error, message, error_id)
        if is_first:
            note = f" ({before} more of this kind since error id {kind.error_id})" if before else ""
            kind.error_id = error_id
            log.error(f"error id %s: {message}{note}", error_id, *args, exc_info=error)

    def _count(self, error: BaseException, message: str, error_id: str) -> tuple[_Kind, bool, int]:
        """Return the fault's kind, whether its window begins now, and how many the last window left unlogged."""
        key = (type(error), _origin(error), message)
        now = time.monotonic()
        with self._lock:
            kind = self._kinds.pop(key, None)
            is_first, before = kind is None or now - kind.since >= self._window, 0
            if kind is None:
                kind = _Kind(error_id, now)
            elif is_first:
                before, kind.since, kind.count = kind.count, now, 0
            else:
                kind.count += 1
            self._kinds[key] = kind
            while len(self._kinds) > MAX_KINDS:
                self._kinds.popitem(last=False)
            return kind, is_first, before


def summarise(error: BaseException, limit: int = 300) -> str:
    """Return the exception's type and text in one line of at most `limit` characters."""
    text = " ".join(f"{type(error).__name__}: {error}".split())
    return text if len(text) <= limit else text[: limit - 1] + "…"


def _origin(error: BaseException) -> tuple[str, int] | None:
    trace = error.__traceback__
    if trace is None:
        return None
    while trace.tb_next is not None:
        trace = trace.tb_next
    return trace.tb_frame.f_code.co_filename, trace.tb_lineno


FAULTS = FaultLog()
record = FAULTS.record
count = FAULTS.count
