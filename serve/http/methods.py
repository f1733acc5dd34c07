"""The methods that each path takes: one answer for `Allow`, and for every `OPTIONS` request."""

from collections.abc import Collection, Iterable
from typing import Protocol, cast

from starlette.responses import Response
from starlette.routing import BaseRoute, Host, Match, Route
from starlette.types import ASGIApp, Receive, Scope, Send

OPTIONS = "OPTIONS"


class Chooser(Protocol):
    """An endpoint that takes every method, and refuses by itself those that are not among its own."""

    methods: Collection[str]


class OptionsMethod:
    """ASGI middleware: answers `OPTIONS` with `Allow` at every path that exists and has no answer of its own to it."""

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
    """Return the value of `Allow` for a path's own methods. `HEAD` follows from `GET`; `OPTIONS` is always there.

    >>> allow({"GET", "PUT"})
    'GET, HEAD, OPTIONS, PUT'
    """
    taken = set(taken)
    return ", ".join(sorted(taken | {OPTIONS} | ({"HEAD"} if "GET" in taken else set())))


def route_methods(routes: Iterable[BaseRoute], scope: Scope) -> set[str]:
    """Return the methods of all routes that a request's path leads to; empty: no route leads anywhere.

    Several routes can share one path. No request reaches a route behind a `Chooser`.
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
