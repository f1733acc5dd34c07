"""The application: every endpoint in one Starlette app."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, nullcontext
from importlib.resources import files

import anyio.to_thread
from dramatiq import Broker
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route, WebSocketRoute
from starlette.types import Lifespan
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware

from packshot import faults
from packshot.errors import PackshotError
from packshot.settings.types import split_list
from packshot.site import Site
from pregen.queue.doorbell import Doorbell
from pregen.services.service import Service
from pregen.worker import Worker
from schema.request.threads import Threads, ThreadsBusy
from serve.admin.cross_origin import CrossOrigin
from serve.admin.graphql import AdminGraphQL
from serve.admin.originals import Originals
from serve.admin.reports import Reports
from serve.admin.uploads import Uploads
from serve.health.endpoints import Health
from serve.http import problems
from serve.http.auth import Authenticator, Insecure
from serve.http.failures import Failures
from serve.http.jwks import KeySet
from serve.http.methods import OptionsMethod
from serve.http.pages import Page
from serve.http.problems import Overloaded
from serve.image.demand import DemandCounter
from serve.image.explain import Explainer
from serve.image.guard import AccessGuard
from serve.image.images import Images
from serve.image.picture_json import Pictures
from serve.image.recency import Recency
from serve.live.routes import Live
from serve.rest.routes import DESCRIPTION, RestAdmin

FRONT = Page(files("serve").joinpath("front.html").read_text("utf-8"))


def create_app(
    site: Site, broker: Broker, doorbell: Doorbell, token: str, *, lifespan: Lifespan[Starlette] | None = None
) -> Starlette:
    """Return the application; `token` is the admin token."""
    threads = Threads()
    authenticator = Authenticator(site, doorbell, token, threads)
    graphql = AdminGraphQL(authenticator, threads)
    demand = DemandCounter(site)
    access_guard = AccessGuard(site, Explainer(site, authenticator))
    recency = Recency(site)
    images = Images(site, demand, recency, access_guard)
    health = Health(site, broker, authenticator.keys)
    live = Live(site, images, access_guard, authenticator, doorbell, threads, health)
    routes = [
        # The first route that matches answers.
        *Pictures(site, access_guard).routes,
        *images.routes,
        *live.routes,
        Route("/", front_page),
        Route("/graphql", graphql),
        WebSocketRoute("/graphql", graphql),
        *Uploads(site, authenticator, threads).routes,
        *Originals(site, authenticator).routes,
        *Reports(site, authenticator).routes,
        *RestAdmin(site, authenticator, threads).routes,
        *health.routes,
    ]
    app = Starlette(
        routes=[*live.host(routes), *routes],
        exception_handlers={
            PackshotError: problems.refuse,
            Overloaded: problems.overloaded,
            ThreadsBusy: problems.too_busy,
            Insecure: problems.insecure,
            404: problems.not_found,
            405: problems.not_allowed,
        },
        middleware=[
            Middleware(CrossOrigin, settings=site.settings, public=frozenset([DESCRIPTION])),
            Middleware(Failures),
            Middleware(ProxyHeadersMiddleware, trusted_hosts=split_list(site.settings.trusted_proxies)),
            Middleware(OptionsMethod),
        ],
        lifespan=running([demand, recency], refreshing(authenticator.keys, lifespan)),
    )
    # A redirect that removes a slash would be a further cached response.
    app.router.redirect_slashes = False
    return app


def running(services: Sequence[Service], within: Lifespan[Starlette] | None) -> Lifespan[Starlette]:
    """Return a lifespan during which services run; it encloses another lifespan, if given."""

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        for service in services:
            service.start()
        try:
            async with nullcontext() if within is None else within(app):
                yield
        finally:
            for service in services:
                service.stop()
                await anyio.to_thread.run_sync(service.join)
            # uvicorn raises the signal again after the shutdown, so exit handlers do not run.
            faults.FAULTS.end_windows()

    return lifespan


def refreshing(keys: KeySet | None, within: Lifespan[Starlette] | None) -> Lifespan[Starlette] | None:
    """Return a lifespan during which the key set of JWTs is refreshed; it encloses another lifespan, if given."""
    if keys is None:
        return within

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        keys.start()
        try:
            async with nullcontext() if within is None else within(app):
                yield
        finally:
            await keys.stop()

    return lifespan


def working(worker: Worker) -> Lifespan[Starlette]:
    """Return a lifespan during which the embedded worker runs."""

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        await anyio.to_thread.run_sync(worker.start)
        try:
            yield
        finally:
            await anyio.to_thread.run_sync(worker.stop)

    return lifespan


async def front_page(request: Request) -> Response:
    """Answer with the front page: what Packshot is, and links to its endpoints."""
    return FRONT.answer()
