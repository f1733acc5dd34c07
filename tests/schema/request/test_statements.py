"""The number of SQL statements does not depend on the size of a page."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime

import sqlalchemy as sa

from packshot.catalog.database.transaction import Catalog
from packshot.catalog.packs import packs as rows
from packshot.catalog.variants.demand import add_requests
from packshot.model import Format
from packshot.variants.demand import CountedDemand, DemandedForm
from resolvers import packs
from tests.schema.api import Api

PAGE = """{ packs(first: 100) { totalCount nodes { id
  locations {
    name source currentUrl location { name packCount fallback { name } } pack { id }
    variants { id state }
    picture { src state sources { mediaType srcset } html(alt: "x") }
  }
  picture(sources: [{location: "thumb", media: "(max-width: 600px)"}, {location: "main"}]) { src }
} } }"""


@contextmanager
def statements(catalog: Catalog) -> Iterator[list[str]]:
    """Collect every statement, including those that begin transactions."""
    seen: list[str] = []

    def note(connection: object, cursor: object, statement: str, *_: object) -> None:
        seen.append(statement)

    sa.event.listen(catalog.engine, "before_cursor_execute", note)
    try:
        yield seen
    finally:
        sa.event.remove(catalog.engine, "before_cursor_execute", note)


def fill(api: Api, count: int, sha256: str) -> None:
    """Create packs that share one original, without an upload for each."""
    for _ in range(count):
        pack_id = packs.create_pack(api.caller, {}).pack.id
        with api.playground.site.catalog.write("default") as tx:
            rows.set_pack_location(tx, pack_id, "main", {"original_sha256": sha256, "original_at": tx.now})


def test_a_page_of_100_packs_needs_as_many_statements_as_one_pack(api: Api) -> None:
    for number, name in enumerate(("thumb", "cover", "banner", "badge")):
        api.playground.location(name, width=320, height=180 + number, fallback="main")
    original = api.playground.snapshot(api.playground.pack()).pack_locations["main"].original
    assert original is not None
    catalog = api.playground.site.catalog
    # Authentication reads the access policy before a request; the test does the same.
    api.playground.site.access_policy.look()
    with statements(catalog) as one:
        api.data(PAGE)
    fill(api, 99, original.sha256)
    with statements(catalog) as hundred:
        nodes = api.data(PAGE)["packs"]["nodes"]
    assert len(nodes) == 100
    assert all(pack_location["picture"] for node in nodes for pack_location in node["locations"])
    assert len([text for text in hundred if text != "BEGIN"]) <= 10
    assert len(hundred) == len(one)


def test_nodes_of_every_kind_are_read_in_batches(api: Api) -> None:
    original = api.playground.snapshot(api.playground.pack()).pack_locations["main"].original
    assert original is not None
    fill(api, 20, original.sha256)
    pack_ids = [node["id"] for node in api.data("{ packs(first: 100) { nodes { id } } }")["packs"]["nodes"]]
    job_ids = [node["id"] for node in api.data("{ jobs(first: 100) { nodes { id } } }")["jobs"]["nodes"]]
    ids = [*pack_ids, *job_ids, *(f"packLocation:{id}:main" for id in pack_ids), "location:main"]
    with statements(api.playground.site.catalog) as seen:
        found = api.data("query N($ids: [ID!]!) { nodes(ids: $ids) { id } }", ids=ids)["nodes"]
    assert [node["id"] for node in found] == ids
    assert len([text for text in seen if text != "BEGIN"]) == 3


def test_the_demand_of_all_locations_of_a_page_is_read_in_one_statement(api: Api) -> None:
    demand = "{ locations { nodes { name demand(first: 3) { width requests } } } }"
    with statements(api.playground.site.catalog) as one:
        api.data(demand)
    for number in range(20):
        name = f"place-{number}"
        api.playground.location(name, width=320)
        asked = DemandedForm(api.caller.tenant, name, Format.JPEG, "width=50&height=50")
        with api.playground.site.catalog.write("default") as tx:
            add_requests(tx, [CountedDemand(asked, number + 1, datetime.now(UTC))])
    with statements(api.playground.site.catalog) as many:
        nodes = api.data(demand)["locations"]["nodes"]
    assert len(many) == len(one)
    assert [node["demand"] for node in nodes if node["name"] == "place-7"] == [[{"width": 50, "requests": 8}]]
    refused = api.error("{ locations { nodes { demand(first: 101) { width } } } }")
    assert (refused["extensions"]["code"], refused["extensions"]["field"]) == ("LIMIT", ["first"])


def test_a_list_of_jobs_without_failures_reads_no_failures(api: Api) -> None:
    for _ in range(3):
        api.playground.pack()
    with statements(api.playground.site.catalog) as seen:
        api.data("{ jobs { nodes { id failures { totalCount nodes { code } } } } }")
    assert len([text for text in seen if text != "BEGIN"]) == 1
    assert api.error("{ jobs { nodes { failures(first: 0) { totalCount } } } }")["extensions"]["field"] == ["first"]
