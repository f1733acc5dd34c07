"""The methods of each path, for `Allow` and for `OPTIONS` requests."""

from collections.abc import Collection, Iterable
from typing import Protocol, cast

from starlette.responses import Response
from starlette.routing import BaseRoute, Host, Match, Route
from starlette.types import ASGIApp, Receive, Scope, Send

OPTIONS = "OPTIONS"


class Chooser(Protocol):
    """An endpoint that takes every method, and refuses other methods than its own itself."""

    methods: Collection[str]


class OptionsMethod:
    """ASGI middleware that answers `OPTIONS` with `Allow` at every existing path without an own answer to `OPTIONS`."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer an `OPTIONS` request, or run the application."""
        if scope["type"] != "http" or scope["method"] != OPTIONS:
            await self._app(scope, receive, send)
            return
        taken = route_methods(scope["app"].routes, scope)
        if not taken or OPTIONS in taken:
            await self._app(scope, receive, send)
            return
        response = Response(status_code=204, headers={"Allow": allow(taken)})
        await response(scope, receive, send)


def allow(taken: Iterable[str]) -> str:
    """Return the value of `Allow` for a path's methods. Adds `HEAD` if there is `GET`, and always `OPTIONS`.

    >>> allow({"GET", "PUT"})
    'GET, HEAD, OPTIONS, PUT'
    """
    taken = set(taken)
    return ", ".join(sorted(taken | {OPTIONS} | ({"HEAD"} if "GET" in taken else set())))


def route_methods(routes: Iterable[BaseRoute], scope: Scope) -> set[str]:
    """Return the methods of all routes that match a request's path; empty: no route matches.

    Several routes can share one path. Routes behind a `Chooser` are never reached.
    """
    taken: set[str] = set()
    for route in routes:
        match, child_scope = route.matches(scope)
        if match is Match.NONE:
            continue
        if isinstance(route, Host):
            return route_methods(route.routes, {**scope, **child_scope})
        if isinstance(route, Route):
            if route.methods is None:
                return taken | set(cast(Chooser, route.endpoint).methods)
            taken |= route.methods
    return taken
