"""Load on an installation during outages: edits and requests for images, all checked."""

import random
import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from io import BytesIO

import httpx2 as httpx
from PIL import Image

from tests.support.admin import Admin

# Every request is answered within this time, with data or an error, however long an outage lasts.
DEADLINE_SECONDS = 60.0
CREATE = "mutation($id: String!) { createPack(input: {externalId: $id}) { pack { id } userErrors { message } } }"


class Load:
    """Threads that create packs and request images, and record the responses.

    Attributes:
        acknowledged: external ids of the packs whose creation was acknowledged.
        refused: the number of failed writes, by the kind of error.
        pictures: the number of responses to image requests, by status.
        wrong: responses that are neither correct nor a proper error.
    """

    def __init__(self, admins: Sequence[Admin], *, warm: str, cold: str, writers: int = 3) -> None:
        self.acknowledged: list[str] = []
        self.refused: Counter[str] = Counter()
        self.pictures: Counter[tuple[str, int]] = Counter()
        self.wrong: list[str] = []
        self._admins = admins
        self._urls = {"warm": warm, "cold": cold}
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._write, args=(number,)) for number in range(writers)]
        self._threads += [threading.Thread(target=self._read, args=(kind,)) for kind in self._urls]

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Send no more requests, and wait for the last responses."""
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _write(self, number: int) -> None:
        admin = self._admins[number % len(self._admins)]
        headers = {"Authorization": f"Bearer {admin.token}"}
        count = 0
        with httpx.Client(base_url=admin.base, timeout=DEADLINE_SECONDS, headers=headers) as client:
            while not self._stop.wait(0.02):
                count += 1
                external_id = f"load-{id(self)}-{number}-{count}"
                body = {"query": CREATE, "variables": {"id": external_id}}
                try:
                    answer = client.post("/graphql", json=body)
                    found = answer.json()
                except (httpx.HTTPError, ValueError) as error:
                    self.wrong.append(f"{external_id}: {error!r}")
                    continue
                self._judge(external_id, answer, found)

    def _judge(self, external_id: str, answer: httpx.Response, found: dict[str, object]) -> None:
        data = found.get("data")
        payload = data.get("createPack") if isinstance(data, dict) else None
        if isinstance(payload, dict) and payload["pack"] is not None:
            self.acknowledged.append(external_id)
            return
        text = answer.text
        if "errors" not in found or "Traceback" in text or "sqlite" in text.lower() or "psycopg" in text:
            self.wrong.append(f"{external_id}: {answer.status_code} {text[:500]}")
        self.refused[f"HTTP {answer.status_code}"] += 1

    def _read(self, kind: str) -> None:
        chance = random.Random(kind)  # noqa: S311
        with httpx.Client(base_url=self._admins[0].base, timeout=DEADLINE_SECONDS) as client:
            while not self._stop.wait(0.05):
                url = self._urls[kind]
                url = url if kind == "warm" else f"{url}&width={chance.randint(20, 300)}"
                try:
                    answer = client.get(url)
                except httpx.HTTPError as error:
                    self.wrong.append(f"{url}: {error!r}")
                    continue
                self.pictures[kind, answer.status_code] += 1
                self._check(url, answer)

    def _check(self, url: str, answer: httpx.Response) -> None:
        if answer.status_code >= 500:
            if answer.headers["content-type"] != "application/problem+json":
                self.wrong.append(f"{url}: {answer.status_code} {answer.headers['content-type']}")
            return
        try:
            with Image.open(BytesIO(answer.content)) as picture:
                picture.load()
        except OSError as error:
            self.wrong.append(f"{url}: {answer.status_code} {error!r}")


@contextmanager
def loaded(admins: Sequence[Admin], *, warm: str, cold: str) -> Iterator[Load]:
    """Put load on an installation during the block."""
    load = Load(admins, warm=warm, cold=cold)
    load.start()
    try:
        yield load
    finally:
        load.stop()


def check_acknowledged(admin: Admin, load: Load) -> None:
    """Check that every pack exists whose creation was acknowledged."""
    assert load.acknowledged
    for start in range(0, len(load.acknowledged), 100):
        portion = load.acknowledged[start : start + 100]
        query = "query($ids: [String!]) { packs(first: 100, filter: {externalIds: $ids}) { totalCount } }"
        assert admin.ask(query, ids=portion)["packs"]["totalCount"] == len(portion)


def crop(admin: Admin, pack_id: str) -> str:
    """Crop a pack to its middle at `thumb`, and return the job that renders it."""
    middle = "{topLeftX: 0.25, topLeftY: 0.25, bottomRightX: 0.75, bottomRightY: 0.75}"
    edit = admin.do("setCrop", f'packId: "{pack_id}", location: "thumb", crop: {middle}', "job { id }")
    job_id: str = edit["job"]["id"]
    return job_id
