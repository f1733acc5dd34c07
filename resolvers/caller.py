"""On whose behalf a resolver works, with what, and what it may do."""

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
    """What a token may be used for; the value is its spelling in a token."""

    READ = "read"
    LOCATIONS_WRITE = "locations:write"
    PACKS_WRITE = "packs:write"
    UPLOADS_WRITE = "uploads:write"
    JOBS_WRITE = "jobs:write"
    CDN_WRITE = "cdn:write"


EVERYTHING = frozenset(Scope)


@dataclass(frozen=True, slots=True)
class Caller:
    """One authenticated caller.

    Attributes:
        subject: who it is, for `createdBy` and `changedBy`.
        origin: scheme and host before every URL returned, without a slash at the end.
        expires_at: when its token ends; None: never.
        token_id: the API token that it came with, which may be revoked; None: it came otherwise.
        once: the call at hand, where it is to be made once.
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
        """Open the transaction of a change; it commits at the end, or changes nothing on an error.

        Raises:
            AnsweredBefore: this call was made before, and its change with it.
            IdempotencyMismatch: its key belongs to another call.
        """
        with self.site.catalog.edit(self.tenant) as tx:
            if self.once is not None:
                begin_call(tx, self.once)
            yield tx
            if self.once is not None:
                end_call(tx, self.once)

    def answer(self, **ids: str) -> None:
        """Note, within `write`, by which ids this call's answer can be given again."""
        if self.once is not None:
            self.once.answer.update(ids)

    @property
    def urls(self) -> Urls:
        """Where the tenant's pictures are found."""
        return tenant_urls(self.site, self.origin, self.tenant)

    @property
    def can_sign(self) -> bool:
        """Whether the caller's URLs can be signed: then they lead to variants that the tenant's policy wants signed."""
        door = self.site.access_policy.find_signing(self.tenant)
        return door is not None and bool(door.signing)

    def check(self, scope: Scope) -> None:
        """Raise `Forbidden` unless the caller's token has that scope."""
        if scope not in self.scopes:
            raise Forbidden(
                "This token may not do that.", expected=scope.value, got=" ".join(sorted(self.scopes)) or "no scope"
            )
