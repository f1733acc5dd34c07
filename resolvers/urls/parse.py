"""Parse image URLs. This is only syntax; the catalog is not read."""

import re
from dataclasses import dataclass
from enum import StrEnum
from urllib.parse import unquote_to_bytes, urlsplit

from packshot.errors import Invalid, NotFound
from packshot.model import NAME, PACK_ID
from packshot.settings.settings import Settings
from packshot.variants.key import Key, parse_key
from packshot.variants.live_request import LiveForm, parse_live_request
from packshot.variants.picture_request import PictureForm, parse_picture_request
from packshot.variants.request import RequestForm, parse_request
from resolvers.urls.build import PICTURE, STABLE

_STABLE = re.compile(rf"{STABLE}(/(?P<tenant>[^/]+))??/(?P<pack>[^/]+?)(?P<picture>/{re.escape(PICTURE)})?")
_LIVE_NAME = re.compile(r"[^/]+")
# At the root of a host, a name without a dot is not an image.
_ROOT_NAME = re.compile(r"[^/]+\.[^/]+")
FORMS = "/api/v2/img/<pack>, /api/v2/img/<tenant>/<pack>, /picture.json after either, a live URL, or /i/<key>"


class NamedBy(StrEnum):
    """The part of a URL that named the tenant."""

    HOST = "host"
    PATH = "path"
    DEFAULT = "default"


@dataclass(frozen=True, slots=True)
class Address:
    """What the URL of an image endpoint names.

    Attributes:
        pack_id: the pack. Its form is checked, not whether it exists. Empty if a live URL has another id.
        form: the request form; None: an immutable URL, whose key has it.
        key: key of an immutable URL.
        opened: the request has an access key, or a signature made with one.
    """

    tenant: str
    named_by: NamedBy
    pack_id: str
    form: RequestForm | PictureForm | LiveForm | None = None
    key: Key | None = None
    opened: bool = False

    @property
    def path(self) -> str:
        """The canonical path, without tenant and cache buster. Signatures cover it."""
        if self.key is not None:
            return f"/i/{self.key}"
        if isinstance(self.form, LiveForm):
            return f"/live/{self.form.name}"
        return f"{STABLE}/{self.pack_id}" + (f"/{PICTURE}" if isinstance(self.form, PictureForm) else "")

    @property
    def query(self) -> str:
        """The canonical query, without the parameters that open or explain a URL."""
        return "" if self.form is None else self.form.query()


def read_url(settings: Settings, url: str) -> Address:
    """Parse a URL that a user pasted, complete or as a path.

    Raises:
        Invalid: it is not the URL of an image endpoint, or a parameter is not valid.
        NotFound: it names no tenant or pack, or two tenants.
    """
    try:
        parts = urlsplit(url)
        path = unquote_to_bytes(parts.path).decode()
        host = parts.hostname
    except ValueError:
        raise _no_address(url) from None
    if parts.scheme not in ("", "http", "https"):
        raise _no_address(url)
    # The folder of the installation's public URL is not part of the request.
    if settings.public_url is not None and host is not None:
        known = urlsplit(settings.public_url.replace("{tenant}", tenant_of(settings, host) or settings.tenant))
        if known.path and path.startswith(f"{known.path}/"):
            path = path.removeprefix(known.path)
    return read_address(settings, host, path, parts.query)


def read_address(settings: Settings, host: str | None, path: str, query: str) -> Address:
    """Parse the URL of a request.

    Args:
        path: decoded.
        query: not decoded.

    Raises:
        Invalid: it is not the URL of an image endpoint, or a parameter is not valid.
        NotFound: it names no tenant or pack, or two tenants.
    """
    named = tenant_of(settings, host)
    if path.startswith("/i/"):
        return _immutable(named, path.removeprefix("/i/"))
    if (name := _live_name(settings, host, path)) is not None:
        by = NamedBy.DEFAULT if named is None else NamedBy.HOST
        return Address(named or settings.tenant, by, "", parse_live_request(name, query))
    match = _STABLE.fullmatch(path)
    if match is None:
        raise _no_address(path)
    # The part after the first hyphen is a cache buster.
    pack_id = match["pack"].partition("-")[0]
    if not PACK_ID.fullmatch(pack_id):
        raise NotFound("There is no such pack.", field=("pack",), expected="24 lower-case hex digits", got=pack_id)
    tenant, by = named or settings.tenant, NamedBy.DEFAULT if named is None else NamedBy.HOST
    if match["tenant"] is not None:
        if not NAME.fullmatch(match["tenant"]) or named not in (None, match["tenant"]):
            raise NotFound("There is no such pack.", field=("tenant",), expected="a tenant's name", got=match["tenant"])
        tenant, by = match["tenant"], NamedBy.PATH
    form = parse_request(query) if match["picture"] is None else parse_picture_request(query)
    return Address(tenant, by, pack_id, form)


def _live_name(settings: Settings, host: str | None, path: str) -> str | None:
    """Return the segment of a live URL that has its parameters; None: it is no live URL."""
    prefix = settings.live_prefix
    if prefix is not None and path.startswith(f"{prefix}/"):
        name = path.removeprefix(f"{prefix}/")
        return name if _LIVE_NAME.fullmatch(name) else None
    if settings.live_host is not None and (host or "").lower() == settings.live_host:
        return path.removeprefix("/") if _ROOT_NAME.fullmatch(path.removeprefix("/")) else None
    return None


def _immutable(named: str | None, text: str) -> Address:
    try:
        key = parse_key(text)
    except Invalid as error:
        raise NotFound("There is no such picture.", expected=error.expected, got=text) from None
    if named not in (None, key.tenant):
        raise NotFound("There is no such picture.", expected="a picture of the host's tenant", got=text)
    return Address(key.tenant, NamedBy.PATH, key.pack, key=key)


def _no_address(text: str) -> Invalid:
    return Invalid("This is not an image URL.", field=("url",), expected=FORMS, got=text.partition("?")[0])


def tenant_of(settings: Settings, host: str | None) -> str | None:
    """Return the tenant that a host name names; None: it names none.

    Raises:
        NotFound: the host is a subdomain of the tenants' domain, but not a valid tenant name.
    """
    # A host name with a dot at its end is the same name (RFC 1034, section 3.1).
    domain, host = settings.tenant_domain, (host or "").lower().removesuffix(".")
    if domain is None or not host.endswith(f".{domain}"):
        return None
    tenant = host.removesuffix(f".{domain}")
    if not NAME.fullmatch(tenant):
        raise NotFound("There is no such tenant.", field=("tenant",), got=tenant)
    return tenant
