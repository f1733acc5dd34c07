"""The GraphQL endpoint: Strawberry behind the bearer token, in the media types of GraphQL over HTTP."""

import asyncio
from contextlib import suppress
from datetime import UTC, datetime
from functools import partial
from typing import Any

import anyio
import anyio.to_thread
import orjson
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.websockets import WebSocket
from strawberry.asgi import GraphQL
from strawberry.exceptions import ConnectionRejectionError
from strawberry.http import GraphQLHTTPResponse
from strawberry.subscriptions import GRAPHQL_SSE_PROTOCOL, GRAPHQL_TRANSPORT_WS_PROTOCOL

from packshot.errors import Invalid, PackshotError, TooLarge
from schema.build import schema
from schema.context import Context, SocketContext
from schema.watching import Watch
from serve import problems
from serve.auth import Gate, Insecure, Unauthenticated

LARGEST_BODY = 1 << 20
PATIENT_THREADS = 16
RESPONSE = "application/graphql-response+json"


class AdminGraphQL(GraphQL[Context, None]):
    """`POST /graphql` for programs, GraphiQL at `GET /graphql` for people."""

    def __init__(self, gate: Gate) -> None:
        # The legacy WebSocket protocol is left out: it cannot be told from the new one by mistake then.
        protocols = (GRAPHQL_TRANSPORT_WS_PROTOCOL, GRAPHQL_SSE_PROTOCOL)
        super().__init__(schema, graphql_ide="graphiql", subscription_protocols=protocols)
        self._watch: Watch | None = None
        self._gate = gate
        # A store that is silent may hold these threads, but none that other edits need.
        self._patient = anyio.CapacityLimiter(PATIENT_THREADS)

    async def get_context(self, request: Request | WebSocket, response: Response | WebSocket) -> Context:
        # Made here, where there is an event loop to make it in.
        watch = self._watch = self._watch or Watch(self._gate.site)
        if isinstance(request, WebSocket):
            return SocketContext(request, watch, self._patient)
        return Context(await anyio.to_thread.run_sync(self._gate.admit, request), watch, self._patient)

    async def on_ws_connect(self, context: Context) -> dict[str, object]:
        """Let a WebSocket in by `connectionParams.authorization`, and close it when that ends."""
        assert isinstance(context, SocketContext)
        given = (context.connection_params or {}).get("authorization", "")
        try:
            admit = partial(self._gate.admit, context.connection, str(given))
            context.admit(await anyio.to_thread.run_sync(admit))
        except (Unauthenticated, Insecure, PackshotError):
            raise ConnectionRejectionError from None
        if context.caller.expires_at is not None:
            seconds = (context.caller.expires_at - datetime.now(UTC)).total_seconds()
            loop = asyncio.get_running_loop()
            context.closing = loop.call_later(seconds, lambda: loop.create_task(_close(context.connection)))
        return {}

    async def run(self, request: Any, context: Any = None, root_value: Any = None) -> Any:
        if isinstance(request, WebSocket):
            context = await self.get_context(request, request)
            try:
                return await super().run(request, context)
            finally:
                if context.closing is not None:
                    context.closing.cancel()
        # GraphiQL is for everybody; what it asks then needs the token.
        if isinstance(request, Request) and _wants_graphiql(request):
            return await self.render_graphql_ide(request)
        try:
            context = await self.get_context(request, Response())
            if request.method == "POST":
                await _check_body(request)
            return await super().run(request, context)
        except Unauthenticated:
            return unauthenticated()
        except Insecure:
            return insecure()
        except PackshotError as refusal:
            status = problems.STATUS[refusal.code]
            error = {"message": refusal.message, "extensions": {"code": refusal.code, "expected": refusal.expected}}
            return JSONResponse({"errors": [error]}, status, media_type=RESPONSE)

    def decode_json(self, data: str | bytes) -> object:
        return orjson.loads(data)

    def encode_json(self, data: object) -> str:
        # Text, since the WebSocket protocol has no binary messages.
        return orjson.dumps(data).decode()

    def create_response(
        self, response_data: GraphQLHTTPResponse | list[GraphQLHTTPResponse], sub_response: Response
    ) -> Response:
        response = super().create_response(response_data, sub_response)
        response.headers["content-type"] = f"{RESPONSE}; charset=utf-8"
        response.headers["cache-control"] = "no-store"
        return response


async def _close(connection: WebSocket) -> None:
    with suppress(RuntimeError):  # It is closed already.
        await connection.close(4401, "The token has ended")


async def _check_body(request: Request) -> None:
    """Refuse a body before it is parsed as a document, or before it is read whole."""
    received = 0
    chunks = []
    async for chunk in request.stream():
        received += len(chunk)
        if received > LARGEST_BODY:
            raise TooLarge("That document is too large.", expected=f"at most {LARGEST_BODY} bytes")
        chunks.append(chunk)
    # What was read is kept where Starlette itself keeps it, for whoever reads the body next.
    request._body = b"".join(chunks)
    try:
        parsed = orjson.loads(request._body)
    except orjson.JSONDecodeError:
        raise Invalid("The body is no JSON.", expected='{"query": "…", "variables": {…}}') from None
    if not isinstance(parsed, dict):
        raise Invalid("The body is no JSON object.", expected='{"query": "…", "variables": {…}}')


def _wants_graphiql(request: Request) -> bool:
    return (
        request.method == "GET"
        and "query" not in request.query_params
        and "text/html" in request.headers.get("accept", "")
    )


def unauthenticated() -> Response:
    """Answer a request without valid credentials."""
    headers = {"WWW-Authenticate": 'Bearer realm="packshot"'}
    return _refusal(401, "The admin API needs a valid token.", "UNAUTHENTICATED", "Authorization: Bearer …", headers)


def insecure() -> Response:
    """Answer a request that strangers on the way could have read."""
    return _refusal(403, "The admin API needs HTTPS.", "INSECURE", "https://, or a client in PACKSHOT_TRUSTED_IPS", {})


def _refusal(status: int, message: str, code: str, expected: str, headers: dict[str, str]) -> Response:
    error = {"message": message, "extensions": {"code": code, "expected": expected}}
    return JSONResponse({"errors": [error]}, status, {"Cache-Control": "no-store"} | headers, media_type=RESPONSE)
