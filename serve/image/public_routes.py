"""Routes that pages of any origin may read: GET, HEAD, and the preflight request of browsers."""

from collections.abc import Awaitable, Callable, Mapping

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

Endpoint = Callable[[Request], Awaitable[Response]]

ALLOWED = {
    "Allow": "GET, HEAD, OPTIONS",
    "Access-Control-Allow-Origin": "*",
    "Access-Control-Allow-Methods": "GET, HEAD, OPTIONS",
    # Headers that image clients may send and that a browser sends only with permission.
    "Access-Control-Allow-Headers": "If-None-Match, If-Modified-Since, If-Range, Range, "
    "X-Packshot-Access-Key, X-vimond-access-key",
    "Access-Control-Max-Age": "86400",
}


def public_route(path: str, endpoint: Endpoint, allowed: Mapping[str, str] = ALLOWED) -> Route:
    """Return a public route; `allowed` are the headers of the answer to a preflight request."""

    async def answer(request: Request) -> Response:
        # A preflight needs no lookup: its answer is the same for every image.
        return Response(status_code=204, headers=allowed) if request.method == "OPTIONS" else await endpoint(request)

    return Route(path, answer, methods=["GET", "OPTIONS"])
