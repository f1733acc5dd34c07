"""CloudFront's API for invalidations: strict about the documented rules, with caches that can be purged.

It refuses what other stand-ins accept: more invalidations in progress than a distribution allows, a reference that
another batch has used, malformed paths and tags.
"""

import http.server
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from xml.etree import ElementTree

API = "2020-05-31"
NAMESPACE = f"http://cloudfront.amazonaws.com/doc/{API}/"
MOST_FILES, MOST_WILDCARDS, LONGEST_PATH, LONGEST_TAG = 3000, 15, 4000, 256
_TAG = re.compile(r"#[!-+\--~]+")


class Refused(Exception):
    """A request that gets an error."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.status, self.code = status, code


@dataclass
class Invalidation:
    """One batch; `asks_left` is how often it is still reported as in progress."""

    id: str
    reference: str
    items: tuple[str, ...]
    asks_left: int

    @property
    def wildcards(self) -> int:
        return sum(item.startswith("/") and item.endswith("*") for item in self.items)


@dataclass
class CloudFront:
    """One distribution.

    Attributes:
        tag_header: the header in its CacheTagConfig; None: it keeps no tags.
        asks: how often an invalidation is reported as in progress; None: until the test completes it.
        copies: the content of its caches: tags by path.
        dropped: the number of next responses to invalidations that are lost.
    """

    distribution: str = "E1PACKSHOT"
    tag_header: str | None = "x-amz-meta-tags"
    enabled: bool = True
    asks: int | None = 1
    port: int = 0
    dropped: int = 0
    copies: dict[str, set[str]] = field(default_factory=dict)
    invalidations: dict[str, Invalidation] = field(default_factory=dict)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def items(self) -> list[tuple[str, ...]]:
        """Return the paths or tags of each invalidation."""
        return [one.items for one in self.invalidations.values()]

    def under_way(self) -> list[Invalidation]:
        return [one for one in self.invalidations.values() if one.asks_left > 0]

    def finish(self) -> None:
        """Complete all invalidations in progress."""
        for one in self.under_way():
            self._complete(one)

    def create(self, body: bytes) -> Invalidation:
        """Accept a batch as CreateInvalidation does."""
        if not body:
            raise Refused(400, "MissingBody", "The body is required.")
        root = ElementTree.fromstring(body)  # noqa: S314 - made by this test's own client
        space = {"c": NAMESPACE}
        items = tuple(path.text or "" for path in root.findall("c:Paths/c:Items/c:Path", space))
        reference = root.findtext("c:CallerReference", "", space)
        if root.findtext("c:Paths/c:Quantity", "", space) != str(len(items)):
            raise Refused(400, "InconsistentQuantities", "Quantity and Items differ.")
        if not items or not reference:
            raise Refused(400, "InvalidArgument", "Paths and CallerReference are required.")
        if len(items) > MOST_FILES:
            raise Refused(413, "BatchTooLarge", "The invalidation batch is too large.")
        for item in items:
            self._check(item)
        for known in self.invalidations.values():
            if known.reference == reference:
                if known.items != items:
                    raise Refused(400, "InvalidArgument", "The caller reference was used for another batch.")
                return known
        made = Invalidation(f"I{len(self.invalidations) + 1}", reference, items, 1 if self.asks is None else self.asks)
        begun = self.under_way()
        wildcards = made.wildcards + sum(one.wildcards for one in begun)
        files = sum(len(one.items) - one.wildcards for one in [*begun, made])
        if wildcards > MOST_WILDCARDS or files > MOST_FILES:
            raise Refused(400, "TooManyInvalidationsInProgress", "There are too many invalidations in progress.")
        self.invalidations[made.id] = made
        if made.asks_left == 0:
            self._complete(made)
        return made

    def get(self, id: str) -> Invalidation:
        """Report a batch as GetInvalidation does."""
        if id not in self.invalidations:
            raise Refused(404, "NoSuchInvalidation", "The invalidation does not exist.")
        found = self.invalidations[id]
        if found.asks_left == 1 and self.asks is not None:
            self._complete(found)
        elif self.asks is not None:
            found.asks_left = max(0, found.asks_left - 1)
        return found

    def _check(self, item: str) -> None:
        if item.startswith("#"):
            if self.tag_header is None or not _TAG.fullmatch(item) or len(item) > LONGEST_TAG + 1 or "*" in item:
                raise Refused(400, "InvalidArgument", f"{item} is no tag of this distribution.")
        elif not item.startswith("/") or "*" in item[:-1] or len(item) > LONGEST_PATH:
            raise Refused(400, "InvalidArgument", f"{item} is no path.")

    def _complete(self, invalidation: Invalidation) -> None:
        invalidation.asks_left = 0
        gone = {path for path, tags in self.copies.items() if any(_hits(i, path, tags) for i in invalidation.items)}
        for path in gone:
            del self.copies[path]


def _hits(item: str, path: str, tags: set[str]) -> bool:
    if item.startswith("#"):
        return item[1:].lower() in {tag.lower() for tag in tags}
    return path.startswith(item[:-1]) if item.endswith("*") else path == item


@contextmanager
def running() -> Iterator[CloudFront]:
    """Run one during the block."""
    cloudfront = CloudFront()
    lock = threading.Lock()

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            self._answer(lambda: self._create(body))

        def do_GET(self) -> None:
            self._answer(self._tell)

        def _create(self, body: bytes) -> str:
            self._place("invalidation")
            made = cloudfront.create(body)
            if cloudfront.dropped:
                cloudfront.dropped -= 1
                raise ConnectionAbortedError
            return _to_xml(made)

        def _tell(self) -> str:
            if self.path.endswith("/config"):
                self._place("config")
                return _config(cloudfront)
            return _to_xml(cloudfront.get(self._place("invalidation")))

        def _place(self, what: str) -> str:
            """Return the last part of the path, after a check of the distribution and the signature."""
            signed = self.headers.get("Authorization", "")
            if "/us-east-1/cloudfront/aws4_request" not in signed:
                raise Refused(403, "AccessDenied", "The request is not signed for CloudFront.")
            parts = self.path.split("/")[1:]
            if parts[:2] != [API, "distribution"] or parts[3] != what:
                raise Refused(404, "NoSuchResource", "There is no such path.")
            if parts[2] != cloudfront.distribution:
                raise Refused(404, "NoSuchDistribution", "The specified distribution does not exist.")
            return parts[-1]

        def _answer(self, act: Any) -> None:
            try:
                with lock:
                    status, body = (201 if self.command == "POST" else 200), act()
            except Refused as refused:
                status, body = refused.status, _error(refused)
            except ConnectionAbortedError:
                self.close_connection = True
                return
            sent = body.encode()
            self.send_response(status)
            self.send_header("Content-Type", "text/xml")
            self.send_header("Content-Length", str(len(sent)))
            self.end_headers()
            self.wfile.write(sent)

        def log_message(self, *_: Any) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    cloudfront.port = server.server_address[1]
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield cloudfront
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def _to_xml(one: Invalidation) -> str:
    status = "InProgress" if one.asks_left else "Completed"
    paths = "".join(f"<Path>{item}</Path>" for item in one.items)
    return (
        f'<?xml version="1.0"?><Invalidation xmlns="{NAMESPACE}"><Id>{one.id}</Id><Status>{status}</Status>'
        f"<CreateTime>2026-01-02T03:04:05Z</CreateTime><InvalidationBatch><Paths><Quantity>{len(one.items)}</Quantity>"
        f"<Items>{paths}</Items></Paths><CallerReference>{one.reference}</CallerReference></InvalidationBatch></Invalidation>"
    )


def _config(cloudfront: CloudFront) -> str:
    header = cloudfront.tag_header
    tags = f"<CacheTagConfig><HeaderName>{header}</HeaderName></CacheTagConfig>" if header else ""
    return (
        f'<?xml version="1.0"?><DistributionConfig xmlns="{NAMESPACE}"><CallerReference>made</CallerReference>'
        f"<Enabled>{str(cloudfront.enabled).lower()}</Enabled>{tags}</DistributionConfig>"
    )


def _error(refused: Refused) -> str:
    return (
        f'<?xml version="1.0"?><ErrorResponse xmlns="{NAMESPACE}"><Error><Type>Sender</Type>'
        f"<Code>{refused.code}</Code><Message>{refused}</Message></Error><RequestId>r-1</RequestId></ErrorResponse>"
    )
