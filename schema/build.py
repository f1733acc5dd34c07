"""Build the schema."""

from collections.abc import AsyncGenerator, Iterable
from typing import Any

import strawberry
from graphql import GraphQLError
from strawberry.schema.config import StrawberryConfig
from strawberry.types import ExecutionResult
from strawberry.types.execution import PreExecutionError
from strawberry.types.graphql import OperationType

from schema.base.interfaces import InputError, Taken, VersionConflict
from schema.base.scalars import SCALARS
from schema.execution.charges import Costs, charge_refused, refuse_debtor
from schema.execution.documents import ParseAndValidate, documents
from schema.execution.introspection import HideSchema
from schema.execution.limits import Limits, OneOperation, Variables
from schema.execution.masking import MaskBugs
from schema.execution.persisted_queries import refuse_persisted
from schema.execution.visibility import require_read
from schema.mutations.root import Mutation
from schema.queries import Query
from schema.request.context import Context, SocketContext
from schema.subscriptions import Subscription
from schema.types.pictures import Variant
from schema.types.plans import ForceRequired


class _Schema(strawberry.Schema):
    async def execute(  # type: ignore[override]
        self,
        query: str | None,
        *,
        context_value: Any = None,
        allowed_operation_types: Iterable[OperationType] = tuple(OperationType),
        **options: Any,
    ) -> ExecutionResult:
        """Run a query or a mutation. Strawberry would also run a subscription, as if it were a query."""
        refusal = refuse_persisted(query, options.get("operation_extensions"))
        if refusal or (query and (refusal := _refuse(query, context_value))):
            return PreExecutionError(data=None, errors=[refusal])
        allowed = set(allowed_operation_types) - {OperationType.SUBSCRIPTION}
        return await super().execute(query, context_value=context_value, allowed_operation_types=allowed, **options)

    async def stream(  # type: ignore[override]
        self, query: str | None, *, context_value: Any = None, **options: Any
    ) -> AsyncGenerator[Any, None]:
        """Run a subscription, with its own context if a socket carries several operations."""
        if isinstance(context_value, SocketContext):
            context_value = context_value.for_operation()
        refusal = refuse_persisted(query, options.get("operation_extensions")) or _refuse(query, context_value)
        if refusal:
            return _only(PreExecutionError(data=None, errors=[refusal]))
        return await super().stream(query, context_value=context_value, **options)

    def process_errors(self, errors: list[GraphQLError], execution_context: Any = None) -> None:
        """Log nothing here: clients' mistakes are not logged, and `MaskBugs` logs the rest."""


def _refuse(query: object, context: Any) -> GraphQLError | None:
    """Return why a document is refused before it is parsed, or its syntax error; None if it can be run."""
    if not isinstance(query, str) or not query:
        return GraphQLError("The request has no query.", extensions={"code": "INVALID"})
    if isinstance(context, Context) and (refusal := refuse_debtor(context)):
        return refusal
    try:
        documents.parse(query)
    except GraphQLError as error:
        if isinstance(context, Context):
            charge_refused(context, query)
        return error
    return None


async def _only(result: Any) -> AsyncGenerator[Any, None]:
    yield result


schema = _Schema(
    query=Query,
    mutation=Mutation,
    subscription=Subscription,
    # These are reachable only through an interface.
    types=[InputError, VersionConflict, ForceRequired, Taken, Variant],
    config=StrawberryConfig(scalar_map=SCALARS),
    extensions=[
        MaskBugs,
        HideSchema,
        ParseAndValidate,
        Limits,
        OneOperation,
        Variables,
        Costs,
    ],
)
require_read(schema)


def sdl() -> str:
    """Return the schema in the schema definition language (SDL)."""
    return schema.as_str() + "\n"
