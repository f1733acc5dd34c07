"""The schema, put together."""

from collections.abc import Iterable
from typing import Any

import strawberry
from graphql import GraphQLError
from strawberry.extensions import MaxTokensLimiter
from strawberry.schema.config import StrawberryConfig
from strawberry.types import ExecutionResult
from strawberry.types.graphql import OperationType

from schema.cost import Costs
from schema.fresh import FreshReads
from schema.interfaces import InputError, Taken, VersionConflict
from schema.limits import MAX_TOKENS, Limits, OneOperation, Parse, StorableVariables, Validate
from schema.masking import MaskBugs
from schema.mutations import Mutation
from schema.pictures import Variant
from schema.plans import ForceRequired
from schema.queries import Query
from schema.reticence import Reticence
from schema.scalars import SCALARS
from schema.subscriptions import Subscription
from schema.visibility import require_read


class _Schema(strawberry.Schema):
    async def execute(  # type: ignore[override]
        self,
        query: str | None,
        *,
        allowed_operation_types: Iterable[OperationType] = tuple(OperationType),
        **options: Any,
    ) -> ExecutionResult:
        """Run an operation that has one answer. Strawberry would run a subscription too, as if it were a query."""
        allowed = set(allowed_operation_types) - {OperationType.SUBSCRIPTION}
        return await super().execute(query, allowed_operation_types=allowed, **options)

    def process_errors(self, errors: list[GraphQLError], execution_context: Any = None) -> None:
        """Log nothing here: a client's mistake is no news, and `MaskBugs` logs the rest."""


def _tokens() -> MaxTokensLimiter:
    return MaxTokensLimiter(max_token_count=MAX_TOKENS)


schema = _Schema(
    query=Query,
    mutation=Mutation,
    subscription=Subscription,
    # Reachable through an interface alone.
    types=[InputError, VersionConflict, ForceRequired, Taken, Variant],
    config=StrawberryConfig(scalar_map=SCALARS),
    extensions=[
        MaskBugs,
        FreshReads,
        Reticence,
        _tokens,
        Parse,
        Validate,
        Limits,
        OneOperation,
        StorableVariables,
        Costs,
    ],
)
require_read(schema)


def sdl() -> str:
    """Return the schema in the schema definition language."""
    return schema.as_str() + "\n"
