"""Configure logging for every process: one format, bounded tracebacks, and no flood from any library."""

import asyncio
import logging
import sys
import threading
from types import TracebackType
from typing import Any

from starlette.requests import ClientDisconnect
from starlette.websockets import WebSocketDisconnect

from packshot import faults
from serve.redaction import Redaction
from serve.tracebacks import format_bounded

FORMAT = "%(asctime)s %(levelname)s %(name)s %(message)s"
MAX_WARNINGS = 20  # of one line of code in a minute
SERVERS = ("uvicorn", "asyncio", "websockets", "strawberry")
# These tell of each attempt that is repeated.
RETRYING = ("packshot.storage.s3_client",)
# What these raise when a client goes away or sends what is no text.
CLIENT_FAULTS = (asyncio.CancelledError, ConnectionError, ClientDisconnect, WebSocketDisconnect, UnicodeDecodeError)
# These tell at INFO what only their developers need.
CHATTY = ("alembic", "dramatiq", "botocore", "urllib3", "websockets", "strawberry")

log = logging.getLogger(__name__)


def configure(level: str) -> None:
    """Send every logger's records to standard error; `level` is "debug" to "error"."""
    if logging.getLogger().handlers:
        return  # Whoever embeds Packshot has configured it.
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
    """Formats tracebacks of any exception in a bounded number of lines."""

    def formatException(self, ei: Any) -> str:  # noqa: N802 - the name is logging's
        """Return the traceback of `sys.exc_info()`."""
        return "" if ei[1] is None else format_bounded(ei[1])


class Flood(logging.Filter):
    """Drops what repeats: an exception that was logged already, a traceback of a kind that the last minute has seen,
    and a warning beyond the first few of its line of code in a minute. The number is logged when the minute ends.

    Records of `packshot.faults` are bounded already and pass.
    """

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether the record is written."""
        if getattr(record, "is_fault", False):
            return True
        if record.levelno < logging.WARNING:
            return record.name not in RETRYING or faults.FAULTS.admit(record, MAX_WARNINGS)
        error = record.exc_info[1] if record.exc_info else None
        if faults.logged_id(error) is not None:
            return False
        if isinstance(error, CLIENT_FAULTS) and record.name.startswith(SERVERS):
            record.exc_info = None
            record.msg, record.args = f"{record.getMessage().splitlines()[0]} ({faults.summarise(error)})", ()
            return faults.FAULTS.admit(record, MAX_WARNINGS)
        return faults.FAULTS.admit(record, MAX_WARNINGS if error is None else 1)


def _log_uncaught(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    if isinstance(error, KeyboardInterrupt):
        sys.__excepthook__(kind, error, trace)
        return
    faults.record(log, error.with_traceback(trace), "the process ends by an unforeseen exception")


def _log_thread(args: threading.ExceptHookArgs) -> None:
    if args.exc_value is None or isinstance(args.exc_value, SystemExit):
        return
    name = args.thread.name if args.thread is not None else "?"
    faults.record(log, args.exc_value, "the thread %s ended by an unforeseen exception", name)


def _log_unraisable(args: Any) -> None:
    if args.exc_value is not None:
        faults.record(log, args.exc_value, "an exception could not be raised: %s", args.err_msg or args.object)
