"""`SIGTERM` under load: requests and packs in progress are finished, no request is dropped, and the process ends within
its grace period.
"""

import random
import signal
import threading
import time
from io import BytesIO
from pathlib import Path

import httpx2 as httpx
import pytest
from PIL import Image

from tests.chaos.evidence import check_cluster_store, check_folder_store, wait_until_idle
from tests.chaos.load import CREATE
from tests.servers.cluster import Cluster
from tests.support.admin import Admin, wait_for
from tests.support.pictures import jpeg, photo
from tests.support.server import serving

# A process ends within this time, even during an outage.
GRACE_SECONDS = 30
CLIENTS = 6

pytestmark = pytest.mark.timeout(240)


class Clients:
    """Clients that send each request on its own connection, until no process listens.

    Attributes:
        answered: the number of complete responses.
        acknowledged: external ids of the created packs.
        dropped: requests without a complete response: the time of each, and the reason.
    """

    def __init__(self, base: str, token: str, pack_id: str) -> None:
        self.answered = 0
        self.acknowledged: list[str] = []
        self.dropped: list[tuple[float, str]] = []
        self._base, self._token, self._pack_id = base, token, pack_id
        self._threads = [threading.Thread(target=self._ask, args=(number,)) for number in range(CLIENTS)]

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def join(self) -> None:
        for thread in self._threads:
            thread.join()

    def _ask(self, number: int) -> None:
        chance = random.Random(number)  # noqa: S311
        act = self._edit if number % 2 else self._look
        while True:
            sent = time.monotonic()
            try:
                # A new connection each time, because a kept one may be closed while a request is on its way.
                with httpx.Client(base_url=self._base, timeout=60) as client:
                    act(client, chance)
            except httpx.ConnectError:
                return
            except (httpx.HTTPError, AssertionError) as error:
                self.dropped.append((sent, repr(error)))
                return
            self.answered += 1

    def _edit(self, client: httpx.Client, chance: random.Random) -> None:
        external_id = f"stop-{chance.random()}"
        body = {"query": CREATE, "variables": {"id": external_id}}
        answer = client.post("/graphql", json=body, headers={"Authorization": f"Bearer {self._token}"})
        assert answer.json()["data"]["createPack"]["pack"], answer.text
        self.acknowledged.append(external_id)

    def _look(self, client: httpx.Client, chance: random.Random) -> None:
        answer = client.get(f"/api/v2/img/{self._pack_id}?width={chance.randint(100, 1600)}&format=webp")
        assert answer.status_code == 200, answer.text
        with Image.open(BytesIO(answer.content)) as picture:
            picture.load()


def test_an_application_that_is_stopped_answers_what_it_has_begun(tmp_path: Path) -> None:
    with serving(tmp_path) as server:
        server.put_location("thumb", 320, 180)
        packs = [server.pack_showing(jpeg(photo(1600, 1200, seed=number))) for number in range(4)]
        clients = Clients(server.base, server.token, packs[0][0])
        clients.start()
        wait_for(lambda: clients.answered > 20)
        began = time.monotonic()
        server.process.send_signal(signal.SIGTERM)
        server.process.wait(GRACE_SECONDS)
        seconds = time.monotonic() - began
        clients.join()
        # Later requests may still reach a connection that the kernel has accepted and no process will.
        assert [why for sent, why in clients.dropped if sent < began] == []
        assert "Traceback" not in server.output()
    with serving(tmp_path) as server:
        wait_until_idle(server, 60)
        for pack_id, job_id in packs:
            assert server.wait_for_job(job_id)["state"] == "SUCCEEDED"
            assert server.check_variants(pack_id)
        query = "query($ids: [String!]) { packs(first: 1, filter: {externalIds: $ids}) { totalCount } }"
        last = clients.acknowledged[-100:]
        assert server.ask(query, ids=last)["packs"]["totalCount"] == len(last)
        check_folder_store(tmp_path)
    print(f"\nstopped in {seconds:.1f} s after {clients.answered} answers, none dropped")


def test_stopped_workers_release_their_packs(cluster: Cluster, admins: list[Admin]) -> None:
    packs = [admins[number % 2].pack_showing(jpeg(photo(1600, 1200, seed=20 + number))) for number in range(6)]
    wait_for(lambda: any(admins[0].wait_for_job(job_id, 60)["done"] for _, job_id in packs[:1]))
    for worker in cluster.workers:
        cluster.send(worker, signal.SIGTERM)
    for worker in cluster.workers:
        cluster.processes[worker].wait(GRACE_SECONDS)
        cluster.start(worker)
    # Well before leases of a minute expire.
    wait_until_idle(admins[0], 45)
    for pack_id, job_id in packs:
        job = admins[0].wait_for_job(job_id)
        assert (job["state"], job["failed"]) == ("SUCCEEDED", 0)
        assert admins[1].check_variants(pack_id)
    check_cluster_store(cluster)
