"""Answer a request for an object: conditions, ranges (RFC 9110) and bytes.

One call in a thread evaluates the conditions and opens the object, so that an object that is deleted a moment later is
still sent to its end.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from email.utils import format_datetime, parsedate_to_datetime

import anyio
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from packshot.production import drop_damaged, find_variant, open_variant
from packshot.site import Site
from packshot.storage.base import CHUNK_BYTES, DamagedObject, NoSuchObject, Opened, Stored
from serve.http.problems import problem
from serve.image.object_stream import read_chunks
from serve.image.sendable import Sendable

_RANGE = re.compile(r"bytes=(\d{0,18})-(\d{0,18})")


@dataclass(frozen=True, slots=True)
class Conditions:
    """The conditions of a request: the values of its headers, None if absent.

    Attributes:
        span: the value of `Range`.
    """

    head: bool
    if_none_match: str | None
    if_modified_since: str | None
    span: str | None
    if_range: str | None

    @classmethod
    def of(cls, request: Request) -> "Conditions":
        """Return the conditions of a GET or HEAD request."""
        known = request.headers.get
        return cls(
            request.method == "HEAD",
            known("if-none-match"),
            known("if-modified-since"),
            known("range"),
            known("if-range"),
        )

    def without_dates(self) -> "Conditions":
        """Return the conditions without dates: a stable URL may change twice within the second of a date."""
        dated = self.if_range is not None and not self.if_range.strip().startswith('"')
        return replace(self, if_modified_since=None, span=None if dated else self.span)

    @property
    def may_be_unchanged(self) -> bool:
        """Whether the request says that the client has a copy."""
        return self.if_none_match is not None or self.if_modified_since is not None

    def is_unchanged(self, stored: Stored) -> bool:
        """Whether the client's copy is current (RFC 9110, section 13.1)."""
        if self.if_none_match is not None:
            tags = [tag.strip().removeprefix("W/") for tag in self.if_none_match.split(",")]
            return etag(stored) in tags or "*" in tags
        # The exact time, not a later one: a stable URL can go back to an older object.
        return _is_moment(self.if_modified_since, stored)

    def part(self, stored: Stored) -> range | None:
        """Return the requested range, which is empty if the object has no such bytes; None: all bytes.

        Anything but one plain range is ignored, as RFC 9110 allows.
        """
        found = _RANGE.fullmatch(self.span.strip().lower()) if self.span else None
        if found is None or found.groups() == ("", "") or not self._has_same(stored):
            return None
        first, last = found.groups()
        if not first:
            return range(max(0, stored.size - int(last)), stored.size)
        if last and int(last) < int(first):
            return None
        return range(int(first), min(int(last) + 1, stored.size) if last else stored.size)

    def _has_same(self, stored: Stored) -> bool:
        if self.if_range is None:
            return True
        return self.if_range.strip() == etag(stored) or _is_moment(self.if_range, stored)


def etag(stored: Stored) -> str:
    """Return the entity tag with its quotes. It depends on the bytes only, so it is the same in every store."""
    return f'"{stored.sha256[:32]}"'


def open_sendable(site: Site, key: str, conditions: Conditions) -> Sendable | None:
    """Find a variant and open it if its bytes are needed; None: it is not stored.

    Raises:
        OSError: the store does not answer.
    """
    if conditions.head or conditions.may_be_unchanged:
        stored = find_variant(site, key)
        if stored is None:
            return None
        if conditions.head or conditions.is_unchanged(stored):
            return Sendable(stored)
    opened = open_variant(site, key)
    if opened is None:
        return None
    if opened.stored.size > CHUNK_BYTES:
        return Sendable(opened.stored, opened)
    # Read as a whole, so that a broken read can be retried before the response begins.
    try:
        with opened:
            data = b"".join(opened)
    except OSError:
        try:
            data, _ = site.variants.get(key)
        except NoSuchObject:
            return None
        except DamagedObject as error:
            drop_damaged(site, key, error)
            return None
    return Sendable(opened.stored, data)


def send(
    sendable: Sendable, conditions: Conditions, headers: Mapping[str, str], limiter: anyio.CapacityLimiter
) -> Response:
    """Return the response for these conditions, with these headers and those that follow from the object.

    Args:
        limiter: for the threads that read large objects.
    """
    stored = sendable.stored
    headers = {
        **headers,
        "ETag": etag(stored),
        "Last-Modified": format_datetime(stored.modified_at, usegmt=True),
        "Accept-Ranges": "bytes",
    }
    if conditions.may_be_unchanged and conditions.is_unchanged(stored):
        return Response(status_code=304, headers=headers)
    headers["Content-Type"] = stored.metadata.content_type
    if conditions.head:
        return Response(headers=headers | {"Content-Length": str(stored.size)})
    if sendable.body is None:
        # The proxy in front of the application sends the bytes.
        return Response(headers=headers)
    part = conditions.part(stored)
    if part is not None and not part:
        if isinstance(sendable.body, Opened):
            sendable.body.close()
        return problem(
            416,
            "The image has no such bytes.",
            headers={"Content-Range": f"bytes */{stored.size}"},
            expected=f"a range within {stored.size} bytes",
        )
    status = 200
    if part is not None:
        status = 206
        headers["Content-Range"] = f"bytes {part.start}-{part.stop - 1}/{stored.size}"
    if isinstance(sendable.body, bytes):
        data = sendable.body if part is None else sendable.body[part.start : part.stop]
        return Response(data, status, headers)
    part = part or range(stored.size)
    headers["Content-Length"] = str(len(part))
    return StreamingResponse(read_chunks(sendable.body, part, limiter), status, headers)


def _is_moment(text: str | None, stored: Stored) -> bool:
    if text is None:
        return False
    try:
        moment = parsedate_to_datetime(text)
    except (ValueError, OverflowError):
        return False
    return moment.tzinfo is not None and stored.modified_at.replace(microsecond=0) == moment
