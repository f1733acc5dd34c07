"""Checks for requests that are trusted by their address only.

A browser on a trusted machine sends requests for pages of any site. Two things reveal such a page: the headers in which
a browser names the page's origin, and the request's host if the page's host name was pointed at this server (DNS
rebinding).
"""

import re
from ipaddress import ip_address
from urllib.parse import urlsplit

from starlette.requests import HTTPConnection

from packshot.model import NAME
from packshot.settings.settings import Settings
from packshot.settings.types import split_list
from serve.http.authority import read_host


def is_cross_site(connection: HTTPConnection) -> bool:
    """Whether a browser sends this request for a page of another site. Programs send no such headers.

    Browsers send `Sec-Fetch-Site`, or, to a server without HTTPS, `Origin` only.
    """
    site, page = connection.headers.get("sec-fetch-site"), connection.headers.get("origin")
    if site is not None:
        return site not in ("none", "same-origin")
    return page is not None and page.partition("://")[2] != connection.url.netloc


class KnownHosts:
    """The known hosts of this installation: from the settings, loopback hosts, and the address that the client used."""

    def __init__(self, settings: Settings) -> None:
        self._names = {"localhost", *(name.lower() for name in split_list(settings.trusted_hosts))}
        if settings.live_host is not None:
            self._names.add(settings.live_host)
        self._patterns = []
        if settings.tenant_domain is not None:
            self._patterns.append(_tenant_pattern(f"{{tenant}}.{settings.tenant_domain}"))
        if settings.public_url is not None:
            self._patterns.append(_tenant_pattern(urlsplit(settings.public_url).hostname or ""))

    def includes_host_of(self, connection: HTTPConnection) -> bool:
        """Whether the request names a known host."""
        host = read_host(connection.headers.get("host", ""))
        if not host:
            return False
        return (
            host in self._names
            or any(pattern.fullmatch(host) for pattern in self._patterns)
            or _is_loopback(host)
            or host == (connection.scope.get("server") or ("",))[0]  # the address that the client connected to
        )


def _tenant_pattern(host: str) -> re.Pattern[str]:
    return re.compile(re.escape(host.lower()).replace(re.escape("{tenant}"), f"(?:{NAME.pattern})"))


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False
