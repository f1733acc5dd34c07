"""Thread pools: each kind of blocking work has its own threads, and one tenant cannot take all of them.

Pools belong to the event loop: call only `run`, and only there. See docs/decisions/0019.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from math import ceil, inf
from typing import Any, TypeVar

import anyio
import anyio.to_thread

T = TypeVar("T")

# Seconds that a request waits for a thread. A client, or the proxy in front of it, gives up soon after.
MAX_WAIT = 30.0


class ThreadsBusy(Exception):
    """The request is valid, but the server cannot serve it now. Nothing was changed.

    Attributes:
        status: the HTTP status; 429 if this client asks too often, 503 if the server is busy.
        code: for programs.
        message: one sentence for people.
        seconds: when a retry makes sense.
    """

    def __init__(self, status: int, code: str, message: str, seconds: float) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message
        self.seconds = seconds

    @property
    def retry_after(self) -> int:
        """The value of the header `Retry-After`: whole seconds, at least 1."""
        return max(1, ceil(self.seconds))


@dataclass(slots=True)
class _Share:
    """The part of a pool that one tenant uses.

    Attributes:
        work: calls that run or wait.
    """

    limiter: anyio.CapacityLimiter | None
    work: int = 0


class ThreadPool:
    """A bounded number of threads for one kind of work.

    Args:
        name: what the threads do, for the message of a refusal.
        threads: the number of calls that run at once.
        tenant_threads: the number of one tenant's calls that run at once; None: no limit per tenant.
        max_waiting: the number of one tenant's calls that may wait; None: no limit here.
        max_wait: seconds that a call waits for a thread before it is refused.
        retry_after: seconds after which a refused call can be repeated.
        own_threads: use fixed threads, for C code that retains memory in each thread that ran it.
    """

    def __init__(
        self,
        name: str,
        threads: int,
        *,
        tenant_threads: int | None = None,
        max_waiting: int | None = None,
        max_wait: float = MAX_WAIT,
        retry_after: float = 2.0,
        own_threads: bool = False,
    ) -> None:
        self._name = name
        self._threads = threads
        self._tenant_threads = tenant_threads
        self._max_waiting = max_waiting
        self._max_wait = max_wait
        self._retry_after = retry_after
        self._limiter = anyio.CapacityLimiter(threads)
        # The limiters above count the calls, so anyio need not limit them.
        self._threads_taken = anyio.CapacityLimiter(inf)
        self._own = ThreadPoolExecutor(threads, thread_name_prefix=name) if own_threads else None
        self._shares: dict[str, _Share] = {}

    async def run(self, act: Callable[..., T], *args: Any, tenant: str = "") -> T:
        """Run `act` in a thread and return its result. A call beyond its tenant's share waits without a thread.

        Raises:
            ThreadsBusy: too many calls wait already, or no thread became free in time.
        """
        share = self._shares.get(tenant) or _Share(self._new_limiter())
        if self._max_waiting is not None and share.work >= (self._tenant_threads or self._threads) + self._max_waiting:
            raise self._refusal()
        self._shares[tenant] = share
        share.work += 1
        try:
            async with self._place(share):
                return await self._run(partial(act, *args))
        finally:
            share.work -= 1
            if not share.work:
                del self._shares[tenant]

    @asynccontextmanager
    async def _place(self, share: _Share) -> AsyncIterator[None]:
        """Hold one thread of the tenant's share and of the pool; one time limit covers both waits."""
        async with AsyncExitStack() as held:
            with anyio.move_on_after(self._max_wait) as waiting:
                for limiter in (share.limiter, self._limiter):
                    if limiter is not None:
                        await held.enter_async_context(limiter)
            if waiting.cancelled_caught:
                raise self._refusal()
            yield

    async def _run(self, act: Callable[[], T]) -> T:
        if self._own is None:
            return await anyio.to_thread.run_sync(act, limiter=self._threads_taken)
        return await asyncio.get_running_loop().run_in_executor(self._own, act)

    def _new_limiter(self) -> anyio.CapacityLimiter | None:
        return None if self._tenant_threads is None else anyio.CapacityLimiter(self._tenant_threads)

    def _refusal(self) -> ThreadsBusy:
        return ThreadsBusy(503, "OVERLOADED", f"Too many requests wait for {self._name}.", self._retry_after)


class Threads:
    """The pools that the admin APIs and uploads of one application share.

    Attributes:
        lookups: reads of credentials and access rules.
        passwords: Argon2; a hash takes 19 MiB or more, so one at a time.
        resolvers: reads and short edits of the database, for GraphQL and REST.
        rendering: work that decodes, renders or waits for a store: uploaded originals, previews, erasures.
        fetching: requests to other hosts: originals by URL.
        receiving: the beginning and the end of an upload.
        watching: reads for subscriptions.
    """

    def __init__(self) -> None:
        self.lookups = ThreadPool("authentication", 8, max_waiting=512)
        # The memory allocator keeps the memory of a hash for every thread that computed one.
        self.passwords = ThreadPool("the check of a password", 1, max_waiting=16, own_threads=True)
        # Fewer than the database connections, so that slow queries leave some to image requests.
        self.resolvers = ThreadPool("the database", 12, tenant_threads=8)
        self.rendering = ThreadPool("the check of images", 16, tenant_threads=8, max_waiting=64, retry_after=10.0)
        self.fetching = ThreadPool("other hosts", 16, tenant_threads=4, max_waiting=32, retry_after=30.0)
        self.receiving = ThreadPool("uploads", 16, tenant_threads=8)
        self.watching = ThreadPool("subscriptions", 2)
