"""Parse the URLs that clients and redirects name: what to connect to, and what to ask for there.

A URL may have spaces and characters beyond ASCII, as browsers accept them: the host is encoded by IDNA, the path and
the query as percent-escapes of their UTF-8. Nothing here touches the network.
"""

import re
from ipaddress import IPv6Address
from typing import NamedTuple
from urllib.parse import quote, urljoin, urlsplit

import idna

from packshot.errors import FetchBlocked, FetchFailed

# Encoded. URLs that a cloud signs for a role have 2,000 to 5,000 characters; servers accept 8,000 or more.
MAX_URL_CHARACTERS = 8192
# Characters that a path, and a query, may have as they are, by the URL standard of browsers. A percent sign stays:
# what is escaped already is not escaped again.
_PATH_CHARACTERS = "/:@!$&'()*+,;=-._~%[]|"
_QUERY_CHARACTERS = _PATH_CHARACTERS + "?^`{}"
# What a host's name can hold after it was encoded; underscores do occur.
_HOST = re.compile(r"[a-z0-9._-]+", re.ASCII)
_REFUSED = re.compile(r"[\x00-\x1f\x7f-\x9f\\]")
_EXPECTED = "http://… or https://…"


class Endpoint(NamedTuple):
    """Where a request goes.

    Attributes:
        host: a name in ASCII, or an address; lower case.
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
    """Return where a URL leads.

    Raises:
        FetchBlocked: no URL of http or https, or one with a name and a password in it.

    >>> parse_url("https://bücher.example/café.png?q=ü")
    Endpoint(scheme='https', host='xn--bcher-kva.example', port=443, target='/caf%C3%A9.png?q=%C3%BC')
    """
    url = url.strip(" ")
    if len(url) > MAX_URL_CHARACTERS:
        raise _too_long(len(url))
    refusal = FetchBlocked("That is no address that is fetched.", expected=_EXPECTED, got=url)
    # A backslash is a slash to some programs, and not to others.
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
        raise FetchBlocked("An address with a name and a password is not fetched.", expected="no user:password@")
    if len(target) > MAX_URL_CHARACTERS:
        raise _too_long(len(target))
    return Endpoint(parts.scheme, host, port or _default_port(parts.scheme), target)


def encode_host(host: str) -> str:
    """Return a host's name in ASCII, by the IDNA rules that browsers follow (UTS 46), or its address; lower case.

    Raises:
        ValueError: no host can have that name.

    >>> encode_host("Straße.Example")
    'xn--strae-oqa.example'
    """
    if ":" in host:
        return str(IPv6Address(host))
    name = host.lower() if host.isascii() else idna.encode(host, uts46=True).decode()
    if not _HOST.fullmatch(name):
        raise ValueError("a host's name has letters, digits, dots and hyphens")
    # The lengths of the labels and of the whole.
    return name.encode("idna").decode()


def follow_redirect(url: str, locations: list[str]) -> str:
    """Return the URL that a redirect leads to.

    Args:
        locations: the values of its `Location` headers, each byte a character.

    Raises:
        FetchBlocked: it leads to no URL.
        FetchFailed: it has no `Location`, or several that differ.
    """
    if len(set(locations)) != 1:
        got = f"{len(set(locations))} of them"
        raise FetchFailed("The address leads nowhere.", expected="one Location header", got=got, may_pass=False)
    raw = locations[0].strip().encode("latin-1", "replace")
    try:
        location = raw.decode()
    except UnicodeDecodeError:
        # Of an older encoding, as its pages are: browsers escape the bytes as they are.
        location = quote(raw, safe=_QUERY_CHARACTERS + ' #\\"<>')
    try:
        return urljoin(url, location)
    except ValueError:
        raise FetchBlocked("The address leads to no address.", expected=_EXPECTED, got=location) from None


def _too_long(characters: int) -> FetchBlocked:
    return FetchBlocked(
        "The address is too long.", expected=f"at most {MAX_URL_CHARACTERS} characters", got=f"{characters} characters"
    )


def _default_port(scheme: str) -> int:
    return 443 if scheme == "https" else 80
