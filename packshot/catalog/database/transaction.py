"""The engine, and transactions that read or write.

SQLite takes one writer at a time. Writers begin with BEGIN IMMEDIATE, so that they cannot fail half-way.
They queue for a lock of the process, then for the lock of the database, for at most `WAIT_SECONDS` together.
After a writer has waited in vain, later ones fail soon; see `packshot.availability`.
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

# The base class of every error of the database or of the connection to it.
DatabaseFault = sa.exc.DBAPIError

# The value of `Tx.tenant` in a system transaction.
_NO_TENANT = ""
# SQLite's only code for errors that repeat with the statement, such as a syntax error.
_SQLITE_ERROR = 1

# Seconds that a transaction waits to begin: for a lock, a connection or an answer.
WAIT_SECONDS = 10
# The same for the one transaction that probes a database which lets none begin.
PROBE_SECONDS = 2
# If a transaction cannot begin within this time, the database counts as unavailable.
SLOW_SECONDS = 1.0


def is_database_away(error: BaseException) -> bool:
    """Return whether the error is an outage of the database, so that a later attempt may succeed."""
    if isinstance(error, sa.exc.TimeoutError):
        return True  # All connections of the pool are in use.
    if isinstance(error, sa.exc.OperationalError):
        code = getattr(error.orig, "sqlite_errorcode", None)
        return code is None or code & 0xFF != _SQLITE_ERROR
    return isinstance(error, sa.exc.InterfaceError | sa.exc.InternalError)


class Clock:
    """The time of one transaction, read on first use: the database server's time, or on SQLite this machine's.

    Leases and pauses are compared between machines, whose clocks may differ.
    """

    def __init__(self, connection: sa.Connection) -> None:
        self._connection = connection
        self._moment: datetime | None = None

    def read(self) -> datetime:
        if self._moment is None:
            if self._connection.dialect.name == "sqlite":
                self._moment = datetime.now(UTC)
            else:
                # The time when the transaction began, the same at every call.
                self._moment = self._connection.execute(sa.select(sa.func.now())).scalar_one().astimezone(UTC)
        return self._moment


@dataclass(frozen=True, slots=True)
class Tx:
    """One open transaction.

    Attributes:
        tenant: the tenant that it acts for; empty in a system transaction.
    """

    connection: sa.Connection
    tenant: str
    clock_reader: Clock

    @property
    def now(self) -> datetime:
        """The time of the transaction. Every row that it writes carries this one."""
        return self.clock_reader.read()

    def of(self, tenant: str) -> "Tx":
        """Return this transaction on behalf of one tenant."""
        return replace(self, tenant=tenant)

    def insert(self, table: sa.Table) -> Any:
        """Return an INSERT of the database's dialect, which supports ON CONFLICT."""
        return (postgresql if self.connection.dialect.name == "postgresql" else sqlite).insert(table)

    @property
    def clock(self) -> sa.ColumnElement[datetime]:
        """`now` as an SQL expression, which saves the statement that reads the time."""
        is_sqlite = self.connection.dialect.name == "sqlite"
        return sa.literal(self.now, Moment()) if is_sqlite else sa.func.now(type_=Moment())

    @contextmanager
    def part(self) -> Iterator[None]:
        """Open a savepoint. An error inside undoes only what was done since."""
        with self.connection.begin_nested():
            yield


class Catalog:
    """The database; a process opens it once.

    Args:
        url: `sqlite:///…` or `postgresql+psycopg://…`.
        connections: the largest number of connections to PostgreSQL.
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
            # Imported here because an installation with SQLite may lack the driver.
            from packshot.catalog.database import postgres

            self.engine = sa.create_engine(
                self.url,
                # Errors are logged, and parameters may hold secrets.
                hide_parameters=True,
                pool_size=connections,
                max_overflow=0,
                pool_timeout=WAIT_SECONDS,
                connect_args={"connect_timeout": postgres.CONNECT_SECONDS, **postgres.KEEPALIVES},
            )
            postgres.listen(self.engine)
            # All statements of a reader see one state, as on SQLite.
            self._reading = self.engine.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)
            self._writing = self.engine
        self._writers = threading.Lock()
        self._edits = threading.Lock()
        # On SQLite, a lock of another process blocks writers but not readers.
        self._readable = Availability(_outage, SLOW_SECONDS)
        self._writable = Availability(_outage, SLOW_SECONDS) if self.is_sqlite else self._readable

    @contextmanager
    def read(self, tenant: str) -> Iterator[Tx]:
        """Open a transaction that sees one state of the database and changes nothing.

        Raises:
            DatabaseFault: no transaction can begin.
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
            DatabaseFault: no transaction can begin.
        """
        with self._write(tenant, time.monotonic() + WAIT_SECONDS) as tx:
            yield tx

    def read_system(self) -> AbstractContextManager[Tx]:
        """Open a system transaction to read; see `read`."""
        return self.read(_NO_TENANT)

    def write_system(self) -> AbstractContextManager[Tx]:
        """Open a system transaction to write; see `write`."""
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
        """Open a transaction to write a user's edit. It waits while `hold_edits` blocks edits."""
        deadline = time.monotonic() + WAIT_SECONDS
        if self.is_sqlite:
            with _holding(self._edits, deadline):
                pass
        with self._write(tenant, deadline) as tx:
            yield tx

    @contextmanager
    def hold_edits(self, tenant: str, is_calm: Callable[[], bool], seconds: float) -> Iterator[Tx]:
        """Open a transaction that changes the tenant's configuration while no edit runs.

        Args:
            is_calm: polled before the transaction continues, until it returns True.
            seconds: how long to wait for `is_calm` at most, with edits blocked.
        """
        if self.is_sqlite:
            # A write transaction would block the writers that `is_calm` waits for.
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
        """Write SQLite's log into the database and empty it, so that no overwritten data stays in the log."""
        if self.is_sqlite:
            # A checkpoint must run outside a transaction.
            with closing(self.engine.raw_connection()) as connection:
                connection.cursor().execute("PRAGMA wal_checkpoint(TRUNCATE)")

    def close(self) -> None:
        """Close every connection. Transactions of other threads get `WAIT_SECONDS` to end first."""
        pool, deadline = self.engine.pool, time.monotonic() + WAIT_SECONDS
        while isinstance(pool, sa.QueuePool) and pool.checkedout() and time.monotonic() < deadline:
            time.sleep(0.01)
        self.engine.dispose()


def _make_private(path: str | None) -> None:
    """Create the database file, readable only by its owner. SQLite gives its other files the same rights."""
    if path and Path(path).parent.is_dir():
        with suppress(FileExistsError), open(path, "xb", opener=private):
            pass


def _wait_until(is_calm: Callable[[], bool], seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while not is_calm() and time.monotonic() < deadline:
        time.sleep(0.02)


def _outage(error: Exception) -> sa.exc.OperationalError | None:
    """Return an outage of the database as a new exception; None if the error is no outage."""
    if not isinstance(error, sa.exc.OperationalError) or error.orig is None or not is_database_away(error):
        return None
    return sa.exc.OperationalError("BEGIN", {}, error.orig, hide_parameters=True)


@contextmanager
def _pool_in_use() -> Iterator[None]:
    """Raise a `DatabaseFault` if all connections of the pool stay in use for too long."""
    try:
        yield
    except sa.exc.TimeoutError as error:
        raise sa.exc.OperationalError("BEGIN", {}, error, hide_parameters=True) from error


@contextmanager
def _holding(lock: threading.Lock, deadline: float) -> Iterator[None]:
    """Hold a lock of this process that writers of SQLite wait for.

    Raises:
        OperationalError: the lock was not free before the deadline; the same error as if the database were locked.
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
    """Limit how long a writer of SQLite waits for the lock of another process."""
    driver = connection.connection.driver_connection
    assert driver is not None
    driver.execute(f"PRAGMA busy_timeout={max(0, int((deadline - time.monotonic()) * 1000))}")
    try:
        yield
    finally:
        driver.execute(f"PRAGMA busy_timeout={WAIT_SECONDS * 1000}")


def _configure_sqlite(connection: Any, _record: object) -> None:
    # The driver would begin transactions too late, so `_begin_sqlite` begins them.
    connection.isolation_level = None
    for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON"):
        connection.execute(f"PRAGMA {pragma}")


def _begin_sqlite(connection: sa.Connection) -> None:
    writer = connection.get_execution_options().get("packshot_writer", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writer else "BEGIN")


def share_configuration(tx: Tx) -> None:
    """Prevent changes of the tenant's configuration until the transaction ends. Every edit calls this.

    Raises:
        NotFound: no such tenant.
    """
    _lock_configuration(tx, shared=True)


def hold_configuration(tx: Tx) -> None:
    """Lock the tenant's configuration to change it, so that no edit runs beside the change.

    Raises:
        NotFound: no such tenant.
    """
    _lock_configuration(tx, shared=False)


def _lock_configuration(tx: Tx, *, shared: bool) -> None:
    # A lock that still allows foreign keys to this row. Rows with such keys are written after the sequence number is
    # drawn, so a stronger lock could deadlock.
    statement = (
        sa.select(tenants.c.id).where(tenants.c.id == tx.tenant).with_for_update(read=shared, key_share=not shared)
    )
    if tx.connection.scalar(statement) is None:
        raise NotFound("There is no such tenant.", field=("tenant",), got=tx.tenant)


def next_sequence(tx: Tx) -> int:
    """Draw the tenant's next sequence number. The counter's row stays locked until the transaction ends.

    So numbers become visible in order, and a reader of all rows after N misses none.
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
