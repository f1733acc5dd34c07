"""Whether the process is alive, and whether what it needs answers."""

import asyncio
import logging
from collections.abc import Callable

import anyio
import anyio.to_thread
from dramatiq import Broker
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from packshot.catalog.migrate import is_current
from packshot.site import Site
from pregen.queue import is_reachable

PATIENCE_SECONDS = 5.0

log = logging.getLogger(__name__)


class Probe:
    """Asks one part how it is: once at a time, however many want to know, and in a thread of its own.

    So neither strangers who ask all day nor a part that is silent take what others need.
    """

    def __init__(self, name: str, ask: Callable[[], str]) -> None:
        self._name = name
        self._ask = ask
        self._limiter = anyio.CapacityLimiter(1)
        self._asking: asyncio.Task[str] | None = None

    async def answer(self) -> str:
        """Return "ok", or what is wrong."""
        if self._asking is None or self._asking.done():
            self._asking = asyncio.create_task(self._run())
        asking = self._asking
        done, _ = await asyncio.wait({asking}, timeout=PATIENCE_SECONDS)
        return asking.result() if done else f"no answer within {PATIENCE_SECONDS:g} seconds"

    async def _run(self) -> str:
        try:
            return await anyio.to_thread.run_sync(self._ask, limiter=self._limiter)
        except Exception:
            # Anybody may ask, and the text may name hosts and users: it is for the log.
            log.exception("the %s is not ready", self._name)
            return "no answer; the log says why"


class Health:
    """`/healthz` touches nothing; `/readyz` asks the database, the store and the queue."""

    def __init__(self, site: Site, broker: Broker) -> None:
        self._site = site
        self._broker = broker
        asks = {"database": self._database, "store": self._store, "queue": self._queue}
        self._probes = {name: Probe(name, ask) for name, ask in asks.items()}
        self.routes = [Route("/healthz", self.alive), Route("/readyz", self.ready)]

    async def alive(self, request: Request) -> Response:
        return JSONResponse({"status": "alive"}, headers={"Cache-Control": "no-store"})

    async def ready(self, request: Request) -> Response:
        answers = await asyncio.gather(*(probe.answer() for probe in self._probes.values()))
        results = dict(zip(self._probes, answers, strict=True))
        ready = all(result == "ok" for result in results.values())
        return JSONResponse(results, 200 if ready else 503, {"Cache-Control": "no-store"})

    def _database(self) -> str:
        return "ok" if is_current(self._site.catalog) else "not migrated: run `packshot migrate`"

    def _store(self) -> str:
        # Any answer but an error will do; there is no such object.
        self._site.variants.head("readyz/probe")
        return "ok"

    def _queue(self) -> str:
        return "ok" if is_reachable(self._broker) else "no answer"
