"""Take uploads of live images: issue a token for one image, then receive its bytes."""

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
from resolvers import live_resize
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
    """Two endpoints: one issues upload tokens, the other takes an image from a client with a token."""

    def __init__(self, site: Site, authenticator: Authenticator, doorbell: Doorbell, threads: Threads) -> None:
        self._site = site
        self._authenticator = authenticator
        self._doorbell = doorbell
        self._threads = threads

    async def create_token(self, request: Request) -> Response:
        """Answer with a token for one image. The client must be trusted by address or be allowed to upload."""
        tenant = self._tenant(request)
        try:
            body = await self._admit(request, tenant)
        except Unauthenticated:
            return problem(
                401,
                "Upload tokens need credentials.",
                headers={"WWW-Authenticate": 'Bearer realm="packshot"'},
                code="UNAUTHENTICATED",
                expected="a client in PACKSHOT_TRUSTED_IPS, a bearer token with the scope"
                f" {Scope.UPLOADS_WRITE}, or the secret of this installation",
            )
        image_id = _read_id(body)
        token = await self._threads.receiving.run(live_resize.create_token, self._site, tenant, image_id, tenant=tenant)
        # Without CORS headers, so that no script of another site can read a token through a trusted browser.
        return JSONResponse({"token": token}, headers={"Cache-Control": "no-store"})

    async def _admit(self, request: Request, tenant: str) -> bytes:
        """Authenticate a token request by its header, its secret or its address, and return its body.

        Raises:
            Unauthenticated: the credentials are missing or wrong.
            PackshotError, Insecure, ThreadsBusy: see `Authenticator.authenticate` and `Authenticator.check_trusted`.
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
            # The old service, too, ignores a secret if it has none itself.
            self._authenticator.check_near(request)
            # Programs may omit the media type. A browser that omits it still names its page.
            check_json(request, may_be_unsaid=True)
        else:
            await self._check_token(request, None if secret is None else f"Bearer {secret}", tenant)
        return body

    async def _check_token(self, request: Request, authorization: str | None, tenant: str) -> None:
        caller = await self._authenticator.authenticate(request, authorization, tenant=tenant)
        caller.check(Scope.UPLOADS_WRITE)

    def _check_secret(self, request: Request, secret: str, known: str) -> None:
        # A secret may be short, so each address has a limited number of attempts.
        address = address_of_client(request)
        self._authenticator.backoff.check(address)
        if not compare_digest(secret.encode("utf-8", "surrogatepass"), known.encode()):
            self._authenticator.backoff.failed(address)
            raise Unauthenticated
        self._authenticator.backoff.passed(address)

    async def upload(self, request: Request) -> Response:
        """Take an image as the part `image` of a form.

        The token is used up with the image's first byte. A refusal before that leaves it valid.
        """
        self._authenticator.check_secure(request)
        tenant, name = self._tenant(request), request.path_params["name"]
        token = request.headers.get(TOKEN_HEADER, "")
        upload = await self._open(live_resize.check_token, request, tenant, name, token)
        crop = parse_upload_crop(request.scope["query_string"].decode("latin-1"))
        if announced_bytes(request) > upload.max_bytes + MAX_FIELD_BYTES:
            raise TooLarge("The body is too large.", expected=f"at most {upload.max_bytes} bytes")
        form = Form(request, FILE)
        await form.fields()
        upload = await self._open(live_resize.use_token, request, tenant, name, token)
        caller = Caller(
            self._site, self._doorbell, tenant, "live upload", origin(self._site, request, tenant), frozenset()
        )
        async with receive(form.file(), self._site.incoming, most=upload.max_bytes) as path:
            size = await self._threads.rendering.run(
                live_resize.create_image, caller, upload, path, crop, tenant=tenant
            )
        done = {"status": "OK", "id": upload.image_id, "original_height": size.height, "original_width": size.width}
        return JSONResponse(done, headers={"Cache-Control": "no-store", "Access-Control-Allow-Origin": "*"})

    async def _open(self, act: Callable[..., Upload], request: Request, tenant: str, name: str, token: str) -> Upload:
        try:
            return await self._threads.receiving.run(act, self._site, tenant, name, token, tenant=tenant)
        except live_resize.WrongToken:
            if token:
                self._authenticator.backoff.failed(address_of_client(request))
            raise

    def _tenant(self, request: Request) -> str:
        return tenant_of_host(self._site, request) or self._site.settings.tenant


def _read_secret(body: bytes) -> str | None:
    """Return the secret in a body; None: the body has none."""
    try:
        said = json.loads(body)
    except (ValueError, RecursionError):
        return None
    secret = said.get("secret") if isinstance(said, dict) else None
    return secret if isinstance(secret, str) else None


def _read_id(body: bytes) -> str:
    """Return the image id in a body. Clients that number their images send an integer."""
    try:
        said = json.loads(body)
    except (ValueError, RecursionError):
        raise Invalid("The body is not JSON.", expected=_BODY) from None
    image_id = said.get("id") if isinstance(said, dict) else None
    if isinstance(image_id, bool) or not isinstance(image_id, str | int):
        raise Invalid("The body has no image id.", field=("id",), expected=_BODY)
    return str(image_id)
