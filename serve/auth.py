"""Who is asking: the bearer token of the admin side."""

import hmac

from starlette.requests import Request

from packshot.site import Site
from pregen.bell import Bell
from resolvers.caller import Caller


class Unauthenticated(Exception):
    """No bearer token came with the request, or a wrong one."""


class Gate:
    """Lets callers with the admin token in."""

    def __init__(self, site: Site, bell: Bell, token: str) -> None:
        self._site = site
        self._bell = bell
        self._token = token

    def admit(self, request: Request) -> Caller:
        """Return the caller.

        Raises:
            Unauthenticated: no token, or not the right one; nobody learns which.
        """
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not hmac.compare_digest(token.strip().encode(), self._token.encode()):
            raise Unauthenticated
        return Caller(self._site, self._bell, self._site.settings.tenant, "admin", origin(self._site, request))


def origin(site: Site, request: Request) -> str:
    """Return what stands before every URL in an answer: the configured address, or the request's own."""
    return site.settings.public_url or f"{request.url.scheme}://{request.url.netloc}"
