"""What an operation costs, counted from its coerced values before it runs.

An object costs 1 and ten scalars of it 1; what is worked out for each variant costs more, a mutation more than that,
and what looks at a whole table most. A page counts `first` times what is asked of one object, a list of ids or inputs
as often as it is long.
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
# What a picture offers where nothing else is asked for: two widths in three formats.
USUAL_WIDTHS, USUAL_FORMATS = 2, 3
MUTATION = 10
# What looks at every row of a tenant's table.
SCAN = 1000
# Beyond these, what is sent along costs 1 each: items of lists, characters of text.
ITEMS, CHARACTERS = 10, 1000
# One object of the schema is told much faster than one of the catalog.
INTROSPECTED = 20

WEIGHTS = {
    "variants": 5,
    "currentUrl": 1,
    "html": 1,
    # These are signed.
    "url": 1,
    "reportUrl": 1,
    # These are drawn.
    "samples": 100,
    "previewUrls": 100,
}
# These look at every row of a table again for each object that is asked.
SCANS_EACH = {("Job", "retrying")}
# These look at every row of a table, but once however many objects of a page ask.
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
# By field: the arguments, and keys of an argument, that make it look at every row. In a connection every argument
# that is not found by an index does; those are listed all the same, and a test compares both lists with the schema.
SCANNING = {
    ("Query", "jobs"): ("states", "filter.states", "filter.kinds", "filter.location"),
    ("Query", "packs"): ("filter.nothingToShowAt", "filter.variantState"),
    ("Mutation", "purge"): ("renderedBefore",),
    ("Mutation", "regenerate"): ("scope.location", "scope.tenant"),
}
# An index finds these, in the order of the listing that is named; None: in its only order.
INDEXED: dict[tuple[str, str], dict[str, str | None]] = {
    ("Query", "jobs"): {"filter.packId": None, "filter.since": None},
    ("Query", "packs"): {"filter.sequenceAfter": "SEQUENCE_ASC", "filter.modifiedAfter": "MODIFIED_DESC"},
}
# An index finds at most one row for each item of these lists; other filters only leave some out.
UNIQUE = {("Query", "packs"): ("filter.assetIds", "filter.externalIds")}
# These say which page of a connection is read; an index leads to it in every order.
PAGING = ("first", "after", "orderBy")
# Any other `totalCount` counts the rows of one object, by an index.
COUNT = 10
# The length of these is known only when they are read.
LENGTHS = {("Pack", "locations"): 10, ("Query", "webhooks"): 10}
SIZED_BY = ("first", "ids", "inputs")
# The lists of these arguments are counted as lengths, or as what a picture offers.
COUNTED = (*SIZED_BY, "sources", "widths", "formats")
# How long the lists of one type of the schema are, about.
SCHEMA_LENGTHS = {"fields": 6, "args": 2, "inputFields": 3, "enumValues": 4, "possibleTypes": 2, "directives": 10}


class Measure(NamedTuple):
    """What a selection costs: for each object, again for each object of its page, and once in the whole operation."""

    once: int = 0
    each: int = 0
    scans: int = 0


class Meter:
    """Measures one operation as it will be executed."""

    def __init__(self, schema: GraphQLSchema, fragments: Fragments, variables: VariableValues) -> None:
        self._schema = schema
        self._fragments = fragments
        self._variables = variables

    def cost(self, operation: OperationDefinitionNode) -> int:
        """Return what a valid operation costs at most."""
        root = self._schema.get_root_type(operation.operation)
        assert root is not None
        measured = self._object([operation.selection_set], root)
        return min(measured.once + measured.scans, MAX_LONG)

    def _selected(self, selections: Sequence[SelectionSetNode], kind: GraphQLNamedType) -> Measure:
        """Return what is asked of a value; of an interface's the most that any of its types costs."""
        if isinstance(kind, GraphQLObjectType):
            return self._object(selections, kind)
        assert is_abstract_type(kind)
        measured = [self._object(selections, each) for each in self._schema.get_possible_types(kind)]
        return Measure(*(max(costs) for costs in zip(*measured, strict=True)))

    def _object(self, selections: Sequence[SelectionSetNode], kind: GraphQLObjectType) -> Measure:
        once = each = scans = scalars = 0
        # Their names in the answer, which the client chooses, are repeated in each object.
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
            # The executor refuses this field, and nothing below it is read.
            return Measure(OBJECT)
        below = self._selected(selections, kind) if selections else Measure()
        scans = below.scans + self._scans(parent, name, given)
        length = _length(field, given, LENGTHS.get((parent.name, name), 1))
        if parent is self._schema.mutation_type:
            # Each item of a list is a change of its own.
            weight = MUTATION * max(1, _items(given)) + _characters(given) // CHARACTERS
            return Measure(weight + length * below.once, scans=scans)
        weight = self._weight(parent, name, given, is_object=bool(selections))
        if parent.name.endswith("Connection"):
            # `nodes` and `edges` are as long as the page, the rest is there once.
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
        # Of a picture, each source element repeats the text.
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
        """Return how many objects and lists of the schema a selection tells, about."""
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
    """Return what one run of a valid operation costs at most; of a subscription, one event."""
    return Meter(schema, fragments, variables).cost(operation)


def _length(field: GraphQLField, given: Mapping[str, Any], otherwise: int) -> int:
    for name in SIZED_BY:
        if name in field.args:
            value = given.get(name)
            # No page or list is longer, and refusing that is the field's own.
            return min(MAX_PAGE, max(0, value if isinstance(value, int) else len(value or ())))
    return otherwise


def _offered(given: Mapping[str, Any]) -> int:
    """Return how many variants a picture offers: each width of each source in each format is worked out."""
    sources = given.get("sources", [given])
    offered = sum(
        _count(source.get("widths"), USUAL_WIDTHS) * _count(source.get("formats"), USUAL_FORMATS) for source in sources
    )
    return max(1, offered)


def _count(values: Any, usual: int) -> int:
    return usual if values is None else max(1, len(values))


def _elements(given: Mapping[str, Any]) -> int:
    """Return how many source elements one source of a picture gives at most: one for each format."""
    return max(_count(source.get("formats"), len(Format)) for source in given.get("sources") or [given])


def _page_scans(place: tuple[str, str], given: Mapping[str, Any]) -> bool:
    """Whether a page is found by looking at every row: an argument is given that no index finds in its order."""
    used = [key for key in _used(given) if key not in PAGING]
    if any(key in UNIQUE.get(place, ()) for key in used):
        return False
    order, indexed = given.get("orderBy"), INDEXED.get(place, {})
    order = getattr(order, "name", order)
    return not all(key in indexed and indexed[key] in (None, order) for key in used)


def _argument_scans(place: tuple[str, str], given: Mapping[str, Any]) -> bool:
    """Whether an argument is given that makes a field look at every row."""
    scanning = SCANNING.get(place)
    return scanning is not None and any(key in scanning for key in _used(given))


def _used(given: Mapping[str, Any]) -> list[str]:
    """Return the arguments that are given, of input objects their keys that are: `filter.states`."""
    return [
        key if inner is None else f"{key}.{inner}"
        for key, value in given.items()
        for inner in ([name for name, each in value.items() if each is not None] if isinstance(value, dict) else [None])
        if value is not None
    ]


def _items(value: Any) -> int:
    """Return how many items all lists within a value have."""
    if isinstance(value, Mapping):
        return sum(map(_items, value.values()))
    return len(value) + sum(map(_items, value)) if isinstance(value, list) else 0


def _characters(value: Any) -> int:
    """Return how long all texts within a value are."""
    if isinstance(value, str):
        return len(value)
    if isinstance(value, Mapping):
        value = value.values()
    return sum(map(_characters, value)) if isinstance(value, Iterable) else 0
