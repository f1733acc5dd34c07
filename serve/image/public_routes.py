"""Routes that pages of any origin may read from: GET, HEAD, and the preflight in which a browser asks first."""

from collections.abc import Awaitable, Callable, Mapping

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

Endpoint = Callable[[Request], Awaitable[Response]]

ALLOWED = {
    "Allow": "GET, HEAD, OPTIONS",
    "Access-Control-Allow-Origin": "*",
    "Access-Control-Allow-Methods": "GET, HEAD, OPTIONS",
    # What a client of pictures has reason to send, and browsers do not send unasked.
    "Access-Control-Allow-Headers": "If-None-Match, If-Modified-Since, If-Range, Range, "
    "X-Packshot-Access-Key, X-vimond-access-key",
    "Access-Control-Max-Age": "86400",
}


def public_route(path: str, endpoint: Endpoint, allowed: Mapping[str, str] = ALLOWED) -> Route:
    """Return the route of one path of pictures; `allowed` answers a preflight."""

    async def answer(request: Request) -> Response:
        # The same for all, so no picture is looked for.
        return Response(status_code=204, headers=allowed) if request.method == "OPTIONS" else await endpoint(request)

    return Route(path, answer, methods=["GET", "OPTIONS"])
