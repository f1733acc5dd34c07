"""Limits on open connections: their number, and how long each may wait for its client.

Each connection reports for how long its client has made too little progress. The server checks all connections once a
second. If the table is full, it closes connections that wait for their clients before it refuses a new one. An idle
keep-alive connection is closed only for a connection that brings a request.
"""

import logging
import select
import socket
import struct
import sys
from asyncio import Transport
from collections import Counter
from collections.abc import Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from itertools import chain, islice
from operator import itemgetter
from typing import Protocol, TypeAlias

from packshot import faults
from packshot.settings.settings import Settings
from packshot.settings.types import split_list
from serve.http.backoff import network_of

Network: TypeAlias = IPv4Network | IPv6Network

# File descriptors reserved for stores, databases, fetches, and connections that are being refused.
RESERVED_DESCRIPTORS = 256
# A request may hold a stored object open in addition to its connection.
DESCRIPTORS_PER_CONNECTION = 2
DEFAULT_MAX_CONNECTIONS = 4096
DEFAULT_MAX_PER_ADDRESS = 512
MAX_SURPLUS = 64  # connections beyond the limit that wait for their refusal; a newer one replaces the oldest

# Bytes of a body that must arrive or leave in each window.
PROGRESS_BYTES = 8192
PROGRESS_SECONDS = 20.0
# For a new connection, the table closes those whose clients have made no progress for this time.
STALLED_SECONDS = 2.0
MAKE_ROOM_INTERVAL_SECONDS = 0.25
# Idle connections tried per request. One whose next request has just arrived stays open.
MAX_IDLE_TRIED = 32

log = logging.getLogger(__name__)

_TCP_INFO_BYTES = 192
_BYTES_ACKED_AT = 120  # `tcpi_bytes_acked` of Linux's `struct tcp_info`


class Connection(Protocol):
    """An open connection, as the table sees it.

    Attributes:
        client: host and port of the peer; None: a local socket.
    """

    client: tuple[str, int] | None

    def check(self, now: float) -> None:
        """Close the connection if one of its deadlines has passed; `now` is the loop's time."""

    def stalled_seconds(self, now: float) -> float:
        """Return for how long the client has made too little progress; 0: the connection waits for the server."""

    def drop(self) -> None:
        """Close the connection at once."""


class IdleConnection(Connection, Protocol):
    """A connection that can be idle between two requests."""

    def close_if_idle(self) -> bool:
        """Close the connection, unless its next request has arrived or its last response is still being sent.

        Returns:
            Whether the connection is closed.
        """


class ConnectionTable:
    """All open connections of a server, with their number per address.

    Args:
        exempt: networks without a limit per address, for trusted proxies.
    """

    def __init__(self, total: int, per_address: int, exempt: Sequence[Network] = ()) -> None:
        self._total = total
        self._per_address = per_address
        self._exempt = exempt
        self._keys: dict[Connection, str | None] = {}
        self._counts: Counter[str] = Counter()
        # By address; the connection that has been idle longest comes first.
        self._idle: dict[str | None, dict[IdleConnection, None]] = {}
        self._surplus: dict[Connection, None] = {}
        self._next_search = 0.0

    def accept(self, connection: Connection, now: float) -> bool:
        """Add a connection if there is room or room can be made."""
        key = self._key(connection)
        if not self._has_room(key) and now >= self._next_search:
            self._next_search = now + MAKE_ROOM_INTERVAL_SECONDS
            self._make_room(key, now)
        if not self._has_room(key):
            return False
        self.add(connection)
        return True

    def accept_request(self, connection: Connection, now: float) -> bool:
        """Add a surplus connection that brings a request, if another connection can be closed for it.

        That is the connection that has waited longest for its client, if it is stalled; else an idle one; else any that
        waits.
        """
        key = self._key(connection)
        if not self._has_room(key):
            waits = ((other.stalled_seconds(now), other) for other in self._rivals(key))
            seconds, longest = max(waits, key=itemgetter(0), default=(0.0, None))
            closed = seconds < STALLED_SECONDS and self._close_idle(key)
            if not closed and longest is not None and seconds > 0:
                self.remove(longest)
                longest.drop()
        if not self._has_room(key):
            return False
        self._surplus.pop(connection, None)
        self.add(connection)
        return True

    def add(self, connection: Connection) -> None:
        """Add a connection without checking for room, for example one that has changed its protocol."""
        key = self._keys[connection] = self._key(connection)
        if key is not None:
            self._counts[key] += 1

    def add_surplus(self, connection: Connection) -> None:
        """Add a connection without room, until it brings a request or is refused."""
        self._surplus[connection] = None
        if len(self._surplus) > MAX_SURPLUS:
            oldest = next(iter(self._surplus))
            del self._surplus[oldest]
            oldest.drop()

    def remove(self, connection: Connection) -> None:
        """Remove a connection, if it is in the table."""
        self._surplus.pop(connection, None)
        self.mark_busy(connection)
        key = self._keys.pop(connection, None)
        if key is not None:
            self._counts[key] -= 1
            if not self._counts[key]:
                del self._counts[key]

    def mark_idle(self, connection: IdleConnection) -> None:
        """Note that a connection waits for its next request and may be closed."""
        if connection in self._keys:
            self._idle.setdefault(self._keys[connection], {})[connection] = None

    def mark_busy(self, connection: Connection) -> None:
        """Note that a connection does not wait for its next request."""
        key = self._keys.get(connection)
        idle = self._idle.get(key)
        if idle is not None and connection in idle:
            del idle[connection]
            if not idle:
                del self._idle[key]

    def check(self, now: float) -> None:
        """Close every connection whose deadline has passed."""
        for connection in [*self._keys, *self._surplus]:
            try:
                connection.check(now)
            except Exception as error:  # noqa: BLE001 - one connection must not end the server
                faults.record(log, error, "a connection's deadline could not be checked")
                connection.drop()

    def _has_room(self, key: str | None) -> bool:
        return len(self._keys) < self._total and not self._is_crowded(key)

    def _is_crowded(self, key: str | None) -> bool:
        return key is not None and self._counts[key] >= self._per_address

    def _count(self, key: str | None) -> int:
        return 0 if key is None else self._counts[key]

    def _close_idle(self, key: str | None) -> bool:
        """Close an idle connection, of the same address if that has too many. Return whether one was closed.

        Otherwise the address with the most connections comes first, and exempt addresses come last.
        """
        keys = [key] if self._is_crowded(key) else sorted(self._idle, key=self._count, reverse=True)
        idle = chain.from_iterable(self._idle.get(each, ()) for each in keys)
        for connection in list(islice(idle, MAX_IDLE_TRIED)):
            if connection.close_if_idle():
                self.remove(connection)
                return True
        return False

    def _make_room(self, key: str | None, now: float) -> None:
        for connection in self._rivals(key):
            if connection.stalled_seconds(now) >= STALLED_SECONDS:
                self.remove(connection)
                connection.drop()

    def _rivals(self, key: str | None) -> list[Connection]:
        """Return the connections that may be closed: those of the same address if that has too many, else all."""
        crowded = self._is_crowded(key)
        return [connection for connection, other in self._keys.items() if other == key or not crowded]

    def _key(self, connection: Connection) -> str | None:
        """Return the address or IPv6 network that a connection counts for; None: it is exempt."""
        if connection.client is None:
            return None
        address = read_address(connection.client[0])
        return None if any(address in network for network in self._exempt) else network_of(connection.client[0])


def read_address(host: str) -> IPv4Address | IPv6Address:
    """Return the address of a peer. An IPv4-mapped IPv6 address becomes an IPv4 address."""
    address = ip_address(host.partition("%")[0])
    return address.ipv4_mapped or address if isinstance(address, IPv6Address) else address


def make_table(settings: Settings, descriptors: int) -> ConnectionTable:
    """Return the table for a server with this number of file descriptors.

    Raises:
        ValueError: the settings allow more connections than the descriptors suffice for.
    """
    room = max_connections(descriptors)
    total = settings.max_connections or min(DEFAULT_MAX_CONNECTIONS, room)
    if total > room:
        raise ValueError(
            f"PACKSHOT_MAX_CONNECTIONS: expected at most {room}, as this process may open {descriptors} files, "
            f"got {total}; raise the limit with `ulimit -n`"
        )
    per_address = settings.max_connections_per_address or min(DEFAULT_MAX_PER_ADDRESS, max(1, total // 2))
    return ConnectionTable(total, per_address, [ip_network(text) for text in split_list(settings.trusted_proxies)])


def max_connections(descriptors: int) -> int:
    """Return for how many connections this number of file descriptors suffices."""
    return max(16, (descriptors - RESERVED_DESCRIPTORS) // DESCRIPTORS_PER_CONNECTION)


def raise_descriptor_limit(most: int = 65_536) -> int:
    """Raise the limit of open files of this process, and return it.

    Args:
        most: the highest limit to request.
    """
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = most if hard == resource.RLIM_INFINITY else min(hard, most)
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return most if soft == resource.RLIM_INFINITY else soft
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    except (ValueError, OSError):
        # macOS has a lower limit for each process than the one that it reports.
        return soft
    return wanted


class ReadingClient:
    """Measures how fast a client reads what is sent to it."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport
        self._since: float | None = None
        self._taken = 0

    def behind_seconds(self, now: float) -> float:
        """Return for how long the client has read too little of the waiting data; 0: none waits."""
        if not self._transport.get_write_buffer_size():
            self._since = None
            return 0.0
        taken = self._read_taken()
        if self._since is None or abs(taken - self._taken) >= PROGRESS_BYTES:
            self._since, self._taken = now, taken
        return now - self._since

    def _read_taken(self) -> int:
        """Return how many bytes the peer has acknowledged, or another number that changes when it reads."""
        connected = self._transport.get_extra_info("socket")
        if sys.platform == "linux" and connected is not None and connected.family != socket.AF_UNIX:
            info = connected.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _TCP_INFO_BYTES)
            if len(info) >= _BYTES_ACKED_AT + 8:
                return int(struct.unpack_from("=Q", info, _BYTES_ACKED_AT)[0])
        return self._transport.get_write_buffer_size()


def reset(transport: Transport) -> None:
    """Close a connection at once, and discard its unsent data."""
    connected = transport.get_extra_info("socket")
    is_open = not transport.is_closing() or transport.get_write_buffer_size() > 0
    if is_open and connected is not None and connected.family != socket.AF_UNIX:
        connected.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    transport.abort()


def has_unread_bytes(transport: Transport) -> bool:
    """Whether the socket has unread bytes, or the end of the connection."""
    connected = transport.get_extra_info("socket")
    if connected is None or connected.fileno() < 0:
        return False
    poll = select.poll()
    poll.register(connected.fileno(), select.POLLIN)
    return bool(poll.poll(0))


def watch_for_vanished_peer(transport: Transport) -> None:
    """Enable keep-alive probes, so that a vanished peer is noticed after a minute or so."""
    connected = transport.get_extra_info("socket")
    if connected is None or connected.family == socket.AF_UNIX:
        return
    connected.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    idle = getattr(socket, "TCP_KEEPIDLE", getattr(socket, "TCP_KEEPALIVE", None))
    if idle is not None:
        connected.setsockopt(socket.IPPROTO_TCP, idle, 60)
