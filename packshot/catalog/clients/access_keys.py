"""Access keys, with which clients open the images of a tenant that requires keys."""

import secrets
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from packshot.catalog.database.transaction import Tx, hold_configuration
from packshot.catalog.tables.artwork import tenants
from packshot.catalog.tables.clients import access_keys
from packshot.errors import BadState, Limit, NotFound
from packshot.model import OnDemand, check_name

# A few users, each with an old and a new key. Every signed URL is checked with each key.
MAX_KEYS = 8


@dataclass(frozen=True, slots=True)
class AccessKey:
    """An access key without its secret. `name` is for display and need not be unique."""

    id: str
    tenant: str
    name: str
    created_at: datetime
    created_by: str | None
    revoked_at: datetime | None


@dataclass(frozen=True, slots=True)
class LiveKey:
    """The parts of a key that check requests: the digest of its secret, and the secret, encrypted."""

    id: str
    sha256: str
    sealed: bytes


@dataclass(frozen=True, slots=True)
class AccessRules:
    """A tenant whose objects are private or whose unplanned variants need a signature.

    Attributes:
        required: images need a key. If False, keys were required earlier, or they only sign URLs.
        private: objects are stored under the private prefix, which no CDN reads.
        signs: unplanned variants need a signature.
        keys: the keys that are not revoked, newest first.
    """

    required: bool
    private: bool
    signs: bool
    keys: tuple[LiveKey, ...]


def add_key(tx: Tx, name: str, sha256: str, seal: Callable[[str], bytes], *, by: str | None = None) -> AccessKey:
    """Create a key.

    Args:
        sha256: digest of its secret.
        seal: encrypts the secret for the new key's id.

    Raises:
        Invalid: the name is not valid.
        Limit: the tenant has the most keys that it may have.
        NotFound: no such tenant.
    """
    check_name(name, "name")
    hold_configuration(tx)
    if len(live_keys(tx)) >= MAX_KEYS:
        raise Limit("The tenant has too many access keys.", expected=f"at most {MAX_KEYS}; revoke one first")
    id = secrets.token_hex(12)
    made = tx.connection.execute(
        sa.insert(access_keys)
        .values(
            tenant_id=tx.tenant,
            id=id,
            name=name,
            sha256=sha256,
            sealed=seal(id),
            created_at=tx.now,
            created_by=by,
        )
        .returning(*access_keys.c)
    ).one()
    return _to_key(made)


def list_keys(tx: Tx) -> list[AccessKey]:
    """Return the tenant's keys, newest first, with revoked ones."""
    statement = sa.select(access_keys).where(access_keys.c.tenant_id == tx.tenant)
    found = tx.connection.execute(statement.order_by(access_keys.c.created_at.desc(), access_keys.c.id))
    return [_to_key(row) for row in found]


def list_sealed(tx: Tx) -> list[tuple[str, bytes]]:
    """Return the place and the encrypted secret of every key of every tenant that is not revoked."""
    found = tx.connection.execute(
        sa.select(access_keys.c.tenant_id, access_keys.c.id, access_keys.c.sealed).where(
            access_keys.c.revoked_at.is_(None)
        )
    )
    return [(f"{row.tenant_id}/{row.id}", row.sealed) for row in found]


def live_keys(tx: Tx) -> list[LiveKey]:
    """Return the tenant's keys as they check requests, newest first."""
    statement = (
        sa.select(access_keys)
        .where(access_keys.c.tenant_id == tx.tenant, access_keys.c.revoked_at.is_(None))
        .order_by(access_keys.c.created_at.desc(), access_keys.c.id)
    )
    return [LiveKey(row.id, row.sha256, row.sealed) for row in tx.connection.execute(statement)]


def revoke_key(tx: Tx, key_id: str) -> AccessKey:
    """Revoke a key. It and the URLs that it has signed stop working. A revoked key stays unchanged.

    Raises:
        NotFound: the tenant has no such key.
    """
    conditions = (access_keys.c.tenant_id == tx.tenant, access_keys.c.id == key_id)
    live = access_keys.c.revoked_at.is_(None)
    # A revoked key needs no secret.
    tx.connection.execute(sa.update(access_keys).where(*conditions, live).values(revoked_at=tx.now, sealed=b""))
    row = tx.connection.execute(sa.select(access_keys).where(*conditions)).first()
    if row is None:
        raise NotFound("There is no such access key.", field=("id",), expected="a key of this tenant", got=key_id)
    return _to_key(row)


def require_keys(tx: Tx, *, required: bool) -> bool:
    """Show the tenant's images to all clients, or only to those with a key. Returns the previous setting.

    Once keys were required, the tenant's objects stay private. A CDN that finds no object asks the application.

    Raises:
        NotFound: no such tenant.
        BadState: the tenant has no key.
    """
    hold_configuration(tx)
    if required and not live_keys(tx):
        raise BadState(
            "Without an access key, no client could open the tenant's images.",
            expected="an access key first, by `packshot access-key create`",
            got="none",
        )
    is_of_tenant = tenants.c.id == tx.tenant
    before = bool(tx.connection.scalar(sa.select(tenants.c.keys_required).where(is_of_tenant)))
    values = {"keys_required": required} | ({"private": True} if required else {})
    tx.connection.execute(sa.update(tenants).where(is_of_tenant).values(**values))
    return before


def read_access_rules(tx: Tx) -> dict[str, AccessRules]:
    """Return every tenant whose objects are private or whose variants are signed, by name. Uses one statement."""
    live = sa.and_(access_keys.c.tenant_id == tenants.c.id, access_keys.c.revoked_at.is_(None))
    rows = tx.connection.execute(
        sa.select(
            tenants.c.id.label("tenant"),
            tenants.c.keys_required,
            tenants.c.private,
            tenants.c.on_demand,
            *access_keys.c,
        )
        .select_from(tenants.outerjoin(access_keys, live))
        .where(sa.or_(tenants.c.private, tenants.c.on_demand == OnDemand.SIGNED.value))
        .order_by(tenants.c.id, access_keys.c.created_at.desc(), access_keys.c.id)
    )
    found: dict[str, AccessRules] = {}
    keys: dict[str, list[LiveKey]] = {}
    for row in rows:
        signs = row.on_demand == OnDemand.SIGNED.value
        found[row.tenant] = AccessRules(row.keys_required, row.private, signs, ())
        if row.sha256 is not None:
            keys.setdefault(row.tenant, []).append(LiveKey(row.id, row.sha256, row.sealed))
    return {tenant: replace(guarded, keys=tuple(keys.get(tenant, ()))) for tenant, guarded in found.items()}


def _to_key(row: Any) -> AccessKey:
    return AccessKey(row.id, row.tenant_id, row.name, row.created_at, row.created_by, row.revoked_at)
