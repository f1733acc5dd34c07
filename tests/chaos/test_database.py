"""PostgreSQL does not answer under load: proper errors, no loss, recovery without help.

The short form is the default. `PACKSHOT_CHAOS_AWAY_SECONDS` sets the seconds of the outage.
"""

import os
import time

import pytest

from tests.chaos.evidence import check_cluster_store, wait_until_idle
from tests.chaos.load import check_acknowledged, crop, loaded
from tests.servers.cluster import Cluster
from tests.support.admin import Admin, wait_for
from tests.support.pictures import jpeg, photo

AWAY_SECONDS = float(os.environ.get("PACKSHOT_CHAOS_AWAY_SECONDS", "2"))

pytestmark = pytest.mark.timeout(300 + AWAY_SECONDS)


def test_a_postgresql_outage_loses_nothing(cluster: Cluster, admins: list[Admin]) -> None:
    packs = [admins[0].pack_showing(jpeg(photo(480, 360, seed=80 + number))) for number in range(4)]
    warm = f"/api/v2/img/{packs[0][0]}?location=thumb"
    assert admins[0].client.get(warm).status_code == 200
    with loaded(admins, warm=warm, cold=f"/api/v2/img/{packs[1][0]}?location=thumb") as load:
        wait_for(lambda: len(load.acknowledged) > 20)
        edits = [crop(admins[number % 2], pack_id) for number, (pack_id, _) in enumerate(packs)]
        cluster.kill("postgres")
        time.sleep(AWAY_SECONDS)
        cluster.start("postgres")
        before = len(load.acknowledged)
        wait_for(lambda: len(load.acknowledged) > before + 20)
    assert load.wrong == []
    assert load.refused
    wait_until_idle(admins[0], 120)
    for job_id in [job_id for _, job_id in packs] + edits:
        assert admins[0].wait_for_job(job_id)["state"] == "SUCCEEDED"
    check_acknowledged(admins[1], load)
    for pack_id, _ in packs:
        assert admins[1].check_variants(pack_id)
    check_cluster_store(cluster)
    print(
        f"\nPostgreSQL away for {AWAY_SECONDS:.0f} s: {len(load.acknowledged)} packs made, refused {dict(load.refused)}"
    )
