"""A webhook's secret is replaced without losing a delivery: for some time both secrets sign each delivery."""

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
from tests.schema.types.test_webhooks import CREATE, DELETE, Listener, listener, send_all, sender
from tests.support.paths import ROOT
from tests.support.playground import TENANT, Playground

__all__ = ["listener", "sender"]

ROTATE = f"""mutation($id: ID!, $keep: Int! = 86400) {{ rotateWebhookSecret(id: $id, keepOldForSeconds: $keep) {{
  webhook {{ id oldSecretsUntil }} secret {USER_ERRORS} }} }}"""
LIST = "{ webhooks { id oldSecretsUntil deliveries(first: 50) { nodes { state attempts } } } }"


@pytest.fixture
def webhook(api: Api, listener: Listener) -> dict[str, Any]:
    created = api.payload(CREATE, url=listener.url, events=["pack.changed"])
    return {"id": created["webhook"]["id"], "secret": created["secret"]}


def cause_delivery(
    playground: Playground, sender: WebhookSender, listener: Listener
) -> tuple[Mapping[str, str], bytes]:
    """Cause an event, and return its delivery."""
    packs.create_pack(playground.caller, {})
    send_all(sender)
    return listener.received[-1]


def verifies(secret: str, delivery: tuple[Mapping[str, str], bytes]) -> bool:
    try:
        Webhook(secret).verify(delivery[1], dict(delivery[0]))
    except WebhookVerificationError:
        return False
    return True


def signatures(delivery: tuple[Mapping[str, str], bytes]) -> list[str]:
    return delivery[0]["webhook-signature"].split(" ")


def move_back_times(playground: Playground, duration: timedelta) -> None:
    with playground.site.catalog.write(TENANT) as tx:
        for row in tx.connection.execute(sa.select(webhook_secrets)).all():
            values = {"expires_at": row.expires_at - duration}
            tx.connection.execute(sa.update(webhook_secrets).where(webhook_secrets.c.id == row.id).values(values))


def test_both_secrets_sign_until_the_old_one_expires(
    api: Api, playground: Playground, listener: Listener, sender: WebhookSender, webhook: dict[str, Any]
) -> None:
    rotated = api.payload(ROTATE, id=webhook["id"])
    old, new = webhook["secret"], rotated["secret"]
    delivery = cause_delivery(playground, sender, listener)
    assert (old != new, verifies(old, delivery), verifies(new, delivery)) == (True, True, True)
    assert len(signatures(delivery)) == 2
    assert verifies(new, ({**delivery[0], "webhook-signature": signatures(delivery)[0]}, delivery[1])), (
        "the signature of the new secret comes first"
    )
    until = datetime.fromisoformat(rotated["webhook"]["oldSecretsUntil"])
    assert timedelta(hours=23) < until - datetime.now(UTC) < timedelta(hours=25)
    move_back_times(playground, timedelta(hours=24, seconds=1))
    delivery = cause_delivery(playground, sender, listener)
    assert (verifies(old, delivery), verifies(new, delivery), len(signatures(delivery))) == (False, True, 1)
    assert api.data(LIST)["webhooks"][0]["oldSecretsUntil"] is None


def test_a_delivery_is_signed_by_the_secrets_at_the_time_of_sending(
    api: Api, playground: Playground, listener: Listener, sender: WebhookSender, webhook: dict[str, Any]
) -> None:
    packs.create_pack(playground.caller, {})
    rotated = api.payload(ROTATE, id=webhook["id"], keep=0)
    send_all(sender)
    (delivery,) = listener.received
    assert (verifies(webhook["secret"], delivery), verifies(rotated["secret"], delivery)) == (False, True)
    assert [node["state"] for node in api.data(LIST)["webhooks"][0]["deliveries"]["nodes"]] == ["SUCCEEDED"]


def test_a_second_rotation_does_not_change_when_old_secrets_expire(
    api: Api, playground: Playground, listener: Listener, sender: WebhookSender, webhook: dict[str, Any]
) -> None:
    second = api.payload(ROTATE, id=webhook["id"], keep=3600)["secret"]
    third = api.payload(ROTATE, id=webhook["id"], keep=7200)["secret"]
    delivery = cause_delivery(playground, sender, listener)
    assert all(verifies(secret, delivery) for secret in (webhook["secret"], second, third))
    move_back_times(playground, timedelta(seconds=3601))
    delivery = cause_delivery(playground, sender, listener)
    assert [verifies(secret, delivery) for secret in (webhook["secret"], second, third)] == [False, True, True]
    fourth = api.payload(ROTATE, id=webhook["id"], keep=60)["secret"]
    move_back_times(playground, timedelta(seconds=61))
    delivery = cause_delivery(playground, sender, listener)
    assert [verifies(secret, delivery) for secret in (second, third, fourth)] == [False, False, True]


def test_a_rotation_without_overlap_ends_every_old_secret_at_once(
    api: Api, playground: Playground, listener: Listener, sender: WebhookSender, webhook: dict[str, Any]
) -> None:
    second = api.payload(ROTATE, id=webhook["id"])["secret"]
    rotated = api.payload(ROTATE, id=webhook["id"], keep=0)
    assert rotated["webhook"]["oldSecretsUntil"] is None
    delivery = cause_delivery(playground, sender, listener)
    assert [verifies(secret, delivery) for secret in (webhook["secret"], second, rotated["secret"])] == [
        False,
        False,
        True,
    ]
    with playground.site.catalog.read(TENANT) as tx:
        assert tx.connection.execute(sa.select(webhook_secrets)).all() == []


def test_the_number_of_old_secrets_is_limited_and_a_refused_rotation_changes_nothing(
    api: Api, playground: Playground, listener: Listener, sender: WebhookSender, webhook: dict[str, Any]
) -> None:
    kept = [webhook["secret"]]
    kept += [api.payload(ROTATE, id=webhook["id"])["secret"] for _ in range(webhooks.MAX_OLD_SECRETS)]
    refused = api.refusal(ROTATE, id=webhook["id"], keep=3600)
    assert (refused["code"], refused["field"]) == ("LIMIT", ["keepOldForSeconds"])
    delivery = cause_delivery(playground, sender, listener)
    assert all(verifies(secret, delivery) for secret in kept)
    move_back_times(playground, timedelta(hours=2))
    assert all(verifies(secret, cause_delivery(playground, sender, listener)) for secret in kept), (
        "a refused rotation ends no secret earlier"
    )
    assert api.payload(ROTATE, id=webhook["id"], keep=0)["secret"] not in kept


@pytest.mark.parametrize("keep", [-1, 604_801, 2**31 - 1])
def test_an_overlap_beyond_its_limits_is_refused(api: Api, webhook: dict[str, Any], keep: int) -> None:
    refused = api.refusal(ROTATE, id=webhook["id"], keep=keep)
    assert (refused["code"], refused["expected"]) == ("INVALID", "0 to 604800 seconds")


def test_rotating_the_secret_of_an_unknown_webhook_gives_not_found(api: Api) -> None:
    assert api.refusal(ROTATE, id="webhook:0123456789abcdef01234567")["code"] == "NOT_FOUND"


def test_old_secrets_are_encrypted_and_deleted_on_expiry_or_with_their_webhook(
    api: Api, playground: Playground, webhook: dict[str, Any]
) -> None:
    def stored() -> list[Any]:
        with playground.site.catalog.read(TENANT) as tx:
            return list(tx.connection.execute(sa.select(webhook_secrets)).all())

    api.payload(ROTATE, id=webhook["id"], keep=60)
    (row,) = stored()
    assert webhook["secret"].encode() not in row.sealed
    # A clock that was set back extends no secret beyond the longest time.
    move_back_times(playground, -timedelta(days=30))
    assert api.data(LIST)["webhooks"][0]["oldSecretsUntil"] is None
    with playground.site.catalog.write_system() as tx:
        webhooks.delete_expired_secrets(tx)
    assert stored() == []
    api.payload(ROTATE, id=webhook["id"])
    api.payload(DELETE, id=webhook["id"])
    assert stored() == []


def test_a_secret_of_an_earlier_release_still_signs_after_a_rotation(
    api: Api, playground: Playground, listener: Listener, sender: WebhookSender, webhook: dict[str, Any]
) -> None:
    with playground.site.catalog.write(TENANT) as tx:
        tx.connection.execute(sa.update(rows).values(secret=webhook["secret"], sealed=None))
    new = api.payload(ROTATE, id=webhook["id"])["secret"]
    delivery = cause_delivery(playground, sender, listener)
    assert (verifies(webhook["secret"], delivery), verifies(new, delivery)) == (True, True)
    on_disk = b"".join(path.read_bytes() for path in playground.settings.data.glob("packshot.db*"))
    assert webhook["secret"].encode() not in on_disk


def test_a_rotation_repairs_a_webhook_whose_secret_cannot_be_decrypted(
    api: Api, playground: Playground, listener: Listener, sender: WebhookSender, webhook: dict[str, Any]
) -> None:
    with playground.site.catalog.write(TENANT) as tx:
        # The secret looks as if encrypted under another PACKSHOT_ACCESS_SECRET.
        tx.connection.execute(sa.update(rows).values(sealed=b"x" * 60))
    rotated = api.payload(ROTATE, id=webhook["id"])
    assert rotated["webhook"]["oldSecretsUntil"] is None
    assert verifies(rotated["secret"], cause_delivery(playground, sender, listener))
    changed = {"access_secret": SecretStr("another-access-secret-0123456789"), "fetch_allow": "127.0.0.1"}
    count = len(listener.received)
    packs.create_pack(playground.caller, {})
    send_all(WebhookSender(playground.with_settings(Settings(**playground.settings.model_dump() | changed))))
    assert len(listener.received) == count, "no delivery is sent unsigned"


@pytest.fixture
def receiver() -> dict[str, Any]:
    """The receiver in docs/graphql.md."""
    text = (ROOT / "docs" / "graphql.md").read_text()
    (code,) = re.findall(r"```python\n(# A receiver of webhooks.*?)```", text, re.DOTALL)
    names: dict[str, Any] = {}
    exec(code, names)  # noqa: S102 - our own documentation
    return names


def test_the_documented_receiver_accepts_both_secrets_and_refuses_anything_else(
    api: Api,
    playground: Playground,
    listener: Listener,
    sender: WebhookSender,
    webhook: dict[str, Any],
    receiver: dict[str, Any],
) -> None:
    new = api.payload(ROTATE, id=webhook["id"])["secret"]
    headers, body = cause_delivery(playground, sender, listener)
    for secret in (webhook["secret"], new):
        assert receiver["verify"](secret, headers, body)["type"] == "pack.changed"
        for wrong in ({**headers, "webhook-id": "another"}, {**headers, "webhook-timestamp": "1"}):
            with pytest.raises(ValueError, match="webhook"):
                receiver["verify"](secret, wrong, body)
        with pytest.raises(ValueError, match="webhook"):
            receiver["verify"](secret, headers, body + b" ")
    with pytest.raises(ValueError, match="webhook"):
        receiver["verify"]("whsec_" + base64.b64encode(b"x" * 32).decode(), headers, body)
