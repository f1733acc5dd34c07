"""Fetch a file from a URL that a client names, or send a webhook to one, without reaching private hosts.

A client could name the address of a cloud's metadata service, a database or another internal host. Therefore the host
is resolved once, all its addresses must be public, and the connection goes to one of these addresses. Each redirect is
checked in the same way.
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
# Seconds without a byte after which a host is given up.
SILENT_SECONDS = 15.0
CHUNK_BYTES = 1 << 16
# After this many parts of a body, their average size must be at least this many bytes.
MAX_SMALL_PARTS, SMALL_PART_BYTES = 10_000, 64
# Longer numbers are not sizes of files, and `int` refuses some of them.
_MAX_LENGTH_DIGITS = 18
# 203: a proxy on the way has changed the response.
_FILE_STATUSES = (200, 203)
_REDIRECT_STATUSES = (301, 302, 303, 307, 308)
_RETRY_STATUSES = (408, 425, 429)

USER_AGENT = "Packshot"
ACCEPT_PICTURES = "image/*, */*;q=0.8"

# Addresses that clouds use internally; `ipaddress` does not report all of them as private.
_CLOUD_INTERNAL = tuple(ipaddress.ip_network(text) for text in ("168.63.129.16/32", "100.64.0.0/10", "192.0.0.0/24"))
# Networks of IPv6 addresses that contain an IPv4 address, and its distance in bits from the end. Both must be public.
_WITH_IPV4 = tuple(
    (ipaddress.IPv6Network(text), shift)
    for text, shift in (
        ("::/96", 0),
        ("::ffff:0:0/96", 0),
        ("::ffff:0:0:0/96", 0),
        ("64:ff9b::/96", 0),
        ("2002::/16", 80),
    )
)
# Networks without public hosts: local NAT64, Teredo, site-local.
_NEVER_PUBLIC = tuple(ipaddress.ip_network(text) for text in ("64:ff9b:1::/48", "2001::/32", "fec0::/10"))
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")


@dataclass(frozen=True, slots=True)
class Allowed:
    """Hosts and networks that may be reached although they are not public.

    Attributes:
        hosts: names as written in the URL, lower case.
        networks: networks of addresses.
    """

    hosts: frozenset[str] = frozenset()
    networks: tuple[Network, ...] = ()


@dataclass(frozen=True, slots=True)
class Fetched:
    """A file that was fetched; `url` is the last one after redirects."""

    url: str
    size: int
    sha256: str


def parse_allowed(text: str) -> Allowed:
    """Parse a list of hosts and networks, separated by commas.

    Raises:
        ValueError: an item is neither a host nor a network.

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

    Faults of the URL and of the host are refusals; an `OSError` is a fault of this machine.

    Args:
        max_bytes: limit of the bytes received, and of the bytes after decoding.
        seconds: limit for the whole fetch, including redirects.
        accept: media types, as the value of the header `Accept`.

    Raises:
        FetchBlocked: the URL is not http or https, contains a name and password, or leads to an address that is not
        public.
        FetchFailed: the host does not answer, is too slow, answers with an error or not in HTTP, or redirects too
        often.
        TooLarge: more bytes than `max_bytes`.
    """
    deadline = time.monotonic() + seconds
    current_url = url
    headers = {"Accept": accept, "User-Agent": user_agent}
    for _ in range(REDIRECTS + 1):
        endpoint = parse_url(current_url)
        with _request(endpoint, _public_addresses(endpoint, allowed), deadline, headers) as response:
            if response.status in _FILE_STATUSES:
                return _receive(response, current_url, into, max_bytes, deadline)
            if response.status not in _REDIRECT_STATUSES:
                raise FetchFailed(
                    "The URL does not give a file.",
                    expected="status 200",
                    got=response.status,
                    may_pass=response.status >= 500 or response.status in _RETRY_STATUSES,
                )
            current_url = follow_redirect(current_url, response.headers.getlist("location"))
    raise FetchFailed(
        "The URL redirects too often.", expected=f"at most {REDIRECTS} redirects", got=current_url, may_pass=False
    )


def post(url: str, body: bytes, headers: Mapping[str, str], *, allowed: Allowed, seconds: float) -> int:
    """Send `body` to `url` and return the status of the response. Its body is not read; redirects are not followed.

    Args:
        headers: of the request, including `Content-Type`, `Accept` and `User-Agent`.

    Raises:
        FetchBlocked: the URL is not http or https, contains a name and password, or leads to an address that is not
        public.
        FetchFailed: the host does not answer, is too slow, or does not answer in HTTP.
    """
    deadline = time.monotonic() + seconds
    endpoint = parse_url(url)
    with _request(endpoint, _public_addresses(endpoint, allowed), deadline, headers, "POST", body) as response:
        return response.status


def check_address(url: str) -> None:
    """Raise `FetchBlocked` unless `url` is an http or https URL without a name and password."""
    parse_url(url)


def is_public(address: Address) -> bool:
    """Whether an address, and any IPv4 address that it contains, belongs to the public internet."""
    if isinstance(address, ipaddress.IPv6Address):
        if any(address in network for network in _NEVER_PUBLIC) or _is_isatap(address):
            return False
        for network, shift in _WITH_IPV4:
            if address in network:
                inner = ipaddress.IPv4Address(int(address) >> shift & 0xFFFFFFFF)
                # A translated address (NAT64) leads only to its IPv4 address.
                return is_public(inner) and (network == _NAT64 or address.is_global)
    return address.is_global and not (
        address.is_multicast or address.is_reserved or any(address in network for network in _CLOUD_INTERNAL)
    )


def _is_isatap(address: ipaddress.IPv6Address) -> bool:
    return int(address) >> 32 & 0xFDFFFFFF == 0x00005EFE


def _public_addresses(endpoint: Endpoint, allowed: Allowed) -> list[Address]:
    try:
        found = socket.getaddrinfo(endpoint.host, endpoint.port, type=socket.SOCK_STREAM)
        addresses = [ipaddress.ip_address(str(entry[4][0]).partition("%")[0]) for entry in found]
    except (OSError, ValueError) as error:
        _raise_local_fault(error)
        raise FetchFailed(
            "The host's name cannot be resolved.", expected="a host with an address", got=endpoint.host
        ) from error
    for address in addresses:
        _check(address, endpoint, allowed)
    return addresses


def _check(address: Address, endpoint: Endpoint, allowed: Allowed) -> None:
    is_allowed = endpoint.host in allowed.hosts or any(_within(address, allowed.networks))
    if not is_allowed and not is_public(address):
        # The address itself is not shown: it would reveal the internal network.
        raise FetchBlocked("The host is not on the public internet.", expected="a public host", got=endpoint.host)


def _within(address: Address, networks: Sequence[Network]) -> list[bool]:
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return [address in network or (mapped is not None and mapped in network) for network in networks]


@contextmanager
def _request(
    endpoint: Endpoint,
    addresses: Sequence[Address],
    deadline: float,
    headers: Mapping[str, str],
    method: str = "GET",
    body: bytes | None = None,
) -> Iterator[HTTPResponse]:
    connection = _connect(endpoint, addresses, deadline)
    # Each read has its own limit. This timer ends a response that trickles in slowly.
    timer = threading.Timer(_seconds_left(deadline), _shut_down, [connection])
    timer.daemon = True
    timer.start()
    try:
        with _translating_errors(deadline):
            # Images do not compress further.
            sent = {"Host": endpoint.authority, "Accept-Encoding": "identity", **headers}
            connection.request(method, endpoint.target, body, sent, preload_content=False)
            response = connection.getresponse()
        with closing(response):
            yield response
    finally:
        timer.cancel()
        connection.close()


def _connect(endpoint: Endpoint, addresses: Sequence[Address], deadline: float) -> HTTPConnection:
    """Connect to the first of the checked addresses that accepts; a TLS certificate must be valid for the host."""
    limit = min(SILENT_SECONDS, _seconds_left(deadline))
    with _translating_errors(deadline):
        try:
            sock = connect_to_first(addresses, endpoint.port, limit)
        except TimeoutError:
            raise
        except OSError as error:
            _raise_local_fault(error)
            raise FetchFailed("The host does not accept a connection.", expected="a host that answers") from error
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
    """Return a connection that uses a connected socket."""
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


def _shut_down(connection: HTTPConnection) -> None:
    sock = connection.sock
    if sock is not None:
        with suppress(OSError):
            sock.shutdown(socket.SHUT_RDWR)


@contextmanager
def _translating_errors(deadline: float) -> Iterator[None]:
    """Turn every error that the host's bytes cause into a refusal; a resource that this machine lacks stays an
    `OSError`.
    """
    try:
        yield
    except PackshotError:
        raise
    except Exception as error:
        _raise_local_fault(error)
        _seconds_left(deadline)
        raise _refusal_for(error) from error


def _raise_local_fault(error: BaseException) -> None:
    """Raise the fault of this machine that a library wrapped, if there is one."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, OSError) and cause.errno in LOCAL_FAULTS:
            raise OSError(cause.errno, cause.strerror) from error
        cause = cause.__cause__


def _refusal_for(error: Exception) -> PackshotError:
    if isinstance(error, CertificateError):
        return FetchFailed(
            "The host's TLS certificate is not accepted.", expected="a certificate for the host's name", got=error
        )
    if isinstance(error, ssl.SSLError):
        return FetchFailed(
            "The host's TLS certificate is not accepted.", expected="a valid certificate", got=error.reason
        )
    if isinstance(error, TimeoutError | urllib3.exceptions.TimeoutError):
        return FetchFailed("The host answers too slowly.", expected=f"bytes within {SILENT_SECONDS:g} seconds")
    if not isinstance(error, HTTPError | HTTPException | OSError | ValueError):
        faults.record(log, error, "a response could not be read")
    return FetchFailed("The host broke off the response.", expected="a whole HTTP response", got=type(error).__name__)


def _receive(response: HTTPResponse, url: str, into: Path, max_bytes: int, deadline: float) -> Fetched:
    size, digest = 0, sha256()
    announced = _announced_length(response)
    if announced is not None and announced > max_bytes:
        raise _too_large(max_bytes, str(announced))
    received = _read_body(response, announced, max_bytes, deadline)
    parts = decode_body(received, response.headers.getlist("content-encoding"))
    with open(into, "xb", opener=private) as file:
        for part in parts:
            size += len(part)
            if size > max_bytes:
                raise _too_large(max_bytes, f"more than {max_bytes}")
            digest.update(part)
            file.write(part)
    return Fetched(url, size, digest.hexdigest())


def _read_body(response: HTTPResponse, announced: int | None, max_bytes: int, deadline: float) -> Iterator[bytes]:
    """Yield the body as it is received; raise unless it is complete."""
    size = parts = 0
    while chunk := _read(response, deadline):
        size, parts = size + len(chunk), parts + 1
        if size > max_bytes:
            raise _too_large(max_bytes, f"more than {max_bytes}")
        if parts > MAX_SMALL_PARTS and size < parts * SMALL_PART_BYTES:
            # Each part costs as much work as a part of 64 KiB.
            expected = f"parts of at least {SMALL_PART_BYTES} bytes on average"
            raise FetchFailed("The host sends too many small parts.", expected=expected, got=f"{size} bytes in {parts}")
        yield chunk
    # A body without a length looks complete when it was cut off at the deadline.
    _seconds_left(deadline)
    if announced is not None and size != announced:
        raise FetchFailed("The host broke off the response.", expected=f"{announced} bytes", got=size)


def _announced_length(response: HTTPResponse) -> int | None:
    """Return how many bytes the host announces; None: it announces no number."""
    lengths = {part.strip() for text in response.headers.getlist("content-length") for part in text.split(",")} - {""}
    if response.chunked or not lengths:
        return None
    text = lengths.pop()
    if lengths or not (text.isascii() and text.isdecimal()):
        got = ", ".join((text, *lengths))
        raise FetchFailed("The host announces an invalid length.", expected="digits, once", got=got, may_pass=False)
    digits = text.lstrip("0")
    if len(digits) > _MAX_LENGTH_DIGITS:
        raise TooLarge(
            "The file has too many bytes.", expected=f"at most {_MAX_LENGTH_DIGITS} digits", got=f"{len(digits)} digits"
        )
    return int(digits or "0")


def _read(response: HTTPResponse, deadline: float) -> bytes:
    _seconds_left(deadline)
    with _translating_errors(deadline):
        # Takes the bytes that have arrived, so that the deadline is checked often.
        return response.read1(CHUNK_BYTES, decode_content=False)


def _too_large(max_bytes: int, got: str) -> TooLarge:
    return TooLarge("The file has too many bytes.", expected=f"at most {max_bytes} bytes", got=got)


def _seconds_left(deadline: float) -> float:
    left = deadline - time.monotonic()
    if left <= 0:
        raise FetchFailed("Fetching takes too long.", expected=f"all of it within {SECONDS:g} seconds")
    return left
