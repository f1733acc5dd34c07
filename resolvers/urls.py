"""The URLs that clients are given, each built in one place."""

from dataclasses import dataclass
from urllib.parse import urlsplit

from packshot.settings import Settings
from packshot.variants.key import Key

# Before every stable URL's pack, and after it where the picture element is meant.
STABLE, PICTURE = "/api/v2/img", "picture.json"

# How the bytes of an upload prove that they are the announced ones.
UPLOAD_TOKEN_HEADER = "X-Upload-Token"  # noqa: S105
UPLOAD_TOKEN_FIELD = "token"  # noqa: S105


@dataclass(frozen=True, slots=True)
class Urls:
    """Where a tenant's pictures are found.

    Attributes:
        origin: scheme and host before every URL, without a slash at the end.
        place: `/<tenant>` where the origin does not name the tenant and it is not the default one, else empty.
    """

    origin: str
    place: str = ""

    def immutable(self, key: Key | str) -> str:
        """Where one variant is for good."""
        return f"{self.origin}/i/{key}"

    def stable(self, pack_id: str, location: str | None = None) -> str:
        """Where whatever a pack shows now is found, at one location or its main one."""
        query = "" if location is None else f"?location={location}"
        return f"{self.origin}{STABLE}{self.place}/{pack_id}{query}"


def urls_of(settings: Settings, origin: str, tenant: str) -> Urls:
    """Return where a tenant's pictures are found under that origin."""
    host = urlsplit(origin).hostname
    named = tenant == settings.tenant or (
        settings.tenant_domain is not None and host == f"{tenant}.{settings.tenant_domain}"
    )
    return Urls(origin, "" if named else f"/{tenant}")


def upload_url(origin: str, tenant: str, upload_id: str) -> str:
    """Where the application takes the bytes of an upload, with its token."""
    return f"{origin}/uploads/{tenant}/{upload_id}"


def original_url(origin: str, key: str, expires: int, signature: str) -> str:
    """Where an original can be read until `expires`, in seconds since 1970, by the application itself."""
    return f"{origin}/originals/{key}?expires={expires}&signature={signature}"


def report_url(origin: str, tenant: str, job_id: str, expires: int, signature: str) -> str:
    """Where a job's failures can be read as CSV until `expires`, in seconds since 1970."""
    return f"{origin}/reports/{tenant}/{job_id}.csv?expires={expires}&signature={signature}"
