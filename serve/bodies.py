"""Sending an object's bytes without holding them."""

from collections.abc import AsyncIterator

import anyio
import anyio.to_thread

from packshot.storage.base import Opened


async def read_chunks(opened: Opened, limiter: anyio.CapacityLimiter) -> AsyncIterator[bytes]:
    """Read a remote object piece by piece, and let go of it whatever happens to the client."""
    try:
        chunks = iter(opened)
        while (chunk := await anyio.to_thread.run_sync(next, chunks, None, limiter=limiter)) is not None:
            yield chunk
    finally:
        with anyio.CancelScope(shield=True):
            await anyio.to_thread.run_sync(opened.close, limiter=limiter)
