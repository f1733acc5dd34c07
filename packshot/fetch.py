"""Fetching a file from an address that a client names, without being sent where only we may go.

Whoever may name an address could make this process ask a cloud's metadata
service, a database or a neighbour for them. So the host is resolved once, every
address it has must be a public one, and the connection goes to one of those very
addresses; each redirect starts over.
"""

import ipaddress
import socket
import ssl
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from hashlib import sha256
from http.client import HTTPException
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urljoin, urlsplit

import urllib3.exceptions
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.exceptions import HTTPError, NewConnectionError
from urllib3.response import HTTPResponse

from packshot.errors import FetchBlocked, FetchFailed, PackshotError, TooLarge
from packshot.storage.durable import private

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

REDIRECTS = 3
SECONDS = 60.0
# No server is silent for so long and then sends a picture.
SILENT_SECONDS = 15.0
CHUNK_BYTES = 1 << 16
LONGEST_URL = 2048
_REDIRECTING = (301, 302, 303, 307, 308)
_PASSING = (408, 425, 429)

# Where `ipaddress` sees nothing special, and clouds answer from within.
_INNER = tuple(ipaddress.ip_network(text) for text in ("168.63.129.16/32", "100.64.0.0/10", "192.0.0.0/24"))
# What carries an IPv4 address, and how far it is from the end: both addresses have to be public.
_MAPPED = tuple(
    (ipaddress.IPv6Network(text), shift)
    for text, shift in (
        ("::/96", 0),
        ("::ffff:0:0/96", 0),
        ("::ffff:0:0:0/96", 0),
        ("64:ff9b::/96", 0),
        ("2002::/16", 80),
    )
)
# Private forms of the same: nobody on the internet is there.
_NEVER = tuple(ipaddress.ip_network(text) for text in ("64:ff9b:1::/48", "2001::/32", "fec0::/10"))
_TRANSLATED = ipaddress.IPv6Network("64:ff9b::/96")


@dataclass(frozen=True, slots=True)
class Allowed:
    """What may be reached although it is not public.

    Attributes:
        hosts: names as they stand in the address, lower case.
        networks: of addresses.
    """

    hosts: frozenset[str] = frozenset()
    networks: tuple[Network, ...] = ()


@dataclass(frozen=True, slots=True)
class Fetched:
    """A file that was fetched; `url` is where it was in the end."""

    url: str
    size: int
    sha256: str


class _Place(NamedTuple):
    scheme: str
    host: str
    port: int
    target: str


def parse_allowed(text: str) -> Allowed:
    """Read hosts and networks between commas.

    Raises:
        ValueError: an item that is neither.

    >>> parse_allowed("media.internal, 10.1.0.0/16").hosts
    frozenset({'media.internal'})
    """
    hosts, networks = set(), []
    for item in filter(None, (part.strip().lower() for part in text.split(","))):
        try:
            networks.append(ipaddress.ip_network(item))
        except ValueError:
            if "/" in item or ":" in item or not item.strip(".-"):
                raise
            hosts.add(item)
    return Allowed(frozenset(hosts), tuple(networks))


def fetch(url: str, into: Path, *, max_bytes: int, allowed: Allowed, seconds: float = SECONDS) -> Fetched:
    """Fetch the file at `url` into the new file `into`; what kind it is, its bytes tell.

    Args:
        max_bytes: it is given up as soon as there are more.
        seconds: for all of it, redirects included.

    Raises:
        FetchBlocked: no http or https, a name and password in it, or not a public address.
        FetchFailed: nobody answers, too slowly, with an error, or with too many redirects.
        TooLarge: more bytes than `max_bytes`.
    """
    deadline = time.monotonic() + seconds
    following = url
    for _ in range(REDIRECTS + 1):
        place = _read_url(following)
        with _answer(place, _public_address(place, allowed), deadline) as response:
            if response.status == 200:
                return _receive(response, following, into, max_bytes, deadline)
            if response.status not in _REDIRECTING:
                raise FetchFailed(
                    "The address does not give a file.",
                    expected="status 200",
                    got=response.status,
                    may_pass=response.status >= 500 or response.status in _PASSING,
                )
            following = _next_url(following, response.headers.get("location"))
    raise FetchFailed(
        "The address leads on and on.", expected=f"at most {REDIRECTS} redirects", got=following, may_pass=False
    )


def post(url: str, body: bytes, headers: dict[str, str], *, allowed: Allowed, seconds: float) -> int:
    """Send `body` to `url` and return the status of the answer, whose body is not read; redirects are not followed.

    Raises:
        FetchBlocked: no http or https, a name and password in it, or not a public address.
        FetchFailed: nobody answers, or too slowly.
    """
    deadline = time.monotonic() + seconds
    place = _read_url(url)
    with _answer(place, _public_address(place, allowed), deadline, "POST", body, headers) as response:
        return response.status


def check_address(url: str) -> None:
    """Raise `FetchBlocked` unless `url` is an address of http or https without a name and password in it."""
    _read_url(url)


def is_public(address: Address) -> bool:
    """Whether an address, and any IPv4 address it carries, is one of the public internet."""
    if isinstance(address, ipaddress.IPv6Address):
        if any(address in network for network in _NEVER) or _is_isatap(address):
            return False
        for network, shift in _MAPPED:
            if address in network:
                inner = ipaddress.IPv4Address(int(address) >> shift & 0xFFFFFFFF)
                # A translated address leads to the IPv4 one, and to nothing else.
                return is_public(inner) and (network == _TRANSLATED or address.is_global)
    return address.is_global and not (
        address.is_multicast or address.is_reserved or any(address in network for network in _INNER)
    )


def _is_isatap(address: ipaddress.IPv6Address) -> bool:
    return int(address) >> 32 & 0xFDFFFFFF == 0x00005EFE


def _read_url(url: str) -> _Place:
    refusal = FetchBlocked("That is no address that is fetched.", expected="http://… or https://…", got=url)
    if len(url) > LONGEST_URL or not url.isprintable() or " " in url or "\\" in url:
        raise refusal
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
        name = (host or "").encode("idna").decode() if host and ":" not in host else host
    except ValueError:
        raise refusal from None
    if parts.scheme not in ("http", "https") or not name:
        raise refusal
    if parts.username is not None or parts.password is not None:
        raise FetchBlocked("An address with a name and a password is not fetched.", expected="no user:password@")
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    return _Place(parts.scheme, name.lower(), port or (443 if parts.scheme == "https" else 80), target)


def _public_address(place: _Place, allowed: Allowed) -> Address:
    try:
        found = socket.getaddrinfo(place.host, place.port, type=socket.SOCK_STREAM)
    except OSError as error:
        raise FetchFailed("Nobody has that name.", expected="a host with an address", got=place.host) from error
    addresses = [ipaddress.ip_address(str(entry[4][0]).partition("%")[0]) for entry in found]
    for address in addresses:
        _check(address, place, allowed)
    # IPv4 first: it is the one that works from anywhere.
    return min(addresses, key=lambda address: address.version)


def _check(address: Address, place: _Place, allowed: Allowed) -> None:
    let = place.host in allowed.hosts or any(_within(address, allowed.networks))
    if not let and not is_public(address):
        # Not the address itself, which is nobody's business but ours.
        raise FetchBlocked("That host is not on the public internet.", expected="a public host", got=place.host)


def _within(address: Address, networks: Sequence[Network]) -> list[bool]:
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return [address in network or (mapped is not None and mapped in network) for network in networks]


@contextmanager
def _answer(
    place: _Place,
    address: Address,
    deadline: float,
    method: str = "GET",
    body: bytes | None = None,
    headers: dict[str, str] | None = None,
) -> Iterator[HTTPResponse]:
    connection = _connection(place, address, deadline)
    # Each wait has its own limit; this one ends a host that sends a byte now and then.
    clock = threading.Timer(_left(deadline), _cut, [connection])
    clock.daemon = True
    clock.start()
    try:
        with _failing(deadline):
            sent = _headers(place) | (headers or {})
            connection.request(method, place.target, body, sent, preload_content=False)
            response = connection.getresponse()
        with closing(response):
            yield response
    finally:
        clock.cancel()
        connection.close()


def _connection(place: _Place, address: Address, deadline: float) -> HTTPConnection:
    seconds = min(SILENT_SECONDS, _left(deadline))
    if place.scheme == "http":
        return HTTPConnection(str(address), place.port, timeout=seconds)
    # The connection goes to the address that was checked; the certificate is the name's.
    return HTTPSConnection(
        str(address), place.port, timeout=seconds, server_hostname=place.host, assert_hostname=place.host
    )


def _headers(place: _Place) -> dict[str, str]:
    host = f"[{place.host}]" if ":" in place.host else place.host
    usual = place.port == (443 if place.scheme == "https" else 80)
    return {
        "Host": host if usual else f"{host}:{place.port}",
        "User-Agent": "Packshot",
        "Accept": "image/*",
        "Accept-Encoding": "identity",
    }


def _cut(connection: HTTPConnection) -> None:
    sock = connection.sock
    if sock is not None:
        with suppress(OSError):
            sock.shutdown(socket.SHUT_RDWR)


@contextmanager
def _failing(deadline: float) -> Iterator[None]:
    try:
        yield
    except (HTTPError, HTTPException, OSError) as error:
        _left(deadline)
        raise _failed(error) from error


def _failed(error: Exception) -> PackshotError:
    if isinstance(error, ssl.SSLError):
        return FetchFailed("The host cannot prove who it is.", expected="a valid certificate", got=error.reason)
    if isinstance(error, NewConnectionError):
        return FetchFailed("Nobody answers there.", expected="a host that answers")
    if isinstance(error, TimeoutError | urllib3.exceptions.TimeoutError):
        return FetchFailed("The host answers too slowly.", expected=f"bytes within {SILENT_SECONDS:g} seconds")
    return FetchFailed("The host broke off.", expected="a whole answer of HTTP", got=type(error).__name__)


def _next_url(url: str, location: str | None) -> str:
    if location is None:
        raise FetchFailed("The address leads nowhere.", expected="a Location header")
    try:
        return urljoin(url, location)
    except ValueError:
        raise FetchBlocked("The address leads to no address.", expected="http://… or https://…", got=location) from None


def _receive(response: HTTPResponse, url: str, into: Path, max_bytes: int, deadline: float) -> Fetched:
    size, digest = 0, sha256()
    announced = response.headers.get("content-length", "")
    if announced.isdecimal() and int(announced) > max_bytes:
        raise _too_large(max_bytes, announced)
    with open(into, "xb", opener=private) as file:
        while chunk := _read(response, deadline):
            size += len(chunk)
            if size > max_bytes:
                raise _too_large(max_bytes, f"{size} and more")
            digest.update(chunk)
            file.write(chunk)
    if announced.isdecimal() and size != int(announced):
        raise FetchFailed("The host broke off.", expected=f"{announced} bytes", got=size)
    return Fetched(url, size, digest.hexdigest())


def _read(response: HTTPResponse, deadline: float) -> bytes:
    _left(deadline)
    with _failing(deadline):
        # As many bytes as are there, so that the clock is looked at now and then.
        return response.read1(CHUNK_BYTES, decode_content=False)


def _too_large(max_bytes: int, got: str) -> TooLarge:
    return TooLarge("The file has too many bytes.", expected=f"at most {max_bytes} bytes", got=got)


def _left(deadline: float) -> float:
    left = deadline - time.monotonic()
    if left <= 0:
        raise FetchFailed("Fetching takes too long.", expected=f"all of it within {SECONDS:g} seconds")
    return left
