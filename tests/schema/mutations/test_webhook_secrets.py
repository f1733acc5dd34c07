"""A webhook's secret is replaced without losing a delivery: for a while each is signed by both secrets."""

import base64
import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import sqlalchemy as sa
from pydantic import SecretStr
from standardwebhooks.webhooks import Webhook, WebhookVerificationError

from packshot.catalog.clients import webhooks
from packshot.catalog.tables.work import webhook_secrets
from packshot.catalog.tables.work import webhooks as rows
from packshot.settings.settings import Settings
from pregen.services.webhook_sender import WebhookSender
from resolvers import packs
from tests.schema.api import USER_ERRORS, Api
from tests.schema.types.test_webhooks import CREATE, DELETE, Listener, listener, tell_all, teller
from tests.support.paths import ROOT
from tests.support.playground import TENANT, Playground

__all__ = ["listener", "teller"]

ROTATE = f"""mutation($id: ID!, $keep: Int! = 86400) {{ rotateWebhookSecret(id: $id, keepOldForSeconds: $keep) {{
  webhook {{ id oldSecretsUntil }} secret {USER_ERRORS} }} }}"""
LIST = "{ webhooks { id oldSecretsUntil deliveries(first: 50) { nodes { state attempts } } } }"


@pytest.fixture
def webhook(api: Api, listener: Listener) -> dict[str, Any]:
    created = api.payload(CREATE, url=listener.url, events=["pack.changed"])
    return {"id": created["webhook"]["id"], "secret": created["secret"]}


def tell(playground: Playground, teller: WebhookSender, listener: Listener) -> tuple[Mapping[str, str], bytes]:
    """Have something happen, and return the delivery."""
    packs.create_pack(playground.caller, {})
    tell_all(teller)
    return listener.told[-1]


def verifies(secret: str, told: tuple[Mapping[str, str], bytes]) -> bool:
    try:
        Webhook(secret).verify(told[1], dict(told[0]))
    except WebhookVerificationError:
        return False
    return True


def signatures(told: tuple[Mapping[str, str], bytes]) -> list[str]:
    return told[0]["webhook-signature"].split(" ")


def let_pass(playground: Playground, duration: timedelta) -> None:
    with playground.site.catalog.write(TENANT) as tx:
        for row in tx.connection.execute(sa.select(webhook_secrets)).all():
            values = {"expires_at": row.expires_at - duration}
            tx.connection.execute(sa.update(webhook_secrets).where(webhook_secrets.c.id == row.id).values(values))


def test_both_secrets_sign_until_the_old_one_ends(
    api: Api, playground: Playground, listener: Listener, teller: WebhookSender, webhook: dict[str, Any]
) -> None:
    rotated = api.payload(ROTATE, id=webhook["id"])
    old, new = webhook["secret"], rotated["secret"]
    told = tell(playground, teller, listener)
    assert (old != new, verifies(old, told), verifies(new, told)) == (True, True, True)
    assert len(signatures(told)) == 2
    assert verifies(new, ({**told[0], "webhook-signature": signatures(told)[0]}, told[1])), "the new one is the first"
    until = datetime.fromisoformat(rotated["webhook"]["oldSecretsUntil"])
    assert timedelta(hours=23) < until - datetime.now(UTC) < timedelta(hours=25)
    let_pass(playground, timedelta(hours=24, seconds=1))
    told = tell(playground, teller, listener)
    assert (verifies(old, told), verifies(new, told), len(signatures(told))) == (False, True, 1)
    assert api.data(LIST)["webhooks"][0]["oldSecretsUntil"] is None


def test_a_pending_delivery_is_signed_by_the_secrets_of_when_it_is_sent(
    api: Api, playground: Playground, listener: Listener, teller: WebhookSender, webhook: dict[str, Any]
) -> None:
    packs.create_pack(playground.caller, {})
    rotated = api.payload(ROTATE, id=webhook["id"], keep=0)
    tell_all(teller)
    (told,) = listener.told
    assert (verifies(webhook["secret"], told), verifies(rotated["secret"], told)) == (False, True)
    assert [node["state"] for node in api.data(LIST)["webhooks"][0]["deliveries"]["nodes"]] == ["SUCCEEDED"]


def test_a_second_rotation_ends_no_secret_early_and_none_outlasts_its_limit(
    api: Api, playground: Playground, listener: Listener, teller: WebhookSender, webhook: dict[str, Any]
) -> None:
    second = api.payload(ROTATE, id=webhook["id"], keep=3600)["secret"]
    third = api.payload(ROTATE, id=webhook["id"], keep=7200)["secret"]
    told = tell(playground, teller, listener)
    assert all(verifies(secret, told) for secret in (webhook["secret"], second, third))
    let_pass(playground, timedelta(seconds=3601))
    told = tell(playground, teller, listener)
    assert [verifies(secret, told) for secret in (webhook["secret"], second, third)] == [False, True, True]
    fourth = api.payload(ROTATE, id=webhook["id"], keep=60)["secret"]
    let_pass(playground, timedelta(seconds=61))
    told = tell(playground, teller, listener)
    assert [verifies(secret, told) for secret in (second, third, fourth)] == [False, False, True]


def test_after_a_leak_every_secret_but_the_new_one_ends_at_once(
    api: Api, playground: Playground, listener: Listener, teller: WebhookSender, webhook: dict[str, Any]
) -> None:
    second = api.payload(ROTATE, id=webhook["id"])["secret"]
    rotated = api.payload(ROTATE, id=webhook["id"], keep=0)
    assert rotated["webhook"]["oldSecretsUntil"] is None
    told = tell(playground, teller, listener)
    assert [verifies(secret, told) for secret in (webhook["secret"], second, rotated["secret"])] == [False, False, True]
    with playground.site.catalog.read(TENANT) as tx:
        assert tx.connection.execute(sa.select(webhook_secrets)).all() == []


def test_rotations_are_bounded_and_a_refused_one_changes_nothing(
    api: Api, playground: Playground, listener: Listener, teller: WebhookSender, webhook: dict[str, Any]
) -> None:
    kept = [webhook["secret"]]
    kept += [api.payload(ROTATE, id=webhook["id"])["secret"] for _ in range(webhooks.MAX_OLD_SECRETS)]
    refused = api.refusal(ROTATE, id=webhook["id"], keep=3600)
    assert (refused["code"], refused["field"]) == ("LIMIT", ["keepOldForSeconds"])
    told = tell(playground, teller, listener)
    assert all(verifies(secret, told) for secret in kept)
    let_pass(playground, timedelta(hours=2))
    assert all(verifies(secret, tell(playground, teller, listener)) for secret in kept), "none ends earlier either"
    assert api.payload(ROTATE, id=webhook["id"], keep=0)["secret"] not in kept


@pytest.mark.parametrize("keep", [-1, 604_801, 2**31 - 1])
def test_a_time_that_is_not_allowed_is_refused(api: Api, webhook: dict[str, Any], keep: int) -> None:
    refused = api.refusal(ROTATE, id=webhook["id"], keep=keep)
    assert (refused["code"], refused["expected"]) == ("INVALID", "0 to 604800 seconds")


def test_an_unknown_webhook_has_no_secret_to_rotate(api: Api) -> None:
    assert api.refusal(ROTATE, id="webhook:0123456789abcdef01234567")["code"] == "NOT_FOUND"


def test_replaced_secrets_are_encrypted_forgotten_and_deleted_with_their_webhook(
    api: Api, playground: Playground, webhook: dict[str, Any]
) -> None:
    def stored() -> list[Any]:
        with playground.site.catalog.read(TENANT) as tx:
            return list(tx.connection.execute(sa.select(webhook_secrets)).all())

    api.payload(ROTATE, id=webhook["id"], keep=60)
    (row,) = stored()
    assert webhook["secret"].encode() not in row.sealed
    # A clock that moved back gives no secret more than the longest time.
    let_pass(playground, -timedelta(days=30))
    assert api.data(LIST)["webhooks"][0]["oldSecretsUntil"] is None
    with playground.site.catalog.write_system() as tx:
        webhooks.delete_expired_secrets(tx)
    assert stored() == []
    api.payload(ROTATE, id=webhook["id"])
    api.payload(DELETE, id=webhook["id"])
    assert stored() == []


def test_a_secret_of_an_earlier_release_signs_on_after_a_rotation(
    api: Api, playground: Playground, listener: Listener, teller: WebhookSender, webhook: dict[str, Any]
) -> None:
    with playground.site.catalog.write(TENANT) as tx:
        tx.connection.execute(sa.update(rows).values(secret=webhook["secret"], sealed=None))
    new = api.payload(ROTATE, id=webhook["id"])["secret"]
    told = tell(playground, teller, listener)
    assert (verifies(webhook["secret"], told), verifies(new, told)) == (True, True)
    on_disk = b"".join(path.read_bytes() for path in playground.settings.data.glob("packshot.db*"))
    assert webhook["secret"].encode() not in on_disk


def test_a_rotation_mends_a_webhook_whose_secret_cannot_be_decrypted(
    api: Api, playground: Playground, listener: Listener, teller: WebhookSender, webhook: dict[str, Any]
) -> None:
    with playground.site.catalog.write(TENANT) as tx:
        # As under another PACKSHOT_ACCESS_SECRET.
        tx.connection.execute(sa.update(rows).values(sealed=b"x" * 60))
    rotated = api.payload(ROTATE, id=webhook["id"])
    assert rotated["webhook"]["oldSecretsUntil"] is None
    assert verifies(rotated["secret"], tell(playground, teller, listener))
    changed = {"access_secret": SecretStr("another-access-secret-0123456789"), "fetch_allow": "127.0.0.1"}
    count = len(listener.told)
    packs.create_pack(playground.caller, {})
    tell_all(WebhookSender(playground.with_settings(Settings(**playground.settings.model_dump() | changed))))
    assert len(listener.told) == count, "nothing is sent unsigned"


@pytest.fixture
def receiver() -> dict[str, Any]:
    """The receiver of docs/graphql.md, as it stands there."""
    text = (ROOT / "docs" / "graphql.md").read_text()
    (code,) = re.findall(r"```python\n(# A receiver of webhooks.*?)```", text, re.DOTALL)
    names: dict[str, Any] = {}
    exec(code, names)  # noqa: S102 - our own documentation
    return names


def test_the_documented_receiver_verifies_either_secret_and_refuses_the_rest(
    api: Api,
    playground: Playground,
    listener: Listener,
    teller: WebhookSender,
    webhook: dict[str, Any],
    receiver: dict[str, Any],
) -> None:
    new = api.payload(ROTATE, id=webhook["id"])["secret"]
    headers, body = tell(playground, teller, listener)
    for secret in (webhook["secret"], new):
        assert receiver["verify"](secret, headers, body)["type"] == "pack.changed"
        for wrong in ({**headers, "webhook-id": "another"}, {**headers, "webhook-timestamp": "1"}):
            with pytest.raises(ValueError, match="webhook"):
                receiver["verify"](secret, wrong, body)
        with pytest.raises(ValueError, match="webhook"):
            receiver["verify"](secret, headers, body + b" ")
    with pytest.raises(ValueError, match="webhook"):
        receiver["verify"]("whsec_" + base64.b64encode(b"x" * 32).decode(), headers, body)
