"""Batch the reads of many fields, even if they are requested a few turns of the event loop apart."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeVar

K = TypeVar("K")
V = TypeVar("V")

# The first pack of a page is resolved at most this many turns before the others. A data loader waits for one turn.
TURNS = 6


class BatchingLoader(Generic[K, V]):
    """Collect keys for a few turns of the event loop, and read all of them at once; one read at a time.

    It caches nothing, but `read` may keep what it found for the next read.

    Args:
        read: returns a value for each key, in order; an exception in place of a value is raised for that key only.
    """

    def __init__(self, read: Callable[[list[K]], Awaitable[Sequence[V | Exception]]]) -> None:
        self._read = read
        self._waiting: list[tuple[K, asyncio.Future[V]]] = []
        self._task: asyncio.Task[None] | None = None

    async def load(self, key: K) -> V:
        """Return the value of a key.

        Raises:
            Exception: what `read` raised, or returned in place of the value.
        """
        future: asyncio.Future[V] = asyncio.get_running_loop().create_future()
        self._waiting.append((key, future))
        if self._task is None:
            self._task = asyncio.create_task(self._read_all())
        return await future

    async def _read_all(self) -> None:
        try:
            while self._waiting:
                for _ in range(TURNS):
                    await asyncio.sleep(0)
                await self._read_waiting()
        finally:
            self._task = None

    async def _read_waiting(self) -> None:
        waiting, self._waiting = self._waiting, []
        values: Sequence[V | Exception]
        try:
            values = await self._read([key for key, _ in waiting])
        except Exception as error:  # noqa: BLE001 - raised by every field that waits
            values = [error] * len(waiting)
        for (_, future), value in zip(waiting, values, strict=True):
            if future.cancelled():
                continue
            if isinstance(value, Exception):
                future.set_exception(value)
            else:
                future.set_result(value)
