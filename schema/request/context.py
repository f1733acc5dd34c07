"""The context of every field of a request: the caller, and loaders that read in batches."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from functools import partial
from typing import Any, TypeAlias, TypeVar

import strawberry
from starlette.websockets import WebSocket
from strawberry.dataloader import DataLoader

from packshot.catalog.configuration.pending_changes import PendingChange
from packshot.catalog.purging.purges import Purge
from packshot.catalog.variants.ledger import Entry
from packshot.catalog.work.jobs import Job
from packshot.model import Location, Snapshot
from packshot.variants.demand import Demand
from packshot.variants.key import Key
from resolvers import jobs, locations, packs, purges
from resolvers.caller import Caller
from resolvers.pictures import Layout, Picture
from schema.request.budgets import Budgets
from schema.request.live_updates import LiveUpdates
from schema.request.loaders import BatchingLoader
from schema.request.threads import ThreadPool, Threads

T = TypeVar("T")
V = TypeVar("V")


class Loaders:
    """Reads by id. Those of one turn of the event loop are made together."""

    def __init__(self, caller: Caller, threads: ThreadPool) -> None:
        self._run = partial(threads.run, tenant=caller.tenant)
        self.snapshots: DataLoader[str, Snapshot | None] = self._loader(partial(packs.load_snapshots, caller))
        # All subscribers of a pack share these loaders and use them at any time, so results are kept.
        drawn: dict[str, Entry | None] = {}
        listed: dict[str, Entry | None] = {}
        self.pictures: BatchingLoader[Callable[[], Layout | None], Picture | None] = BatchingLoader(
            lambda asked: self._run(packs.load_pictures, caller, asked, drawn)
        )
        self.entries: BatchingLoader[Sequence[Key], Mapping[str, Entry | None]] = BatchingLoader(
            partial(self._load_entries, caller, listed)
        )
        self.jobs: DataLoader[str, Job | None] = self._loader(partial(jobs.get_jobs, caller))
        self.purges: DataLoader[str, Purge | None] = self._loader(partial(purges.get_purges, caller))
        self.locations: DataLoader[str, Location | None] = self._loader(partial(locations.get_locations, caller))
        self.pending_change: DataLoader[str, PendingChange | None] = self._loader(partial(_candidate, caller))
        self.pack_counts: DataLoader[str, int | None] = self._loader(partial(locations.count_packs, caller))
        self.demand: DataLoader[str, list[Demand] | None] = self._loader(partial(locations.list_demand, caller))
        self._work: DataLoader[Callable[[], Any], Any] = DataLoader(load_fn=self._compute, cache=False)

    async def _load_entries(
        self, caller: Caller, known: dict[str, Entry | None], asked: list[Sequence[Key]]
    ) -> list[Mapping[str, Entry | None]]:
        found = await self._run(packs.load_entries, caller, [key for some in asked for key in some], known)
        return [found] * len(asked)

    async def compute(self, act: Callable[[], T]) -> T:
        """Run `act`, which does no I/O, in a thread; all calls of one turn of the event loop share one thread.

        Raises:
            PackshotError: what `act` raises.
        """
        result: T = await self._work.load(act)
        return result

    def _loader(self, read: Callable[[list[str]], Mapping[str, V]]) -> DataLoader[str, V | None]:
        async def load(keys: list[str]) -> list[V | None]:
            found = await self._run(read, keys)
            return [found.get(key) for key in keys]

        return DataLoader(load_fn=load)

    async def _compute(self, acts: list[Callable[[], Any]]) -> list[Any]:
        return await self._run(lambda: [_outcome(act) for act in acts])


def _outcome(act: Callable[[], Any]) -> Any:
    try:
        return act()
    except Exception as error:  # noqa: BLE001 - the loader raises it where it belongs
        return error


def _candidate(caller: Caller, keys: list[str]) -> dict[str, PendingChange]:
    # A tenant has at most one pending change.
    found = locations.get_pending_change(caller)
    return {} if found is None else dict.fromkeys(keys, found)


class Context:
    """The context of one request; `serve` creates it from the authenticated caller.

    Attributes:
        watch: live updates of jobs and packs; one for the application.
        threads: pools for blocking work; one set for the application.
        budgets: the remaining budget of each caller; one for the application.
        retry_after_seconds: set if the budget or the threads did not suffice.
        is_socket: whether the operation came over a WebSocket, which is closed when the token expires.
        token_ended: set when a subscription over HTTP ends because its token expired.
    """

    retry_after_seconds: int | None = None
    is_socket = False
    token_ended = False

    def __init__(
        self,
        caller: Caller,
        watch: LiveUpdates | None = None,
        threads: Threads | None = None,
        budgets: Budgets | None = None,
    ) -> None:
        self.caller = caller
        self.watch = watch or LiveUpdates(caller.site)
        self.threads = threads or Threads()
        self.budgets = budgets or Budgets(caller.site.settings)
        self.forget()

    def forget(self) -> None:
        """Drop all loaded values, as after a mutation."""
        self.loaders = Loaders(self.caller, self.threads.resolvers)


class SocketContext(Context):
    """The context of a WebSocket. It has no caller until its first message authenticates one.

    Attributes:
        connection_params: the content of that message; set by Strawberry.
        closing: closes the socket when its token expires or is revoked.
        held: resources that are held while the socket is open.
    """

    def __init__(self, connection: WebSocket, watch: LiveUpdates, threads: Threads, budgets: Budgets) -> None:
        self.connection = connection
        self.connection_params: dict[str, Any] | None = None
        self.watch = watch
        self.threads = threads
        self.budgets = budgets
        self.closing: asyncio.Task[None] | None = None
        self.held = ExitStack()

    def set_caller(self, caller: Caller) -> None:
        """Set the caller that the first message authenticated."""
        self.caller = caller

    def for_operation(self) -> Context:
        """Return a context for one operation of the socket; each has its own loaders."""
        context = Context(self.caller, self.watch, self.threads, self.budgets)
        context.is_socket = True
        return context


Info: TypeAlias = strawberry.Info[Context, None]
