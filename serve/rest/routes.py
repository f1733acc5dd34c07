"""The routes of the REST admin API: each reads a call, runs it in a thread, and answers JSON."""

from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import TypeAlias

from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from packshot.errors import PackshotError
from packshot.model import NAME
from packshot.site import Site
from resolvers.caller import Caller
from resolvers.caller import Scope as Rights
from schema.request.threads import Threads, ThreadsBusy
from serve.admin.cross_origin import Origins
from serve.http.auth import Authenticator, Insecure, Unauthenticated
from serve.http.known_hosts import is_cross_site
from serve.http.methods import allow
from serve.image import public_routes
from serve.rest import documents, errors
from serve.rest.bodies import read_object, receive_picture
from serve.rest.calls import Call, Operation, Takes, Work
from serve.rest.openapi import describe
from serve.rest.table import OPERATIONS

Answer: TypeAlias = Callable[[Request], Awaitable[Response]]

DESCRIPTION = "/adminAPI/openapi.json"


class RestAdmin:
    """Serves `/adminAPI/…`, and the path on which the unified platform sends purges."""

    def __init__(self, site: Site, authenticator: Authenticator, threads: Threads) -> None:
        self._site = site
        self._authenticator = authenticator
        self._origins = Origins(site.settings.cors_origins)
        self._pools = {
            Work.EDITS: threads.resolvers,
            Work.PICTURES: threads.rendering,
            Work.FETCHES: threads.fetching,
        }
        self._description = describe()
        paths: dict[str, dict[str, Answer]] = {DESCRIPTION: {"GET": self.describe, "OPTIONS": allow_all_pages}}
        for operation in OPERATIONS:
            paths.setdefault(operation.path, {})[operation.method] = partial(self.answer, operation)
        # Last, paths that do not exist, so that they too are answered with JSON.
        self.routes = [
            Route(path, PathEndpoint(answers)) for path, answers in (paths | {"/adminAPI/{rest:path}": {}}).items()
        ]

    async def describe(self, request: Request) -> Response:
        """Answer with the public description of the API."""
        headers = {"Cache-Control": "public, max-age=300", "Access-Control-Allow-Origin": "*"}
        return errors.answer(200, self._description, headers)

    async def answer(self, operation: Operation, request: Request) -> Response:
        """Run an operation, and answer with its result or its refusal."""
        try:
            return await self._do(operation, request)
        except PackshotError as error:
            return errors.refuse(error)
        except Unauthenticated:
            return errors.unauthenticated(knows_passwords=self._site.settings.basic_users is not None)
        except Insecure:
            return errors.insecure()
        except ThreadsBusy as error:
            return errors.too_busy(error)
        except ClientDisconnect:
            raise
        except Exception as error:  # noqa: BLE001 - it is logged under the error id in the response
            return errors.fail(request, error)

    async def _do(self, operation: Operation, request: Request) -> Response:
        named = request.path_params.get("tenant", "")
        # A name that no tenant can have selects no tenant; the operation then refuses the path.
        caller = await self._authenticator.authenticate(request, tenant=named if NAME.fullmatch(named) else None)
        if is_cross_site(request) and not self._origins.include(request.headers.get("origin")):
            return errors.elsewhere()
        for scope in operation.scopes:
            caller.check(scope)
        if operation.takes is Takes.PICTURE:
            async with receive_picture(request, self._site) as picture:
                return await self._act(operation, self._call(request, caller, picture=picture))
        if operation.takes is Takes.NOTHING:
            return await self._act(operation, self._call(request, caller))
        body = await read_object(request, may_lack=operation.takes is Takes.MAYBE_OBJECT)
        return await self._act(operation, self._call(request, caller, body=body))

    def _call(self, request: Request, caller: Caller, **came: object) -> Call:
        # The first value of a repeated parameter counts, as in image URLs.
        query = dict(reversed(request.query_params.multi_items()))
        return Call(caller, request.path_params, query, **came)  # type: ignore[arg-type]

    async def _act(self, operation: Operation, call: Call) -> Response:
        reads = Rights.READ in call.caller.scopes
        try:
            document = await self._pools[operation.work].run(operation.act, call, tenant=call.caller.tenant)
        except PackshotError as error:
            return errors.refuse(error, reads=reads)
        return errors.answer(operation.status, document if reads else documents.without_read(document))


async def allow_all_pages(request: Request) -> Response:
    """Answer the preflight of the description, which pages of every origin may read."""
    return Response(status_code=204, headers=public_routes.ALLOWED)


class PathEndpoint:
    """One path: its methods, and a JSON refusal of all others.

    Attributes:
        methods: the methods of its operations; empty if the path does not exist.
    """

    def __init__(self, answers: Mapping[str, Answer]) -> None:
        self._answers = answers
        self.methods = frozenset(answers)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        # HEAD is answered as GET; the server leaves out the body.
        answer = self._answers.get("GET" if request.method == "HEAD" else request.method)
        if answer is not None:
            response = await answer(request)
        elif self._answers:
            response = errors.not_allowed(request, allow(self.methods))
        else:
            response = errors.nowhere(request)
        await response(scope, receive, send)
