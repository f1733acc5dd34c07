"""Answer browsers' cross-origin requests: which pages may use the admin APIs, and which may upload."""

import re
from collections.abc import MutableMapping
from dataclasses import dataclass
from typing import Any

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import HTTPConnection
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from packshot.settings.settings import Settings
from packshot.settings.types import split_list
from resolvers.urls.build import UPLOAD_TOKEN_HEADER
from serve.admin import graphql_http
from serve.http import problems
from serve.live.names import OWN_NAMES
from serve.live.uploads import TOKEN_HEADER

ANY = "*"
MAX_AGE_SECONDS = 7200  # the longest time for which Chromium keeps the answer to a preflight
EXPOSED = "Allow, Retry-After, WWW-Authenticate"
# The REST API's path outside `/adminAPI/`: purges, as the unified platform sends them.
_PLATFORM_PATH = re.compile(r"/[^/]+-lof/images/")
_FIELD_NAMES = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+(?: *, *[A-Za-z0-9!#$%&'*+.^_`|~-]+){0,49}")


class Origins:
    """Origins of pages, as browsers send them in `Origin`.

    Args:
        listed: origins, separated by commas; `*` for all, None for none.
    """

    def __init__(self, listed: str | None) -> None:
        self._listed = frozenset(origin.lower() for origin in split_list(listed))
        self.is_any = ANY in self._listed
        self.are_listed = bool(self._listed) and not self.is_any

    def include(self, origin: str | None) -> bool:
        """Whether pages of an origin may send requests; a request without an origin gets False."""
        return origin is not None and (self.is_any or origin.lower() in self._listed)


@dataclass(frozen=True, slots=True)
class _Rule:
    """Which origins may send requests to a path, and what they may send.

    Attributes:
        headers: request headers that are always allowed; a preflight may name others.
    """

    origins: Origins
    methods: str
    headers: str


class CrossOrigin:
    """ASGI middleware: answers preflights, and adds CORS headers to every response, errors included.

    Credentials are in headers and forms, never in cookies, so no response lets browsers send stored ones.
    Paths of images have no rule here: pages of every origin may read them.
    """

    def __init__(self, app: ASGIApp, settings: Settings, public: frozenset[str]) -> None:
        """Wrap the application.

        Args:
            public: paths of the admin APIs that pages of any origin may read.
        """
        self._app = app
        self._public = public
        self._live_prefix, self._live_host = settings.live_prefix, settings.live_host
        # A one-time token is enough to upload, unless the setting names origins.
        uploaders = Origins(settings.cors_origins or ANY)
        self._upload = _Rule(uploaders, "POST, PUT", f"Content-Type, {UPLOAD_TOKEN_HEADER}")
        self._live_upload = _Rule(uploaders, "GET, HEAD, POST, OPTIONS", f"Content-Type, {TOKEN_HEADER}")
        admins = Origins(settings.cors_origins)
        self._admin = _Rule(admins, "GET, HEAD, POST, PUT, PATCH, DELETE", "Authorization, Content-Type")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        rule = self._rule(scope) if scope["type"] == "http" else None
        if rule is None:
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        origin = headers.get("origin")
        allowed = _headers(rule, origin)

        async def marked(message: MutableMapping[str, Any]) -> None:
            if message["type"] == "http.response.start":
                answer = MutableHeaders(scope=message)
                for name in ("Access-Control-Allow-Origin", "Access-Control-Expose-Headers"):
                    del answer[name]
                answer.update(allowed)
                if rule.origins.are_listed:
                    answer.add_vary_header("Origin")
            await send(message)

        if not _is_preflight(scope, headers):
            await self._app(scope, receive, marked)
            return
        asked = headers.get("access-control-request-headers", "")
        if not rule.origins.include(origin):
            response = _refuse(HTTPConnection(scope), origin)
        else:
            named = f"{rule.headers}, {asked}" if _FIELD_NAMES.fullmatch(asked) else rule.headers
            answer = {"Access-Control-Allow-Methods": rule.methods, "Access-Control-Allow-Headers": named}
            response = Response(status_code=204, headers=answer | {"Access-Control-Max-Age": str(MAX_AGE_SECONDS)})
        await response(scope, receive, marked)

    def _rule(self, scope: Scope) -> _Rule | None:
        path: str = scope["path"]
        if path.startswith("/uploads/"):
            return self._upload
        if path == "/graphql" or path.startswith("/adminAPI/") or _PLATFORM_PATH.match(path):
            return None if path in self._public else self._admin
        if scope["method"] not in ("POST", "OPTIONS"):
            return None
        headers = Headers(scope=scope)
        asked = headers.get("access-control-request-method") if _is_preflight(scope, headers) else scope["method"]
        return self._live_upload if asked == "POST" and self._is_live(path, headers.get("host", "")) else None

    def _is_live(self, path: str, host: str) -> bool:
        """Whether a path is that of a live image. The path of tokens is not: only servers request tokens."""
        folder, _, name = path.rpartition("/")
        is_at_root = folder == "" and self._live_host is not None and host.partition(":")[0].lower() == self._live_host
        return name not in OWN_NAMES and (is_at_root or (self._live_prefix is not None and folder == self._live_prefix))


def _refuse(request: HTTPConnection, origin: str | None) -> Response:
    message, expected = "Pages of this origin cannot use this path.", "an origin that PACKSHOT_CORS_ORIGINS names"
    if request.url.path == "/graphql":
        return graphql_http.refusal(request, 403, message, "FORBIDDEN", expected=expected, got=origin)
    return problems.problem(403, message, code="FORBIDDEN", expected=expected, got=origin)


def _is_preflight(scope: Scope, headers: Headers) -> bool:
    return scope["method"] == "OPTIONS" and "origin" in headers and "access-control-request-method" in headers


def _headers(rule: _Rule, origin: str | None) -> dict[str, str]:
    if rule.origins.is_any:
        return {"Access-Control-Allow-Origin": ANY, "Access-Control-Expose-Headers": EXPOSED}
    if origin is None or not rule.origins.include(origin):
        return {}
    return {"Access-Control-Allow-Origin": origin, "Access-Control-Expose-Headers": EXPOSED}
