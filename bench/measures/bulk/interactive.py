"""Measures how soon an edit's variants are rendered while a bulk job keeps the workers busy."""

import random
import statistics
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import PIL

from bench.measures.report import circumstances, table
from tests.servers.cluster import running
from tests.servers.ports import free_port
from tests.support.admin import Admin
from tests.support.pictures import jpeg, photo
from tests.support.server import serving

BAR_SECONDS = 2.0
POLL_SECONDS = 0.02
PAUSE_SECONDS = 0.25
PATIENCE = 900.0
FINAL = ("SUCCEEDED", "PARTIAL", "FAILED", "CANCELLED", "SUPERSEDED")


def interactive(packs: int, edits: int, photos: Path | None, scratch: Path) -> str:
    """Return the report on `edits` crop edits in each form of installation."""
    rows = []
    for name, installation in (("embedded", _embedded), ("cluster", _cluster)):
        with installation(scratch / name) as admin:
            seconds, rendered = _measure(admin, packs, edits, photos)
        middle, late = statistics.median(seconds), statistics.quantiles(seconds, n=20)[-1]
        rows.append([name, f"{late:.2f}", f"{BAR_SECONDS:.2f}", f"{middle:.2f}", f"{max(seconds):.2f}", f"{rendered}"])
    shown = f" --photos {photos.name}" if photos else ""
    command = f"bench/bulk interactive --packs {packs} --edits {edits}{shown}"
    return f"""{circumstances(command, f"Pillow {PIL.__version__}")}

Seconds from the response to a crop edit until every planned variant of that pack location is READY and its first purge
is sent, while a job renders a new location for all of {packs} packs. Edits are made in sequence with {PAUSE_SECONDS} s
between. The last column is the number of variants that the bulk jobs rendered meanwhile.

{table(["installation", "p95", "bar", "p50", "longest", "bulk variants"], rows)}"""


@contextmanager
def _embedded(folder: Path) -> Iterator[Admin]:
    with serving(folder) as server:
        yield server


@contextmanager
def _cluster(folder: Path) -> Iterator[Admin]:
    with running(folder, ports=(free_port(), free_port()), workers=1) as cluster:
        admin = Admin(f"http://127.0.0.1:{cluster.ports[0]}", cluster.token)
        yield admin
        admin.client.close()


def _measure(admin: Admin, packs: int, edits: int, photos: Path | None) -> tuple[list[float], int]:
    """Return the seconds of each edit, and the number of variants that bulk jobs rendered meanwhile."""
    random.seed(1)
    admin.put_location("card", 640, 360)
    made = [admin.pack_showing(data) for _, data in zip(range(packs), _pictures(photos), strict=False)]
    for _, job_id in made:
        admin.wait_for_job(job_id, PATIENCE)
    bulk = _Bulk(admin)
    seconds = []
    for _ in range(edits):
        bulk.keep_running()
        crop = _crop()
        pack_id = random.choice(made)[0]  # noqa: S311 - the choice needs no secrecy
        admin.do("setCrop", f'packId: "{pack_id}", location: "card", crop: {crop}', "job { id }")
        answered = time.monotonic()
        while not (_is_ready(admin, pack_id) and _is_purged(admin, pack_id)):
            time.sleep(POLL_SECONDS)
        seconds.append(time.monotonic() - answered)
        time.sleep(PAUSE_SECONDS)
    return seconds, bulk.rendered()


class _Bulk:
    """A job that renders all packs, replaced by another one when it ends."""

    def __init__(self, admin: Admin) -> None:
        self._admin = admin
        self._jobs: list[str] = []

    def keep_running(self) -> None:
        if self._jobs and _state(self._admin, self._jobs[-1]) not in FINAL:
            return
        number = len(self._jobs)
        renditions = ", ".join(f"{{width: {1600 - 160 * n}, height: {900 - 90 * n}}}" for n in range(6))
        location = f'name: "bulk-{number}", width: 1600, height: {900 + number}, fallback: "main"'
        job = self._admin.do("putLocation", f"input: {{{location}, renditions: [{renditions}]}}", "job { id }")["job"]
        self._jobs.append(job["id"])
        while _state(self._admin, job["id"]) == "QUEUED":
            time.sleep(POLL_SECONDS)

    def rendered(self) -> int:
        query = "query($id: ID!) { job(id: $id) { done } }"
        return sum(int(self._admin.ask(query, id=job_id)["job"]["done"]) for job_id in self._jobs)


def _state(admin: Admin, job_id: str) -> str:
    state: str = admin.ask("query($id: ID!) { job(id: $id) { state } }", id=job_id)["job"]["state"]
    return state


def _is_purged(admin: Admin, pack_id: str) -> bool:
    """Whether the first purge of the pack's last edit is sent."""
    orders = admin.ask("{ purges(first: 20) { nodes { scope attempts } } }")["purges"]["nodes"]
    # The newest purges come first.
    attempts: int = next(order["attempts"] for order in orders if order["scope"] == f"pack {pack_id}")
    return attempts > 0


def _is_ready(admin: Admin, pack_id: str) -> bool:
    """Whether every current variant of the location is rendered."""
    query = 'query($id: ID!) { pack(by: {id: $id}) { location(name: "card") { variants { state } } } }'
    variants = admin.ask(query, id=pack_id)["pack"]["location"]["variants"]
    return bool(variants) and all(variant["state"] == "READY" for variant in variants)


def _crop() -> str:
    left, top = random.uniform(0, 0.4), random.uniform(0, 0.4)  # noqa: S311
    width = random.uniform(0.3, 0.6)  # noqa: S311
    return f"{{topLeftX: {left}, topLeftY: {top}, bottomRightX: {left + width}, bottomRightY: {top + width}}}"


def _pictures(photos: Path | None) -> Iterator[bytes]:
    """Yield the images in an endless cycle."""
    sources = [path.read_bytes() for path in sorted(photos.glob("*.jpg"))] if photos else [jpeg(photo(2000, 1500))]
    number = 0
    while True:
        yield sources[number % len(sources)]
        number += 1
