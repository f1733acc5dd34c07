"""The caller of a use case: tenant, rights, and the means to act."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from packshot.catalog.clients import idempotency
from packshot.catalog.clients.idempotency import IdempotentCall
from packshot.catalog.database.transaction import Tx
from packshot.catalog.work.jobs import Job
from packshot.errors import Forbidden
from packshot.ids import IdKind, global_id
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
class Answer:
    """What a mutation made, by the fields of its payload; a repeated call is answered by reading these again.

    Attributes:
        tenant, location: names.
        pack: an id.
        pack_location: the name of a location of `pack`.
        deleted_id: the global id of what was deleted.
        outcomes: the results of `createPacks`, as `resolvers.pack_imports.dump_outcomes` writes them.
    """

    tenant: str | None = None
    location: str | None = None
    pack: str | None = None
    pack_location: str | None = None
    job: Job | None = None
    upload: str | None = None
    deleted_id: str | None = None
    deleted_name: str | None = None
    outcomes: str | None = None

    def ids(self) -> dict[str, str]:
        """Return the global ids of what is set, by field; `deleted_name` and `outcomes` are texts."""
        ids = {
            "tenant": self.tenant and global_id(IdKind.TENANT, self.tenant),
            "location": self.location and global_id(IdKind.LOCATION, self.location),
            "pack": self.pack,
            "pack_location": self._pack_location_id(),
            "job": None if self.job is None else global_id(IdKind.JOB, self.job.id),
            "upload": self.upload,
            "deleted_id": self.deleted_id,
            "deleted_name": self.deleted_name,
            "outcomes": self.outcomes,
        }
        return {field: id for field, id in ids.items() if id is not None}

    def _pack_location_id(self) -> str | None:
        if self.pack is None or self.pack_location is None:
            return None
        return global_id(IdKind.PACK_LOCATION, self.pack, self.pack_location)


@dataclass(frozen=True, slots=True)
class Caller:
    """An authenticated caller.

    Attributes:
        subject: name for `createdBy` and `changedBy`.
        origin: scheme and host of every returned URL, without a slash at the end.
        expires_at: expiry of the token; None: it does not expire.
        token_id: the API token of the call, which can be revoked; None: another kind of authentication.
        idempotent_call: the call, if it has an idempotency key.
    """

    site: Site
    doorbell: Doorbell
    tenant: str
    subject: str
    origin: str
    scopes: frozenset[Scope] = EVERYTHING
    expires_at: datetime | None = None
    token_id: str | None = None
    idempotent_call: IdempotentCall | None = None

    @contextmanager
    def write(self) -> Iterator[Tx]:
        """Open the transaction of an edit. It commits at the end, and rolls back after an exception.

        Raises:
            AnsweredBefore: a call with this idempotency key has been carried out.
            IdempotencyMismatch: the key belongs to another call.
        """
        with self.site.catalog.edit(self.tenant) as tx:
            if self.idempotent_call is not None:
                idempotency.begin_call(tx, self.idempotent_call)
            yield tx

    def record(self, tx: Tx, answer: Answer) -> None:
        """Keep the answer of a call with an idempotency key in the transaction of its change, so both exist or neither.

        Each resolver of a mutation with `idempotencyKey` calls this once, at the end of its `write`.
        """
        if self.idempotent_call is not None:
            idempotency.record_answer(tx, self.idempotent_call, answer.ids())

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
