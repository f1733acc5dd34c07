"""A server behind the CDN that responds as configured, and records its requests."""

import http.server
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

PICTURE = "public, max-age=60, s-maxage=86400, stale-while-revalidate=60, stale-if-error=86400"


@dataclass(frozen=True)
class OriginRequest:
    """One request; its header names are in lower case."""

    method: str
    url: str
    headers: dict[str, str]


@dataclass(frozen=True)
class Answer:
    """A response; after `sent` bytes of the body it waits for the event."""

    body: bytes = b""
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)


def picture(body: bytes, tags: str = "", **headers: str) -> Answer:
    """Return a response like the application's to a stable URL."""
    known = {"Cache-Control": PICTURE, "Xkey": tags, "ETag": f'"{hash(body):x}"', "Content-Type": "image/jpeg"}
    return Answer(body, 200, known | {name.replace("_", "-"): value for name, value in headers.items()})


class Origin:
    """Responds with `answer`, which may be replaced at any time; `seen` has all requests so far."""

    def __init__(self) -> None:
        self.seen: list[OriginRequest] = []
        self.answer: Callable[[OriginRequest], Answer] = lambda request: picture(request.url.encode())
        self._server: http.server.ThreadingHTTPServer | None = None
        self.port = 0
        self.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        """Listen, after the first time on the same port."""
        origin = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                request = OriginRequest(
                    self.command, self.path, {name.lower(): value for name, value in self.headers.items()}
                )
                origin.seen.append(request)
                answer = origin.answer(request)
                self.send_response(answer.status)
                for name, value in answer.headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(answer.body)))
                # A stopped server must not serve existing connections.
                self.send_header("Connection", "close")
                self.end_headers()
                if self.command != "HEAD":
                    self.wfile.write(answer.body)

            do_HEAD = do_OPTIONS = do_GET  # noqa: N815 - as the base class has it

            def log_message(self, *_: Any) -> None:
                pass

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", self.port), Handler)
        self._server.daemon_threads = True
        self.port = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, args=(0.02,)).start()

    def stop(self) -> None:
        """Stop listening; harmless to repeat."""
        server, self._server = self._server, None
        if server is not None:
            server.shutdown()
            server.server_close()


@contextmanager
def running() -> Iterator[Origin]:
    """Run an origin for the block."""
    origin = Origin()
    try:
        yield origin
    finally:
        origin.stop()
