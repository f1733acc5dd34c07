"""Webhooks: create, list and delete them, replace secrets, and repeat deliveries."""

from collections.abc import Sequence
from datetime import timedelta
from functools import partial

from packshot.catalog.clients import webhook_deliveries, webhooks
from packshot.catalog.clients.webhook_deliveries import Delivery
from packshot.catalog.clients.webhooks import Event, Webhook
from packshot.catalog.database.pages import Page
from packshot.errors import Invalid, PackshotError
from packshot.network.fetch import check_address
from packshot.security.sealing import Purpose, seal, unseal
from resolvers.caller import Caller, Scope


def create_webhook(caller: Caller, url: str, events: Sequence[str]) -> tuple[Webhook, str]:
    """Create a webhook. Return it and the secret that verifies its deliveries.

    Raises:
        Forbidden: the token lacks `read`, which the events need.
        FetchBlocked: the address is not an http or https URL.
        Invalid: no event, or an unknown one.
        Limit: the tenant has too many webhooks.
    """
    caller.check(Scope.READ)
    try:
        check_address(url)
    except PackshotError as error:
        raise error.at("url") from None
    known = [event.value for event in Event]
    if not events or not set(events) <= set(known):
        raise Invalid(
            "A webhook needs at least one of these events.",
            field=("events",),
            expected=", ".join(known),
            got=", ".join(events),
        )

    with caller.site.catalog.write(caller.tenant) as tx:
        return webhooks.create_webhook(
            tx, url, [event for event in Event if event.value in events], partial(_seal, caller)
        )


def rotate_webhook_secret(caller: Caller, webhook_id: str, keep_seconds: int) -> tuple[Webhook, str]:
    """Give a webhook a new secret. Return both. The replaced secret signs as well for some seconds.

    Raises:
        Forbidden: the token lacks `read`, as for `create_webhook`.
        NotFound: no such webhook in this tenant.
        Invalid: the number of seconds is out of range.
        Limit: too many replaced secrets still sign.
    """
    caller.check(Scope.READ)

    def can_sign(place: str, sealed: bytes) -> bool:
        return unseal(caller.site.settings, Purpose.WEBHOOK, place, sealed) is not None

    with caller.site.catalog.write(caller.tenant) as tx:
        keep = timedelta(seconds=keep_seconds)
        rotated = webhooks.rotate_secret(tx, webhook_id, keep, partial(_seal, caller), can_sign)
    # A secret that is dropped at once has leaked, or an earlier release stored it unencrypted. So SQLite's log must not
    # keep it.
    caller.site.catalog.empty_log()
    return rotated


def _seal(caller: Caller, place: str, secret: str) -> bytes:
    return seal(caller.site.settings, Purpose.WEBHOOK, place, secret)


def list_webhooks(caller: Caller) -> list[Webhook]:
    """Return the tenant's webhooks, oldest first."""
    with caller.site.catalog.read(caller.tenant) as tx:
        return webhooks.list_webhooks(tx)


def get_webhook(caller: Caller, webhook_id: str) -> Webhook | None:
    """Return one webhook of the tenant."""
    with caller.site.catalog.read(caller.tenant) as tx:
        return webhooks.get_webhooks(tx, [webhook_id]).get(webhook_id)


def get_delivery(caller: Caller, delivery_id: str) -> Delivery | None:
    """Return one delivery of the tenant."""
    with caller.site.catalog.read(caller.tenant) as tx:
        return webhook_deliveries.get_deliveries(tx, [delivery_id]).get(delivery_id)


def list_deliveries(
    caller: Caller, webhook_id: str, *, first: int, after: str | None, total: bool = True
) -> Page[Delivery]:
    """Return a page of a webhook's deliveries, newest first."""
    with caller.site.catalog.read(caller.tenant) as tx:
        return webhook_deliveries.list_deliveries(tx, webhook_id, first=first, after=after, total=total)


def delete_webhook(caller: Caller, webhook_id: str) -> Webhook:
    """Delete a webhook and its deliveries. Return the webhook.

    Raises:
        NotFound: no such webhook in this tenant.
    """
    with caller.site.catalog.write(caller.tenant) as tx:
        return webhooks.delete_webhook(tx, webhook_id)


def replay_delivery(caller: Caller, delivery_id: str) -> Webhook:
    """Repeat a delivery with the same id and body. Return its webhook.

    Raises:
        NotFound: no such delivery in this tenant.
    """
    with caller.site.catalog.write(caller.tenant) as tx:
        return webhook_deliveries.replay(tx, delivery_id)
