"""Routes of live resize: under a path prefix, and at the root of a separate host."""

from collections.abc import Awaitable, Callable, Sequence

from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import BaseRoute, Host, Route, Router

from packshot.errors import NotFound
from packshot.site import Site
from packshot.variants.live_request import FORMS
from pregen.queue.doorbell import Doorbell
from schema.request.threads import Threads
from serve.health.endpoints import Health
from serve.http.auth import Authenticator
from serve.image import public_routes
from serve.image.guard import AccessGuard
from serve.image.images import Images
from serve.image.public_routes import public_route
from serve.live.images import LiveImages
from serve.live.names import HEALTH, ROBOTS, TOKEN
from serve.live.uploads import TOKEN_HEADER, LiveUploads

# One path serves an image and takes its upload, from pages of any origin with a token.
ALLOWED = public_routes.ALLOWED | {
    "Allow": "GET, HEAD, POST, OPTIONS",
    "Access-Control-Allow-Methods": "GET, HEAD, POST, OPTIONS",
    "Access-Control-Allow-Headers": f"{public_routes.ALLOWED['Access-Control-Allow-Headers']}, {TOKEN_HEADER}",
}


class Live:
    """All routes of live resize.

    Attributes:
        routes: the routes under the prefix, and robots.txt and the health check at the root, where clients expect them.
    """

    def __init__(
        self,
        site: Site,
        images: Images,
        access_guard: AccessGuard,
        authenticator: Authenticator,
        doorbell: Doorbell,
        threads: Threads,
        health: Health,
    ) -> None:
        self._site = site
        self._health = health
        self._images = LiveImages(site, images, access_guard)
        self._uploads = LiveUploads(site, authenticator, doorbell, threads)
        prefix = site.settings.live_prefix
        self.routes: list[BaseRoute] = [] if prefix is None else [*self._first(prefix), *self._last(prefix)]
        if prefix is not None:
            self.routes += [Route(f"/{ROBOTS}", _robots(site, f"{prefix}/")), Route(f"/{HEALTH}", health.live)]

    def host(self, others: Sequence[BaseRoute]) -> list[BaseRoute]:
        """Return the route of the host that has live resize at its root, if one is configured.

        Args:
            others: routes of the application, which this host serves too unless an image name hides them.
        """
        host = self._site.settings.live_host
        inside = [*self._first(""), *others, *self._last("")]
        return [] if host is None else [Host(host, Router(inside, redirect_slashes=False))]

    def _first(self, prefix: str) -> list[BaseRoute]:
        return [
            Route(f"{prefix}/{ROBOTS}", _robots(self._site, "/")),
            Route(f"{prefix}/{HEALTH}", self._health.live),
            Route(f"{prefix}/{TOKEN}", self._uploads.create_token, methods=["POST"]),
            public_route(f"{prefix}/{{stem:image_name}}.{{extension:extension}}", self._images.get, ALLOWED),
        ]

    def _last(self, prefix: str) -> list[BaseRoute]:
        # Only names with a dot can be images, so other routes of the application stay visible.
        return [Route(f"{prefix}/{{name:image_name}}", self._answer, methods=["GET", "POST", "OPTIONS"])]

    async def _answer(self, request: Request) -> Response:
        if request.method == "POST":
            return await self._uploads.upload(request)
        if request.method == "OPTIONS":
            return Response(status_code=204, headers=ALLOWED)
        raise NotFound("This image does not exist.", expected=FORMS, got=request.path_params["name"])


def _robots(site: Site, hidden: str) -> Callable[[Request], Awaitable[Response]]:
    rule = "Allow: /" if site.settings.allow_indexing else f"Disallow: {hidden}"

    async def robots(request: Request) -> Response:
        return PlainTextResponse(f"User-agent: *\n{rule}\n", headers={"Cache-Control": "public, max-age=3600"})

    return robots
