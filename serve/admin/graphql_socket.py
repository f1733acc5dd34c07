"""GraphQL over a WebSocket: check each message, and expect that the connection may end at any time."""

import asyncio
import logging
from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any, TypeGuard

from graphql import GraphQLError
from starlette.websockets import WebSocketDisconnect, WebSocketState
from strawberry.asgi import ASGIWebSocketAdapter
from strawberry.exceptions import ConnectionRejectionError
from strawberry.http.exceptions import WebSocketDisconnected
from strawberry.subscriptions.protocols.graphql_transport_ws.handlers import BaseGraphQLTransportWSHandler
from strawberry.subscriptions.protocols.graphql_transport_ws.types import SubscribeMessage

from packshot import faults
from schema.execution.persisted_queries import refuse_persisted
from schema.request.context import Context, SocketContext
from schema.request.live_updates import TokenEnded, token_subject

# Close codes. After the first, graphql-ws (and so Apollo and urql) gives up; after the second it connects again.
UNAUTHORIZED, FORBIDDEN = 4401, 4403
TOKEN_ENDED = "The token has ended"  # noqa: S105
MAX_REASON_BYTES = 123  # of a close frame (RFC 6455, section 5.5)

log = logging.getLogger(__name__)


class Socket(ASGIWebSocketAdapter):
    """A WebSocket that either side may close at any time."""

    async def send_json(self, message: Any) -> None:
        """Send a message.

        Raises:
            WebSocketDisconnected: the connection has ended.
        """
        try:
            await super().send_json(message)
        except (RuntimeError, OSError) as error:
            if self._is_open():
                raise
            raise WebSocketDisconnected from error

    async def close(self, code: int, reason: str) -> None:
        """Close the connection, unless it has ended; a long reason is shortened."""
        if not self._is_open():
            return
        try:
            await super().close(code, shortened(reason))
        except (RuntimeError, OSError, WebSocketDisconnect):
            if self._is_open():
                raise

    def _is_open(self) -> bool:
        return WebSocketState.DISCONNECTED not in (self.ws.application_state, self.ws.client_state)


class SocketHandler(BaseGraphQLTransportWSHandler[Context, None]):
    """Refuses messages that the protocol graphql-transport-ws does not define, with the close code 4400."""

    async def handle_message(self, message: object) -> None:
        """Handle one message of the client."""
        fault = _find_fault(message)
        if fault is None:
            await super().handle_message(message)  # type: ignore[arg-type]
        else:
            await self.handle_invalid_message(fault)

    async def handle_subscribe(self, message: SubscribeMessage) -> None:
        """Begin an operation, or refuse a persisted query, after which the client sends the query's text."""
        payload: Any = message["payload"]
        refusal = refuse_persisted(payload.get("query"), payload.get("extensions"))
        if refusal is None or not self.connection_acknowledged:
            await super().handle_subscribe(message)
        else:
            await self.send_message({"id": message["id"], "type": "error", "payload": [refusal.formatted]})

    @staticmethod
    def _get_pre_execution_close_reason(error: GraphQLError) -> str | None:
        """Return None, so that a document that does not parse ends only its own operation.

        By default Strawberry closes the connection, and so ends every other operation on it.
        """
        return None

    async def handle_task_exception(self, error: Exception) -> None:
        """Log an exception of an operation."""
        if not isinstance(error, WebSocketDisconnected):
            faults.record(log, error, "an operation on a WebSocket failed")


def find_authorization(params: Mapping[str, object]) -> str:
    """Return the value of `authorization` in a connection's parameters; the name may have any case, as that of a
    header.

    >>> find_authorization({"Authorization": "Bearer a"})
    'Bearer a'
    """
    return next((str(value) for name, value in params.items() if name.lower() == "authorization"), "")


async def close_with_token(context: SocketContext) -> None:
    """Close a socket when its token ends."""
    token, expires_at = token_subject(context.caller), context.caller.expires_at
    if token is not None:
        with suppress(TokenEnded):
            async for _ in context.watch.follow(token, expires_at):
                pass
    elif expires_at is not None:
        await asyncio.sleep((expires_at - datetime.now(UTC)).total_seconds())
    await _close(context, FORBIDDEN, TOKEN_ENDED)


async def closed(context: SocketContext, code: int, reason: str) -> ConnectionRejectionError:
    """Close a socket that is refused, and return the exception that stops Strawberry."""
    await _close(context, code, reason)
    return ConnectionRejectionError()


async def _close(context: SocketContext, code: int, reason: str) -> None:
    with suppress(RuntimeError, OSError, WebSocketDisconnect):  # The connection has already ended.
        await context.connection.close(code, shortened(reason))


def shortened(reason: str) -> str:
    """Return as much of a reason as fits into a close frame."""
    return reason.encode(errors="replace")[:MAX_REASON_BYTES].decode(errors="ignore")


def _find_fault(message: object) -> str | None:
    """Return what is wrong with a message, as a text for its sender; None if it is valid."""
    if not isinstance(message, dict) or not isinstance(message.get("type"), str):
        return 'Expected an object with "type"'
    payload = message.get("payload")
    if message["type"] in ("subscribe", "complete") and not _is_text(message.get("id")):
        return 'Expected "id", a string'
    if message["type"] != "subscribe":
        return None
    if not isinstance(payload, dict):
        return 'Expected "payload", an object with "query"'
    is_persisted = refuse_persisted(payload.get("query"), payload.get("extensions")) is not None
    if not isinstance(payload.get("query"), str) and not is_persisted:
        return 'Expected "payload", an object with "query"'
    if not isinstance(payload.get("variables"), dict | None):
        return 'Expected "variables", an object or null'
    if not isinstance(payload.get("operationName"), str | None):
        return 'Expected "operationName", a string or null'
    return None


def _is_text(value: object) -> TypeGuard[str]:
    return isinstance(value, str) and value != ""
