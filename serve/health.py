"""Whether the process is alive, and whether what it needs answers."""

import logging

import anyio.to_thread
from dramatiq import Broker
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from packshot.catalog.migrate import is_current
from packshot.site import Site
from pregen.queue import is_reachable

log = logging.getLogger(__name__)


class Health:
    """`/healthz` touches nothing; `/readyz` asks the database, the store and the queue."""

    def __init__(self, site: Site, broker: Broker) -> None:
        self._site = site
        self._broker = broker
        self.routes = [Route("/healthz", self.alive), Route("/readyz", self.ready)]

    async def alive(self, request: Request) -> Response:
        return JSONResponse({"status": "alive"}, headers={"Cache-Control": "no-store"})

    async def ready(self, request: Request) -> Response:
        checks = {"database": self._database, "store": self._store, "queue": self._queue}
        results = {}
        for name, check in checks.items():
            try:
                results[name] = await anyio.to_thread.run_sync(check)
            except Exception:
                # Anybody may ask, and the text may name hosts and users: it is for the log.
                log.exception("the %s is not ready", name)
                results[name] = "no answer; the log says why"
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
