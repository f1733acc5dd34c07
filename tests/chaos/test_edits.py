"""Eight writers edit crops while workers are stopped and resumed: no reader sees an old image, and the last edit wins.

The short form is the default. `PACKSHOT_CHAOS_EDITS` sets the number of edits.
"""

import os
import random
import signal
import threading
import time

import httpx2 as httpx
import pytest

from tests.chaos.charts import (
    CELLS,
    Crowd,
    Edit,
    Sight,
    cell_shown,
    chart,
    edit_cell,
    last_edits,
    late_sights,
    look,
    put_cell,
)
from tests.chaos.evidence import wait_until_idle
from tests.servers.cluster import Cluster
from tests.support.admin import Admin

EDITS = min(int(os.environ.get("PACKSHOT_CHAOS_EDITS", "40")), CELLS)
WRITERS = 8
READERS = 2
PACKS = 4
HELD_UP_SECONDS = 1.0

pytestmark = pytest.mark.timeout(240 + EDITS)


def test_no_reader_sees_an_older_picture_and_the_last_edit_wins(cluster: Cluster, admins: list[Admin]) -> None:
    put_cell(admins[0], 12)
    packs = [admins[0].pack_showing(chart(), media_type="image/png")[0] for _ in range(PACKS)]
    # A first edit that readers recognise, before the readers start.
    edits = [edit_cell(admins[0], pack_id, cell) for cell, pack_id in enumerate(packs)]
    cells = iter(range(PACKS, EDITS))
    sights: list[Sight] = []
    crowd = Crowd()

    def write(chance: random.Random) -> None:
        admin = Admin(chance.choice(admins).base, cluster.token)
        with admin.client:
            # One iterator for all writers, because taking an item from it is atomic.
            for cell in cells:
                edits.append(edit_cell(admin, chance.choice(packs), cell))

    def read(chance: random.Random) -> None:
        with httpx.Client(base_url=chance.choice(admins).base, timeout=60) as client:
            while not crowd.stopping.is_set():
                sights.append(look(client, chance.choice(packs)))

    try:
        for number in range(READERS):
            crowd.add(read, number)
        writers = [crowd.add(write, READERS + number) for number in range(WRITERS)]
        _hold_workers_up(cluster, writers)
    finally:
        crowd.stop()
    assert crowd.faults == []
    assert len(edits) == EDITS
    wait_until_idle(admins[0], 120)
    assert late_sights(edits, sights) == []
    for last in last_edits(edits):
        assert {look(admin.client, last.pack_id).cell for admin in admins} == {last.cell}
        assert _planned(admins[0], last) == {last.cell}
    print(f"\n{EDITS} edits by {WRITERS} writers, {len(sights)} sights by {READERS} readers, none of them late")


def _hold_workers_up(cluster: Cluster, writers: list[threading.Thread]) -> None:
    """Pause all workers again and again, as long as there are edits."""
    while any(writer.is_alive() for writer in writers):
        for number, seconds in ((signal.SIGSTOP, HELD_UP_SECONDS), (signal.SIGCONT, HELD_UP_SECONDS / 2)):
            for worker in cluster.workers:
                cluster.send(worker, number)
            time.sleep(seconds)


def _planned(admin: Admin, edit: Edit) -> set[int]:
    """Return what the lossless planned variants show."""
    urls = [v["url"] for v in admin.variants(edit.pack_id) if "/cell/" in v["url"] and v["format"] == "PNG"]
    return {cell_shown(admin.client.get(url).content)[0] for url in urls}
