"""The GraphQL endpoint: Strawberry behind the bearer token, in the media types of GraphQL over HTTP."""

from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.websockets import WebSocket
from strawberry.asgi import GraphQL
from strawberry.http import GraphQLHTTPResponse

from schema.build import schema
from schema.context import Context
from serve.auth import Gate, Unauthenticated

RESPONSE = "application/graphql-response+json"


class AdminGraphQL(GraphQL[Context, None]):
    """`POST /graphql` for programs, GraphiQL at `GET /graphql` for people."""

    def __init__(self, gate: Gate) -> None:
        super().__init__(schema, graphql_ide="graphiql", subscription_protocols=())
        self._gate = gate

    async def get_context(self, request: Request | WebSocket, response: Response | WebSocket) -> Context:
        assert isinstance(request, Request)
        return Context(self._gate.admit(request))

    async def run(self, request: Any, *args: Any, **kwargs: Any) -> Any:
        # GraphiQL is for everybody; what it asks then needs the token.
        if isinstance(request, Request) and _wants_graphiql(request):
            return await self.render_graphql_ide(request)
        try:
            return await super().run(request, *args, **kwargs)
        except Unauthenticated:
            return unauthenticated()

    def create_response(
        self, response_data: GraphQLHTTPResponse | list[GraphQLHTTPResponse], sub_response: Response
    ) -> Response:
        response = super().create_response(response_data, sub_response)
        response.headers["content-type"] = f"{RESPONSE}; charset=utf-8"
        response.headers["cache-control"] = "no-store"
        return response


def _wants_graphiql(request: Request) -> bool:
    return (
        request.method == "GET"
        and "query" not in request.query_params
        and "text/html" in request.headers.get("accept", "")
    )


def unauthenticated() -> Response:
    """Answer a request without a valid token."""
    error = {
        "message": "The admin API needs a bearer token.",
        "extensions": {"code": "UNAUTHENTICATED", "expected": "Authorization: Bearer <token>"},
    }
    headers = {"WWW-Authenticate": 'Bearer realm="packshot"', "Cache-Control": "no-store"}
    return JSONResponse({"errors": [error]}, 401, headers, media_type=RESPONSE)
