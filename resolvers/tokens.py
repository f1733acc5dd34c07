"""API tokens: create, list and revoke them, and find the token of a secret."""

import logging
from collections.abc import Sequence
from datetime import datetime

from packshot import faults
from packshot.catalog.clients import tokens
from packshot.catalog.clients.tokens import USE_NOTED, Token
from packshot.catalog.database.transaction import DatabaseFault
from packshot.errors import Invalid
from packshot.site import Site
from resolvers.caller import Caller, Scope

log = logging.getLogger(__name__)


def create_token(
    caller: Caller, name: str, scopes: Sequence[str], *, expires_at: datetime | None = None
) -> tuple[Token, str]:
    """Create a token of the caller's tenant. Return it and its secret, which cannot be read again.

    Raises:
        Invalid: no scope or an unknown one, a bad name, or an expiry in the past.
        Taken: a token that is not revoked has the name.
        NotFound: there is no such tenant.
    """
    known = {scope.value for scope in Scope}
    if not scopes or not set(scopes) <= known:
        raise Invalid(
            "A token needs at least one scope.",
            field=("scopes",),
            expected=", ".join(sorted(known)),
            got=", ".join(scopes) or "none",
        )
    with caller.site.catalog.write(caller.tenant) as tx:
        return tokens.create_token(tx, name, sorted(set(scopes)), expires_at=expires_at, by=caller.subject)


def list_tokens(caller: Caller) -> list[Token]:
    """Return the tenant's tokens, newest first."""
    with caller.site.catalog.read(caller.tenant) as tx:
        return tokens.list_tokens(tx)


def revoke_token(caller: Caller, token_id: str) -> Token:
    """Revoke a token.

    Raises:
        NotFound: there is no such token in this tenant.
    """
    with caller.site.catalog.write(caller.tenant) as tx:
        return tokens.revoke_token(tx, token_id)


def find_token(site: Site, secret: str) -> Token | None:
    """Return the valid token with this secret, of any tenant. Once a day, record that it is used."""
    with site.catalog.read_system() as tx:
        token, now = tokens.find_token(tx, tokens.digest_of(secret)), tx.now
    if token is None or not token.is_good(now):
        return None
    if token.last_used_at is None or now - token.last_used_at > USE_NOTED:
        try:
            with site.catalog.write(token.tenant) as tx:
                tokens.note_use(tx, token.id)
        except DatabaseFault as error:
            # If the database cannot be written, reading requests still work.
            faults.count(log, error, "the use of token %s of %s could not be recorded", token.name, token.tenant)
    return token
