"""Build the URLs that clients get."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from urllib.parse import urlsplit

from packshot.security.access_policy import sign
from packshot.settings.settings import Settings
from packshot.site import Site
from packshot.variants.key import Key

# The prefix of every stable URL, and the suffix of the URL of a picture.
STABLE, PICTURE = "/api/v2/img", "picture.json"

# The header and the form field with the token of an upload.
UPLOAD_TOKEN_HEADER = "X-Upload-Token"  # noqa: S105
UPLOAD_TOKEN_FIELD = "token"  # noqa: S105


@dataclass(frozen=True, slots=True)
class Urls:
    """Builds the image URLs of a tenant.

    Attributes:
        origin: scheme and host of every URL, without a slash at the end.
        place: `/<tenant>` if the origin does not name the tenant and it is not the default tenant, else empty.
        opened: adds the signature to the path of an immutable URL, if the tenant requires access keys.
        signed: adds the signature for an unplanned variant, if the tenant's policy demands one.
    """

    origin: str
    place: str = ""
    opened: Callable[[str], str] = str
    signed: Callable[[str], str] = str

    def immutable(self, key: Key | str, *, signed: bool = False) -> str:
        """Return the immutable URL of a variant.

        Args:
            signed: the variant is unplanned, and the tenant's policy demands a signature.
        """
        add = self.signed if signed else self.opened
        return f"{self.origin}{add(f'/i/{key}')}"

    def stable(self, pack_id: str, location: str | None = None) -> str:
        """Return the stable URL of a pack, at one location or its main one. It never expires, so it is not signed."""
        query = "" if location is None else f"?location={location}"
        return f"{self.origin}{STABLE}{self.place}/{pack_id}{query}"


def immutable_path(settings: Settings, key: Key | str) -> str:
    """Return the path of an immutable URL, under the folder of the installation's public URL."""
    folder = urlsplit(settings.public_url or "").path.replace("{tenant}", str(key).partition("/")[0])
    return f"{folder}/i/{key}"


def tenant_urls(site: Site, origin: str, tenant: str, *, until: int | None = None) -> Urls:
    """Return the builder of a tenant's URLs under an origin.

    If the tenant requires access keys, immutable URLs are signed until the end of the next full hour. So pages and
    consoles can show them, and they stay the same for an hour.

    Args:
        until: latest expiry, in seconds since 1970.
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
    """Return the URL at which the application accepts the bytes of an upload."""
    return f"{origin}/uploads/{tenant}/{upload_id}"


def original_url(origin: str, key: str, expires: int, signature: str) -> str:
    """Return the URL at which the application serves an original until `expires`, in seconds since 1970."""
    return f"{origin}/originals/{key}?expires={expires}&signature={signature}"


def report_url(origin: str, tenant: str, job_id: str, expires: int, signature: str) -> str:
    """Return the URL of a job's failures as CSV, valid until `expires`, in seconds since 1970."""
    return f"{origin}/reports/{tenant}/{job_id}.csv?expires={expires}&signature={signature}"
