"""Overload: surplus renders are refused before any work is done for them."""

import asyncio
import threading
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from datetime import timedelta
from typing import Any

import httpx2 as httpx
import pytest
import sqlalchemy as sa
from starlette.testclient import TestClient

from packshot.catalog.tables.artwork import originals
from packshot.catalog.variants.render_costs import RenderCosts
from packshot.model import FAILURE_SECONDS
from packshot.production import announce_and_render
from packshot.render.limits import Limits
from packshot.render.processes.pool import Lane, Renderer
from packshot.settings.settings import Settings
from packshot.variants.request import RequestForm
from packshot.variants.resolve import resolve
from pregen.queue.broker import make_broker
from serve.app import create_app
from serve.image import fallback
from tests.support.admin import wait_for
from tests.support.pictures import photo
from tests.support.playground import TENANT, Playground


class Gate:
    """Block every render until the gate is opened."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.started = 0
        self._opened = threading.Event()
        monkeypatch.setattr(fallback, "announce_and_render", self._make)

    def _make(self, *args: Any, **kwargs: Any) -> Any:
        self.started += 1
        self._opened.wait(30)
        return announce_and_render(*args, **kwargs)

    def open(self) -> None:
        self._opened.set()


@pytest.fixture
def gate(monkeypatch: pytest.MonkeyPatch) -> Iterator[Gate]:
    gate = Gate(monkeypatch)
    yield gate
    gate.open()


@pytest.fixture
def pack_id(playground: Playground) -> str:
    return playground.pack(picture=photo(600, 400))


@contextmanager
def served(playground: Playground, seconds: float) -> Iterator[TestClient]:
    """Return a client of an application whose queue holds so many seconds of rendering per render process."""
    settings = Settings(**playground.settings.model_dump() | {"render_queue_seconds": seconds})
    app = create_app(
        playground.with_settings(settings), make_broker(settings), playground.doorbell, "test-token-0123456789abcdef"
    )
    with TestClient(app, raise_server_exceptions=False) as client:
        yield client


def ask(client: TestClient, pool: ThreadPoolExecutor, pack_id: str, *widths: int) -> list[Future[httpx.Response]]:
    return [pool.submit(client.get, f"/api/v2/img/{pack_id}?width={width}&format=avif") for width in widths]


def test_surplus_renders_are_refused_at_once_with_retry_after(playground: Playground, gate: Gate, pack_id: str) -> None:
    # One render is always accepted; a second one would have to wait.
    with served(playground, 0.001) as client, ThreadPoolExecutor(8) as pool:
        (first,) = ask(client, pool, pack_id, 300)
        wait_for(lambda: gate.started == 1)
        for answer in (one.result(30) for one in ask(client, pool, pack_id, 301, 302, 303)):
            assert (answer.status_code, answer.json()["code"]) == (503, "OVERLOADED")
            assert int(answer.headers["retry-after"]) >= 1
            assert answer.headers["cache-control"] == "no-store"
        assert client.get("/healthz").status_code == 200
        assert gate.started == 1
        # A second request for the same variant adds no work.
        (again,) = ask(client, pool, pack_id, 300)
        gate.open()
        assert first.result(30).content == again.result(30).content
        assert client.get(f"/api/v2/img/{pack_id}?width=301&format=avif").status_code == 200


@pytest.fixture
def slow_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """Estimate one second per 10,000 pixels of output for every render, on four processors."""
    monkeypatch.setattr(RenderCosts, "rendering", lambda self, original, format, pixels, *, moves: pixels / 1e4)
    monkeypatch.setattr("os.cpu_count", lambda: 4)


@contextmanager
def served_by_four(playground: Playground, seconds: float, renderer: Renderer | None = None) -> Iterator[TestClient]:
    """Do the same as `served` with four render processes, or with a given renderer."""
    settings = Settings(**playground.settings.model_dump() | {"render_queue_seconds": seconds})
    with renderer or Renderer(Limits(), processes=4) as renderer:
        site = replace(playground.with_settings(settings), renderer=renderer)
        app = create_app(site, make_broker(settings), playground.doorbell, "test-token")
        with TestClient(app, raise_server_exceptions=False) as client:
            yield client


def statuses(answers: list[Future[httpx.Response]]) -> list[int]:
    return sorted(answer.result(30).status_code for answer in answers)


@pytest.mark.usefixtures("slow_machine")
def test_large_renders_fill_the_queue_faster_than_small_ones(playground: Playground, gate: Gate, pack_id: str) -> None:
    # 600 x 400 takes 24 s, and 30 x 20 takes 0.06 s. At most two renders of one original run in parallel.
    with served_by_four(playground, 20.0) as client, ThreadPoolExecutor(16) as pool:
        small = ask(client, pool, pack_id, *range(30, 38))
        wait_for(lambda: gate.started == 8)
        large = ask(client, pool, pack_id, 598, 599, 600)
        assert len([one for one in large if _is_refused(one)]) == 2
        gate.open()
        assert statuses(small) == [200] * 8
        assert statuses(large) == [200, 503, 503]


@pytest.mark.usefixtures("slow_machine")
def test_slow_renders_of_many_originals_leave_room_for_quick_ones(playground: Playground, gate: Gate) -> None:
    packs = [playground.pack(picture=photo(600, 400, seed=seed), external_id=str(seed)) for seed in range(4)]
    with served_by_four(playground, 20.0) as client, ThreadPoolExecutor(16) as pool:
        slow = [one for pack_id in packs[:3] for one in ask(client, pool, pack_id, 600)]
        assert len([one for one in slow if _is_refused(one)]) == 2
        quick = ask(client, pool, packs[3], 30, 31, 32)
        wait_for(lambda: gate.started == 4)
        gate.open()
        assert statuses(quick) == [200] * 3


def test_a_request_without_a_free_render_process_in_time_is_refused(playground: Playground, pack_id: str) -> None:
    renderer = Renderer(Limits(), processes=4)
    with served_by_four(playground, 0.05, renderer) as client, ThreadPoolExecutor(1) as pool, ExitStack() as busy:
        for _ in range(4):
            busy.enter_context(renderer._lanes.place(Lane.ON_DEMAND))
        (waiting,) = ask(client, pool, pack_id, 300)
        answer = waiting.result(30)
        assert (answer.status_code, answer.json()["code"]) == (503, "OVERLOADED")
        assert int(answer.headers["retry-after"]) >= 1
        busy.close()
        assert client.get(f"/api/v2/img/{pack_id}?width=300&format=avif").status_code == 200


def test_an_original_that_cannot_be_decoded_is_refused_at_every_size_without_a_render(
    playground: Playground, gate: Gate, pack_id: str
) -> None:
    gate.open()
    with playground.limits(seconds=0.0002) as site:
        app = create_app(site, make_broker(site.settings), playground.doorbell, "test-token")
        with TestClient(app, raise_server_exceptions=False) as client:
            assert client.get(f"/api/v2/img/{pack_id}?width=300").status_code == 504
    # Another application reads the failure from the catalog.
    started = gate.started
    with served(playground, 4.0) as client:
        answers = [client.get(f"/api/v2/img/{pack_id}?width={width}") for width in (301, 302, 303)]
        assert [(one.status_code, one.json()["code"]) for one in answers] == [(504, "RENDER_TIMEOUT")] * 3
        assert gate.started == started
        _forget_failure(playground)
        assert client.get(f"/api/v2/img/{pack_id}?width=301").status_code == 200


def _forget_failure(playground: Playground) -> None:
    with playground.site.catalog.write(TENANT) as tx:
        long_ago = tx.now - timedelta(seconds=FAILURE_SECONDS + 1)
        tx.connection.execute(sa.update(originals).values(failed_at=long_ago))


def _is_refused(answer: Future[httpx.Response]) -> bool:
    try:
        return answer.result(2).status_code == 503
    except TimeoutError:
        return False


def test_a_client_that_disconnects_does_not_end_a_render_that_others_wait_for(
    playground: Playground, gate: Gate, pack_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = resolve(playground.snapshot(pack_id), RequestForm(width=310), limit=playground.site.limit)
    renders = fallback.Fallback(playground.site)

    async def two_of_whom_one_goes() -> None:
        first, second = (asyncio.create_task(renders.make(target, planned=False)) for _ in range(2))
        await asyncio.to_thread(wait_for, lambda: gate.started == 1)
        first.cancel()
        with pytest.raises(asyncio.CancelledError):
            await first
        gate.open()
        await second

    asyncio.run(two_of_whom_one_goes())
    assert gate.started == 1
    assert playground.site.variants.head(str(target.key)) is not None


def test_500_clients_of_one_missing_variant_cause_one_render(
    playground: Playground, pack_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    renders: list[int] = []
    real = playground.site.renderer.render

    def counted(*args: Any, **kwargs: Any) -> Any:
        renders.append(1)
        return real(*args, **kwargs)

    monkeypatch.setattr(playground.site.renderer, "render", counted)
    app = create_app(
        playground.site, make_broker(playground.settings), playground.doorbell, "test-token-0123456789abcdef"
    )

    async def storm() -> list[httpx.Response]:
        transport = httpx.ASGITransport(app=app)
        async with httpx.AsyncClient(transport=transport, base_url="http://testserver", timeout=60) as client:
            return await asyncio.gather(*(client.get(f"/api/v2/img/{pack_id}?width=321") for _ in range(500)))

    answers = asyncio.run(storm())
    assert {answer.status_code for answer in answers} == {200}
    assert len({answer.content for answer in answers}) == 1
    assert len(renders) == 1
