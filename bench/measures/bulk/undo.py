"""Counts what a revert of a location renders: only packs that were edited or created since need variants."""

import sqlite3
import time
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import PIL

from bench.measures.report import circumstances, table
from tests.support.admin import Admin, wait_for
from tests.support.pictures import jpeg, photo
from tests.support.server import serving

PATIENCE = 1800.0
CROP = "{topLeftX: 0.25, topLeftY: 0.25, bottomRightX: 0.75, bottomRightY: 0.75}"


def undo(packs: int, scratch: Path) -> str:
    """Return the report on a change of a location over `packs` packs, and on its revert."""
    edited = made = max(1, packs // 20)
    with serving(scratch) as server:
        server.put_location("card", 320, 180)
        first = [server.pack_showing(jpeg(photo(480, 360, seed=number)))[0] for number in range(packs)]
        _wait_until_idle(server)
        version = server.ask('{ location(name: "card") { version } }')["location"]["version"]
        change = _counted(server, scratch, 'putLocation(input: {name: "card", width: 360, height: 200}, force: true)')
        for pack_id in first[:edited]:
            server.do("setCrop", f'packId: "{pack_id}", location: "card", crop: {CROP}', "job { id }")
        for number in range(made):
            server.pack_showing(jpeg(photo(480, 360, seed=packs + number)))
        _wait_until_idle(server)
        back = _counted(server, scratch, f'rollbackLocation(name: "card", toVersion: {version}, force: true)')
    rows = [
        ["change", str(packs), str(change[0]), str(change[1]), f"{change[2]:.1f}"],
        ["undo", str(edited + made), str(back[0]), str(back[1]), f"{back[2]:.1f}"],
    ]
    return f"""{circumstances(f"bench/bulk undo --packs {packs}", f"Pillow {PIL.__version__}")}

An embedded installation changes the size of a location that {packs} packs use. Then {edited} packs are edited, {made}
packs are created, and the change is reverted. What was rendered is read from the ledger.

{table(["", "packs that need it", "packs rendered", "variants rendered", "seconds"], rows)}"""


def _counted(server: Admin, data: Path, field: str) -> tuple[int, int, float]:
    """Run a mutation, wait for its job, and return the numbers of rendered packs and variants, and the seconds."""
    began_at, began = datetime.now(UTC), time.monotonic()
    payload = server.ask(f"mutation {{ {field} {{ job {{ id }} userErrors {{ message }} }} }}")
    (answer,) = payload.values()
    assert answer["userErrors"] == [], answer
    if answer["job"] is not None:
        server.wait_for_job(answer["job"]["id"], PATIENCE)
    _wait_until_idle(server)
    seconds = time.monotonic() - began
    with closing(sqlite3.connect(f"file:{data}/packshot.db?mode=ro", uri=True)) as connection:
        query = "SELECT pack_id FROM variants WHERE rendered_at > ?"
        rows = connection.execute(query, [began_at.replace(tzinfo=None).isoformat(" ")]).fetchall()
    return len({pack_id for (pack_id,) in rows}), len(rows), seconds


def _wait_until_idle(server: Admin) -> None:
    query = "{ jobs(first: 1, states: [QUEUED, RUNNING]) { totalCount } }"
    wait_for(lambda: server.ask(query)["jobs"]["totalCount"] == 0, PATIENCE)
