"""Parse the URLs that clients and redirects name: what to connect to, and what to ask for there.

A URL may have characters beyond ASCII, as browsers take them: the host is encoded by IDNA, the path and the query as
percent-escapes of their UTF-8. Nothing here touches the network.
"""

from typing import NamedTuple
from urllib.parse import quote, urljoin, urlsplit

from packshot.errors import FetchBlocked, FetchFailed

MAX_URL_CHARACTERS = 2048
# What a path or a query may have as it is. A percent sign stays: what is escaped already is not escaped again.
_UNESCAPED = "/?:@!$&'()*+,;=-._~%[]|^`{}\"<>"
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
    refusal = FetchBlocked("That is no address that is fetched.", expected=_EXPECTED, got=url)
    if len(url) > MAX_URL_CHARACTERS or not url.isprintable() or " " in url or "\\" in url:
        raise refusal
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
        name = host if host and ":" in host else (host or "").encode("idna").decode()
        target = quote(parts.path or "/", safe=_UNESCAPED)
        if parts.query:
            target += f"?{quote(parts.query, safe=_UNESCAPED)}"
    except ValueError:
        raise refusal from None
    if parts.scheme not in ("http", "https") or not name or port == 0:
        raise refusal
    if parts.username is not None or parts.password is not None:
        raise FetchBlocked("An address with a name and a password is not fetched.", expected="no user:password@")
    return Endpoint(parts.scheme, name.lower(), port or _default_port(parts.scheme), target)


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
        location = quote(raw, safe=_UNESCAPED + "#\\")
    location = location.replace(" ", "%20")
    try:
        return urljoin(url, location)
    except ValueError:
        raise FetchBlocked("The address leads to no address.", expected=_EXPECTED, got=location) from None


def _default_port(scheme: str) -> int:
    return 443 if scheme == "https" else 80
