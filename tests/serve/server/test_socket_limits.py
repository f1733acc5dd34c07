"""WebSockets on a real server: deadlines, size limits, and clients that send without reading."""

import json
from collections.abc import Iterator

import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection, connect
from websockets.typing import Subprotocol

from serve.admin.sockets import MAX_SOCKETS_PER_ADDRESS, SocketCounts
from tests.serve.raw import ALIVE, Raw
from tests.support.server import TOKEN, Server, serving

HASTY = """
import serve.server.connection_limits, serve.admin.graphql, serve.server.websocket_protocol as sockets
serve.admin.graphql.INIT_SECONDS = 1
sockets.PROGRESS_SECONDS = 1
serve.admin.graphql.MAX_SOCKETS_PER_ADDRESS = 3
serve.admin.graphql.MAX_SOCKETS_PER_CALLER = 2
from serve.cli import main; main()
"""
INIT = json.dumps({"type": "connection_init", "payload": {"authorization": f"Bearer {TOKEN}"}})
UPGRADE = (
    b"GET /graphql HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 13\r\n"
    b"Sec-WebSocket-Protocol: graphql-transport-ws\r\n"
)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with serving(tmp_path_factory.mktemp("data"), program=HASTY) as server:
        yield server


def opened(server: Server) -> ClientConnection:
    url = server.base.replace("http", "ws") + "/graphql"
    return connect(url, subprotocols=[Subprotocol("graphql-transport-ws")])


def read_all(socket: ClientConnection) -> None:
    while True:
        socket.recv(30)


def closed(socket: ClientConnection) -> int:
    with pytest.raises(ConnectionClosed) as ended:
        read_all(socket)
    assert ended.value.rcvd is not None
    return ended.value.rcvd.code


def frame(opcode: int, payload: bytes = b"", *, final: bool = True) -> bytes:
    """Return a short frame as a client sends it, masked with zeros."""
    return bytes([opcode | 0x80 * final, 0x80 | len(payload)]) + bytes(4) + payload


def test_a_socket_that_does_not_authenticate_is_closed(server: Server) -> None:
    with opened(server) as socket:
        assert closed(socket) == 4408


def test_a_message_that_is_too_large_closes_its_socket(server: Server) -> None:
    with opened(server) as socket:
        socket.send("x" * 300_000)
        assert closed(socket) == 1009


def test_a_message_in_too_many_fragments_closes_its_socket(server: Server) -> None:
    with Raw(server.port) as raw:
        answer = raw.send(UPGRADE + b"\r\n").answer(head=True)
        assert answer is not None
        assert answer.status == 101
        raw.send(frame(1, final=False) + frame(0, final=False) * 10_000)
        assert raw.ends()


def test_every_message_of_a_burst_is_answered(server: Server) -> None:
    with opened(server) as socket:
        socket.send(INIT)
        assert json.loads(socket.recv(30))["type"] == "connection_ack"
        for _ in range(250):
            socket.send('{"type": "ping"}')
        assert {json.loads(socket.recv(30))["type"] for _ in range(250)} == {"pong"}


def test_a_client_that_pings_without_reading_is_disconnected(server: Server) -> None:
    with Raw(server.port, receive_bytes=4096) as raw:
        raw.send(UPGRADE + b"\r\n")
        with pytest.raises(ConnectionError):
            raw.send(frame(9, b"a" * 120) * 1_000_000)


def test_a_handshake_with_a_line_that_is_too_long_is_refused(server: Server) -> None:
    with Raw(server.port) as raw:
        answer = raw.send(UPGRADE + b"X-Long: " + b"a" * 20_000 + b"\r\n\r\n").answer()
        assert answer is not None
        assert answer.status == 431


@pytest.mark.parametrize(
    "body",
    [
        b"Content-Length: 5\r\n\r\n",
        b"Content-Length: 5\r\n\r\nhello",
        b"Content-Length: 00\r\n\r\n",
        b"Transfer-Encoding: chunked\r\n\r\n",
        b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
    ],
)
@pytest.mark.parametrize("before", [b"", ALIVE])
def test_a_handshake_with_a_body_is_refused(server: Server, before: bytes, body: bytes) -> None:
    with Raw(server.port) as raw:
        raw.send(before + UPGRADE + body)
        answers = [raw.answer() for _ in range(2 if before else 1)]
        assert [answer and answer.status for answer in answers] == ([200, 400] if before else [400])
        assert raw.ends()


@pytest.mark.parametrize(
    ("given", "other"),
    [
        (b"Sec-WebSocket-Version: 13\r\n", b""),
        (b"Sec-WebSocket-Version: 13\r\n", b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Version: 8\r\n"),
        (b"Sec-WebSocket-Key", b"X-Key"),
        (b"Sec-WebSocket-Key: ", b"Sec-WebSocket-Key: no"),
        (b"Sec-WebSocket-Key: ", b"Sec-WebSocket-Key: \xff"),
    ],
)
def test_a_malformed_handshake_gets_the_error_format_of_its_path(server: Server, given: bytes, other: bytes) -> None:
    assert given in UPGRADE
    for path, member in ((b"/graphql", "errors"), (b"/elsewhere", "title")):
        with Raw(server.port) as raw:
            raw.send(UPGRADE.replace(given, other).replace(b"/graphql", path) + b"\r\n")
            answer = raw.answer()
            assert answer is not None
            assert answer.status == 400
            assert "Sec-WebSocket" in str(json.loads(answer.body)[member])
            assert raw.ends()


@pytest.mark.parametrize("version", [b"8", b"14", b"8, 13", b"x", b""])
def test_a_handshake_with_another_version_gets_426_with_the_supported_version(server: Server, version: bytes) -> None:
    for path, member in ((b"/graphql", "errors"), (b"/elsewhere", "title")):
        with Raw(server.port) as raw:
            raw.send(UPGRADE.replace(b": 13", b": " + version).replace(b"/graphql", path) + b"\r\n")
            answer = raw.answer()
            assert answer is not None
            assert (answer.status, answer.headers["sec-websocket-version"]) == (426, "13")
            assert (answer.headers["upgrade"], answer.headers["connection"]) == ("websocket", "upgrade")
            assert "Sec-WebSocket-Version" in str(json.loads(answer.body)[member])
            assert raw.ends()


def test_a_handshake_with_content_length_0_is_accepted(server: Server) -> None:
    with Raw(server.port) as raw:
        answer = raw.send(UPGRADE + b"Content-Length: 0\r\n\r\n").answer(head=True)
        assert answer is not None
        assert answer.status == 101


def test_sockets_per_caller_and_per_address_are_limited(server: Server) -> None:
    with opened(server) as first, opened(server) as second, opened(server) as third:
        for socket in (first, second):
            socket.send(INIT)
            assert json.loads(socket.recv(30))["type"] == "connection_ack"
        with pytest.raises(InvalidStatus) as refused:
            opened(server)
        assert refused.value.response.status_code == 503
        third.send(INIT)
        assert closed(third) == 4403
    with opened(server):
        pass


def test_a_closed_socket_no_longer_counts() -> None:
    counts = SocketCounts()
    with counts.hold("one", 1) as held:
        assert held
        with counts.hold("one", 1) as more, counts.hold("other", 1) as other:
            assert (more, other) == (False, True)
    with counts.hold("one", 1) as held:
        assert held
    assert MAX_SOCKETS_PER_ADDRESS > 50, "many users of one office share an address"
