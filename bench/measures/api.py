"""Measures a page of packs with their pictures: by GraphQL, and by hand-written code on SQLAlchemy and `json`."""

import argparse
import asyncio
import gc
import json
import statistics
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import orjson
import sqlalchemy as sa

from bench.measures.report import circumstances, publish, table
from packshot.catalog.configuration.snapshots import read_snapshots
from packshot.catalog.database.transaction import Catalog
from packshot.catalog.packs import packs
from packshot.catalog.packs.listing import PackFilter, PackOrder, list_packs
from packshot.catalog.variants import ledger
from packshot.render.limits import Limits
from packshot.render.processes.pool import Renderer
from packshot.variants.resolve import planned_all
from resolvers.pictures import Picture, RequestedSource, assemble, lay_out_location
from resolvers.urls.build import Urls
from schema.build import schema
from schema.request.context import Context
from tests.support.playground import TENANT, Playground

PACKS = 100
LOCATIONS = ("banner", "card", "main", "poster", "thumb")
QUERY = """query Page($first: Int!) { packs(first: $first) { nodes { id version locations {
  name picture { src width height state sources { mediaType srcset } }
} } } }"""


def main() -> None:
    arguments = argparse.ArgumentParser(prog="bench/api", description=__doc__)
    arguments.add_argument("--rounds", type=int, default=30, help="number of rounds (default %(default)s)")
    arguments.add_argument("--print-only", action="store_true", help="do not change docs/benchmarks.md")
    chosen = arguments.parse_args()
    with tempfile.TemporaryDirectory() as folder, Renderer(Limits(), processes=1) as renderer:
        playground = Playground(Path(folder) / "data", renderer)
        _fill(playground)
        with asyncio.Runner() as runner:
            text = _measure(playground, runner, chosen.rounds)
        playground.site.catalog.close()
    publish("bench/api", text, write=not chosen.print_only)


def _measure(playground: Playground, runner: asyncio.Runner, rounds: int) -> str:
    def by_graphql(first: int = PACKS) -> bytes:
        return runner.run(_by_graphql(playground, first))

    def by_hand(first: int = PACKS) -> str:
        return _by_hand(playground, first)

    assert json.loads(by_graphql()) == json.loads(by_hand())
    # `packshot serve` does the same at its start.
    gc.collect()
    gc.freeze()
    # In turns, so that other work of the machine affects both alike.
    spent: defaultdict[Callable[..., Any], list[float]] = defaultdict(list)
    for _ in range(rounds):
        for ask in (by_graphql, by_hand):
            began = time.process_time()
            ask()
            spent[ask].append(time.process_time() - began)
    ours, theirs = (statistics.median(spent[ask]) for ask in (by_graphql, by_hand))
    one, many = (_statements(playground.site.catalog, partial(by_graphql, first)) for first in (1, PACKS))
    rows = [
        ["statements for 1 pack", str(one), "", ""],
        [f"statements for {PACKS} packs", str(many), "10", ""],
        ["GraphQL / by hand", f"{ours / theirs:.2f}", "2.00", ""],
        ["GraphQL", "", "", f"{ours * 1000:.0f} ms, {1 / ours:.1f} a second and core"],
        ["by hand", "", "", f"{theirs * 1000:.0f} ms, {1 / theirs:.1f} a second and core"],
    ]
    versions = [f"{name} {version(name)}" for name in ("strawberry-graphql", "graphql-core", "SQLAlchemy")]
    return f"""{circumstances(f"bench/api --rounds {rounds}", *versions)}

{PACKS} packs x {len(LOCATIONS)} locations x `picture`, {len(by_hand()) // 1000} kB of JSON, on SQLite; CPU time of the
process, median of {rounds} rounds in turns. "By hand" is code on SQLAlchemy and `json` with the same rules. Both return
the same document.

{table(["", "figure", "bar", "time"], rows)}"""


def _fill(playground: Playground) -> None:
    for number, name in enumerate(LOCATIONS):
        fallback = None if name == "main" else "main"
        playground.location(name, width=320 + 16 * number, height=180 + 9 * number, fallback=fallback)
    first = playground.snapshot(playground.pack()).pack_locations["main"].original
    assert first is not None
    with playground.site.catalog.write(TENANT) as tx:
        for _ in range(PACKS - 1):
            pack_id = packs.create_pack(tx, {})
            packs.set_pack_location(tx, pack_id, "main", {"original_sha256": first.sha256, "original_at": tx.now})
        everything = list_packs(tx, first=PACKS, after=None, filter=PackFilter(), order=PackOrder.CREATED_ASC)
        for snapshot in read_snapshots(tx, [pack.id for pack in everything.items]).values():
            keys = [target.key for target in planned_all(snapshot, limit=playground.site.limit)]
            ledger.announce(tx, keys, planned=True)


async def _by_graphql(playground: Playground, first: int) -> bytes:
    result = await schema.execute(QUERY, variable_values={"first": first}, context_value=Context(playground.caller))
    assert result.errors is None
    return orjson.dumps(result.data)


def _by_hand(playground: Playground, first: int) -> str:
    site, origin = playground.site, playground.caller.origin
    with site.catalog.read(TENANT) as tx:
        page = list_packs(tx, first=first, after=None, filter=PackFilter(), order=PackOrder.CREATED_DESC)
        ids = [pack.id for pack in page.items]
        layouts = {
            (id, name): lay_out_location(snapshot, RequestedSource(location=name), limit=site.limit)
            for id, snapshot in read_snapshots(tx, ids).items()
            for name in sorted(snapshot.locations)
        }
        entries = ledger.read_entries(tx, [key for one in layouts.values() if one is not None for key in one.keys])
    pictures = {
        place: None if layout is None else assemble(layout, entries, Urls(origin)) for place, layout in layouts.items()
    }
    nodes = []
    for pack in page.items:
        shown = [{"name": name, "picture": _plain(one)} for (id, name), one in pictures.items() if id == pack.id]
        nodes.append({"id": pack.id, "version": pack.version, "locations": shown})
    return json.dumps({"packs": {"nodes": nodes}})


def _plain(picture: Picture | None) -> dict[str, Any] | None:
    if picture is None:
        return None
    return {
        "src": picture.src,
        "width": picture.width,
        "height": picture.height,
        "state": picture.state.name,
        "sources": [{"mediaType": source.media_type, "srcset": source.srcset} for source in picture.sources],
    }


def _statements(catalog: Catalog, act: Callable[[], object]) -> int:
    with _listening(catalog) as seen:
        act()
    return len([text for text in seen if text != "BEGIN"])


@contextmanager
def _listening(catalog: Catalog) -> Iterator[list[str]]:
    seen: list[str] = []

    def note(connection: object, cursor: object, statement: str, *_: object) -> None:
        seen.append(statement)

    sa.event.listen(catalog.engine, "before_cursor_execute", note)
    try:
        yield seen
    finally:
        sa.event.remove(catalog.engine, "before_cursor_execute", note)


if __name__ == "__main__":
    main()
