"""Find the fields that a selection requests, by the rules of execution."""

from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

from graphql import (
    FieldNode,
    FragmentDefinitionNode,
    FragmentSpreadNode,
    GraphQLDirective,
    GraphQLError,
    GraphQLIncludeDirective,
    GraphQLObjectType,
    GraphQLSchema,
    GraphQLSkipDirective,
    InlineFragmentNode,
    SelectionNode,
    SelectionSetNode,
    VariableValues,
    get_directive_values,
    is_abstract_type,
)

Fragments: TypeAlias = Mapping[str, FragmentDefinitionNode]


def collect(
    schema: GraphQLSchema,
    kind: GraphQLObjectType,
    selections: Sequence[SelectionSetNode],
    fragments: Fragments,
    variables: VariableValues,
) -> dict[str, list[FieldNode]]:
    """Return the requested fields of an object by response key; fields with the same key are one field.

    Fragments are expanded; fields that `@skip` or `@include` omits are omitted.
    """
    found: dict[str, list[FieldNode]] = {}
    seen: set[str] = set()
    waiting = list(reversed(selections))
    while waiting:
        for selection in waiting.pop().selections:
            if not _is_included(selection, variables):
                continue
            if isinstance(selection, FieldNode):
                found.setdefault((selection.alias or selection.name).value, []).append(selection)
            elif isinstance(selection, InlineFragmentNode):
                condition = selection.type_condition
                if condition is None or _applies(schema, condition.name.value, kind):
                    waiting.append(selection.selection_set)
            elif isinstance(selection, FragmentSpreadNode) and selection.name.value not in seen:
                seen.add(selection.name.value)
                fragment = fragments[selection.name.value]
                if _applies(schema, fragment.type_condition.name.value, kind):
                    waiting.append(fragment.selection_set)
    return found


def asks_for(info: Any, name: str) -> bool:
    """Whether the operation requests a field of the object that a resolver returns. Use it for values that are
    expensive.
    """
    raw = info._raw_info
    kind = raw.return_type
    while hasattr(kind, "of_type"):
        kind = kind.of_type
    selections = [node.selection_set for node in raw.field_nodes if node.selection_set is not None]
    variables = VariableValues(sources={}, coerced=raw.variable_values)
    fields = collect(raw.schema, kind, selections, raw.fragments, variables)
    return any(nodes[0].name.value == name for nodes in fields.values())


def _is_included(node: SelectionNode, variables: VariableValues) -> bool:
    if not node.directives:
        return True
    return not _says(GraphQLSkipDirective, node, variables) and _says(
        GraphQLIncludeDirective, node, variables, otherwise=True
    )


def _says(directive: GraphQLDirective, node: Any, variables: VariableValues, *, otherwise: bool = False) -> bool:
    try:
        values = get_directive_values(directive, node, variables)
    except GraphQLError:
        # The executor refuses the whole operation in this case.
        return otherwise
    return otherwise if values is None else bool(values["if"])


def _applies(schema: GraphQLSchema, condition: str, kind: GraphQLObjectType) -> bool:
    named = schema.type_map[condition]
    return named is kind or (is_abstract_type(named) and schema.is_sub_type(named, kind))
