"""A web server on loopback with responses that a test sets."""

import http.server
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

Answer = Callable[[http.server.BaseHTTPRequestHandler], None]


class Host:
    """A web server on loopback with responses that a test sets; it records all requests."""

    def __init__(self) -> None:
        self.requests: list[str] = []
        self.answers: dict[str, Answer] = {}
        host = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                host.requests.append(f"{self.headers['Host']}{self.path}")
                host.answers[self.path](self)

            def log_message(self, *_: Any) -> None:
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.port = self.server.server_address[1]

    def url(self, path: str) -> str:
        return f"http://127.0.0.1:{self.port}{path}"


@contextmanager
def hosting() -> Iterator[Host]:
    """Run a host during the block."""
    host = Host()
    thread = threading.Thread(target=host.server.serve_forever, args=(0.05,))
    thread.start()
    yield host
    host.server.shutdown()
    thread.join()
    host.server.server_close()


def giving(body: bytes, **headers: str) -> Answer:
    """Answer with these bytes."""

    def answer(handler: http.server.BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        for name, value in ({"Content-Length": str(len(body))} | headers).items():
            handler.send_header(name.replace("_", "-"), value)
        handler.end_headers()
        handler.wfile.write(body)

    return answer


def leading(to: str, status: int = 302) -> Answer:
    """Answer with a redirect."""

    def answer(handler: http.server.BaseHTTPRequestHandler) -> None:
        handler.send_response(status)
        handler.send_header("Location", to)
        handler.send_header("Content-Length", "0")
        handler.end_headers()

    return answer
