"""HTTP connections that skip interim responses (1xx), up to a limit, and return the final one.

RFC 9110, section 15.2: a client must be able to parse any 1xx response. `http.client` skips only 100.
"""

import http.client
import logging
import socket
from http.client import HTTPException
from typing import Any

from urllib3 import PoolManager
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool

# urllib3 logs a traceback for every header that it cannot parse, and any host can send such headers.
logging.getLogger("urllib3.connection").setLevel(logging.ERROR)

MAX_INTERIM_RESPONSES = 20


class FinalResponse(http.client.HTTPResponse):
    """A response whose status is never 1xx, except 101, which ends HTTP on the connection."""

    def _read_status(self) -> tuple[str, int, str]:
        for _ in range(MAX_INTERIM_RESPONSES + 1):
            line: tuple[str, int, str] = super()._read_status()  # type: ignore[misc]
            if not 100 <= line[1] < 200 or line[1] == http.client.SWITCHING_PROTOCOLS:
                return line
            http.client.parse_headers(self.fp)
        raise HTTPException("too many interim responses")

    def _read_and_discard_trailer(self) -> None:
        # `http.client` reads trailers without a limit; as headers they are limited to a hundred lines.
        http.client.parse_headers(self.fp)


class _Connected:
    """A connection that can use a connected socket, instead of resolving the host itself.

    Args:
        connected: connected to an address that the caller has checked; None: resolve and connect as usual.
    """

    def __init__(self, *args: Any, connected: socket.socket | None = None, **options: Any) -> None:
        super().__init__(*args, **options)
        self._connected = connected

    def _new_conn(self) -> socket.socket:
        sock, self._connected = self._connected, None
        if sock is not None:
            return sock
        resolved: socket.socket = super()._new_conn()  # type: ignore[misc]
        return resolved


class PlainConnection(_Connected, HTTPConnection):
    """A connection without TLS."""

    response_class = FinalResponse


class TLSConnection(_Connected, HTTPSConnection):
    """A connection with TLS."""

    response_class = FinalResponse


class _PlainPool(HTTPConnectionPool):
    ConnectionCls = PlainConnection


class _TLSPool(HTTPSConnectionPool):
    ConnectionCls = TLSConnection


def make_pool(**options: Any) -> PoolManager:
    """Return a pool of connections to hosts that the operator configures; `options` are those of `PoolManager`."""
    pool = PoolManager(**options)
    pool.pool_classes_by_scheme = {"http": _PlainPool, "https": _TLSPool}
    return pool
