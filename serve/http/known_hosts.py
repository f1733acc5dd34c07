"""Checks for requests that nothing vouches for but the address they come from.

A browser on a trusted machine sends whatever a page of any site makes it send. Two things give such a page away:
the headers in which a browser names the page, and, where the page's own host name was pointed at this server (DNS
rebinding), the host that the request names.
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
    """Whether a page of another site makes a browser send this request. Programs say nothing of pages.

    Browsers say so in `Sec-Fetch-Site`, or to a server without HTTPS in `Origin` alone.
    """
    site, page = connection.headers.get("sec-fetch-site"), connection.headers.get("origin")
    if site is not None:
        return site not in ("none", "same-origin")
    return page is not None and page.partition("://")[2] != connection.url.netloc


class KnownHosts:
    """The hosts that this installation is known by: its settings', loopback ones, and the address it was reached at."""

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
        """Whether the request names one of these hosts."""
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
