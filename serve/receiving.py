"""Receiving a picture's bytes: straight to disk, never whole in memory, never more than allowed."""

import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
from starlette.requests import Request

from packshot.errors import TooLarge
from packshot.storage.durable import private


def announced_bytes(request: Request) -> int:
    """Return how many bytes a request says its body has; 0: it does not say."""
    announced = request.headers.get("content-length", "")
    return int(announced) if announced.isdecimal() else 0


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
