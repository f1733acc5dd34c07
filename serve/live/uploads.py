"""Uploading live images: a token for one of them, and its bytes with that."""

import json

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from packshot.errors import Invalid, TooLarge
from packshot.site import Site
from packshot.variants.live_request import parse_upload_crop
from pregen.bell import Bell
from resolvers import live
from resolvers.caller import Caller, Scope
from schema.threads import Threads
from serve.auth import Gate, Unauthenticated, address_of_client, origin, tenant_of_host
from serve.forms import MOST_FIELD_BYTES, Form
from serve.problems import problem
from serve.receiving import announced_bytes, check_json, read_body, receive

TOKEN_HEADER = "X-Token"  # noqa: S105
FILE = "image"
MOST_BODY_BYTES = 1 << 16
_BODY = '{"id": "holiday"}'


class LiveUploads:
    """Two endpoints: tokens for who may give them out, and one image's bytes for who has one."""

    def __init__(self, site: Site, gate: Gate, bell: Bell, threads: Threads) -> None:
        self._site = site
        self._gate = gate
        self._bell = bell
        self._threads = threads

    async def create_token(self, request: Request) -> Response:
        """Answer with a token for one image, to a trusted address or a token that may upload."""
        tenant = self._tenant(request)
        try:
            await self._admit(request, tenant)
        except Unauthenticated:
            return problem(
                401,
                "Tokens are not given to everybody.",
                headers={"WWW-Authenticate": 'Bearer realm="packshot"'},
                code="UNAUTHENTICATED",
                expected=f"a client in PACKSHOT_TRUSTED_IPS, or a bearer token with the scope {Scope.UPLOADS_WRITE}",
            )
        image_id = _read_id(await read_body(request, MOST_BODY_BYTES))
        token = await self._threads.receiving.run(live.create_token, self._site, tenant, image_id, tenant=tenant)
        # Not for scripts of other sites: a page that somebody near looks at must not read what is for servers.
        return JSONResponse({"token": token}, headers={"Cache-Control": "no-store"})

    async def _admit(self, request: Request, tenant: str) -> None:
        if "authorization" in request.headers or not self._gate.is_near(request):
            caller = await self._gate.admit(request, tenant=tenant)
            caller.check(Scope.UPLOADS_WRITE)
            return
        self._gate.check_near(request)
        # Programs may leave it out; a browser that does so still names the page that it acts for.
        check_json(request, may_be_unsaid=True)

    async def upload(self, request: Request) -> Response:
        """Take an image as the part `image` of a form. The token is used up even if the attempt fails."""
        self._gate.check_secure(request)
        tenant, name = self._tenant(request), request.path_params["name"]
        token = request.headers.get(TOKEN_HEADER, "")
        try:
            upload = await self._threads.receiving.run(live.use_token, self._site, tenant, name, token, tenant=tenant)
        except live.WrongToken:
            if token:
                self._gate.backoff.failed(address_of_client(request))
            raise
        crop = parse_upload_crop(request.scope["query_string"].decode("latin-1"))
        if announced_bytes(request) > upload.max_bytes + MOST_FIELD_BYTES:
            raise TooLarge("More bytes came than may come.", expected=f"at most {upload.max_bytes}")
        form = Form(request, FILE)
        await form.fields()
        caller = Caller(self._site, self._bell, tenant, "live upload", origin(self._site, request, tenant), frozenset())
        async with receive(form.file(), self._site.incoming, most=upload.max_bytes) as path:
            size = await self._threads.rendering.run(live.create_image, caller, upload, path, crop, tenant=tenant)
        done = {"status": "OK", "id": upload.image_id, "original_height": size.height, "original_width": size.width}
        return JSONResponse(done, headers={"Cache-Control": "no-store", "Access-Control-Allow-Origin": "*"})

    def _tenant(self, request: Request) -> str:
        return tenant_of_host(self._site, request) or self._site.settings.tenant


def _read_id(body: bytes) -> str:
    """Return the id that a body names; clients that count their images send a number."""
    try:
        said = json.loads(body)
    except (ValueError, RecursionError):
        raise Invalid("The body is no JSON.", expected=_BODY) from None
    image_id = said.get("id") if isinstance(said, dict) else None
    if isinstance(image_id, bool) or not isinstance(image_id, str | int):
        raise Invalid("The body names no image.", field=("id",), expected=_BODY)
    return str(image_id)
