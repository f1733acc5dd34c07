"""On whose behalf a resolver works, and with what."""

from dataclasses import dataclass

from packshot.site import Site
from pregen.bell import Bell


@dataclass(frozen=True, slots=True)
class Caller:
    """One authenticated caller.

    Attributes:
        subject: who it is, for `createdBy` and `changedBy`.
        origin: scheme and host before every URL returned, without a slash at the end.
    """

    site: Site
    bell: Bell
    tenant: str
    subject: str
    origin: str
