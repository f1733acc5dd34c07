"""Receive bodies of bounded size: documents into memory, images to disk."""

import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
from starlette.requests import Request

from packshot.durable_files import private
from packshot.errors import TooLarge, UnsupportedMedia

JSON = "application/json"


def announced_bytes(request: Request) -> int:
    """Return the announced size of a request's body in bytes; 0: not announced."""
    announced = request.headers.get("content-length", "")
    return int(announced) if announced.isdecimal() else 0


def check_json(request: Request, *, may_be_unsaid: bool = False) -> None:
    """Refuse a body that is not announced as JSON.

    A browser sends forms and plain text of other origins without a preflight, but JSON only after one.

    Args:
        may_be_unsaid: accept a request without a content type.

    Raises:
        UnsupportedMedia: the content type is another one or is missing.
    """
    content_type = request.headers.get("content-type")
    if content_type is None and may_be_unsaid:
        return
    content_type = content_type or ""
    if content_type.partition(";")[0].strip().lower() != JSON:
        raise UnsupportedMedia("The body must be JSON.", expected=f"Content-Type: {JSON}", got=content_type or "none")


async def read_body(request: Request, most: int) -> bytes:
    """Return a request's body.

    Args:
        most: the limit in bytes.

    Raises:
        TooLarge: the body or its announced size exceeds the limit.
    """
    body = bytearray()
    too_large = TooLarge("The body is too large.", field=("body",), expected=f"at most {most} bytes")
    if announced_bytes(request) > most:
        raise too_large
    async for chunk in request.stream():
        body += chunk
        if len(body) > most:
            raise too_large
    return bytes(body)


@asynccontextmanager
async def receive(chunks: AsyncIterator[bytes], folder: Path, *, most: int, announced: int = 0) -> AsyncIterator[Path]:
    """Write a body to a new file in `folder`, and delete the file at the end of the block.

    Args:
        most: the limit in bytes.
        announced: the announced size in bytes; 0: not announced.

    Raises:
        TooLarge: the body or its announced size exceeds the limit.
    """
    path = folder / secrets.token_hex(16)
    try:
        if announced > most:
            raise _too_large(most, str(announced))
        received = 0
        async with await anyio.open_file(path, "xb", opener=private) as file:
            async for chunk in chunks:
                received += len(chunk)
                if received > most:
                    raise _too_large(most, f"more than {most}")
                await file.write(chunk)
        yield path
    finally:
        path.unlink(missing_ok=True)


def _too_large(most: int, got: str) -> TooLarge:
    return TooLarge("The body is too large.", field=("bytes",), expected=f"at most {most} bytes", got=got)
