"""The engine, and the two kinds of transaction: reading and writing.

SQLite takes one writer at a time. Writers begin with BEGIN IMMEDIATE, so that
none fails half-way. They queue on a lock inside the process, and then for the
lock of the database. Both together last `WAIT_SECONDS` at most. Once a writer
has waited in vain, others do not; see `packshot.availability`.
"""

import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, closing, contextmanager, nullcontext, suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from packshot.availability import Availability
from packshot.catalog.tables.artwork import sequences, tenants
from packshot.catalog.tables.columns import Moment
from packshot.durable_files import private
from packshot.errors import NotFound

# What every fault of the database or the way to it is raised as.
DatabaseFault = sa.exc.DBAPIError

# What `Tx.tenant` is in a system transaction.
_NO_TENANT = ""
# Errors of the database that repeat whenever the statement does; SQLite has one code for all of them.
_SQLITE_ERROR = 1

# Seconds that a transaction waits to begin: for a lock, for a connection, or for an answer.
WAIT_SECONDS = 10
# The same for the one transaction that tries to begin while the database is known to let none.
PROBE_SECONDS = 2
# A transaction that could not begin in that time shows that the database lets none.
SLOW_SECONDS = 1.0


def is_database_away(error: BaseException) -> bool:
    """Whether the database or the way to it is at fault, so that the same may work later."""
    if isinstance(error, sa.exc.TimeoutError):
        return True  # All connections of the pool are in use.
    if isinstance(error, sa.exc.OperationalError):
        code = getattr(error.orig, "sqlite_errorcode", None)
        return code is None or code & 0xFF != _SQLITE_ERROR
    return isinstance(error, sa.exc.InterfaceError | sa.exc.InternalError)


class Clock:
    """The moment of one transaction: the database's where it has a clock, read when it is first asked for.

    Leases and pauses are compared between machines, whose own clocks may differ.
    """

    def __init__(self, connection: sa.Connection) -> None:
        self._connection = connection
        self._moment: datetime | None = None

    def read(self) -> datetime:
        if self._moment is None:
            if self._connection.dialect.name == "sqlite":
                self._moment = datetime.now(UTC)
            else:
                # When the transaction began, however often it is asked.
                self._moment = self._connection.execute(sa.select(sa.func.now())).scalar_one().astimezone(UTC)
        return self._moment


@dataclass(frozen=True, slots=True)
class Tx:
    """One open transaction.

    Attributes:
        tenant: the tenant it acts for; empty in a system transaction.
    """

    connection: sa.Connection
    tenant: str
    clock_reader: Clock

    @property
    def now(self) -> datetime:
        """The moment of the transaction; every row it writes carries this one."""
        return self.clock_reader.read()

    def of(self, tenant: str) -> "Tx":
        """Return this transaction on behalf of one tenant."""
        return replace(self, tenant=tenant)

    def insert(self, table: sa.Table) -> Any:
        """Return an INSERT of the dialect at hand, which knows ON CONFLICT."""
        return (postgresql if self.connection.dialect.name == "postgresql" else sqlite).insert(table)

    @property
    def clock(self) -> sa.ColumnElement[datetime]:
        """`now` as a part of a statement, which spares the statement that reads it."""
        is_sqlite = self.connection.dialect.name == "sqlite"
        return sa.literal(self.now, Moment()) if is_sqlite else sa.func.now(type_=Moment())

    @contextmanager
    def part(self) -> Iterator[None]:
        """Open a part of the transaction that is undone by itself when it raises."""
        with self.connection.begin_nested():
            yield


class Catalog:
    """The database, opened once per process.

    Args:
        url: `sqlite:///…` or `postgresql+psycopg://…`.
        connections: most connections to PostgreSQL at a time.
    """

    def __init__(self, url: str, *, connections: int = 20) -> None:
        self.url = sa.make_url(url)
        self.is_sqlite = self.url.get_backend_name() == "sqlite"
        if self.is_sqlite:
            _make_private(self.url.database)
            self.engine = sa.create_engine(
                self.url, connect_args={"timeout": WAIT_SECONDS}, pool_timeout=WAIT_SECONDS, hide_parameters=True
            )
            sa.event.listen(self.engine, "connect", _configure_sqlite)
            sa.event.listen(self.engine, "begin", _begin_sqlite)
            self._reading: sa.Engine = self.engine
            self._writing: sa.Engine = self.engine.execution_options(packshot_writer=True)
        else:
            # Only here: not every installation has the driver.
            from packshot.catalog.database import postgres

            self.engine = sa.create_engine(
                self.url,
                # An error's text goes to the log, and parameters hold secrets.
                hide_parameters=True,
                pool_size=connections,
                max_overflow=0,
                pool_timeout=WAIT_SECONDS,
                connect_args={"connect_timeout": postgres.CONNECT_SECONDS, **postgres.KEEPALIVES},
            )
            postgres.listen(self.engine)
            # A reader of several statements sees one state, as on SQLite.
            self._reading = self.engine.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)
            self._writing = self.engine
        self._writers = threading.Lock()
        self._edits = threading.Lock()
        # A lock of another process keeps writers of SQLite out, and no reader.
        self._readable = Availability(_outage, SLOW_SECONDS)
        self._writable = Availability(_outage, SLOW_SECONDS) if self.is_sqlite else self._readable

    @contextmanager
    def read(self, tenant: str) -> Iterator[Tx]:
        """Open a transaction that sees one state of the database and changes nothing.

        Raises:
            DatabaseFault: the database lets none begin.
        """
        with ExitStack() as stack:
            with self._readable.trying(), _pool_in_use():
                connection = stack.enter_context(self._reading.connect())
                transaction = stack.enter_context(connection.begin())
            yield Tx(connection, tenant, Clock(connection))
            transaction.rollback()

    @contextmanager
    def write(self, tenant: str) -> Iterator[Tx]:
        """Open a transaction that commits at the end, or changes nothing on an error.

        Raises:
            DatabaseFault: the database lets none begin.
        """
        with self._write(tenant, time.monotonic() + WAIT_SECONDS) as tx:
            yield tx

    def read_system(self) -> AbstractContextManager[Tx]:
        """Open a system transaction, which acts for no tenant, to read; see `read`."""
        return self.read(_NO_TENANT)

    def write_system(self) -> AbstractContextManager[Tx]:
        """Open a system transaction, which acts for no tenant, to write; see `write`."""
        return self.write(_NO_TENANT)

    @contextmanager
    def _write(self, tenant: str, deadline: float) -> Iterator[Tx]:
        with ExitStack() as stack:
            with self._writable.trying() as is_probe, _pool_in_use():
                if is_probe:
                    deadline = min(deadline, time.monotonic() + PROBE_SECONDS)
                if self.is_sqlite:
                    stack.enter_context(_holding(self._writers, deadline))
                connection = stack.enter_context(self._writing.connect())
                with _waiting_until(connection, deadline) if self.is_sqlite else nullcontext():
                    stack.enter_context(connection.begin())
            yield Tx(connection, tenant, Clock(connection))

    @contextmanager
    def edit(self, tenant: str) -> Iterator[Tx]:
        """Open a transaction to write what somebody edits; it waits while edits are held."""
        deadline = time.monotonic() + WAIT_SECONDS
        if self.is_sqlite:
            with _holding(self._edits, deadline):
                pass
        with self._write(tenant, deadline) as tx:
            yield tx

    @contextmanager
    def hold_edits(self, tenant: str, is_calm: Callable[[], bool], seconds: float) -> Iterator[Tx]:
        """Open a transaction that has the tenant's configuration alone, with no edit beside it.

        Args:
            is_calm: looked at again and again before the transaction goes on, until it says so.
            seconds: how long edits are held at most while it does not.
        """
        if self.is_sqlite:
            # A writing transaction would keep out those who are to become calm.
            with _holding(self._edits, time.monotonic() + WAIT_SECONDS):
                _wait_until(is_calm, seconds)
                with self.write(tenant) as tx:
                    yield tx
            return
        with self.write(tenant) as tx:
            hold_configuration(tx)
            _wait_until(is_calm, seconds)
            yield tx

    def empty_log(self) -> None:
        """Write SQLite's log into the database and empty it: what was overwritten is not left there either."""
        if self.is_sqlite:
            # Past the transactions, within which there is no checkpoint.
            with closing(self.engine.raw_connection()) as connection:
                connection.cursor().execute("PRAGMA wal_checkpoint(TRUNCATE)")

    def close(self) -> None:
        """Close every connection; transactions of other threads get a moment to end first."""
        pool, deadline = self.engine.pool, time.monotonic() + WAIT_SECONDS
        while isinstance(pool, sa.QueuePool) and pool.checkedout() and time.monotonic() < deadline:
            time.sleep(0.01)
        self.engine.dispose()


def _make_private(path: str | None) -> None:
    """Make a database that only its owner may read; SQLite gives the files beside it the same rights."""
    if path and Path(path).parent.is_dir():
        with suppress(FileExistsError), open(path, "xb", opener=private):
            pass


def _wait_until(is_calm: Callable[[], bool], seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while not is_calm() and time.monotonic() < deadline:
        time.sleep(0.02)


def _outage(error: Exception) -> sa.exc.OperationalError | None:
    """Return the same outage of the database as a new exception; None: it is none."""
    if not isinstance(error, sa.exc.OperationalError) or error.orig is None or not is_database_away(error):
        return None
    return sa.exc.OperationalError("BEGIN", {}, error.orig, hide_parameters=True)


@contextmanager
def _pool_in_use() -> Iterator[None]:
    """Raise a `DatabaseFault` where all connections of the pool were in use for too long."""
    try:
        yield
    except sa.exc.TimeoutError as error:
        raise sa.exc.OperationalError("BEGIN", {}, error, hide_parameters=True) from error


@contextmanager
def _holding(lock: threading.Lock, deadline: float) -> Iterator[None]:
    """Hold a lock of this process that writers of SQLite wait for.

    Raises:
        OperationalError: it was not free before the deadline, as if the database itself were locked.
    """
    if not lock.acquire(timeout=max(0.0, deadline - time.monotonic())):
        cause = sqlite3.OperationalError("database is locked by another transaction of this process")
        cause.sqlite_errorcode = sqlite3.SQLITE_BUSY
        raise sa.exc.OperationalError("BEGIN IMMEDIATE", {}, cause, hide_parameters=True)
    try:
        yield
    finally:
        lock.release()


@contextmanager
def _waiting_until(connection: sa.Connection, deadline: float) -> Iterator[None]:
    """Let a writer of SQLite wait for the lock of another process no longer than to the deadline."""
    driver = connection.connection.driver_connection
    assert driver is not None
    driver.execute(f"PRAGMA busy_timeout={max(0, int((deadline - time.monotonic()) * 1000))}")
    try:
        yield
    finally:
        driver.execute(f"PRAGMA busy_timeout={WAIT_SECONDS * 1000}")


def _configure_sqlite(connection: Any, _record: object) -> None:
    # The driver's own transaction handling would begin too late; `_begin_sqlite` does it.
    connection.isolation_level = None
    for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON"):
        connection.execute(f"PRAGMA {pragma}")


def _begin_sqlite(connection: sa.Connection) -> None:
    writer = connection.get_execution_options().get("packshot_writer", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writer else "BEGIN")


def share_configuration(tx: Tx) -> None:
    """Hold the tenant's configuration still until the transaction ends, as every edit does.

    Raises:
        NotFound: there is no such tenant.
    """
    _lock_configuration(tx, shared=True)


def hold_configuration(tx: Tx) -> None:
    """Take the tenant's configuration alone, as whoever changes it does.

    Raises:
        NotFound: there is no such tenant.
    """
    _lock_configuration(tx, shared=False)


def _lock_configuration(tx: Tx, *, shared: bool) -> None:
    # Not so strong that it stops rows elsewhere from referring to this one: they
    # are written after the sequence is drawn, and the two would wait for each other.
    statement = (
        sa.select(tenants.c.id).where(tenants.c.id == tx.tenant).with_for_update(read=shared, key_share=not shared)
    )
    if tx.connection.scalar(statement) is None:
        raise NotFound("There is no such tenant.", field=("tenant",), got=tx.tenant)


def next_sequence(tx: Tx) -> int:
    """Draw the tenant's next sequence number and keep its row locked to the end.

    So numbers become visible in order: whoever reads all after N misses nothing.
    """
    statement = (
        sa.update(sequences)
        .where(sequences.c.tenant_id == tx.tenant)
        .values(value=sequences.c.value + 1)
        .returning(sequences.c.value)
    )
    value: int | None = tx.connection.scalar(statement)
    if value is None:
        raise NotFound("There is no such tenant.", field=("tenant",), got=tx.tenant)
    return value
