"""Receiving uploads: straight to disk, never whole in memory, never more than announced."""

import secrets
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from packshot.catalog.uploads import Upload
from packshot.errors import TooLarge
from packshot.site import Site
from resolvers import uploads
from resolvers.urls import UPLOAD_TOKEN_HEADER
from serve.auth import Gate, tenant_of_host

THREADS = 16


class Uploads:
    """One endpoint: the raw body of one upload, by PUT, with its one-time token."""

    def __init__(self, site: Site, gate: Gate) -> None:
        self._site = site
        self._gate = gate
        # A store that is silent may hold these threads, but none that the admin side needs.
        self._threads = anyio.CapacityLimiter(THREADS)
        self.routes = [Route("/uploads/{id}", self.receive, methods=["PUT"])]

    async def receive(self, request: Request) -> Response:
        """Take an upload's bytes. The token is used up even if the attempt fails."""
        self._gate.check_secure(request)
        tenant = tenant_of_host(self._site, request) or self._site.settings.tenant
        upload_id, token = request.path_params["id"], request.headers.get(UPLOAD_TOKEN_HEADER, "")
        upload = await self._run(uploads.begin_upload, tenant, upload_id, token)
        path = self._site.incoming / secrets.token_hex(16)
        try:
            await self._write(request, upload, path)
            done = await self._run(uploads.finish_upload, tenant, upload, path)
        except BaseException:
            # Cancelled or refused: either way the one attempt is over, and says so.
            with anyio.CancelScope(shield=True):
                await self._run(uploads.fail_upload, tenant, upload_id)
            raise
        finally:
            path.unlink(missing_ok=True)
        return JSONResponse({"id": done.id, "bytes": done.bytes, "sha256": done.sha256})

    async def _run(self, act: Callable[..., Upload | None], *args: Any) -> Any:
        return await anyio.to_thread.run_sync(partial(act, self._site, *args), limiter=self._threads)

    async def _write(self, request: Request, upload: Upload, path: Path) -> None:
        announced = request.headers.get("content-length")
        if announced is not None and int(announced) > upload.max_bytes:
            raise _too_large(upload, announced)
        received = 0
        async with await anyio.open_file(path, "xb") as file:
            async for chunk in request.stream():
                received += len(chunk)
                if received > upload.max_bytes:
                    raise _too_large(upload, f"more than {upload.max_bytes}")
                await file.write(chunk)


def _too_large(upload: Upload, got: str) -> TooLarge:
    return TooLarge(
        "More bytes came than were announced.", field=("bytes",), expected=f"at most {upload.max_bytes}", got=got
    )
