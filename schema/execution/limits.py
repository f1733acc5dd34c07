"""Limits of a document, checked before anything runs."""

import re
from collections.abc import Collection, Iterator
from typing import Any

from graphql import (
    DocumentNode,
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
from strawberry.extensions import AddValidationRules, SchemaExtension

MAX_DEPTH = 15
MAX_ALIASES = 50
MAX_TOKENS = 5000
# Counted with every fragment expanded where it is used.
MAX_FIELDS = 5000
MAX_REPEATED = 200
MAX_FRAGMENTS = 200
# Values in variables, including those in lists and objects.
MAX_VALUES = 20_000

# Databases cannot store these in text: PostgreSQL refuses NUL, UTF-8 refuses surrogates.
_UNSTORABLE = re.compile("[\x00\ud800-\udfff]")


def refuse_shape(document: DocumentNode) -> GraphQLError | None:
    """Return why validation of a document would take seconds; None if it would not.

    Validation compares each pair of fields with the same name, and again the fields below them.
    """
    fragments = {d.name.value: d for d in document.definitions if isinstance(d, FragmentDefinitionNode)}
    if len(fragments) > MAX_FRAGMENTS:
        # Validation compares each pair of fragments.
        return GraphQLError(f"The document has more than {MAX_FRAGMENTS} fragments.", extensions={"code": "LIMIT"})
    operations = [d for d in document.definitions if isinstance(d, OperationDefinitionNode)]
    waiting = [[operation.selection_set] for operation in operations]
    fields = repeated = 0
    while waiting:
        merged = _merge(waiting.pop(), fragments)
        fields += sum(len(same) for same in merged)
        repeated += sum(len(same) - 1 for same in merged)
        if fields > MAX_FIELDS:
            return GraphQLError(f"The document has more than {MAX_FIELDS} fields.", extensions={"code": "LIMIT"})
        if repeated > MAX_REPEATED:
            message = f"The document repeats fields more than {MAX_REPEATED} times."
            return GraphQLError(message, extensions={"code": "LIMIT"})
        waiting += [[field.selection_set for field in same if field.selection_set] for same in merged]
    return None


def _merge(
    selections: list[SelectionSetNode], fragments: dict[str, FragmentDefinitionNode]
) -> Collection[list[FieldNode]]:
    """Return the fields of one object's selections, grouped by response key."""
    merged: dict[str, list[FieldNode]] = {}
    seen: set[str] = set()
    waiting = list(selections)
    while waiting:
        for selection in waiting.pop().selections:
            if isinstance(selection, FieldNode):
                merged.setdefault((selection.alias or selection.name).value, []).append(selection)
            elif isinstance(selection, InlineFragmentNode):
                waiting.append(selection.selection_set)
            elif isinstance(selection, FragmentSpreadNode) and selection.name.value not in seen:
                seen.add(selection.name.value)
                if selection.name.value in fragments:
                    waiting.append(fragments[selection.name.value].selection_set)
    return merged.values()


class OneOperation(SchemaExtension):
    """Refuse a document with several operations if the request names none. Runs after `ParseAndValidate`."""

    def on_validate(self) -> Iterator[None]:
        context = self.execution_context
        if not context.pre_execution_errors and context._provided_operation_name is None:
            assert context.graphql_document is not None
            operations = [d for d in context.graphql_document.definitions if isinstance(d, OperationDefinitionNode)]
            if len(operations) > 1:
                # Strawberry would run the first one.
                message = "The document has several operations; `operationName` must name one."
                context.pre_execution_errors = [GraphQLError(message, operations, extensions={"code": "INVALID"})]
        yield


class DocumentLimits(ValidationRule):
    """Refuse documents that nest too deep or have too many aliases.

    Each fragment is measured once, wherever it is used, so measuring takes no longer than reading the document.
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
        """Return the depth of nested fields and the number of aliases."""
        depth = aliases = 0
        for selection in selections.selections:
            below, renamed = 0, 0
            if isinstance(selection, FieldNode):
                if selection.selection_set is not None:
                    below, renamed = self._measure(selection.selection_set)
                # Another rule limits the depth of introspection.
                below = 1 if selection.name.value.startswith("__") else below + 1
                renamed += selection.alias is not None
            elif isinstance(selection, InlineFragmentNode):
                below, renamed = self._measure(selection.selection_set)
            elif isinstance(selection, FragmentSpreadNode):
                below, renamed = self._measure_fragment(selection.name.value)
            depth, aliases = max(depth, below), aliases + renamed
        return depth, aliases

    def _measure_fragment(self, name: str) -> tuple[int, int]:
        if name not in self._measured:
            # Another rule refuses a fragment that contains itself.
            self._measured[name] = (0, 0)
            if name in self._fragments:
                self._measured[name] = self._measure(self._fragments[name].selection_set)
        return self._measured[name]


class StorableText(ValidationRule):
    """Refuse texts in the document that a database cannot store."""

    def enter_string_value(self, node: StringValueNode, *_: Any) -> None:
        if _UNSTORABLE.search(node.value):
            self.report_error(_unstorable(node))


class Limits(AddValidationRules):
    """The document rules. They are the same objects for every request, so that results can be cached."""

    def __init__(self) -> None:
        super().__init__([DocumentLimits, StorableText])


class Variables(SchemaExtension):
    """Refuse variables that are not an object, are too many, or contain texts that a database cannot store.

    Runs after `ParseAndValidate`.
    """

    def on_validate(self) -> Iterator[None]:
        context = self.execution_context
        if not context.pre_execution_errors and (refusal := _refuse_variables(context.variables)):
            context.pre_execution_errors = [refusal]
        yield


def _refuse_variables(variables: object) -> GraphQLError | None:
    if not isinstance(variables, dict | None):
        return GraphQLError("Variables must be a JSON object.", extensions={"code": "INVALID"})
    # Without recursion: a body may nest deeper than Python's stack.
    left: list[object] = [variables]
    values = 0
    while left:
        item = left.pop()
        values += 1
        if values > MAX_VALUES:
            return GraphQLError(f"There are more than {MAX_VALUES} values in variables.", extensions={"code": "LIMIT"})
        if isinstance(item, str) and _UNSTORABLE.search(item):
            return _unstorable(None)
        left += item.values() if isinstance(item, dict) else item if isinstance(item, list) else ()
    return None


def _unstorable(node: StringValueNode | None) -> GraphQLError:
    return GraphQLError("A text must not contain NUL or an unpaired surrogate.", node, extensions={"code": "INVALID"})
