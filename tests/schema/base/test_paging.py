"""Pages neither skip nor repeat an object while others are created."""

from collections.abc import Iterator
from typing import Any

import pytest

from resolvers import packs
from tests.schema.api import REGENERATE, Api
from tests.support.pictures import photo

PAGE = """query Page($first: Int!, $after: String, $order: PackOrder!, $filter: PackFilter) {
  packs(first: $first, after: $after, orderBy: $order, filter: $filter) {
    edges { cursor node { id } } nodes { id } totalCount
    pageInfo { hasNextPage hasPreviousPage startCursor endCursor }
  }
}"""


def make(api: Api, count: int) -> list[str]:
    """Create packs without originals, and return their ids, oldest first."""
    return [packs.create_pack(api.caller, {}).pack.id for _ in range(count)]


def pages(api: Api, order: str, first: int = 2, **filter: Any) -> Iterator[dict[str, Any]]:
    """Yield page after page, like a client that follows `endCursor`."""
    after = None
    while True:
        page = api.data(PAGE, first=first, after=after, order=order, filter=filter or None)["packs"]
        yield page
        if not page["pageInfo"]["hasNextPage"]:
            return
        after = page["pageInfo"]["endCursor"]


def ids(page: dict[str, Any]) -> list[str]:
    return [node["id"] for node in page["nodes"]]


@pytest.mark.parametrize(
    ("order", "reverse", "sees_new"),
    [
        ("CREATED_DESC", True, False),
        ("CREATED_ASC", False, True),
        ("MODIFIED_DESC", True, False),
        ("SEQUENCE_ASC", False, True),
    ],
)
def test_pages_neither_skip_nor_repeat_while_packs_are_created(
    api: Api, order: str, reverse: bool, sees_new: bool
) -> None:
    old = make(api, 5)
    seen: list[str] = []
    new: list[str] = []
    for number, page in enumerate(pages(api, order)):
        seen += ids(page)
        assert page["pageInfo"]["hasPreviousPage"] == (number > 0)
        assert [edge["node"]["id"] for edge in page["edges"]] == ids(page)
        assert page["edges"][0]["cursor"] == page["pageInfo"]["startCursor"]
        assert page["edges"][-1]["cursor"] == page["pageInfo"]["endCursor"]
        assert page["totalCount"] == 5 + len(new)
        new += make(api, 1) if number < 2 else []
    expected = old[::-1] if reverse else old
    assert seen == (expected + new if sees_new else expected)


def test_an_empty_page_has_no_cursors(api: Api) -> None:
    (page,) = pages(api, "CREATED_DESC")
    assert page == {
        "edges": [],
        "nodes": [],
        "totalCount": 0,
        "pageInfo": {"hasNextPage": False, "hasPreviousPage": False, "startCursor": None, "endCursor": None},
    }


def test_filters_apply_to_nodes_and_total_count(api: Api) -> None:
    first = packs.create_pack(api.caller, {"asset_id": 1, "external_id": "a"}).pack
    second = packs.create_pack(api.caller, {"asset_id": 2, "external_id": "b"}).pack
    query = "query F($filter: PackFilter) { packs(filter: $filter) { totalCount nodes { id } } }"
    at = first.modified_at.isoformat()
    for filter, found in [
        ({}, [second, first]),
        ({"assetIds": [1, 99]}, [first]),
        ({"assetIds": []}, []),
        ({"assetIds": None, "externalIds": ["b"]}, [second]),
        ({"assetIds": [1], "externalIds": ["b"]}, []),
        ({"sequenceAfter": first.sequence_number}, [second]),
        ({"modifiedAfter": at}, [second]),
        ({"modifiedAfter": "2000-01-01T00:00:00+14:00"}, [second, first]),
    ]:
        page = api.data(query, filter=filter)["packs"]
        assert page == {"totalCount": len(found), "nodes": [{"id": pack.id} for pack in found]}


@pytest.mark.parametrize(
    ("arguments", "extensions"),
    [
        ("first: 0", {"code": "LIMIT", "field": ["first"], "expected": "1 to 100", "got": "0"}),
        ("first: 101", {"code": "LIMIT", "field": ["first"], "expected": "1 to 100", "got": "101"}),
        ("first: -1", {"code": "LIMIT", "field": ["first"], "expected": "1 to 100", "got": "-1"}),
        ('after: "x"', {"code": "INVALID", "field": ["after"], "expected": "an endCursor of it", "got": "x"}),
        ('after: "é"', {"code": "INVALID", "field": ["after"], "expected": "an endCursor of it", "got": "é"}),
    ],
)
@pytest.mark.parametrize("listing", ["packs", "locations", "jobs"])
def test_a_bad_page_size_or_cursor_is_an_error_with_its_code(
    api: Api, listing: str, arguments: str, extensions: dict[str, Any]
) -> None:
    error = api.error(f"{{ {listing}({arguments}) {{ totalCount }} }}")
    assert error["path"] == [listing]
    assert error["extensions"] == extensions


def test_a_cursor_of_another_order_is_refused(api: Api) -> None:
    make(api, 3)
    page = next(pages(api, "SEQUENCE_ASC"))
    error = api.error(PAGE, first=2, after=page["pageInfo"]["endCursor"], order="CREATED_ASC")
    assert error["extensions"]["code"] == "INVALID"


def test_more_than_100_filter_values_are_refused(api: Api) -> None:
    query = "query F($filter: PackFilter) { packs(filter: $filter) { totalCount } }"
    error = api.error(query, filter={"assetIds": list(range(101))})
    assert error["extensions"]["field"] == ["filter", "assetIds"]
    assert error["extensions"]["code"] == "LIMIT"


def test_jobs_are_listed_by_state_newest_first(api: Api) -> None:
    pack_id = api.playground.pack()
    api.playground.run_jobs()
    first = api.data("{ jobs { nodes { id state } } }")["jobs"]["nodes"]
    queued = api.payload(REGENERATE, scope={"packIds": [pack_id]})["job"]["id"]
    query = "query J($states: [JobState!]) { jobs(states: $states) { totalCount nodes { id } } }"
    assert api.data(query, states=["QUEUED"])["jobs"]["nodes"] == [{"id": queued}]
    assert api.data(query, states=None)["jobs"]["nodes"][0] == {"id": queued}
    assert api.data(query, states=["SUCCEEDED"])["jobs"]["totalCount"] == len(first) > 0
    # A filter accepts every state, even if no job has it.
    assert api.data(query, states=["PAUSED"])["jobs"] == {"totalCount": 0, "nodes": []}


def test_jobs_can_be_filtered_by_pack_kind_location_and_time(api: Api) -> None:
    pack_id = api.playground.pack(picture=photo(64, 48))
    api.playground.run_jobs()
    api.playground.location("thumb", width=20, height=10)
    query = "query J($filter: JobFilter) { jobs(filter: $filter) { totalCount nodes { packId pack { id } } } }"
    edit = {"packId": pack_id, "pack": {"id": pack_id}}
    assert api.data(query, filter={"packId": pack_id})["jobs"] == {"totalCount": 1, "nodes": [edit]}
    assert api.data(query, filter={"kinds": ["LOCATION_CHANGE"]})["jobs"]["nodes"] == [{"packId": None, "pack": None}]
    assert api.data(query, filter={"kinds": ["REGENERATE"], "location": "thumb"})["jobs"]["totalCount"] == 0
    assert api.data(query, filter={"location": "thumb"})["jobs"]["totalCount"] == 1
    assert api.data(query, filter={"since": "2099-01-01T00:00:00Z"})["jobs"]["totalCount"] == 0
    assert api.data(query, filter={"states": ["QUEUED"], "since": "2020-01-01T00:00:00Z"})["jobs"]["totalCount"] == 1
    assert api.data(query, filter=None)["jobs"]["totalCount"] == 2


def test_locations_are_listed_by_name_with_their_number_of_packs(api: Api) -> None:
    api.playground.location("thumb", width=100, fallback="main")
    api.playground.location("banner", width=100)
    api.playground.pack()
    query = """query L($after: String) {
      locations(first: 2, after: $after) { nodes { name packCount } pageInfo { endCursor } } }"""
    page = api.data(query)["locations"]
    assert page["nodes"] == [{"name": "banner", "packCount": 0}, {"name": "main", "packCount": 1}]
    rest = api.data(query, after=page["pageInfo"]["endCursor"])["locations"]
    assert rest["nodes"] == [{"name": "thumb", "packCount": 0}]


@pytest.mark.parametrize(
    "field", ["packs", "locations", "jobs", "purges", "changes", 'location(name: "main") { history']
)
def test_an_empty_cursor_starts_at_the_beginning(api: Api, field: str) -> None:
    make(api, 3)
    api.playground.location("main", width=10)
    selection = "nodes { __typename } pageInfo { hasPreviousPage endCursor }"
    end = "}" * field.count("{")
    none = api.data(f"{{ {field}(first: 2) {{ {selection} }} {end} }}")
    empty = api.data(f'{{ {field}(first: 2, after: "") {{ {selection} }} {end} }}')
    assert empty == none
    assert "'hasPreviousPage': False" in str(empty)
