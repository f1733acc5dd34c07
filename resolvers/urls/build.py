"""The URLs that clients are given, each built in one place."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from urllib.parse import urlsplit

from packshot.security.access_policy import sign
from packshot.settings.settings import Settings
from packshot.site import Site
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
        opened: adds to an immutable URL's path what opens it, where not everybody may look.
        signed: the same, where everybody may look at planned variants alone.
    """

    origin: str
    place: str = ""
    opened: Callable[[str], str] = str
    signed: Callable[[str], str] = str

    def immutable(self, key: Key | str, *, signed: bool = False) -> str:
        """Where one variant is for good.

        Args:
            signed: it is not planned, and the tenant's policy wants others signed.
        """
        add = self.signed if signed else self.opened
        return f"{self.origin}{add(f'/i/{key}')}"

    def stable(self, pack_id: str, location: str | None = None) -> str:
        """Where whatever a pack shows now is found, at one location or its main one; never signed, as it never ends."""
        query = "" if location is None else f"?location={location}"
        return f"{self.origin}{STABLE}{self.place}/{pack_id}{query}"


def immutable_path(settings: Settings, key: Key | str) -> str:
    """The path of an immutable URL, under the folder at which the installation is known."""
    folder = urlsplit(settings.public_url or "").path.replace("{tenant}", str(key).partition("/")[0])
    return f"{folder}/i/{key}"


def tenant_urls(site: Site, origin: str, tenant: str, *, until: int | None = None) -> Urls:
    """Return where a tenant's pictures are found under that origin.

    Of a tenant that requires access keys immutable URLs are signed, so that pages and
    consoles can show them: to the end of the next full hour, the same for an hour.

    Args:
        until: when they end at the latest, in seconds since 1970.
    """
    settings = site.settings
    host = urlsplit(origin).hostname
    named = tenant == settings.tenant or (
        settings.tenant_domain is not None and host == f"{tenant}.{settings.tenant_domain}"
    )
    place, door = "" if named else f"/{tenant}", site.access_policy.find_signing(tenant)
    if door is None or not door.signing:
        return Urls(origin, place)
    key, ends = door.signing[0], int(time.time()) // 3600 * 3600 + 2 * 3600
    ends = ends if until is None else min(ends, until)

    def add(path: str) -> str:
        return f"{path}?{sign(key, tenant, path, '', ends)}"

    return Urls(origin, place, add if door.required else str, add)


def upload_url(origin: str, tenant: str, upload_id: str) -> str:
    """Where the application takes the bytes of an upload, with its token."""
    return f"{origin}/uploads/{tenant}/{upload_id}"


def original_url(origin: str, key: str, expires: int, signature: str) -> str:
    """Where an original can be read until `expires`, in seconds since 1970, by the application itself."""
    return f"{origin}/originals/{key}?expires={expires}&signature={signature}"


def report_url(origin: str, tenant: str, job_id: str, expires: int, signature: str) -> str:
    """Where a job's failures can be read as CSV until `expires`, in seconds since 1970."""
    return f"{origin}/reports/{tenant}/{job_id}.csv?expires={expires}&signature={signature}"
