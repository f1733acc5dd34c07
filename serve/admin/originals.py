"""Originals for editors: by a URL that expires soon, and never through a shared cache."""

import anyio
import anyio.to_thread
from starlette.requests import Request
from starlette.responses import FileResponse, Response, StreamingResponse
from starlette.routing import Route

from packshot.errors import NotFound
from packshot.site import Site, original_key
from packshot.storage.base import NoSuchObject
from resolvers import originals
from serve.http.auth import Authenticator, tenant_of_host
from serve.image.object_stream import read_chunks

THREADS = 8
HEADERS = {
    "Content-Disposition": originals.DISPOSITION,
    "Cache-Control": originals.CACHE_CONTROL,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
}


class Originals:
    """One endpoint: the bytes of one original, for stores that cannot serve clients themselves."""

    def __init__(self, site: Site, authenticator: Authenticator) -> None:
        self._site = site
        self._authenticator = authenticator
        self._threads = anyio.CapacityLimiter(THREADS)
        self.routes = [Route("/originals/{tenant}/{sha256}", self.send, methods=["GET"])]

    async def send(self, request: Request) -> Response:
        """Answer with the bytes and the media type of the upload."""
        self._authenticator.check_secure(request)
        tenant, sha256 = request.path_params["tenant"], request.path_params["sha256"]
        absent = NotFound("There is no such original.", expected="an original of this tenant", got=sha256)
        if tenant_of_host(self._site, request) not in (None, tenant):
            raise absent
        expires, signature = (request.query_params.get(name, "") for name in ("expires", "signature"))
        original = await anyio.to_thread.run_sync(
            originals.open_original, self._site, tenant, sha256, expires, signature, limiter=self._threads
        )
        key = original_key(tenant, sha256)
        path = await anyio.to_thread.run_sync(self._site.originals.local_path, key, limiter=self._threads)
        if path is not None:
            return FileResponse(path, headers=HEADERS, media_type=original.media_type)
        try:
            opened = await anyio.to_thread.run_sync(self._site.originals.open, key, limiter=self._threads)
        except NoSuchObject:
            raise absent from None
        headers = HEADERS | {"Content-Length": str(opened.stored.size), "Content-Type": original.media_type}
        return StreamingResponse(read_chunks(opened, range(opened.stored.size), self._threads), headers=headers)
