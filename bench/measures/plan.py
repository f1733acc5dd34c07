"""Measures the time of planning a change of configuration, by the number of packs and on either database."""

import argparse
import hashlib
import statistics
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack
from importlib.metadata import version
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from bench.measures.report import circumstances, publish, table
from packshot.catalog.configuration.locations import get_locations
from packshot.catalog.configuration.tenants import get_tenant
from packshot.catalog.database.transaction import Tx
from packshot.catalog.packs.shapes import read_packs, shape
from packshot.catalog.tables.artwork import packs, variants
from packshot.geometry import Gravity
from packshot.model import Format
from packshot.render.limits import Limits
from packshot.render.processes.pool import Renderer
from packshot.variants.change import Change
from packshot.variants.change_plan import ChangePlan
from packshot.variants.effect import Planner
from resolvers.changing.configuration import read_configuration
from resolvers.changing.plans import plan_change, plan_location
from tests.servers.postgres import Postgres
from tests.support.playground import TENANT, Playground

CHUNK = 5_000
# 40 sizes of originals in four formats, some small, some animated. 2 % of the packs have another main location, 5 %
# their own thumb, 3 % a unique crop, 1 % their own gravity.
FILL = """
INSERT INTO originals (tenant_id, sha256, width, height, bytes, format, alpha, frames, created_at)
SELECT :tenant, digest('o' || i),
  CASE WHEN i % 50 = 7 THEN 200 ELSE 1600 + 200 * (i % 10) END,
  CASE WHEN i % 50 = 7 THEN 150 ELSE 900 + 100 * (i / 10 % 4) END,
  500000, CASE i % 20 WHEN 0 THEN 'png' WHEN 1 THEN 'webp' WHEN 2 THEN 'gif' ELSE 'jpeg' END,
  i % 20 = 0, CASE WHEN i % 20 = 2 THEN 12 ELSE 1 END, :now FROM numbers;
INSERT INTO packs (tenant_id, id, version, sequence_number, main_location, resize_gravity, include_all,
  created_at, modified_at)
SELECT :tenant, substr(digest('p' || i), 1, 24), 1, i, CASE WHEN i % 50 = 3 THEN 'poster' END,
  CASE WHEN i % 100 = 11 THEN 'north' END, 'unset', :now, :now FROM numbers;
INSERT INTO pack_locations (tenant_id, pack_id, location, version, original_sha256, original_at,
  crop_left, crop_top, crop_right, crop_bottom, include_all, revision)
SELECT :tenant, substr(digest('p' || i), 1, 24), CASE WHEN i % 50 = 3 THEN 'poster' ELSE 'main' END, 1,
  digest('o' || i), :now,
  CASE WHEN i % 33 = 5 THEN (i * 7919 % 3000 + 1) / 10000.0 END,
  CASE WHEN i % 33 = 5 THEN (i * 104729 % 3000 + 1) / 10000.0 END,
  CASE WHEN i % 33 = 5 THEN 0.9 END, CASE WHEN i % 33 = 5 THEN 0.8 END, 'unset', 0 FROM numbers;
INSERT INTO pack_locations (tenant_id, pack_id, location, version, original_sha256, original_at, include_all, revision)
SELECT :tenant, substr(digest('p' || i), 1, 24), 'thumb', 1, digest('o' || (i % 1000 + 1)), :now, 'unset', 0
FROM numbers WHERE i % 20 = 6"""
NUMBERS = "WITH RECURSIVE numbers(i) AS (SELECT CAST(1 AS BIGINT) UNION ALL SELECT i + 1 FROM numbers WHERE i < :count)"


def main() -> None:
    arguments = argparse.ArgumentParser(prog="bench/plan", description=__doc__)
    arguments.add_argument("--packs", type=int, default=1_000_000, help="number of packs (default %(default)s)")
    arguments.add_argument("--sqlite", action="store_true", help="use SQLite instead of PostgreSQL")
    arguments.add_argument("--rounds", type=int, default=5, help="number of rounds (default %(default)s)")
    arguments.add_argument("--print-only", action="store_true", help="do not change docs/benchmarks.md")
    chosen = arguments.parse_args()
    with ExitStack() as parts:
        folder = Path(parts.enter_context(tempfile.TemporaryDirectory()))
        url = None
        if not chosen.sqlite:
            server = Postgres(folder / "postgres")
            parts.callback(server.stop)
            url = parts.enter_context(server.database())
        renderer = parts.enter_context(Renderer(Limits(), processes=1))
        playground = Playground(folder / "data", renderer, database_url=url)
        parts.callback(playground.site.catalog.close)
        rows = _fill(playground, chosen.packs)
        text = _measure(playground, chosen, rows)
    publish(f"bench/plan{' --sqlite' if chosen.sqlite else ''}", text, write=not chosen.print_only)


def _fill(playground: Playground, count: int) -> int:
    """Create the packs, and a ledger with every variant of `thumb` at an earlier size; return the number of ledger
    rows.
    """
    catalog = playground.site.catalog
    playground.location("poster", width=400, height=600)
    playground.location("thumb", width=240, height=135, fallback="main")
    playground.location("card", width=640, height=360, fallback="thumb")
    playground.location("banner", width=1280, height=400, fallback="main")
    if catalog.is_sqlite:
        sa.event.listen(catalog.engine, "connect", _add_digest)
        catalog.engine.dispose()
    with catalog.write(TENANT) as tx:
        if not catalog.is_sqlite:
            tx.connection.execute(sa.text("SET LOCAL statement_timeout = 0"))
            tx.connection.execute(
                sa.text(
                    "CREATE FUNCTION digest(text) RETURNS text IMMUTABLE LANGUAGE sql"
                    " AS $$ SELECT encode(sha256(convert_to($1, 'UTF8')), 'hex') $$"
                )
            )
        for statement in FILL.split(";"):
            into, select = statement.split("SELECT", 1)
            # PostgreSQL requires the numbers before the INSERT, SQLite accepts them there.
            text = sa.text(f"{NUMBERS} {into} SELECT {select}")
            tx.connection.execute(text, {"tenant": TENANT, "now": tx.now, "count": count})
        mine = packs.c.tenant_id == TENANT
        tx.connection.execute(sa.text("ANALYZE"))
        tx.connection.execute(
            sa.update(packs).where(mine).values(shape=shape(tx.connection.dialect.name), shape_version=packs.c.version)
        )
    with catalog.write(TENANT) as tx:
        if not catalog.is_sqlite:
            tx.connection.execute(sa.text("SET LOCAL statement_timeout = 0"))
        rows = sum(_write(tx, chunk) for chunk in _ledger(playground, tx))
    # Another size is live now, and none of its variants is rendered yet.
    playground.location("thumb", width=320, height=180)
    with catalog.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(sa.text("ANALYZE" if catalog.is_sqlite else "VACUUM ANALYZE"))
    return rows


def _add_digest(connection: Any, _record: object) -> None:
    connection.create_function("digest", 1, lambda text: hashlib.sha256(text.encode()).hexdigest(), deterministic=True)


def _ledger(playground: Playground, tx: Tx) -> Iterator[list[tuple[str, str, str]]]:
    planner, tenant, known = Planner(playground.site.limit), get_tenant(tx), get_locations(tx)
    after = ""
    mine = packs.c.tenant_id == TENANT
    while ids := tx.connection.scalars(
        sa.select(packs.c.id).where(mine, packs.c.id > after).order_by(packs.c.id).limit(CHUNK)
    ).all():
        after = ids[-1]
        rows = []
        for pack_id, snapshot in sorted(read_packs(tx, ids, tenant, known).items()):
            standing = planner.at(snapshot, "thumb")
            if standing is not None:
                rows += [(pack_id, standing.fingerprint, plan) for plan in standing.variants]
        yield rows


def _write(tx: Tx, rows: list[tuple[str, str, str]]) -> int:
    constant = {"tenant_id": TENANT, "location": "thumb", "state": "ready", "planned": True, "attempts": 0}
    moments = {"created_at": tx.now, "rendered_at": tx.now, "superseded_at": tx.now}
    columns = ("pack_id", "fingerprint", "plan", *constant, "bytes", *moments)
    values = (*constant.values(), 20_000, *moments.values())
    if tx.connection.dialect.name == "sqlite":
        tx.connection.execute(sa.insert(variants), [dict(zip(columns, (*row, *values), strict=True)) for row in rows])
        return len(rows)
    cursor = tx.connection.connection.cursor()
    with cursor.copy(f"COPY variants ({', '.join(columns)}) FROM STDIN") as copy:
        for row in rows:
            copy.write_row((*row, *values))
    return len(rows)


def _measure(playground: Playground, chosen: argparse.Namespace, ledger_rows: int) -> str:
    def of_location(**changes: Any) -> ChangePlan:
        return plan_location(playground.caller, "thumb", changes)

    def of_tenant() -> ChangePlan:
        with playground.site.catalog.read(TENANT) as tx:
            change = Change(tenant={"resize_gravity": Gravity.NORTH})
            return plan_change(playground.site, tx, read_configuration(tx), change, None)

    asked = {
        "another size": lambda: of_location(width=480, height=270),
        "another gravity": lambda: of_location(resize_gravity=Gravity.SMART),
        "another fallback": lambda: plan_location(playground.caller, "card", {"fallback": "main"}),
        "back to the earlier size, all rendered": lambda: of_location(width=240, height=135),
        "one format only": lambda: of_location(formats=(Format.JPEG,)),
        "a new label": lambda: of_location(label="Small"),
        "the tenant's gravity, 5 locations": of_tenant,
    }
    of_location(width=100)  # Fills the caches, so that the first measurement does not.
    rows = []
    for name, ask in asked.items():
        spent = []
        for _ in range(chosen.rounds):
            began = time.perf_counter()
            plan = ask()
            spent.append(time.perf_counter() - began)
        counts = f"{plan.packs:,} packs, {plan.render:,} to render, {plan.reuse:,} there"
        rows.append([name, f"{statistics.median(spent):.2f}", f"{max(spent):.2f}", "2.00", counts])
    catalog = playground.site.catalog
    with catalog.read(TENANT) as tx:
        shapes = tx.connection.scalar(sa.select(sa.func.count(sa.distinct(packs.c.shape))))
        server = tx.connection.scalar(
            sa.text("SELECT sqlite_version()" if catalog.is_sqlite else "SHOW server_version")
        )
    database = f"SQLite {server}" if catalog.is_sqlite else f"PostgreSQL {server} with default settings"
    command = f"bench/plan --packs {chosen.packs}{' --sqlite' if chosen.sqlite else ''} --rounds {chosen.rounds}"
    return f"""{circumstances(command, database, f"SQLAlchemy {version('SQLAlchemy')}")}

{chosen.packs:,} packs of {shapes:,} shapes, {ledger_rows:,} rows in the ledger; seconds from the call to the plan,
samples apart, of {chosen.rounds} calls.

{table(["change", "median", "worst", "bar", "plan"], rows)}"""


if __name__ == "__main__":
    main()
