"""What every field of one request works with: the caller, and loaders that read in batches."""

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
    """Reads by id that are collected for one turn of the event loop and made as one."""

    def __init__(self, caller: Caller, threads: ThreadPool) -> None:
        self._run = partial(threads.run, tenant=caller.tenant)
        self.snapshots: DataLoader[str, Snapshot | None] = self._loader(partial(packs.load_snapshots, caller))
        # The followers of a pack share these loaders and come at any time, so what was read is kept.
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
        """Run `act`, which reads nothing, off the event loop: with all others of this turn in one thread.

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
    # A tenant has one at the most.
    found = locations.get_pending_change(caller)
    return {} if found is None else dict.fromkeys(keys, found)


class Context:
    """One request's context; `serve` makes one from the authenticated caller.

    Attributes:
        watch: how jobs and packs are followed; one for the application.
        threads: pools for blocking work; one set for the application.
        budgets: how much each caller may still ask for; one for the application.
        retry_after_seconds: set where too little was left.
        is_socket: whether the operation came over a WebSocket, which is closed when the token ends.
        token_ended: set when a subscription over HTTP ends because its token does.
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
        """Read everything again from here on, as after a mutation."""
        self.loaders = Loaders(self.caller, self.threads.resolvers)


class SocketContext(Context):
    """The context of a WebSocket, which has no caller before its first message says who it is.

    Attributes:
        connection_params: what that message said; set by Strawberry.
        closing: closes the socket when its token ends or is revoked.
        held: what is held as long as the socket is open.
    """

    def __init__(self, connection: WebSocket, watch: LiveUpdates, threads: Threads, budgets: Budgets) -> None:
        self.connection = connection
        self.connection_params: dict[str, Any] | None = None
        self.watch = watch
        self.threads = threads
        self.budgets = budgets
        self.closing: asyncio.Task[None] | None = None
        self.held = ExitStack()

    def admit(self, caller: Caller) -> None:
        """Say who it is."""
        self.caller = caller

    def for_operation(self) -> Context:
        """Return a context for one of the socket's operations: each reads for itself."""
        context = Context(self.caller, self.watch, self.threads, self.budgets)
        context.is_socket = True
        return context


Info: TypeAlias = strawberry.Info[Context, None]
