"""Decode the body of an HTTP response by its `Content-Encoding`, in parts of bounded size.

Packshot asks for no coding. A store sends an object that was put with one in that coding all the same.
"""

import zlib
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from packshot.errors import FetchFailed

PART_BYTES = 1 << 16
# Some stores keep the name of a framing that they removed when the object was put: the bytes are as they were.
_PLAIN = frozenset({"identity", "aws-chunked"})
_GZIP, _DEFLATE = frozenset({"gzip", "x-gzip"}), "deflate"
_GZIP_MAGIC = b"\x1f\x8b"


def decode_body(chunks: Iterable[bytes], content_encodings: Sequence[str]) -> Iterator[bytes]:
    """Yield the decoded bytes of a body, at most 64 KiB at a time.

    Args:
        chunks: the body as it was received.
        content_encodings: values of the response's `Content-Encoding` headers.

    Raises:
        FetchFailed: a coding other than gzip and deflate, more than one, or bytes that are not in that coding.
    """
    names = (name.strip().lower() for text in content_encodings for name in text.split(","))
    codings = [name for name in names if name and name not in _PLAIN]
    if not codings:
        return iter(chunks)
    if len(codings) > 1 or codings[0] not in {*_GZIP, _DEFLATE}:
        raise FetchFailed(
            "The answer has a Content-Encoding that is not decoded.",
            expected="gzip, deflate, or none",
            got=", ".join(codings),
            may_pass=False,
        )
    return _inflate(chunks, codings[0])


def _inflate(chunks: Iterable[bytes], coding: str) -> Iterator[bytes]:
    """Decode gzip, which may consist of several members, or deflate, with a zlib header or without."""
    inflater: Any = None
    is_complete, data = False, b""
    for chunk in chunks:
        data += chunk
        while True:
            if inflater is None:
                # Two bytes tell what begins here.
                if len(data) < 2:
                    break
                if is_complete and (coding == _DEFLATE or data[:2] != _GZIP_MAGIC):
                    data = b""  # Padding after the last member, which other clients ignore as well.
                    break
                inflater, is_complete = zlib.decompressobj(_window_bits(coding, data)), False
            try:
                part = inflater.decompress(data, PART_BYTES)
            except zlib.error as error:
                raise FetchFailed(
                    "The answer cannot be decoded.", expected=f"a body in {coding}", got=error, may_pass=False
                ) from error
            data = inflater.unconsumed_tail
            if part:
                yield part
            if inflater.eof:
                data, inflater, is_complete = inflater.unused_data, None, True
            elif not data and len(part) < PART_BYTES:
                break
    if not is_complete:
        raise FetchFailed("The host broke off.", expected=f"a whole body in {coding}", got="a part of one")


def _window_bits(coding: str, head: bytes) -> int:
    if coding in _GZIP:
        return zlib.MAX_WBITS | 16
    has_zlib_header = head[0] & 0x0F == 8 and int.from_bytes(head[:2]) % 31 == 0
    return zlib.MAX_WBITS if has_zlib_header else -zlib.MAX_WBITS
