"""HTTP/1.1 on a real server: limits and deadlines of heads and bodies, and pipelined requests."""

import json
import re
import select
from collections.abc import Iterator

import pytest

from tests.serve.raw import ALIVE, AUTHORIZATION, Raw, drip
from tests.support.server import Server, serving

# The real program with short deadlines. The server checks them once a second.
HASTY = """
import serve.server.connection_limits, serve.server.http_protocol as http, serve.server.websocket_protocol as sockets
http.FIRST_BYTE_SECONDS = http.HEAD_SECONDS = http.DRAIN_SECONDS = http.PROGRESS_SECONDS = sockets.PROGRESS_SECONDS = 1
http.PROGRESS_BYTES = serve.server.connection_limits.PROGRESS_BYTES = 100
http.LINGER_SECONDS = 3
from serve.cli import main; main()
"""
GRAPHQL = b"POST /graphql HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
CREATE_UPLOAD = """mutation {
  createUpload(input: {mediaType: "", bytes: 1, method: ONE_TIME_TOKEN}) { upload { url } }
}"""
VIEWER = json.dumps({"query": "{ viewer { subject } }"}).encode()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with serving(tmp_path_factory.mktemp("data"), program=HASTY) as server:
        yield server


@pytest.fixture
def raw(server: Server) -> Iterator[Raw]:
    with Raw(server.port) as raw:
        yield raw


@pytest.mark.parametrize(
    ("head", "status"),
    [
        (b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nX-Long: " + b"a" * 40_000 + b"\r\n\r\n", 431),
        (b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n" + b"X: y\r\n" * 200 + b"\r\n", 431),
        (b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nX-Endless: " + b"a" * 4_000_000, 431),
        (b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nX-" + b"a" * 4_000_000, 431),
        (b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nAccept: " + b"," * 4_000_000 + b"\r\n\r\n", 431),
        (b"GET /healthz?" + b"a" * 20_000 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n", 414),
        (b"GET /" + b"a" * 4_000_000, 414),
        (b"\r\n" * 2_000_000, 431),
        (b"GET /healthz HTTP/1.1\r\n\r\n", 400),
        (b"GET /healthz HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400),
        (b"GET /healthz HTTP/1.1\r\nHost : a\r\n\r\n", 400),
        (b"GET /healthz HTTP/1.0\r\nHost: a\r\nHost: a\r\n\r\n", 400),
        (b"CONNECT 127.0.0.1:22 HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    ],
)
def test_a_head_that_is_too_large_or_malformed_is_refused_with_the_limit(raw: Raw, head: bytes, status: int) -> None:
    answer = raw.send(head).answer()
    assert answer is not None
    assert (answer.status, answer.headers["connection"]) == (status, "close")
    assert answer.headers["content-type"] == "application/problem+json"
    assert json.loads(answer.body)["expected"]
    assert raw.ends()


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (b"POST /graphql HTTP/1.1\r\nHost: localhost\r\nX-Long: " + b"a" * 40_000 + b"\r\n\r\n", 431),
        (b"GET /graphql?query=" + b"a" * 20_000 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n", 414),
        (b"POST /graphql HTTP/1.1\r\n\r\n", 400),
        (GRAPHQL + AUTHORIZATION + b"Transfer-Encoding: chunked\r\n\r\nnonsense\r\n", 400),
    ],
)
def test_http_refusals_at_graphql_are_graphql_errors(raw: Raw, request_: bytes, status: int) -> None:
    answer = raw.send(request_).answer()
    assert answer is not None
    assert (answer.status, answer.headers["content-type"]) == (status, "application/graphql-response+json")
    assert answer.headers["access-control-allow-origin"] == "*"
    (error,) = json.loads(answer.body)["errors"]
    assert error["message"]
    assert error["extensions"]["code"]
    assert error["extensions"]["expected"]


MALFORMED_HOSTS = [
    b"[::1", b"::1", b"[::1]a", b"[zz]", b"[1.2.3.4]", b"[1::2::3]", b"[fe80::1%25eth0]", b"a b", b"a,\tb", b"user@a",
    b"a:80:80", b"a:http", b"a:-1", b"a:65536", b"a/b", b"a?b", b"a#b", b"a\\b", b"<a>", b'"a"', b"a%zz", b"\xe5",
]  # fmt: skip
PATHS = [b"/", b"/healthz", b"/graphql", b"/adminAPI/imagePacks", b"/api/v2/img/a/b", b"/uploads/default/a", b"/a"]


@pytest.mark.parametrize("host", MALFORMED_HOSTS)
def test_a_malformed_host_is_refused_at_every_path(server: Server, host: bytes) -> None:
    upgrade = b"Connection: Upgrade\r\nUpgrade: websocket\r\n"
    for path, fields in [*((path, b"") for path in PATHS), (b"/graphql", upgrade)]:
        with Raw(server.port) as raw:
            answer = raw.send(b"GET %s HTTP/1.1\r\nHost: %s\r\n%s\r\n" % (path, host, fields)).answer()
            assert answer is not None
            assert (answer.status, b"host" in answer.body) == (400, True), path
            assert raw.ends()


@pytest.mark.parametrize(
    "host",
    [
        b"a",
        b"A-b_c.example.",
        b"a:",
        b" \t a \t ",
        b"a:80",
        b"1.2.3.4:65535",
        b"[::1]",
        b"[::1]:80",
        b"[::FFFF:1.2.3.4]",
        b"xn--a",
        b"",
    ],
)
def test_every_well_formed_host_is_accepted(raw: Raw, host: bytes) -> None:
    answer = raw.send(b"GET /healthz HTTP/1.1\r\nHost: %s\r\n\r\n" % host).answer()
    assert answer is not None
    assert answer.status == 200


@pytest.mark.parametrize(
    ("target", "status", "origin"),
    [
        (b"http://first.example:8080", 200, "http://first.example:8080"),
        (b"HTTP://[::1]", 200, "http://[::1]"),
        (b"http://user@first.example", 400, None),
        (b"http://first.example:99999", 400, None),
    ],
)
def test_the_host_of_an_absolute_target_replaces_the_host_header(
    raw: Raw, target: bytes, status: int, origin: str | None
) -> None:
    body = json.dumps({"query": CREATE_UPLOAD}).encode()
    head = b"POST %s/graphql HTTP/1.1\r\nHost: second.example\r\nContent-Type: application/json\r\n" % target
    answer = raw.send(head + AUTHORIZATION + b"Content-Length: %d\r\n\r\n" % len(body) + body).answer()
    assert answer is not None
    assert answer.status == status
    if origin is not None:
        url = json.loads(answer.body)["data"]["createUpload"]["upload"]["url"]
        assert url.startswith(f"{origin}/uploads/")


def test_blanks_around_a_header_value_are_ignored(raw: Raw) -> None:
    fields = AUTHORIZATION.replace(b"\r\n", b" \t\r\n") + b"Content-Length: \t%d \t\r\n\r\n" % len(VIEWER)
    answer = raw.send(GRAPHQL + fields + VIEWER).answer()
    assert answer is not None
    assert json.loads(answer.body)["data"] == {"viewer": {"subject": "admin"}}


def test_a_head_of_usual_size_is_accepted(raw: Raw) -> None:
    fields = b"".join(b"X-%d: %s\r\n" % (number, b"a" * 200) for number in range(100))
    answer = raw.send(b"GET /healthz?" + b"a" * 8000 + b" HTTP/1.1\r\nHost: localhost\r\n" + fields + b"\r\n").answer()
    assert answer is not None
    assert answer.status == 200


def test_pipelined_requests_are_answered_in_order(raw: Raw) -> None:
    bodies = [json.dumps({"query": f"{{ a{number}: __typename }}"}).encode() for number in range(300)]
    for body in bodies:
        raw.send(GRAPHQL + AUTHORIZATION + b"Content-Length: %d\r\n\r\n" % len(body) + body)
    for number in range(300):
        answer = raw.answer()
        assert answer is not None
        assert json.loads(answer.body)["data"] == {f"a{number}": "Query"}


def test_bytes_after_a_request_that_are_no_request_are_refused_after_its_response(raw: Raw) -> None:
    raw.send(ALIVE + b"GARBAGE\r\n\r\n")
    first, second = raw.answer(), raw.answer()
    assert first is not None
    assert second is not None
    assert (first.status, second.status) == (200, 400)
    assert raw.ends()


def test_trailers_cannot_add_an_authorization_header(raw: Raw) -> None:
    chunk = b"%x\r\n%s\r\n" % (len(VIEWER), VIEWER)
    raw.send(GRAPHQL + b"Transfer-Encoding: chunked\r\n\r\n" + chunk + b"0\r\n" + AUTHORIZATION + b"\r\n")
    answer = raw.answer()
    assert answer is not None
    assert answer.status == 401


def test_a_chunked_body_is_read(raw: Raw) -> None:
    chunks = b"".join(b"1\r\n%c\r\n" % byte for byte in VIEWER)
    answer = raw.send(GRAPHQL + AUTHORIZATION + b"Transfer-Encoding: chunked\r\n\r\n" + chunks + b"0\r\n\r\n").answer()
    assert answer is not None
    assert json.loads(answer.body)["data"] == {"viewer": {"subject": "admin"}}
    again = raw.send(ALIVE).answer()
    assert again is not None
    assert again.status == 200


@pytest.mark.parametrize("framing", [b"5;" + b"a" * 200_000, b"1\r\na\r\n0\r\n" + b"X-Trailer: a\r\n" * 20_000])
def test_chunk_extensions_and_trailers_have_a_limit(raw: Raw, framing: bytes) -> None:
    answer = raw.send(GRAPHQL + AUTHORIZATION + b"Transfer-Encoding: chunked\r\n\r\n" + framing).answer()
    assert answer is not None
    assert answer.status in (400, 431)
    assert raw.ends()


def test_100_continue_is_sent_only_to_authenticated_clients(server: Server) -> None:
    expect = b"Expect: 100-continue\r\nContent-Length: %d\r\n\r\n" % len(VIEWER)
    with Raw(server.port) as stranger:
        refused = stranger.send(GRAPHQL + expect).answer()
        assert refused is not None
        assert (refused.status, refused.headers["connection"]) == (401, "close")
    with Raw(server.port) as admin:
        go_on = admin.send(GRAPHQL + AUTHORIZATION + expect).answer()
        assert go_on is not None
        assert go_on.status == 100
        answer = admin.send(VIEWER).answer()
        assert answer is not None
        assert answer.status == 200


def test_a_client_that_keeps_sending_after_a_refusal_can_read_it_and_is_disconnected(raw: Raw) -> None:
    raw.send(GRAPHQL + b"Transfer-Encoding: chunked\r\n\r\n")
    chunk = b"10000\r\n" + b" " * 65_536 + b"\r\n"
    drip(raw, chunk, 0)
    answer = raw.answer()
    assert answer is not None
    assert (answer.status, answer.headers["connection"]) == (401, "close")
    assert raw.ends()


def test_silent_connections_and_slow_heads_time_out(server: Server) -> None:
    with Raw(server.port) as silent, Raw(server.port) as slow, Raw(server.port) as blank:
        slow.send(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nX-Slow: ")
        drip(slow, b"a")
        answer = slow.answer()
        assert answer is not None
        assert answer.status == 408
        assert silent.ends()
        drip(blank, b"\r\n")
        assert blank.ends()


def test_a_slow_body_times_out_and_a_steady_one_does_not(server: Server) -> None:
    announced = b"Content-Length: 100000\r\n\r\n"
    with Raw(server.port) as slow:
        slow.send(GRAPHQL + AUTHORIZATION + announced)
        drip(slow, b" ")
        answer = slow.answer()
        assert answer is not None
        assert answer.status == 408
        assert slow.ends()
    with Raw(server.port) as steady:
        steady.send(GRAPHQL + AUTHORIZATION + b"Content-Length: %d\r\n\r\n" % (len(VIEWER) + 1500))
        for _ in range(15):
            select.select([], [], [], 0.2)
            steady.send(b" " * 100)
        answer = steady.send(VIEWER).answer()
        assert answer is not None
        assert answer.status == 200


def test_a_client_that_does_not_read_its_responses_is_disconnected(server: Server) -> None:
    ask = b"GET /adminAPI/openapi.json HTTP/1.1\r\nHost: localhost\r\n\r\n"
    with Raw(server.port, receive_bytes=4096) as deaf:
        deaf.send(ask * 400)
        assert deaf.is_reset()


def test_refusals_and_timeouts_log_no_fault(server: Server) -> None:
    assert not re.search("Traceback|ERROR", server.output())
