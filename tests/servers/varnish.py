"""The purge interface of a Varnish with the VCL of `infra/local-cdn`, with strict checks of requests."""

import http.server
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

LONGEST_LINE = 8192
HEADERS = {"xkey-purge": "hard", "xkey-softpurge": "soft"}


@dataclass
class Varnish:
    """The purges by their kind, and the server's `port` and `url`.

    Attributes:
        status: the status for a valid purge.
    """

    port: int = 0
    status: int = 200
    purged: list[tuple[str, tuple[str, ...]]] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def purge(self, method: str, path: str, headers: list[tuple[str, str]]) -> int:
        """Handle one request and return the status of the response."""
        if any(len(name) + 2 + len(value) > LONGEST_LINE for name, value in headers):
            return 400
        asked = [(HEADERS[name.lower()], value) for name, value in headers if name.lower() in HEADERS]
        if method != "PURGE" or path != "/" or len(asked) != 1:
            return 405
        if self.status == 200:
            kind, keys = asked[0]
            self.purged.append((kind, tuple(keys.split(" "))))
        return self.status


@contextmanager
def running() -> Iterator[Varnish]:
    """Run one during the block."""
    varnish = Varnish()

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_PURGE(self) -> None:
            self.send_response(varnish.purge(self.command, self.path, self.headers.items()))
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    varnish.port = server.server_address[1]
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield varnish
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
