"""A small image service of the old kind on loopback: its documents, its client URLs, and its outages."""

import base64
import hashlib
import http.server
import json
import threading
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from PIL import Image, ImageOps

USER, PASSWORD, ACCESS_KEY = "ingest", "s3cret:with-colon", "key-of-clients"
MOMENT = "2022-09-08T18:54:27.834+0000"


class OldService:
    """The content of the old service, and how it answers.

    Attributes:
        configs: documents of location configs, by name.
        packs: documents of image packs, by id.
        uploaded: bytes of uploads, by pack and location.
        bad_days: by path, the statuses of its first responses; 0: it closes the connection half-way.
        requests: every path with its query, in order.
        keys: the access keys and credentials of requests for images.
        leads_to: another service that has the images; None: this one.
        held: paths whose responses are withheld while they are in this set.
    """

    def __init__(self) -> None:
        self.configs: dict[str, dict[str, Any]] = {}
        self.packs: dict[str, dict[str, Any]] = {}
        self.uploaded: dict[tuple[str, str], bytes] = {}
        self.bad_days: dict[str, deque[int]] = {}
        self.requests: list[str] = []
        self.held: set[str] = set()
        self.keys: list[tuple[str | None, str | None]] = []
        self.leads_to: OldService | None = None
        self.wants_key = False
        self.extra_configs: list[Any] = []
        service = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                service.answer(self)

            def log_message(self, *_: Any) -> None:
                pass

        class Server(http.server.ThreadingHTTPServer):
            daemon_threads = True

            def handle_error(self, *_: Any) -> None:
                """Do not log: killed clients close their connections."""

        self.server = Server(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"

    def config(self, name: str, **fields: Any) -> None:
        """Configure a location, with the fields and enums of the old service."""
        self.configs[name] = {
            "name": name,
            "label": name.title(),
            "useResizeIncludeAll": "UNSET",
            "added": MOMENT,
            "updated": MOMENT,
            **fields,
        }

    def pack(self, id: str, *, locations: dict[str, dict[str, Any]], **fields: Any) -> None:
        """Create a pack with these overrides of its locations."""
        self.packs[id] = {
            "id": id,
            "imageLocations": locations,
            "useResizeIncludeAll": "UNSET",
            "tenant": "acme",
            "created": MOMENT,
            "modified": MOMENT,
            "sequenceNumber": len(self.packs) + 1,
            **fields,
        }

    def answer(self, handler: http.server.BaseHTTPRequestHandler) -> None:
        self.requests.append(handler.path)
        parts = urlsplit(handler.path)
        if days := self.bad_days.get(parts.path):
            status = days.popleft()
            if not status:
                # It closes the connection in the middle of the response.
                handler.send_response(200)
                handler.send_header("Content-Length", "1000")
                handler.end_headers()
                handler.wfile.write(b"{")
                handler.close_connection = True
                return
            _send(handler, status, b'{"message": "not today"}', "application/json")
            return
        if parts.path.startswith("/adminAPI/"):
            expected = base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
            if handler.headers["Authorization"] != f"Basic {expected}":
                _send(handler, 401, b"{}", "application/json")
                return
            found = self._document([unquote(part) for part in parts.path.split("/")[2:]])
            _send(handler, 404 if found is None else 200, json.dumps(found).encode(), "application/json")
            return
        self.keys.append((handler.headers["X-vimond-access-key"], handler.headers["Authorization"]))
        if self.leads_to is not None:
            _send(
                handler,
                302,
                b"",
                "text/plain",
                Location=self.leads_to.url.replace("127.0.0.1", "localhost") + handler.path,
            )
            return
        if self.wants_key and handler.headers["X-vimond-access-key"] != ACCESS_KEY:
            _send(handler, 403, b"", "text/plain")
            return
        while parts.path in self.held:
            time.sleep(0.01)
        id = unquote(parts.path.removeprefix("/api/v2/img/"))
        query = {name: values[0] for name, values in parse_qs(parts.query).items()}
        drawn = self._draw(id if id in self.packs else id.partition("-")[0], query)
        _send(handler, 404 if drawn is None else 200, drawn or b"", "image/jpeg")

    def _document(self, path: list[str]) -> Any:
        match path:
            case ["imageLocationConfigs"]:
                return [*self.configs.values(), *self.extra_configs]
            case ["imagePack", id]:
                return self.packs.get(id) or self.packs.get(id.partition("-")[0])
            case ["imagePackViaAsset", asset]:
                return next((pack for pack in self.packs.values() if str(pack.get("assetId")) == asset), None)
        return None

    def _draw(self, id: str, query: dict[str, str]) -> bytes | None:
        """Render a client's image: from the location's own upload, else a fallback's, else the main location's."""
        pack, location = self.packs.get(id), query.get("location", "main")
        if pack is None:
            return None
        following: str | None = location
        seen: list[str | None] = [location]
        while following and (id, following) not in self.uploaded:
            following = self.configs.get(following, {}).get("fallback")
            if following in seen:
                following = None
            seen.append(following)
        data = self.uploaded.get((id, following or pack.get("mainImageLocation") or "main"))
        if data is None or not data.startswith(b"\xff\xd8"):
            return data  # It returns images unchanged that it cannot render.
        with Image.open(BytesIO(data)) as opened:
            opened.load()
        picture: Image.Image = opened
        crop = pack["imageLocations"].get(location, {}).get("cropInfo")
        if crop and query.get("skip-crop") != "true":
            width, height = picture.size
            box = crop["topLeftX"] * width, crop["topLeftY"] * height, crop["bottomRightX"] * width
            picture = picture.crop((*map(round, box), round(crop["bottomRightY"] * height)))
        config = self.configs.get(location, {})
        size: tuple[Any, Any] = (config.get("width"), config.get("height"))
        if "width" in query:
            width = min(int(query["width"]), picture.width)
            follows = picture if query.get("location-ratio") == "false" else None
            ratio = follows.height / follows.width if follows else (size[1] or 1) / (size[0] or 1)
            size = (width, round(width * ratio))
        if size[0] and size[1]:
            picture = ImageOps.fit(picture, size)
        file = BytesIO()
        picture.save(file, "JPEG", quality=80)
        return file.getvalue()


def _send(
    handler: http.server.BaseHTTPRequestHandler, status: int, body: bytes, media_type: str, **headers: str
) -> None:
    handler.send_response(status)
    for name, value in headers.items():
        handler.send_header(name, value)
    handler.send_header("Content-Type", media_type)
    handler.send_header("Content-Length", str(len(body)))
    handler.end_headers()
    handler.wfile.write(body)


def pack_id(name: str) -> str:
    """Return an id of the usual kind, always the same for a name."""
    return hashlib.sha256(name.encode()).hexdigest()[:24]


@contextmanager
def old_service() -> Iterator[OldService]:
    """Run an old service during the block."""
    service = OldService()
    thread = threading.Thread(target=service.server.serve_forever, args=(0.02,))
    thread.start()
    try:
        yield service
    finally:
        service.held.clear()
        service.server.shutdown()
        thread.join()
        service.server.server_close()
