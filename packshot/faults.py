"""Log unforeseen exceptions (faults): an id for each, one traceback per kind and minute, and how often each kind
occurred.
"""

import atexit
import logging
import secrets
import threading
import time
from collections import OrderedDict
from collections.abc import Hashable
from dataclasses import dataclass

from packshot.errors import PackshotError
from packshot.outages import explain_outage, is_understood

WINDOW_SECONDS = 60.0
MAX_KINDS = 256
MAX_LINES = 50  # faults of one kind in a window that get their own line; the others are counted


@dataclass(slots=True)
class _Kind:
    """One kind of fault in its current window.

    Attributes:
        log: the logger for the count at the end of the window.
        level: the log level of that line.
        error_id: the id of the fault whose traceback was logged.
        summary: the first logged message, in one line.
        since: start of the window in monotonic seconds.
        count: faults of this kind in the window.
        unlogged: faults without a line of their own.
    """

    log: logging.Logger
    level: int
    error_id: str
    summary: str
    since: float
    count: int = 0
    unlogged: int = 0


class FaultLog:
    """Bound what repeated faults write into the log. Thread-safe.

    Two faults are of one kind if the same message is logged for the same type of exception raised at the same line.
    An outage has one traceback, however many messages report it; a full disk and a read-only database have none.
    At the end of a window, one line reports the number of faults of the kind.

    Args:
        window: seconds in which the traceback of one kind is logged once.
    """

    def __init__(self, window: float = WINDOW_SECONDS) -> None:
        self._window = window
        self._lock = threading.Lock()
        self._kinds: OrderedDict[Hashable, _Kind] = OrderedDict()
        self._outages: OrderedDict[Hashable, tuple[str, float]] = OrderedDict()
        self._timer: threading.Timer | None = None

    def record(self, log: logging.Logger, error: BaseException, message: str, *args: object) -> str:
        """Log one fault in one line and return its error id, by which the log can be searched.

        The first fault of a kind in a window also has its traceback; later ones refer to the id of the first. After
        `MAX_LINES` of a kind, a fault gets no line; its id is the id of the first and a number. An exception that was
        recorded before keeps its id and gets no second line.
        """
        return self._log(log, error, message, args, MAX_LINES)

    def count(self, log: logging.Logger, error: BaseException, message: str, *args: object) -> None:
        """Log a fault that a loop meets repeatedly: the first of a kind in a window, then only the count."""
        self._log(log, error, message, args, 1)

    def _log(
        self, log: logging.Logger, error: BaseException, message: str, args: tuple[object, ...], limit: int
    ) -> str:
        if (known := logged_id(error)) is not None:
            return known
        error_id = secrets.token_hex(8)
        key = (type(error), origin(error), message)
        kind, count = self._enter(key, log, error_id, message, args, error, limit=limit)
        if count > limit:
            error_id = f"{kind.error_id}-{count}"
        elif is_understood(error):
            log.error(f"error id %s: {message}: %s", error_id, *args, summarise(error), extra={"is_fault": True})
        elif (traced := self._traced(error, error_id, kind)) == error_id:
            log.error(f"error id %s: {message}", error_id, *args, exc_info=error, extra={"is_fault": True})
        else:
            text = f"error id %s: {message}: %s (traceback at error id %s)"
            log.error(text, error_id, *args, summarise(error), traced, extra={"is_fault": True})
        _mark(error, error_id)
        return error_id

    def _traced(self, error: BaseException, error_id: str, kind: _Kind) -> str:
        """Return the id whose line has the traceback. All faults of one outage share it."""
        if explain_outage(error) is None:
            return kind.error_id
        now, key = time.monotonic(), (type(error), origin(error))
        with self._lock:
            traced, since = self._outages.get(key, ("", 0.0))
            if not traced or now - since >= self._window:
                self._outages.pop(key, None)
                traced, self._outages[key] = error_id, (error_id, now)
            if len(self._outages) > MAX_KINDS:
                self._outages.popitem(last=False)
        return traced

    def is_within_limit(self, record: logging.LogRecord, limit: int) -> bool:
        """Whether a log record of another library is among the first `limit` of its source line in a window."""
        error = record.exc_info[1] if record.exc_info else None
        place = (record.name, record.pathname, record.lineno)
        kind = place if error is None else (*place, type(error), origin(error))
        log = logging.getLogger(record.name)
        level = record.levelno
        _, count = self._enter(kind, log, "", record.getMessage(), (), error, limit=limit, level=level)
        return count <= limit

    def end_windows(self, *, older_than: float = 0.0) -> None:
        """Log and forget each kind whose window started at least that many seconds ago."""
        latest = time.monotonic() - older_than
        with self._lock:
            keys = [key for key, kind in self._kinds.items() if kind.since <= latest]
            ended = [self._kinds.pop(key) for key in keys]
        _log_counts(ended)

    def forget(self) -> None:
        """Forget every kind without logging, as a new process does."""
        with self._lock:
            self._kinds.clear()
            self._outages.clear()

    def _enter(
        self,
        key: Hashable,
        log: logging.Logger,
        error_id: str,
        message: str,
        args: tuple[object, ...],
        error: BaseException | None,
        *,
        limit: int,
        level: int = logging.ERROR,
    ) -> tuple[_Kind, int]:
        """Count a fault; return its kind and its number in the current window."""
        self.end_windows(older_than=self._window)
        evicted = []
        with self._lock:
            kind = self._kinds.get(key)
            if kind is None:
                text = " ".join((message % args if args else message).split())[:200]
                summary = text if error is None else f"{text}: {summarise(error)}"
                kind = self._kinds[key] = _Kind(log, level, error_id, summary, time.monotonic())
            kind.count += 1
            count = kind.count
            kind.unlogged += count > limit
            if len(self._kinds) > MAX_KINDS:
                evicted.append(self._kinds.popitem(last=False)[1])
            if self._timer is None and self._window > 0:
                self._start_timer()
        _log_counts(evicted)
        return kind, count

    def _start_timer(self) -> None:
        self._timer = threading.Timer(self._window, self._tick)
        self._timer.name, self._timer.daemon = "fault counts", True
        self._timer.start()

    def _tick(self) -> None:
        self.end_windows(older_than=self._window / 2)
        with self._lock:
            self._timer = None
            if self._kinds:
                self._start_timer()


def _log_counts(ended: list[_Kind]) -> None:
    for kind in ended:
        if kind.unlogged:
            since = f" since error id {kind.error_id}" if kind.error_id else ""
            text = "%d more of this kind%s in %.0f seconds: %s"
            seconds = time.monotonic() - kind.since
            kind.log.log(kind.level, text, kind.unlogged, since, seconds, kind.summary, extra={"is_fault": True})


def logged_id(error: BaseException | None) -> str | None:
    """Return the id under which this exception object was logged; None if it was not."""
    return getattr(error, "_packshot_error_id", None)


def _mark(error: BaseException, error_id: str) -> None:
    # The attributes of a refusal are stored with its job.
    if not isinstance(error, PackshotError):
        error._packshot_error_id = error_id  # type: ignore[attr-defined]


def summarise(error: BaseException, limit: int = 300) -> str:
    """Return the type and text of the exception in one line of at most `limit` characters."""
    text = " ".join(f"{type(error).__name__}: {error}".split())
    return text if len(text) <= limit else text[: limit - 1] + "…"


def origin(error: BaseException) -> tuple[str, int] | None:
    """Return the file and line that raised an exception; None if it was not raised."""
    trace = error.__traceback__
    if trace is None:
        return None
    while trace.tb_next is not None:
        trace = trace.tb_next
    return trace.tb_frame.f_code.co_filename, trace.tb_lineno


FAULTS = FaultLog()
record = FAULTS.record
count = FAULTS.count
atexit.register(FAULTS.end_windows)
