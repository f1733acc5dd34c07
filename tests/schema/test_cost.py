"""What operations cost, and what happens to who asks for too much."""

from typing import Any

import pytest

from packshot.settings import Settings
from schema.budgets import MOST_BUDGETS, Budgets
from schema.context import Context
from tests.schema.api import Api
from tests.schema.test_statements import PAGE


@pytest.fixture
def database_url() -> None:
    """SQLite will do: nothing is read."""


def cost(api: Api, document: str, **variables: Any) -> int:
    extensions = api.run(document, **variables).extensions
    assert extensions is not None
    told: dict[str, int] = extensions["cost"]
    assert told["maximum"] == 50_000
    assert told["restoreRate"] == 20_000
    assert told["available"] == 1_000_000 - (told["requested"] if told["requested"] <= told["maximum"] else 0)
    return told["requested"]


@pytest.mark.parametrize(
    ("document", "expected"),
    [
        ("{ __typename }", 0),
        ("{ __schema { types { fields { name } } } }", 1),
        ("{ packs { totalCount } }", 1),
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


def test_variables_count_as_what_they_stand_for(api: Api) -> None:
    document = "query Q($n: Int! = 5) { packs(first: $n) { nodes { id } } }"
    assert (cost(api, document), cost(api, document, n=9)) == (6, 10)
    assert cost(api, "query Q($ids: [ID!]!) { nodes(ids: $ids) { id } }", ids=["a"] * 30) == 30


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
    for number in range(MOST_BUDGETS):
        budgets.take("films", f"user {number}", 10)
    # Forgotten, so it is whole again; the last is not.
    assert budgets.available("films", "first") == 1_000_000
    assert budgets.available("films", f"user {MOST_BUDGETS - 1}") == 999_990


def test_a_context_without_budgets_has_its_own(api: Api) -> None:
    assert Context(api.caller).budgets.available("default", "tester") == 1_000_000
