"""A server's log stays short, regardless of what clients send and how often a request fails."""

import io
import logging
import os
import signal
import socket
import struct
from base64 import b64encode
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from packshot import faults
from serve.logs.setup import FORMAT, MAX_CHARACTERS, BoundedFormatter, Flood
from serve.logs.setup import MAX_LINES as LINES_OF_A_CAUSE
from serve.logs.tracebacks import MAX_LINES, format_bounded
from tests.support.pictures import jpeg, photo
from tests.support.server import Server, serving

# Renders fail as by a fault; the width chooses the process that fails.
BROKEN = """
import logging, threading
from packshot.render.processes.pool import Renderer
def render(*args, **kwargs):
    logging.getLogger("library").error("the same again", exc_info=ValueError("as before"))
    threading.Thread(target=lambda: 1 / 0).start()
    raise RuntimeError("a bug in rendering")
Renderer.render = render
from serve.cli import main; main()
"""
HEALTH = b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"
PICTURE = f"GET /api/v2/img/{'0' * 24}?width=100 HTTP/1.1\r\nHost: x\r\n\r\n".encode()
BODY = b"POST /graphql HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 12\r\n\r\n{"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with serving(tmp_path_factory.mktemp("data")) as server:
        yield server


def upgrade(**headers: str) -> bytes:
    named = {
        "Host": "x",
        "Connection": "Upgrade",
        "Upgrade": "websocket",
        "Sec-WebSocket-Version": "13",
        "Sec-WebSocket-Key": b64encode(os.urandom(16)).decode(),
        "Sec-WebSocket-Protocol": "graphql-transport-ws",
    } | {name.replace("_", "-"): value for name, value in headers.items()}
    lines = [f"{name}: {value}\r\n" for name, value in named.items()]
    return ("GET /graphql HTTP/1.1\r\n" + "".join(lines) + "\r\n").encode()


def frame(data: bytes, *, opcode: int = 1, fin: bool = True, masked: bool = True, reserved: int = 0) -> bytes:
    mask = os.urandom(4)
    head = bytes([fin << 7 | reserved << 4 | opcode, masked << 7 | len(data)])
    return head + (mask + bytes(byte ^ mask[place % 4] for place, byte in enumerate(data)) if masked else data)


def send(server: Server, *parts: bytes, reset: bool = False) -> None:
    """Send parts, the rest after the first response; then end the connection."""
    with socket.create_connection(("127.0.0.1", server.port)) as client:
        client.settimeout(0.2)
        for part in parts:
            try:
                client.sendall(part)
                client.recv(1 << 16)
            except OSError:
                continue
        if reset:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


ATTACKS = {
    "messages that are no objects": [
        [upgrade(), frame(text)] for text in (b"[]", b"5", b"null", b'"x"', b"{", b"\xff")
    ],
    "messages of no type": [[upgrade(), frame(b'{"type": ' + text + b"}")] for text in (b"5", b"[]", b'"' + b"x" * 99)],
    "an id that is a list": [[upgrade(), frame(b'{"type": "complete", "id": []}')]],
    "binary messages": [[upgrade(), frame(b"[]", opcode=2)]],
    "frames that the protocol lacks": [
        [upgrade(), frame(b"a", **wrong)]
        for wrong in ({"opcode": 3}, {"opcode": 0}, {"reserved": 7}, {"masked": False}, {"opcode": 9, "fin": False})
    ],
    "close frames at fault": [
        [upgrade(), frame(data, opcode=8) + frame(b"[]")] for data in (b"a", b"\0\5", b"\3\xe8\xff", b"\3\xe8")
    ],
    "handshakes at fault": [
        [upgrade(Sec_WebSocket_Version="12") + HEALTH],
        [upgrade(Sec_WebSocket_Key="x")],
        [upgrade(Sec_WebSocket_Protocol="graphql-ws"), frame(b"{}")],
        [upgrade(Origin="http://elsewhere.example")] * 2,
    ],
    "requests at fault": [[data + b"\r\n\r\n"] for data in (b"\0\1\2", b"GET", b"GET /\xff HTTP/1.1\r\nX: \0")] * 20,
    "a chunk at fault": [[BODY.replace(b"Content-Length: 12", b"Transfer-Encoding: chunked") + b"zz\r\n"]],
}


@pytest.mark.parametrize("name", ATTACKS)
def test_no_client_can_have_a_traceback_written_at_will(server: Server, name: str) -> None:
    before = len(server.output().splitlines())
    for parts in ATTACKS[name]:
        send(server, *parts)
        send(server, *parts, reset=True)
    assert server.client.get("/healthz").status_code == 200
    lines = server.output().splitlines()[before:]
    assert not [line for line in lines if "Traceback" in line]
    assert len(lines) <= 45


def test_lines_that_peers_and_clients_cause_are_counted_at_every_level() -> None:
    written = io.StringIO()
    handler = logging.StreamHandler(written)
    handler.setFormatter(BoundedFormatter(FORMAT))
    handler.addFilter(Flood())
    log = logging.getLogger("pregen.services.webhook_sender")
    log.addHandler(handler)
    before = log.level
    # Not by the attribute, because a logger caches its enabled levels.
    log.setLevel(logging.INFO)
    try:
        for number in range(500):
            log.info("webhook delivery %s: %s", number, "no answer " * 1000)
        faults.FAULTS.end_windows()
    finally:
        log.removeHandler(handler)
        log.setLevel(before)
    lines = written.getvalue().splitlines()
    assert len(lines) == LINES_OF_A_CAUSE + 1
    assert max(map(len, lines)) < 2 * MAX_CHARACTERS
    assert f"{500 - LINES_OF_A_CAUSE} more of this kind" in lines[-1]


def test_refused_requests_are_counted_in_the_log(tmp_path: Path) -> None:
    with serving(tmp_path, PACKSHOT_LOG_LEVEL="info") as server:
        for _ in range(60):
            send(server, b"GET /healthz HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n")
        printed = server.end(signal.SIGTERM)
    refused = [line for line in printed.splitlines() if " refused: " in line]
    assert len(refused) == LINES_OF_A_CAUSE + 1
    assert "40 more of this kind" in refused[-1]


@pytest.mark.parametrize("data", [HEALTH * 50, PICTURE * 50, BODY, BODY * 20, upgrade() + frame(b"[]")])
@pytest.mark.parametrize("reset", [True, False])
def test_a_client_that_disconnects_early_is_not_logged(server: Server, data: bytes, reset: bool) -> None:
    before = len(server.output().splitlines())
    for _ in range(3):
        with socket.create_connection(("127.0.0.1", server.port)) as client:
            client.sendall(data)
            if reset:
                client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    assert server.client.get("/healthz").status_code == 200
    assert not [line for line in server.output().splitlines()[before:] if "Traceback" in line or "ERROR" in line]


def test_a_failing_picture_writes_one_short_traceback_and_a_line_for_each_request(tmp_path: Path) -> None:
    with serving(tmp_path / "data", program=BROKEN) as server:
        pack_id, _ = server.pack_showing(jpeg(photo(400, 300)))
        answers = [server.client.get(f"/api/v2/img/{pack_id}?width={100 + number}") for number in range(20)]
        assert {answer.status_code for answer in answers} == {500}
        references = [answer.json()["reference"] for answer in answers]
        printed = server.output()
    assert len(set(references)) == 20
    assert all(reference in printed for reference in references)
    # One of the request and one of the worker, which also renders.
    assert printed.count("\nRuntimeError: a bug in rendering\n") == 2
    assert printed.count("\nZeroDivisionError: division by zero\n") == 1
    assert printed.count("the same again") <= 2
    assert len(printed.splitlines()) < 200


def chained(depth: int) -> Exception:
    try:
        if depth:
            raise chained(depth - 1)
        raise ValueError("the cause of all")
    except (RuntimeError, ValueError) as error:
        try:
            raise RuntimeError(f"depth {depth} " + "x" * 10_000) from error
        except RuntimeError as outer:
            return outer


def deep(frames: int) -> None:
    if frames:
        deep(frames - 1)
    raise KeyError("deepest")


@pytest.mark.parametrize("make", [lambda: chained(30), lambda: ExceptionGroup("several", [chained(3), chained(2)])])
def test_a_long_chain_is_shortened_and_keeps_its_cause(make: Callable[[], BaseException]) -> None:
    text = format_bounded(make())
    assert len(text.splitlines()) <= MAX_LINES + 1
    assert len(text) < 10_000
    assert "ValueError: the cause of all" in text


def test_a_deep_traceback_keeps_the_line_that_raised() -> None:
    with pytest.raises(KeyError) as raised:
        deep(500)
    text = format_bounded(raised.value)
    assert len(text.splitlines()) <= MAX_LINES + 1
    assert text.endswith("KeyError: 'deepest'")
    assert 'raise KeyError("deepest")' in text


def test_traceback_of_a_loop_of_causes_ends() -> None:
    one, two = ValueError("one"), ValueError("two")
    one.__cause__, two.__cause__ = two, one
    assert format_bounded(one).count("ValueError") == 2
