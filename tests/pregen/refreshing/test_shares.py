"""No tenant takes all threads of a worker: originals and webhooks of other tenants are not delayed."""

import threading
from dataclasses import replace
from typing import Any

import pytest

from packshot.catalog.clients import webhook_deliveries, webhooks
from packshot.catalog.clients.webhooks import Event
from packshot.catalog.configuration.tenants import ensure_tenant
from packshot.errors import FetchFailed
from pregen.services import url_importer, webhook_sender
from pregen.services.url_importer import UrlImporter
from pregen.services.webhook_sender import WebhookSender
from resolvers.originals import Source
from resolvers.pack_imports import NewOriginal, NewPack, OnExisting, create_packs
from tests.support.admin import wait_for
from tests.support.playground import TENANT, Playground


@pytest.fixture
def database_url() -> None:
    """SQLite only: this is about threads."""


def test_slow_hosts_of_one_tenant_leave_threads_to_the_fetches_of_another(
    playground: Playground, monkeypatch: pytest.MonkeyPatch
) -> None:
    with playground.site.catalog.write("films") as tx:
        ensure_tenant(tx)
    for tenant, count in ((TENANT, 30), ("films", 1)):
        originals = [NewOriginal("main", Source(url=f"http://{tenant}.example/{number}")) for number in range(count)]
        create_packs(
            replace(playground.caller, tenant=tenant),
            [NewPack({}, [original]) for original in originals],
            OnExisting.FAIL,
        )
    go_on, lock = threading.Event(), threading.Lock()
    fetching: dict[str, int] = {TENANT: 0, "films": 0}

    def stall(_site: Any, tenant: str, *_: Any, **__: Any) -> None:
        with lock:
            fetching[tenant] += 1
        if tenant == TENANT:
            go_on.wait(30)
        raise FetchFailed("The server does not answer.", may_pass=False)

    monkeypatch.setattr(url_importer, "fetch_original", stall)
    worker = UrlImporter(playground.site, playground.doorbell)
    worker.start()
    try:
        wait_for(lambda: fetching["films"] == 1)
        assert fetching[TENANT] <= url_importer.TENANT_THREADS
    finally:
        go_on.set()
        worker.stop()
        worker.join()


def test_slow_webhooks_of_one_tenant_leave_threads_to_those_of_another(
    playground: Playground, monkeypatch: pytest.MonkeyPatch
) -> None:
    with playground.site.catalog.write("films") as tx:
        ensure_tenant(tx)
    for tenant, count in ((TENANT, 20), ("films", 1)):
        with playground.site.catalog.write(tenant) as tx:
            for number in range(count):
                webhooks.create_webhook(tx, f"http://{tenant}.example/{number}", [Event.PACK_CHANGED], lambda *_: b"")
            webhook_deliveries.add_deliveries(tx, Event.PACK_CHANGED, [{"number": number} for number in range(3)])
    go_on, lock = threading.Event(), threading.Lock()
    sent: dict[str, int] = {TENANT: 0, "films": 0}

    def stall(_self: WebhookSender, tenant: str, _claim: Any) -> None:
        with lock:
            sent[tenant] += 1
        if tenant == TENANT:
            go_on.wait(30)

    monkeypatch.setattr(WebhookSender, "_send", stall)
    sender = WebhookSender(playground.site)
    sender.start()
    try:
        wait_for(lambda: sent["films"] > 0)
        assert (
            sent[TENANT] < webhook_sender.TENANT_MAX_SENDS + webhook_sender.TENANT_MAX_CLAIMS < webhook_sender.MAX_SENDS
        )
    finally:
        go_on.set()
        sender.stop()
        sender.join()
