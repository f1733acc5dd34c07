"""Webhook deliveries: they are written, claimed, sent and completed.

A delivery is written in the transaction of the change that it reports, so neither exists without the other.
"""

import json
import secrets
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

import sqlalchemy as sa

from packshot.catalog.clients.webhooks import Event, Webhook, get_webhooks, list_old_secrets
from packshot.catalog.database import backoff
from packshot.catalog.database.backoff import MAX_FAULTS
from packshot.catalog.database.leased_queue import LeasedQueue
from packshot.catalog.database.pages import Order, Page, fetch_page
from packshot.catalog.database.transaction import Tx
from packshot.catalog.tables.work import webhook_deliveries, webhooks
from packshot.errors import NotFound

LEASE_TIME = timedelta(seconds=60)
# The pauses after failed attempts; together a day and a half.
PAUSES = tuple(
    timedelta(seconds=seconds) for seconds in (5, 30, 120, 600, 1800, 3600, 2 * 3600, 5 * 3600, 10 * 3600, 14 * 3600)
)
MAX_ATTEMPTS = len(PAUSES) + 1
KEEP_DELIVERIES = timedelta(days=30)

# Deliveries have no lease tokens. Each claim counts an attempt, so the count tells claims apart.
QUEUE = LeasedQueue(webhook_deliveries, LEASE_TIME, PAUSES[-1], claim_column="attempts")


class DeliveryState(StrEnum):
    """The state of a delivery."""

    QUEUED = "queued"
    SUCCEEDED = "succeeded"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Delivery:
    """A webhook message.

    Attributes:
        attempts: the number of attempts.
        response_status: the last HTTP status; None: no attempt, or no response.
        error: why the last attempt failed; None: no attempt failed.
        next_attempt_at: None: the delivery has ended.
    """

    id: str
    webhook_id: str
    event: Event
    state: DeliveryState
    attempts: int
    response_status: int | None
    error: str | None
    created_at: datetime
    next_attempt_at: datetime | None


@dataclass(frozen=True, slots=True)
class WebhookClaim:
    """The right to attempt a delivery once, with everything that it needs.

    Attributes:
        secret: in plain text, of a webhook that an earlier release created; else empty.
        sealed: the secret, encrypted; see `packshot.security.sealing`.
        old_sealed: replaced secrets that still sign, encrypted.
    """

    id: str
    webhook_id: str
    url: str
    secret: str
    sealed: bytes | None
    old_sealed: tuple[bytes, ...]
    body: str
    attempt: int
    faults: int

    @property
    def key(self) -> tuple[str]:
        return (self.id,)

    @property
    def token(self) -> int:
        return self.attempt


def add_delivery(tx: Tx, event: Event, data: Mapping[str, Any]) -> None:
    """Add a delivery for every webhook with this event. It is sent after the transaction commits."""
    add_deliveries(tx, event, [data])


def add_deliveries(tx: Tx, event: Event, happened: Sequence[Mapping[str, Any]]) -> None:
    """Add deliveries for several events; see `add_delivery`."""
    if not happened:
        return
    listening = tx.connection.execute(
        sa.select(webhooks.c.id, webhooks.c.events).where(webhooks.c.tenant_id == tx.tenant, webhooks.c.active)
    ).all()
    rows = [
        {
            "tenant_id": tx.tenant,
            "id": secrets.token_hex(12),
            "webhook_id": row.id,
            "event": event.value,
            "body": json.dumps(
                {"type": event.value, "timestamp": tx.now.isoformat(), "data": dict(data)}, separators=(",", ":")
            ),
            "state": DeliveryState.QUEUED.value,
            "attempts": 0,
            "due_at": tx.now,
            "created_at": tx.now,
        }
        for data in happened
        for row in listening
        if event.value in row.events
    ]
    if rows:
        tx.connection.execute(sa.insert(webhook_deliveries), rows)


def list_deliveries(tx: Tx, webhook_id: str, *, first: int, after: str | None, total: bool = True) -> Page[Delivery]:
    """Return a page of a webhook's deliveries, newest first."""
    statement = sa.select(webhook_deliveries).where(
        webhook_deliveries.c.tenant_id == tx.tenant, webhook_deliveries.c.webhook_id == webhook_id
    )
    order = Order((webhook_deliveries.c.created_at, webhook_deliveries.c.id), descending=True)
    return fetch_page(tx, statement, order, _to_delivery, first=first, after=after, total=total)


def get_deliveries(tx: Tx, ids: Sequence[str]) -> dict[str, Delivery]:
    """Return the tenant's deliveries with these ids, by id."""
    found = tx.connection.execute(
        sa.select(webhook_deliveries).where(
            webhook_deliveries.c.tenant_id == tx.tenant, webhook_deliveries.c.id.in_(ids)
        )
    )
    return {row.id: _to_delivery(row) for row in found}


def replay(tx: Tx, delivery_id: str) -> Webhook:
    """Send a delivery again, with the same id and body; return its webhook.

    Raises:
        NotFound: the tenant has no such delivery.
    """
    conditions = (webhook_deliveries.c.tenant_id == tx.tenant, webhook_deliveries.c.id == delivery_id)
    webhook_id = tx.connection.scalar(
        sa.update(webhook_deliveries)
        .where(*conditions)
        .values(state=DeliveryState.QUEUED.value, attempts=0, faults=0, error=None, due_at=tx.now, lease_until=None)
        .returning(webhook_deliveries.c.webhook_id)
    )
    if webhook_id is None:
        raise NotFound(
            "There is no such delivery.", field=("id",), expected="a delivery of this tenant", got=delivery_id
        )
    return get_webhooks(tx, [webhook_id])[webhook_id]


def is_due(tx: Tx) -> bool:
    """Return whether any delivery of any tenant is due."""
    return QUEUE.has(tx, *_due(tx))


def claim_due(
    tx: Tx,
    *,
    limit: int,
    each: int,
    each_tenant: int | None = None,
    busy: Collection[tuple[str, str]] = (),
    busy_tenants: Collection[str] = (),
) -> list[tuple[str, WebhookClaim]]:
    """Claim up to `limit` due deliveries of all tenants; return (tenant, claim) each.

    Args:
        each: the limit per webhook, so that a slow one does not delay others.
        each_tenant: the limit per tenant; None: no limit.
        busy: (tenant, webhook id) of webhooks to skip.
        busy_tenants: tenants to skip.
    """
    place = sa.tuple_(webhook_deliveries.c.tenant_id, webhook_deliveries.c.webhook_id)
    number = sa.func.row_number().over(
        partition_by=(webhook_deliveries.c.tenant_id, webhook_deliveries.c.webhook_id),
        order_by=webhook_deliveries.c.due_at,
    )
    due = (
        sa.select(
            webhook_deliveries.c.tenant_id, webhook_deliveries.c.id, webhook_deliveries.c.due_at, number.label("number")
        )
    ).where(*_due(tx))
    if busy:
        due = due.where(place.not_in(list(busy)))
    if busy_tenants:
        due = due.where(webhook_deliveries.c.tenant_id.not_in(list(busy_tenants)))
    ranked = due.subquery()
    of_tenant = sa.func.row_number().over(
        partition_by=ranked.c.tenant_id, order_by=(ranked.c.number, ranked.c.due_at, ranked.c.id)
    )
    fair = sa.select(ranked, of_tenant.label("of_tenant")).where(ranked.c.number <= each).subquery()
    chosen = sa.select(fair.c.tenant_id, fair.c.id).order_by(fair.c.of_tenant, fair.c.due_at).limit(limit)
    if each_tenant is not None:
        chosen = chosen.where(fair.c.of_tenant <= each_tenant)
    places = [tuple(row) for row in tx.connection.execute(chosen)]
    locked = (
        sa.select(webhook_deliveries, webhooks.c.url, webhooks.c.secret, webhooks.c.sealed)
        .join(
            webhooks,
            sa.and_(
                webhooks.c.tenant_id == webhook_deliveries.c.tenant_id, webhooks.c.id == webhook_deliveries.c.webhook_id
            ),
        )
        .where(sa.tuple_(webhook_deliveries.c.tenant_id, webhook_deliveries.c.id).in_(places))
        # Checked again, because another process may have claimed the row.
        .where(*_due(tx), webhooks.c.active)
        .with_for_update(skip_locked=True, of=webhook_deliveries)
    )
    rows = tx.connection.execute(locked).all() if places else []
    old_secrets = list_old_secrets(tx, {(row.tenant_id, row.webhook_id) for row in rows})
    claims = []
    for row in rows:
        attempt = row.attempts + 1
        QUEUE.lease(tx, row, attempt)
        old_sealed = tuple(old_secrets.get((row.tenant_id, row.webhook_id), ()))
        claim = WebhookClaim(
            row.id, row.webhook_id, row.url, row.secret, row.sealed, old_sealed, row.body, attempt, row.faults
        )
        claims.append((row.tenant_id, claim))
    return claims


def _due(tx: Tx) -> tuple[sa.ColumnElement[bool], ...]:
    return (
        webhook_deliveries.c.state == DeliveryState.QUEUED.value,
        # The pause of each attempt limits how far ahead the next one can be.
        sa.or_(webhook_deliveries.c.due_at <= tx.now, webhook_deliveries.c.due_at > _latest(tx)),
        QUEUE.is_free(tx),
    )


def _latest(tx: Tx) -> sa.ColumnElement[datetime]:
    """Return the latest time for which the next attempt of a delivery can be planned."""
    kind = webhook_deliveries.c.due_at.type
    after = {number: sa.literal(tx.now + pause, kind) for number, pause in enumerate(PAUSES, 1)}
    first = {0: sa.literal(tx.now, kind)}
    return sa.case(first | after, value=webhook_deliveries.c.attempts, else_=sa.literal(tx.now + PAUSES[-1], kind))


def end_attempt(tx: Tx, claim: WebhookClaim, status: int | None, error: str | None = None) -> None:
    """Record the result of an attempt. Unless it succeeded, the next one follows after a pause, up to the last.

    Args:
        status: HTTP status of the response; None: no response.
        error: why the attempt failed; None: there was a response.
    """
    values: dict[str, Any] = {"response_status": status, "faults": 0}
    if status is not None and 200 <= status < 300:
        values |= {"state": DeliveryState.SUCCEEDED.value, "error": None}
    else:
        answered = "The address did not respond." if status is None else f"The address responded with {status}."
        values["error"] = backoff.shorten(error or answered)
        if claim.attempt >= MAX_ATTEMPTS:
            values["state"] = DeliveryState.FAILED.value
        else:
            values["due_at"] = tx.now + PAUSES[claim.attempt - 1]
    _end(tx, claim, values)


def end_after_fault(tx: Tx, claim: WebhookClaim, error: str) -> None:
    """Record that an unforeseen exception ended an attempt. After too many in a row, the delivery fails."""
    values: dict[str, Any] = {"faults": claim.faults + 1, "error": backoff.shorten(error)}
    if claim.faults + 1 >= MAX_FAULTS or claim.attempt >= MAX_ATTEMPTS:
        values["state"] = DeliveryState.FAILED.value
    else:
        values["due_at"] = tx.now + PAUSES[claim.attempt - 1]
    _end(tx, claim, values)


def _end(tx: Tx, claim: WebhookClaim, values: dict[str, Any]) -> None:
    # A replay counts attempts from 0 again, so deliveries that have ended must stay unchanged.
    QUEUE.release(tx, [claim], webhook_deliveries.c.state == DeliveryState.QUEUED.value, **values)


def delete_old_deliveries(tx: Tx) -> None:
    """Delete old deliveries of all tenants."""
    tx.connection.execute(
        sa.delete(webhook_deliveries).where(
            webhook_deliveries.c.state != DeliveryState.QUEUED.value,
            webhook_deliveries.c.created_at < tx.now - KEEP_DELIVERIES,
        )
    )


def _to_delivery(row: Any) -> Delivery:
    return Delivery(
        row.id,
        row.webhook_id,
        Event(row.event),
        DeliveryState(row.state),
        row.attempts,
        row.response_status,
        row.error,
        row.created_at,
        row.due_at if row.state == DeliveryState.QUEUED.value else None,
    )
