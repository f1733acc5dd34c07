"""Charge callers for an operation before it runs."""

import math
from collections.abc import Iterator
from typing import Any

from graphql import FragmentDefinitionNode, GraphQLError, OperationDefinitionNode, get_variable_values
from strawberry.extensions import SchemaExtension

from schema.execution.cost import measure
from schema.request.context import Context

MAX_VARIABLE_ERRORS = 50
# A refused document costs 1 for this many characters.
REFUSED_CHARACTERS = 10


def refuse_debtor(context: Context) -> GraphQLError | None:
    """Return why the caller must wait before any operation; None if budget is left."""
    wait = context.budgets.take(context.caller.tenant, context.caller.subject, 0)
    return _come_later(context, "Your query budget is used up. Retry later.", wait) if wait else None


def charge_refused(context: Context, query: str) -> None:
    """Charge for a document that was parsed but not executed."""
    context.budgets.spend(context.caller.tenant, context.caller.subject, max(1, len(query) // REFUSED_CHARACTERS))


def _come_later(context: Context, message: str, wait: float) -> GraphQLError:
    context.retry_after_seconds = math.ceil(wait)
    return GraphQLError(message, extensions={"code": "LIMIT", "retryAfterSeconds": math.ceil(wait)})


class Costs(SchemaExtension):
    """Refuse an operation that costs too much, and report the cost of each. Runs after `ParseAndValidate`."""

    def __init__(self) -> None:
        self._told: dict[str, Any] = {}

    def on_validate(self) -> Iterator[None]:
        execution = self.execution_context
        if isinstance(execution.context, Context):
            if not execution.pre_execution_errors:
                # An empty list tells Strawberry that the document is valid.
                execution.pre_execution_errors = self._charge(execution.context)
            elif execution.query:
                charge_refused(execution.context, execution.query)
        yield

    def get_results(self) -> dict[str, Any]:
        return self._told

    def _charge(self, context: Context) -> list[GraphQLError]:
        cost, query = self._cost(), self.execution_context.query or ""
        if isinstance(cost, list):
            charge_refused(context, query)
            return cost
        caller, budgets = context.caller, context.budgets
        affordable = cost <= budgets.largest
        wait = budgets.take(caller.tenant, caller.subject, cost) if affordable else 0
        self._told = {
            "cost": {
                "requested": cost,
                "maximum": budgets.largest,
                "available": budgets.available(caller.tenant, caller.subject),
                "restoreRate": budgets.per_second,
            }
        }
        if not affordable:
            charge_refused(context, query)
            message = f"The operation costs {cost}; {budgets.largest} are allowed. Ask for smaller pages."
            return [GraphQLError(message, extensions={"code": "LIMIT"})]
        if wait:
            message = f"The operation costs {cost}, and less than that is left of your query budget. Retry later."
            return [_come_later(context, message, wait)]
        return []

    def _cost(self) -> int | list[GraphQLError]:
        """Return the cost of the operation, or the errors of its variables."""
        execution = self.execution_context
        document, name = execution.graphql_document, execution.operation_name
        assert document is not None
        (operation,) = (
            definition
            for definition in document.definitions
            if isinstance(definition, OperationDefinitionNode)
            and (definition.name.value if definition.name else None) == name
        )
        schema, declared = execution.schema._schema, operation.variable_definitions or ()
        variables = get_variable_values(schema, declared, execution.variables or {}, max_errors=MAX_VARIABLE_ERRORS)
        if isinstance(variables, list):
            return variables
        fragments = {d.name.value: d for d in document.definitions if isinstance(d, FragmentDefinitionNode)}
        return measure(schema, operation, fragments, variables)
