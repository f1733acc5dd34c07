"""Render refusals of requests that are not read to their end."""

from collections.abc import Iterable
from http import HTTPStatus

import orjson
from uvicorn.protocols.http.httptools_impl import STATUS_LINE

from serve.admin.graphql_http import RESPONSE, errors
from serve.http.problems import MEDIA_TYPE as PROBLEM


class Refused(Exception):
    """The head or body of a request is not acceptable.

    Attributes:
        status: status code of the response.
        title: the problem, in one sentence.
        expected: what would be accepted.
        headers: headers of the response, in addition to those of every refusal.
    """

    def __init__(self, status: int, title: str, expected: str, headers: Iterable[tuple[bytes, bytes]] = ()) -> None:
        super().__init__(title)
        self.status = status
        self.title = title
        self.expected = expected
        self.headers = tuple(headers)

    def render(self, url: bytes, default_headers: Iterable[tuple[bytes, bytes]]) -> bytes:
        """Return the bytes of the whole response.

        Args:
            url: URL of the request; clients of GraphQL get the errors of GraphQL.
            default_headers: headers of every response of the server.
        """
        code = HTTPStatus(self.status).name
        if url.partition(b"?")[0] == b"/graphql":
            media_type, content = RESPONSE, errors(self.title, code, expected=self.expected)
        else:
            body = {"type": "about:blank", "title": self.title, "status": self.status}
            media_type, content = PROBLEM, orjson.dumps(body | {"code": code, "expected": self.expected})
        headers = [
            *default_headers,
            (b"content-type", media_type.encode()),
            (b"content-length", b"%d" % len(content)),
            (b"cache-control", b"no-store"),
            # The response has no secrets, and a page that uploads can read the reason.
            (b"access-control-allow-origin", b"*"),
            (b"connection", b"close"),
            *self.headers,
        ]
        if self.status == 503:
            headers.append((b"retry-after", b"1"))
        lines = b"".join(b"%b: %b\r\n" % header for header in headers)
        return STATUS_LINE[self.status] + lines + b"\r\n" + content


def malformed() -> Refused:
    """Return the refusal of a malformed request. A new one each time, because a raised exception keeps its frames."""
    return Refused(400, "This is not a valid HTTP request.", "a request as RFC 9112 defines it")


def too_large(expected: str) -> Refused:
    """Return the refusal of header fields that exceed a limit."""
    return Refused(431, "The header fields are too large.", expected)
