"""Each kind of work has its own threads, each tenant has a share, and a full queue answers with `Retry-After`."""

import asyncio
import re
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import anyio
import pytest
from pydantic import SecretStr

from packshot.errors import FetchFailed
from resolvers import originals, webhooks
from schema.request.threads import ThreadPool, Threads, ThreadsBusy
from tests.serve.conftest import TOKEN
from tests.serve.http.test_auth import KEY, ask, serving, token
from tests.support.admin import wait_for
from tests.support.paths import ROOT
from tests.support.pictures import jpeg, photo
from tests.support.playground import TENANT, Playground


@pytest.fixture
def database_url() -> None:
    """SQLite is enough: these tests are about threads."""


def test_a_tenant_that_uses_its_whole_share_does_not_delay_another() -> None:
    go_on = threading.Event()

    async def run() -> list[str]:
        pool, ended = ThreadPool("work", 4, tenant_threads=2), []

        async def work(tenant: str) -> None:
            await pool.run(go_on.wait, 10, tenant=tenant)
            ended.append(tenant)

        slow = [asyncio.create_task(work("slow")) for _ in range(20)]
        await asyncio.sleep(0)
        await pool.run(str, tenant="quick")
        ended.append("quick")
        go_on.set()
        await asyncio.gather(*slow)
        return ended

    assert asyncio.run(run()) == ["quick", *["slow"] * 20]


def test_a_call_that_waits_too_long_for_a_thread_is_refused_and_uses_no_place() -> None:
    go_on = threading.Event()

    async def run() -> list[int]:
        pool = ThreadPool("work", 2, tenant_threads=1, max_wait=0.05, retry_after=7.0)
        slow = [asyncio.create_task(pool.run(go_on.wait, 10, tenant=tenant)) for tenant in ("one", "two")]
        await asyncio.sleep(0)
        refused = []
        # The first call waits for its tenant's thread, the other one for any thread.
        for tenant in ("one", "three"):
            with pytest.raises(ThreadsBusy, match="Too many requests wait for work") as failure:
                await pool.run(str, tenant=tenant)
            refused.append(failure.value.retry_after)
        go_on.set()
        await asyncio.gather(*slow)
        assert [await pool.run(str, tenant=tenant) for tenant in ("one", "two", "three")] == [""] * 3
        assert not pool._shares
        return refused

    assert asyncio.run(run()) == [7, 7]


@pytest.mark.parametrize("query", ["{ webhooks { id } }", '{ pack(by: {id: "%s"}) { version } }'])
def test_a_query_that_waits_too_long_for_a_thread_gets_retry_after(
    playground: Playground, monkeypatch: pytest.MonkeyPatch, query: str
) -> None:
    go_on, blocked = threading.Event(), threading.Semaphore(0)

    def stall(_: Any) -> list[Any]:
        blocked.release()
        go_on.wait(30)
        return []

    monkeypatch.setattr(webhooks, "list_webhooks", stall)
    defaults = ThreadPool.__init__.__kwdefaults__
    assert defaults is not None
    monkeypatch.setitem(defaults, "max_wait", 0.5)
    share = Threads().resolvers._tenant_threads or 0
    pack = playground.pack()
    with serving(playground) as client, ThreadPoolExecutor(share) as threads:
        slow = [threads.submit(ask, client, f"Bearer {TOKEN}", "{ webhooks { id } }") for _ in range(share)]
        for _ in slow:
            assert blocked.acquire(timeout=10)
        answer = ask(client, f"Bearer {TOKEN}", query.replace("%s", pack))
        go_on.set()
        assert {each.result().status_code for each in slow} == {200}
    error = answer.json()["errors"][0]
    assert (error["extensions"]["code"], error["message"]) == ("OVERLOADED", "Too many requests wait for the database.")
    assert int(answer.headers["retry-after"]) == error["extensions"]["retryAfterSeconds"]


def test_a_full_queue_refuses_only_its_own_tenant() -> None:
    go_on = threading.Event()

    async def run() -> tuple[int, ThreadPool]:
        pool = ThreadPool("work", 2, tenant_threads=1, max_waiting=3, retry_after=7.0)
        waiting = [asyncio.create_task(pool.run(go_on.wait, 10, tenant="slow")) for _ in range(10)]
        await asyncio.sleep(0)
        await pool.run(str, tenant="quick")
        go_on.set()
        done = await asyncio.gather(*waiting, return_exceptions=True)
        refused = [one for one in done if isinstance(one, ThreadsBusy)]
        assert {(one.status, one.code, one.retry_after) for one in refused} == {(503, "OVERLOADED", 7)}
        await pool.run(str, tenant="slow")
        return len(refused), pool

    refused, pool = asyncio.run(run())
    assert refused == 6
    assert pool._shares == {}, "a tenant without work uses no memory"


@pytest.mark.parametrize("via", ["graphql", "rest"])
def test_slow_hosts_of_one_tenant_do_not_delay_uploads_or_other_tenants(
    playground: Playground, monkeypatch: pytest.MonkeyPatch, via: str
) -> None:
    go_on, lock = threading.Event(), threading.Lock()
    fetching: dict[str, int] = {}

    def stall(_site: Any, tenant: str, *_: Any, **__: Any) -> None:
        with lock:
            fetching[tenant] = fetching.get(tenant, 0) + 1
        if tenant == TENANT:
            go_on.wait(30)
        raise FetchFailed("The host does not answer.")

    monkeypatch.setattr(originals, "fetch_original", stall)
    with serving(playground, jwt_secret=SecretStr(KEY)) as client:
        ours = playground.pack()
        create = "mutation { createPack { pack { id } } }"
        films = f"Bearer {token(tenant='films')}"
        theirs = ask(client, films, create).json()["data"]["createPack"]["pack"]["id"]

        def fetch(authorization: str, pack_id: str) -> Any:
            if via == "rest":
                path = f"/adminAPI/imagePack/{pack_id}/main/fetchImage?imageUrl=http://slow.example/a.jpg"
                return client.post(path, headers={"Authorization": authorization}).json()["code"]
            arguments = f'packId: "{pack_id}", location: "main", source: {{url: "http://slow.example/a.jpg"}}'
            query = f"mutation {{ setOriginal({arguments}) {{ userErrors {{ code }} }} }}"
            answer = ask(client, authorization, query)
            if "errors" in answer.json():
                assert answer.headers["retry-after"]
                return answer.json()["errors"][0]["extensions"]["code"]
            return answer.json()["data"]["setOriginal"]["userErrors"][0]["code"]

        pool = Threads().fetching
        share = (pool._tenant_threads or 0) + (pool._max_waiting or 0)
        with ThreadPoolExecutor(share + 4) as threads:
            ours_fetched = [threads.submit(fetch, f"Bearer {TOKEN}", ours) for _ in range(share + 4)]
            wait_for(lambda: sum(each.done() for each in ours_fetched) == 4)
            assert fetch(films, theirs) == "FETCH_FAILED"
            assert fetching == {TENANT: pool._tenant_threads, "films": 1}
            playground.show(ours, "main", jpeg(photo(40, 30)))
            picture = client.put(f"/uploads/{TENANT}/{'0' * 32}", headers={"X-Upload-Token": "x"})
            assert picture.status_code == 404
            go_on.set()
            assert sorted(each.result() for each in ours_fetched) == ["FETCH_FAILED"] * share + ["OVERLOADED"] * 4


def test_only_the_lifespan_uses_the_default_threads() -> None:
    unlimited = [
        f"{path.relative_to(ROOT)}: {call}"
        for folder in ("serve", "schema")
        for path in (ROOT / folder).rglob("*.py")
        for call in re.findall(r"to_thread\.run_sync\((?:[^()]|\([^()]*\))*\)", path.read_text(encoding="utf-8"))
        if "limiter=" not in call
    ]
    assert unlimited == [
        "serve/app.py: to_thread.run_sync(service.join)",
        "serve/app.py: to_thread.run_sync(worker.start)",
        "serve/app.py: to_thread.run_sync(worker.stop)",
    ]


def test_all_passwords_are_hashed_in_the_same_thread() -> None:
    """Each thread that has hashed a password keeps 19 MiB."""

    async def hash_beside_others() -> set[int]:
        threads = Threads()
        found = set()
        for _ in range(5):
            async with anyio.create_task_group() as others:
                for _ in range(4):
                    others.start_soon(threads.resolvers.run, time.sleep, 0.01)
                found.add(await threads.passwords.run(threading.get_ident))
        return found

    assert len(anyio.run(hash_beside_others)) == 1
