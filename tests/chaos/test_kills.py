"""Workers are killed at random while crops are edited: in the end every variant exists and is correct.

The short form is the default. `PACKSHOT_CHAOS_KILLS` sets the number of kills, and `PACKSHOT_CHAOS_JOBS` the number
of crop edits, each of which is a job.
"""

import os
import random
import time
from pathlib import Path

import pytest

from tests.chaos.evidence import check_cluster_store, put_locations, unfinished_jobs, wait_until_idle
from tests.servers.cluster import Cluster
from tests.support.admin import Admin
from tests.support.pictures import jpeg, photo
from tests.support.server import serving

KILLS = int(os.environ.get("PACKSHOT_CHAOS_KILLS", "3"))
JOBS = int(os.environ.get("PACKSHOT_CHAOS_JOBS", "45"))
# A killed worker holds up to four of them for a minute; the others must have some left.
PACKS = max(16, JOBS // 10)
# Killing an idle worker proves nothing, so the test waits this long for a new variant.
PROGRESS_SECONDS = 10.0 if KILLS >= 50 else 3.0
LONGEST_PAUSE_SECONDS = 1.0
IDLE_SECONDS = 120.0

pytestmark = pytest.mark.timeout(300 + KILLS * 10 + PACKS * 5)


def test_workers_killed_at_random_lose_no_work(cluster: Cluster, admins: list[Admin], tmp_path: Path) -> None:
    chance = random.Random(20)  # noqa: S311 - the same kills each time
    originals = [jpeg(photo(320, 240, seed=number)) for number in range(PACKS)]
    packs = [admins[number % 2].pack_showing(data)[0] for number, data in enumerate(originals)]
    edits = [(chance.randrange(PACKS), _crop(chance)) for _ in range(JOBS)]
    jobs = []
    busy = at_work = 0
    began = time.monotonic()
    for kill in range(KILLS):
        for number, crop in edits[kill * JOBS // KILLS : (kill + 1) * JOBS // KILLS]:
            jobs.append(_set_crop(chance.choice(admins), packs[number], crop))
        at_work += _wait_for_a_variant(cluster)
        time.sleep(chance.uniform(0, LONGEST_PAUSE_SECONDS))
        busy += unfinished_jobs(admins[0]) > 0
        victim = chance.choice(cluster.workers)
        cluster.kill(victim)
        cluster.start(victim)
    last = time.monotonic()
    wait_until_idle(admins[0], IDLE_SECONDS)
    idle = time.monotonic()
    assert len(jobs) == JOBS
    # Otherwise the workers were idle when they were killed.
    assert busy >= KILLS // 3
    assert at_work > 0
    for job_id in jobs:
        job = admins[0].wait_for_job(job_id)
        assert (job["state"], job["failed"]) == ("SUCCEEDED", 0)
    variants = sum(admins[1].check_variants(pack_id) for pack_id in packs)
    objects = check_cluster_store(cluster)
    compared = _compare_with_undisturbed(admins[0], packs, originals, dict(edits), tmp_path)
    # Every pack has the same variants. Variants of other tests' locations have no counterpart here.
    assert compared % PACKS == 0
    assert 0 < compared <= variants
    print(
        f"\n{KILLS} kills ({busy} with work open, {at_work} right after a variant) over {JOBS} jobs on {PACKS} packs "
        f"in {last - began:.0f} s; idle {idle - last:.0f} s later; {variants} variants and {objects} objects right"
    )


def _wait_for_a_variant(cluster: Cluster) -> bool:
    """Wait until a worker stores one more variant; False if none does for a while."""
    assert cluster.proxy is not None
    known, deadline = len(cluster.proxy.seen), time.monotonic() + PROGRESS_SECONDS
    while time.monotonic() < deadline:
        if any(line.startswith("PUT /variants/") for line in cluster.proxy.seen[known:]):
            return True
        time.sleep(0.02)
    return False


def _compare_with_undisturbed(
    admin: Admin, packs: list[str], originals: list[bytes], crops: dict[int, str], folder: Path
) -> int:
    """Create the same packs in an undisturbed installation of its own, and compare the bytes of every variant."""
    compared = 0
    with serving(folder) as quiet:
        put_locations(quiet)
        for number, (pack_id, data) in enumerate(zip(packs, originals, strict=True)):
            twin, _ = quiet.pack_showing(data)
            if number in crops:
                _set_crop(quiet, twin, crops[number])
            theirs = {_name(variant["url"]): variant["url"] for variant in quiet.variants(twin)}
            ours = {_name(variant["url"]): variant["url"] for variant in admin.variants(pack_id)}
            places = {name.split("/")[0] for name in theirs}
            # Other tests may have added locations to the cluster.
            ours = {name: url for name, url in ours.items() if name.split("/")[0] in places}
            assert ours.keys() == theirs.keys()
            for name, url in ours.items():
                assert admin.client.get(url).content == quiet.client.get(theirs[name]).content
                compared += 1
    return compared


def _name(url: str) -> str:
    """Return the part of a variant's key from the location on, which is equal for equal images of all packs."""
    return url.split("/i/")[1].split("/", 2)[2]


def _set_crop(admin: Admin, pack_id: str, crop: str) -> str:
    job_id: str = admin.do("setCrop", f'packId: "{pack_id}", location: "thumb", crop: {crop}', "job { id }")["job"][
        "id"
    ]
    return job_id


def _crop(chance: random.Random) -> str:
    left, top = chance.uniform(0, 0.4), chance.uniform(0, 0.4)
    side = chance.uniform(0.3, 0.6)
    return f"{{topLeftX: {left}, topLeftY: {top}, bottomRightX: {left + side}, bottomRightY: {top + side}}}"
