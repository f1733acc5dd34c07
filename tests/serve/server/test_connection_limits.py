"""How many connections a server keeps, how they are shared between addresses, and which ones it closes first."""

import asyncio
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import pytest

from packshot.settings.settings import Settings
from serve.server.connection_limits import ConnectionTable, has_unread_bytes, make_table, max_connections
from tests.serve.raw import ALIVE, Raw
from tests.support.server import Server, packshot, serving

LIMIT = 4
# Deadlines are long, as the machine may be busy. Only the deadline that a test is about is short.
PROGRAM = """
import serve.server.connection_limits as limits, serve.server.http_protocol as http
http.FIRST_BYTE_SECONDS = http.HEAD_SECONDS = http.KEEP_ALIVE_SECONDS = 600
http.SURPLUS_SECONDS = {surplus}
limits.STALLED_SECONDS, limits.MAKE_ROOM_INTERVAL_SECONDS = {stalled}, 0
from serve.cli import main; main()
"""
# Seconds until a surplus connection without a request is refused.
SOON, NEVER = 0.25, 600


class Peer:
    """A connection whose client has sent nothing for `silent` seconds."""

    def __init__(self, host: str | None, silent: float = 0) -> None:
        self.client = None if host is None else (host, 1)
        self.silent = silent
        self.dropped = self.closed = False
        self.has_next_request = False

    def check(self, now: float) -> None:
        raise NotImplementedError

    def stalled_seconds(self, now: float) -> float:
        return self.silent

    def drop(self) -> None:
        self.dropped = True

    def close_if_idle(self) -> bool:
        self.closed = not self.has_next_request
        return self.closed


class Connections:
    """The connections of one test; `end` closes all of them."""

    def __init__(self, server: Server) -> None:
        self._port = server.port
        self._held: list[Raw] = []

    def silent(self, source: str = "127.0.0.1") -> Raw:
        """Connect without sending anything."""
        self._held.append(Raw(self._port, source=source))
        return self._held[-1]

    def served(self, source: str = "127.0.0.1") -> Raw:
        """Connect, and complete one request."""
        raw = self.silent(source).send(ALIVE)
        assert status(raw) == 200
        return raw

    def end(self) -> None:
        """Close every connection, and wait until the server has closed them too."""
        try:
            for raw in self._held:
                raw.finish()
            assert all(raw.ends() for raw in self._held)
        finally:
            for raw in self._held:
                raw.socket.close()


@pytest.fixture(scope="module")
def strict_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server that refuses a surplus connection at once."""
    with _served(tmp_path_factory.mktemp("data"), SOON) as server:
        yield server


@pytest.fixture(scope="module")
def patient_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server that waits for the request of a surplus connection."""
    with _served(tmp_path_factory.mktemp("data"), NEVER) as server:
        yield server


@contextmanager
def _served(data: Path, surplus: float, *, stalled: float = 600) -> Iterator[Server]:
    limits: dict[str, Any] = {
        "PACKSHOT_MAX_CONNECTIONS_PER_ADDRESS": str(LIMIT),
        "PACKSHOT_MAX_CONNECTIONS": str(3 * LIMIT),
    }
    with serving(data, program=PROGRAM.format(surplus=surplus, stalled=stalled), **limits) as server:
        server.client.close()
        yield server


@pytest.fixture
def strict(strict_server: Server) -> Iterator[Connections]:
    connections = Connections(strict_server)
    yield connections
    connections.end()


@pytest.fixture
def patient(patient_server: Server) -> Iterator[Connections]:
    connections = Connections(patient_server)
    yield connections
    connections.end()


def status(raw: Raw) -> int:
    answer = raw.answer()
    assert answer is not None
    return answer.status


def test_a_surplus_connection_gets_503_and_the_others_continue(strict: Connections) -> None:
    held = [strict.served() for _ in range(LIMIT)]
    surplus = strict.silent()
    answer = surplus.answer()
    assert answer is not None
    assert (answer.status, answer.headers["retry-after"]) == (503, "1")
    assert surplus.ends()
    for raw in held:
        assert status(raw.send(ALIVE)) == 200
    last = held.pop()
    last.finish()
    assert last.ends()
    for raw in [strict.served(), *held]:
        assert status(raw.send(ALIVE)) == 200


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has all of 127.0.0.0/8")
def test_another_address_is_refused_only_when_the_server_is_full(strict: Connections) -> None:
    held = [strict.served(f"127.0.0.{number}") for number in (2, 3, 4) for _ in range(LIMIT)]
    assert status(strict.silent("127.0.0.5")) == 503
    for raw in held:
        assert status(raw.send(ALIVE)) == 200


def test_stalled_connections_are_closed_for_new_ones(tmp_path: Path) -> None:
    with _served(tmp_path, SOON, stalled=0) as server:
        connections = Connections(server)
        try:
            for _ in range(3 * LIMIT):
                connections.silent()
            assert status(connections.served().send(ALIVE)) == 200
        finally:
            connections.end()


def test_a_silent_connection_is_closed_for_a_request(patient: Connections) -> None:
    for _ in range(3 * LIMIT):
        patient.silent()
    assert status(patient.served().send(ALIVE)) == 200


def test_silent_connections_that_open_just_before_a_request_are_closed_for_it(patient_server: Server) -> None:
    # Within one tick of the server's clock, in some of the rounds.
    for _ in range(20):
        connections = Connections(patient_server)
        try:
            for _ in range(LIMIT):
                connections.silent()
            assert status(connections.served().send(ALIVE)) == 200
        finally:
            connections.end()


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has all of 127.0.0.0/8")
def test_an_idle_connection_is_closed_for_a_request_from_another_address(patient: Connections) -> None:
    held = [patient.served(f"127.0.0.{number}") for number in (2, 3, 4) for _ in range(LIMIT)]
    new = patient.served("127.0.0.5")
    assert held[0].ends()
    for raw in [new, *held[1:]]:
        assert status(raw.send(ALIVE)) == 200


def test_the_longest_idle_connection_of_an_address_is_closed_for_its_next_request(patient: Connections) -> None:
    held = [patient.served() for _ in range(LIMIT)]
    assert status(held[0].send(ALIVE)) == 200
    patient.served()
    assert held[1].ends()
    for raw in (held[0], *held[2:]):
        assert status(raw.send(ALIVE)) == 200


def idle(table: ConnectionTable, *hosts: str | None) -> list[Peer]:
    peers = [Peer(host) for host in hosts]
    for peer in peers:
        assert table.accept(peer, 0)
        table.mark_idle(peer)
    return peers


def asked(table: ConnectionTable, host: str | None) -> bool:
    peer = Peer(host)
    return table.accept(peer, 0) or table.accept_request(peer, 0)


def test_idle_connections_of_the_busiest_address_are_closed_first_and_of_trusted_proxies_last() -> None:
    table = ConnectionTable(6, 4, [ip_network("10.0.0.0/8")])
    peers = idle(table, "10.0.0.1", "10.0.0.1", "10.0.0.1", "192.0.2.1", "192.0.2.2", "192.0.2.2")
    order = []
    for number in range(6):
        assert asked(table, f"198.51.100.{number}")
        (closed,) = (peer for peer in peers if peer.closed)
        order.append(peers.index(closed))
        closed.closed = False
    assert order == [4, 3, 5, 0, 1, 2]
    assert not asked(table, "198.51.100.9")


def test_a_connection_with_a_request_is_not_closed_as_idle() -> None:
    table = ConnectionTable(3, 3)
    busy, next_request, elsewhere = idle(table, "192.0.2.1", "192.0.2.1", "192.0.2.2")
    table.mark_busy(busy)
    next_request.has_next_request = True
    assert asked(table, "192.0.2.3")
    assert [peer.closed or peer.dropped for peer in (busy, next_request, elsewhere)] == [False, False, True]
    assert not asked(table, "192.0.2.3")


def test_stalled_connections_are_closed_before_idle_ones_and_slow_ones_after_them() -> None:
    table = ConnectionTable(2, 2)
    (waiting,) = idle(table, "192.0.2.1")
    slow = Peer("192.0.2.2", 0.1)
    assert table.accept(slow, 0)
    assert asked(table, "192.0.2.3")
    assert (waiting.closed, slow.dropped) == (True, False)
    table = ConnectionTable(2, 2)
    (waiting,) = idle(table, "192.0.2.1")
    stalled = Peer("192.0.2.2", 60)
    assert table.accept(stalled, 0)
    assert asked(table, "192.0.2.3")
    assert (waiting.closed, stalled.dropped) == (False, True)


def test_unread_bytes_of_a_connection_are_noticed() -> None:
    async def seen() -> list[bool]:
        ours, theirs = socket.socketpair()
        with theirs:
            transport, _ = await asyncio.get_running_loop().create_connection(asyncio.Protocol, sock=ours)
            transport.pause_reading()
            before = has_unread_bytes(transport)
            theirs.send(b"G")
            after = has_unread_bytes(transport)
            transport.abort()
            await asyncio.sleep(0)
            return [before, after]

    assert asyncio.run(seen()) == [False, True]


def test_connections_of_an_ipv6_network_count_together_and_those_of_trusted_proxies_do_not_count() -> None:
    table = ConnectionTable(100, 2, [ip_network("10.0.0.0/8")])
    assert [table.accept(Peer(f"2001:db8::{number}"), 0) for number in range(3)] == [True, True, False]
    assert table.accept(Peer("2001:db8:0:1::1"), 0)
    assert [table.accept(Peer(host), 0) for host in ("192.0.2.1", "::ffff:192.0.2.1", "192.0.2.1")] == [
        True, True, False,
    ]  # fmt: skip
    assert all(table.accept(Peer(host), 0) for host in ["10.0.0.1"] * 5 + [None] * 5)


def test_only_stalled_connections_of_the_full_address_are_closed() -> None:
    table = ConnectionTable(4, 2)
    elsewhere, silent, active = Peer("192.0.2.1", 60), Peer("192.0.2.2", 60), Peer("192.0.2.2")
    assert all(table.accept(peer, 0) for peer in (elsewhere, silent, active))
    assert table.accept(Peer("192.0.2.2"), 0)
    assert (elsewhere.dropped, silent.dropped, active.dropped) == (False, True, False)
    assert not table.accept(Peer("192.0.2.2"), 10)


def test_a_fault_at_one_connection_closes_only_that_connection() -> None:
    table, peer, other = ConnectionTable(4, 4), Peer("192.0.2.1"), Peer("192.0.2.2")
    other.check = lambda now: None  # type: ignore[method-assign]
    assert table.accept(peer, 0)
    assert table.accept(other, 0)
    table.check(1)
    assert (peer.dropped, other.dropped) == (True, False)


def test_the_connection_limit_fits_the_limit_of_open_files() -> None:
    room = max_connections(1024)
    assert 2 * room + 256 <= 1024
    table = make_table(Settings(), 1024)
    admitted = sum(table.accept(Peer(f"10.{number % 250}.0.1"), 0) for number in range(2000))
    assert admitted == room
    with pytest.raises(ValueError, match=f"PACKSHOT_MAX_CONNECTIONS: expected at most {room}.*ulimit -n"):
        make_table(Settings(max_connections=room + 1), 1024)


def test_a_connection_limit_above_the_limit_of_open_files_is_refused_at_start(tmp_path: Path) -> None:
    done = packshot(tmp_path, "serve", PACKSHOT_MAX_CONNECTIONS="1000000")
    assert done.returncode == 1
    assert "PACKSHOT_MAX_CONNECTIONS: expected at most" in done.stderr
