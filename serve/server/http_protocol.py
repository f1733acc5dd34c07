"""uvicorn's HTTP/1.1 protocol with limits: sizes, deadlines, pipelined requests and the number of connections."""

import asyncio
import logging
from enum import Enum
from typing import Any, cast

import httptools
from uvicorn._types import ASGI3Application, ASGIReceiveCallable, ASGISendCallable, ASGISendEvent, Scope
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from serve.http.authority import EXPECTED, read_host, target_authority
from serve.server.connection_limits import (
    PROGRESS_BYTES,
    PROGRESS_SECONDS,
    ConnectionTable,
    ReadingClient,
    has_unread_bytes,
    reset,
    watch_for_vanished_peer,
)
from serve.server.http_refusals import Refused, malformed, too_large
from serve.server.lingering_close import LINGER_SECONDS, LingeringClose, UnreadBodyTransport
from serve.server.request_meter import RequestMeter

MAX_HANDSHAKE_LINE_BYTES = 8000  # of a WebSocket handshake; slightly below the limit of `websockets`

FIRST_BYTE_SECONDS = 10.0
HEAD_SECONDS = 20.0  # from the first byte of a head to its last byte
KEEP_ALIVE_SECONDS = 75.0  # longer than load balancers keep idle connections, usually 60 seconds
# The rest of an unread body that the connection waits for, so that it can take another request.
DRAIN_BYTES = 65_536
DRAIN_SECONDS = 5.0
# Seconds that a connection beyond the limit has to bring a request, for which an idle connection is closed.
SURPLUS_SECONDS = 0.25
SURPLUS_LINGER_SECONDS = 1.0

# Small pieces, so that parsing stops soon after the first of several requests.
_PIECE_BYTES = 1024
_BODY_PIECE_BYTES = 65_536
# Resolution of uvloop's clock. A client that has waited for less counts as waiting for this long.
CLOCK_SECONDS = 0.001

log = logging.getLogger("uvicorn.error")


class _Phase(Enum):
    """What the client sends next."""

    HEAD = "the rest of a head"
    BODY = "the rest of a body"
    NOTHING = "another request, at any time"


class BoundedHttp(HttpToolsProtocol):
    """One connection. It reads pipelined requests in sequence, each after the response to the previous one.

    Args:
        table: all connections of the server.
    """

    def __init__(self, *args: Any, table: ConnectionTable, **named: Any) -> None:
        super().__init__(*args, **named)
        self._table = table
        self.url = b""  # URL of the last request
        self._phase = _Phase.HEAD
        self._since = self.loop.time()
        self._meter = RequestMeter()  # sizes of the request that is being read
        self._window_bytes = 0
        # Bytes after the request that is being answered, and the refusal that ends the connection after the response.
        self._held = b""
        self._refusal: Refused | None = None
        self._lingering: LingeringClose | None = None
        self._surplus_timer: asyncio.TimerHandle | None = None
        self._running: RequestResponseCycle | None = None

    # Events of the transport.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(cast(asyncio.Transport, transport))
        self._reader = ReadingClient(self.transport)
        if self._table.accept(self, self._since):
            watch_for_vanished_peer(self.transport)
        else:
            self._table.add_surplus(self)
            self._surplus_timer = self.loop.call_later(SURPLUS_SECONDS, self._refuse_surplus)

    def connection_lost(self, exc: Exception | None) -> None:
        self._table.remove(self)
        if self._surplus_timer is not None:
            self._surplus_timer.cancel()
        super().connection_lost(exc)
        # uvicorn notifies only the last request, but an earlier one may be running.
        self._disconnect()
        self.pipeline.clear()
        self._held = b""

    def data_received(self, data: bytes) -> None:
        self._table.mark_busy(self)
        if self._surplus_timer is not None:
            self._surplus_timer.cancel()
            if self._table.accept_request(self, self.loop.time()):
                self._surplus_timer = None
                watch_for_vanished_peer(self.transport)
            else:
                self._refuse_surplus()
        if self._lingering is not None:
            self._lingering.discard(len(data))
        elif self._refusal is None:
            if self._phase is _Phase.NOTHING or (self._phase is _Phase.HEAD and not self._meter.head_bytes):
                self._expect(_Phase.HEAD)
                self._meter = RequestMeter()
            self._held = self._held + data if self._held else data
            self._read_held()
            if len(self._held) > _BODY_PIECE_BYTES:
                self.flow.pause_reading()
        self._mark_if_idle()

    def _read_held(self) -> None:
        """Parse received bytes, up to the first request that must wait for the previous response."""
        if self._phase is _Phase.HEAD and len(self._held) <= _PIECE_BYTES and not self.pipeline:
            whole, self._held = self._held, b""
            self._parse(whole)
            return
        data, position = memoryview(self._held), 0
        while position < len(data) and not self.pipeline:
            size = _PIECE_BYTES
            if self._phase is _Phase.BODY and self._meter.content_left is not None:
                size = max(1, min(self._meter.content_left, _BODY_PIECE_BYTES))
            piece = data[position : position + size]
            position += len(piece)
            if not self._parse(piece):
                self._held = b""
                return
        self._held = bytes(data[position:])

    def _parse(self, piece: bytes | memoryview) -> bool:
        """Parse one piece. Return whether parsing may continue."""
        content_before = self._meter.content_bytes
        try:
            self.parser.feed_data(piece)
            self._check_size(len(piece), content_before)
        except httptools.HttpParserUpgrade:
            self._upgrade()
            return False
        except httptools.HttpParserError as error:
            cause = error.__context__
            self._refuse(cause if isinstance(cause, Refused) else malformed())
        except Refused as refused:
            self._refuse(refused)
        return self._refusal is None and not self.transport.is_closing()

    def _check_size(self, size: int, content_before: int) -> None:
        meter = self._meter
        if self._phase is _Phase.HEAD:
            meter.add_head(size)
        elif self._phase is _Phase.BODY and meter.content_left is None:
            # A piece may begin with the end of the previous request.
            meter.add_framing(size - max(0, meter.content_bytes - content_before))

    # Events of the parser.

    def on_message_begin(self) -> None:
        super().on_message_begin()
        if self._phase is not _Phase.HEAD or self._meter.head_bytes:
            self._expect(_Phase.HEAD)
            self._meter = RequestMeter()

    def on_url(self, url: bytes) -> None:
        super().on_url(url)
        self._meter.check_target(len(self.url))

    def on_header(self, name: bytes, value: bytes) -> None:
        meter = self._meter
        meter.add_field()
        if self._phase is not _Phase.HEAD:
            # Trailers arrive when the request is already running, and must not change it (RFC 9110, section 6.5.1).
            return
        # The parser keeps trailing white space, which is not part of a value (RFC 9110, section 5.5).
        value = value.rstrip(b" \t")
        super().on_header(name, value)
        meter.note_field(self.headers[-1][0], value)

    def on_headers_complete(self) -> None:
        self._meter.check_hosts(self.parser.get_http_version())
        self._check_host()
        super().on_headers_complete()
        if self._meter.has_content and self.parser.should_upgrade() and self._should_upgrade():
            # The parser reports the upgrade only after the body, which may never arrive.
            raise Refused(400, "A WebSocket handshake must have no body.", "no Content-Length, no Transfer-Encoding")
        self._expect(_Phase.BODY)

    def _check_host(self) -> None:
        authority = target_authority(self.url)
        if authority is not None:
            # A target in absolute form overrides `Host` (RFC 9112, section 3.2.2).
            self.headers[:] = [item for item in self.headers if item[0] != b"host"] + [(b"host", authority)]
        if any(read_host(value.decode("latin-1")) is None for name, value in self.headers if name == b"host"):
            raise Refused(400, "The request has a malformed host.", EXPECTED)

    def on_body(self, body: bytes) -> None:
        self._meter.add_content(len(body))
        self._window_bytes += len(body)
        super().on_body(body)

    def on_message_complete(self) -> None:
        super().on_message_complete()
        # The deadline for the next request starts with the response to this one.
        self._phase = _Phase.NOTHING

    def _expect(self, phase: _Phase) -> None:
        self._phase, self._since, self._window_bytes = phase, self.loop.time(), 0

    # Responses.

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: ASGI3Application) -> None:
        self._running = cycle
        if not self._meter.has_content:
            super()._start_asgi_task(cycle, app)
            return

        async def answer(scope: Scope, receive: ASGIReceiveCallable, send: ASGISendCallable) -> None:
            if not cycle.more_body:
                await app(scope, receive, send)
                return

            # The response may be complete before the body has arrived.
            async def send_last(message: ASGISendEvent) -> None:
                if message["type"] == "http.response.start" and cycle.more_body and not self._may_drain(cycle):
                    cycle.keep_alive = False
                await send(message)

            cycle.transport = UnreadBodyTransport(self.transport, self.finish)
            await app(scope, receive, send_last)

        super()._start_asgi_task(cycle, answer)

    def _may_drain(self, cycle: RequestResponseCycle) -> bool:
        """Whether the rest of the body is short and will arrive."""
        left = self._meter.content_left
        return left is not None and left <= DRAIN_BYTES and not cycle.waiting_for_100_continue

    def on_response_complete(self) -> None:
        self._running = None
        if self.pipeline or self.transport.is_closing():
            super().on_response_complete()
        else:
            # Like uvicorn, but without its timer: stray bytes do not postpone the deadline of `check`.
            self.server_state.total_requests += 1
            self.flow.resume_reading()
        self._since = self.loop.time()
        if self.transport.is_closing() or self._lingering is not None:
            return
        if self._refusal is not None and not self._is_answering:
            self._send_refusal(self._refusal, LINGER_SECONDS)
        elif self._held:
            self._read_held()
        self._mark_if_idle()

    def _mark_if_idle(self) -> None:
        if self._is_idle:
            self._table.mark_idle(self)

    @property
    def _is_idle(self) -> bool:
        """Whether all requests are answered and no byte of the next one has arrived."""
        is_ending = self._refusal is not None or self._lingering is not None or self.transport.is_closing()
        return self._phase is _Phase.NOTHING and not (is_ending or self._held or self._is_answering)

    def close_if_idle(self) -> bool:
        if not self._is_idle or self.transport.get_write_buffer_size() or has_unread_bytes(self.transport):
            return False
        self.transport.close()
        return True

    @property
    def _is_answering(self) -> bool:
        return self.cycle is not None and not self.cycle.response_complete

    def finish(self) -> None:
        """Close the connection after its last response, which a client that is still sending can read."""
        if self._phase is not _Phase.BODY:
            self.transport.close()
        elif self._lingering is None:
            self._linger(LINGER_SECONDS)

    def send_400_response(self, msg: str) -> None:
        self._refuse(malformed())

    def _refuse(self, refused: Refused) -> None:
        """Stop reading, and send the refusal once the previous requests are answered."""
        log.info("%s refused: %d %s", self.client[0] if self.client else "-", refused.status, refused)
        self._refusal, self._held = refused, b""
        if self._phase is _Phase.BODY:
            self._end_request(refused)
        elif not self._is_answering:
            self._send_refusal(refused, LINGER_SECONDS)

    def _end_request(self, refused: Refused) -> None:
        """End a request whose body is malformed or late."""
        self._disconnect()
        if self.cycle.response_started or self.pipeline:
            # A response has begun, or an earlier response comes first.
            self.transport.abort()
        else:
            self._send_refusal(refused, LINGER_SECONDS)

    def _disconnect(self) -> None:
        if self._running is not None:
            self._running.disconnected = True
            self._running.message_event.set()

    def _send_refusal(self, refused: Refused, linger_seconds: float) -> None:
        self.transport.write(refused.render(self.url, self.server_state.default_headers))
        self._linger(linger_seconds)

    def _refuse_surplus(self) -> None:
        self._surplus_timer = None
        self._refusal = Refused(503, "Too many connections are open.", "fewer connections at once; retry in a moment")
        self._send_refusal(self._refusal, SURPLUS_LINGER_SECONDS)

    def _linger(self, seconds: float) -> None:
        self._lingering = LingeringClose(self.transport, self.loop.time() + seconds)
        self._held = b""
        self.flow.resume_reading()

    # Deadlines.

    def check(self, now: float) -> None:
        if self._lingering is not None:
            if self._lingering.is_over(now):
                self.drop()
        elif self._reader.behind_seconds(now) >= PROGRESS_SECONDS:
            self.drop()
        elif self._is_answering:
            self._check_body(now)
        elif now - self._since >= self._patience_seconds:
            if self._phase is _Phase.HEAD and self._meter.head_bytes:
                self._refuse(Refused(408, "The request took too long.", f"a head within {HEAD_SECONDS:g} seconds"))
            else:
                self.transport.close()

    @property
    def _patience_seconds(self) -> float:
        """The seconds that the client has for what it sends next, while no request is being answered."""
        if self._phase is _Phase.HEAD:
            return HEAD_SECONDS if self._meter.head_bytes else FIRST_BYTE_SECONDS
        return DRAIN_SECONDS if self._phase is _Phase.BODY else KEEP_ALIVE_SECONDS

    def _check_body(self, now: float) -> None:
        if not self._awaits_body:
            self._since, self._window_bytes = now, 0
        elif now - self._since >= PROGRESS_SECONDS:
            if self._window_bytes < PROGRESS_BYTES:
                expected = f"{PROGRESS_BYTES} bytes of the body every {PROGRESS_SECONDS:g} seconds"
                self._refuse(Refused(408, "The request took too long.", expected))
            else:
                self._since, self._window_bytes = now, 0

    @property
    def _awaits_body(self) -> bool:
        return self._phase is _Phase.BODY and not self.flow.read_paused and not self.cycle.waiting_for_100_continue

    def stalled_seconds(self, now: float) -> float:
        waited = max(now - self._since, CLOCK_SECONDS)
        if self._lingering is not None:
            return waited
        if self._phase is _Phase.HEAD and not self._is_answering:
            return waited
        if self._awaits_body and self._window_bytes < PROGRESS_BYTES * waited / PROGRESS_SECONDS:
            return waited
        return self._reader.behind_seconds(now)

    def drop(self) -> None:
        reset(self.transport)

    # Upgrades.

    def _upgrade(self) -> None:
        if self._should_upgrade() and not self._is_answering:
            self.handle_websocket_upgrade()
            return
        # A body or another request may follow, which looks the same, so reading ends here.
        if self._is_answering:
            self._refusal, self.cycle.keep_alive = malformed(), False
        else:
            self._refuse(malformed())

    def handle_websocket_upgrade(self) -> None:
        longest = max([len(self.url), *(len(name) + len(value) for name, value in self.headers)])
        if longest > MAX_HANDSHAKE_LINE_BYTES:
            self._refuse(too_large(f"at most {MAX_HANDSHAKE_LINE_BYTES} bytes a line"))
            return
        self._table.remove(self)
        super().handle_websocket_upgrade()
