"""The sizes of one request while it is read, held to their limits."""

from dataclasses import dataclass

from serve.server.http_refusals import Refused, malformed, too_large

MAX_TARGET_BYTES = 16_384
MAX_HEAD_BYTES = 32_768  # request line and header fields
MAX_HEADER_FIELDS = 128
# Of a chunked body: sizes, extensions and trailers, besides what its content allows.
MAX_FRAMING_BYTES = 16_384
MAX_FRAMING_PER_CONTENT_BYTE = 8


@dataclass(slots=True)
class RequestMeter:
    """Counts bytes and fields; each method raises `Refused` beyond a limit.

    Attributes:
        head_bytes: of the request line and the header fields so far.
        fields: header fields and trailers so far.
        hosts: header fields `Host` so far.
        has_content: whether the head announces a body, other than by `Content-Length: 0`.
        content_left: bytes of the body still to come; None: its length is not announced.
        content_bytes: bytes of the body so far.
        framing_bytes: bytes around the content of a chunked body so far.
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
            raise Refused(414, "The address is too long.", f"at most {MAX_TARGET_BYTES} bytes")

    def add_head(self, size: int) -> None:
        self.head_bytes += size
        if self.head_bytes > MAX_HEAD_BYTES:
            raise too_large(f"at most {MAX_HEAD_BYTES} bytes")

    def add_field(self) -> None:
        self.fields += 1
        if self.fields > MAX_HEADER_FIELDS:
            raise too_large(f"at most {MAX_HEADER_FIELDS} fields")

    def add_content(self, size: int) -> None:
        self.content_bytes += size
        if self.content_left is not None:
            self.content_left -= size

    def add_framing(self, size: int) -> None:
        self.framing_bytes += size
        if self.framing_bytes > MAX_FRAMING_BYTES + MAX_FRAMING_PER_CONTENT_BYTE * self.content_bytes:
            raise malformed()
