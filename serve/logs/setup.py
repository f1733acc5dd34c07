"""Configure logging for every process: one format, bounded messages and tracebacks, and bounded repetition."""

import asyncio
import logging
import sys
import threading
from types import TracebackType
from typing import Any

from starlette.requests import ClientDisconnect
from starlette.websockets import WebSocketDisconnect

from packshot import faults
from serve.logs.redaction import Redaction
from serve.logs.tracebacks import format_bounded

FORMAT = "%(asctime)s %(levelname)s %(name)s %(message)s"
MAX_LINES = 20  # from one line of code in a minute, except faults
MAX_CHARACTERS = 2_000  # of a message, which may contain texts of peers and clients
SERVERS = ("uvicorn", "asyncio", "websockets", "strawberry")
# It must have one line for each request.
ACCESS_LOG = "uvicorn.access"
# Servers raise these when a client disconnects or sends text that is not UTF-8.
CLIENT_FAULTS = (asyncio.CancelledError, ConnectionError, ClientDisconnect, WebSocketDisconnect, UnicodeDecodeError)
# Their INFO records help only their developers.
CHATTY = ("alembic", "dramatiq", "botocore", "urllib3", "websockets", "strawberry")

log = logging.getLogger(__name__)


def configure(level: str) -> None:
    """Send all log records to standard error; `level` is "debug" to "error"."""
    if logging.getLogger().handlers:
        return  # The embedding program has configured logging.
    handler = logging.StreamHandler()
    handler.setFormatter(BoundedFormatter(FORMAT))
    handler.addFilter(Flood())
    handler.addFilter(Redaction())
    logging.basicConfig(level=level.upper(), handlers=[handler])
    for name in CHATTY:
        logging.getLogger(name).setLevel(max(logging.WARNING, logging.getLogger().level))
    sys.excepthook = _log_uncaught
    threading.excepthook = _log_thread
    sys.unraisablehook = _log_unraisable


class BoundedFormatter(logging.Formatter):
    """Formats messages of bounded length, and tracebacks with a bounded number of lines."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - the name is logging's
        """Return a record's line without its traceback."""
        text = super().formatMessage(record)
        left_out = len(text) - MAX_CHARACTERS
        return text if left_out <= 0 else f"{text[:MAX_CHARACTERS]}… ({left_out} more characters)"

    def formatException(self, ei: Any) -> str:  # noqa: N802 - the name is logging's
        """Return the traceback of `sys.exc_info()`."""
        return "" if ei[1] is None else format_bounded(ei[1])


class Flood(logging.Filter):
    """Drops repetition, and logs after each minute how many records it dropped.

    It drops an exception that is already logged, a traceback of a kind that was logged within the minute, and records
    of one line of code beyond `MAX_LINES` a minute. Records of `packshot.faults` are bounded elsewhere and pass, as do
    debug records and the access log.
    """

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether to write the record."""
        if getattr(record, "is_fault", False):
            return True
        if record.levelno < logging.INFO or record.name == ACCESS_LOG:
            return True
        error = record.exc_info[1] if record.exc_info else None
        if faults.logged_id(error) is not None:
            return False
        if isinstance(error, CLIENT_FAULTS) and record.name.startswith(SERVERS):
            record.exc_info = None
            record.msg, record.args = f"{record.getMessage().splitlines()[0]} ({faults.summarise(error)})", ()
            return faults.FAULTS.is_within_limit(record, MAX_LINES)
        return faults.FAULTS.is_within_limit(record, MAX_LINES if error is None else 1)


def _log_uncaught(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    if isinstance(error, KeyboardInterrupt):
        sys.__excepthook__(kind, error, trace)
        return
    faults.record(log, error.with_traceback(trace), "the process ends with an unhandled exception")


def _log_thread(args: threading.ExceptHookArgs) -> None:
    if args.exc_value is None or isinstance(args.exc_value, SystemExit):
        return
    name = args.thread.name if args.thread is not None else "?"
    faults.record(log, args.exc_value, "the thread %s ended with an unhandled exception", name)


def _log_unraisable(args: Any) -> None:
    if args.exc_value is not None:
        faults.record(log, args.exc_value, "an exception could not be propagated: %s", args.err_msg or args.object)
