"""Connections to PostgreSQL with a time limit for every answer.

The server ends slow statements and lock waits itself. A server that is stopped or unreachable ends nothing, while the
kernel of its machine may still confirm what is sent to it. So the client has limits of its own.

The server's limits are session parameters, sent when the session starts. A connection pooler such as PgBouncer refuses
or drops them, and in its transaction mode they would reach other clients. Behind a pooler, each transaction sets them
for itself, which costs one more round trip.
"""

import re
from typing import Any

import psycopg
import sqlalchemy as sa
from psycopg.abc import PQGen
from psycopg.errors import _WaitTimeout

STATEMENT_SECONDS = 30
# Above the server's limit. So the server ends a slow statement, and the connection stays usable.
SILENT_SECONDS = STATEMENT_SECONDS + 5.0
LOCK_SECONDS = 10
# Seconds to check that a connection from the pool still works.
PING_SECONDS = CONNECT_SECONDS = 5

# In milliseconds. They bound statements and waits for locks, and end the transaction of a process that hangs.
_LIMITS = {
    "statement_timeout": STATEMENT_SECONDS * 1000,
    "lock_timeout": LOCK_SECONDS * 1000,
    "idle_in_transaction_session_timeout": 60_000,
}
_OPTIONS = " ".join(f"-c {name}={value}" for name, value in _LIMITS.items())
_SET_LOCAL = "; ".join(f"SET LOCAL {name} = {value}" for name, value in _LIMITS.items())
# Selected by source, because a database or a role may have other limits, and a URL may set one to 0.
_COUNT_LIMITS = "SELECT count(*) FROM pg_settings WHERE name = ANY(%s) AND source = 'client'"
# The errors with which PgBouncer and cloud proxies refuse session parameters.
_REFUSED = re.compile("unsupported startup parameter|command-line options")
# The client notices in half a minute that the server's machine has vanished, earlier than the kernel would.
KEEPALIVES = {"keepalives_idle": 10, "keepalives_interval": 5, "keepalives_count": 3, "tcp_user_timeout": 30_000}


class BoundedConnection(psycopg.Connection[Any]):
    """A connection that is closed if the server does not answer in time.

    Attributes:
        patience: seconds to wait for one answer.
        is_pooled: a pooler drops session parameters, so each transaction sets the server's limits.
    """

    patience: float = SILENT_SECONDS
    is_pooled: bool = False

    def wait(self, gen: PQGen[Any], interval: float = 0.1, timeout: float | None = None) -> Any:
        """Wait for the answer.

        Raises:
            psycopg.OperationalError: the server did not answer for `patience` seconds.
        """
        try:
            return super().wait(gen, interval, self.patience if timeout is None else timeout)
        except _WaitTimeout:
            if timeout is not None:
                raise
            self.pgconn.finish()
            raise psycopg.OperationalError(f"the server has not answered for {self.patience:g} seconds") from None


def listen(engine: sa.Engine) -> None:
    """Make an engine use bounded connections, and check each one before it is used again."""
    sa.event.listen(engine, "do_connect", _Connector().connect)
    sa.event.listen(engine, "checkout", _check)
    sa.event.listen(engine, "begin", _set_limits)


class _Connector:
    """Make connections. The server's limits are session parameters unless a pooler has refused them."""

    def __init__(self) -> None:
        self._are_refused = False

    def connect(self, _dialect: Any, _record: object, arguments: Any, options: dict[str, Any]) -> BoundedConnection:
        if not self._are_refused:
            # The options of the URL come last, so they override these.
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
    """Check whether the session has the limits; some poolers ignore session parameters."""
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
    # A statement prepared on one connection of the pooler is unknown on the next one.
    connection.prepare_threshold = None
    return connection


def _set_limits(connection: sa.Connection) -> None:
    bounded: Any = connection.connection.dbapi_connection
    if bounded.is_pooled:
        connection.exec_driver_sql(_SET_LOCAL)


def _check(connection: BoundedConnection, _record: object, _proxy: object) -> None:
    """Replace a connection that is broken or whose server is silent; listens for `checkout`.

    Raises:
        InvalidatePoolError: the connection does not work. SQLAlchemy makes a new one, and replaces all older ones.
    """
    connection.patience = PING_SECONDS
    try:
        # Without autocommit the check would begin a transaction.
        connection.autocommit = True
        connection.execute("")
        connection.autocommit = False
    except psycopg.Error as error:
        raise sa.exc.InvalidatePoolError() from error
    finally:
        connection.patience = SILENT_SECONDS
