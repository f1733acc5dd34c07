"""Every message of the queue arrives two to five times and in random order; each result exists once.

The short form is the default. `PACKSHOT_CHAOS_PACKS` sets the number of packs.
"""

import json
import os
import random
import signal
from collections import Counter
from typing import Any
from uuid import uuid4

import pytest

from tests.chaos.evidence import check_cluster_store, wait_until_idle
from tests.servers.cluster import Cluster
from tests.support.admin import Admin, wait_for
from tests.support.pictures import jpeg, photo

PACKS = int(os.environ.get("PACKSHOT_CHAOS_PACKS", "4"))
# A Dramatiq queue is a list of ids, and a hash of the messages by id.
QUEUES = ("packshot:interactive", "packshot:bulk")
PATIENCE = 120.0

pytestmark = pytest.mark.timeout(240 + 10 * PACKS)


def test_messages_that_come_many_times_and_shuffled_do_the_work_once(cluster: Cluster, admins: list[Admin]) -> None:
    chance = random.Random(3)  # noqa: S311 - the same order each time
    packs = [admins[0].pack_showing(jpeg(photo(480, 360, seed=60 + number)))[0] for number in range(PACKS)]
    wait_until_idle(admins[0], PATIENCE)
    assert cluster.proxy is not None
    queue = cluster.valkey.client()
    for worker in cluster.workers:
        cluster.send(worker, signal.SIGSTOP)
    crop = "{topLeftX: 0.25, topLeftY: 0, bottomRightX: 0.75, bottomRightY: 1}"
    jobs = []
    for pack_id in packs:
        for location in ("thumb", "cover"):
            edit = f'packId: "{pack_id}", location: "{location}", crop: {crop}'
            jobs.append(admins[1].do("setCrop", edit, "job { id }")["job"]["id"])
    sent, delivered = multiply(queue, chance)
    assert sent >= len(jobs)
    assert 2 * sent <= delivered <= 5 * sent
    seen = len(cluster.proxy.seen)
    for worker in cluster.workers:
        cluster.send(worker, signal.SIGCONT)
    wait_until_idle(admins[0], PATIENCE)
    # The other copies of a message find no work.
    wait_for(lambda: not any(queue.llen(name) for name in QUEUES), PATIENCE)
    puts = Counter(line for line in cluster.proxy.seen[seen:] if line.startswith("PUT /variants/"))
    ended = [admins[0].wait_for_job(job_id) for job_id in jobs]
    assert [(job["state"], job["failed"]) for job in ended] == [("SUCCEEDED", 0)] * len(jobs)
    # One render may serve two jobs of a pack, so their counts cannot be added.
    rendered = {variant["url"].split("/i/")[1] for pack_id in packs for variant in _cropped(admins[0], pack_id)}
    assert {line.removeprefix("PUT /variants/i/") for line in puts} == rendered
    assert puts.total() <= 1.05 * len(rendered)
    assert check_cluster_store(cluster) > len(rendered)
    print(f"\n{sent} messages delivered {delivered} times: {puts.total()} renders of {len(rendered)} variants")


def multiply(queue: Any, chance: random.Random) -> tuple[int, int]:
    """Add 1 to 4 copies of every waiting message and shuffle all; return the numbers before and after."""
    before = after = 0
    for name in QUEUES:
        ids = queue.lrange(name, 0, -1)
        before += len(ids)
        pipe = queue.pipeline(transaction=True)
        copies = []
        for id in ids:
            message = json.loads(queue.hget(f"{name}.msgs", id))
            for _ in range(chance.randint(1, 4)):
                copy = str(uuid4())
                options = message["options"] | {"redis_message_id": copy}
                pipe.hset(f"{name}.msgs", copy, json.dumps(message | {"options": options}))
                copies.append(copy)
        shuffled = [*ids, *copies]
        after += len(shuffled)
        chance.shuffle(shuffled)
        if shuffled:
            pipe.delete(name).rpush(name, *shuffled)
        pipe.execute()
    return before, after


def _cropped(admin: Admin, pack_id: str) -> list[Any]:
    query = """query($id: ID!) { pack(by: {id: $id}) { locations { name variants { url } } } }"""
    locations = admin.ask(query, id=pack_id)["pack"]["locations"]
    return [variant for location in locations if location["name"] != "main" for variant in location["variants"]]
