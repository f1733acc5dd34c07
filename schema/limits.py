"""What a document may ask for, decided before anything is run."""

import re
from collections.abc import Iterator
from typing import Any

from graphql import (
    FieldNode,
    FragmentDefinitionNode,
    FragmentSpreadNode,
    GraphQLError,
    InlineFragmentNode,
    OperationDefinitionNode,
    SelectionSetNode,
    StringValueNode,
    ValidationContext,
    ValidationRule,
)
from strawberry.extensions import AddValidationRules, ParserCache, SchemaExtension

MAX_DEPTH = 15
MAX_ALIASES = 50
MAX_TOKENS = 5000

# No database keeps these in text; PostgreSQL refuses the first, UTF-8 the others.
_UNSTORABLE = re.compile("[\x00\ud800-\udfff]")


class Parse(ParserCache):
    """Parses a document once, and refuses one that nests deeper than can be parsed."""

    def on_parse(self) -> Iterator[None]:
        try:
            yield from super().on_parse()
        except RecursionError:
            # Whatever nests that deep is no document of a client that means well.
            raise GraphQLError("The document nests too deep.", extensions={"code": "LIMIT"}) from None


class OneOperation(SchemaExtension):
    """Refuses a document of several operations without the name of one. Stands after the `ValidationCache`."""

    def on_validate(self) -> Iterator[None]:
        context = self.execution_context
        if not context.pre_execution_errors and context._provided_operation_name is None:
            assert context.graphql_document is not None
            operations = [d for d in context.graphql_document.definitions if isinstance(d, OperationDefinitionNode)]
            if len(operations) > 1:
                # Strawberry would run the first.
                message = "The document has several operations; `operationName` must say which to run."
                context.pre_execution_errors = [GraphQLError(message, operations, extensions={"code": "INVALID"})]
        yield


class DocumentLimits(ValidationRule):
    """Refuses documents that nest too deep or rename too often.

    Every fragment is measured once, however often and wherever it is spread, so
    the measuring itself takes no longer than reading the document.
    """

    def __init__(self, context: ValidationContext) -> None:
        super().__init__(context)
        definitions = context.document.definitions
        self._fragments = {d.name.value: d for d in definitions if isinstance(d, FragmentDefinitionNode)}
        self._measured: dict[str, tuple[int, int]] = {}
        for definition in definitions:
            if isinstance(definition, OperationDefinitionNode):
                self._check(definition)

    def _check(self, operation: OperationDefinitionNode) -> None:
        depth, aliases = self._measure(operation.selection_set)
        if depth > MAX_DEPTH:
            self._refuse(f"The operation is {depth} levels deep; {MAX_DEPTH} are allowed.", operation)
        if aliases > MAX_ALIASES:
            self._refuse(f"The operation has {aliases} aliases; {MAX_ALIASES} are allowed.", operation)

    def _refuse(self, message: str, operation: OperationDefinitionNode) -> None:
        self.report_error(GraphQLError(message, operation, extensions={"code": "LIMIT"}))

    def _measure(self, selections: SelectionSetNode) -> tuple[int, int]:
        """Return how many levels of fields are nested, and how many aliases there are."""
        depth = aliases = 0
        for selection in selections.selections:
            below, renamed = 0, 0
            if isinstance(selection, FieldNode):
                # Introspection is bounded by a rule of its own.
                if selection.selection_set is not None and not selection.name.value.startswith("__"):
                    below, renamed = self._measure(selection.selection_set)
                below, renamed = below + 1, renamed + (selection.alias is not None)
            elif isinstance(selection, InlineFragmentNode):
                below, renamed = self._measure(selection.selection_set)
            elif isinstance(selection, FragmentSpreadNode):
                below, renamed = self._measure_fragment(selection.name.value)
            depth, aliases = max(depth, below), aliases + renamed
        return depth, aliases

    def _measure_fragment(self, name: str) -> tuple[int, int]:
        if name not in self._measured:
            # A fragment that contains itself is refused by another rule.
            self._measured[name] = (0, 0)
            if name in self._fragments:
                self._measured[name] = self._measure(self._fragments[name].selection_set)
        return self._measured[name]


class StorableText(ValidationRule):
    """Refuses texts in the document that no database keeps."""

    def enter_string_value(self, node: StringValueNode, *_: Any) -> None:
        if _UNSTORABLE.search(node.value):
            self.report_error(_unstorable(node))


class Limits(AddValidationRules):
    """The document's rules, the same objects for every request, so that validation can be cached."""

    def __init__(self) -> None:
        super().__init__([DocumentLimits, StorableText])


class StorableVariables(SchemaExtension):
    """Refuses texts in the variables that no database keeps. Stands after the `ValidationCache`, which it adds to."""

    def on_validate(self) -> Iterator[None]:
        context = self.execution_context
        if not context.pre_execution_errors and _has_unstorable(context.variables):
            context.pre_execution_errors = [_unstorable(None)]
        yield


def _has_unstorable(value: object) -> bool:
    if isinstance(value, str):
        return _UNSTORABLE.search(value) is not None
    if isinstance(value, dict):
        return any(_has_unstorable(item) for item in value.values())
    return isinstance(value, list) and any(_has_unstorable(item) for item in value)


def _unstorable(node: StringValueNode | None) -> GraphQLError:
    return GraphQLError(
        "A text must not contain NUL or half of a surrogate pair.", node, extensions={"code": "INVALID"}
    )
