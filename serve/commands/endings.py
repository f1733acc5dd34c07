"""The sentence and the exit code of a command that ends because of a refusal, an outage or missing rights."""

import errno
from typing import NoReturn

import typer

from packshot.errors import PackshotError

REFUSED, WITH_FAILURES, DOWN = 1, 3, 4
_START_DATABASE = "start it, or correct PACKSHOT_DATABASE_URL"


def stop(message: str, code: int) -> NoReturn:
    """Print the reason on standard error, and end with the exit code."""
    typer.echo(message, err=True)
    raise typer.Exit(code)


def sentence(error: Exception) -> str:
    """Return the text of a refusal, with what was expected and what was got."""
    expected, got = getattr(error, "expected", None), getattr(error, "got", None)
    details = [f"expected {expected}"] * (expected is not None) + [f"got {got}"] * (got is not None)
    return f"{error} ({', '.join(details)})" if details else str(error)


def explain_end(error: Exception) -> tuple[str, int] | None:
    """Return the sentence and the exit code for an exception that ends a command; None: it is a fault.

    Missing rights count as a refusal: the command ends the same way until a user grants them.
    """
    from packshot.catalog.database.transaction import DatabaseFault
    from packshot.outages import OutageKind, explain_outage, recognise

    if isinstance(error, PackshotError):
        return sentence(error), REFUSED
    outage = recognise(error)
    if isinstance(error, OSError):
        # The reader of standard output has ended, which is no error.
        return None if error.errno == errno.EPIPE else _explain_os(error)
    if outage is None and explain_outage(error) is None:
        return None
    refused = outage is not None and outage.kind in (OutageKind.NO_RIGHTS, OutageKind.READ_ONLY)
    said = " ".join(str(error.orig if isinstance(error, DatabaseFault) else error).split())
    reason, cure = (outage.reason, outage.cure) if outage else ("does not answer", _START_DATABASE)
    # Some reasons lack their subject; others are complete.
    subject = "The database" if reason.startswith(("does not", "refuses")) else "The database:"
    return f"{subject} {reason}: {cure} ({said}).", REFUSED if refused else DOWN


def _explain_os(error: OSError) -> tuple[str, int]:
    where = f" ({error.filename})" if error.filename else ""
    if error.errno in (errno.EACCES, errno.EPERM):
        cure = f"run it as the user that owns the data folder, or give {_user()} access"
        return f"Permission denied{where}: {cure}.", REFUSED
    if error.errno == errno.EROFS:
        return f"The file system is read-only{where}: mount it writable, or set PACKSHOT_DATA.", REFUSED
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return f"The disk is full{where}: delete files, or set PACKSHOT_DATA to a folder on another disk.", DOWN
    if error.errno in (errno.ENOTDIR, errno.EEXIST, errno.EISDIR):
        return f"A file is where a folder should be, or a folder where a file should be{where}: move it away.", REFUSED
    if error.errno in (errno.EMFILE, errno.ENFILE):
        return "Too many files are open: raise the limit (ulimit -n).", DOWN
    return f"Something required is not available: {error}.", DOWN


def _user() -> str:
    import getpass

    try:
        return f"the user {getpass.getuser()}"
    except (KeyError, OSError):
        return "this user"
