"""How many connections a server keeps, from whom, and which give way."""

import asyncio
import socket
import sys
from collections.abc import Iterator
from ipaddress import ip_network
from pathlib import Path

import pytest

from packshot.settings import Settings
from serve.connection_limits import ConnectionTable, has_unread_bytes, make_table, max_connections
from tests.serve.raw import ALIVE, Raw
from tests.server import Server, packshot, serving

LIMIT = 4
PROGRAM = """
import serve.connection_limits as limits, serve.http_protocol as http
http.SURPLUS_SECONDS = 5
limits.STALLED_SECONDS, limits.MAKE_ROOM_INTERVAL_SECONDS = {stalled}, 0
from serve.cli import main; main()
"""


class Peer:
    """A connection whose client has been silent for some seconds."""

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


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    settings = {"PACKSHOT_MAX_CONNECTIONS_PER_ADDRESS": str(LIMIT), "PACKSHOT_MAX_CONNECTIONS": "12"}
    program = PROGRAM.format(stalled=60)
    with serving(tmp_path_factory.mktemp("data"), program=program, **settings) as server:
        server.client.close()
        yield server


def opened(server: Server, source: str) -> Raw:
    raw = Raw(server.port, source=source).send(ALIVE)
    assert status(raw) == 200
    return raw


def status(raw: Raw) -> int:
    answer = raw.answer()
    assert answer is not None
    return answer.status


def test_a_connection_too_many_is_answered_and_closed_and_others_go_on(server: Server) -> None:
    held = [opened(server, "127.0.0.1") for _ in range(LIMIT)]
    with Raw(server.port) as surplus:
        answer = surplus.answer()
        assert answer is not None
        assert (answer.status, answer.headers["retry-after"]) == (503, "1")
        assert surplus.ends()
    for raw in held:
        assert status(raw.send(ALIVE)) == 200
    held.pop().socket.close()
    held.append(opened(server, "127.0.0.1"))
    for raw in held:
        raw.socket.close()


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has all of 127.0.0.0/8")
def test_another_address_is_not_turned_away_before_the_server_is_full(server: Server) -> None:
    held = [opened(server, f"127.0.0.{number}") for number in (2, 3, 4) for _ in range(LIMIT)]
    with Raw(server.port, source="127.0.0.5") as surplus:
        assert status(surplus) == 503
    for raw in held:
        assert status(raw.send(ALIVE)) == 200
        raw.socket.close()


def test_silent_connections_give_way_to_new_ones(tmp_path: Path) -> None:
    settings = {"PACKSHOT_MAX_CONNECTIONS_PER_ADDRESS": str(LIMIT)}
    with serving(tmp_path, program=PROGRAM.format(stalled=0), **settings) as server:
        server.client.close()
        silent = [Raw(server.port) for _ in range(3 * LIMIT)]
        with opened(server, "127.0.0.1") as new:
            assert status(new.send(ALIVE)) == 200
        for raw in silent:
            raw.socket.close()


def test_a_request_takes_the_place_of_a_silent_connection(server: Server) -> None:
    silent = [Raw(server.port) for _ in range(3 * LIMIT)]
    with opened(server, "127.0.0.1") as new:
        assert status(new.send(ALIVE)) == 200
    for raw in silent:
        raw.socket.close()


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has all of 127.0.0.0/8")
def test_an_idle_connection_gives_way_to_a_request_from_another_address(server: Server) -> None:
    held = [opened(server, f"127.0.0.{number}") for number in (2, 3, 4) for _ in range(LIMIT)]
    with opened(server, "127.0.0.5") as new:
        assert held[0].ends()
        for raw in [new, *held[1:]]:
            assert status(raw.send(ALIVE)) == 200
    for raw in held:
        raw.socket.close()


def test_the_longest_idle_connection_of_an_address_gives_way_to_its_next_request(server: Server) -> None:
    held = [opened(server, "127.0.0.1") for _ in range(LIMIT)]
    assert status(held[0].send(ALIVE)) == 200
    with opened(server, "127.0.0.1"):
        assert held[1].ends()
        for raw in (held[0], *held[2:]):
            assert status(raw.send(ALIVE)) == 200
    for raw in held:
        raw.socket.close()


def idle(table: ConnectionTable, *hosts: str | None) -> list[Peer]:
    peers = [Peer(host) for host in hosts]
    for peer in peers:
        assert table.admit(peer, 0)
        table.mark_idle(peer)
    return peers


def asked(table: ConnectionTable, host: str | None) -> bool:
    peer = Peer(host)
    return table.admit(peer, 0) or table.admit_request(peer, 0)


def test_the_address_with_the_most_connections_gives_way_first_and_a_trusted_proxy_last() -> None:
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


def test_a_connection_with_a_request_never_gives_way_as_an_idle_one() -> None:
    table = ConnectionTable(3, 3)
    busy, next_request, elsewhere = idle(table, "192.0.2.1", "192.0.2.1", "192.0.2.2")
    table.mark_busy(busy)
    next_request.has_next_request = True
    assert asked(table, "192.0.2.3")
    assert [peer.closed or peer.dropped for peer in (busy, next_request, elsewhere)] == [False, False, True]
    assert not asked(table, "192.0.2.3")


def test_a_stalled_connection_gives_way_before_an_idle_one_and_a_slow_one_after_it() -> None:
    table = ConnectionTable(2, 2)
    (waiting,) = idle(table, "192.0.2.1")
    slow = Peer("192.0.2.2", 0.1)
    assert table.admit(slow, 0)
    assert asked(table, "192.0.2.3")
    assert (waiting.closed, slow.dropped) == (True, False)
    table = ConnectionTable(2, 2)
    (waiting,) = idle(table, "192.0.2.1")
    stalled = Peer("192.0.2.2", 60)
    assert table.admit(stalled, 0)
    assert asked(table, "192.0.2.3")
    assert (waiting.closed, stalled.dropped) == (False, True)


def test_bytes_that_nobody_has_read_yet_are_seen() -> None:
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


def test_a_network_of_ipv6_counts_as_one_address_and_a_trusted_proxy_as_none() -> None:
    table = ConnectionTable(100, 2, [ip_network("10.0.0.0/8")])
    assert [table.admit(Peer(f"2001:db8::{number}"), 0) for number in range(3)] == [True, True, False]
    assert table.admit(Peer("2001:db8:0:1::1"), 0)
    assert [table.admit(Peer(host), 0) for host in ("192.0.2.1", "::ffff:192.0.2.1", "192.0.2.1")] == [
        True, True, False,
    ]  # fmt: skip
    assert all(table.admit(Peer(host), 0) for host in ["10.0.0.1"] * 5 + [None] * 5)


def test_only_who_stalls_gives_way_and_only_at_the_crowded_address() -> None:
    table = ConnectionTable(4, 2)
    elsewhere, silent, active = Peer("192.0.2.1", 60), Peer("192.0.2.2", 60), Peer("192.0.2.2")
    assert all(table.admit(peer, 0) for peer in (elsewhere, silent, active))
    assert table.admit(Peer("192.0.2.2"), 0)
    assert (elsewhere.dropped, silent.dropped, active.dropped) == (False, True, False)
    assert not table.admit(Peer("192.0.2.2"), 10)


def test_a_fault_at_one_connection_drops_it_and_no_other() -> None:
    table, peer, other = ConnectionTable(4, 4), Peer("192.0.2.1"), Peer("192.0.2.2")
    other.check = lambda now: None  # type: ignore[method-assign]
    assert table.admit(peer, 0)
    assert table.admit(other, 0)
    table.check(1)
    assert (peer.dropped, other.dropped) == (True, False)


def test_the_limit_stays_below_what_the_process_may_open() -> None:
    room = max_connections(1024)
    assert 2 * room + 256 <= 1024
    table = make_table(Settings(), 1024)
    admitted = sum(table.admit(Peer(f"10.{number % 250}.0.1"), 0) for number in range(2000))
    assert admitted == room
    with pytest.raises(ValueError, match=f"PACKSHOT_MAX_CONNECTIONS: expected at most {room}.*ulimit -n"):
        make_table(Settings(max_connections=room + 1), 1024)


def test_more_connections_than_files_are_refused_at_the_start(tmp_path: Path) -> None:
    done = packshot(tmp_path, "serve", PACKSHOT_MAX_CONNECTIONS="1000000")
    assert done.returncode == 1
    assert "PACKSHOT_MAX_CONNECTIONS: expected at most" in done.stderr
