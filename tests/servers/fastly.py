"""The purge part of Fastly's API, with strict checks of requests."""

import http.server
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

MOST_KEYS = 256


@dataclass
class Fastly:
    """One service and its token.

    Attributes:
        room: how many more purges it accepts this hour.
    """

    service: str = "SU1Z0isxPaozGVKXdv0eY"
    token: str = "secret-of-fastly"
    room: int = 1000
    port: int = 0
    purged: list[list[str]] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def answer(self, method: str, path: str, token: str | None, body: bytes) -> tuple[int, dict[str, Any]]:
        """Handle one request and return the status and content of the response."""
        if token != self.token:
            return 401, {"msg": "Provided credentials are missing or invalid"}
        if path.split("/")[1:3] != ["service", self.service]:
            return 404, {"msg": "Record not found"}
        if method == "GET" and path.count("/") == 2:
            return 200, {"id": self.service}
        if method != "POST" or not path.endswith("/purge"):
            return 404, {"msg": "Record not found"}
        keys = json.loads(body)["surrogate_keys"]
        if not 1 <= len(keys) <= MOST_KEYS or any(" " in key for key in keys):
            return 400, {"msg": "Bad request"}
        if not self.room:
            return 429, {"msg": "You have exceeded your hourly API request limit"}
        self.room -= 1
        self.purged.append(keys)
        return 200, {key: f"108-1391560174-{number}" for number, key in enumerate(keys)}


@contextmanager
def running() -> Iterator[Fastly]:
    """Run one during the block."""
    fastly = Fastly()

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            status, said = fastly.answer(self.command, self.path, self.headers.get("Fastly-Key"), body)
            sent = json.dumps(said).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(sent)))
            self.end_headers()
            self.wfile.write(sent)

        def do_GET(self) -> None:
            self.do_POST()

        def log_message(self, *_: Any) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    fastly.port = server.server_address[1]
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield fastly
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
