"""Server-sent events of GraphQL, whose last event says whether the token has expired or the stream is complete."""

import orjson
from strawberry.http.streaming import SSETransport

from schema.request.context import Context

TOKEN_ENDED = {"errors": [{"message": "The token has ended.", "extensions": {"code": "UNAUTHENTICATED"}}]}


class EventStream(SSETransport):
    """The events of one operation.

    When the token ends, the last event is an error, and no `complete` follows. A client such as graphql-sse takes that
    for a lost connection and connects again, with a new token.
    """

    def __init__(self, context: Context) -> None:
        super().__init__()
        self._context = context

    def encode_event(self, event: str, data: str | None = None) -> str:
        """Return one event. Its lines end with LF, because urql does not accept CRLF."""
        return super().encode_event(event, data).replace("\r\n", "\n")

    def encode_comment(self, comment: str) -> str:
        """Return a comment; its lines end as those of events do."""
        return super().encode_comment(comment).replace("\r\n", "\n")

    def encode_complete(self) -> str:
        """Return the last event."""
        if self._context.token_ended:
            return self.encode_event("next", orjson.dumps(TOKEN_ENDED).decode())
        return super().encode_complete()
