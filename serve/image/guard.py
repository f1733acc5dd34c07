"""Check access keys and signed URLs before the image endpoints run."""

import re
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace
from hmac import compare_digest
from typing import TypeAlias

import anyio
import anyio.to_thread
from starlette.requests import Request
from starlette.responses import Response

from packshot.errors import Forbidden, Invalid, PackshotError
from packshot.security.access_policy import TenantAccess, digest_of, is_signed
from packshot.site import Site
from packshot.variants.request import split_query
from resolvers.urls.build import Urls, tenant_urls
from resolvers.urls.parse import Address
from serve.http import problems
from serve.http.auth import address_of, origin
from serve.image.caching import PRIVATE
from serve.image.explain import Explainer

Endpoint: TypeAlias = Callable[[Request, Address, Urls], Awaitable[Response]]

HEADERS = ("x-packshot-access-key", "x-vimond-access-key")
EXPECTED = "the header X-Packshot-Access-Key, the parameter access-key, or a URL signed with expires and signature"
_EXPIRES = re.compile(r"[1-9][0-9]{0,11}")
THREADS = 4


class AccessGuard:
    """Protects image endpoints, and gives them the parsed address and the URL builder of each request.

    Keys are checked before anything stored is read, so that a client without a key learns nothing, not even which packs
    exist.
    """

    def __init__(self, site: Site, explainer: Explainer) -> None:
        self._site = site
        self._explainer = explainer
        self._threads = anyio.CapacityLimiter(THREADS)

    def is_open(self, tenant: str) -> bool:
        """Whether the tenant requires no access key, as far as the policy in memory is recent."""
        access_policy = self._site.access_policy
        return access_policy.is_fresh and access_policy.find(tenant) is None

    def protect(self, endpoint: Endpoint) -> Callable[[Request], Awaitable[Response]]:
        async def guarded(request: Request) -> Response:
            address = address_of(self._site, request)
            if not self._site.access_policy.is_fresh:
                await anyio.to_thread.run_sync(self._site.access_policy.look, limiter=self._threads)
            signing = self._site.access_policy.find_signing(address.tenant)
            if signing is not None:
                address = replace(address, opened=is_opened(signing, request, address))
            if (explained := await self._explainer.answer(request, address)) is not None:
                return explained
            door = self._site.access_policy.find(address.tenant)
            until = None
            if door is not None or address.opened:
                assert signing is not None
                until = check(signing, request, address)
            urls = tenant_urls(self._site, origin(self._site, request, address.tenant), address.tenant, until=until)
            if door is None:
                return await endpoint(request, address, urls)
            try:
                answer = await endpoint(request, address, urls)
            except PackshotError as error:
                answer = await problems.refuse(request, error)
            answer.headers["Cache-Control"] = PRIVATE
            return answer

        return guarded


def is_opened(door: TenantAccess, request: Request, address: Address) -> bool:
    """Whether a request has a valid access key or a valid, unexpired signature."""
    try:
        check(door, request, address)
    except Forbidden:
        return False
    return True


def check(door: TenantAccess, request: Request, address: Address) -> int | None:
    """Check the access key or signature of a request. Return when its signed URL expires; None: never.

    Raises:
        Forbidden: both are missing or wrong, or the URL has expired. The message does not mention which keys exist.
    """
    given = _parameters(request, address)
    shown = [request.headers[name] for name in HEADERS if name in request.headers]
    shown += [given["access-key"]] if "access-key" in given else []
    if any(_opens(door, secret) for secret in shown):
        return None
    expires, signature = given.get("expires", ""), given.get("signature", "")
    # Every key is tried, so that the duration reveals nothing.
    signed = [is_signed(key, address.tenant, address.path, address.query, expires, signature) for key in door.signing]
    if not any(signed) or not _EXPIRES.fullmatch(expires):
        raise Forbidden("These images require an access key.", expected=EXPECTED)
    if int(expires) <= time.time():
        raise Forbidden("This URL has expired.", field=("expires",), expected="a moment in the future, signed again")
    return int(expires)


def _parameters(request: Request, address: Address) -> dict[str, str]:
    try:
        return split_query(request.scope["query_string"].decode("latin-1"))
    except Invalid:
        # The query of a stable URL was parsed before. An immutable URL has no parameters that could be wrong.
        assert address.key is not None
        return {}


def _opens(door: TenantAccess, secret: str) -> bool:
    digest = digest_of(secret)
    return any(compare_digest(digest, known) for known in door.digests)
