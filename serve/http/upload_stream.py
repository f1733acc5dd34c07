"""Receive bodies of bounded size: documents into memory, pictures straight to disk."""

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
    """Return how many bytes a request says its body has; 0: it does not say."""
    announced = request.headers.get("content-length", "")
    return int(announced) if announced.isdecimal() else 0


def check_json(request: Request, *, may_be_unsaid: bool = False) -> None:
    """Refuse a body that is not announced as JSON.

    A page of another origin can send forms and plain text with a user's credentials, and JSON only after asking.

    Args:
        may_be_unsaid: a request without a content type passes too.

    Raises:
        UnsupportedMedia: it is announced as something else, or not at all.
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
        most: bytes that are let in.

    Raises:
        TooLarge: more come, or are said to.
    """
    body = bytearray()
    too_large = TooLarge("That document is too large.", field=("body",), expected=f"at most {most} bytes")
    if announced_bytes(request) > most:
        raise too_large
    async for chunk in request.stream():
        body += chunk
        if len(body) > most:
            raise too_large
    return bytes(body)


@asynccontextmanager
async def receive(chunks: AsyncIterator[bytes], folder: Path, *, most: int, announced: int = 0) -> AsyncIterator[Path]:
    """Write what comes to a new file of `folder`, which is gone afterwards.

    Args:
        most: bytes that are let in.
        announced: bytes that are said to come; 0: nobody said.

    Raises:
        TooLarge: more come, or are said to.
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
    return TooLarge("More bytes came than may come.", field=("bytes",), expected=f"at most {most}", got=got)
