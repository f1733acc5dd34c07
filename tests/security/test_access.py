"""Tenants that require access keys: who gets images, what others learn, and where images are stored."""

import hashlib
import hmac
import logging
import signal
import sqlite3
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from pydantic import SecretStr
from starlette.testclient import TestClient

from packshot.catalog.configuration.tenants import ensure_tenant
from packshot.catalog.database.transaction import Catalog
from packshot.catalog.tables.work import purges
from packshot.errors import BadState, Invalid, Limit, NotFound
from packshot.geometry import Crop
from packshot.security import access_policy
from packshot.settings.settings import Settings
from packshot.storage.divided import DividedStore
from pregen.queue.broker import make_broker
from resolvers import access_keys, packs
from resolvers.caller import Caller
from serve.app import create_app
from serve.logs.redaction import redact
from tests.serve.conftest import TOKEN
from tests.support.command import Command
from tests.support.pictures import photo
from tests.support.playground import TENANT, Playground
from tests.support.server import packshot, serving

PRIVATE = "private, no-store"
ADMIN = {"Authorization": f"Bearer {TOKEN}"}
SOON = timedelta(hours=1)


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Read the access policy again for each request."""
    monkeypatch.setattr(access_policy, "FRESH", 0)


@pytest.fixture
def pack_id(playground: Playground) -> str:
    playground.location("thumb", width=40, height=30, fallback="main")
    pack_id = playground.pack(picture=photo(64, 48))
    playground.run_jobs()
    return pack_id


@pytest.fixture
def key(playground: Playground, pack_id: str) -> str:
    """An access key of the tenant, which requires keys."""
    _, secret = access_keys.create_key(playground.caller, "web")
    access_keys.require_keys(playground.caller, required=True)
    return secret


def stores(playground: Playground) -> DividedStore:
    store = playground.site.variants
    assert isinstance(store, DividedStore)
    return store


def urls_of(playground: Playground, pack_id: str) -> list[str]:
    key = next(iter(playground.planned(pack_id)))
    return [
        f"/api/v2/img/{pack_id}?location=thumb",
        f"/api/v2/img/{TENANT}/{pack_id}-17",
        f"/api/v2/img/{pack_id}/picture.json",
        f"/i/{key}",
    ]


def with_parameter(url: str, more: str) -> str:
    return f"{url}{'&' if '?' in url else '?'}{more}"


def films(playground: Playground) -> Caller:
    """A caller of another tenant."""
    with playground.site.catalog.write("films") as tx:
        ensure_tenant(tx)
    return replace(playground.caller, tenant="films")


def test_without_a_key_requests_get_no_image_and_no_information(
    client: TestClient, playground: Playground, pack_id: str, key: str
) -> None:
    _, foreign = access_keys.create_key(films(playground), "web")
    nonexistent = "0" * 24
    for url in urls_of(playground, pack_id):
        refusals = set()
        for tried in (url, url.replace(pack_id, nonexistent)):
            for given in ("", "access-key=", "access-key=psk_wrong", f"access-key={foreign}", "signature=a&expires=9"):
                for headers in ({}, {"X-Packshot-Access-Key": foreign}, {"X-Vimond-Access-Key": "wrong"}):
                    answer = client.get(with_parameter(tried, given), headers=headers)
                    assert (answer.status_code, answer.headers["cache-control"]) == (403, "no-store")
                    assert answer.headers["content-type"] == "application/problem+json"
                    refusals.add(answer.text)
                    assert client.head(with_parameter(tried, given), headers=headers).status_code == 403
        (refusal,) = refusals
        assert foreign not in refusal
        assert "X-Packshot-Access-Key" in refusal


def test_a_key_in_a_header_or_parameter_opens_images_that_caches_do_not_keep(
    client: TestClient, playground: Playground, pack_id: str, key: str
) -> None:
    for url in urls_of(playground, pack_id):
        by_parameter = client.get(with_parameter(url, f"access-key={key}"))
        for answer in (
            by_parameter,
            client.get(with_parameter(url, f"ACCESS%2Dkey={key}&access-key=other")),
            client.get(url, headers={"X-Packshot-Access-Key": key}),
            client.get(url, headers={"x-vimond-access-key": key}),
            client.get(url, headers={"X-Packshot-Access-Key": key, "If-None-Match": by_parameter.headers["etag"]}),
        ):
            assert answer.status_code in (200, 304)
            assert answer.headers["cache-control"] == PRIVATE
    for url, status in ((f"/api/v2/img/{pack_id}?location=nowhere", 404), (f"/api/v2/img/{'0' * 24}", 404)):
        answer = client.get(url, headers={"X-Packshot-Access-Key": key})
        assert (answer.status_code, answer.headers["cache-control"]) == (status, PRIVATE)


def test_keys_rotate_and_a_revoked_key_opens_nothing(
    client: TestClient, playground: Playground, pack_id: str, key: str
) -> None:
    url = f"/api/v2/img/{pack_id}"
    old = next(one for one in access_keys.list_keys(playground.caller) if one.name == "web")
    by_old, _ = access_keys.sign_url(playground.caller, url, datetime.now(UTC) + SOON)
    _, newer = access_keys.create_key(playground.caller, "web-2")
    by_newer, _ = access_keys.sign_url(playground.caller, url, datetime.now(UTC) + SOON)
    for secret in (key, newer):
        assert client.get(url, headers={"X-Packshot-Access-Key": secret}).status_code == 200
    for signed in (by_old, by_newer):
        assert client.get(signed).status_code == 200
    with pytest.raises(NotFound):
        access_keys.revoke_key(films(playground), old.id)
    assert access_keys.revoke_key(playground.caller, old.id).revoked_at is not None
    assert access_keys.revoke_key(playground.caller, old.id).name == "web"
    assert client.get(url, headers={"X-Packshot-Access-Key": key}).status_code == 403
    assert client.get(by_old).status_code == 403
    assert client.get(url, headers={"X-Packshot-Access-Key": newer}).status_code == 200
    assert client.get(by_newer).status_code == 200
    for number in range(7):
        access_keys.create_key(playground.caller, f"more-{number}")
    with pytest.raises(Limit):
        access_keys.create_key(playground.caller, "one-too-many")


def test_a_signed_url_opens_only_its_image_and_only_until_it_expires(
    client: TestClient, playground: Playground, pack_id: str, key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for url in urls_of(playground, pack_id):
        signed, ends = access_keys.sign_url(playground.caller, f"https://any.example{url}", datetime.now(UTC) + SOON)
        path = signed.removeprefix("https://any.example")
        assert client.get(path).status_code == 200
        assert client.head(path).status_code == 200
        assert client.get(with_parameter(path, "width=9")).status_code == (
            200 if url.startswith("/i/") or "picture" in url else 403
        )
        with monkeypatch.context() as later:
            later.setattr(time, "time", lambda ends=ends: ends.timestamp())
            answer = client.get(path)
        assert (answer.status_code, answer.json()["title"]) == (403, "This URL has expired.")
        assert answer.headers["cache-control"] == "no-store"
    with pytest.raises(Invalid, match="cannot expire"):
        access_keys.sign_url(playground.caller, url, datetime.now(UTC) - SOON)
    with pytest.raises(Invalid):
        access_keys.sign_url(playground.caller, "https://any.example/graphql", datetime.now(UTC) + SOON)
    with pytest.raises(Invalid, match="too long-lived") as refused:
        access_keys.sign_url(playground.caller, url, datetime.now(UTC) + timedelta(days=367))
    assert (refused.value.field, (refused.value.expected or "")[:24]) == (("expires_at",), "at most 366 days from no")
    access_keys.sign_url(playground.caller, url, datetime.now(UTC) + timedelta(days=365))
    again, _ = access_keys.sign_url(playground.caller, f"{signed}&access-key={key}&explain=1", datetime.now(UTC) + SOON)
    assert again.count("signature=") == again.count("expires=") == 1
    assert key not in again
    assert client.get(again.removeprefix("https://any.example")).status_code == 200


def test_a_client_with_a_key_signs_urls_as_documented(client: TestClient, pack_id: str, key: str) -> None:
    expires = int(time.time()) + 600
    text = f"packshot-url-1\n{TENANT}\n/api/v2/img/{pack_id}\nlocation=thumb&width=20\n{expires}"
    signature = hmac.new(key.encode(), text.encode(), hashlib.sha256).hexdigest()
    opened = f"expires={expires}&signature={signature}"
    assert client.get(f"/api/v2/img/{pack_id}?location=thumb&width=20&{opened}").status_code == 200
    assert client.get(f"/api/v2/img/{TENANT}/{pack_id}-9?{opened}&x=1&Width=020&LOCATION=thumb").status_code == 200
    assert client.get(f"/api/v2/img/{pack_id}?location=thumb&width=21&{opened}").status_code == 403
    assert client.get(f"/api/v2/img/{pack_id}?location=thumb&{opened}").status_code == 403


def ask(client: TestClient, query: str) -> Any:
    body = client.post("/graphql", json={"query": query}, headers=ADMIN).json()
    assert "errors" not in body, body
    return body["data"]


def test_urls_from_graphql_open_and_can_be_signed(
    client: TestClient, playground: Playground, pack_id: str, key: str
) -> None:
    place = ask(
        client,
        f"""{{ pack(by: {{id: "{pack_id}"}}) {{ stableUrl location(name: "thumb") {{
          stableUrl currentUrl variants {{ url }} picture {{ src sources {{ srcset }} }} }} }} }}""",
    )["pack"]
    pack_location = place["location"]
    shown = [
        pack_location["currentUrl"],
        pack_location["picture"]["src"],
        *(variant["url"] for variant in pack_location["variants"]),
    ]
    shown += [
        part.split()[0] for source in pack_location["picture"]["sources"] for part in source["srcset"].split(", ")
    ]
    for url in shown:
        assert client.get(url).status_code == 200
    for url in (place["stableUrl"], pack_location["stableUrl"]):
        assert "signature" not in url
        assert client.get(url).status_code == 403
        moment = f"{datetime.now(UTC) + timedelta(days=300):%Y-%m-%dT%H:%M:%SZ}"
        signed = ask(
            client,
            f"""mutation {{ signUrl(url: "{url}", expiresAt: "{moment}") {{
              url expiresAt userErrors {{ code }} }} }}""",
        )["signUrl"]
        assert (signed["expiresAt"][:19], signed["userErrors"]) == (moment[:19], [])
        assert client.get(signed["url"]).status_code == 200


def test_urls_in_a_signed_picture_expire_with_it(
    client: TestClient, playground: Playground, pack_id: str, key: str
) -> None:
    ends = int(time.time()) + 60
    signed, _ = access_keys.sign_url(
        playground.caller, f"/api/v2/img/{pack_id}/picture.json", datetime.fromtimestamp(ends, UTC)
    )
    answer = client.get(signed)
    assert answer.headers["cache-control"] == PRIVATE
    assert f"expires={ends}&" in answer.json()["src"]
    assert client.get(answer.json()["src"]).status_code == 200
    by_key = client.get(f"/api/v2/img/{pack_id}/picture.json", headers={"X-Packshot-Access-Key": key}).json()
    assert f"expires={ends}&" not in by_key["src"]


def test_the_url_of_a_replaced_image_leads_to_one_that_opens(
    client: TestClient, playground: Playground, pack_id: str, key: str
) -> None:
    old = str(playground.target(pack_id, "location=thumb").key)
    packs.set_crop(playground.caller, pack_id, "thumb", Crop(0, 0, 0.5, 0.5))
    playground.site.variants.delete(old)
    answer = client.get(f"/i/{old}", headers={"X-Packshot-Access-Key": key})
    assert (answer.status_code, answer.headers["cache-control"]) == (302, PRIVATE)
    assert client.get(answer.headers["location"]).status_code == 200


def test_requiring_keys_moves_images_to_the_private_store_and_purges_copies(
    client: TestClient, playground: Playground, pack_id: str
) -> None:
    store, planned = stores(playground), set(playground.planned(pack_id))
    assert set(store.public.list("")) == planned
    with pytest.raises(BadState, match="no client could open"):
        access_keys.require_keys(playground.caller, required=True)
    _, secret = access_keys.create_key(playground.caller, "web")
    access_keys.require_keys(playground.caller, required=True)
    assert access_keys.withdraw_variants(playground.caller) == len(planned)
    assert (set(store.public.list("")), set(store.private.list(""))) == (set(), planned)
    with playground.site.catalog.read(TENANT) as tx:
        rows = tx.connection.execute(sa.select(purges).where(purges.c.erasing)).all()
    assert {tag for row in rows for tag in row.tags} == {f"t:{TENANT}", f"e:{TENANT}:{pack_id}"}
    answer = client.get(f"/api/v2/img/{pack_id}?width=33", headers={"X-Packshot-Access-Key": secret})
    assert answer.status_code == 200
    playground.show(pack_id, "thumb", photo(50, 50))
    playground.run_jobs()
    assert list(store.public.list("")) == []
    assert access_keys.withdraw_variants(playground.caller) == 0
    assert planned < set(store.private.list(""))
    # Images that become public again stay in the private store, and the application serves them.
    access_keys.require_keys(playground.caller, required=False)
    open_to_all = client.get(f"/api/v2/img/{pack_id}")
    assert open_to_all.status_code == 200
    assert open_to_all.headers["cache-control"].startswith("public")
    assert list(store.public.list("")) == []
    # When keys are required again, no object has to move, but the CDN has new public copies.
    with playground.site.catalog.write(TENANT) as tx:
        tx.connection.execute(sa.delete(purges))
    access_keys.require_keys(playground.caller, required=True)
    assert access_keys.withdraw_variants(playground.caller) == 0
    with playground.site.catalog.read(TENANT) as tx:
        rows = tx.connection.execute(sa.select(purges).where(purges.c.erasing)).all()
    assert {tag for row in rows for tag in row.tags} == {f"t:{TENANT}", f"e:{TENANT}:{pack_id}"}


def test_other_tenants_images_stay_public(client: TestClient, playground: Playground, pack_id: str) -> None:
    caller = films(playground)
    access_keys.create_key(caller, "web")
    access_keys.require_keys(caller, required=True)
    for url in urls_of(playground, pack_id):
        answer = client.get(with_parameter(url, "access-key=anything&expires=1&signature=x"))
        assert answer.status_code == 200
        assert answer.headers["cache-control"].startswith("public")
    assert client.get(f"/api/v2/img/films/{'0' * 24}").status_code == 403
    assert client.get(f"/api/v2/img/books/{'0' * 24}").status_code == 404


def test_a_url_signed_for_one_tenant_opens_nothing_of_another(
    client: TestClient, playground: Playground, pack_id: str, key: str
) -> None:
    caller = films(playground)
    access_keys.create_key(caller, "web")
    access_keys.require_keys(caller, required=True)
    path = f"/api/v2/img/films/{pack_id}"
    signed, _ = access_keys.sign_url(caller, path, datetime.now(UTC) + SOON)
    assert client.get(signed).status_code == 404
    assert client.get(signed.replace("/films/", "/")).status_code == 403
    assert client.get(signed.replace("/films/", f"/{TENANT}/")).status_code == 403
    with pytest.raises(NotFound):
        access_keys.sign_url(caller, f"/api/v2/img/{pack_id}", datetime.now(UTC) + SOON)


def test_no_response_contains_a_secret(
    client: TestClient, playground: Playground, pack_id: str, key: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    for given in (f"access-key={key}%zz", f"access-key={key}%ff", f"signature={key}%zz", f"width=x&access-key={key}"):
        answer = client.get(f"/api/v2/img/{pack_id}?{given}")
        assert answer.status_code == 400
        assert key not in answer.text
    client.get(f"/api/v2/img/{pack_id}?access-key={key}")
    told = Command(playground).run("access-key", "list", "--json").stdout
    # The test's own client logs its request URLs.
    assert key not in told + "\n".join(record.getMessage() for record in caplog.records if record.name != "httpx2")
    for text in (f"?access-key={key}", f"/i/x?a=b&ACCESS%2dKEY={key}&c", f"/x?%73ignature={key} HTTP/1.1"):
        assert key not in redact(text)
        assert redact(text).startswith(text.partition(key)[0])
    if playground.settings.database_url is None:
        connection = sqlite3.connect(playground.settings.data / "packshot.db")
        kept = "\n".join(connection.iterdump())
        connection.close()
        assert hashlib.sha256(key.encode()).hexdigest() in kept
        assert key not in kept
        assert key.encode().hex() not in kept.lower()


@pytest.fixture
def renewed(playground: Playground) -> Iterator[Any]:
    """The same installation with other secrets."""
    opened = []

    def renew(**changes: Any) -> tuple[TestClient, Caller]:
        settings = Settings(**playground.settings.model_dump() | changes)
        catalog = Catalog(settings.effective_database_url)
        opened.append(catalog)
        site = replace(playground.site, settings=settings, access_policy=access_policy.AccessPolicy(catalog, settings))
        app = create_app(site, make_broker(settings), playground.doorbell, TOKEN)
        return TestClient(app, follow_redirects=False), replace(playground.caller, site=site)

    yield renew
    for catalog in opened:
        catalog.close()


def test_a_new_admin_token_keeps_keys_and_with_the_old_as_secret_signatures(
    playground: Playground, pack_id: str, key: str, renewed: Any
) -> None:
    url = f"/api/v2/img/{pack_id}"
    signed, _ = access_keys.sign_url(playground.caller, url, datetime.now(UTC) + SOON)
    client, caller = renewed(admin_token=SecretStr("another-token-0123456789abcdef"))
    assert client.get(url, headers={"X-Packshot-Access-Key": key}).status_code == 200
    assert client.get(signed).status_code == 403
    with pytest.raises(BadState, match="can be read"):
        access_keys.sign_url(caller, url, datetime.now(UTC) + SOON)
    client, caller = renewed(
        admin_token=SecretStr("another-token-0123456789abcdef"), access_secret=SecretStr("test-token-0123456789abcdef")
    )
    assert client.get(signed).status_code == 200
    access_keys.sign_url(caller, url, datetime.now(UTC) + SOON)


def test_while_the_database_is_down_the_last_known_access_policy_applies(
    client: TestClient, playground: Playground, pack_id: str, key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = f"/i/{next(iter(playground.planned(pack_id)))}"
    assert client.get(url).status_code == 403

    def away(*_: Any) -> None:
        raise sa.exc.OperationalError("select", {}, Exception("away"))

    monkeypatch.setattr(access_policy, "read_access_rules", away)
    assert client.get(url).status_code == 403
    assert client.get(url, headers={"X-Packshot-Access-Key": key}).status_code == 200
    # A process that does not know which tenants require keys serves no image, and stores none publicly.
    fresh = access_policy.AccessPolicy(playground.site.catalog, playground.settings)
    with pytest.raises(sa.exc.OperationalError):
        fresh.look()
    with pytest.raises(sa.exc.OperationalError):
        playground.site.access_policy.is_private(TENANT)


def test_recently_served_images_need_a_key_once_keys_are_required(
    client: TestClient, playground: Playground, pack_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(access_policy, "FRESH", 1000)
    url = f"/i/{next(iter(playground.planned(pack_id)))}"
    for _ in range(3):
        assert client.get(url).status_code == 200
    _, secret = access_keys.create_key(playground.caller, "web")
    access_keys.require_keys(playground.caller, required=True)
    monkeypatch.setattr(playground.site.access_policy, "_fresh_until", 0)
    for _ in range(3):
        assert client.get(url).status_code == 403
        assert client.get(url, headers={"X-Packshot-Access-Key": secret}).headers["cache-control"] == PRIVATE


@pytest.mark.parametrize("delivery", ["accel", "redirect"])
def test_the_application_serves_private_variants_itself(
    playground: Playground, pack_id: str, key: str, renewed: Any, delivery: str
) -> None:
    client, _ = renewed(delivery=delivery)
    for url in urls_of(playground, pack_id):
        answer = client.get(url, headers={"X-Packshot-Access-Key": key})
        assert (answer.status_code, answer.headers["cache-control"]) == (200, PRIVATE)
        assert "x-accel-redirect" not in answer.headers
        assert answer.content


def test_commands_create_require_sign_with_and_revoke_keys(
    client: TestClient, playground: Playground, pack_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    command = Command(playground)
    command.environ["PACKSHOT_ADMIN_TOKEN"] = TOKEN
    monkeypatch.setattr("time.sleep", lambda _: None)
    assert "an access key first" in command.run("tenant", "require-keys", TENANT, code=1).stderr
    made = command.run("access-key", "create", "web")
    secret = made.stdout.strip()
    assert secret.startswith("psk_")
    assert secret not in made.stderr
    required = command.json("tenant", "require-keys", TENANT)
    assert required == {"tenant": TENANT, "keysRequired": True, "withdrawn": len(playground.planned(pack_id))}
    assert client.get(f"/api/v2/img/{pack_id}").status_code == 403
    signed = command.run("sign-url", f"http://here.example/api/v2/img/{pack_id}", "--expires", "5m").stdout.strip()
    assert client.get(signed.removeprefix("http://here.example")).status_code == 200
    assert "expected" in command.run("sign-url", "http://here.example/x", "--expires", "5m", code=1).stderr
    command.run("sign-url", "x", "--expires", "soon", code=2)
    (listed,) = command.json("access-key", "list")
    assert (listed["name"], listed["state"]) == ("web", "good")
    assert "good" in command.run("access-key", "list").stdout
    assert command.json("access-key", "revoke", listed["id"])["state"] == "revoked"
    assert client.get(f"/api/v2/img/{pack_id}", headers={"X-Packshot-Access-Key": secret}).status_code == 403
    assert command.json("tenant", "require-keys", TENANT, "--off")["keysRequired"] is False
    assert client.get(f"/api/v2/img/{pack_id}").status_code == 200
    assert "no such" in command.run("tenant", "require-keys", "absent", code=1).stderr


def test_an_explanation_says_that_a_key_is_needed(client: TestClient, pack_id: str, key: str) -> None:
    told = client.get(f"/api/v2/img/{pack_id}?explain=1", headers=ADMIN).json()
    assert told["keyRequired"] is True
    assert told["headers"]["Cache-Control"] == PRIVATE
    assert client.get(told["immutableUrl"]).status_code == 200
    assert client.get(f"/api/v2/img/{pack_id}?explain=1", headers={"Authorization": "Bearer no"}).status_code == 403


def test_a_server_logs_requests_without_their_keys(tmp_path: Path) -> None:
    with serving(tmp_path, PACKSHOT_LOG_LEVEL="debug") as server:
        made = packshot(tmp_path, "access-key", "create", "web", PACKSHOT_ADMIN_TOKEN=server.token)
        secret = made.stdout.strip()
        paths = [f"/api/v2/img/{'0' * 24}", f"/i/default/{'0' * 24}/main/{'0' * 24}/w9-h9-crop-center-q80.jpg"]
        for path in paths:
            assert server.client.get(f"{path}?access-key={secret}&%61ccess-KEY={secret}").status_code == 404
            assert server.client.get(f"{path}?signature={secret}", headers={"X-Packshot-Access-Key": secret})
        printed = server.end(signal.SIGTERM)
    assert all(f"{path}?access-key=[redacted]" in printed for path in paths)
    assert secret not in printed
