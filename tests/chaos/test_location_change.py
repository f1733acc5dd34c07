"""A forced change is prepared and activated under edits and reads: no mixture, no loss, no edit reverted.

The short form is the default. `PACKSHOT_CHAOS_LOCATION_PACKS` sets the number of packs.
"""

import os
import random
import sqlite3
import time
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import httpx2 as httpx
import pytest

from tests.chaos.charts import CELLS, Crowd, Sight, chart, edit_cell, last_edits, late_sights, look, put_cell
from tests.chaos.evidence import check_folder_store, wait_until_idle
from tests.support.admin import Admin, wait_for
from tests.support.server import serving

PACKS = int(os.environ.get("PACKSHOT_CHAOS_LOCATION_PACKS", "24"))
EDITED = max(4, PACKS // 10)
OLD, NEW = (8, 8), (12, 12)
PAUSE_SECONDS = 0.1

pytestmark = pytest.mark.timeout(180 + 5 * PACKS)


def test_a_forced_change_is_never_seen_in_part(tmp_path: Path) -> None:
    with serving(tmp_path) as server:
        put_cell(server, OLD[0])
        packs = [server.pack_showing(chart(), media_type="image/png")[0] for _ in range(PACKS)]
        edited, untouched = packs[:EDITED], packs[EDITED:]
        edits = [edit_cell(server, pack_id, cell) for cell, pack_id in enumerate(edited)]
        wait_until_idle(server, 120)
        cells = iter(range(EDITED, CELLS))
        seen: list[Sight] = []
        crowd = Crowd()

        def write(chance: random.Random) -> None:
            admin = Admin(server.base, server.token)
            with admin.client:
                while not crowd.stopping.wait(PAUSE_SECONDS):
                    edits.append(edit_cell(admin, chance.choice(edited), next(cells)))

        def read(chance: random.Random) -> None:
            with httpx.Client(base_url=server.base, timeout=60) as client:
                while not crowd.stopping.wait(PAUSE_SECONDS / 4):
                    seen.append(look(client, chance.choice(packs)))

        try:
            crowd.add(write, 1)
            crowd.add(read, 2)
            crowd.add(read, 3)
            wait_for(lambda: len(seen) > PACKS)
            began_at = time.time()
            job_id = put_cell(server, NEW[0], ", force: true, activation: WHEN_READY")
            pending = server.ask('{ location(name: "cell") { width pending { version } pendingJob { id } } }')[
                "location"
            ]
            activated_at = _wait_until_activated(server, job_id)
            after = len(seen)
            wait_for(lambda: len(seen) > after + PACKS)
        finally:
            crowd.stop()
        assert crowd.faults == []
        # The change was observed while it was prepared, and the live configuration did not change.
        assert pending["width"] == OLD[0]
        assert pending["pendingJob"]["id"] == job_id
        assert any(began_at < sight.began_at and sight.ended_at < activated_at for sight in seen)
        _check_switch(seen, activated_at)
        assert late_sights(edits, [sight for sight in seen if sight.pack_id in edited]) == []
        wait_until_idle(server, 120)
        assert server.wait_for_job(job_id)["state"] == "SUCCEEDED"
        for last in last_edits(edits):
            sight = look(server.client, last.pack_id)
            assert (sight.cell, sight.size) == (last.cell, NEW)
        _check_untouched(server, tmp_path, untouched, activated_at)
        assert server.ask('{ location(name: "cell") { width pending { version } } }')["location"] == {
            "width": NEW[0],
            "pending": None,
        }
        check_folder_store(tmp_path)
    print(f"\n{PACKS} packs switched {activated_at - began_at:.1f} s later, {len(edits)} edits and {len(seen)} sights")


def _wait_until_activated(server: Admin, job_id: str) -> float:
    query = "query($id: ID!) { job(id: $id) { activatedAt } }"
    text = wait_for(lambda: server.ask(query, id=job_id)["job"]["activatedAt"], 60 + 5 * PACKS)
    return datetime.fromisoformat(text).astimezone(UTC).timestamp()


def _check_switch(seen: list[Sight], activated_at: float) -> None:
    """For every pack: the old size before the activation, the new size after it."""
    assert {sight.size for sight in seen} == {OLD, NEW}
    first_new = min(sight.ended_at for sight in seen if sight.size == NEW)
    assert first_new >= activated_at
    assert [sight for sight in seen if sight.size == OLD and sight.began_at > first_new] == []


def _check_untouched(server: Admin, data: Path, untouched: list[str], activated_at: float) -> None:
    """All variants of packs without edits were rendered before the activation, so no request had to render one."""
    with closing(sqlite3.connect(f"file:{data}/packshot.db?mode=ro", uri=True)) as connection:
        rows = connection.execute("SELECT pack_id, fingerprint, plan, planned, rendered_at FROM variants").fetchall()
    known = {(pack_id, fingerprint, plan): rest for pack_id, fingerprint, plan, *rest in rows}
    for pack_id in untouched:
        urls = [variant["url"] for variant in server.variants(pack_id) if "/cell/" in variant["url"]]
        assert urls
        for url in urls:
            _, pack, _, fingerprint, plan = url.split("/i/")[1].split("/")
            planned, rendered_at = known[pack, fingerprint, plan]
            assert planned
            assert datetime.fromisoformat(rendered_at).replace(tzinfo=UTC).timestamp() < activated_at
