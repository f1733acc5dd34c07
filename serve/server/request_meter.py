"""Limit the sizes of one request while it is read."""

from dataclasses import dataclass

from serve.server.http_refusals import Refused, malformed, too_large

MAX_TARGET_BYTES = 16_384
MAX_HEAD_BYTES = 32_768  # request line and header fields
MAX_HEADER_FIELDS = 128
# Framing of a chunked body: sizes, extensions and trailers, in addition to the allowance per content byte.
MAX_FRAMING_BYTES = 16_384
MAX_FRAMING_PER_CONTENT_BYTE = 8


@dataclass(slots=True)
class RequestMeter:
    """Counts the bytes and fields of a request. Each method raises `Refused` beyond a limit.

    Attributes:
        head_bytes: bytes of the request line and the header fields so far.
        fields: number of header fields and trailers so far.
        hosts: number of `Host` header fields so far.
        has_content: whether the head announces a body, other than by `Content-Length: 0`.
        content_left: announced bytes of the body that are still missing; None: the length is not announced.
        content_bytes: bytes of the body so far.
        framing_bytes: bytes of a chunked body's framing so far.
    """

    head_bytes: int = 0
    fields: int = 0
    hosts: int = 0
    has_content: bool = False
    content_left: int | None = None
    content_bytes: int = 0
    framing_bytes: int = 0

    def check_target(self, size: int) -> None:
        if size > MAX_TARGET_BYTES:
            raise Refused(414, "The URL is too long.", f"at most {MAX_TARGET_BYTES} bytes")

    def add_head(self, size: int) -> None:
        self.head_bytes += size
        if self.head_bytes > MAX_HEAD_BYTES:
            raise too_large(f"at most {MAX_HEAD_BYTES} bytes")

    def add_field(self) -> None:
        self.fields += 1
        if self.fields > MAX_HEADER_FIELDS:
            raise too_large(f"at most {MAX_HEADER_FIELDS} fields")

    def note_field(self, name: bytes, value: bytes) -> None:
        """Note what a header field, with its name in lower case, says about the host or the body."""
        if name == b"host":
            self.hosts += 1
        elif name == b"content-length":
            self.content_left = int(value)
            self.has_content = value != b"0"
        elif name == b"transfer-encoding":
            self.has_content = True

    def check_hosts(self, http_version: str) -> None:
        if self.hosts != 1 and (self.hosts or http_version == "1.1"):
            raise Refused(400, "The request must name its host once.", "one header Host")

    def add_content(self, size: int) -> None:
        self.content_bytes += size
        if self.content_left is not None:
            self.content_left -= size

    def add_framing(self, size: int) -> None:
        self.framing_bytes += size
        if self.framing_bytes > MAX_FRAMING_BYTES + MAX_FRAMING_PER_CONTENT_BYTE * self.content_bytes:
            raise malformed()
