"""The scaled-out installation loses processes and services during work, and loses no work.

The short form is the default. `PACKSHOT_CHAOS_PACKS` sets the number of packs, and `PACKSHOT_CHAOS_PHOTOS` names a
folder of photographs to use instead of drawn images.
"""

import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.chaos.evidence import wait_until_idle
from tests.servers.cluster import Cluster
from tests.support.admin import Admin, wait_for
from tests.support.pictures import jpeg, photo

PACKS = int(os.environ.get("PACKSHOT_CHAOS_PACKS", "4"))
PATIENCE = 120.0 + 10.0 * PACKS
S3_AWAY_SECONDS = 30.0 if PACKS >= 50 else 5.0

pytestmark = pytest.mark.timeout(60 + 4 * PATIENCE)


def pictures() -> Iterator[bytes]:
    folder = os.environ.get("PACKSHOT_CHAOS_PHOTOS")
    photographs = [path.read_bytes() for path in sorted(Path(folder).glob("*.jpg"))] if folder else []
    for number in range(PACKS):
        yield photographs[number % len(photographs)] if photographs else jpeg(photo(900, 700, seed=number))


def ready(admin: Admin, packs: list[tuple[str, str]]) -> int:
    """Return how many variants of these packs are rendered."""
    return sum(variant["state"] == "READY" for pack_id, _ in packs for variant in admin.variants(pack_id))


def _is_ready(variant: dict[str, str]) -> bool:
    return variant["state"] == "READY"


def check_all(admin: Admin, packs: list[tuple[str, str]]) -> int:
    """Wait for every job; then fetch and compare every variant. Return their number."""
    wait_until_idle(admin, PATIENCE)
    for _, job_id in packs:
        job = admin.wait_for_job(job_id)
        assert (job["state"], job["failed"]) == ("SUCCEEDED", 0)
    return sum(admin.check_variants(pack_id) for pack_id, _ in packs)


def report(what: str, started: float, variants: int) -> None:
    print(
        f"\n{what}: {len(list(pictures()))} packs, {variants} variants right after {time.monotonic() - started:.1f} s"
    )


def test_the_queue_and_an_application_are_killed(cluster: Cluster, admins: list[Admin]) -> None:
    started = time.monotonic()
    packs = [admins[number % 2].pack_showing(data) for number, data in enumerate(pictures())]
    wait_for(lambda: ready(admins[0], packs) > 0)
    cluster.kill("valkey")
    cluster.kill("app-2")
    assert set(cluster.dead()) == {"valkey", "app-2"}
    # Stored variants are served without the queue.
    warm = next(variant["url"] for pack_id, _ in packs for variant in admins[0].variants(pack_id) if _is_ready(variant))
    assert admins[0].client.get(warm).status_code == 200
    # An edit commits even if the queue does not answer.
    crop = "{topLeftX: 0, topLeftY: 0, bottomRightX: 0.5, bottomRightY: 1}"
    edit = admins[0].do("setCrop", f'packId: "{packs[-1][0]}", location: "cover", crop: {crop}', "job { id }")
    packs.append((packs[-1][0], edit["job"]["id"]))
    for name in cluster.dead():
        cluster.start(name)
    report("killed the queue and an application", started, check_all(admins[0], packs))
    cluster.wait_until_ready()


def test_the_queue_is_flushed_with_orders_pending(cluster: Cluster, admins: list[Admin]) -> None:
    started = time.monotonic()
    packs = []
    for number, data in enumerate(pictures()):
        packs.append(admins[number % 2].pack_showing(data))
        if number % 3 == 2:
            cluster.valkey.client().flushall()
    cluster.valkey.client().flushall()
    report("flushed the queue", started, check_all(admins[1], packs))


def test_a_store_outage_loses_nothing(cluster: Cluster, admins: list[Admin]) -> None:
    started = time.monotonic()
    packs = [admins[0].pack_showing(data) for data in pictures()]
    cluster.kill("s3")
    away = time.monotonic()
    crop = "{topLeftX: 0.5, topLeftY: 0, bottomRightX: 1, bottomRightY: 1}"
    for pack_id, _ in list(packs):
        edit = admins[1].do("setCrop", f'packId: "{pack_id}", location: "thumb", crop: {crop}', "job { id }")
        packs.append((pack_id, edit["job"]["id"]))
    time.sleep(max(0.0, S3_AWAY_SECONDS - (time.monotonic() - away)))
    cluster.start("s3")
    report(f"took the store away for {time.monotonic() - away:.0f} s", started, check_all(admins[0], packs))
