"""Connections to PostgreSQL that wait for no answer without a bound.

The server ends slow statements and lock waits itself. A server that is stopped or unreachable ends nothing, while the
kernel of its machine may go on to confirm what is sent to it. So the client has limits of its own.

The server's limits are parameters of the session, given when it starts. A connection pooler such as PgBouncer refuses
them, or drops them, and in its transaction mode a session's parameters would reach other clients. Behind a pooler each
transaction sets them for itself, which takes one more round trip.
"""

import re
from typing import Any

import psycopg
import sqlalchemy as sa
from psycopg.abc import PQGen
from psycopg.errors import _WaitTimeout

STATEMENT_SECONDS = 30
# Above the server's limit, so that a slow statement is ended by the server, which keeps the connection.
SILENT_SECONDS = STATEMENT_SECONDS + 5.0
LOCK_SECONDS = 10
# A connection from the pool is asked first whether it still works.
PING_SECONDS = CONNECT_SECONDS = 5

# In milliseconds: no statement and no wait for a lock holds a request up for ever,
# and a process that hangs in the middle of a transaction loses it.
_LIMITS = {
    "statement_timeout": STATEMENT_SECONDS * 1000,
    "lock_timeout": LOCK_SECONDS * 1000,
    "idle_in_transaction_session_timeout": 60_000,
}
_OPTIONS = " ".join(f"-c {name}={value}" for name, value in _LIMITS.items())
_SET_LOCAL = "; ".join(f"SET LOCAL {name} = {value}" for name, value in _LIMITS.items())
# By where they come from, as a database or a role may have other limits, and a URL may set one to 0.
_COUNT_LIMITS = "SELECT count(*) FROM pg_settings WHERE name = ANY(%s) AND source = 'client'"
# How PgBouncer, and the proxy of a cloud, refuse parameters of a session.
_REFUSED = re.compile("unsupported startup parameter|command-line options")
# A database whose machine vanished is noticed in half a minute, not when the kernel gives up.
KEEPALIVES = {"keepalives_idle": 10, "keepalives_interval": 5, "keepalives_count": 3, "tcp_user_timeout": 30_000}


class BoundedConnection(psycopg.Connection[Any]):
    """A connection that is closed when the server has not answered in time.

    Attributes:
        patience: seconds that one answer may take.
        is_pooled: whether the server's limits are not the session's, so that each transaction has to set them.
    """

    patience: float = SILENT_SECONDS
    is_pooled: bool = False

    def wait(self, gen: PQGen[Any], interval: float = 0.1, timeout: float | None = None) -> Any:
        """Wait for the answer.

        Raises:
            psycopg.OperationalError: the server was silent for `patience` seconds.
        """
        try:
            return super().wait(gen, interval, self.patience if timeout is None else timeout)
        except _WaitTimeout:
            if timeout is not None:
                raise
            self.pgconn.finish()
            raise psycopg.OperationalError(f"the server has not answered for {self.patience:g} seconds") from None


def listen(engine: sa.Engine) -> None:
    """Have an engine make bounded connections, and check each before it is used again."""
    sa.event.listen(engine, "do_connect", _Connector().connect)
    sa.event.listen(engine, "checkout", _check)
    sa.event.listen(engine, "begin", _set_limits)


class _Connector:
    """Makes connections, with the server's limits as parameters of the session unless a pooler refused them."""

    def __init__(self) -> None:
        self._are_refused = False

    def connect(self, _dialect: Any, _record: object, arguments: Any, options: dict[str, Any]) -> BoundedConnection:
        if not self._are_refused:
            # Those of the URL come last, so that they prevail.
            given = {**options, "options": f"{_OPTIONS} {options.get('options', '')}".rstrip()}
            try:
                connection = BoundedConnection.connect(*arguments, **given)
            except psycopg.OperationalError as error:
                if not _REFUSED.search(str(error)):
                    raise
                self._are_refused = True
            else:
                return _recognize_pooler(connection)
        return _be_pooled(BoundedConnection.connect(*arguments, **options))


def _recognize_pooler(connection: BoundedConnection) -> BoundedConnection:
    """Find out whether the session has the limits; a pooler may have been told to ignore its parameters."""
    try:
        connection.autocommit = True
        count = connection.execute(_COUNT_LIMITS, [list(_LIMITS)], prepare=False).fetchone()
        connection.autocommit = False
    except BaseException:
        connection.close()
        raise
    return connection if count == (len(_LIMITS),) else _be_pooled(connection)


def _be_pooled(connection: BoundedConnection) -> BoundedConnection:
    connection.is_pooled = True
    # A statement prepared on one of the pooler's connections is unknown to the next one.
    connection.prepare_threshold = None
    return connection


def _set_limits(connection: sa.Connection) -> None:
    bounded: Any = connection.connection.dbapi_connection
    if bounded.is_pooled:
        connection.exec_driver_sql(_SET_LOCAL)


def _check(connection: BoundedConnection, _record: object, _proxy: object) -> None:
    """Replace a connection that a restart of the server has cut, or whose server is silent; listens for `checkout`.

    Raises:
        InvalidatePoolError: it does not work, so SQLAlchemy makes a new one, and trusts no other from before.
    """
    connection.patience = PING_SECONDS
    try:
        # Otherwise the question would begin a transaction.
        connection.autocommit = True
        connection.execute("")
        connection.autocommit = False
    except psycopg.Error as error:
        raise sa.exc.InvalidatePoolError() from error
    finally:
        connection.patience = SILENT_SECONDS
