"""Uploading live images: a token for one of them, and its bytes with that."""

import json
from collections.abc import Callable
from hmac import compare_digest

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from packshot.catalog.clients.uploads import Upload
from packshot.errors import Invalid, TooLarge
from packshot.site import Site
from packshot.variants.live_request import parse_upload_crop
from pregen.queue.doorbell import Doorbell
from resolvers import live
from resolvers.caller import Caller, Scope
from schema.request.threads import Threads
from serve.http.auth import Authenticator, Unauthenticated, address_of_client, origin, tenant_of_host
from serve.http.multipart import MAX_FIELD_BYTES, Form
from serve.http.problems import problem
from serve.http.upload_stream import announced_bytes, check_json, read_body, receive

TOKEN_HEADER = "X-Token"  # noqa: S105
FILE = "image"
MAX_BODY_BYTES = 1 << 16
_BODY = '{"id": "holiday"}'


class LiveUploads:
    """Two endpoints: tokens for who may give them out, and one image's bytes for who has one."""

    def __init__(self, site: Site, authenticator: Authenticator, doorbell: Doorbell, threads: Threads) -> None:
        self._site = site
        self._authenticator = authenticator
        self._doorbell = doorbell
        self._threads = threads

    async def create_token(self, request: Request) -> Response:
        """Answer with a token for one image, to a trusted address or a token that may upload."""
        tenant = self._tenant(request)
        try:
            body = await self._admit(request, tenant)
        except Unauthenticated:
            return problem(
                401,
                "Tokens are not given to everybody.",
                headers={"WWW-Authenticate": 'Bearer realm="packshot"'},
                code="UNAUTHENTICATED",
                expected="a client in PACKSHOT_TRUSTED_IPS, a bearer token with the scope"
                f" {Scope.UPLOADS_WRITE}, or the secret of this installation",
            )
        image_id = _read_id(body)
        token = await self._threads.receiving.run(live.create_token, self._site, tenant, image_id, tenant=tenant)
        # Not for scripts of other sites: a page that somebody near looks at must not read what is for servers.
        return JSONResponse({"token": token}, headers={"Cache-Control": "no-store"})

    async def _admit(self, request: Request, tenant: str) -> bytes:
        """Return the body of a request that may be answered with a token: by its header, its secret or its address.

        Raises:
            Unauthenticated: no credentials, or wrong ones.
            PackshotError, Insecure, ThreadsBusy: see `Authenticator.admit` and `Authenticator.check_near`.
        """
        if "authorization" in request.headers:
            await self._check_token(request, None, tenant)
            return await read_body(request, MAX_BODY_BYTES)
        self._authenticator.check_secure(request)
        is_near = self._authenticator.is_near(request)
        body = await read_body(request, MAX_BODY_BYTES)
        secret, known = _read_secret(body), self._site.settings.live_token_secret
        if secret is not None and known is not None:
            self._check_secret(request, secret, known.get_secret_value())
        elif is_near:
            # The old service ignores a secret, too, where it has none itself.
            self._authenticator.check_near(request)
            # Programs may leave it out; a browser that does so still names the page that it acts for.
            check_json(request, may_be_unsaid=True)
        else:
            await self._check_token(request, None if secret is None else f"Bearer {secret}", tenant)
        return body

    async def _check_token(self, request: Request, authorization: str | None, tenant: str) -> None:
        caller = await self._authenticator.authenticate(request, authorization, tenant=tenant)
        caller.check(Scope.UPLOADS_WRITE)

    def _check_secret(self, request: Request, secret: str, known: str) -> None:
        # It may be a short one, so an address may not try many of them, right or wrong.
        address = address_of_client(request)
        self._authenticator.backoff.check(address)
        if not compare_digest(secret.encode("utf-8", "surrogatepass"), known.encode()):
            self._authenticator.backoff.failed(address)
            raise Unauthenticated
        self._authenticator.backoff.passed(address)

    async def upload(self, request: Request) -> Response:
        """Take an image as the part `image` of a form.

        The attempt begins with the image's first byte. What can be refused before leaves the token good.
        """
        self._authenticator.check_secure(request)
        tenant, name = self._tenant(request), request.path_params["name"]
        token = request.headers.get(TOKEN_HEADER, "")
        upload = await self._open(live.check_token, request, tenant, name, token)
        crop = parse_upload_crop(request.scope["query_string"].decode("latin-1"))
        if announced_bytes(request) > upload.max_bytes + MAX_FIELD_BYTES:
            raise TooLarge("More bytes came than may come.", expected=f"at most {upload.max_bytes}")
        form = Form(request, FILE)
        await form.fields()
        upload = await self._open(live.use_token, request, tenant, name, token)
        caller = Caller(
            self._site, self._doorbell, tenant, "live upload", origin(self._site, request, tenant), frozenset()
        )
        async with receive(form.file(), self._site.incoming, most=upload.max_bytes) as path:
            size = await self._threads.rendering.run(live.create_image, caller, upload, path, crop, tenant=tenant)
        done = {"status": "OK", "id": upload.image_id, "original_height": size.height, "original_width": size.width}
        return JSONResponse(done, headers={"Cache-Control": "no-store", "Access-Control-Allow-Origin": "*"})

    async def _open(self, act: Callable[..., Upload], request: Request, tenant: str, name: str, token: str) -> Upload:
        try:
            return await self._threads.receiving.run(act, self._site, tenant, name, token, tenant=tenant)
        except live.WrongToken:
            if token:
                self._authenticator.backoff.failed(address_of_client(request))
            raise

    def _tenant(self, request: Request) -> str:
        return tenant_of_host(self._site, request) or self._site.settings.tenant


def _read_secret(body: bytes) -> str | None:
    """Return the secret that a body names; None: none."""
    try:
        said = json.loads(body)
    except (ValueError, RecursionError):
        return None
    secret = said.get("secret") if isinstance(said, dict) else None
    return secret if isinstance(secret, str) else None


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
