"""Reads and edits of a pack touch only its own rows, for any number of unplanned variants."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import sqlalchemy as sa
from starlette.testclient import TestClient

from packshot.catalog.packs.listing import PackFilter, PackOrder, list_packs
from packshot.catalog.tables.artwork import variants
from packshot.catalog.variants import collection, ledger
from packshot.catalog.work.orders import Priority
from packshot.geometry import Crop
from pregen.queue.broker import make_broker
from resolvers import jobs, packs, previews, purges
from resolvers.changing.plans import plan_location
from serve.app import create_app
from tests.support.pictures import photo
from tests.support.playground import TENANT, Playground

FOREIGN = 5_000
# For one pack with two locations, far more rows than any operation needs.
FEW = 150
PICTURE = (
    '{ pack(by: {id: "%s"}) { location(name: "main") { variants { state } picture(widths: [77, 99]) { state } } } }'
)


@pytest.fixture
def pack_id(playground: Playground) -> str:
    """A rendered pack, and thousands of rows of unplanned variants, failed ones among them."""
    playground.location("thumb", width=160, height=90, fallback="main")
    pack_id = playground.pack(picture=photo(300, 200))
    playground.run_jobs()
    key = playground.target(pack_id, "width=123").key
    with playground.site.catalog.write(TENANT) as tx:
        ledger.announce(tx, [key], planned=False)
        row = tx.connection.execute(sa.select(variants).where(~variants.c.planned)).one()._asdict()
        made = {"state": "ready", "bytes": 1000, "rendered_at": tx.now}
        tx.connection.execute(
            sa.insert(variants),
            [
                row | made | {"plan": f"w{i}-h7-crop-center-q80.jpg", "state": "failed" if i % 5 == 0 else "ready"}
                for i in range(1, FOREIGN)
            ],
        )
    if not playground.site.catalog.is_sqlite:
        with playground.site.catalog.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            connection.execute(sa.text("ANALYZE variants"))
    return pack_id


class Counter:
    """Counts rows that statements return or change."""

    def __init__(self) -> None:
        self.rows = 0

    def make_row(self, cursor: Any, row: tuple[Any, ...]) -> tuple[Any, ...]:
        self.rows += 1
        return row

    def after(self, connection: Any, cursor: Any, *_: object) -> None:
        self.rows += max(0, cursor.rowcount)


@contextmanager
def counting(playground: Playground) -> Iterator[Counter]:
    """Count rows on each database. SQLite's driver reports the number of changed rows, but not of returned ones."""
    counter, engine = Counter(), playground.site.catalog.engine

    def watch(dbapi_connection: Any, *_: object) -> None:
        dbapi_connection.row_factory = counter.make_row

    engine.dispose()
    if playground.site.catalog.is_sqlite:
        sa.event.listen(engine, "checkout", watch)
    sa.event.listen(engine, "after_cursor_execute", counter.after)
    try:
        yield counter
    finally:
        sa.event.remove(engine, "after_cursor_execute", counter.after)
        if playground.site.catalog.is_sqlite:
            sa.event.remove(engine, "checkout", watch)
        engine.dispose()


def test_pages_and_the_admin_api_read_few_rows(playground: Playground, pack_id: str) -> None:
    app = create_app(playground.site, make_broker(playground.settings), playground.doorbell, "test-token")
    admin = {"Authorization": "Bearer test-token"}
    with TestClient(app, client=("127.0.0.1", 50_000)) as client, counting(playground) as counter:
        assert client.get(f"/api/v2/img/{pack_id}/picture.json?widths=77,99").json()["state"] == "PENDING"
        assert client.get(f"/api/v2/img/{pack_id}?width=150").status_code == 200
        assert client.get(f"/api/v2/img/{pack_id}?width=150&explain=1", headers=admin).json()["plan"]
        answer = client.post("/graphql", json={"query": PICTURE % pack_id}, headers=admin).json()
        states = [one["state"] for one in answer["data"]["pack"]["location"]["variants"]]
        assert set(states) == {"READY"}
    assert 0 < counter.rows < FEW


def test_plans_previews_and_purges_read_few_rows(playground: Playground, pack_id: str) -> None:
    with counting(playground) as counter:
        plan_location(playground.caller, "main", {"width": 200})
        previews.preview_crop(playground.caller, pack_id, "thumb", Crop(0.0, 0.0, 0.25, 0.5))
        assert (
            purges.refresh_older_than(
                playground.caller, datetime.now(UTC) - timedelta(days=1), limit=10, pack_ids=[pack_id], location=None
            )
            is None
        )
        with playground.site.catalog.read(TENANT) as tx:
            failed = PackFilter(variant_state=ledger.VariantState.FAILED)
            page = list_packs(tx, first=10, after=None, filter=failed, order=PackOrder.CREATED_DESC)
            # An unplanned variant that cannot be drawn is no failure of the pack.
            assert not page.items
    assert 0 < counter.rows < FEW


def test_a_regeneration_reads_few_rows(playground: Playground, pack_id: str) -> None:
    with playground.site.catalog.write(TENANT) as tx:
        ledger.retry_failures(tx, [pack_id])
    with counting(playground) as counter:
        jobs.regenerate_packs(playground.caller, [pack_id], Priority.BULK)
        playground.run_jobs()
    assert 0 < counter.rows < FEW


def test_an_edit_reads_few_rows_and_marks_each_picture_once(playground: Playground, pack_id: str) -> None:
    packs.set_crop(playground.caller, pack_id, "thumb", Crop(0.0, 0.0, 0.5, 0.5))
    with counting(playground) as counter:
        playground.run_jobs()
    assert 0 < counter.rows < FEW
    # One statement marks the variants of the changed image.
    packs.set_crop(playground.caller, pack_id, "main", Crop(0.0, 0.0, 0.5, 0.5))
    with counting(playground) as counter:
        playground.run_jobs()
    assert counter.rows < FOREIGN + FEW
    with playground.site.catalog.read(TENANT) as tx:
        left = sa.select(sa.func.count()).select_from(variants).where(~variants.c.planned)
        assert tx.connection.scalar(left.where(variants.c.superseded_at.is_(None))) == 0
    packs.set_crop(playground.caller, pack_id, "main", Crop(0.0, 0.0, 1.0, 1.0))
    playground.run_jobs()
    with playground.site.catalog.read(TENANT) as tx:
        assert tx.connection.execute(left.where(variants.c.superseded_at.is_(None))).scalar_one() >= FOREIGN


def test_a_tenants_collection_does_not_read_another_tenants_rows(playground: Playground, pack_id: str) -> None:
    with playground.site.catalog.write(TENANT) as tx:
        old = tx.now - timedelta(days=60)
        tx.connection.execute(sa.update(variants).where(~variants.c.planned).values(superseded_at=old))
        before = tx.now - timedelta(days=30)
    with counting(playground) as counter:
        with playground.site.catalog.read_system() as tx:
            assert collection.find_due_tenant(tx, before) == TENANT
        with playground.site.catalog.read("other") as tx:
            assert collection.list_due(tx, before, limit=100) == []
    assert 0 < counter.rows < FEW


# Conditions of indexes that read all rows of a pack, and statements that read all rows of the table.
_WHOLE = ("SCAN variants", "sqlite_autoindex_variants_1 (tenant_id=? AND pack_id=?)")


def test_no_statement_walks_through_all_variants_of_a_pack(playground: Playground, pack_id: str) -> None:
    if not playground.site.catalog.is_sqlite:
        pytest.skip("PostgreSQL's plan depends on what else is in the table")
    seen: list[tuple[str, Any]] = []

    def note(connection: Any, cursor: Any, statement: str, parameters: Any, context: Any, many: bool) -> None:
        if "variants" in statement and "tenant_id" in statement and not statement.startswith("INSERT"):
            seen.append((statement, parameters[0] if many else parameters))

    engine = playground.site.catalog.engine
    sa.event.listen(engine, "before_cursor_execute", note)
    test_pages_and_the_admin_api_read_few_rows(playground, pack_id)
    test_plans_previews_and_purges_read_few_rows(playground, pack_id)
    test_an_edit_reads_few_rows_and_marks_each_picture_once(playground, pack_id)
    jobs.regenerate_packs(playground.caller, [pack_id], Priority.BULK)
    packs.delete_pack(playground.caller, pack_id)
    sa.event.remove(engine, "before_cursor_execute", note)
    assert seen
    with engine.connect() as connection:
        for statement, parameters in {text: (text, given) for text, given in seen}.values():
            plan = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", parameters).all()
            whole = [row[3] for row in plan if row[3].startswith(_WHOLE[0]) or row[3].endswith(_WHOLE[1])]
            assert not whole, (statement, whole)
