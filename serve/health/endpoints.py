"""Liveness, and readiness of every part on which the application depends."""

import asyncio
import logging
import time
from collections.abc import Callable, Iterator
from functools import partial

import anyio
import anyio.to_thread
from dramatiq import Broker
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from packshot import faults
from packshot.site import Site
from packshot.storage.write_check import WriteCheck
from serve.health import checks
from serve.health.findings import Finding, Problem, Status, problem_of
from serve.http.jwks import KeySet

# Seconds after which a running check counts as failed.
PATIENCE_SECONDS = 5.0
# Seconds that a response waits for the check of a soft dependency: with a recent finding, and without one.
SOFT_PATIENCE_SECONDS = 0.5
RECENT_SECONDS = 15.0
FIRST_PATIENCE_SECONDS = 3.0
# Seconds for which a finding is reused. Cheap checks run often; so do failing ones, to show a recovery soon.
CHEAP_SECONDS, FAILING_SECONDS = 1.0, 2.0
WRITE_SECONDS = 3.0
# Requests to a remote store or a CDN may cost money.
REMOTE_READ_SECONDS, REMOTE_WRITE_SECONDS = 5.0, 20.0
CDN_SECONDS = RENDERING_SECONDS = 30.0

log = logging.getLogger(__name__)


class Probe:
    """Checks one part in a thread of its own, and reuses the finding for a while.

    Concurrent requests share one check. So neither many requests nor a silent part use up threads.

    Args:
        part: the name of the part.
        check: returns the finding, or raises the part's exception.
        seconds: how long a finding is reused.
    """

    def __init__(self, part: str, check: Callable[[], Finding], *, seconds: float, is_hard: bool = False) -> None:
        self.part = part
        self.is_hard = is_hard
        self._check = check
        self._seconds = seconds
        self._limiter = anyio.CapacityLimiter(1)
        self._checking: asyncio.Task[Finding] | None = None
        self._found: Finding | None = None
        self._found_until = self._began = 0.0
        self._status = Status.OK

    async def finding(self) -> Finding:
        """Return a recent finding, or check now."""
        if self._found is not None and time.monotonic() < self._found_until:
            return self._found
        if self._checking is None or self._checking.done():
            self._checking, self._began = asyncio.create_task(self._run()), time.monotonic()
        checking, left = self._checking, self._began + PATIENCE_SECONDS - time.monotonic()
        is_recent = self._found is not None and time.monotonic() < self._found_until + RECENT_SECONDS
        patience = SOFT_PATIENCE_SECONDS if is_recent else FIRST_PATIENCE_SECONDS
        done, _ = await asyncio.wait({checking}, timeout=max(0.0, left if self.is_hard else min(left, patience)))
        if done:
            return checking.result()
        if time.monotonic() >= self._began + PATIENCE_SECONDS:
            return self._unchecked(f"no answer within {PATIENCE_SECONDS:g} seconds", Status.FAILING)
        if self._found is not None and is_recent:
            return self._found
        return self._unchecked("not known yet", Status.DEGRADED)

    async def _run(self) -> Finding:
        found = await anyio.to_thread.run_sync(self._look, limiter=self._limiter)
        self._found = found
        soon = found.status is not Status.OK
        self._found_until = time.monotonic() + (min(self._seconds, FAILING_SECONDS) if soon else self._seconds)
        return found

    def _look(self) -> Finding:
        try:
            found = self._check()
        except Exception as error:  # noqa: BLE001 - any exception is the finding
            # `/readyz` is public, and the exception's text may name hosts and users: it goes to the log only.
            problem = problem_of(error)
            if problem.is_unforeseen:
                faults.count(log, error, "a check failed")
            found = Finding(self.part, problems=(problem,), is_hard=self.is_hard)
        self._log(found)
        return found

    def _log(self, found: Finding) -> None:
        """Log each change between working and failing once."""
        if found.status is self._status:
            return
        self._status = found.status
        if found.problems:
            log.warning("%s is %s: %s", self.part, found.status, "; ".join(map(str, found.problems)))
        else:
            log.warning("%s works again", self.part)

    def _unchecked(self, reason: str, status: Status) -> Finding:
        problem = Problem(reason, "read the log of this process", status)
        return Finding(self.part, problems=(problem,), is_hard=self.is_hard)


class Health:
    """`/healthz` checks nothing; `/readyz` checks every part, and fails if a hard dependency fails."""

    def __init__(self, site: Site, broker: Broker, keys: KeySet | None) -> None:
        self._probes = list(_probes(site, broker, keys))
        self.routes = [Route("/healthz", self.alive), Route("/readyz", self.ready)]

    async def alive(self, request: Request) -> Response:
        return JSONResponse({"status": "alive"}, headers={"Cache-Control": "no-store"})

    async def live(self, request: Request) -> Response:
        """Answer `/_health` of live resize: `OK` unless a hard dependency fails."""
        is_ready = _is_ready(await self._findings())
        text = "OK" if is_ready else "Not ready, see /readyz"
        return PlainTextResponse(text, 200 if is_ready else 503, {"Cache-Control": "no-store"})

    async def _findings(self) -> list[Finding]:
        return await asyncio.gather(*(probe.finding() for probe in self._probes))

    async def ready(self, request: Request) -> Response:
        found = await self._findings()
        is_ready = _is_ready(found)
        is_whole = all(each.status is Status.OK for each in found)
        body = {
            "status": "ready" if is_whole else "degraded" if is_ready else "unavailable",
            "dependencies": {each.part: _document(each) for each in found},
        }
        return JSONResponse(body, 200 if is_ready else 503, {"Cache-Control": "no-store"})


def _is_ready(found: list[Finding]) -> bool:
    return not any(each.is_hard and each.status is Status.FAILING for each in found)


def _document(found: Finding) -> dict[str, str | None]:
    reasons = "; ".join(problem.reason for problem in found.problems)
    return {"status": found.status.value, "kind": "hard" if found.is_hard else "soft", "reason": reasons or None}


def _probes(site: Site, broker: Broker, keys: KeySet | None) -> Iterator[Probe]:
    """Yield a probe for each part.

    A dependency is hard only if no image can be served without it. While a soft one fails, stored variants are still
    served; a load balancer that takes the application out of service would stop them too.
    """
    catalog, stores = site.catalog, site.stores
    is_local = site.settings.s3_bucket_variants is None
    read_seconds = CHEAP_SECONDS if is_local else REMOTE_READ_SECONDS
    write_seconds = WRITE_SECONDS if is_local else REMOTE_WRITE_SECONDS
    yield Probe("database", partial(checks.check_database, catalog), seconds=CHEAP_SECONDS, is_hard=True)
    yield Probe("database_writes", partial(checks.check_database_writes, catalog), seconds=WRITE_SECONDS)
    yield Probe(
        "variants", partial(checks.check_reading, "variants", stores["variants"]), seconds=read_seconds, is_hard=True
    )
    for name, store in stores.items():
        part = "variants_writes" if name == "variants" else name.replace(" ", "_")
        yield Probe(part, partial(checks.check_writing, part, WriteCheck(store)), seconds=write_seconds)
    yield Probe("queue", partial(checks.check_queue, broker), seconds=FAILING_SECONDS)
    yield Probe("workers", partial(checks.check_workers, catalog), seconds=CHEAP_SECONDS)
    yield Probe("rendering", partial(checks.check_rendering, site.renderer), seconds=RENDERING_SECONDS)
    yield Probe("cdn", partial(checks.check_cdn, site.purger), seconds=CDN_SECONDS)
    if keys is not None:
        yield Probe("keys", partial(checks.check_keys, keys), seconds=CHEAP_SECONDS)
    space = partial(checks.check_space, "data_folder", site.settings.data)
    yield Probe("data_folder", space, seconds=CHEAP_SECONDS)
    yield Probe("temporary_folder", checks.check_temporary_space, seconds=CHEAP_SECONDS)
