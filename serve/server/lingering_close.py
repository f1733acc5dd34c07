"""Close a connection after its last response in such a way that a client that is still sending can read it.

Closing the socket while the client sends would reset the connection, and the client would lose the response.
"""

from asyncio import Transport
from collections.abc import Callable

LINGER_BYTES = 64 * 1024**2
LINGER_SECONDS = 10.0


class LingeringClose:
    """A connection that sends no more, and discards what its client still sends.

    Args:
        until: time of the event loop when the connection must be closed.
    """

    def __init__(self, transport: Transport, until: float) -> None:
        self._transport = transport
        self._until = until
        self._bytes_left = LINGER_BYTES
        if transport.can_write_eof():
            transport.write_eof()

    def discard(self, size: int) -> None:
        """Count discarded bytes. Closes the connection beyond the limit."""
        self._bytes_left -= size
        if self._bytes_left < 0:
            self._transport.abort()

    def is_over(self, now: float) -> bool:
        """Whether the connection must be closed."""
        return now >= self._until


class UnreadBodyTransport(Transport):
    """The transport of a response to a request whose body has not arrived completely.

    Args:
        close: called instead of closing the connection.
    """

    def __init__(self, transport: Transport, close: Callable[[], None]) -> None:
        super().__init__()
        self._transport = transport
        self._close = close

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self._transport.write(data)

    def is_closing(self) -> bool:
        return self._transport.is_closing()

    def close(self) -> None:
        self._close()
