"""The store answers with errors, resets, stalls and truncated bodies at random: no wrong image is served or stored.

The short form is the default. `PACKSHOT_CHAOS_FAULT_SECONDS` sets the seconds of faults.
"""

import os
import random
import threading
import time
from collections import Counter, deque
from io import BytesIO

import httpx2 as httpx
import pytest
from PIL import Image

from tests.chaos.evidence import check_cluster_store, wait_until_idle
from tests.servers.cluster import Cluster
from tests.servers.faults import Answer, Fault, Reset, Stall, Truncate
from tests.support.admin import Admin
from tests.support.pictures import jpeg, photo

SECONDS = float(os.environ.get("PACKSHOT_CHAOS_FAULT_SECONDS", "6"))
PACKS = 6
# A silent or failing store must lead to a response within this time: three times the store's time limit, because a
# render looks for a variant, reads an original and stores the result.
DEADLINE_SECONDS = 150.0
FAULTS: tuple[Fault, ...] = (
    Answer(500, "InternalError"),
    Answer(503, "SlowDown"),
    Reset(),
    Reset(done=True),
    Truncate(0),
    Truncate(700),
    Stall(),
    Stall(700),
)
# A stall costs the ten seconds for which a request waits for the store, so there are few of them.
WEIGHTS = (6, 6, 6, 6, 4, 4, 1, 1)
ODDS = 0.25
# One fault of each kind comes first, because a short run may end before chance has drawn all.
FIRST: tuple[Fault, ...] = (Answer(503, "SlowDown"), Reset(done=True), Truncate(700), Stall())

pytestmark = pytest.mark.timeout(300 + 3 * SECONDS)


def test_a_store_that_goes_wrong_at_random_spoils_nothing(cluster: Cluster, admins: list[Admin]) -> None:
    chance = random.Random(7)  # noqa: S311 - the same faults each time
    drawn: Counter[str] = Counter()
    first = deque(FIRST)
    packs = [admins[0].pack_showing(jpeg(photo(480, 360, seed=number))) for number in range(PACKS)]
    for _, job_id in packs:
        assert admins[0].wait_for_job(job_id)["state"] == "SUCCEEDED"
    assert cluster.proxy is not None

    def draw() -> Fault | None:
        if chance.random() > ODDS:
            return None
        try:
            fault = first.popleft()
        except IndexError:
            fault = chance.choices(FAULTS, WEIGHTS)[0]
        drawn[type(fault).__name__] += 1
        return fault

    stop = threading.Event()
    readers = [_Reader(admins[number % 2].base, [pack for pack, _ in packs], number, stop) for number in range(3)]
    cluster.proxy.always = draw
    for reader in readers:
        reader.start()
    try:
        jobs = []
        ended = time.monotonic() + SECONDS
        while time.monotonic() < ended:
            # Edits need no store, so all of them are acknowledged.
            left, top = chance.uniform(0, 0.5), chance.uniform(0, 0.5)
            crop = f"{{topLeftX: {left}, topLeftY: {top}, bottomRightX: {left + 0.5}, bottomRightY: {top + 0.5}}}"
            pack_id = chance.choice(packs)[0]
            edit = chance.choice(admins).do(
                "setCrop", f'packId: "{pack_id}", location: "thumb", crop: {crop}', "job { id }"
            )
            jobs.append(edit["job"]["id"])
            time.sleep(0.5)
    finally:
        stop.set()
        for reader in readers:
            reader.join()
        cluster.proxy.always = None
    assert [wrong for reader in readers for wrong in reader.wrong] == []
    answers = sum((reader.answers for reader in readers), Counter())
    assert answers[200] > 0
    assert drawn.keys() == {"Answer", "Reset", "Truncate", "Stall"}
    wait_until_idle(admins[0], 180)
    for job_id in jobs:
        job = admins[0].wait_for_job(job_id)
        assert (job["state"], job["failed"]) == ("SUCCEEDED", 0)
    variants = sum(admins[0].check_variants(pack_id) for pack_id, _ in packs)
    objects = check_cluster_store(cluster)
    print(f"\n{SECONDS:.0f} s of {dict(drawn)}: answers {dict(answers)}; {variants} variants, {objects} objects right")


def test_a_failing_store_is_retried_only_a_few_times(cluster: Cluster, admins: list[Admin]) -> None:
    pack_id, job_id = admins[0].pack_showing(jpeg(photo(480, 360, seed=40)))
    admins[0].wait_for_job(job_id)
    wait_until_idle(admins[0], 180)
    proxy = cluster.proxy
    assert proxy is not None
    proxy.always = Answer(503, "SlowDown")
    try:
        before = len(proxy.seen)
        answer = admins[0].client.get(f"/api/v2/img/{pack_id}?location=thumb&width=31")
        # Meanwhile other processes write their regular objects every few seconds.
        asked = sum(f"/{pack_id}/" in line for line in proxy.seen[before:])
        assert answer.status_code >= 500
        assert answer.headers["content-type"] == "application/problem+json"
        # One object was requested: once, and three more times.
        assert 2 <= asked <= 4
    finally:
        proxy.always = None
    assert admins[0].client.get(f"/api/v2/img/{pack_id}?location=thumb&width=31").status_code == 200


class _Reader(threading.Thread):
    """Requests images, most of which are not rendered yet, and checks every response.

    Attributes:
        answers: the number of responses, by status.
        wrong: responses that are neither a whole image nor a proper error.
    """

    def __init__(self, base: str, packs: list[str], seed: int, stop: threading.Event) -> None:
        super().__init__()
        self.answers: Counter[int] = Counter()
        self.wrong: list[str] = []
        self._packs = packs
        self._chance = random.Random(seed)  # noqa: S311
        self._stop_asking = stop
        self._client = httpx.Client(base_url=base, timeout=DEADLINE_SECONDS)

    def run(self) -> None:
        with self._client:
            while not self._stop_asking.is_set():
                self._ask()

    def _ask(self) -> None:
        width = self._chance.randint(20, 300)
        url = f"/api/v2/img/{self._chance.choice(self._packs)}?width={width}&skip-crop=true&format=jpeg"
        try:
            answer = self._client.get(url)
        except httpx.HTTPError as error:
            self.wrong.append(f"{url}: {error!r}")
            return
        self.answers[answer.status_code] += 1
        if answer.status_code >= 500:
            if answer.headers["content-type"] != "application/problem+json":
                self.wrong.append(f"{url}: {answer.status_code} {answer.headers['content-type']}")
            return
        try:
            with Image.open(BytesIO(answer.content)) as picture:
                picture.load()
                assert picture.width == width
        except (OSError, AssertionError) as error:
            self.wrong.append(f"{url}: {answer.status_code}, {len(answer.content)} bytes: {error!r}")
