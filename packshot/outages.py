"""Classify outages by their exceptions: the kind, a reason for clients, and what an operator can do."""

import errno
import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

import sqlalchemy as sa

from packshot.catalog.database.transaction import DatabaseFault, is_database_away

RETRY_SECONDS = 5  # seconds after which a client may retry


class OutageKind(StrEnum):
    """Why a correctly configured service does not work."""

    STORAGE_FULL = "storage_full"
    READ_ONLY = "read_only"
    NO_RIGHTS = "no_rights"
    BUSY = "busy"
    DAMAGED = "damaged"
    AWAY = "away"


@dataclass(frozen=True, slots=True)
class Outage:
    """A recognised outage.

    Attributes:
        reason: for clients, without host names and user names; starts in lower case.
        cure: what an operator can do about it.
    """

    kind: OutageKind
    reason: str
    cure: str


_FULL = Outage(OutageKind.STORAGE_FULL, "no space is left to write", "free space on its disk")
_QUOTA = Outage(OutageKind.STORAGE_FULL, "the disk quota is used up", "raise the quota, or free space")
_READ_ONLY = Outage(OutageKind.READ_ONLY, "read-only", "mount it writable")
_READ_ONLY_DATABASE = Outage(
    OutageKind.READ_ONLY,
    "read-only",
    "name the primary in PACKSHOT_DATABASE_URL, or let its user write",
)
_NO_RIGHTS = Outage(OutageKind.NO_RIGHTS, "permission is denied", "grant the user that runs Packshot access to")
_BUSY = Outage(
    OutageKind.BUSY, "locked by another process for too long", "look for a command or a migration that hangs"
)
_DAMAGED = Outage(OutageKind.DAMAGED, "the database file is damaged", "restore the last backup")
_BROKEN_DISK = Outage(
    OutageKind.DAMAGED, "its disk cannot be read or written", "check the free space and the system log"
)
_TOO_MANY = Outage(OutageKind.BUSY, "too many connections are open", "raise the connection limit of the database")
_AWAY = Outage(OutageKind.AWAY, "does not answer", "start it, or correct PACKSHOT_DATABASE_URL")
_STARTING = Outage(OutageKind.AWAY, "starting or shutting down", "wait until it has started")
_FILES = Outage(OutageKind.BUSY, "too many files are open", "raise the limit of open files (ulimit -n)")

_BY_ERRNO = {
    errno.ENOSPC: _FULL,
    errno.EDQUOT: _QUOTA,
    errno.EROFS: _READ_ONLY,
    errno.EACCES: _NO_RIGHTS,
    errno.EPERM: _NO_RIGHTS,
    errno.EMFILE: _FILES,
    errno.ENFILE: _FILES,
}
_BY_SQLITE = {
    sqlite3.SQLITE_FULL: _FULL,
    # SQLite must extend the shared memory file, which fails only if the disk is full.
    sqlite3.SQLITE_IOERR_SHMSIZE: _FULL,
    sqlite3.SQLITE_READONLY: _READ_ONLY_DATABASE,
    sqlite3.SQLITE_BUSY: _BUSY,
    sqlite3.SQLITE_LOCKED: _BUSY,
    sqlite3.SQLITE_CORRUPT: _DAMAGED,
    sqlite3.SQLITE_NOTADB: _DAMAGED,
    sqlite3.SQLITE_IOERR: _BROKEN_DISK,
    sqlite3.SQLITE_CANTOPEN: Outage(
        OutageKind.AWAY, "the database file cannot be opened", "check that the data folder is mounted and writable"
    ),
}
# Outages of one operation, which operators and clients can distinguish from an outage of the whole service.
_SAID = frozenset({OutageKind.STORAGE_FULL, OutageKind.READ_ONLY})
_REFUSES_USER = Outage(OutageKind.NO_RIGHTS, "refuses the user or the password", "correct PACKSHOT_DATABASE_URL")
_NO_DATABASE = Outage(OutageKind.AWAY, "the database does not exist", "create it, or correct PACKSHOT_DATABASE_URL")
_REFUSES = Outage(OutageKind.AWAY, "refuses the connection", "check its log, or correct PACKSHOT_DATABASE_URL")
# If no connection could be made, PostgreSQL's client gives only a text.
_BY_TEXT = {
    "password authentication failed": _REFUSES_USER,
    "no password supplied": _REFUSES_USER,
    "no pg_hba.conf entry": _REFUSES_USER,
    'role "': _REFUSES_USER,
    'database "': _NO_DATABASE,
    "the database system is": _STARTING,
    "too many clients": _TOO_MANY,
    "remaining connection slots": _TOO_MANY,
    "FATAL": _REFUSES,
}
# By the prefix of PostgreSQL's SQLSTATE; the longest match counts.
_BY_STATE = {
    "53100": _FULL,
    "53300": _TOO_MANY,
    "53": Outage(OutageKind.STORAGE_FULL, "the database is out of resources", "check the log of the database"),
    "25006": _READ_ONLY_DATABASE,
    "42501": Outage(
        OutageKind.NO_RIGHTS,
        "permission is denied",
        "grant the user of PACKSHOT_DATABASE_URL the right to create, read and write tables",
    ),
    "28": _REFUSES_USER,
    "3D000": _NO_DATABASE,
    "57P": _STARTING,
    "55P03": _BUSY,
    "57014": _BUSY,
    "08": _AWAY,
}


def recognise(error: BaseException) -> Outage | None:
    """Return the outage that an exception or one of its causes stands for; None if it is not a known one."""
    for each in _causes(error):
        if isinstance(each, DatabaseFault):
            return _of_database(each)
        if isinstance(each, OSError) and (known := _BY_ERRNO.get(each.errno or 0)):
            return known
    return None


def _of_database(fault: DatabaseFault) -> Outage | None:
    original = fault.orig
    if isinstance(original, sqlite3.Error):
        code = getattr(original, "sqlite_errorcode", 0)
        return _BY_SQLITE.get(code) or _BY_SQLITE.get(code & 0xFF)
    state = getattr(original, "sqlstate", None)
    if state is None:
        # The connection was lost, or could not be made.
        said = str(original)
        if "FATAL" in said:
            return next(outage for text, outage in _BY_TEXT.items() if text in said)
        return _AWAY if isinstance(fault, sa.exc.OperationalError | sa.exc.InterfaceError) else None
    fitting = [start for start in _BY_STATE if state.startswith(start)]
    return _BY_STATE[max(fitting, key=len)] if fitting else None


def explain_outage(error: BaseException | None) -> str | None:
    """Return a clause for a client that says why something is temporarily unavailable; None if it is not an outage.

    An `OSError` comes from a store, a disk, or another service, such as the one with the keys of JWTs.
    """
    for each in () if error is None else _causes(error):
        if is_database_away(each):
            return _clause(each, "the database does not answer")
        if isinstance(each, OSError):
            return _clause(each, "a store or another service does not answer")
    return None


def is_understood(error: BaseException) -> bool:
    """Whether `recognise` explains an outage completely, so that no traceback is needed."""
    outage = recognise(error)
    return outage is not None and outage.kind in _SAID


def _clause(error: BaseException, otherwise: str) -> str:
    outage = recognise(error)
    if outage is None or outage.kind not in _SAID:
        return otherwise
    subject = "the database" if isinstance(error, DatabaseFault) else "the store"
    return {
        OutageKind.STORAGE_FULL: "no space is left to write",
        OutageKind.READ_ONLY: f"{subject} is read-only",
    }[outage.kind]


def _causes(error: BaseException) -> Iterator[BaseException]:
    seen: set[int] = set()
    current: BaseException | None = error
    while current is not None and id(current) not in seen:
        seen.add(id(current))
        yield current
        current = current.__cause__
