"""What operations cost, and what happens to who asks for too much."""

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
    """SQLite will do: nothing is read."""


def cost(api: Api, document: str, **variables: Any) -> int:
    extensions = api.run(document, **variables).extensions
    assert extensions is not None
    told: dict[str, int] = extensions["cost"]
    assert told["maximum"] == 50_000
    assert told["restoreRate"] == 20_000
    taken = told["requested"] if told["requested"] <= told["maximum"] else 0
    # Some of it may be back already.
    assert 1_000_000 - taken <= told["available"] <= 1_000_000
    return told["requested"]


@pytest.mark.parametrize(
    ("document", "expected"),
    [
        ("{ __typename }", 0),
        ("{ __schema { queryType { name } } }", 1),
        # All packs are counted; the failures of one job by an index, and what packs have at locations once for all.
        ("{ packs { totalCount } }", 1 + SCAN),
        ("{ packs(first: 7) { totalCount nodes { id } } }", 1 + 7 + SCAN),
        ("{ jobs(first: 7) { nodes { failures { totalCount } } } }", 1 + 7 * (1 + 1 + 10)),
        ("{ locations(first: 7) { nodes { packCount } } }", 1 + 7 + SCAN),
        # No index finds these.
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
        # An index finds these.
        ('{ jobs(filter: {packId: "a", since: "2026-01-01T00:00:00Z"}) { nodes { id } } }', 1 + 20),
        ("{ jobs(states: null, filter: {states: null, kinds: null}) { nodes { id } } }", 1 + 20),
        ("{ jobs(filter: {}) { nodes { id } } }", 1 + 20),
        # The work of each job is looked for by itself.
        ("{ jobs(first: 3) { nodes { retrying(first: 5) { reason } } } }", 1 + 3 * (1 + 5 + SCAN)),
        ('mutation { regenerate(scope: {location: "main"}) { job { id } } }', 10 + 1 + SCAN),
        ('mutation { regenerate(scope: {tenant: "tenant:default"}) { job { id } } }', 10 + 1 + SCAN),
        ('mutation { planLocation(input: {name: "main"}) { plan { packs } } }', 10 + 1 + SCAN),
        (
            'mutation { planLocation(input: {name: "main"}) { plan { samples(first: 4) { before } } } }',
            10 + 1 + 4 * 100 + SCAN,
        ),
        # Ten scalars cost as much as an object, a thousand characters too.
        ("{ packs(first: 7) { nodes {" + " ".join(f"a{n}: id" for n in range(25)) + "} } }", 1 + 7 * 3),
        (
            '{ packs(first: 7) { nodes { location(name: "main") { picture { html(alt: "' + "x" * 5000 + '") } } } } }',
            1 + 7 * (1 + 1 + 6 + 1 + 5),
        ),
        # Each format's source repeats what is said of it; each object the names that the client chose.
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
        # What is left out is not paid for, and what stands twice is asked for once.
        ("{ packs(first: 7) { totalCount @skip(if: true) nodes { id } } }", 8),
        ("{ packs(first: 7) { nodes { id } } packs(first: 7) { nodes { locations { name } } } }", 1 + 7 * 11),
        # Of what an id may stand for, the dearest counts.
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
        # Each width in each format is worked out.
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
        # No page is longer, and refusing that is the field's own.
        ("{ packs(first: 4000) { nodes { id } } }", 1 + 100),
        ("{ packs(first: -1) { nodes { id } } }", 1),
    ],
)
def test_pages_and_lists_multiply_what_they_hold(api: Api, document: str, expected: int) -> None:
    assert cost(api, document) == expected


def keys(arguments: Mapping[str, GraphQLArgument]) -> set[str]:
    """Return the arguments of a field; of input objects their keys."""
    found = set()
    for name, argument in arguments.items():
        kind = get_named_type(argument.type)
        found |= {f"{name}.{key}" for key in kind.fields} if isinstance(kind, GraphQLInputObjectType) else {name}
    return found


def test_every_argument_of_a_listing_is_found_by_an_index_or_declared_to_scan() -> None:
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


def test_an_argument_of_a_listing_that_is_not_declared_scans(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
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
def test_what_is_not_priced_as_a_scan_is_found_by_an_index(api: Api, asked: str, index: str) -> None:
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
    # A list finds few rows, which may be put in order; of others the index has the order.
    assert "=?" in index or "USE TEMP B-TREE FOR ORDER BY" not in plan


def test_variables_count_as_what_they_stand_for(api: Api) -> None:
    document = "query Q($n: Int! = 5) { packs(first: $n) { nodes { id } } }"
    assert (cost(api, document), cost(api, document, n=9)) == (6, 10)
    assert cost(api, "query Q($ids: [ID!]!) { nodes(ids: $ids) { id } }", ids=["a"] * 30) == 30


# What is asked for, with the place of each argument, and each argument's type and value.
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
    """Spell a value as a document does."""
    if isinstance(value, dict):
        fields = (f"{name}: {literal(each, name == 'formats')}" for name, each in value.items())
        return "{" + ", ".join(fields) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(literal(each, enum) for each in value) + "]"
    return value if enum and isinstance(value, str) else json.dumps(value)


def coerced(value: Any) -> Any:
    """Spell a variable in another way that means the same: a float for a whole number, one item for a list of one."""
    if isinstance(value, dict):
        return {name: coerced(each) for name, each in value.items()}
    if isinstance(value, list):
        return coerced(value[0]) if len(value) == 1 else [coerced(each) for each in value]
    return float(value) if isinstance(value, int) else value


@pytest.mark.parametrize("number", range(len(SPELLED)))
@hypothesis.given(data=st.data())
@hypothesis.settings(max_examples=10, deadline=None, suppress_health_check=list(hypothesis.HealthCheck))
def test_an_operation_costs_the_same_however_it_is_spelled(api: Api, number: int, data: st.DataObject) -> None:
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
# By type: what a default says that a variable overrides.
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


def test_what_was_left_out_by_its_default_is_what_the_schema_says(api: Api) -> None:
    assert cost(api, "{ packs { nodes { id } } }") == cost(api, "{ packs(first: 20) { nodes { id } } }")
    document = "query($n: Int! = 20) { packs(first: $n) { nodes { id } } }"
    assert cost(api, document) == cost(api, document, n=20.0) == 21


def test_introspection_costs_by_how_much_it_tells(api: Api) -> None:
    once = cost(api, "{ __schema { types { fields { name } } } }")
    assert once > 20
    again = " ".join(f"a{n}: __schema {{ types {{ fields {{ name }} }} }}" for n in range(5))
    assert cost(api, f"{{ {again} }}") == 5 * once
    aliases = " ".join(f"a{n}: types {{ name }}" for n in range(51))
    assert "51 aliases" in api.error(f"{{ __schema {{ {aliases} }} }}")["message"]


def test_variables_that_do_not_fit_are_refused_before_anything_is_counted(api: Api) -> None:
    result = api.run("query($n: Int!) { packs(first: $n) { nodes { id } } }", n=1.5)
    assert result.data is None
    assert "cost" not in (result.extensions or {})
    flood = api.run("query($ids: [ID!]!) { nodes(ids: $ids) { id } }", ids=[{}] * 5000)
    assert flood.errors is not None
    assert len(flood.errors) <= 51


def test_documents_that_are_refused_are_paid_for(api: Api) -> None:
    budgets = Budgets(Settings(query_budget=3000, query_budget_per_second=1), clock=lambda: 0)

    def run(document: str) -> Any:
        context = Context(api.caller, budgets=budgets)
        result = asyncio.run(schema.execute(document, context_value=context))
        return result.errors, context.retry_after_seconds

    paid = 0
    # Of fields that there are not, dearer than any operation may be, and of no syntax.
    dear = "{ " + " ".join(f"a{n}: packs(first: 100) {{ nodes {{ id }} }}" for n in range(40)) + "}"
    for document in ("{ " + "wrong " * 600 + "}", dear, "{ packs(" + "x" * 30_000):
        errors, wait = run(document)
        assert errors
        assert wait is None
        paid += len(document) // 10
    errors, wait = run("{ viewer { subject } }")
    assert (errors[0].extensions["code"], wait) == ("LIMIT", paid - 3000)


def test_the_page_that_a_site_is_built_from_is_far_within_the_limit(api: Api) -> None:
    assert cost(api, PAGE) <= 25_000


def test_what_costs_too_much_is_not_begun(api: Api) -> None:
    deep = '{ packs(first: 100) { nodes { locations { pack { location(name: "main") { pack { id } } } } } } }'
    assert cost(api, deep) == 1 + 100 * (1 + 10 * 4)
    wide = "{ packs(first: 100) { nodes { locations { pack { locations { pack { locations { name } } } } } } } }"
    error = api.error(wide)
    assert error["extensions"]["code"] == "LIMIT"
    assert "50000" in error["message"]
    assert "path" not in error


def test_a_budget_empties_and_comes_back_with_time() -> None:
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


def test_no_operation_may_cost_more_than_a_whole_budget() -> None:
    assert Budgets(Settings(query_budget=100)).largest == 100


def test_the_budgets_of_many_users_take_no_more_room_than_allowed() -> None:
    budgets = Budgets(Settings(), clock=lambda: 0)
    budgets.take("films", "first", 10)
    for number in range(MAX_BUDGETS):
        budgets.take("films", f"user {number}", 10)
    # Forgotten, so it is whole again; the last is not.
    assert budgets.available("films", "first") == 1_000_000
    assert budgets.available("films", f"user {MAX_BUDGETS - 1}") == 999_990


def test_a_context_without_budgets_has_its_own(api: Api) -> None:
    assert Context(api.caller).budgets.available("default", "tester") == 1_000_000
