"""Find changes of the schema that break clients of the last release."""

from collections.abc import Iterable, Iterator

from graphql import (
    DefinitionNode,
    DocumentNode,
    EnumValueDefinitionNode,
    FieldDefinitionNode,
    GraphQLNamedType,
    GraphQLSchema,
    InputValueDefinitionNode,
    InterfaceTypeDefinitionNode,
    NamedTypeNode,
    Node,
    ObjectTypeDefinitionNode,
    TypeDefinitionNode,
    Visitor,
    build_ast_schema,
    build_schema,
    find_breaking_changes,
    parse,
    visit,
)

Member = FieldDefinitionNode | InputValueDefinitionNode | EnumValueDefinitionNode


def find_breaks(released: str, now: str) -> list[str]:
    """Return a sentence for each change that breaks a client of the released schema.

    Fields, arguments and values that were deprecated in the release may be removed, together with the types that
    only they lead to.
    """
    new = build_schema(now)
    kept = _reachable(_without_retired(parse(released), new))
    return [change.description for change in find_breaking_changes(build_ast_schema(kept, assume_valid=True), new)]


def _without_retired(document: DocumentNode, new: GraphQLSchema) -> DocumentNode:
    """Remove members that were deprecated in the release and no longer exist."""

    class Retire(Visitor):
        def __init__(self) -> None:
            super().__init__()
            self.inside: list[str] = []

        def enter(self, node: Node, *_: object) -> object:
            if isinstance(node, TypeDefinitionNode | Member):
                self.inside.append(node.name.value)
            if isinstance(node, Member) and _is_deprecated(node) and not _has(new, self.inside):
                self.inside.pop()
                return self.REMOVE
            return None

        def leave(self, node: Node, *_: object) -> None:
            if isinstance(node, TypeDefinitionNode | Member):
                self.inside.pop()

    retired = visit(document, Retire())
    assert isinstance(retired, DocumentNode)
    return retired


def _is_deprecated(member: Member) -> bool:
    return any(directive.name.value == "deprecated" for directive in member.directives or ())


def _has(schema: GraphQLSchema, path: list[str]) -> bool:
    """Whether a field, value or argument with that path exists: type, member, argument."""
    found: object = schema.type_map.get(path[0])
    if isinstance(found, GraphQLNamedType) and len(path) > 1:
        members = getattr(found, "fields", None) or getattr(found, "values", {})
        found = members.get(path[1])
    return found is not None and (len(path) < 3 or path[2] in getattr(found, "args", {}))


def _reachable(document: DocumentNode) -> DocumentNode:
    """Remove the types that no operation leads to."""
    types = {d.name.value: d for d in document.definitions if isinstance(d, TypeDefinitionNode)}
    found: set[str] = set()
    waiting: list[str] = [name for name in ("Query", "Mutation", "Subscription") if name in types]
    while waiting:
        name = waiting.pop()
        if name in types and name not in found:
            found.add(name)
            waiting += [*_named(types[name]), *_implementing(name, types.values())]
    kept = tuple(d for d in document.definitions if not isinstance(d, TypeDefinitionNode) or d.name.value in found)
    return DocumentNode(definitions=kept)


def _named(definition: DefinitionNode) -> list[str]:
    names: list[str] = []

    class Collect(Visitor):
        def enter_named_type(self, node: NamedTypeNode, *_: object) -> None:
            names.append(node.name.value)

    visit(definition, Collect())
    return names


def _implementing(interface: str, types: Iterable[TypeDefinitionNode]) -> Iterator[str]:
    for kind in types:
        if isinstance(kind, ObjectTypeDefinitionNode | InterfaceTypeDefinitionNode) and any(
            implemented.name.value == interface for implemented in kind.interfaces or ()
        ):
            yield kind.name.value
