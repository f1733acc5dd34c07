"""What an operation costs, counted before it runs.

An object costs 1 and a scalar nothing; what is worked out for each variant costs more, and a mutation more than
that. A page counts `first` times what is asked of one object, a list of ids or inputs as often as it is long.
"""

import math
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from graphql import (
    DocumentNode,
    FieldNode,
    FragmentDefinitionNode,
    FragmentSpreadNode,
    GraphQLError,
    GraphQLField,
    GraphQLInterfaceType,
    GraphQLNamedType,
    GraphQLObjectType,
    GraphQLSchema,
    InlineFragmentNode,
    IntValueNode,
    ListValueNode,
    OperationDefinitionNode,
    SelectionSetNode,
    ValueNode,
    VariableNode,
    get_named_type,
    value_from_ast_untyped,
)
from strawberry.extensions import SchemaExtension

from packshot.catalog.pages import LARGEST_PAGE
from schema.context import Context
from schema.scalars import MAX_LONG

OBJECT = 1
# What a picture offers where nothing else is asked for: two widths in three formats.
USUAL_WIDTHS, USUAL_FORMATS = 2, 3
MUTATION = 10
WEIGHTS = {"variants": 5}
# Nobody says how long these are before they are read.
LENGTHS = {("Pack", "locations"): 10}
SIZED_BY = ("first", "ids", "inputs")


class Measure(NamedTuple):
    """What a selection costs: once, and again for each object where it is of a page."""

    once: int = 0
    each: int = 0


class Meter:
    """Measures one document. Every fragment is measured once, however often it is spread."""

    def __init__(self, schema: GraphQLSchema, document: DocumentNode, variables: Mapping[str, Any]) -> None:
        self._schema = schema
        self._fragments = {d.name.value: d for d in document.definitions if isinstance(d, FragmentDefinitionNode)}
        self._measured: dict[str, Measure] = {}
        self._variables = variables
        self._defaults: dict[str, ValueNode] = {}

    def cost(self, operation: OperationDefinitionNode) -> int:
        """Return what a valid operation costs at most."""
        declared = operation.variable_definitions or ()
        self._defaults = {d.variable.name.value: d.default_value for d in declared if d.default_value is not None}
        root = self._schema.get_root_type(operation.operation)
        assert root is not None
        # Fragments that double each other reach numbers that JSON has no room for.
        return min(self._selection(operation.selection_set, root).once, MAX_LONG)

    def _selection(self, selections: SelectionSetNode, parent: GraphQLNamedType) -> Measure:
        once = each = 0
        for selection in selections.selections:
            if isinstance(selection, FieldNode):
                found = self._field(selection, parent)
            elif isinstance(selection, InlineFragmentNode):
                condition = selection.type_condition
                kind = parent if condition is None else self._schema.type_map[condition.name.value]
                found = self._selection(selection.selection_set, kind)
            else:
                assert isinstance(selection, FragmentSpreadNode)
                found = self._fragment(selection.name.value)
            once, each = once + found.once, each + found.each
        return Measure(once, each)

    def _fragment(self, name: str) -> Measure:
        if name not in self._measured:
            fragment = self._fragments[name]
            kind = self._schema.type_map[fragment.type_condition.name.value]
            self._measured[name] = self._selection(fragment.selection_set, kind)
        return self._measured[name]

    def _field(self, node: FieldNode, parent: GraphQLNamedType) -> Measure:
        name = node.name.value
        if name.startswith("__"):
            # What the schema says of itself is the same for everybody, and bounded by a rule of its own.
            return Measure(OBJECT if node.selection_set else 0)
        assert isinstance(parent, GraphQLObjectType | GraphQLInterfaceType)
        field, kind = parent.fields[name], get_named_type(parent.fields[name].type)
        weight = WEIGHTS.get(name, OBJECT if node.selection_set else 0)
        if name == "picture":
            weight = self._offered(node)
        if parent is self._schema.mutation_type:
            weight = MUTATION
        below = self._selection(node.selection_set, kind) if node.selection_set else Measure()
        if parent.name.endswith("Connection"):
            # `nodes` and `edges` are as long as the page, `pageInfo` is there once.
            whole = weight + below.once
            return Measure(each=whole) if name in ("nodes", "edges") else Measure(whole)
        length = self._length(node, field, LENGTHS.get((parent.name, name), 1))
        if kind.name.endswith("Connection"):
            return Measure(weight + below.once + length * below.each)
        return Measure(length * (weight + below.once))

    def _offered(self, node: FieldNode) -> int:
        """Return how many variants a picture offers: each width of each source in each format is worked out."""
        values = {name: value for name, value in self._variables.items() if value is not None}
        given = {
            argument.name.value: value_from_ast_untyped(argument.value, values) for argument in node.arguments or ()
        }
        sources = given.get("sources", [given])
        return sum(
            _count(source.get("widths"), USUAL_WIDTHS) * _count(source.get("formats"), USUAL_FORMATS)
            for source in (sources if isinstance(sources, list) else [sources])
            if isinstance(source, dict)
        )

    def _length(self, node: FieldNode, field: GraphQLField, otherwise: int) -> int:
        given = {argument.name.value: argument.value for argument in node.arguments or ()}
        for name in SIZED_BY:
            if name in field.args:
                asked = self._size(given.get(name)) if name in given else None
                return min(LARGEST_PAGE, max(0, field.args[name].default_value or 0 if asked is None else asked))
        return otherwise

    def _size(self, node: ValueNode | None) -> int | None:
        """Return the number, or the length of the list, that a value is; None: it is neither."""
        if isinstance(node, VariableNode):
            name = node.name.value
            if name not in self._variables:
                return self._size(self._defaults.get(name))
            value = self._variables[name]
            return len(value) if isinstance(value, list) else value if isinstance(value, int) else None
        if isinstance(node, ListValueNode):
            return len(node.values)
        return int(node.value) if isinstance(node, IntValueNode) else None


def _count(value: Any, usual: int) -> int:
    if value is None:
        return usual
    return len(value) if isinstance(value, list) else 1


class Costs(SchemaExtension):
    """Refuses an operation that costs too much, and tells what each costs. Stands after the `ValidationCache`."""

    def __init__(self) -> None:
        self._told: dict[str, Any] = {}

    def on_validate(self) -> Iterator[None]:
        execution = self.execution_context
        if not execution.pre_execution_errors and isinstance(execution.context, Context):
            # An empty list says that the document was validated.
            execution.pre_execution_errors = self._charge(execution.context)
        yield

    def get_results(self) -> dict[str, Any]:
        return self._told

    def _charge(self, context: Context) -> list[GraphQLError]:
        caller, budgets, cost = context.caller, context.budgets, self._cost()
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
            message = f"The operation costs {cost}; {budgets.largest} are allowed. Ask for smaller pages."
            return [GraphQLError(message, extensions={"code": "LIMIT"})]
        if wait:
            context.retry_after_seconds = math.ceil(wait)
            message = f"The operation costs {cost}, and less than that is left. Ask again later."
            return [GraphQLError(message, extensions={"code": "LIMIT", "retryAfterSeconds": math.ceil(wait)})]
        return []

    def _cost(self) -> int:
        execution = self.execution_context
        document, name = execution.graphql_document, execution.operation_name
        assert document is not None
        (operation,) = (
            definition
            for definition in document.definitions
            if isinstance(definition, OperationDefinitionNode)
            and (definition.name.value if definition.name else None) == name
        )
        return Meter(execution.schema._schema, document, execution.variables or {}).cost(operation)
