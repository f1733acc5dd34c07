"""Demand: on-demand renders are counted and listed, and popular ones are rendered ahead of time."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import sqlalchemy as sa
from starlette.testclient import TestClient

from packshot.catalog.configuration.tenants import ensure_tenant
from packshot.catalog.tables.artwork import variants as variant_table
from packshot.catalog.tables.work import demand as demand_table
from packshot.catalog.variants import demand as demand_rows
from packshot.catalog.variants.demand import MAX_RECENT, MAX_REQUESTED, add_requests
from packshot.catalog.work.jobs import Job, JobState
from packshot.catalog.work.orders import Priority
from packshot.geometry import Gravity
from packshot.model import Format, Rendition
from packshot.variants.demand import CountedDemand, Demand, DemandedForm
from packshot.variants.request import parse_request
from pregen.queue.broker import make_broker
from resolvers import jobs, locations
from resolvers.changing.decision import Consent
from resolvers.jobs import RegenerateMode
from serve.app import create_app
from serve.image import demand
from serve.image.demand import DemandCounter
from serve.image.fallback import Fallback
from tests.serve.conftest import TOKEN
from tests.support.pictures import photo, png
from tests.support.playground import TENANT, Playground

NOW = datetime(2026, 1, 1, tzinfo=UTC)


@contextmanager
def serving(playground: Playground) -> Iterator[TestClient]:
    """Serve during the block; the counts are written at its end."""
    app = create_app(playground.site, make_broker(playground.settings), playground.doorbell, TOKEN)
    with TestClient(app, raise_server_exceptions=False, client=("127.0.0.1", 50_000)) as client:
        yield client


def get(playground: Playground, *queries: str, pack_id: str, status: int = 200) -> None:
    with serving(playground) as client:
        for query in queries:
            assert client.get(f"/api/v2/img/{pack_id}?{query}").status_code == status


def listed(playground: Playground, location: str = "main") -> list[Demand]:
    return locations.list_demand(playground.caller, [location])[location]


def rows(playground: Playground) -> dict[str, int]:
    """Return every count in the table, by request form."""
    with playground.site.catalog.read(TENANT) as tx:
        return {row.request: row.requests for row in tx.connection.execute(sa.select(demand_table))}


def remember(playground: Playground, request: str, requests: int, format: Format = Format.JPEG, **other: Any) -> None:
    """Count a request form as if it had been rendered so many times."""
    asked = DemandedForm(other.get("tenant", TENANT), other.get("location", "main"), format, request)
    with playground.site.catalog.write_system() as tx:
        add_requests(tx, [CountedDemand(asked, requests, other.get("at", NOW))])


def regenerate(playground: Playground, pack_id: str) -> Job:
    job = jobs.regenerate_packs(playground.caller, [pack_id], Priority.BULK)
    playground.run_jobs()
    return playground.job(job)


def test_on_demand_renders_are_counted_by_request_form(playground: Playground) -> None:
    one, other = playground.pack(), playground.pack()
    playground.run_jobs()
    get(playground, "width=60&height=40", "HEIGHT=40&width=060&region=3", "width=30&blur=2.50", pack_id=one)
    get(playground, "width=60&height=40&format=webp", pack_id=one)
    get(playground, "width=60&height=40", pack_id=other)
    shown = [(row.width, row.height, row.dpr, row.parameters, row.format, row.requests) for row in listed(playground)]
    assert shown == [
        (60, 40, 1.0, "", Format.JPEG, 2),
        (60, 40, 1.0, "", Format.WEBP, 1),
        (30, None, 1.0, "blur=2.5", Format.JPEG, 1),
    ]
    assert abs(listed(playground)[0].last_requested_at - datetime.now(UTC)) < timedelta(minutes=1)


def test_planned_refused_and_stored_variants_are_not_counted(playground: Playground) -> None:
    playground.location("thumb", width=60, height=40)
    pack_id = playground.pack()
    # Nothing is rendered yet. These variants are planned, so a request before the worker is not demand.
    get(playground, "", "location=thumb", "location=thumb&dpr=2", "width=600&height=400", pack_id=pack_id)
    get(playground, "width=0", "location=thumb&dpr=9", pack_id=pack_id, status=400)
    get(playground, "location=nowhere", pack_id=pack_id, status=404)
    assert rows(playground) == {}
    get(playground, "width=50", "width=50", pack_id=pack_id)
    assert rows(playground) == {"width=50": 1}


def test_simultaneous_requests_for_one_missing_variant_count_once(playground: Playground) -> None:
    target = playground.target(playground.pack(), "width=50")
    counted: list[int] = []

    async def storm() -> None:
        fallback = Fallback(playground.site)
        await asyncio.gather(*(fallback.make(target, lambda: counted.append(1), planned=False) for _ in range(20)))

    asyncio.run(storm())
    assert counted == [1]


def test_requests_without_a_location_count_for_the_packs_main_location(playground: Playground) -> None:
    playground.location("cover", width=60, height=40)
    pack_id = playground.pack(at="cover", main_location="cover")
    get(playground, "width=20", "location=cover&width=10", pack_id=pack_id)
    assert {row.width for row in listed(playground, "cover")} == {10, 20}
    assert listed(playground) == []


def test_counts_are_written_in_batches_and_survive_an_outage(
    playground: Playground, monkeypatch: pytest.MonkeyPatch
) -> None:
    counter = DemandCounter(playground.site)
    pack_id = playground.pack()
    form, target = parse_request("width=9"), playground.target(pack_id, "width=9")
    counter.count(form, target)
    assert rows(playground) == {}, "not for each request"
    monkeypatch.setattr(demand, "add_requests", _failing)
    with pytest.raises(OSError, match="away"):
        counter.write()
    monkeypatch.setattr(demand, "add_requests", add_requests)
    counter.count(form, target)
    counter.write()
    counter.write()
    assert rows(playground) == {"width=9": 2}


def _failing(*_: object) -> None:
    raise OSError("away")


def test_any_variety_of_request_forms_uses_bounded_memory_and_rows(
    playground: Playground, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(demand, "MAX_KINDS", 5)
    counter = DemandCounter(playground.site)
    target = playground.target(playground.pack(), "width=9")
    for width in range(1, 20):
        counter.count(parse_request(f"width={width}"), target)
    counter.count(parse_request("width=1"), target)
    counter.write()
    assert rows(playground) == {f"width={width}": 2 if width == 1 else 1 for width in range(1, 6)}
    remember(playground, "width=777", 1_000, at=NOW - timedelta(days=30))
    asked = [DemandedForm(TENANT, "main", Format.JPEG, f"width={width}") for width in range(1000, 3000)]
    with playground.site.catalog.write_system() as tx:
        add_requests(tx, [CountedDemand(one, 2, NOW + timedelta(seconds=n)) for n, one in enumerate(asked)])
    kept = rows(playground)
    assert len(kept) <= MAX_REQUESTED + MAX_RECENT
    assert kept["width=777"] == 1_000
    remember(playground, "width=5000", 1, at=NOW + timedelta(days=1))
    remember(playground, "width=5000", 1, at=NOW + timedelta(days=1))
    assert rows(playground)["width=5000"] == 2, "a new request form gets a count although all others have higher ones"
    remember(playground, "width=1", 1, location="thumb")
    assert len(rows(playground)) <= MAX_REQUESTED + MAX_RECENT + 1


def test_a_regeneration_also_renders_popular_variants(playground: Playground) -> None:
    pack_id = playground.pack(picture=photo(600, 400))
    playground.run_jobs()
    planned = set(playground.planned(pack_id))
    for query, format in (("width=60&height=40", Format.JPEG), ("width=50&format=webp", Format.WEBP)):
        remember(playground, query, 100, format)
    remember(playground, "width=40", 99)
    remember(playground, "width=60&height=40", 500, Format.PNG)  # Counts only for PNG originals; this one is a JPEG.
    remember(playground, "width=600&height=400", 500)  # The planned variant of the bare URL.
    remember(playground, "width=5000", 500)
    remember(playground, "width=20", 500, location="gone")
    remember(playground, "width=20", 500, tenant="films")
    job = regenerate(playground, pack_id)
    popular = {str(playground.target(pack_id, query).key) for query in ("width=60&height=40", "width=50&format=webp")}
    assert set(playground.entries(pack_id)) == planned | popular
    assert (job.state, job.total, job.done, job.skipped) == (JobState.SUCCEEDED, len(planned) + 2, 2, len(planned))
    for key in popular:
        assert playground.site.variants.get(key)[0]
    with playground.site.catalog.read(TENANT) as tx:
        unplanned = sa.select(variant_table.c.plan).where(
            ~variant_table.c.planned, variant_table.c.superseded_at.is_(None)
        )
        assert len(tx.connection.execute(unplanned).all()) == 2
    get(playground, "width=60&height=40", pack_id=pack_id)
    assert rows(playground)["width=60&height=40"] == 500, "found, not rendered"
    again = regenerate(playground, pack_id)
    assert (again.done, again.skipped) == (0, len(planned) + 2)


@pytest.mark.parametrize("scope", ["all", "location", "packs", "change"])
def test_popular_variants_are_rendered_again_by_every_kind_of_refresh(playground: Playground, scope: str) -> None:
    playground.location("thumb", width=40, height=30, fallback="main")
    pack_id = playground.pack(picture=photo(120, 90))
    other = playground.pack(picture=photo(30, 90))
    playground.run_jobs()
    remember(playground, "width=20", 100, location="thumb")
    remember(playground, "width=60", 100)
    remember(playground, "width=61", 99)
    regenerate(playground, pack_id)
    before = popular(playground, pack_id)
    refresh, names = RegenerateMode.REFRESH, {"main", "thumb"}
    match scope:
        case "all":
            job = jobs.regenerate_tenant(playground.caller, None, Priority.BULK, refresh)
        case "location":
            job, names = jobs.regenerate_tenant(playground.caller, "thumb", Priority.BULK, refresh), {"thumb"}
        case "packs":
            job = jobs.regenerate_packs(playground.caller, [pack_id, other], Priority.INTERACTIVE, refresh)
        case _:
            changed = locations.put_location(
                playground.caller, "thumb", {"fallback": None, "resize_gravity": Gravity.NORTH}, Consent(force=True)
            ).job
            assert changed is not None
            job, names = changed, {"thumb"}
            playground.show(pack_id, "thumb", photo(90, 70))
    playground.run_jobs()
    done = playground.job(job)
    assert done.state is JobState.SUCCEEDED
    assert done.done + done.skipped + done.failed == done.total
    assert done.failed == 0
    after = popular(playground, pack_id)
    assert {name for name in before if before[name] != after[name]} == names
    entries = playground.entries(pack_id)
    for name, key in after.items():
        assert playground.site.variants.head(key) is not None, name
        assert (entries[key].planned, entries[key].superseded) == (False, False)
    assert not any("w61" in key for key in entries)
    with serving(playground) as client:
        assert client.get(f"/api/v2/img/{pack_id}?width=20&location=thumb").status_code == 200
    assert rows(playground)["width=20"] == 100, "found, not rendered"


def popular(playground: Playground, pack_id: str) -> dict[str, str]:
    """Return the keys of the two popular variants, by location."""
    asked = {"thumb": "width=20&location=thumb", "main": "width=60"}
    return {name: str(playground.target(pack_id, query).key) for name, query in asked.items()}


def test_an_edit_does_not_render_popular_variants(playground: Playground) -> None:
    pack_id = playground.pack()
    playground.run_jobs()
    remember(playground, "width=50", 1_000)
    playground.show(pack_id, "main", photo(300, 200))
    playground.run_jobs()
    assert str(playground.target(pack_id, "width=50").key) not in playground.entries(pack_id)


@pytest.mark.parametrize(("threshold", "expected"), [(0, 0), (7, 1), (8, 0)])
def test_the_threshold_of_popularity_is_a_setting(playground: Playground, threshold: int, expected: int) -> None:
    pack_id = playground.pack()
    remember(playground, "width=50", 7)
    site = playground.with_settings(playground.settings.model_copy(update={"demand_threshold": threshold}))
    playground.site = site
    playground.run_jobs()
    jobs.regenerate_packs(playground.caller, [pack_id], Priority.BULK)
    playground.run_jobs()
    key = str(playground.target(pack_id, "width=50").key)
    assert sum(entry == key for entry in playground.entries(pack_id)) == expected


def test_only_the_most_popular_variants_of_a_location_are_rendered(
    playground: Playground, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(demand_rows, "MAX_POPULAR", 2)
    pack_id = playground.pack()
    for width in (11, 12, 13):
        remember(playground, f"width={width}", width * 100)
    regenerate(playground, pack_id)
    entries = playground.entries(pack_id)
    assert [str(playground.target(pack_id, f"width={width}").key) in entries for width in (11, 12, 13)] == [
        False,
        True,
        True,
    ]


ASKED = ["width=64&height=64", "width=32&height=32&dpr=2&format=jpeg", "width=50&location-ratio=true", "dpr=3"]


@pytest.mark.parametrize("query", ASKED)
def test_a_rendition_with_the_listed_values_removes_the_demand(playground: Playground, query: str) -> None:
    playground.location("thumb", width=60, height=40)
    pack_id = playground.pack()
    get(playground, f"location=thumb&{query}", "location=thumb&width=33&height=33&blur=1", pack_id=pack_id)
    first, other = sorted(listed(playground, "thumb"), key=lambda row: row.parameters)
    assert (first.parameters, other.parameters) == ("", "blur=1")
    asked = Rendition(first.width, first.height, first.dpr)
    assert str(playground.target(pack_id, f"location=thumb&{query}").key) not in playground.planned(pack_id)
    locations.add_rendition(playground.caller, "thumb", asked)
    assert str(playground.target(pack_id, f"location=thumb&{query}").key) in playground.planned(pack_id)
    assert [row.parameters for row in listed(playground, "thumb")] == ["blur=1"]


def test_a_size_that_no_rendition_can_have_is_listed_with_its_parameters(playground: Playground) -> None:
    playground.location("thumb", width=60, height=60)
    pack_id = playground.pack()
    get(playground, "location=thumb&width=50", pack_id=pack_id)
    (row,) = listed(playground, "thumb")
    assert (row.width, row.height, row.parameters) == (50, None, "location-ratio=false")
    locations.add_rendition(playground.caller, "thumb", Rendition(50, None))
    assert listed(playground, "thumb") == [row], "a rendition follows the location's ratio, this variant the original's"


def test_demand_in_a_format_that_the_location_does_not_plan_stays(playground: Playground) -> None:
    pack_id = playground.pack(picture=png(photo(60, 40)))
    get(playground, "width=30&height=20", pack_id=pack_id)
    locations.add_rendition(playground.caller, "main", Rendition(30, 20))
    assert [row.format for row in listed(playground)] == [Format.PNG]
    assert str(playground.target(pack_id, "width=30&height=20").key) not in playground.planned(pack_id)


def test_a_tenant_sees_only_its_own_demand(playground: Playground) -> None:
    with playground.site.catalog.write("films") as tx:
        ensure_tenant(tx)
    remember(playground, "width=50", 3, tenant="films")
    assert listed(playground) == []


DEMAND = """{ location(name: "main") { demand(first: 1) {
  width height dpr parameters format requests lastRequestedAt } } }"""


def test_graphql_lists_the_most_requested_form_first(playground: Playground) -> None:
    remember(playground, "width=50&blur=1", 3)
    remember(playground, "width=60&height=40&dpr=1.5", 4, Format.AVIF)
    with serving(playground) as client:
        body = {"query": DEMAND}
        answer = client.post("/graphql", json=body, headers={"Authorization": f"Bearer {TOKEN}"}).json()
    assert answer["data"]["location"]["demand"] == [
        {
            "width": 60,
            "height": 40,
            "dpr": 1.5,
            "parameters": "",
            "format": "AVIF",
            "requests": 4,
            "lastRequestedAt": "2026-01-01T00:00:00.000000Z",
        }
    ]
