"""Connections to PostgreSQL that wait for no answer without a bound.

The server ends slow statements and lock waits itself. A server that is stopped or unreachable ends nothing, while the
kernel of its machine may go on to confirm what is sent to it. So the client has limits of its own.
"""

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
OPTIONS = (
    f"-c statement_timeout={STATEMENT_SECONDS * 1000} -c lock_timeout={LOCK_SECONDS * 1000}"
    " -c idle_in_transaction_session_timeout=60000"
)
# A database whose machine vanished is noticed in half a minute, not when the kernel gives up.
KEEPALIVES = {"keepalives_idle": 10, "keepalives_interval": 5, "keepalives_count": 3, "tcp_user_timeout": 30_000}


class BoundedConnection(psycopg.Connection[Any]):
    """A connection that is closed when the server has not answered in time.

    Attributes:
        patience: seconds that one answer may take.
    """

    patience: float = SILENT_SECONDS

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


def connect(dialect: Any, _record: object, arguments: Any, options: dict[str, Any]) -> BoundedConnection:
    """Make a connection; listens for `do_connect`."""
    return BoundedConnection.connect(*arguments, **options)


def check(connection: BoundedConnection, _record: object, _proxy: object) -> None:
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
