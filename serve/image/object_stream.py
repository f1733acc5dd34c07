"""Stream an object's bytes without holding all of them."""

from collections.abc import AsyncIterator

import anyio
import anyio.to_thread

from packshot.storage.base import Opened


async def read_chunks(opened: Opened, part: range, limiter: anyio.CapacityLimiter) -> AsyncIterator[bytes]:
    """Yield the bytes in a range of an object, and close the object even if the client disconnects."""
    position = 0
    try:
        chunks = iter(opened)
        while position < part.stop:
            chunk = await anyio.to_thread.run_sync(next, chunks, None, limiter=limiter)
            if chunk is None:
                break
            wanted = chunk[max(0, part.start - position) : part.stop - position]
            position += len(chunk)
            if wanted:
                yield wanted
    finally:
        with anyio.CancelScope(shield=True):
            await anyio.to_thread.run_sync(opened.close, limiter=limiter)
