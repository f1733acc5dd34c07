"""Eight writers edit crops while workers are late: no reader sees an older picture, and the last edit wins.

A short form by default. `PACKSHOT_CHAOS_EDITS` says how many edits.
"""

import os
import random
import signal
import threading
import time
from dataclasses import dataclass

import httpx2 as httpx
import pytest

from tests.admin import Admin
from tests.chaos.evidence import CELLS, cell_crop, cell_shown, chart, wait_until_idle
from tests.servers.cluster import Cluster

EDITS = min(int(os.environ.get("PACKSHOT_CHAOS_EDITS", "120")), CELLS)
WRITERS = 8
READERS = 3
PACKS = 4
HELD_UP_SECONDS = 2.0

pytestmark = pytest.mark.timeout(240 + EDITS)


@dataclass(frozen=True)
class Edit:
    """An acknowledged edit: which square it shows, as which version, and when the answer was there."""

    pack_id: str
    cell: int
    version: int
    answered_at: float


@dataclass(frozen=True)
class Sight:
    """What a reader saw, and when it asked."""

    pack_id: str
    cell: int
    began_at: float


def test_no_reader_sees_an_older_picture_and_the_last_edit_wins(cluster: Cluster, admins: list[Admin]) -> None:
    admins[0].put_location("cell", 12, 12)
    packs = [admins[0].pack_showing(chart(), media_type="image/png")[0] for _ in range(PACKS)]
    # An edit that the readers can tell, before there is any reader.
    edits = [_edit(admins[0], pack_id, cell) for cell, pack_id in enumerate(packs)]
    cells = iter(range(PACKS, EDITS))
    sights: list[Sight] = []
    faults: list[BaseException] = []
    stop = threading.Event()

    def write(seed: int) -> None:
        chance = random.Random(seed)  # noqa: S311
        admin = Admin(admins[seed % 2].base, cluster.token)
        with admin.client:
            # One iterator for all of them: taking from it is one step.
            for cell in cells:
                edits.append(_edit(admin, chance.choice(packs), cell))

    def read(seed: int) -> None:
        chance = random.Random(seed)  # noqa: S311
        with httpx.Client(base_url=admins[seed % 2].base, timeout=60) as client:
            while not stop.is_set():
                sights.append(_look(client, chance.choice(packs)))

    def guarded(act: object, seed: int) -> None:
        try:
            act(seed)  # type: ignore[operator]
        except BaseException as fault:  # noqa: BLE001 - raised again by the test itself
            faults.append(fault)

    writers = [threading.Thread(target=guarded, args=(write, seed)) for seed in range(WRITERS)]
    readers = [threading.Thread(target=guarded, args=(read, seed)) for seed in range(READERS)]
    for thread in (*writers, *readers):
        thread.start()
    _hold_workers_up(cluster, writers)
    for thread in writers:
        thread.join()
    time.sleep(1.0)
    stop.set()
    for thread in readers:
        thread.join()
    assert faults == []
    assert len(edits) == EDITS
    wait_until_idle(admins[0], 120)
    by_cell = {edit.cell: edit for edit in edits}
    late = [sight for sight in sights if by_cell[sight.cell].version < _newest(edits, sight)]
    assert late == []
    for pack_id in packs:
        last = max((edit for edit in edits if edit.pack_id == pack_id), key=lambda edit: edit.version)
        for admin in admins:
            assert _look(admin.client, pack_id).cell == last.cell
            for variant in admin.variants(pack_id):
                if "/cell/" in variant["url"] and variant["format"] == "PNG":
                    assert cell_shown(admin.client.get(variant["url"]).content)[0] == last.cell
    print(f"\n{EDITS} edits by {WRITERS} writers, {len(sights)} sights by {READERS} readers, none of them late")


def _hold_workers_up(cluster: Cluster, writers: list[threading.Thread]) -> None:
    """Stop all workers for a while, again and again, as long as there are edits."""
    while any(writer.is_alive() for writer in writers):
        for number in (signal.SIGSTOP, signal.SIGCONT):
            for worker in cluster.workers:
                cluster.send(worker, number)
            time.sleep(HELD_UP_SECONDS if number is signal.SIGSTOP else HELD_UP_SECONDS / 2)


def _edit(admin: Admin, pack_id: str, cell: int) -> Edit:
    arguments = f'packId: "{pack_id}", location: "cell", crop: {cell_crop(cell)}'
    version = admin.do("setCrop", arguments, "packLocation { version }")["packLocation"]["version"]
    return Edit(pack_id, cell, version, time.monotonic())


def _look(client: httpx.Client, pack_id: str) -> Sight:
    began_at = time.monotonic()
    answer = client.get(f"/api/v2/img/{pack_id}?location=cell")
    assert answer.status_code == 200, answer.text
    cell, size = cell_shown(answer.content)
    assert size == (12, 12)
    return Sight(pack_id, cell, began_at)


def _newest(edits: list[Edit], sight: Sight) -> int:
    """Return the newest version that was acknowledged before the reader asked."""
    return max(e.version for e in edits if e.pack_id == sight.pack_id and e.answered_at <= sight.began_at)
