"""Each operation reads anew, also where one WebSocket carries many."""

from collections.abc import Iterator

from strawberry.extensions import SchemaExtension

from schema.context import SocketContext


class FreshReads(SchemaExtension):
    """Forgets at the start of an operation what earlier ones on the same socket have read."""

    def on_operation(self) -> Iterator[None]:
        context = self.execution_context.context
        if isinstance(context, SocketContext):
            context.forget()
        yield
