"""Fetch a file from a URL that a client names, or send a webhook to one, without reaching private hosts.

A client that may name a URL could make this process ask a cloud's metadata service, a database or another internal
host. So the host is resolved once, every address it has must be a public one, and the connection goes to one of
those addresses; each redirect starts over.
"""

import ipaddress
import logging
import socket
import ssl
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from hashlib import sha256
from http.client import HTTPException
from pathlib import Path

import urllib3.exceptions
from urllib3.connection import HTTPConnection
from urllib3.exceptions import HTTPError
from urllib3.response import HTTPResponse
from urllib3.util.ssl_match_hostname import CertificateError

from packshot import faults
from packshot.durable_files import private
from packshot.errors import FetchBlocked, FetchFailed, PackshotError, TooLarge
from packshot.network.connecting import LOCAL_FAULTS, Address, connect_to_first
from packshot.network.content_coding import decode_body
from packshot.network.http_connection import PlainConnection, TLSConnection
from packshot.network.url import Endpoint, encode_host, follow_redirect, parse_url

log = logging.getLogger(__name__)

Network = ipaddress.IPv4Network | ipaddress.IPv6Network

REDIRECTS = 3
SECONDS = 60.0
# No server is silent for so long and then sends a picture.
SILENT_SECONDS = 15.0
CHUNK_BYTES = 1 << 16
# Parts of a body, as they are received, whose average is not judged; and the average of more of them.
MAX_SMALL_PARTS, SMALL_PART_BYTES = 10_000, 64
# Longer numbers are no sizes of files, and `int` refuses some of them.
_MAX_LENGTH_DIGITS = 18
# 203: a proxy on the way has altered something.
_GIVING = (200, 203)
_REDIRECTING = (301, 302, 303, 307, 308)
_PASSING = (408, 425, 429)

USER_AGENT = "Packshot"
ACCEPT_PICTURES = "image/*, */*;q=0.8"

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
            hosts.add(encode_host(item))
    return Allowed(frozenset(hosts), tuple(networks))


def fetch(
    url: str,
    into: Path,
    *,
    max_bytes: int,
    allowed: Allowed,
    seconds: float = SECONDS,
    accept: str = ACCEPT_PICTURES,
    user_agent: str = USER_AGENT,
) -> Fetched:
    """Fetch the file at `url` into the new file `into`, decoded if the host sends it with a `Content-Encoding`.

    Whatever the URL or the host causes is a refusal; an `OSError` is a fault of this machine.

    Args:
        max_bytes: limit of the bytes received, and of the bytes that they are decoded to.
        seconds: for all of it, redirects included.
        accept: media types, as the header `Accept` has them.

    Raises:
        FetchBlocked: no http or https, a name and password in it, or not a public address.
        FetchFailed: nobody answers, too slowly, with an error, with too many redirects, or not in HTTP.
        TooLarge: more bytes than `max_bytes`.
    """
    deadline = time.monotonic() + seconds
    following = url
    headers = {"Accept": accept, "User-Agent": user_agent}
    for _ in range(REDIRECTS + 1):
        endpoint = parse_url(following)
        with _answer(endpoint, _public_addresses(endpoint, allowed), deadline, headers) as response:
            if response.status in _GIVING:
                return _receive(response, following, into, max_bytes, deadline)
            if response.status not in _REDIRECTING:
                raise FetchFailed(
                    "The address does not give a file.",
                    expected="status 200",
                    got=response.status,
                    may_pass=response.status >= 500 or response.status in _PASSING,
                )
            following = follow_redirect(following, response.headers.getlist("location"))
    raise FetchFailed(
        "The address leads on and on.", expected=f"at most {REDIRECTS} redirects", got=following, may_pass=False
    )


def post(url: str, body: bytes, headers: Mapping[str, str], *, allowed: Allowed, seconds: float) -> int:
    """Send `body` to `url` and return the status of the answer, whose body is not read; redirects are not followed.

    Args:
        headers: of the request, `Content-Type`, `Accept` and `User-Agent` among them.

    Raises:
        FetchBlocked: no http or https, a name and password in it, or not a public address.
        FetchFailed: nobody answers, too slowly, or not in HTTP.
    """
    deadline = time.monotonic() + seconds
    endpoint = parse_url(url)
    with _answer(endpoint, _public_addresses(endpoint, allowed), deadline, headers, "POST", body) as response:
        return response.status


def check_address(url: str) -> None:
    """Raise `FetchBlocked` unless `url` is an address of http or https without a name and password in it."""
    parse_url(url)


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


def _public_addresses(endpoint: Endpoint, allowed: Allowed) -> list[Address]:
    try:
        found = socket.getaddrinfo(endpoint.host, endpoint.port, type=socket.SOCK_STREAM)
        addresses = [ipaddress.ip_address(str(entry[4][0]).partition("%")[0]) for entry in found]
    except (OSError, ValueError) as error:
        _raise_ours(error)
        raise FetchFailed("Nobody has that name.", expected="a host with an address", got=endpoint.host) from error
    for address in addresses:
        _check(address, endpoint, allowed)
    return addresses


def _check(address: Address, endpoint: Endpoint, allowed: Allowed) -> None:
    let = endpoint.host in allowed.hosts or any(_within(address, allowed.networks))
    if not let and not is_public(address):
        # Not the address itself, which is nobody's business but ours.
        raise FetchBlocked("That host is not on the public internet.", expected="a public host", got=endpoint.host)


def _within(address: Address, networks: Sequence[Network]) -> list[bool]:
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return [address in network or (mapped is not None and mapped in network) for network in networks]


@contextmanager
def _answer(
    endpoint: Endpoint,
    addresses: Sequence[Address],
    deadline: float,
    headers: Mapping[str, str],
    method: str = "GET",
    body: bytes | None = None,
) -> Iterator[HTTPResponse]:
    connection = _connect(endpoint, addresses, deadline)
    # Each wait has its own limit; this one ends a host that sends a byte now and then.
    clock = threading.Timer(_left(deadline), _cut, [connection])
    clock.daemon = True
    clock.start()
    try:
        with _failing(deadline):
            # Nothing is gained by compressing pictures again.
            sent = {"Host": endpoint.authority, "Accept-Encoding": "identity", **headers}
            connection.request(method, endpoint.target, body, sent, preload_content=False)
            response = connection.getresponse()
        with closing(response):
            yield response
    finally:
        clock.cancel()
        connection.close()


def _connect(endpoint: Endpoint, addresses: Sequence[Address], deadline: float) -> HTTPConnection:
    """Connect to the first of the checked addresses that accepts; a certificate must be the host's."""
    limit = min(SILENT_SECONDS, _left(deadline))
    with _failing(deadline):
        try:
            sock = connect_to_first(addresses, endpoint.port, limit)
        except TimeoutError:
            raise
        except OSError as error:
            _raise_ours(error)
            raise FetchFailed("Nobody answers there.", expected="a host that answers") from error
        connection = _make_connection(endpoint, sock, limit)
        try:
            connection.connect()
            if connection.sock is not None:
                connection.sock.settimeout(SILENT_SECONDS)
        except BaseException:
            connection.close()
            sock.close()
            raise
    return connection


def _make_connection(endpoint: Endpoint, sock: socket.socket, seconds: float) -> HTTPConnection:
    """Return a connection that speaks over a socket which is connected already."""
    sock.settimeout(seconds)
    if endpoint.scheme == "http":
        return PlainConnection(endpoint.host, endpoint.port, connected=sock)
    return TLSConnection(
        endpoint.host,
        endpoint.port,
        connected=sock,
        server_hostname=endpoint.host,
        assert_hostname=endpoint.host,
    )


def _cut(connection: HTTPConnection) -> None:
    sock = connection.sock
    if sock is not None:
        with suppress(OSError):
            sock.shutdown(socket.SHUT_RDWR)


@contextmanager
def _failing(deadline: float) -> Iterator[None]:
    """Turn whatever comes of the host's bytes into a refusal; what this machine lacks stays an `OSError`."""
    try:
        yield
    except PackshotError:
        raise
    except Exception as error:
        _raise_ours(error)
        _left(deadline)
        raise _failed(error) from error


def _raise_ours(error: BaseException) -> None:
    """Raise the fault of this machine that a library wrapped, if it is one."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, OSError) and cause.errno in LOCAL_FAULTS:
            raise OSError(cause.errno, cause.strerror) from error
        cause = cause.__cause__


def _failed(error: Exception) -> PackshotError:
    if isinstance(error, CertificateError):
        return FetchFailed("The host cannot prove who it is.", expected="a certificate for its name", got=error)
    if isinstance(error, ssl.SSLError):
        return FetchFailed("The host cannot prove who it is.", expected="a valid certificate", got=error.reason)
    if isinstance(error, TimeoutError | urllib3.exceptions.TimeoutError):
        return FetchFailed("The host answers too slowly.", expected=f"bytes within {SILENT_SECONDS:g} seconds")
    if not isinstance(error, HTTPError | HTTPException | OSError | ValueError):
        faults.record(log, error, "an answer could not be read")
    return FetchFailed("The host broke off.", expected="a whole answer of HTTP", got=type(error).__name__)


def _receive(response: HTTPResponse, url: str, into: Path, max_bytes: int, deadline: float) -> Fetched:
    size, digest = 0, sha256()
    announced = _announced(response)
    if announced is not None and announced > max_bytes:
        raise _too_large(max_bytes, str(announced))
    received = _read_body(response, announced, max_bytes, deadline)
    parts = decode_body(received, response.headers.getlist("content-encoding"))
    with open(into, "xb", opener=private) as file:
        for part in parts:
            size += len(part)
            if size > max_bytes:
                raise _too_large(max_bytes, f"{size} and more")
            digest.update(part)
            file.write(part)
    return Fetched(url, size, digest.hexdigest())


def _read_body(response: HTTPResponse, announced: int | None, max_bytes: int, deadline: float) -> Iterator[bytes]:
    """Yield the body as it is received; raise unless it comes whole."""
    size = parts = 0
    while chunk := _read(response, deadline):
        size, parts = size + len(chunk), parts + 1
        if size > max_bytes:
            raise _too_large(max_bytes, f"{size} and more")
        if parts > MAX_SMALL_PARTS and size < parts * SMALL_PART_BYTES:
            # Each part costs as much work as one of 64 KiB.
            expected = f"parts of at least {SMALL_PART_BYTES} bytes on average"
            raise FetchFailed("The host sends too many small parts.", expected=expected, got=f"{size} bytes in {parts}")
        yield chunk
    # A body without a length that was cut at the deadline looks as if it had ended.
    _left(deadline)
    if announced is not None and size != announced:
        raise FetchFailed("The host broke off.", expected=f"{announced} bytes", got=size)


def _announced(response: HTTPResponse) -> int | None:
    """Return how many bytes the host says will come; None: it does not say."""
    said = {part.strip() for text in response.headers.getlist("content-length") for part in text.split(",")} - {""}
    if response.chunked or not said:
        return None
    text = said.pop()
    if said or not (text.isascii() and text.isdecimal()):
        got = ", ".join((text, *said))
        raise FetchFailed("The host announces no valid length.", expected="digits, once", got=got, may_pass=False)
    digits = text.lstrip("0")
    if len(digits) > _MAX_LENGTH_DIGITS:
        raise TooLarge("The file has too many bytes.", expected="a length that can be", got=f"{len(digits)} digits")
    return int(digits or "0")


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
