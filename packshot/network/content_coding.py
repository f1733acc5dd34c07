"""Decode the body of an HTTP response by its `Content-Encoding`, in parts of bounded size.

Packshot requests no coding. But a store sends an object in the coding with which it was put.
"""

import zlib
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from packshot.errors import FetchFailed

PART_BYTES = 1 << 16
# Some stores keep this name of a framing that they removed when the object was put: the bytes are not encoded.
_PLAIN = frozenset({"identity", "aws-chunked"})
_GZIP, _DEFLATE = frozenset({"gzip", "x-gzip"}), "deflate"
_GZIP_MAGIC = b"\x1f\x8b"


def decode_body(chunks: Iterable[bytes], content_encodings: Sequence[str]) -> Iterator[bytes]:
    """Yield the decoded bytes of a body, at most 64 KiB at a time.

    Args:
        chunks: the body as received.
        content_encodings: values of the response's `Content-Encoding` headers.

    Raises:
        FetchFailed: a coding other than gzip and deflate, several codings, or bytes that are not in the named
        coding.
    """
    names = (name.strip().lower() for text in content_encodings for name in text.split(","))
    codings = [name for name in names if name and name not in _PLAIN]
    if not codings:
        return iter(chunks)
    if len(codings) > 1 or codings[0] not in {*_GZIP, _DEFLATE}:
        raise FetchFailed(
            "The response has a Content-Encoding that is not supported.",
            expected="gzip, deflate, or none",
            got=", ".join(codings),
            may_pass=False,
        )
    return _inflate(chunks, codings[0])


def _inflate(chunks: Iterable[bytes], coding: str) -> Iterator[bytes]:
    """Decode gzip, which may have several members, or deflate, with or without a zlib header."""
    inflater: Any = None
    is_complete, data = False, b""
    for chunk in chunks:
        data += chunk
        while True:
            if inflater is None:
                # Two bytes show whether a gzip member or zlib header begins here.
                if len(data) < 2:
                    break
                if is_complete and (coding == _DEFLATE or data[:2] != _GZIP_MAGIC):
                    data = b""  # Padding after the last member; other clients ignore it, too.
                    break
                inflater, is_complete = zlib.decompressobj(_window_bits(coding, data)), False
            try:
                part = inflater.decompress(data, PART_BYTES)
            except zlib.error as error:
                raise FetchFailed(
                    "The response cannot be decoded.", expected=f"a body in {coding}", got=error, may_pass=False
                ) from error
            data = inflater.unconsumed_tail
            if part:
                yield part
            if inflater.eof:
                data, inflater, is_complete = inflater.unused_data, None, True
            elif not data and len(part) < PART_BYTES:
                break
    if not is_complete:
        raise FetchFailed(
            "The host broke off the response.", expected=f"a whole body in {coding}", got="a part of a body"
        )


def _window_bits(coding: str, head: bytes) -> int:
    if coding in _GZIP:
        return zlib.MAX_WBITS | 16
    has_zlib_header = head[0] & 0x0F == 8 and int.from_bytes(head[:2]) % 31 == 0
    return zlib.MAX_WBITS if has_zlib_header else -zlib.MAX_WBITS
