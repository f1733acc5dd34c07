"""An HTTP proxy in front of an S3 server that injects the faults of servers and networks."""

import http.client
import socket
import struct
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qsl, urlsplit

from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from tests.servers.seaweed import REGION

PATIENCE = 30.0
_HOP_BY_HOP = ("connection", "expect", "keep-alive", "transfer-encoding")


@dataclass(frozen=True)
class Answer:
    """The proxy answers by itself, and does not forward the request."""

    status: int
    code: str

    @property
    def body(self) -> bytes:
        return f"<Error><Code>{self.code}</Code><Message>made up by the proxy</Message></Error>".encode()


@dataclass(frozen=True)
class Reset:
    """The connection is reset; if `done`, after the request was forwarded, so only its response is lost."""

    done: bool = False


@dataclass(frozen=True)
class Stall:
    """The response stops after `sent_bytes` of its body; None: no byte is sent."""

    sent_bytes: int | None = None


@dataclass(frozen=True)
class Truncate:
    """The connection is closed after so many bytes of the response's body."""

    sent_bytes: int


@dataclass(frozen=True)
class Corrupt:
    """One bit of the response's body is flipped; if `sent`, of the request's body."""

    sent: bool = False


Fault = Answer | Reset | Stall | Truncate | Corrupt


@dataclass
class Answered:
    """The response of the server behind the proxy."""

    status: int
    headers: list[tuple[str, str]]
    body: bytes


@dataclass
class Proxy:
    """The proxy's behaviour.

    Attributes:
        seen: method and path of every request, in order.
        always: the fault of every request without a planned one, or a function that draws one.
        drops_conditions: requests are forwarded without `If-None-Match`, signed again with `credentials`.
    """

    upstream: str
    endpoint_url: str = ""
    seen: list[str] = field(default_factory=list)
    always: Fault | Callable[[], Fault | None] | None = None
    drops_conditions: bool = False
    credentials: Credentials | None = None
    ended: threading.Event = field(default_factory=threading.Event)
    _planned: deque[Fault | None] = field(default_factory=deque)

    def plan(self, *faults: Fault | None) -> None:
        """Plan the faults of the next requests, in sequence; None: no fault."""
        self._planned.extend(faults)

    def next_fault(self) -> Fault | None:
        try:
            return self._planned.popleft()
        except IndexError:
            return self.always() if callable(self.always) else self.always


@contextmanager
def faulty_proxy(upstream: str) -> Iterator[Proxy]:
    """Run a proxy in front of the server at the URL `upstream` during the block."""
    proxy = Proxy(upstream)

    class Handler(_Handler):
        pass

    Handler.proxy = proxy
    server = _Server(("127.0.0.1", 0), Handler)
    proxy.endpoint_url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield proxy
    finally:
        proxy.ended.set()
        server.shutdown()
        server.server_close()
        thread.join()


class _Server(ThreadingHTTPServer):
    block_on_close = False
    daemon_threads = True

    def handle_error(self, request: object, client_address: object) -> None:
        """Ignore killed clients and unavailable stores: the other side sees its connection end."""
        if not isinstance(sys.exc_info()[1], OSError | http.client.HTTPException):
            super().handle_error(request, client_address)  # type: ignore[arg-type]


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = PATIENCE
    proxy: Proxy

    def _serve(self) -> None:
        proxy = self.proxy
        proxy.seen.append(f"{self.command} {urlsplit(self.path).path}")
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        fault = proxy.next_fault()
        match fault:
            case Answer():
                self._send(Answered(fault.status, [("Content-Type", "application/xml")], fault.body))
            case Reset(done=done):
                if done:
                    self._forward(body)
                self._reset()
            case Stall(sent_bytes=None):
                self._wait()
            case Stall() | Truncate():
                answered = self._forward(body)
                self._send(answered, only=fault.sent_bytes)
                if isinstance(fault, Stall):
                    self._wait()
                self.close_connection = True
            case Corrupt(sent=True):
                self._send(self._forward(_with_a_wrong_bit(body)))
            case Corrupt():
                answered = self._forward(body)
                answered.body = _with_a_wrong_bit(answered.body)
                self._send(answered)
            case None:
                self._send(self._forward(body))

    do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = _serve  # noqa: N815 - by these names it is called

    def log_message(self, format: str, *_: object) -> None:
        """Do not log requests."""

    def _forward(self, body: bytes) -> Answered:
        headers = {name: value for name, value in self.headers.items() if name.lower() not in _HOP_BY_HOP}
        if self.proxy.drops_conditions:
            headers = self._without_conditions(headers)
        upstream = http.client.HTTPConnection(urlsplit(self.proxy.upstream).netloc, timeout=PATIENCE)
        try:
            upstream.request(self.command, self.path, body, headers)
            answer = upstream.getresponse()
            kept = [(name, value) for name, value in answer.getheaders() if name.lower() not in _HOP_BY_HOP]
            return Answered(answer.status, kept, answer.read())
        finally:
            upstream.close()

    def _without_conditions(self, headers: dict[str, str]) -> dict[str, str]:
        """Sign the rest again, because the signature covered the condition."""
        gone = ("if-none-match", "authorization", "x-amz-date")
        rest = {name: value for name, value in headers.items() if name.lower() not in gone}
        url = urlsplit(self.path)
        request = AWSRequest(
            self.command, f"http://{self.headers['Host']}{url.path}", params=dict(parse_qsl(url.query)), headers=rest
        )
        request.context["payload_signing_enabled"] = False
        S3SigV4Auth(self.proxy.credentials, "s3", REGION).add_auth(request)
        return dict(request.headers.items())

    def _send(self, answered: Answered, only: int | None = None) -> None:
        self.send_response_only(answered.status)
        for name, value in answered.headers:
            if name.lower() != "content-length" or self.command == "HEAD":
                self.send_header(name, value)
        if self.command != "HEAD":
            self.send_header("Content-Length", str(len(answered.body)))
        with suppress(OSError):  # The client may have given up.
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(answered.body[:only])

    def _wait(self) -> None:
        self.proxy.ended.wait(PATIENCE)
        self.close_connection = True

    def _reset(self) -> None:
        # A linger time of zero closes the connection with a reset.
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.rfile.close()
        self.connection.close()
        self.close_connection = True


def _with_a_wrong_bit(body: bytes) -> bytes:
    return body[:-1] + bytes([body[-1] ^ 1]) if body else body
