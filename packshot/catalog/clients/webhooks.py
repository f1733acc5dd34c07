"""Webhooks: addresses, their events, and the secrets that sign deliveries.

A webhook has one current secret. Replaced secrets sign beside the current one until they expire, so that receivers
can change over without losing deliveries.
"""

import secrets
from base64 import b64encode
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

import sqlalchemy as sa

from packshot.catalog.database.transaction import Tx
from packshot.catalog.tables.work import webhook_secrets, webhooks
from packshot.errors import Invalid, Limit, NotFound

MAX_WEBHOOKS = 20
MAX_KEEP = timedelta(days=7)  # of a replaced secret
MAX_OLD_SECRETS = 4  # that sign at the same time, beside the current one

# Encrypts the secret of the webhook at a place; see `packshot.security.sealing`.
Seal = Callable[[str, str], bytes]


class Event(StrEnum):
    """The kind of an event."""

    PACK_CHANGED = "pack.changed"
    VARIANTS_READY = "variants.ready"
    JOB_FINISHED = "job.finished"


@dataclass(frozen=True, slots=True)
class Webhook:
    """An address and its events.

    Attributes:
        old_secrets_until: when the last replaced secret expires; None: only the current one signs.
    """

    id: str
    url: str
    events: tuple[Event, ...]
    active: bool
    old_secrets_until: datetime | None = None


def create_webhook(tx: Tx, url: str, events: Sequence[Event], seal: Seal) -> tuple[Webhook, str]:
    """Create a webhook; return it and the secret that signs its deliveries.

    Raises:
        Limit: the tenant has the most webhooks that it may have.
    """
    is_of_tenant = webhooks.c.tenant_id == tx.tenant
    known = tx.connection.scalar(sa.select(sa.func.count()).select_from(webhooks).where(is_of_tenant)) or 0
    if known >= MAX_WEBHOOKS:
        raise Limit("A tenant cannot have more webhooks.", expected=f"at most {MAX_WEBHOOKS}", got=known + 1)
    webhook_id, secret = secrets.token_hex(12), _new_secret()
    tx.connection.execute(
        sa.insert(webhooks).values(
            tenant_id=tx.tenant,
            id=webhook_id,
            url=url,
            events=[event.value for event in events],
            secret="",
            sealed=seal(f"{tx.tenant}/{webhook_id}", secret),
            active=True,
            created_at=tx.now,
        )
    )
    return Webhook(webhook_id, url, tuple(events), active=True), secret


def rotate_secret(
    tx: Tx, webhook_id: str, keep: timedelta, seal: Seal, can_sign: Callable[[str, bytes], bool]
) -> tuple[Webhook, str]:
    """Give a webhook a new secret; return both. Unsent deliveries are signed with the new secret and the old one.

    Args:
        keep: how long the replaced secret still signs. Secrets that were replaced earlier expire no later. After a
        leak,
            `timedelta(0)` ends all of them at once.
        can_sign: returns whether a sealed secret can be decrypted; others are not kept.

    Raises:
        NotFound: the tenant has no such webhook.
        Invalid: `keep` is negative, or longer than a week.
        Limit: too many replaced secrets still sign.
    """
    if not timedelta(0) <= keep <= MAX_KEEP:
        raise Invalid(
            "A replaced secret is kept for a limited time.",
            field=("keep_old_for_seconds",),
            expected=f"0 to {MAX_KEEP.total_seconds():.0f} seconds",
            got=f"{keep.total_seconds():.0f}",
        )
    conditions = (webhooks.c.tenant_id == tx.tenant, webhooks.c.id == webhook_id)
    # Concurrent rotations of a webhook wait for each other.
    row = tx.connection.execute(sa.select(webhooks).where(*conditions).with_for_update()).one_or_none()
    if row is None:
        raise _not_found(webhook_id)
    place, until = f"{tx.tenant}/{webhook_id}", tx.now + keep
    of_webhook = (webhook_secrets.c.tenant_id == tx.tenant, webhook_secrets.c.webhook_id == webhook_id)
    _overwrite_for_good(tx)
    tx.connection.execute(
        sa.update(webhook_secrets).where(*of_webhook, webhook_secrets.c.expires_at > until).values(expires_at=until)
    )
    tx.connection.execute(sa.delete(webhook_secrets).where(*of_webhook, webhook_secrets.c.expires_at <= tx.now))
    replaced = seal(place, row.secret) if row.sealed is None else row.sealed
    if keep and can_sign(place, replaced):
        count = tx.connection.scalar(sa.select(sa.func.count()).select_from(webhook_secrets).where(*of_webhook)) or 0
        if count >= MAX_OLD_SECRETS:
            raise Limit(
                "Too many replaced secrets of this webhook still sign. Wait until they expire, or keep none.",
                field=("keep_old_for_seconds",),
                expected=f"at most {MAX_OLD_SECRETS} replaced secrets, or 0 seconds",
                got=count + 1,
            )
        tx.connection.execute(
            sa.insert(webhook_secrets).values(
                tenant_id=tx.tenant,
                id=secrets.token_hex(12),
                webhook_id=webhook_id,
                sealed=replaced,
                replaced_at=tx.now,
                expires_at=until,
            )
        )
    secret = _new_secret()
    tx.connection.execute(sa.update(webhooks).where(*conditions).values(secret="", sealed=seal(place, secret)))
    return get_webhooks(tx, [webhook_id])[webhook_id], secret


def list_old_secrets(tx: Tx, webhook_ids: Collection[tuple[str, str]]) -> dict[tuple[str, str], list[bytes]]:
    """Return the encrypted replaced secrets that still sign, newest first.

    Args:
        webhook_ids: (tenant, webhook id) each.
    """
    place = sa.tuple_(webhook_secrets.c.tenant_id, webhook_secrets.c.webhook_id)
    statement = sa.select(webhook_secrets).where(place.in_(list(webhook_ids)), *_valid(tx))
    found: dict[tuple[str, str], list[bytes]] = {}
    newest_first = (webhook_secrets.c.replaced_at.desc(), webhook_secrets.c.id)
    for row in tx.connection.execute(statement.order_by(*newest_first)) if webhook_ids else ():
        found.setdefault((row.tenant_id, row.webhook_id), []).append(row.sealed)
    return found


def delete_expired_secrets(tx: Tx) -> None:
    """Delete the expired replaced secrets of all tenants."""
    tx.connection.execute(sa.delete(webhook_secrets).where(sa.not_(sa.and_(*_valid(tx)))))


def _valid(tx: Tx) -> tuple[sa.ColumnElement[bool], ...]:
    # No secret is kept longer than the limit. A later expiry was written before the clock moved back.
    return webhook_secrets.c.expires_at > tx.now, webhook_secrets.c.expires_at <= tx.now + MAX_KEEP


def is_any_plain(tx: Tx) -> bool:
    """Return whether any tenant's webhook has its secret in plain text."""
    return tx.connection.execute(sa.select(webhooks.c.id).where(webhooks.c.secret != "").limit(1)).first() is not None


def seal_plain(tx: Tx, seal: Seal) -> int:
    """Encrypt all secrets that are stored in plain text; return their number."""
    _overwrite_for_good(tx)
    statement = sa.select(webhooks.c.tenant_id, webhooks.c.id, webhooks.c.secret).where(webhooks.c.secret != "")
    plain = tx.connection.execute(statement.with_for_update()).all()
    for row in plain:
        tx.connection.execute(
            sa.update(webhooks)
            .where(webhooks.c.tenant_id == row.tenant_id, webhooks.c.id == row.id)
            .values(secret="", sealed=seal(f"{row.tenant_id}/{row.id}", row.secret))
        )
    return len(plain)


def list_sealed(tx: Tx) -> list[tuple[str, bytes]]:
    """Return the place and the encrypted secret of every tenant's webhooks."""
    found = tx.connection.execute(
        sa.select(webhooks.c.tenant_id, webhooks.c.id, webhooks.c.sealed).where(webhooks.c.sealed.is_not(None))
    )
    return [(f"{row.tenant_id}/{row.id}", row.sealed) for row in found]


def get_webhooks(tx: Tx, ids: Sequence[str]) -> dict[str, Webhook]:
    """Return the tenant's webhooks with these ids, by id."""
    found = tx.connection.execute(_select(tx).where(webhooks.c.id.in_(ids)))
    return {row.id: _to_webhook(row) for row in found}


def list_webhooks(tx: Tx) -> list[Webhook]:
    """Return the tenant's webhooks, oldest first."""
    found = tx.connection.execute(_select(tx).order_by(webhooks.c.created_at, webhooks.c.id))
    return [_to_webhook(row) for row in found]


def delete_webhook(tx: Tx, webhook_id: str) -> Webhook:
    """Delete a webhook and its deliveries.

    Raises:
        NotFound: the tenant has no such webhook.
    """
    webhook = get_webhooks(tx, [webhook_id]).get(webhook_id)
    if webhook is None:
        raise _not_found(webhook_id)
    tx.connection.execute(sa.delete(webhooks).where(webhooks.c.tenant_id == tx.tenant, webhooks.c.id == webhook_id))
    return webhook


def _select(tx: Tx) -> sa.Select[Any]:
    until = sa.select(sa.func.max(webhook_secrets.c.expires_at)).where(
        webhook_secrets.c.tenant_id == webhooks.c.tenant_id,
        webhook_secrets.c.webhook_id == webhooks.c.id,
        *_valid(tx),
    )
    shown = webhooks.c.id, webhooks.c.url, webhooks.c.events, webhooks.c.active
    return sa.select(*shown, until.scalar_subquery().label("old_secrets_until")).where(
        webhooks.c.tenant_id == tx.tenant
    )


def _to_webhook(row: Any) -> Webhook:
    events = tuple(Event(event) for event in row.events)
    return Webhook(row.id, row.url, events, row.active, row.old_secrets_until)


def _not_found(webhook_id: str) -> NotFound:
    return NotFound("There is no such webhook.", field=("id",), expected="a webhook of this tenant", got=webhook_id)


def _new_secret() -> str:
    return f"whsec_{b64encode(secrets.token_bytes(32)).decode()}"


def _overwrite_for_good(tx: Tx) -> None:
    """Make SQLite overwrite what this transaction replaces or deletes in its file."""
    if tx.connection.dialect.name == "sqlite":
        tx.connection.exec_driver_sql("PRAGMA secure_delete = ON")
