"""Limits on open connections: how many there may be, and how long one may wait for its client.

Each connection tells for how long its client has made too little progress. The server looks at all of them once
a second; when the table is full, it closes the ones that wait for their clients before it turns a new one away.
A connection that is idle between two requests gives way as well, but only to one that brings a request.
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

# Descriptors that are kept for stores, databases, fetches and for connections that are being turned away.
RESERVED_DESCRIPTORS = 256
# A request may hold a stored object open besides its connection.
DESCRIPTORS_PER_CONNECTION = 2
DEFAULT_MAX_CONNECTIONS = 4096
DEFAULT_MAX_PER_ADDRESS = 512
MAX_SURPLUS = 64  # beyond these, until they are told so; a newer one takes the place of the oldest

# A body must move that many bytes in each window, in either direction.
PROGRESS_BYTES = 8192
PROGRESS_SECONDS = 20.0
# When there is no room for a new connection, those whose clients have made no progress for that long are closed.
STALLED_SECONDS = 2.0
MAKE_ROOM_INTERVAL_SECONDS = 0.25
# So many idle connections are tried for one request; those whose next request has just arrived stay open.
MAX_IDLE_TRIED = 32

log = logging.getLogger(__name__)

_TCP_INFO_BYTES = 192
_BYTES_ACKED_AT = 120  # `tcpi_bytes_acked` of Linux's `struct tcp_info`


class Connection(Protocol):
    """An open connection, as the table sees it.

    Attributes:
        client: host and port of the peer; None: a socket of this machine.
    """

    client: tuple[str, int] | None

    def check(self, now: float) -> None:
        """Close the connection if one of its deadlines has passed; `now` is the loop's time."""

    def stalled_seconds(self, now: float) -> float:
        """Return for how long its client has made too little progress; 0: it is the server's turn."""

    def drop(self) -> None:
        """Close the connection at once."""


class IdleConnection(Connection, Protocol):
    """A connection that can be idle between two requests."""

    def close_if_idle(self) -> bool:
        """Close the connection unless its next request has arrived or its last answer is still being sent.

        Returns:
            Whether the connection is closed.
        """


class ConnectionTable:
    """All open connections of a server, and how many each address has.

    Args:
        exempt: networks whose addresses have no limit of their own, as the proxies have that the settings trust.
    """

    def __init__(self, total: int, per_address: int, exempt: Sequence[Network] = ()) -> None:
        self._total = total
        self._per_address = per_address
        self._exempt = exempt
        self._keys: dict[Connection, str | None] = {}
        self._counts: Counter[str] = Counter()
        # By what they are counted under; the one that has been idle for longest is the first.
        self._idle: dict[str | None, dict[IdleConnection, None]] = {}
        self._surplus: dict[Connection, None] = {}
        self._next_search = 0.0

    def accept(self, connection: Connection, now: float) -> bool:
        """Add a connection if there is room for it, or if room can be made."""
        key = self._key(connection)
        if not self._has_room(key) and now >= self._next_search:
            self._next_search = now + MAKE_ROOM_INTERVAL_SECONDS
            self._make_room(key, now)
        if not self._has_room(key):
            return False
        self.add(connection)
        return True

    def accept_request(self, connection: Connection, now: float) -> bool:
        """Add a surplus connection that brings a request, if another one gives way.

        That is the one that has waited longest for its client, if it is stalled; else an idle one; else any that waits.
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
        """Add a connection without asking for room, as one that goes on under another protocol."""
        key = self._keys[connection] = self._key(connection)
        if key is not None:
            self._counts[key] += 1

    def add_surplus(self, connection: Connection) -> None:
        """Add a connection for which there is no room, for the moment in which it may bring a request or is told so."""
        self._surplus[connection] = None
        if len(self._surplus) > MAX_SURPLUS:
            oldest = next(iter(self._surplus))
            del self._surplus[oldest]
            oldest.drop()

    def remove(self, connection: Connection) -> None:
        """Forget a connection; harmless for one that is not there."""
        self._surplus.pop(connection, None)
        self.mark_busy(connection)
        key = self._keys.pop(connection, None)
        if key is not None:
            self._counts[key] -= 1
            if not self._counts[key]:
                del self._counts[key]

    def mark_idle(self, connection: IdleConnection) -> None:
        """Note that a connection waits for its next request from now on, and may give way."""
        if connection in self._keys:
            self._idle.setdefault(self._keys[connection], {})[connection] = None

    def mark_busy(self, connection: Connection) -> None:
        """Note that a connection does not wait for its next request; harmless for one that did not."""
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
        """Close an idle connection, of the same address where that has too many; return whether there was one.

        Otherwise the address with the most connections comes first, and those that are not counted come last.
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
        """Return the connections of which one must go: those of the same address, where that has too many; else all."""
        crowded = self._is_crowded(key)
        return [connection for connection, other in self._keys.items() if other == key or not crowded]

    def _key(self, connection: Connection) -> str | None:
        """Return what a connection is counted under: its address, or its network of IPv6; None: it is not counted."""
        if connection.client is None:
            return None
        address = read_address(connection.client[0])
        return None if any(address in network for network in self._exempt) else network_of(connection.client[0])


def read_address(host: str) -> IPv4Address | IPv6Address:
    """Return the address of a peer, as the system spells it; an IPv4 address in IPv6 is the former."""
    address = ip_address(host.partition("%")[0])
    return address.ipv4_mapped or address if isinstance(address, IPv6Address) else address


def make_table(settings: Settings, descriptors: int) -> ConnectionTable:
    """Return the table for a server that may open so many file descriptors.

    Raises:
        ValueError: the settings allow more connections than there are descriptors for; the text says how many.
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
    """Return for how many connections so many file descriptors suffice."""
    return max(16, (descriptors - RESERVED_DESCRIPTORS) // DESCRIPTORS_PER_CONNECTION)


def raise_descriptor_limit(most: int = 65_536) -> int:
    """Let this process open as many files as it may, and return how many that is.

    Args:
        most: more are not asked for.
    """
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = most if hard == resource.RLIM_INFINITY else min(hard, most)
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return most if soft == resource.RLIM_INFINITY else soft
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    except (ValueError, OSError):
        # macOS has a limit for each process below the one that it reports.
        return soft
    return wanted


class ReadingClient:
    """Measures how fast a client takes what is sent to it."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport
        self._since: float | None = None
        self._taken = 0

    def behind_seconds(self, now: float) -> float:
        """Return for how long the client has taken too little of what waits for it; 0: nothing waits."""
        if not self._transport.get_write_buffer_size():
            self._since = None
            return 0.0
        taken = self._read_taken()
        if self._since is None or abs(taken - self._taken) >= PROGRESS_BYTES:
            self._since, self._taken = now, taken
        return now - self._since

    def _read_taken(self) -> int:
        """Return how many bytes the client's system has acknowledged, or something that changes when it does."""
        connected = self._transport.get_extra_info("socket")
        if sys.platform == "linux" and connected is not None and connected.family != socket.AF_UNIX:
            info = connected.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _TCP_INFO_BYTES)
            if len(info) >= _BYTES_ACKED_AT + 8:
                return int(struct.unpack_from("=Q", info, _BYTES_ACKED_AT)[0])
        return self._transport.get_write_buffer_size()


def reset(transport: Transport) -> None:
    """Close a connection at once, and have the system forget what it has not sent yet."""
    connected = transport.get_extra_info("socket")
    is_open = not transport.is_closing() or transport.get_write_buffer_size() > 0
    if is_open and connected is not None and connected.family != socket.AF_UNIX:
        connected.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    transport.abort()


def has_unread_bytes(transport: Transport) -> bool:
    """Whether the system has bytes, or the end of the connection, that the server has not read yet."""
    connected = transport.get_extra_info("socket")
    if connected is None or connected.fileno() < 0:
        return False
    poll = select.poll()
    poll.register(connected.fileno(), select.POLLIN)
    return bool(poll.poll(0))


def watch_for_vanished_peer(transport: Transport) -> None:
    """Have the system ask a silent peer every minute or so whether it is still there."""
    connected = transport.get_extra_info("socket")
    if connected is None or connected.family == socket.AF_UNIX:
        return
    connected.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    idle = getattr(socket, "TCP_KEEPIDLE", getattr(socket, "TCP_KEEPALIVE", None))
    if idle is not None:
        connected.setsockopt(socket.IPPROTO_TCP, idle, 60)
