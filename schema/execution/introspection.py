"""Hide the schema if the operator has switched introspection off."""

import re
from collections.abc import Iterator
from typing import Any

from graphql import GraphQLError, NoSchemaIntrospectionCustomRule
from strawberry.extensions import SchemaExtension

from schema.request.context import Context

_SUGGESTION = re.compile(r" Did you mean [^?]*\?")


class HideSchema(SchemaExtension):
    """Refuse introspection and remove suggestions from errors if `PACKSHOT_INTROSPECTION` is off."""

    def on_operation(self) -> Iterator[None]:
        execution = self.execution_context
        context = execution.context
        if not isinstance(context, Context) or context.caller.site.settings.introspection:
            yield
            return
        execution.validation_rules = (*execution.validation_rules, NoSchemaIntrospectionCustomRule)
        yield
        result: Any = execution.result
        if result is not None and result.errors:
            result.errors = [_without_suggestion(error) for error in result.errors]


def _without_suggestion(error: GraphQLError) -> GraphQLError:
    message = _SUGGESTION.sub("", error.message)
    return GraphQLError(
        message, error.nodes, error.source, error.positions, error.path, error.original_error, error.extensions
    )
