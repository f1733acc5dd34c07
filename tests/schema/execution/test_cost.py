"""The cost of operations, budgets, and refusals of expensive operations."""

import asyncio
import json
from collections.abc import Mapping
from typing import Any

import hypothesis
import hypothesis.strategies as st
import pytest
import sqlalchemy as sa
from graphql import GraphQLArgument, GraphQLInputObjectType, GraphQLObjectType, get_named_type

from packshot.settings.settings import Settings
from schema.build import schema
from schema.execution.cost import INDEXED, PAGING, SCAN, SCANNING, UNIQUE
from schema.request.budgets import MAX_BUDGETS, Budgets
from schema.request.context import Context
from tests.schema.api import Api
from tests.schema.request.test_statements import PAGE

GRAPHQL = schema._schema


@pytest.fixture
def database_url() -> None:
    """SQLite is enough: these tests read no rows."""


def cost(api: Api, document: str, **variables: Any) -> int:
    extensions = api.run(document, **variables).extensions
    assert extensions is not None
    price: dict[str, int] = extensions["cost"]
    assert price["maximum"] == 50_000
    assert price["restoreRate"] == 20_000
    taken = price["requested"] if price["requested"] <= price["maximum"] else 0
    # The budget may have been restored in part.
    assert 1_000_000 - taken <= price["available"] <= 1_000_000
    return price["requested"]


@pytest.mark.parametrize(
    ("document", "expected"),
    [
        ("{ __typename }", 0),
        ("{ __schema { queryType { name } } }", 1),
        # `totalCount` of packs scans; failures of a job have an index; `packCount` scans once for all locations.
        ("{ packs { totalCount } }", 1 + SCAN),
        ("{ packs(first: 7) { totalCount nodes { id } } }", 1 + 7 + SCAN),
        ("{ jobs(first: 7) { nodes { failures { totalCount } } } }", 1 + 7 * (1 + 1 + 10)),
        ("{ locations(first: 7) { nodes { packCount } } }", 1 + 7 + SCAN),
        # No index covers these filters.
        ('{ packs(filter: {nothingToShowAt: "main"}) { nodes { id } } }', 1 + 20 + SCAN),
        ("{ packs(filter: {variantState: FAILED}) { nodes { id } } }", 1 + 20 + SCAN),
        ("{ packs(filter: {sequenceAfter: 5}) { nodes { id } } }", 1 + 20 + SCAN),
        ("{ packs(filter: {sequenceAfter: 5}, orderBy: SEQUENCE_ASC) { nodes { id } } }", 1 + 20),
        ("{ packs(filter: {externalIds: null}) { nodes { id } } }", 1 + 20),
        ('{ packs(filter: {externalIds: ["a", "b"]}) { nodes { id } } }', 1 + 20),
        ("{ packs(filter: {sequenceAfter: 5}, orderBy: MODIFIED_DESC) { nodes { id } } }", 1 + 20 + SCAN),
        (
            '{ packs(filter: {sequenceAfter: 5, modifiedAfter: "2026-01-01T00:00:00Z"}, orderBy: SEQUENCE_ASC)'
            " { nodes { id } } }",
            1 + 20 + SCAN,
        ),
        ("{ packs(filter: {assetIds: [1], variantState: FAILED}) { nodes { id } } }", 1 + 20),
        ("{ jobs(states: [FAILED]) { nodes { id } } }", 1 + 20 + SCAN),
        ("{ jobs(filter: {states: [FAILED]}) { nodes { id } } }", 1 + 20 + SCAN),
        ("{ jobs(filter: {states: []}) { nodes { id } } }", 1 + 20 + SCAN),
        ("{ jobs(filter: {kinds: [PURGE]}) { nodes { id } } }", 1 + 20 + SCAN),
        ('{ jobs(filter: {location: "main"}) { nodes { id } } }', 1 + 20 + SCAN),
        ('{ jobs(filter: {since: "2026-01-01T00:00:00Z", kinds: [PURGE]}) { nodes { id } } }', 1 + 20 + SCAN),
        ('{ jobs(filter: {packId: "a", location: "main"}) { nodes { id } } }', 1 + 20 + SCAN),
        # An index covers these filters.
        ('{ jobs(filter: {packId: "a", since: "2026-01-01T00:00:00Z"}) { nodes { id } } }', 1 + 20),
        ("{ jobs(states: null, filter: {states: null, kinds: null}) { nodes { id } } }", 1 + 20),
        ("{ jobs(filter: {}) { nodes { id } } }", 1 + 20),
        # The retries of each job are read separately.
        ("{ jobs(first: 3) { nodes { retrying(first: 5) { reason } } } }", 1 + 3 * (1 + 5 + SCAN)),
        ('mutation { regenerate(scope: {location: "main"}) { job { id } } }', 10 + 1 + SCAN),
        ('mutation { regenerate(scope: {tenant: "tenant:default"}) { job { id } } }', 10 + 1 + SCAN),
        ('mutation { planLocation(input: {name: "main"}) { plan { packs } } }', 10 + 1 + SCAN),
        (
            'mutation { planLocation(input: {name: "main"}) { plan { samples(first: 4) { before } } } }',
            10 + 1 + 4 * 100 + SCAN,
        ),
        # Ten scalars cost as much as one object; so do a thousand characters.
        ("{ packs(first: 7) { nodes {" + " ".join(f"a{n}: id" for n in range(25)) + "} } }", 1 + 7 * 3),
        (
            '{ packs(first: 7) { nodes { location(name: "main") { picture { html(alt: "' + "x" * 5000 + '") } } } } }',
            1 + 7 * (1 + 1 + 6 + 1 + 5),
        ),
        # The source of each format repeats `sizes`, and each object repeats the client's aliases.
        (
            '{ packs(first: 7) { nodes { location(name: "main") { picture(formats: [AVIF, WEBP], sizes: "'
            + "x" * 900
            + '") { src } } } } }',
            1 + 7 * (1 + 1 + 4 + 1),
        ),
        ("{ packs(first: 7) { nodes { " + "a" * 5000 + ": id } } }", 1 + 7 * (1 + 5)),
        ("{ __schema { queryType { " + "a" * 5000 + ": name } } }", 1 + 5),
        ("mutation { createPacks(inputs: [{}, {}, {}]) { results { pack { id } } } }", 30 + 3 * 2),
        (
            'mutation { createPacks(inputs: [{originals: [{location: "main", source: {url: "http://a.example"}},'
            ' {location: "thumb", source: {url: "http://a.example"}}]}]) { userErrors { code } } }',
            30 + 1,
        ),
        ('mutation { regenerate(scope: {packIds: ["a", "b", "c"]}) { job { id } } }', 30 + 1),
        # Skipped fields cost nothing, and repeated fields cost once.
        ("{ packs(first: 7) { totalCount @skip(if: true) nodes { id } } }", 8),
        ("{ packs(first: 7) { nodes { id } } packs(first: 7) { nodes { locations { name } } } }", 1 + 7 * 11),
        # For a node, the most expensive fragment counts.
        (
            '{ node(id: "a") { ... on Pack { locations { name } } ... on Job { failures { nodes { code } } } } }',
            1 + max(10, 1 + 20),
        ),
        ("{ packs { pageInfo { hasNextPage } nodes { id } } }", 1 + 1 + 20),
        ("{ packs(first: 7) { nodes { id } } }", 1 + 7),
        ("{ packs(first: 7) { edges { cursor node { id } } } }", 1 + 7 * 2),
        (
            "{ packs(first: 7) { ...P } } fragment P on PackConnection { nodes { id ...Q } } fragment Q on Pack { id }",
            8,
        ),
        ("{ packs(first: 7) { ... { nodes { ... on Node { id } } } } }", 8),
        ("{ packs(first: 7) { nodes { locations { name } } } }", 1 + 7 * (1 + 10)),
        ('{ packs(first: 7) { nodes { location(name: "main") { picture { src } } } } }', 1 + 7 * (1 + 1 + 6)),
        # Each width costs once per format.
        (
            "{ packs(first: 7) { nodes { locations { picture(widths: [1, 2, 3, 4, 5], formats: [AVIF, WEBP])"
            " { src } } } } }",
            1 + 7 * (1 + 10 * (1 + 10)),
        ),
        (
            '{ packs(first: 7) { nodes { picture(sources: [{location: "a", widths: [1, 2]}, {location: "b"}])'
            " { src } } } }",
            1 + 7 * (1 + 6 + 6),
        ),
        ("{ jobs(first: 3) { nodes { failures(first: 5) { nodes { code pack { id } } } } } }", 1 + 3 * (2 + 5 * 2)),
        ('{ nodes(ids: ["a", "b", "c"]) { id ... on Pack { locations { name } } } }', 3 * 11),
        ("{ nodes(ids: []) { id } }", 0),
        ("mutation { createPack { pack { id } userErrors { code } } }", 12),
        # A page has at most 100 nodes; the field itself refuses a larger `first`.
        ("{ packs(first: 4000) { nodes { id } } }", 1 + 100),
        ("{ packs(first: -1) { nodes { id } } }", 1),
    ],
)
def test_the_cost_of_an_operation(api: Api, document: str, expected: int) -> None:
    assert cost(api, document) == expected


def keys(arguments: Mapping[str, GraphQLArgument]) -> set[str]:
    """Return the arguments of a field; for an input object, its keys."""
    found = set()
    for name, argument in arguments.items():
        kind = get_named_type(argument.type)
        found |= {f"{name}.{key}" for key in kind.fields} if isinstance(kind, GraphQLInputObjectType) else {name}
    return found


def test_every_argument_of_a_connection_is_declared_as_indexed_or_scanning() -> None:
    known = GRAPHQL.type_map
    for kind in (each for each in known.values() if isinstance(each, GraphQLObjectType)):
        for name, field in kind.fields.items():
            place = (kind.name, name)
            there = keys(field.args)
            indexed = {*INDEXED.get(place, ()), *UNIQUE.get(place, ())}
            scanning = set(SCANNING.get(place, ()))
            assert not indexed & scanning, place
            if get_named_type(field.type).name.endswith("Connection"):
                assert there - set(PAGING) == indexed | scanning, (
                    f"{place}: declare each argument in INDEXED, UNIQUE or SCANNING of schema/execution/cost.py"
                )
            assert indexed | scanning <= there, place
    for parent, name in (*SCANNING, *INDEXED, *UNIQUE):
        type_ = known[parent]
        assert isinstance(type_, GraphQLObjectType)
        assert name in type_.fields


def test_an_undeclared_argument_costs_as_much_as_a_scan(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(INDEXED, ("Query", "jobs"), {})
    monkeypatch.setitem(SCANNING, ("Query", "jobs"), ())
    assert cost(api, '{ jobs(filter: {packId: "a"}) { nodes { id } } }') == 1 + 20 + SCAN


@pytest.mark.parametrize(
    ("asked", "index"),
    [
        ("jobs", "jobs_tenant_id_created_at_id"),
        ('jobs(filter: {packId: "a"})', "jobs_tenant_id_pack_id_created_at_id"),
        ('jobs(filter: {since: "2026-01-01T00:00:00Z"})', "jobs_tenant_id_created_at_id"),
        ("packs(filter: {sequenceAfter: 5}, orderBy: SEQUENCE_ASC)", "packs_tenant_id_sequence_number"),
        (
            'packs(filter: {modifiedAfter: "2026-01-01T00:00:00Z"}, orderBy: MODIFIED_DESC)',
            "packs_tenant_id_modified_at_id",
        ),
        ("packs(orderBy: CREATED_ASC)", "packs_tenant_id_created_at_id"),
        ("packs(filter: {assetIds: [1]})", "asset_id=?"),
        ('packs(filter: {externalIds: ["a"]})', "external_id=?"),
        ("purges", "purges_tenant_id_requested_at_id"),
    ],
)
def test_a_listing_that_does_not_cost_a_scan_uses_an_index(api: Api, asked: str, index: str) -> None:
    seen: list[tuple[str, Any]] = []

    def note(_connection: Any, _cursor: Any, statement: str, parameters: Any, *_: Any) -> None:
        if "LIMIT" in statement:
            seen.append((statement, parameters))

    engine = api.caller.site.catalog.engine
    sa.event.listen(engine, "before_cursor_execute", note)
    api.data(f"{{ {asked} {{ nodes {{ id }} }} }}")
    sa.event.remove(engine, "before_cursor_execute", note)
    assert len(seen) == 1
    with engine.connect() as connection:
        plan = str(connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {seen[0][0]}", seen[0][1]).all())
    assert index in plan
    assert "SCAN" not in plan
    # A list of values finds few rows, which may be sorted. In other cases the index provides the order.
    assert "=?" in index or "USE TEMP B-TREE FOR ORDER BY" not in plan


def test_variables_cost_as_much_as_their_values(api: Api) -> None:
    document = "query Q($n: Int! = 5) { packs(first: $n) { nodes { id } } }"
    assert (cost(api, document), cost(api, document, n=9)) == (6, 10)
    assert cost(api, "query Q($ids: [ID!]!) { nodes(ids: $ids) { id } }", ids=["a"] * 30) == 30


# Selections with the places of their arguments, and the type and value of each argument.
SPELLED: list[tuple[str, dict[str, tuple[str, Any]]]] = [
    ("packs(first: {n}) {{ nodes {{ id }} }}", {"n": ("Int!", 9)}),
    ("packs(first: {n}) {{ totalCount nodes {{ locations {{ variants {{ id }} }} }} }}", {"n": ("Int!", 3)}),
    ("nodes(ids: {ids}) {{ id }}", {"ids": ("[ID!]!", ["a", "b", "c"])}),
    ("nodes(ids: {ids}) {{ id }}", {"ids": ("[ID!]!", ["a"])}),
    (
        "packs(first: {n}) {{ nodes {{ picture(sources: {sources}) {{ src }} }} }}",
        {
            "n": ("Int!", 5),
            "sources": ("[PictureSourceInput!]!", [{"location": "main", "widths": [10, 20, 30], "formats": ["AVIF"]}]),
        },
    ),
    (
        "packs(first: {n}) {{ nodes {{ locations {{ picture(widths: {widths}, formats: {formats}) {{ src }} }} }} }}",
        {"n": ("Int!", 5), "widths": ("[Int!]", [10, 20, 30, 40]), "formats": ("[ImageFormat!]", ["AVIF", "JPEG"])},
    ),
    (
        "packs(first: {n}) {{ nodes {{ location(name: {name}) {{ picture(widths: {widths}) {{ src }} }} }} }}",
        {"n": ("Int!", 100), "name": ("String!", "main"), "widths": ("[Int!]", [7])},
    ),
    (
        "jobs(first: {n}, states: {states}) {{ nodes {{ failures(first: {m}) {{ totalCount nodes {{ code }} }} }} }}",
        {"n": ("Int!", 4), "m": ("Int!", 6), "states": ("[JobState!]", ["FAILED"])},
    ),
    ("packs(filter: {filter}) {{ nodes {{ id }} }}", {"filter": ("PackFilter", {"nothingToShowAt": "main"})}),
    ("locations(first: {n}) {{ nodes {{ demand(first: {n}) {{ requests }} packCount }} }}", {"n": ("Int!", 50)}),
]


def literal(value: Any, enum: bool) -> str:
    """Write a value as a GraphQL literal."""
    if isinstance(value, dict):
        fields = (f"{name}: {literal(each, name == 'formats')}" for name, each in value.items())
        return "{" + ", ".join(fields) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(literal(each, enum) for each in value) + "]"
    return value if enum and isinstance(value, str) else json.dumps(value)


def coerced(value: Any) -> Any:
    """Write a variable in another form with the same meaning: 9.0 for 9, an item for a list of one."""
    if isinstance(value, dict):
        return {name: coerced(each) for name, each in value.items()}
    if isinstance(value, list):
        return coerced(value[0]) if len(value) == 1 else [coerced(each) for each in value]
    return float(value) if isinstance(value, int) else value


@pytest.mark.parametrize("number", range(len(SPELLED)))
@hypothesis.given(data=st.data())
@hypothesis.settings(max_examples=10, deadline=None, suppress_health_check=list(hypothesis.HealthCheck))
def test_the_form_of_an_operation_does_not_change_its_cost(api: Api, number: int, data: st.DataObject) -> None:
    template, arguments = SPELLED[number]
    plain = {name: literal(value, kind in ENUMS) for name, (kind, value) in arguments.items()}
    declared, places, variables = [], {}, {}
    for name, (kind, value) in arguments.items():
        how = data.draw(st.sampled_from(["literal", "variable", "coerced", "default", "overridden default"]), name)
        places[name] = plain[name] if how == "literal" else f"${name}"
        otherwise = {"default": plain[name], "overridden default": literal(OTHER[kind], kind in ENUMS)}.get(how)
        if how != "literal":
            declared.append(f"${name}: {kind}" + ("" if otherwise is None else f" = {otherwise}"))
        if how in ("variable", "coerced", "overridden default"):
            variables[name] = coerced(value) if how == "coerced" else value
    declared.append("$yes: Boolean! = true")
    asked, shape = template.format(**places), data.draw(st.sampled_from(SHAPES), "shape")
    document = shape.replace("ASKED", asked).replace("DECLARED", ", ".join(declared))
    assert cost(api, document, **variables) == cost(api, "{ " + template.format(**plain) + " }")


ENUMS = ("[ImageFormat!]", "[JobState!]")
# By type: a default that a variable overrides.
OTHER: dict[str, Any] = {
    "Int!": 1,
    "String!": "x",
    "[ID!]!": [],
    "[Int!]": [1],
    "[ImageFormat!]": ["PNG"],
    "[JobState!]": ["QUEUED"],
    "[PictureSourceInput!]!": [],
    "PackFilter": None,
}
SHAPES = [
    "query(DECLARED) { ASKED __typename @include(if: $yes) }",
    "query(DECLARED) { ... @include(if: $yes) { ASKED } }",
    "query(DECLARED) { ...F @skip(if: false) ... @include(if: $yes) { ...F } } fragment F on Query { ASKED }",
    "query(DECLARED) { ... on Query { ASKED } viewer @skip(if: $yes) { subject } }",
]


def test_an_absent_argument_costs_as_much_as_its_default(api: Api) -> None:
    assert cost(api, "{ packs { nodes { id } } }") == cost(api, "{ packs(first: 20) { nodes { id } } }")
    document = "query($n: Int! = 20) { packs(first: $n) { nodes { id } } }"
    assert cost(api, document) == cost(api, document, n=20.0) == 21


def test_introspection_costs_in_proportion_to_its_size(api: Api) -> None:
    once = cost(api, "{ __schema { types { fields { name } } } }")
    assert once > 20
    again = " ".join(f"a{n}: __schema {{ types {{ fields {{ name }} }} }}" for n in range(5))
    assert cost(api, f"{{ {again} }}") == 5 * once
    aliases = " ".join(f"a{n}: types {{ name }}" for n in range(51))
    assert "51 aliases" in api.error(f"{{ __schema {{ {aliases} }} }}")["message"]


def test_invalid_variables_are_refused_before_the_cost_is_computed(api: Api) -> None:
    result = api.run("query($n: Int!) { packs(first: $n) { nodes { id } } }", n=1.5)
    assert result.data is None
    assert "cost" not in (result.extensions or {})
    flood = api.run("query($ids: [ID!]!) { nodes(ids: $ids) { id } }", ids=[{}] * 5000)
    assert flood.errors is not None
    assert len(flood.errors) <= 51


def test_refused_documents_are_charged_to_the_budget(api: Api) -> None:
    budgets = Budgets(Settings(query_budget=3000, query_budget_per_second=1), clock=lambda: 0)

    def run(document: str) -> Any:
        context = Context(api.caller, budgets=budgets)
        result = asyncio.run(schema.execute(document, context_value=context))
        return result.errors, context.retry_after_seconds

    paid = 0
    # Unknown fields, an operation above the limit, and a syntax error.
    dear = "{ " + " ".join(f"a{n}: packs(first: 100) {{ nodes {{ id }} }}" for n in range(40)) + "}"
    for document in ("{ " + "wrong " * 600 + "}", dear, "{ packs(" + "x" * 30_000):
        errors, wait = run(document)
        assert errors
        assert wait is None
        paid += len(document) // 10
    errors, wait = run("{ viewer { subject } }")
    assert (errors[0].extensions["code"], wait) == ("LIMIT", paid - 3000)


def test_a_query_for_a_full_page_costs_at_most_half_the_limit(api: Api) -> None:
    assert cost(api, PAGE) <= 25_000


def test_an_operation_above_the_limit_is_not_executed(api: Api) -> None:
    deep = '{ packs(first: 100) { nodes { locations { pack { location(name: "main") { pack { id } } } } } } }'
    assert cost(api, deep) == 1 + 100 * (1 + 10 * 4)
    wide = "{ packs(first: 100) { nodes { locations { pack { locations { pack { locations { name } } } } } } } }"
    error = api.error(wide)
    assert error["extensions"]["code"] == "LIMIT"
    assert "50000" in error["message"]
    assert "path" not in error


def test_a_budget_is_used_up_and_restored_over_time() -> None:
    now = [0.0]
    budgets = Budgets(Settings(query_budget=100, query_budget_per_second=10), clock=lambda: now[0])
    assert budgets.take("films", "ann", 70) == 0
    assert budgets.take("films", "ann", 50) == 2
    assert budgets.available("films", "ann") == 30
    assert budgets.take("films", "bob", 100) == 0
    assert budgets.take("books", "ann", 100) == 0
    now[0] = 2
    assert budgets.take("films", "ann", 50) == 0
    now[0] = 60
    assert budgets.available("films", "ann") == 100


def test_an_operation_may_cost_at_most_a_whole_budget() -> None:
    assert Budgets(Settings(query_budget=100)).largest == 100


def test_budgets_of_many_users_use_bounded_memory() -> None:
    budgets = Budgets(Settings(), clock=lambda: 0)
    budgets.take("films", "first", 10)
    for number in range(MAX_BUDGETS):
        budgets.take("films", f"user {number}", 10)
    # The first budget was dropped, so it is full again. The last one is kept.
    assert budgets.available("films", "first") == 1_000_000
    assert budgets.available("films", f"user {MAX_BUDGETS - 1}") == 999_990


def test_a_context_without_budgets_gets_its_own(api: Api) -> None:
    assert Context(api.caller).budgets.available("default", "tester") == 1_000_000
