"""A page of another origin in a real browser: what it may upload and read."""

import json
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from queue import Queue
from threading import Thread
from typing import Any
from urllib.parse import urlencode

import pytest

from tests.support.pictures import jpeg, photo
from tests.support.server import TOKEN, Server, serving

PAGE = Path(__file__).with_name("page.html")
PICTURE = jpeg(photo(64, 48))
PATIENCE_SECONDS = 120
NAMES = ("chromium", "chromium-browser", "google-chrome")


class Cms:
    """The web server of a page, and the results that the page sent.

    Attributes:
        origin: the page's origin.
    """

    def __init__(self) -> None:
        found: Queue[dict[str, Any]] = Queue()

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                is_picture = self.path == "/picture"
                self._answer("application/octet-stream" if is_picture else "text/html", PICTURE if is_picture else None)

            def do_POST(self) -> None:
                found.put(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
                self._answer("text/plain", b"thanks")

            def _answer(self, media_type: str, body: bytes | None) -> None:
                content = PAGE.read_bytes() if body is None else body
                self.send_response(200)
                self.send_header("Content-Type", media_type)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, format: str, *args: Any) -> None:
                """Do not log requests."""

        self.found = found
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.origin = f"http://127.0.0.1:{self.server.server_port}"


@contextmanager
def hosting() -> Iterator[Cms]:
    """Serve the page during the block."""
    cms = Cms()
    thread = Thread(target=cms.server.serve_forever, daemon=True)
    thread.start()
    try:
        yield cms
    finally:
        cms.server.shutdown()
        cms.server.server_close()
        thread.join()


def visit(cms: Cms, server: Server, scratch: Path) -> dict[str, Any]:
    """Open the page in a browser and return its results."""
    browser = next(filter(None, map(shutil.which, NAMES)), None)
    if browser is None:
        pytest.skip("needs Chromium")
    pack_id = server.do("createPack", "input: {}", "pack { id }")["pack"]["id"]
    token = server.client.post("/live/token", json={"id": "from-a-page"})
    query = {"server": server.base, "token": TOKEN, "pack": pack_id, "live": token.json().get("token", "")}
    ticket = server.announce(PICTURE)
    query |= {"url": ticket["url"], "urlToken": ticket["headers"][0]["value"]}
    # Chromium's sandbox needs rights that containers lack, and the page is part of the tests.
    command = [browser, "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run"]
    command += [f"--user-data-dir={scratch}", f"{cms.origin}/?{urlencode(query)}", "--remote-debugging-port=0"]
    with (scratch.parent / "browser.log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)
        try:
            return cms.found.get(timeout=PATIENCE_SECONDS)
        finally:
            process.terminate()
            process.wait(30)


def test_a_page_uploads_where_its_origin_is_listed_and_no_other_page_does(tmp_path: Path) -> None:
    with hosting() as cms, hosting() as other, serving(tmp_path / "data", PACKSHOT_CORS_ORIGINS=cms.origin) as server:
        found = visit(cms, server, tmp_path / "cms")
        refused = visit(other, server, tmp_path / "other")
    assert found.pop("rest")[0] == 200
    assert found == {
        "oneTimeToken": [200, "image/jpeg"],
        "form": [200, "image/jpeg"],
        "wrongToken": [404, "NOT_FOUND"],
        "wrongForm": [404, "NOT_FOUND"],
        "wrongAnnounced": [404, "NOT_FOUND"],
        "announced": [200, len(PICTURE)],
        "wrongLive": [403, "FORBIDDEN"],
        "live": [200, 64],
        "socket": "connection_ack",
    }
    # The browser hides these responses from the page.
    assert set(refused) == {*found, "rest"}
    assert {*refused.values()} == {"TypeError", "Error"}


def test_a_page_with_a_one_time_token_uploads_from_anywhere_where_nothing_is_listed(tmp_path: Path) -> None:
    with hosting() as cms, serving(tmp_path / "data") as server:
        found = visit(cms, server, tmp_path / "cms")
    assert (found["announced"], found["wrongAnnounced"]) == ([200, len(PICTURE)], [404, "NOT_FOUND"])
    assert (found["live"], found["wrongLive"]) == ([200, 64], [403, "FORBIDDEN"])
    assert found["oneTimeToken"] == "TypeError", "it cannot ask for a token by itself"
