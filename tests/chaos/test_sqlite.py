"""Another process locks SQLite under load: proper errors, no loss, recovery without help."""

import sqlite3
import time
from pathlib import Path

import pytest

from tests.chaos.evidence import check_folder_store, put_locations, wait_until_idle
from tests.chaos.load import check_acknowledged, crop, loaded
from tests.support.admin import wait_for
from tests.support.pictures import jpeg, photo
from tests.support.server import serving

# Longer than a writer waits for the lock, so that some writes are refused.
LOCKED_SECONDS = 12.0

pytestmark = pytest.mark.timeout(300)


def test_another_process_locks_sqlite(tmp_path: Path) -> None:
    with serving(tmp_path) as server:
        put_locations(server)
        packs = [server.pack_showing(jpeg(photo(480, 360, seed=number))) for number in range(4)]
        warm = f"/api/v2/img/{packs[0][0]}?location=thumb"
        assert server.client.get(warm).status_code == 200
        with loaded([server], warm=warm, cold=f"/api/v2/img/{packs[1][0]}?location=thumb") as load:
            wait_for(lambda: len(load.acknowledged) > 20)
            edits = [crop(server, pack_id) for pack_id, _ in packs]
            other = sqlite3.connect(tmp_path / "packshot.db", isolation_level=None, timeout=30)
            other.execute("BEGIN IMMEDIATE")
            time.sleep(LOCKED_SECONDS)
            other.execute("ROLLBACK")
            other.close()
            before = len(load.acknowledged)
            wait_for(lambda: len(load.acknowledged) > before + 20)
        assert load.wrong == []
        # Readers do not wait for writers.
        assert {status for (kind, status), _ in load.pictures.items() if kind == "warm"} == {200}
        wait_until_idle(server, 120)
        for job_id in [job_id for _, job_id in packs] + edits:
            assert server.wait_for_job(job_id)["state"] == "SUCCEEDED"
        check_acknowledged(server, load)
        for pack_id, _ in packs:
            assert server.check_variants(pack_id)
        check_folder_store(tmp_path)
        print(
            f"\nSQLite locked for {LOCKED_SECONDS:.0f} s: refused {dict(load.refused)}, pictures {dict(load.pictures)}"
        )
