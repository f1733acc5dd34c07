"""uvicorn's WebSocket protocol with limits on waiting messages, their rate, and clients that do not read."""

import asyncio
from typing import Any

from uvicorn._types import ASGIReceiveEvent
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.exceptions import InvalidHandshake, InvalidHeaderValue
from websockets.frames import CloseCode, Frame
from websockets.http11 import Request

from serve.server.connection_limits import PROGRESS_SECONDS, ConnectionTable, ReadingClient, reset
from serve.server.http_refusals import Refused

MAX_MESSAGE_BYTES = 256 * 1024
MAX_FRAGMENTS = 256  # of one message
MAX_UNSENT_BYTES = 512 * 1024
HANDSHAKE_SECONDS = 10.0
# Messages after the burst are read at this rate.
MESSAGES_PER_SECOND = 50
MESSAGE_BURST = 200

# The only version that RFC 6455 defines; and the headers that a response with status 426 needs (RFC 9110, section 7.8).
VERSION_HEADER, VERSION = "Sec-WebSocket-Version", "13"
UPGRADE_HEADERS = (
    (VERSION_HEADER.lower().encode(), VERSION.encode()),
    (b"upgrade", b"websocket"),
    (b"connection", b"upgrade"),
)

_PIECE_BYTES = 4096


class BoundedWebSocket(WebSocketsSansIOProtocol):
    """One WebSocket. It parses messages only as fast as the application receives them.

    Args:
        table: all connections of the server.
    """

    def __init__(self, *args: Any, table: ConnectionTable, **named: Any) -> None:
        super().__init__(*args, **named)
        self._table = table
        self._since = self._counted_at = self.loop.time()
        self._allowed = float(MESSAGE_BURST)
        self._held = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self._reader = ReadingClient(self.transport)
        # The connection was accepted before its upgrade.
        self._table.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self._table.remove(self)
        self._held = b""
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        self._held += data
        self._read_held()

    def _read_held(self) -> None:
        """Parse received bytes until there is a message for the application."""
        while self._held and (self.queue.empty() or self.close_sent) and not self.transport.is_closing():
            piece, self._held = self._held[:_PIECE_BYTES], self._held[_PIECE_BYTES:]
            super().data_received(piece)
            if self.transport.get_write_buffer_size() > MAX_UNSENT_BYTES:
                # Each ping is answered, even if the client does not read the answers.
                self.transport.abort()
        self._pause_while_held()

    def _pause_while_held(self) -> None:
        if self._held and not self.read_paused:
            self.read_paused = True
            self.transport.pause_reading()

    def handle_parser_exception(self) -> None:
        if self.conn.close_sent is None:
            # The handshake itself is malformed.
            self.drop()
        else:
            super().handle_parser_exception()

    def handle_connect(self, event: Request) -> None:
        try:
            self.conn.process_request(event)
        except InvalidHandshake as error:
            self._refuse(event, error)
        else:
            super().handle_connect(event)

    def _refuse(self, event: Request, error: InvalidHandshake) -> None:
        """Refuse a malformed handshake in the error format of its path, and close the connection."""
        self.handshake_initiated = self.handshake_complete = self.close_sent = True
        # The text quotes the client's bytes, with those beyond ASCII as surrogates.
        reason = str(error).encode("ascii", "replace").decode()
        title, expected = f"This is not a valid WebSocket handshake: {reason}.", "a handshake as RFC 6455 defines it"
        if isinstance(error, InvalidHeaderValue) and error.name == VERSION_HEADER:
            refused = Refused(426, title, f"{VERSION_HEADER}: {VERSION}", UPGRADE_HEADERS)
        else:
            refused = Refused(400, title, expected)
        self.transport.write(refused.render(event.path.encode("ascii", "replace"), self.default_headers))
        self.transport.close()

    def handle_cont(self, event: Frame) -> None:
        if len(self.frames) >= MAX_FRAGMENTS:
            self.conn.fail(CloseCode.MESSAGE_TOO_BIG, f"at most {MAX_FRAGMENTS} fragments")
            self.handle_parser_exception()
        else:
            super().handle_cont(event)

    async def receive(self) -> ASGIReceiveEvent:
        self._read_held()
        message = await super().receive()
        self._pause_while_held()
        if message["type"] == "websocket.receive":
            await self._wait_for_turn()
        return message

    async def _wait_for_turn(self) -> None:
        now = self.loop.time()
        regained = (now - self._counted_at) * MESSAGES_PER_SECOND
        self._allowed, self._counted_at = min(MESSAGE_BURST, self._allowed + regained) - 1, now
        if self._allowed < 0:
            await asyncio.sleep(-self._allowed / MESSAGES_PER_SECOND)

    def check(self, now: float) -> None:
        """Close the socket if the client does not read or its handshake takes too long."""
        late = not self.handshake_complete and now - self._since >= HANDSHAKE_SECONDS
        if late or self._reader.behind_seconds(now) >= PROGRESS_SECONDS:
            self.drop()

    def stalled_seconds(self, now: float) -> float:
        """Return for how long the client has not read sent data."""
        return self._reader.behind_seconds(now)

    def drop(self) -> None:
        """Close the connection at once."""
        reset(self.transport)
