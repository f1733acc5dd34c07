"""Unplanned variants use no more than their tenant's budget."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from starlette.testclient import TestClient

from packshot.catalog.tables.artwork import full_pack_locations, variants
from packshot.catalog.variants import demand, ledger, unplanned_usage
from packshot.maintenance.collect import collect_all, count_usage
from packshot.model import Format, Rendition
from packshot.render.processes.pool import Renderer
from packshot.variants.demand import CountedDemand, DemandedForm
from pregen.queue.broker import make_broker
from pregen.services.collector import Collector
from resolvers import tenants
from serve.app import create_app
from serve.image.recency import Recency
from tests.conftest import database_url
from tests.support.pictures import photo
from tests.support.playground import TENANT, Playground

ROW = unplanned_usage.ROW_BYTES

# These tests run on every database, because SQL statements enforce the budget.
__all__ = ["database_url"]


@pytest.fixture
def pack_id(playground: Playground) -> str:
    """A rendered pack."""
    pack_id = playground.pack(picture=photo(300, 200))
    playground.run_jobs()
    return pack_id


def set_budget(playground: Playground, budget: int | None) -> None:
    tenants.update_tenant(playground.caller, {"unplanned_bytes": budget})


def unplanned(playground: Playground) -> dict[str, Any]:
    """Return the rows of unplanned variants by plan."""
    with playground.site.catalog.read(TENANT) as tx:
        return {row.plan: row for row in tx.connection.execute(sa.select(variants).where(~variants.c.planned))}


def used(playground: Playground) -> int:
    with playground.site.catalog.read(TENANT) as tx:
        return unplanned_usage.read_usage(tx)


def taken(playground: Playground) -> int:
    return sum((row.bytes or 0) + ROW for row in unplanned(playground).values())


def get(client: TestClient, pack_id: str, *widths: int) -> None:
    for width in widths:
        assert client.get(f"/api/v2/img/{pack_id}?width={width}").status_code == 200


def blobs(playground: Playground) -> set[str]:
    return set(playground.site.variants.list(f"{TENANT}/"))


def age(playground: Playground, width: int, hours: float) -> None:
    """Set how many hours ago the variant of a width was last requested."""
    with playground.site.catalog.write(TENANT) as tx:
        has_width = variants.c.plan.startswith(f"w{width}-")
        tx.connection.execute(sa.update(variants).where(has_width).values(requested_at=tx.now - timedelta(hours=hours)))


def test_every_on_demand_render_counts_towards_the_budget(
    client: TestClient, playground: Playground, pack_id: str
) -> None:
    assert used(playground) == 0
    get(client, pack_id, 100, 110, 120, 100)
    assert used(playground) == taken(playground)
    assert len(unplanned(playground)) == 3
    for key in blobs(playground) - set(playground.planned(pack_id)):
        playground.site.variants.delete(key)
    get(client, pack_id, 100)
    assert used(playground) == taken(playground), "rendered again, it uses no more than before"


def test_a_planned_variant_that_is_rendered_on_demand_does_not_count_as_unplanned(
    client: TestClient, playground: Playground
) -> None:
    pack_id = playground.pack(picture=photo(300, 200))
    assert client.get(f"/api/v2/img/{pack_id}").status_code == 200
    assert not unplanned(playground)
    set_budget(playground, 0)
    other = playground.pack(picture=photo(200, 300))
    assert client.get(f"/api/v2/img/{other}").status_code == 200
    assert len(blobs(playground)) == 2, "a planned variant is stored with any budget"


def test_the_store_does_not_grow_beyond_the_hard_limit(
    client: TestClient, playground: Playground, pack_id: str
) -> None:
    budget = 60_000
    set_budget(playground, budget)
    get(client, pack_id, *range(100, 160, 2))
    largest = max(row.bytes for row in unplanned(playground).values())
    assert budget < taken(playground) <= budget * 1.1 + largest + ROW
    there = blobs(playground)
    first, again = (client.get(f"/api/v2/img/{pack_id}?width=299") for _ in range(2))
    assert first.content == again.content
    assert first.headers["etag"] == again.headers["etag"]
    assert client.head(f"/api/v2/img/{pack_id}?width=299").headers["content-length"] == str(len(first.content))
    assert client.get(f"/i/{playground.target(pack_id, 'width=298').key}").status_code == 200
    assert client.get(f"/api/v2/img/{pack_id}?width=299", headers={"Range": "bytes=0-3"}).status_code == 206
    assert blobs(playground) == there
    assert Collector(playground.site).collect_unplanned()
    while Collector(playground.site).collect_unplanned():
        pass
    assert taken(playground) == used(playground) <= budget
    assert set(playground.planned(pack_id)) <= blobs(playground)
    get(client, pack_id, 299)
    assert len(blobs(playground)) == len(unplanned(playground)) + len(playground.planned(pack_id))


def test_with_a_budget_of_0_images_are_served_and_not_stored(
    client: TestClient, playground: Playground, pack_id: str
) -> None:
    get(client, pack_id, 100, 101)
    set_budget(playground, 0)
    get(client, pack_id, 102, 103, 102)
    assert set(unplanned(playground)) == {playground_plan(playground, pack_id, width) for width in (100, 101)}
    collect_all(playground.site, TENANT)
    assert not unplanned(playground)
    assert blobs(playground) == set(playground.planned(pack_id))
    assert used(playground) == 0
    set_budget(playground, None)
    get(client, pack_id, 102)
    assert set(unplanned(playground)) == {playground_plan(playground, pack_id, 102)}


def playground_plan(playground: Playground, pack_id: str, width: int) -> str:
    return str(playground.target(pack_id, f"width={width}").key.plan)


def test_the_least_recently_requested_variants_are_deleted_first_and_popular_ones_last(
    client: TestClient, playground: Playground, pack_id: str
) -> None:
    get(client, pack_id, 100, 110, 120, 130)
    for width, hours in ((100, 50), (110, 40), (120, 30), (130, 20)):
        age(playground, width, hours)
    # 110 is requested again; 100 has a high count of demand.
    client.get(f"/api/v2/img/{pack_id}?width=110")
    recency = Recency(playground.site)
    recency.note(str(playground.target(pack_id, "width=110").key))
    recency.write()
    asked = DemandedForm(TENANT, "main", Format.JPEG, "width=100")
    with playground.site.catalog.write(TENANT) as tx:
        demand.add_requests(tx, [CountedDemand(asked, 1000, datetime.now(UTC))])
    kept = unplanned(playground)
    order = [120, 130, 110, 100]
    for width in order:
        assert playground_plan(playground, pack_id, width) in unplanned(playground)
        set_budget(playground, taken(playground) - 1)
        collect_all(playground.site, TENANT)
        assert playground_plan(playground, pack_id, width) not in unplanned(playground)
    assert len(kept) == 4
    assert not unplanned(playground)


def test_requests_for_unplanned_variants_are_noted_with_the_hour(
    playground: Playground, client: TestClient, pack_id: str
) -> None:
    get(client, pack_id, 100)
    age(playground, 100, 30)
    recency = Recency(playground.site)
    for _ in range(3):
        recency.note(str(playground.target(pack_id, "width=100").key))
        recency.note(next(iter(playground.planned(pack_id))))
    recency.write()
    (row,) = unplanned(playground).values()
    assert row.requested_at.minute == 0
    assert datetime.now(UTC) - row.requested_at < timedelta(hours=1, minutes=1)
    with playground.site.catalog.read(TENANT) as tx:
        noted = sa.select(sa.func.count()).select_from(variants).where(variants.c.requested_at.is_not(None))
        assert tx.connection.scalar(noted) == 1, "requests for planned variants are not noted"


def test_variants_in_the_making_and_newly_planned_ones_are_kept(
    client: TestClient, playground: Playground, pack_id: str
) -> None:
    get(client, pack_id, 100, 110)
    making = playground.target(pack_id, "width=120").key
    with playground.site.catalog.write(TENANT) as tx:
        ledger.announce(tx, [making], planned=False)
    playground.location("main", width=110, renditions=(Rendition(110, None),))
    playground.run_jobs()
    set_budget(playground, 0)
    collect_all(playground.site, TENANT)
    assert set(unplanned(playground)) == {str(making.plan)}
    assert any("/w110-" in key for key in blobs(playground))
    age(playground, 120, 1)
    collect_all(playground.site, TENANT)
    assert not unplanned(playground), "its renderer has died"


def test_a_pack_location_has_a_bounded_number_of_unplanned_variants(
    client: TestClient, playground: Playground, pack_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(unplanned_usage, "MAX_VARIANTS_PER_PLACE", 10)
    get(client, pack_id, *range(100, 115))
    assert len(unplanned(playground)) == 10
    with playground.site.catalog.read(TENANT) as tx:
        assert tx.connection.scalar(sa.select(sa.func.count()).select_from(full_pack_locations)) == 1
    age(playground, 100, 5)
    while Collector(playground.site).collect_unplanned():
        pass
    assert len(unplanned(playground)) == 9
    assert playground_plan(playground, pack_id, 100) not in unplanned(playground)
    get(client, pack_id, 114)
    assert playground_plan(playground, pack_id, 114) in unplanned(playground)


def test_a_wrong_count_of_used_bytes_is_corrected(client: TestClient, playground: Playground, pack_id: str) -> None:
    get(client, pack_id, 100, 110)
    with playground.site.catalog.write(TENANT) as tx:
        unplanned_usage.add_usage(tx, 10**15)
    count_usage(playground.site, TENANT)
    assert used(playground) == taken(playground)
    with playground.site.catalog.write(TENANT) as tx:
        unplanned_usage.add_usage(tx, -(10**15))
    assert used(playground) == 0
    assert Collector(playground.site)._holder
    count_usage(playground.site, TENANT)
    assert used(playground) == taken(playground)


def test_a_collected_variant_is_rendered_again_with_the_same_bytes(
    client: TestClient, playground: Playground, pack_id: str
) -> None:
    url = f"/api/v2/img/{pack_id}?width=100"
    before = client.get(url)
    set_budget(playground, 0)
    collect_all(playground.site, TENANT)
    set_budget(playground, None)
    assert client.get(url).content == before.content
    assert client.get(before.headers["content-location"]).content == before.content


@pytest.mark.parametrize("delivery", ["redirect", "accel"])
def test_redirect_and_accel_delivery_send_an_unstored_image_themselves(
    tmp_path: Path, renderer: Renderer, delivery: str
) -> None:
    playground = Playground(tmp_path / delivery, renderer, delivery=delivery, unplanned_bytes=0)
    pack_id = playground.pack(picture=photo(300, 200))
    playground.run_jobs()
    app = create_app(playground.site, make_broker(playground.settings), playground.doorbell, "test-token")
    with TestClient(app, follow_redirects=False) as client:
        answer = client.get(f"/api/v2/img/{pack_id}?width=100")
        assert answer.status_code == 200
        assert len(answer.content) > 100
        assert "x-accel-redirect" not in answer.headers
    playground.site.catalog.close()
