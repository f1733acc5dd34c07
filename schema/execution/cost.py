"""The cost of an operation, computed from its coerced values before it runs.

An object costs 1, and so do ten scalars of an object. Work per variant costs more, a mutation more than that, and
a table scan the most. A page multiplies the cost of one object by `first`; a list of ids or inputs, by its length.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from graphql import (
    FieldNode,
    GraphQLError,
    GraphQLField,
    GraphQLNamedType,
    GraphQLObjectType,
    GraphQLSchema,
    OperationDefinitionNode,
    SelectionSetNode,
    VariableValues,
    get_argument_values,
    get_named_type,
    is_abstract_type,
)

from packshot.catalog.database.pages import MAX_PAGE
from packshot.model import Format
from schema.base.scalars import MAX_LONG
from schema.base.selection import Fragments, collect

OBJECT = 1
SCALARS = 10
# A picture has two widths in three formats by default.
USUAL_WIDTHS, USUAL_FORMATS = 2, 3
MUTATION = 10
# A read of every row of a tenant's table.
SCAN = 1000
# Beyond these numbers, each list item and each block of characters that the client sends costs 1.
ITEMS, CHARACTERS = 10, 1000
# An object of the schema is answered this many times faster than one of the catalog.
INTROSPECTED = 20

WEIGHTS = {
    "variants": 5,
    "currentUrl": 1,
    "html": 1,
    # Signed URLs.
    "url": 1,
    "reportUrl": 1,
    # Rendered images.
    "samples": 100,
    "previewUrls": 100,
}
# These scan a table once for each object.
SCANS_EACH = {("Job", "retrying")}
# These scan a table once per operation, however many objects request it.
SCANS = {
    ("PackConnection", "totalCount"),
    ("JobConnection", "totalCount"),
    ("PurgeConnection", "totalCount"),
    ("ImageLocation", "packCount"),
    ("Mutation", "updateTenant"),
    ("Mutation", "putLocation"),
    ("Mutation", "planLocation"),
    ("Mutation", "rollbackLocation"),
    ("Mutation", "deleteLocation"),
    ("Mutation", "addRendition"),
}
# The arguments, and keys of input objects, that cause a scan, by field. In a connection every argument that no index
# serves causes one; they are listed too, and a test compares the list with the schema.
SCANNING = {
    ("Query", "jobs"): ("states", "filter.states", "filter.kinds", "filter.location"),
    ("Query", "packs"): ("filter.nothingToShowAt", "filter.variantState"),
    ("Mutation", "purge"): ("renderedBefore",),
    ("Mutation", "regenerate"): ("scope.location", "scope.tenant"),
}
# Arguments that an index serves, and the list order that the index has; None: the only order.
INDEXED: dict[tuple[str, str], dict[str, str | None]] = {
    ("Query", "jobs"): {"filter.packId": None, "filter.since": None},
    ("Query", "packs"): {"filter.sequenceAfter": "SEQUENCE_ASC", "filter.modifiedAfter": "MODIFIED_DESC"},
}
# An index finds at most one row for each item of these lists; further filters only remove rows.
UNIQUE = {("Query", "packs"): ("filter.assetIds", "filter.externalIds")}
# These select the page of a connection; an index serves them in every order.
PAGING = ("first", "after", "orderBy")
# Any other `totalCount` counts the rows of one object by an index.
COUNT = 10
# Assumed lengths of lists whose length is not known before the read.
LENGTHS = {("Pack", "locations"): 10, ("Query", "webhooks"): 10}
SIZED_BY = ("first", "ids", "inputs")
# The cost already counts the lists of these arguments as lengths, or as what a picture offers.
COUNTED = (*SIZED_BY, "sources", "widths", "formats")
# Typical lengths of lists in the schema's own types.
SCHEMA_LENGTHS = {"fields": 6, "args": 2, "inputFields": 3, "enumValues": 4, "possibleTypes": 2, "directives": 10}


class Measure(NamedTuple):
    """The cost of a selection: once per operation, for each object of its page, and for table scans."""

    once: int = 0
    each: int = 0
    scans: int = 0


class Meter:
    """Compute the cost of one operation as the executor will run it."""

    def __init__(self, schema: GraphQLSchema, fragments: Fragments, variables: VariableValues) -> None:
        self._schema = schema
        self._fragments = fragments
        self._variables = variables

    def cost(self, operation: OperationDefinitionNode) -> int:
        """Return the maximum cost of a valid operation."""
        root = self._schema.get_root_type(operation.operation)
        assert root is not None
        measured = self._object([operation.selection_set], root)
        return min(measured.once + measured.scans, MAX_LONG)

    def _selected(self, selections: Sequence[SelectionSetNode], kind: GraphQLNamedType) -> Measure:
        """Return the cost of a selection; for an interface, the maximum over its types."""
        if isinstance(kind, GraphQLObjectType):
            return self._object(selections, kind)
        assert is_abstract_type(kind)
        measured = [self._object(selections, each) for each in self._schema.get_possible_types(kind)]
        return Measure(*(max(costs) for costs in zip(*measured, strict=True)))

    def _object(self, selections: Sequence[SelectionSetNode], kind: GraphQLObjectType) -> Measure:
        once = each = scans = scalars = 0
        # Each object repeats the response keys, which the client chooses.
        fields = collect(self._schema, kind, selections, self._fragments, self._variables)
        for nodes in fields.values():
            below = [node.selection_set for node in nodes if node.selection_set is not None]
            if nodes[0].name.value.startswith("__"):
                found = Measure(self._introspected(nodes[0], below))
            else:
                found = self._field(nodes[0], kind, below)
            scalars += not below
            once, each, scans = once + found.once, each + found.each, scans + found.scans
        return Measure(once + scalars // SCALARS + _characters(list(fields)) // CHARACTERS, each, scans)

    def _field(self, node: FieldNode, parent: GraphQLObjectType, selections: Sequence[SelectionSetNode]) -> Measure:
        name = node.name.value
        field = parent.fields[name]
        kind = get_named_type(field.type)
        try:
            given = get_argument_values(field, node, self._variables)
        except GraphQLError:
            # The executor refuses this field and reads nothing below it.
            return Measure(OBJECT)
        below = self._selected(selections, kind) if selections else Measure()
        scans = below.scans + self._scans(parent, name, given)
        length = _length(field, given, LENGTHS.get((parent.name, name), 1))
        if parent is self._schema.mutation_type:
            # Each item of a list is a separate change.
            weight = MUTATION * max(1, _items(given)) + _characters(given) // CHARACTERS
            return Measure(weight + length * below.once, scans=scans)
        weight = self._weight(parent, name, given, is_object=bool(selections))
        if parent.name.endswith("Connection"):
            # `nodes` and `edges` have the length of the page; other fields appear once.
            whole = weight + below.once
            in_page = name in ("nodes", "edges")
            return Measure(0 if in_page else whole, whole if in_page else 0, scans)
        if kind.name.endswith("Connection"):
            return Measure(weight + below.once + length * below.each, scans=scans)
        again = SCAN if (parent.name, name) in SCANS_EACH else 0
        return Measure(again + length * (weight + below.once), scans=scans)

    def _weight(self, parent: GraphQLObjectType, name: str, given: Mapping[str, Any], *, is_object: bool) -> int:
        weight = WEIGHTS.get(name, OBJECT if is_object else 0)
        if name == "picture":
            weight = _offered(given)
        elif name == "totalCount" and (parent.name, name) not in SCANS:
            weight = COUNT
        items = sum(_items(value) for key, value in given.items() if key not in COUNTED)
        # Each source element of a picture repeats the text.
        repeated = _elements(given) if name == "picture" else 1
        return weight + items // ITEMS + repeated * _characters(given) // CHARACTERS

    def _scans(self, parent: GraphQLObjectType, name: str, given: Mapping[str, Any]) -> int:
        place = (parent.name, name)
        if place in SCANS:
            return SCAN
        is_page = get_named_type(parent.fields[name].type).name.endswith("Connection")
        return SCAN if (_page_scans if is_page else _argument_scans)(place, given) else 0

    def _introspected(self, node: FieldNode, selections: Sequence[SelectionSetNode]) -> int:
        if not selections:
            return 0
        kind = self._schema.type_map["__Type" if node.name.value == "__type" else "__Schema"]
        assert isinstance(kind, GraphQLObjectType)
        return math.ceil(self._told(selections, kind) / INTROSPECTED)

    def _told(self, selections: Sequence[SelectionSetNode], kind: GraphQLObjectType) -> int:
        """Return the approximate number of schema objects and lists in the answer."""
        fields = collect(self._schema, kind, selections, self._fragments, self._variables)
        told = 1 + INTROSPECTED * _characters(list(fields)) // CHARACTERS
        for nodes in fields.values():
            name = nodes[0].name.value
            below = [node.selection_set for node in nodes if node.selection_set is not None]
            if below:
                inner = get_named_type(kind.fields[name].type)
                assert isinstance(inner, GraphQLObjectType)
                length = len(self._schema.type_map) if name == "types" else SCHEMA_LENGTHS.get(name, 1)
                told += length * self._told(below, inner)
        return told


def measure(
    schema: GraphQLSchema, operation: OperationDefinitionNode, fragments: Fragments, variables: VariableValues
) -> int:
    """Return the maximum cost of one run of a valid operation; for a subscription, of one event."""
    return Meter(schema, fragments, variables).cost(operation)


def _length(field: GraphQLField, given: Mapping[str, Any], otherwise: int) -> int:
    for name in SIZED_BY:
        if name in field.args:
            value = given.get(name)
            # No page or list is longer; the field itself refuses larger values.
            return min(MAX_PAGE, max(0, value if isinstance(value, int) else len(value or ())))
    return otherwise


def _offered(given: Mapping[str, Any]) -> int:
    """Return the number of variants that a picture offers: every width of every source in every format."""
    sources = given.get("sources", [given])
    offered = sum(
        _count(source.get("widths"), USUAL_WIDTHS) * _count(source.get("formats"), USUAL_FORMATS) for source in sources
    )
    return max(1, offered)


def _count(values: Any, usual: int) -> int:
    return usual if values is None else max(1, len(values))


def _elements(given: Mapping[str, Any]) -> int:
    """Return the maximum number of `<source>` elements for one source: one for each format."""
    return max(_count(source.get("formats"), len(Format)) for source in given.get("sources") or [given])


def _page_scans(place: tuple[str, str], given: Mapping[str, Any]) -> bool:
    """Whether a page needs a table scan: an argument is set that no index serves in the requested order."""
    used = [key for key in _used(given) if key not in PAGING]
    if any(key in UNIQUE.get(place, ()) for key in used):
        return False
    order, indexed = given.get("orderBy"), INDEXED.get(place, {})
    order = getattr(order, "name", order)
    return not all(key in indexed and indexed[key] in (None, order) for key in used)


def _argument_scans(place: tuple[str, str], given: Mapping[str, Any]) -> bool:
    """Whether an argument is set that makes a field scan a table."""
    scanning = SCANNING.get(place)
    return scanning is not None and any(key in scanning for key in _used(given))


def _used(given: Mapping[str, Any]) -> list[str]:
    """Return the arguments that are set, and for input objects their keys: `filter.states`."""
    return [
        key if inner is None else f"{key}.{inner}"
        for key, value in given.items()
        for inner in ([name for name, each in value.items() if each is not None] if isinstance(value, dict) else [None])
        if value is not None
    ]


def _items(value: Any) -> int:
    """Return the number of items of all lists within a value."""
    if isinstance(value, Mapping):
        return sum(map(_items, value.values()))
    return len(value) + sum(map(_items, value)) if isinstance(value, list) else 0


def _characters(value: Any) -> int:
    """Return the total length of all texts within a value."""
    if isinstance(value, str):
        return len(value)
    if isinstance(value, Mapping):
        value = value.values()
    return sum(map(_characters, value)) if isinstance(value, Iterable) else 0
