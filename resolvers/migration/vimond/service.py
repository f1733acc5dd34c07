"""The client of the old image service: its documents, and images as its clients get them.

The operator names the service on the command line, so it may have a private address, unlike addresses from clients.
Its responses are checked like uploads.
"""

import time
from base64 import b64encode
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import quote, urlencode, urlsplit

import orjson
import urllib3
from urllib3.exceptions import HTTPError, MaxRetryError

from packshot.durable_files import private
from packshot.errors import FetchFailed, Forbidden, Invalid, NotFound, TooLarge
from packshot.network.http_connection import make_pool

ATTEMPTS = 5
# Doubled after each attempt; 7.5 seconds in total.
FIRST_PAUSE_SECONDS = 0.5
CONNECT_SECONDS, SILENT_SECONDS = 10.0, 60.0
# Longest time to receive one image.
PICTURE_SECONDS = 300.0
CHUNK_BYTES = 1 << 16
LARGEST_DOCUMENT = 64 << 20
ACCESS_KEY = "X-vimond-access-key"
_PASSING = (408, 425, 429, 500, 502, 503, 504)
# A redirect to another host must not send it our credentials.
_REDIRECTS = urllib3.Retry(
    total=None,
    connect=0,
    read=0,
    status=0,
    other=0,
    redirect=3,
    respect_retry_after_header=False,
    remove_headers_on_redirect=["Authorization", "Cookie", "Proxy-Authorization", ACCESS_KEY],
)

T = TypeVar("T")


class Away(OSError):
    """The old service does not answer, or answers only with temporary errors, in spite of retries."""


@dataclass(frozen=True, slots=True)
class Credentials:
    """The credentials for the old service. No text shows them.

    Attributes:
        token: for `Authorization: Bearer`.
        basic: name and password with a colon between them.
        access_key: for images, if the tenant requires one.
    """

    token: str | None = None
    basic: str | None = None
    access_key: str | None = None

    def __repr__(self) -> str:
        return "Credentials(…)"

    @property
    def admin_headers(self) -> Mapping[str, str]:
        if self.token is not None:
            return {"Authorization": f"Bearer {self.token}"}
        if self.basic is not None:
            return {"Authorization": f"Basic {b64encode(self.basic.encode()).decode()}"}
        return {}

    @property
    def picture_headers(self) -> Mapping[str, str]:
        return {ACCESS_KEY: self.access_key} if self.access_key is not None else {}


class VimondService:
    """The old service at an address. Thread-safe."""

    def __init__(self, url: str, credentials: Credentials, *, threads: int = 1) -> None:
        self.url = check_url(url)
        self._credentials = credentials
        self._pool = make_pool(
            maxsize=threads,
            block=True,
            retries=_REDIRECTS,
            timeout=urllib3.Timeout(connect=CONNECT_SECONDS, read=SILENT_SECONDS),
            headers={"User-Agent": "Packshot", "Accept-Encoding": "identity"},
        )

    def close(self) -> None:
        self._pool.clear()

    def locations(self) -> list[Any]:
        """Return the documents of all location configs.

        Raises:
            Forbidden: it refuses the credentials.
            Invalid: it sends something else.
            Away: it does not answer.
        """
        found = self._document("/adminAPI/imageLocationConfigs")
        if not isinstance(found, list):
            raise Invalid("The old service sends no list of location configs.", expected="an array", got=found)
        return found

    def pack(self, id: str) -> Any:
        """Return the document of a pack by its id, with or without a cache buster.

        Raises:
            NotFound: it has no such pack.
            FetchFailed: it does not show this pack.
            Forbidden, Invalid, Away: see `locations`.
        """
        return self._document(f"/adminAPI/imagePack/{quote(id, safe='', errors='replace')}", one_of_many=True)

    def pack_of_asset(self, asset_id: str) -> Any:
        """Return the document of an asset's pack; see `pack`."""
        return self._document(
            f"/adminAPI/imagePackViaAsset/{quote(asset_id, safe='', errors='replace')}", one_of_many=True
        )

    def picture(self, pack_id: str, location: str, into: Path, *, width: int, max_bytes: int) -> None:
        """Receive the image that clients get at a location into a new file, with as little processing as URLs allow.

        The URL asks for no crop, for the original's ratio and for a large width. The service decides whether it
        enlarges beyond the original's size.

        Raises:
            NotFound: it has nothing to show there.
            FetchFailed: it refuses, for example without an access key if the tenant requires one.
            TooLarge: more bytes than `max_bytes`.
            Away: it does not answer.
        """
        query = urlencode({"location": location, "skip-crop": "true", "location-ratio": "false", "width": width})

        def receive() -> None:
            into.unlink(missing_ok=True)
            with self._answer(f"/api/v2/img/{quote(pack_id, safe='')}?{query}", self._picture_headers) as response:
                if response.status in (404, 410):
                    raise NotFound("The old service has no image there.", expected="status 200", got=response.status)
                if response.status in (401, 403):
                    # A bucket that may not be listed answers the same for an object that does not exist.
                    raise FetchFailed(
                        "The old service does not show the image.",
                        expected="a tenant without access keys, or a key in VIMOND_ACCESS_KEY",
                        got=response.status,
                        may_pass=False,
                    )
                _expect_ok(response)
                _receive(response, into, max_bytes)

        _patiently(receive)

    @property
    def _picture_headers(self) -> Mapping[str, str]:
        return {"Accept": "image/*", **self._credentials.picture_headers}

    def _document(self, path: str, *, one_of_many: bool = False) -> Any:
        def ask() -> Any:
            with self._answer(path, {"Accept": "application/json", **self._credentials.admin_headers}) as response:
                if response.status == 403 and one_of_many:
                    # With the same credentials it has sent its locations.
                    raise FetchFailed(
                        "The old service does not show it.", expected="status 200", got=403, may_pass=False
                    )
                if response.status in (401, 403):
                    raise Forbidden(
                        "The old service refuses the credentials.",
                        expected="credentials of its admin API",
                        got=response.status,
                    )
                if response.status == 404:
                    raise NotFound("The old service has no pack of this id.", got=path.rpartition("/")[2])
                _expect_ok(response)
                body = response.read(LARGEST_DOCUMENT + 1)
            if len(body) > LARGEST_DOCUMENT:
                raise TooLarge(
                    "The response of the old service is too large.", expected=f"at most {LARGEST_DOCUMENT} bytes"
                )
            try:
                return orjson.loads(body)
            except orjson.JSONDecodeError:
                raise Invalid("The old service sends no JSON.", expected="JSON", got=body[:60]) from None

        return _patiently(ask)

    @contextmanager
    def _answer(self, target: str, headers: Mapping[str, str]) -> Iterator[urllib3.BaseHTTPResponse]:
        response = self._pool.request(
            "GET", self.url + target, headers={**self._pool.headers, **headers}, preload_content=False
        )
        try:
            if response.status in _PASSING:
                raise Away(f"it answers with status {response.status}")
            yield response
            # Only a connection that was read to its end can be reused.
            response.drain_conn()
        finally:
            response.close()
            response.release_conn()


def check_url(url: str) -> str:
    """Return an address without a slash at its end.

    Raises:
        Invalid: it is not an http or https URL, or has a name and password in it.
    """
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        parts, port = urlsplit(""), None
    if parts.scheme not in ("http", "https") or not parts.hostname or port == 0 or parts.query or parts.fragment:
        raise Invalid("This is not the address of a service.", field=("url",), expected="https://host", got=url)
    if parts.username is not None or parts.password is not None:
        raise Invalid(
            "A name and password in an address are visible to other users.",
            field=("url",),
            expected="name and password in VIMOND_BASIC",
        )
    return url.rstrip("/")


def _patiently(ask: Callable[[], T]) -> T:
    """Retry after temporary errors, a few times."""
    pause = FIRST_PAUSE_SECONDS
    for attempt in range(1, ATTEMPTS + 1):
        try:
            return ask()
        except (Away, HTTPError) as error:
            if isinstance(error, MaxRetryError) and isinstance(error.reason, urllib3.exceptions.ResponseError):
                raise FetchFailed("The old service redirects too often.", expected="at most 3 redirects") from None
            if attempt == ATTEMPTS:
                raise _away(error) from error
        time.sleep(pause)
        pause *= 2
    raise AssertionError("the last attempt returns or raises")


def _away(error: Exception) -> Away:
    if isinstance(error, Away):
        return error
    # Never the whole text, because it contains the address and its query.
    reason = getattr(error, "reason", None) or error
    return Away(f"the connection fails: {type(reason).__name__}")


def _expect_ok(response: urllib3.BaseHTTPResponse) -> None:
    if response.status != 200:
        raise FetchFailed(
            "The old service refuses.", expected="status 200", got=response.status, may_pass=response.status >= 500
        )


def _receive(response: urllib3.BaseHTTPResponse, into: Path, max_bytes: int) -> None:
    deadline, size = time.monotonic() + PICTURE_SECONDS, 0
    with open(into, "xb", opener=private) as file:
        while chunk := response.read1(CHUNK_BYTES):
            size += len(chunk)
            if size > max_bytes:
                raise TooLarge("The image has too many bytes.", expected=f"at most {max_bytes} bytes")
            if time.monotonic() > deadline:
                raise Away(f"a picture takes more than {PICTURE_SECONDS:g} seconds")
            file.write(chunk)
    announced = response.headers.get("Content-Length", "")
    if announced.isdecimal() and "Content-Encoding" not in response.headers and size != int(announced):
        raise Away("the connection ended in the middle of an image")
