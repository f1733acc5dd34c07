"""API tokens: who may speak to the admin API, as what, how long. Of a secret its digest alone is kept."""

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

# So that a secret that leaked into a text is found there, and known for what it is.
PREFIX = "pst_"
# So exactly is it known when a token was used: each use would be a write else.
USE_NOTED = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Token:
    """One API token, without its secret.

    Attributes:
        name: unique among the tenant's tokens that are not revoked.
        scopes: what it may be used for, by their spellings.
        expires_at: when it ends by itself; None: never.
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
        """Whether it lets anybody in at that moment."""
        return self.revoked_at is None and (self.expires_at is None or now < self.expires_at)


def digest_of(secret: str) -> str:
    """Return by what a secret is found. It has 256 random bits, so nothing slow is needed."""
    return sha256(secret.encode()).hexdigest()


def create_token(
    tx: Tx, name: str, scopes: Sequence[str], *, expires_at: datetime | None = None, by: str | None = None
) -> tuple[Token, str]:
    """Make a token; return it and its secret, which cannot be read again.

    Raises:
        Invalid: the name is none, or the token would have ended already.
        Taken: a token that is not revoked has the name.
        NotFound: there is no such tenant.
    """
    check_name(name, "name")
    share_configuration(tx)
    if expires_at is not None and expires_at <= tx.now:
        raise Invalid(
            "A token cannot end before it begins.",
            field=("expires_at",),
            expected="a moment to come",
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
    """Return the tenant's tokens, newest first; revoked ones and ended ones too."""
    statement = sa.select(tokens).where(tokens.c.tenant_id == tx.tenant)
    found = tx.connection.execute(statement.order_by(tokens.c.created_at.desc(), tokens.c.id))
    return [_to_token(row) for row in found]


def revoke_token(tx: Tx, token_id: str) -> Token:
    """Let a token let nobody in any more; one that is revoked already stays as it is.

    Raises:
        NotFound: there is no such token in this tenant.
    """
    conditions = (tokens.c.tenant_id == tx.tenant, tokens.c.id == token_id)
    tx.connection.execute(sa.update(tokens).where(*conditions, tokens.c.revoked_at.is_(None)).values(revoked_at=tx.now))
    row = tx.connection.execute(sa.select(tokens).where(*conditions)).first()
    if row is None:
        raise NotFound("There is no such token.", field=("id",), expected="a token of this tenant", got=token_id)
    return _to_token(row)


def find_token(tx: Tx, digest: str) -> Token | None:
    """Return the token, of any tenant, whose secret has that digest."""
    row = tx.connection.execute(sa.select(tokens).where(tokens.c.sha256 == digest)).first()
    return None if row is None else _to_token(row)


def note_use(tx: Tx, token_id: str) -> None:
    """Note that a token of this tenant was used today."""
    conditions = (tokens.c.tenant_id == tx.tenant, tokens.c.id == token_id)
    tx.connection.execute(sa.update(tokens).where(*conditions).values(last_used_at=tx.now))


def get_unrevoked(tx: Tx, places: Sequence[tuple[str, str]]) -> set[tuple[str, str]]:
    """Return those of the places, tenant and id, at which there is a token that is not revoked."""
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
