"""Reports: the failures of a job as CSV, by a URL that expires soon."""

from collections.abc import AsyncIterator, Iterator

import anyio
import anyio.to_thread
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from packshot.errors import NotFound
from packshot.site import Site
from resolvers import reports
from serve.http.auth import Authenticator, tenant_of_host

THREADS = 4


class Reports:
    """One endpoint: the failures of one job."""

    def __init__(self, site: Site, authenticator: Authenticator) -> None:
        self._site = site
        self._authenticator = authenticator
        self._threads = anyio.CapacityLimiter(THREADS)
        self.routes = [Route("/reports/{tenant}/{job}.csv", self.send, methods=["GET"])]

    async def send(self, request: Request) -> Response:
        """Answer with the job's current failures, streamed without a limit of their number."""
        self._authenticator.check_secure(request)
        tenant, job = request.path_params["tenant"], request.path_params["job"]
        if tenant_of_host(self._site, request) not in (None, tenant):
            raise NotFound("There is no such report.", expected="a new URL from `Job.reportUrl`")
        expires, signature = (request.query_params.get(name, "") for name in ("expires", "signature"))
        pieces = await anyio.to_thread.run_sync(
            reports.open_report, self._site, tenant, job, expires, signature, limiter=self._threads
        )
        headers = {
            "Cache-Control": "private, no-store",
            "Content-Disposition": f'attachment; filename="job-{job}.csv"',
            "X-Content-Type-Options": "nosniff",
            "Referrer-Policy": "no-referrer",
        }
        return StreamingResponse(self._read(pieces), headers=headers, media_type="text/csv; charset=utf-8")

    async def _read(self, pieces: Iterator[str]) -> AsyncIterator[str]:
        while (piece := await anyio.to_thread.run_sync(next, pieces, None, limiter=self._threads)) is not None:
            yield piece
