"""On whose behalf a resolver works, with what, and what it may do."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from packshot.errors import Forbidden
from packshot.site import Site
from pregen.bell import Bell


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
    """

    site: Site
    bell: Bell
    tenant: str
    subject: str
    origin: str
    scopes: frozenset[Scope] = EVERYTHING
    expires_at: datetime | None = None

    def check(self, scope: Scope) -> None:
        """Raise `Forbidden` unless the caller's token has that scope."""
        if scope not in self.scopes:
            raise Forbidden(
                "This token may not do that.", expected=scope.value, got=" ".join(sorted(self.scopes)) or "no scope"
            )
