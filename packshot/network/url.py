"""Parse the URLs that clients and redirects name into a host to connect to and a request target.

A URL may contain spaces and characters beyond ASCII, as in browsers. The host is encoded by IDNA; path and query are
percent-encoded in UTF-8. This module does not use the network.
"""

import re
from ipaddress import IPv6Address
from typing import NamedTuple
from urllib.parse import quote, urljoin, urlsplit

import idna

from packshot.errors import FetchBlocked, FetchFailed

# After encoding. URLs that a cloud signs for a role have 2,000 to 5,000 characters; servers accept at least 8,000.
MAX_URL_CHARACTERS = 8192
# Characters that stay unescaped in a path and in a query, by the URL standard of browsers. A percent sign stays, so
# that escapes are not escaped again.
_PATH_CHARACTERS = "/:@!$&'()*+,;=-._~%[]|"
_QUERY_CHARACTERS = _PATH_CHARACTERS + "?^`{}"
# Characters of a host's name after encoding; underscores occur in practice.
_HOST = re.compile(r"[a-z0-9._-]+", re.ASCII)
_REFUSED = re.compile(r"[\x00-\x1f\x7f-\x9f\\]")
_EXPECTED = "http://… or https://…"


class Endpoint(NamedTuple):
    """Where a request goes.

    Attributes:
        host: an ASCII name or an IP address, lower case.
        target: path and query, in ASCII.
    """

    scheme: str
    host: str
    port: int
    target: str

    @property
    def authority(self) -> str:
        """The value of the `Host` header."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == _default_port(self.scheme) else f"{host}:{self.port}"


def parse_url(url: str) -> Endpoint:
    """Return the endpoint that a URL names.

    Raises:
        FetchBlocked: it is not an http or https URL, or it contains a name and a password.

    >>> parse_url("https://bücher.example/café.png?q=ü")
    Endpoint(scheme='https', host='xn--bcher-kva.example', port=443, target='/caf%C3%A9.png?q=%C3%BC')
    """
    url = url.strip(" ")
    if len(url) > MAX_URL_CHARACTERS:
        raise _too_long(len(url))
    refusal = FetchBlocked("This is not a URL that can be fetched.", expected=_EXPECTED, got=url)
    # Some programs treat a backslash as a slash, others do not.
    if _REFUSED.search(url):
        raise refusal
    try:
        parts = urlsplit(url)
        host, port = encode_host(parts.hostname or ""), parts.port
        target = quote(parts.path or "/", safe=_PATH_CHARACTERS)
        if parts.query:
            target += f"?{quote(parts.query, safe=_QUERY_CHARACTERS)}"
    except ValueError:
        raise refusal from None
    if parts.scheme not in ("http", "https") or port == 0:
        raise refusal
    if parts.username is not None or parts.password is not None:
        raise FetchBlocked("A URL with a name and a password is not fetched.", expected="no user:password@")
    if len(target) > MAX_URL_CHARACTERS:
        raise _too_long(len(target))
    return Endpoint(parts.scheme, host, port or _default_port(parts.scheme), target)


def encode_host(host: str) -> str:
    """Return a host's IP address, or its name in ASCII by the IDNA rules of browsers (UTS 46); lower case.

    Raises:
        ValueError: it is not a valid name of a host.

    >>> encode_host("Straße.Example")
    'xn--strae-oqa.example'
    """
    if ":" in host:
        return str(IPv6Address(host))
    name = host.lower() if host.isascii() else idna.encode(host, uts46=True).decode()
    if not _HOST.fullmatch(name):
        raise ValueError("a host's name must consist of letters, digits, dots, hyphens and underscores")
    # This checks the lengths of the labels and of the whole name.
    return name.encode("idna").decode()


def follow_redirect(url: str, locations: list[str]) -> str:
    """Return the URL to which a redirect leads.

    Args:
        locations: the values of its `Location` headers, one character per byte.

    Raises:
        FetchBlocked: the header is not a URL.
        FetchFailed: there is no `Location`, or several differ.
    """
    if len(set(locations)) != 1:
        got = f"{len(set(locations))} of them"
        raise FetchFailed(
            "The URL redirects without a destination.", expected="one Location header", got=got, may_pass=False
        )
    raw = locations[0].strip().encode("latin-1", "replace")
    try:
        location = raw.decode()
    except UnicodeDecodeError:
        # The header is in an older encoding; browsers then escape its bytes.
        location = quote(raw, safe=_QUERY_CHARACTERS + ' #\\"<>')
    try:
        return urljoin(url, location)
    except ValueError:
        raise FetchBlocked(
            "The URL redirects to something that is not a URL.", expected=_EXPECTED, got=location
        ) from None


def _too_long(characters: int) -> FetchBlocked:
    return FetchBlocked(
        "The URL is too long.", expected=f"at most {MAX_URL_CHARACTERS} characters", got=f"{characters} characters"
    )


def _default_port(scheme: str) -> int:
    return 443 if scheme == "https" else 80
