"""Receive announced uploads, each with its one-time token."""

from collections.abc import AsyncIterator, Callable
from functools import partial
from typing import Any

import anyio
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from packshot.catalog.clients.uploads import Upload
from packshot.errors import Invalid, NotFound
from packshot.site import Site
from resolvers import uploads
from resolvers.urls.build import UPLOAD_TOKEN_FIELD, UPLOAD_TOKEN_HEADER
from schema.request.threads import Threads
from serve.http.auth import Authenticator, address_of_client, tenant_of_host
from serve.http.multipart import MAX_FIELD_BYTES, MAX_SHOWN_CHARACTERS, Form
from serve.http.upload_stream import announced_bytes, receive


class Uploads:
    """One endpoint: receives one upload with its one-time token. The body is raw for PUT, a form for POST."""

    def __init__(self, site: Site, authenticator: Authenticator, threads: Threads) -> None:
        self._site = site
        self._authenticator = authenticator
        self._threads = threads.receiving
        path = "/uploads/{tenant}/{id}"
        self.routes = [Route(path, self.put, methods=["PUT"]), Route(path, self.post, methods=["POST"])]

    async def put(self, request: Request) -> Response:
        """Receive an upload as a raw body. The token is used up even if the attempt fails."""
        self._authenticator.check_secure(request)
        announced = announced_bytes(request)
        upload = await self._begin(request, request.headers.get(UPLOAD_TOKEN_HEADER, ""), announced)
        return await self._receive(request, upload, request.stream())

    async def post(self, request: Request) -> Response:
        """Receive an upload as the file of a form, with the token in a field before it."""
        self._authenticator.check_secure(request)
        form = Form(request)
        fields = await form.fields()
        announced = announced_bytes(request) - MAX_FIELD_BYTES
        if UPLOAD_TOKEN_FIELD not in fields:
            got = f"before the file: {', '.join(fields)[:MAX_SHOWN_CHARACTERS] or 'nothing'}"
            raise Invalid(
                "The form has no token field before its file.",
                field=(UPLOAD_TOKEN_FIELD,),
                expected=f"the field {UPLOAD_TOKEN_FIELD!r}, then the part 'file'",
                got=got,
            )
        upload = await self._begin(request, fields[UPLOAD_TOKEN_FIELD], announced)
        return await self._receive(request, upload, form.file())

    async def _begin(self, request: Request, token: str, announced: int) -> Upload:
        tenant, upload_id = request.path_params["tenant"], request.path_params["id"]
        if tenant_of_host(self._site, request) not in (None, tenant):
            raise NotFound(
                "There is no such upload.", field=("upload_id",), expected="an upload and its token", got=upload_id
            )
        try:
            begun: Upload = await self._run(
                partial(uploads.begin_upload, announced=announced), tenant, upload_id, token
            )
        except NotFound:
            self._authenticator.backoff.failed(address_of_client(request))
            raise
        return begun

    async def _receive(self, request: Request, upload: Upload, chunks: AsyncIterator[bytes]) -> Response:
        tenant = request.path_params["tenant"]
        try:
            async with receive(chunks, self._site.incoming, most=upload.max_bytes) as path:
                done = await self._run(uploads.finish_upload, tenant, upload, path)
        except BaseException:
            # Also when the request is cancelled: the only attempt is over, and the upload records it.
            with anyio.CancelScope(shield=True):
                await self._run(uploads.fail_upload, tenant, upload.id)
            raise
        return JSONResponse({"id": done.id, "bytes": done.bytes, "sha256": done.sha256})

    async def _run(self, act: Callable[..., Upload | None], *args: Any) -> Any:
        # The first of `args` is the tenant.
        return await self._threads.run(act, self._site, *args, tenant=args[0])
