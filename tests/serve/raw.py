"""HTTP/1.1 as bytes on a socket, for requests that no client library sends."""

import select
import socket
import time
from contextlib import suppress
from dataclasses import dataclass

from tests.support.server import TOKEN

ALIVE = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"
AUTHORIZATION = f"Authorization: Bearer {TOKEN}\r\n".encode()
PATIENCE = 60.0


@dataclass(frozen=True, slots=True)
class Answer:
    """One response; the names of headers are in lower case."""

    status: int
    headers: dict[str, str]
    body: bytes


class Raw:
    """A connection to a server on this machine.

    Args:
        source: the client's own address; on Linux any of 127.0.0.0/8.
        receive_bytes: size of the system's receive buffer; None leaves it to the system.
    """

    def __init__(self, port: int, *, source: str = "127.0.0.1", receive_bytes: int | None = None) -> None:
        self.socket = socket.socket()
        self.socket.settimeout(PATIENCE)
        if receive_bytes is not None:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_bytes)
        self.socket.bind((source, 0))
        self.socket.connect(("127.0.0.1", port))
        self._read = b""

    def __enter__(self) -> "Raw":
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    def send(self, data: bytes) -> "Raw":
        self.socket.sendall(data)
        return self

    def finish(self) -> None:
        """Send the end of the stream; the server then closes the connection, unless it already has."""
        with suppress(OSError):
            self.socket.shutdown(socket.SHUT_WR)

    def answer(self, *, head: bool = False) -> Answer | None:
        """Return the next response, or None if the connection has ended."""
        while b"\r\n\r\n" not in self._read:
            if not self._more():
                assert not self._read, self._read
                return None
        lines, _, self._read = self._read.partition(b"\r\n\r\n")
        first, *rest = lines.decode("latin-1").split("\r\n")
        headers = dict(line.lower().split(": ", 1) for line in rest)
        size = 0 if head else int(headers.get("content-length", 0))
        while len(self._read) < size:
            assert self._more(), "the response was cut off"
        body, self._read = self._read[:size], self._read[size:]
        return Answer(int(first.split()[1]), headers, body)

    def ends(self) -> bool:
        """Read and ignore everything until the connection ends."""
        try:
            while self._more():
                self._read = b""
        except TimeoutError:
            return False
        except ConnectionError:
            pass
        return True

    def is_reset(self) -> bool:
        """Wait for a reset without reading."""
        poll = select.poll()
        poll.register(self.socket, 0)
        return bool(poll.poll(PATIENCE * 1000))

    def _more(self) -> bool:
        data = self.socket.recv(65_536)
        self._read += data
        return bool(data)


def drip(connection: Raw, piece: bytes, seconds: float = 0.1) -> None:
    """Send a piece repeatedly until the server responds or closes the connection."""
    until = time.monotonic() + PATIENCE
    try:
        while time.monotonic() < until and not select.select([connection.socket], [], [], 0)[0]:
            connection.send(piece)
            time.sleep(seconds)
    except ConnectionError:
        return
