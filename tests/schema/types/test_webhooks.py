"""Webhooks get signed events, which are retried until the receiver accepts them."""

import http.server
import json
import socket
import threading
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
import sqlalchemy as sa
from pydantic import SecretStr
from standardwebhooks.webhooks import Webhook, WebhookVerificationError

from packshot.catalog.clients import webhook_deliveries, webhooks
from packshot.catalog.tables.work import webhook_deliveries as delivery_table
from packshot.catalog.tables.work import webhooks as rows
from packshot.geometry import Crop
from packshot.security.sealing import seal_webhooks
from packshot.settings.settings import Settings
from pregen.services.webhook_sender import WebhookSender
from resolvers import packs
from tests.schema.api import USER_ERRORS, Api
from tests.support.admin import wait_for
from tests.support.pictures import photo
from tests.support.playground import TENANT, Playground

CREATE = f"""mutation($url: URL!, $events: [String!]!) {{ createWebhook(url: $url, events: $events) {{
  webhook {{ id url events active }} secret {USER_ERRORS} }} }}"""
DELETE = f"mutation($id: ID!) {{ deleteWebhook(id: $id) {{ webhook {{ id }} secret {USER_ERRORS} }} }}"
REPLAY = f"mutation($id: ID!) {{ replayDelivery(id: $id) {{ webhook {{ id }} secret {USER_ERRORS} }} }}"
LIST = """{ webhooks { id url events deliveries(first: 50) {
  totalCount nodes { id event state attempts responseStatus } } } }"""
EVERYTHING = ["pack.changed", "variants.ready", "job.finished"]


class Listener:
    """A receiver of webhooks on loopback; a test sets the status of its responses."""

    def __init__(self) -> None:
        self.received: list[tuple[dict[str, str], bytes]] = []
        self.status = 200
        listener = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                listener.received.append((dict(self.headers), body))
                self.send_response(listener.status)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: Any) -> None:
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}/hook?from=packshot"

    def events(self) -> list[str]:
        return [json.loads(body)["type"] for _, body in self.received]


@pytest.fixture
def listener() -> Iterator[Listener]:
    listener = Listener()
    thread = threading.Thread(target=listener.server.serve_forever, args=(0.05,))
    thread.start()
    yield listener
    listener.server.shutdown()
    thread.join()
    listener.server.server_close()


@pytest.fixture
def sender(playground: Playground) -> WebhookSender:
    settings = Settings(**playground.settings.model_dump() | {"fetch_allow": "127.0.0.1"})
    return WebhookSender(playground.with_settings(settings))


def send_all(sender: WebhookSender) -> None:
    while sender.send_due():
        pass


def move_back_times(playground: Playground, duration: timedelta) -> None:
    with playground.site.catalog.write(TENANT) as tx:
        for row in tx.connection.execute(sa.select(delivery_table)).all():
            until = row.lease_until and row.lease_until - duration
            tx.connection.execute(
                sa.update(delivery_table)
                .where(delivery_table.c.id == row.id)
                .values(due_at=row.due_at - duration, lease_until=until)
            )


def test_webhooks_get_signed_events(
    api: Api, playground: Playground, listener: Listener, sender: WebhookSender
) -> None:
    created = api.payload(CREATE, url=listener.url, events=EVERYTHING)
    assert created["webhook"]["events"] == EVERYTHING
    pack_id = playground.pack(picture=photo(16, 16))
    playground.run_jobs()
    send_all(sender)
    assert sorted(listener.events()) == ["job.finished", "pack.changed", "pack.changed", "variants.ready"]
    signer = Webhook(created["secret"])
    for headers, body in listener.received:
        delivery = signer.verify(body, headers)
        assert delivery["data"].get("packId", pack_id) == pack_id
        with pytest.raises(WebhookVerificationError):
            signer.verify(body + b" ", headers)
        # Frameworks look for a media type in `Accept` that they can respond with.
        assert (headers["Content-Type"], headers["Accept"]) == ("application/json", "application/json, */*;q=0.8")
        assert headers["User-Agent"].startswith("Packshot")
    assert len({headers["webhook-id"] for headers, _ in listener.received}) == 4
    (webhook,) = api.data(LIST)["webhooks"]
    assert {node["state"] for node in webhook["deliveries"]["nodes"]} == {"SUCCEEDED"}
    assert not sender.send_due(), "once"


def test_a_webhook_gets_only_its_events(
    api: Api, playground: Playground, listener: Listener, sender: WebhookSender
) -> None:
    api.payload(CREATE, url=listener.url, events=["job.finished"])
    playground.pack(picture=photo(16, 16))
    playground.run_jobs()
    send_all(sender)
    assert listener.events() == ["job.finished"]


def test_a_refused_edit_causes_no_event(
    api: Api, playground: Playground, listener: Listener, sender: WebhookSender
) -> None:
    pack_id = playground.pack(picture=photo(16, 16))
    api.payload(CREATE, url=listener.url, events=EVERYTHING)
    with pytest.raises(Exception, match="no location"):
        packs.set_crop(playground.caller, pack_id, "nowhere", Crop(0, 0, 0.5, 1))
    send_all(sender)
    assert listener.received == []


def test_a_failed_delivery_is_retried_with_growing_pauses_and_can_be_replayed(
    api: Api, playground: Playground, listener: Listener, sender: WebhookSender
) -> None:
    api.payload(CREATE, url=listener.url, events=["pack.changed"])
    listener.status = 503
    playground.pack(picture=photo(16, 16))
    with playground.site.catalog.write(TENANT) as tx:
        # One delivery is enough for this test.
        last = tx.connection.scalar(sa.select(sa.func.max(delivery_table.c.id)))
        tx.connection.execute(sa.delete(delivery_table).where(delivery_table.c.id != last))
    send_all(sender)
    assert len(listener.received) == 1
    for number, pause in enumerate(webhook_deliveries.PAUSES, start=2):
        move_back_times(playground, pause - timedelta(seconds=1))
        assert not sender.send_due()
        move_back_times(playground, timedelta(seconds=2))
        assert sender.send_due()
        assert len(listener.received) == number
    move_back_times(playground, timedelta(days=9))
    assert not sender.send_due()
    (node,) = api.data(LIST)["webhooks"][0]["deliveries"]["nodes"]
    assert (node["state"], node["responseStatus"], node["attempts"]) == (
        "FAILED",
        503,
        len(webhook_deliveries.PAUSES) + 1,
    )
    listener.status = 204
    api.payload(REPLAY, id=node["id"])
    send_all(sender)
    (node,) = api.data(LIST)["webhooks"][0]["deliveries"]["nodes"]
    assert (node["state"], node["responseStatus"], node["attempts"]) == ("SUCCEEDED", 204, 1)
    assert listener.received[-1][0]["webhook-id"] == listener.received[0][0]["webhook-id"]
    assert listener.received[-1][1] == listener.received[0][1]


def test_the_delivery_of_a_dead_process_is_sent_after_its_lease(
    api: Api, playground: Playground, listener: Listener, sender: WebhookSender
) -> None:
    api.payload(CREATE, url=listener.url, events=["pack.changed"])
    packs.create_pack(playground.caller, {})
    with playground.site.catalog.write_system() as tx:
        assert len(webhook_deliveries.claim_due(tx, limit=9, each=9)) == 1
    assert not sender.send_due()
    move_back_times(playground, webhook_deliveries.LEASE_TIME + timedelta(seconds=1))
    send_all(sender)
    assert listener.events() == ["pack.changed"]


def test_a_slow_webhook_does_not_delay_others(
    api: Api, playground: Playground, listener: Listener, sender: WebhookSender
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        slow = f"http://127.0.0.1:{silent.getsockname()[1]}/"
        for url in (slow, slow, listener.url):
            api.payload(CREATE, url=url, events=["pack.changed"])
        sender.start()
        try:
            for _ in range(30):
                packs.create_pack(playground.caller, {})
            wait_for(lambda: len(listener.received) == 30, 8)
        finally:
            silent.close()
            sender.stop()
            sender.join()
    assert listener.events() == ["pack.changed"] * 30


def test_a_webhook_in_the_internal_network_gets_no_delivery(
    api: Api, playground: Playground, listener: Listener
) -> None:
    api.payload(CREATE, url=listener.url, events=["pack.changed"])
    packs.create_pack(playground.caller, {})
    assert WebhookSender(playground.site).send_due() == 1
    assert listener.received == []
    (node,) = api.data(LIST)["webhooks"][0]["deliveries"]["nodes"]
    assert (node["state"], node["responseStatus"]) == ("QUEUED", None)


@pytest.mark.parametrize(
    ("url", "events", "code", "field"),
    [
        ("http://user:pass@example.com/", EVERYTHING, "FETCH_BLOCKED", ["url"]),
        ("https://example.com/", [], "INVALID", ["events"]),
        ("https://example.com/", ["pack.eaten"], "INVALID", ["events"]),
    ],
)
def test_an_invalid_webhook_is_refused(api: Api, url: str, events: list[str], code: str, field: Any) -> None:
    refused = api.refusal(CREATE, url=url, events=events)
    assert (refused["code"], refused["field"]) == (code, field)


def test_a_deleted_webhook_gets_no_further_delivery(
    api: Api, playground: Playground, listener: Listener, sender: WebhookSender
) -> None:
    webhook_id = api.payload(CREATE, url=listener.url, events=EVERYTHING)["webhook"]["id"]
    packs.create_pack(playground.caller, {})
    assert api.payload(DELETE, id=webhook_id)["webhook"]["id"] == webhook_id
    send_all(sender)
    assert listener.received == []
    assert api.data(LIST)["webhooks"] == []
    assert api.refusal(DELETE, id=webhook_id)["code"] == "NOT_FOUND"
    assert api.refusal(REPLAY, id="delivery:0")["code"] == "NOT_FOUND"


def test_the_number_of_webhooks_of_a_tenant_is_limited(api: Api) -> None:
    for _ in range(webhooks.MAX_WEBHOOKS):
        api.payload(CREATE, url="https://example.com/", events=EVERYTHING)
    assert api.refusal(CREATE, url="https://example.com/", events=EVERYTHING)["code"] == "LIMIT"


def test_webhooks_and_deliveries_are_nodes(api: Api, playground: Playground) -> None:
    webhook_id = api.payload(CREATE, url="https://example.com/", events=EVERYTHING)["webhook"]["id"]
    packs.create_pack(playground.caller, {})
    delivery_id = api.data(LIST)["webhooks"][0]["deliveries"]["nodes"][0]["id"]
    found = api.data("query($ids: [ID!]!) { nodes(ids: $ids) { __typename id } }", ids=[webhook_id, delivery_id])
    assert [node["__typename"] for node in found["nodes"]] == ["Webhook", "WebhookDelivery"]
    assert [node["id"] for node in found["nodes"]] == [webhook_id, delivery_id]


def stored(playground: Playground) -> Any:
    with playground.site.catalog.read(TENANT) as tx:
        return tx.connection.execute(sa.select(rows.c.secret, rows.c.sealed)).one()


def bytes_of(playground: Playground) -> bytes:
    """Return all bytes that SQLite has on the disk."""
    return b"".join(path.read_bytes() for path in playground.settings.data.glob("packshot.db*"))


def test_a_secret_is_not_readable_in_the_database(api: Api, playground: Playground, listener: Listener) -> None:
    secret = api.payload(CREATE, url=listener.url, events=EVERYTHING)["secret"]
    row = stored(playground)
    assert row.secret == ""
    assert secret.encode() not in row.sealed
    assert secret.removeprefix("whsec_").encode() not in bytes_of(playground)


def test_a_secret_of_an_earlier_release_is_encrypted_and_still_signs(
    api: Api, playground: Playground, listener: Listener, sender: WebhookSender
) -> None:
    created = api.payload(CREATE, url=listener.url, events=["pack.changed"])
    secret = created["secret"]
    with playground.site.catalog.write(TENANT) as tx:
        tx.connection.execute(sa.update(rows).values(secret=secret, sealed=None))
    playground.pack(picture=photo(16, 16))
    send_all(sender)
    assert seal_webhooks(playground.site.catalog, playground.settings) == 1
    assert seal_webhooks(playground.site.catalog, playground.settings) == 0
    assert stored(playground).secret == ""
    assert secret.encode() not in bytes_of(playground)
    playground.pack(picture=photo(16, 16))
    send_all(sender)
    assert len(listener.received) >= 3
    for headers, body in listener.received:
        Webhook(secret).verify(body, headers)


def test_a_secret_that_cannot_be_decrypted_sends_no_delivery_and_is_logged(
    api: Api, playground: Playground, listener: Listener, caplog: pytest.LogCaptureFixture
) -> None:
    created = api.payload(CREATE, url=listener.url, events=["pack.changed"])
    playground.pack()
    changes = {"access_secret": SecretStr("another-access-secret-0123456789"), "fetch_allow": "127.0.0.1"}
    settings = Settings(**playground.settings.model_dump() | changes)
    send_all(WebhookSender(playground.with_settings(settings)))
    assert listener.received == []
    assert "was encrypted under another PACKSHOT_ACCESS_SECRET" in caplog.text
    assert created["secret"] not in caplog.text
    (webhook,) = api.data(LIST)["webhooks"]
    assert {(node["state"], node["attempts"]) for node in webhook["deliveries"]["nodes"]} == {("QUEUED", 1)}
