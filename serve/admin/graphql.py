"""The GraphQL endpoint: Strawberry with authentication, in the media types of GraphQL over HTTP."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson
from cross_web import AsyncHTTPRequestAdapter, HTTPException, StarletteRequestAdapter
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send
from starlette.websockets import WebSocket
from strawberry.asgi import GraphQL
from strawberry.http import GraphQLHTTPResponse, GraphQLRequestData
from strawberry.http.streaming import AsyncTextStream, HTTPStreamTransport
from strawberry.http.types import QueryParams
from strawberry.subscriptions import GRAPHQL_SSE_PROTOCOL, GRAPHQL_TRANSPORT_WS_PROTOCOL
from strawberry.types import ExecutionResult, SubscriptionExecutionResult

from packshot.errors import PackshotError
from packshot.outages import RETRY_SECONDS
from schema.build import schema
from schema.request.budgets import Budgets
from schema.request.context import Context, SocketContext
from schema.request.live_updates import LiveUpdates
from schema.request.threads import Threads, ThreadsBusy
from serve.admin import graphql_http
from serve.admin.cross_origin import Origins
from serve.admin.event_stream import EventStream
from serve.admin.graphql_socket import (
    FORBIDDEN,
    TOKEN_ENDED,
    UNAUTHORIZED,
    Socket,
    SocketHandler,
    close_with_token,
    closed,
    find_authorization,
)
from serve.admin.sockets import MAX_SOCKETS_PER_ADDRESS, MAX_SOCKETS_PER_CALLER, SocketCounts
from serve.http.auth import Authenticator, Insecure, Unauthenticated, address_of_client
from serve.http.failures import TRY_AGAIN_LATER
from serve.http.pages import Page

_IS_HEAD = "packshot.is_head"  # marks the scope of a HEAD request, which is run as GET
INIT_SECONDS = 10.0  # from a WebSocket's handshake to the message with the token


class _Request(StarletteRequestAdapter):
    @property
    def content_type(self) -> str:
        """The media type of the body in lower case, as Strawberry compares it."""
        return (super().content_type or "").lower()


class AdminGraphQL(GraphQL[Context, None]):
    """Serves operations at `/graphql`, and GraphiQL to browsers that open it."""

    methods = graphql_http.METHODS
    request_adapter_class = _Request
    websocket_adapter_class = Socket
    graphql_transport_ws_handler_class = SocketHandler

    def __init__(self, authenticator: Authenticator, threads: Threads) -> None:
        # The legacy WebSocket protocol is left out, so no client can use it by mistake.
        protocols = (GRAPHQL_TRANSPORT_WS_PROTOCOL, GRAPHQL_SSE_PROTOCOL)
        super().__init__(
            schema,
            graphql_ide="graphiql",
            subscription_protocols=protocols,
            connection_init_wait_timeout=timedelta(seconds=INIT_SECONDS),
        )
        self._ide = Page(self.graphql_ide_html, styles_at_will=True)
        self._watch: LiveUpdates | None = None
        self._authenticator = authenticator
        self._origins = Origins(authenticator.site.settings.cors_origins)
        self._threads = threads
        self._budgets = Budgets(authenticator.site.settings)
        self._sockets = SocketCounts()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request. HEAD is run as GET; the server leaves out the body."""
        if scope["type"] == "http" and scope["method"] == "HEAD":
            scope = {**scope, "method": "GET", _IS_HEAD: True}
        await super().__call__(scope, receive, send)

    async def get_context(self, request: Request | WebSocket, response: Response | WebSocket) -> Context:
        # The constructor runs before the event loop that `LiveUpdates` needs.
        watch = self._watch = self._watch or LiveUpdates(self._authenticator.site, self._threads.watching)
        if isinstance(request, WebSocket):
            return SocketContext(request, watch, self._threads, self._budgets)
        caller = await self._authenticator.authenticate(request)
        return Context(caller, watch, self._threads, self._budgets)

    async def on_ws_connect(self, context: Context) -> dict[str, object]:
        """Authenticate a WebSocket by `connectionParams.authorization`, and close it when the token ends."""
        assert isinstance(context, SocketContext)
        given = find_authorization(context.connection_params or {})
        try:
            caller = await self._authenticator.authenticate(context.connection, given)
        except ThreadsBusy as error:
            raise await closed(context, TRY_AGAIN_LATER, error.message) from None
        except Unauthenticated:
            raise await closed(context, UNAUTHORIZED, graphql_http.NEEDS_TOKEN) from None
        except Insecure:
            raise await closed(context, UNAUTHORIZED, graphql_http.NEEDS_HTTPS) from None
        except PackshotError as error:
            raise await closed(context, UNAUTHORIZED, error.message) from None
        if caller.expires_at is not None and caller.expires_at <= datetime.now(UTC):
            # The authenticator allows some clock skew, so the token may just have expired. With FORBIDDEN the client
            # tries a limited number of times again with a new token.
            raise await closed(context, FORBIDDEN, TOKEN_ENDED)
        context.set_caller(caller)
        holder = ("caller", context.caller.tenant, context.caller.subject)
        if not context.held.enter_context(self._sockets.hold(holder, MAX_SOCKETS_PER_CALLER)):
            raise await closed(context, FORBIDDEN, "Too many WebSockets are open")
        if context.caller.expires_at is not None or context.caller.token_id is not None:
            context.closing = asyncio.create_task(close_with_token(context))
        return {}

    def is_websocket_origin_allowed(self, request: WebSocket, origin: str) -> bool:
        """Whether a page of another origin may open a WebSocket."""
        return self._origins.include(origin)

    async def reject_websocket(self, request: WebSocket) -> WebSocket:
        """Refuse the handshake of a page whose origin may not open a WebSocket."""
        await request.send_denial_response(graphql_http.elsewhere(request))
        return request

    async def run(self, request: Any, context: Any = None, root_value: Any = None) -> Any:
        if isinstance(request, WebSocket):
            return await self._run_socket(request)
        # GraphiQL needs no token; the operations that it sends do.
        if isinstance(request, Request) and _wants_graphiql(request):
            return self._ide.answer()
        try:
            context = await self.get_context(request, Response())
            if request.method == "POST":
                await graphql_http.check_body(request)
            request.state.graphql = context
            return await super().run(request, context)
        except HTTPException as error:
            return graphql_http.refuse_request(request, error)
        except Unauthenticated:
            return graphql_http.unauthenticated(request)
        except Insecure:
            return graphql_http.insecure(request)
        except ThreadsBusy as error:
            return graphql_http.too_busy(request, error)
        except PackshotError as error:
            return graphql_http.refuse(request, error)
        except ClientDisconnect:
            raise
        except Exception as error:  # noqa: BLE001 - it is logged under the error id in the response
            return graphql_http.fail(request, error)

    async def _run_socket(self, socket: WebSocket) -> Any:
        context = await self.get_context(socket, socket)
        assert isinstance(context, SocketContext)
        try:
            with context.held, self._sockets.hold(address_of_client(socket), MAX_SOCKETS_PER_ADDRESS) as is_held:
                if is_held:
                    return await super().run(socket, context)
                return await socket.send_denial_response(graphql_http.too_many_sockets(socket, MAX_SOCKETS_PER_ADDRESS))
        finally:
            if context.closing is not None:
                context.closing.cancel()

    def should_render_graphql_ide(self, request: Any) -> bool:
        """Return False: `run` has already answered browsers that want GraphiQL."""
        return False

    def _stream_result(
        self, request: Request, result: SubscriptionExecutionResult, transport: HTTPStreamTransport
    ) -> AsyncTextStream:
        return super()._stream_result(request, result, EventStream(request.state.graphql))

    async def execute_operation(
        self,
        request: Request,
        request_adapter: AsyncHTTPRequestAdapter,
        request_data: GraphQLRequestData | list[GraphQLRequestData],
        context: Context,
        root_value: None,
        sub_response: Response,
    ) -> ExecutionResult | list[ExecutionResult] | SubscriptionExecutionResult:
        is_head = _IS_HEAD in request.scope
        if isinstance(request_data, GraphQLRequestData) and (is_head or graphql_http.prefers_json(request)):
            # Clients such as urql accept JSON and events in every request, but expect events for subscriptions only.
            try:
                return await self.execute_single(
                    request, request_adapter, sub_response, context, root_value, request_data
                )
            except HTTPException as error:
                # A HEAD response has no body, so it cannot carry events.
                if is_head or request_data.protocol != "sse" or not graphql_http.is_subscription(error):
                    raise
        return await super().execute_operation(
            request, request_adapter, request_data, context, root_value, sub_response
        )

    async def execute_single(
        self,
        request: Request,
        request_adapter: AsyncHTTPRequestAdapter,
        sub_response: Response,
        context: Context,
        root_value: None,
        request_data: GraphQLRequestData,
    ) -> ExecutionResult:
        result = await super().execute_single(request, request_adapter, sub_response, context, root_value, request_data)
        sub_response.media_type = graphql_http.media_type(request)
        sub_response.status_code = graphql_http.status_of(result, sub_response.media_type)
        if sub_response.status_code == 503:
            sub_response.headers["Retry-After"] = str(RETRY_SECONDS)
        if context.retry_after_seconds is not None:
            # Fields that ran before the refusal keep their results, so the status stays 200.
            if not any((result.data or {}).values()):
                sub_response.status_code = 429
            sub_response.headers["Retry-After"] = str(context.retry_after_seconds)
        return result

    async def process_result(self, request: Request, result: ExecutionResult) -> GraphQLHTTPResponse:
        response = await super().process_result(request, result)
        if isinstance(result, ExecutionResult) and graphql_http.is_request_error(result):
            # The absence of `data` says that nothing was run.
            response.pop("data", None)
        return response

    async def parse_http_body(self, request: AsyncHTTPRequestAdapter) -> GraphQLRequestData | list[GraphQLRequestData]:
        data = await super().parse_http_body(request)
        if isinstance(data, GraphQLRequestData):
            # GraphQL over HTTP: an empty operation name counts as absent.
            data.operation_name = data.operation_name or None
        return data

    def parse_query_params(self, params: QueryParams) -> dict[str, Any]:
        # An empty URL parameter counts as absent.
        return super().parse_query_params({name: value for name, value in dict(params).items() if value})

    def decode_json(self, data: str | bytes) -> object:
        return orjson.loads(data)

    def encode_json(self, data: object) -> str:
        # Text, because the WebSocket protocol has no binary messages.
        return orjson.dumps(data).decode()

    def create_response(
        self, response_data: GraphQLHTTPResponse | list[GraphQLHTTPResponse], sub_response: Response
    ) -> Response:
        media = sub_response.media_type or graphql_http.RESPONSE
        return graphql_http.answer(
            orjson.dumps(response_data), sub_response.status_code or 200, media, dict(sub_response.headers)
        )


def _wants_graphiql(request: Request) -> bool:
    return (
        request.method == "GET"
        and "query" not in request.query_params
        and "text/html" in request.headers.get("accept", "")
    )
