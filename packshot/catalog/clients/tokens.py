"""API tokens: the clients of the admin API, their scopes and expiry. Only the digest of a secret is stored."""

import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from hashlib import sha256
from typing import Any

import sqlalchemy as sa

from packshot.catalog.database.transaction import Tx, share_configuration
from packshot.catalog.tables.clients import tokens
from packshot.errors import Invalid, NotFound, Taken
from packshot.model import check_name

# A prefix by which scanners recognize a leaked secret.
PREFIX = "pst_"
# The precision of the last use. A finer one would write a row at each use.
USE_NOTED = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Token:
    """An API token without its secret.

    Attributes:
        name: unique among the tenant's tokens that are not revoked.
        scopes: the rights of the token, as texts.
        expires_at: None: never.
        last_used_at: to the day; None: never used.
    """

    id: str
    tenant: str
    name: str
    scopes: tuple[str, ...]
    created_at: datetime
    created_by: str | None
    expires_at: datetime | None
    revoked_at: datetime | None
    last_used_at: datetime | None

    def is_good(self, now: datetime) -> bool:
        """Return whether the token authenticates a client at that time."""
        return self.revoked_at is None and (self.expires_at is None or now < self.expires_at)


def digest_of(secret: str) -> str:
    """Return the digest that identifies a secret. Secrets have 256 random bits, so a fast digest is safe."""
    return sha256(secret.encode()).hexdigest()


def create_token(
    tx: Tx, name: str, scopes: Sequence[str], *, expires_at: datetime | None = None, by: str | None = None
) -> tuple[Token, str]:
    """Create a token; return it and its secret, which cannot be read again.

    Raises:
        Invalid: the name is not valid, or the expiry is in the past.
        Taken: a token that is not revoked has the name.
        NotFound: no such tenant.
    """
    check_name(name, "name")
    share_configuration(tx)
    if expires_at is not None and expires_at <= tx.now:
        raise Invalid(
            "A token cannot expire in the past.",
            field=("expires_at",),
            expected="a time in the future",
            got=expires_at.isoformat(),
        )
    secret = PREFIX + secrets.token_urlsafe(32)
    made = tx.connection.execute(
        tx.insert(tokens)
        .values(
            tenant_id=tx.tenant,
            id=secrets.token_hex(12),
            name=name,
            sha256=digest_of(secret),
            scopes=list(scopes),
            created_at=tx.now,
            created_by=by,
            expires_at=expires_at,
        )
        .on_conflict_do_nothing()
        .returning(*tokens.c)
    ).first()
    if made is None:
        other = tx.connection.scalar(
            sa.select(tokens.c.id).where(
                tokens.c.tenant_id == tx.tenant, tokens.c.name == name, tokens.c.revoked_at.is_(None)
            )
        )
        raise Taken(
            f"There is a token {name!r} already.",
            field=("name",),
            expected=f"another name, or that {other} is revoked",
            got=name,
            existing_id=str(other),
        )
    return _to_token(made), secret


def list_tokens(tx: Tx) -> list[Token]:
    """Return the tenant's tokens, newest first, with revoked and expired ones."""
    statement = sa.select(tokens).where(tokens.c.tenant_id == tx.tenant)
    found = tx.connection.execute(statement.order_by(tokens.c.created_at.desc(), tokens.c.id))
    return [_to_token(row) for row in found]


def revoke_token(tx: Tx, token_id: str) -> Token:
    """Revoke a token. It no longer authenticates clients. A revoked token stays unchanged.

    Raises:
        NotFound: the tenant has no such token.
    """
    conditions = (tokens.c.tenant_id == tx.tenant, tokens.c.id == token_id)
    tx.connection.execute(sa.update(tokens).where(*conditions, tokens.c.revoked_at.is_(None)).values(revoked_at=tx.now))
    row = tx.connection.execute(sa.select(tokens).where(*conditions)).first()
    if row is None:
        raise NotFound("There is no such token.", field=("id",), expected="a token of this tenant", got=token_id)
    return _to_token(row)


def find_token(tx: Tx, digest: str) -> Token | None:
    """Return the token of any tenant whose secret has that digest."""
    row = tx.connection.execute(sa.select(tokens).where(tokens.c.sha256 == digest)).first()
    return None if row is None else _to_token(row)


def note_use(tx: Tx, token_id: str) -> None:
    """Record that a token of this tenant was used today."""
    conditions = (tokens.c.tenant_id == tx.tenant, tokens.c.id == token_id)
    tx.connection.execute(sa.update(tokens).where(*conditions).values(last_used_at=tx.now))


def get_unrevoked(tx: Tx, places: Sequence[tuple[str, str]]) -> set[tuple[str, str]]:
    """Return those of these places, each tenant and id, that have a token which is not revoked."""
    if not places:
        return set()
    named = sa.tuple_(tokens.c.tenant_id, tokens.c.id).in_(places)
    found = tx.connection.execute(
        sa.select(tokens.c.tenant_id, tokens.c.id).where(named, tokens.c.revoked_at.is_(None))
    )
    return {(row.tenant_id, row.id) for row in found}


def _to_token(row: Any) -> Token:
    return Token(
        id=row.id,
        tenant=row.tenant_id,
        name=row.name,
        scopes=tuple(row.scopes),
        created_at=row.created_at,
        created_by=row.created_by,
        expires_at=row.expires_at,
        revoked_at=row.revoked_at,
        last_used_at=row.last_used_at,
    )
