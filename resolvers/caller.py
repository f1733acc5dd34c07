"""The caller of a use case: tenant, rights, and the means to act."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from packshot.catalog.clients.idempotency import IdempotentCall, begin_call, end_call
from packshot.catalog.database.transaction import Tx
from packshot.errors import Forbidden
from packshot.site import Site
from pregen.queue.doorbell import Doorbell
from resolvers.urls.build import Urls, tenant_urls


class Scope(StrEnum):
    """One right of a token. The value is its spelling in the token."""

    READ = "read"
    LOCATIONS_WRITE = "locations:write"
    PACKS_WRITE = "packs:write"
    UPLOADS_WRITE = "uploads:write"
    JOBS_WRITE = "jobs:write"
    CDN_WRITE = "cdn:write"


EVERYTHING = frozenset(Scope)


@dataclass(frozen=True, slots=True)
class Caller:
    """An authenticated caller.

    Attributes:
        subject: name for `createdBy` and `changedBy`.
        origin: scheme and host of every returned URL, without a slash at the end.
        expires_at: expiry of the token; None: it does not expire.
        token_id: the API token of the call, which can be revoked; None: another kind of authentication.
        once: the call, if it has an idempotency key.
    """

    site: Site
    doorbell: Doorbell
    tenant: str
    subject: str
    origin: str
    scopes: frozenset[Scope] = EVERYTHING
    expires_at: datetime | None = None
    token_id: str | None = None
    once: IdempotentCall | None = None

    @contextmanager
    def write(self) -> Iterator[Tx]:
        """Open the transaction of an edit. It commits at the end, and rolls back after an exception.

        Raises:
            AnsweredBefore: a call with this idempotency key has been carried out.
            IdempotencyMismatch: the key belongs to another call.
        """
        with self.site.catalog.edit(self.tenant) as tx:
            if self.once is not None:
                begin_call(tx, self.once)
            yield tx
            if self.once is not None:
                end_call(tx, self.once)

    def answer(self, **ids: str) -> None:
        """Record, within `write`, the ids from which a repeated call gets the same response."""
        if self.once is not None:
            self.once.answer.update(ids)

    @property
    def urls(self) -> Urls:
        """Build the tenant's URLs."""
        return tenant_urls(self.site, self.origin, self.tenant)

    @property
    def can_sign(self) -> bool:
        """Whether URLs for this caller can be signed. Then they also yield variants that need a signature."""
        door = self.site.access_policy.find_signing(self.tenant)
        return door is not None and bool(door.signing)

    def check(self, scope: Scope) -> None:
        """Raise `Forbidden` unless the caller's token has the scope."""
        if scope not in self.scopes:
            raise Forbidden(
                "This token may not do that.", expected=scope.value, got=" ".join(sorted(self.scopes)) or "no scope"
            )
