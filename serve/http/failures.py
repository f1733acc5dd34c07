"""Answer and log exceptions that no endpoint handles."""

import logging
from collections.abc import MutableMapping
from typing import Any

from starlette.requests import ClientDisconnect, Request
from starlette.types import ASGIApp, Receive, Scope, Send
from starlette.websockets import WebSocketDisconnect

from packshot import faults
from packshot.outages import explain_outage
from serve.http import problems

INTERNAL_ERROR, TRY_AGAIN_LATER = 1011, 1013  # WebSocket close codes

log = logging.getLogger(__name__)


class Failures:
    """ASGI middleware that turns an exception into a problem document, or into the close code of a WebSocket.

    Exceptions after the client disconnected are neither answered nor logged.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Run the application."""
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        began = False

        async def watched(message: MutableMapping[str, Any]) -> None:
            nonlocal began
            began = began or message["type"] in ("http.response.start", "websocket.accept", "websocket.close")
            await send(message)

        try:
            await self._app(scope, receive, watched)
        except (ClientDisconnect, WebSocketDisconnect):
            return
        except Exception as error:
            if scope["type"] == "http" and not began:
                await problems.fail(Request(scope), error)(scope, receive, send)
                return
            faults.record(log, error, "failed after the response began: %s", problems.shown_path(scope))
            if scope["type"] == "http":
                # The server cuts the connection, so that the client notices an incomplete response.
                raise
            await self._close(error, send)

    async def _close(self, error: Exception, send: Send) -> None:
        code = INTERNAL_ERROR if explain_outage(error) is None else TRY_AGAIN_LATER
        try:
            await send({"type": "websocket.close", "code": code})
        except (OSError, RuntimeError):
            return  # already closed
