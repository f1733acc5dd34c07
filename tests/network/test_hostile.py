"""Hosts and URLs that break the rules cause refusals with a reason, never faults."""

import errno
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from packshot.errors import FetchBlocked, FetchFailed, PackshotError, TooLarge
from packshot.network import connecting
from packshot.network.fetch import Fetched, check_address, fetch, parse_allowed, post
from packshot.network.http_connection import FinalResponse, make_pool
from packshot.network.url import follow_redirect, parse_url
from tests.servers.certificate import make_certificate
from tests.servers.raw_host import raw_host

HERE = parse_allowed("127.0.0.0/8, ::1, pictures.example")
OK = b"HTTP/1.1 200 OK\r\n"
CHUNKED = OK + b"Transfer-Encoding: chunked\r\n\r\n"

BROKEN = {
    "garbage": b"\x00\x01\x02\xff" * 100,
    "nothing": b"",
    "no HTTP": b"\xff\xd8\xff\xe0 a picture at once",
    "a status of letters": b"HTTP/1.1 abc X\r\nContent-Length: 0\r\n\r\n",
    "a status of one digit": b"HTTP/1.1 1 X\r\nContent-Length: 0\r\n\r\n",
    "a status of 5,000 digits": b"HTTP/1.1 " + b"2" * 5000 + b" X\r\nContent-Length: 0\r\n\r\n",
    "a version of letters": b"HTTP/x 200 OK\r\nContent-Length: 0\r\n\r\n",
    "10,000 headers": OK + b"".join(b"X-%d: y\r\n" % number for number in range(10_000)) + b"\r\n",
    "a header of a megabyte": OK + b"X: " + b"a" * 1_000_000 + b"\r\n\r\n",
    "interim responses without end": b"HTTP/1.1 100 Continue\r\n\r\n" * 10_000,
    "early hints without end": b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n" * 10_000,
    "another protocol": b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: h2c\r\n\r\n",
    "lengths that differ": OK + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\nab",
    "a chunk's size of letters": CHUNKED + b"zz\r\nabc\r\n",
    "a chunk that ends": CHUNKED + b"10\r\nabc",
    "a chunk's extension of a megabyte": CHUNKED + b"5;" + b"a" * 1_000_000 + b"\r\nabcde\r\n0\r\n\r\n",
    "a chunk too large for any number": CHUNKED + b"f" * 5000 + b"\r\nabc\r\n",
    "10,000 trailers": CHUNKED + b"1\r\na\r\n0\r\n" + b"X-T: y\r\n" * 10_000 + b"\r\n",
    "20,000 chunks of a byte": CHUNKED + b"1\r\na\r\n" * 20_000 + b"0\r\n\r\n",
    "a negative chunk": CHUNKED + b"-5\r\nabcde\r\n",
}
LENGTHS = {
    "5,000 digits": (b"9" * 5000, TooLarge),
    "more than allowed": (b"99999999999", TooLarge),
    "negative": (b"-5", FetchFailed),
    "a fraction": (b"1.5", FetchFailed),
    "hexadecimal": (b"0x10", FetchFailed),
    "digits of another script": ("١٢".encode(), FetchFailed),
    "too few bytes": (b"100", FetchFailed),
}


def get(port: int, folder: Path, path: str = "/", scheme: str = "http", name: str = "127.0.0.1") -> Fetched:
    url = f"{scheme}://{name}:{port}{path}"
    return fetch(url, folder / "file", max_bytes=10**6, allowed=HERE, seconds=20)


@pytest.mark.parametrize("answer", BROKEN.values(), ids=BROKEN.keys())
def test_a_response_that_is_not_http_is_a_refusal(tmp_path: Path, answer: bytes) -> None:
    with raw_host(answer) as host, pytest.raises(FetchFailed) as refused:
        get(host.port, tmp_path)
    assert refused.value.expected


@pytest.mark.parametrize("length", LENGTHS.values(), ids=LENGTHS.keys())
def test_an_invalid_length_is_a_refusal(tmp_path: Path, length: tuple[bytes, type[PackshotError]]) -> None:
    text, kind = length
    with raw_host(OK + b"Content-Length: " + text + b"\r\n\r\nabc") as host, pytest.raises(kind) as refused:
        get(host.port, tmp_path)
    assert refused.value.expected


@pytest.mark.parametrize(
    "head",
    [b"Content-Length: 3\r\n", b"Content-Length: 003\r\n", b"Content-Length: 3\r\nContent-Length: 3\r\n", b""],
)
def test_a_valid_length_is_accepted(tmp_path: Path, head: bytes) -> None:
    with raw_host(OK + head + b"\r\nabc") as host:
        assert get(host.port, tmp_path).size == 3


def test_the_length_of_a_chunked_response_is_ignored(tmp_path: Path) -> None:
    head = OK + b"Content-Length: 77\r\nTransfer-Encoding: chunked\r\n\r\n"
    with raw_host(head + b"3\r\nabc\r\n0\r\n\r\n") as host:
        assert get(host.port, tmp_path).size == 3


@pytest.mark.parametrize(
    "answer", [BROKEN["garbage"], BROKEN["nothing"], BROKEN["10,000 headers"], BROKEN["lengths that differ"]]
)
def test_a_webhook_receiver_without_http_is_a_refusal(answer: bytes) -> None:
    with raw_host(answer) as host, pytest.raises(FetchFailed):
        post(f"http://127.0.0.1:{host.port}/", b"{}", {}, allowed=HERE, seconds=20)


EARLY = b"HTTP/1.1 103 Early Hints\r\nLink: </style.css>; rel=preload\r\n\r\n"


@pytest.mark.parametrize("interim", [EARLY, EARLY * 3, b"HTTP/1.1 102 Processing\r\n\r\n", b"HTTP/1.1 100 C\r\n\r\n"])
def test_interim_responses_are_skipped(tmp_path: Path, interim: bytes) -> None:
    with raw_host(interim + OK + b"Content-Length: 3\r\n\r\nabc") as host:
        url = f"http://127.0.0.1:{host.port}/"
        assert get(host.port, tmp_path).size == 3
        assert post(url, b"{}", {}, allowed=HERE, seconds=20) == 200
        assert make_pool(retries=False).request("GET", url).data == b"abc"


def test_an_error_after_an_interim_response_counts(tmp_path: Path) -> None:
    with raw_host(EARLY + b"HTTP/1.1 503 Away\r\nContent-Length: 0\r\n\r\n") as host:
        assert post(f"http://127.0.0.1:{host.port}/", b"{}", {}, allowed=HERE, seconds=20) == 503


def test_a_file_that_a_proxy_passed_on_is_a_file(tmp_path: Path) -> None:
    with raw_host(b"HTTP/1.1 203 Non-Authoritative Information\r\nContent-Length: 3\r\n\r\nabc") as host:
        assert get(host.port, tmp_path).size == 3


def test_the_request_headers_suit_any_server(tmp_path: Path) -> None:
    with raw_host(OK + b"Content-Length: 3\r\n\r\nabc") as host:
        get(host.port, tmp_path)
    assert b"Accept: image/*, */*;q=0.8" in host.heads[0].split(b"\r\n")


@pytest.mark.parametrize(
    ("path", "asked"),
    [
        ("/café.png", b"/caf%C3%A9.png"),
        ("/写真.png", b"/%E5%86%99%E7%9C%9F.png"),
        ("/ok.png?q=ü&r=%C3%BC", b"/ok.png?q=%C3%BC&r=%C3%BC"),
        ("/a%20b+c;d='e'", b"/a%20b+c;d='e'"),
        ("/my photo.png?a b", b"/my%20photo.png?a%20b"),
        ('/a"<b>{c}?"<b>{c}', b"/a%22%3Cb%3E%7Bc%7D?%22%3Cb%3E{c}"),
        ("/👨\u200d👩\u200d👧.png", b"/%F0%9F%91%A8%E2%80%8D%F0%9F%91%A9%E2%80%8D%F0%9F%91%A7.png"),
        ("/?X-Amz-Security-Token=" + "a" * 5000, b"/?X-Amz-Security-Token=" + b"a" * 5000),
    ],
)
def test_characters_beyond_ascii_are_escaped_as_utf8(tmp_path: Path, path: str, asked: bytes) -> None:
    with raw_host(OK + b"Content-Length: 3\r\n\r\nabc") as host:
        get(host.port, tmp_path, path)
        assert post(f"http://127.0.0.1:{host.port}{path}", b"{}", {}, allowed=HERE, seconds=20) == 200
    assert host.requests == [b"GET " + asked + b" HTTP/1.1", b"POST " + asked + b" HTTP/1.1"]


@pytest.mark.parametrize(
    ("location", "asked"),
    [
        ("/café.png".encode(), b"/caf%C3%A9.png"),
        ("/café.png".encode("latin-1"), b"/caf%E9.png"),
        ("/写真.png?ü".encode(), b"/%E5%86%99%E7%9C%9F.png?%C3%BC"),
        (b"/my photo.png", b"/my%20photo.png"),
        (b"/a#part", b"/a"),
        (b"my photo.png", b"/my%20photo.png"),
        (b"?sig=" + b"a" * 5000, b"/?sig=" + b"a" * 5000),
    ],
)
def test_a_redirect_is_escaped_as_browsers_do(tmp_path: Path, location: bytes, asked: bytes) -> None:
    answers = [b"HTTP/1.1 302 Found\r\nLocation: " + location + b"\r\n\r\n", OK + b"Content-Length: 3\r\n\r\nabc"]
    with raw_host(answers) as host:
        get(host.port, tmp_path)
    assert host.requests[1] == b"GET " + asked + b" HTTP/1.1"


@pytest.mark.parametrize(
    "head",
    [
        b"",
        b"Location: http://[::1\r\n",
        b"Location: http://127.0.0.1:99999/\r\n",
        b"Location: http://127.0.0.1:0/\r\n",
        b"Location: http://127.0.0.1:x/\r\n",
        b"Location: http://\xff\xfe/\r\n",
        b"Location: http://a..b/\r\n",
        b"Location: http://\xe2\x84\xab.example/\r\n",
        b"Location: /a\r\nLocation: /b\r\n",
        b"Location: data:image/png;base64,AAAA\r\n",
        b"Location: http://user:secret@127.0.0.1/\r\n",
        b"Location: /" + b"a" * 9000 + b"\r\n",
    ],
)
def test_a_redirect_without_a_destination_is_a_refusal(tmp_path: Path, head: bytes) -> None:
    with raw_host(b"HTTP/1.1 302 Found\r\n" + head + b"\r\n") as host, pytest.raises((FetchBlocked, FetchFailed)):
        get(host.port, tmp_path)


def test_a_host_beyond_ascii_is_reached_by_its_idna_name() -> None:
    assert parse_url("http://bücher.example/").host == "xn--bcher-kva.example"
    # As in browsers, and unlike the older rules, by which it is strasse.example.
    assert parse_url("http://STRAẞE.example/").host == parse_url("http://straße.example/").host
    assert parse_url("http://straße.example/").host == "xn--strae-oqa.example"
    assert parse_url("http://写真。example/").host == "xn--g7qs82g.example"
    assert parse_url("http://my_bucket.example/").host == "my_bucket.example"
    assert follow_redirect("http://a.example/", ["http://bücher.example/".encode().decode("latin-1")]) == (
        "http://bücher.example/"
    )


@pytest.mark.slow
@given(st.text(max_size=60), st.sampled_from(["", "http://", "https://a.example/", "http://[", "//"]))
def test_any_text_is_a_url_or_refused(text: str, before: str) -> None:
    try:
        check_address(before + text)
    except FetchBlocked:
        return
    assert parse_url(before + text).target.isascii()


@given(st.binary(max_size=60))
def test_any_location_leads_to_a_url_or_is_refused(location: bytes) -> None:
    try:
        following = follow_redirect("http://a.example/b?c", [location.decode("latin-1")])
        url = parse_url(following)
    except (FetchBlocked, FetchFailed):
        return
    # The first line of a request can contain it, and nothing in it ends that line.
    assert url.host
    assert url.target.startswith("/")
    assert url.target.isascii()
    assert not set(url.target) & set(" \r\n\t#")


@pytest.mark.parametrize("name", ["127.0.0.1", "pictures.example"])
def test_a_certificate_of_another_host_is_a_refusal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    certificate, tls = make_certificate(tmp_path, "localhost")
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    resolve(monkeypatch, "127.0.0.1")
    with raw_host(OK + b"Content-Length: 3\r\n\r\nabc", tls) as host:
        with pytest.raises(FetchFailed, match="certificate is not accepted"):
            get(host.port, tmp_path, scheme="https", name=name)
        with pytest.raises(FetchFailed, match="certificate is not accepted"):
            post(f"https://{name}:{host.port}/", b"{}", {}, allowed=HERE, seconds=20)


@pytest.mark.parametrize("answer", [b"\x15\x03\x01\x00\x02\x02\x28", b"\x16\x03\x01\xff\xff" + b"x" * 100, OK])
def test_a_response_that_is_not_tls_is_a_refusal(tmp_path: Path, answer: bytes) -> None:
    with raw_host(answer) as host, pytest.raises(FetchFailed):
        # A TLS client's first message has no empty line. So the host answers after a time, or when the client hangs up.
        fetch(f"https://127.0.0.1:{host.port}/", tmp_path / "a", max_bytes=10, allowed=HERE, seconds=0.5)


def test_headers_that_cannot_be_parsed_leave_no_traceback_in_the_log(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with raw_host(OK + b"no colon\r\nContent-Length: 3\r\n\r\nabc") as host:
        get(host.port, tmp_path)
    assert "Traceback" not in caplog.text


def test_a_dead_address_of_several_is_skipped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    resolve(monkeypatch, "127.0.0.9", "127.0.0.8", "::1", "127.0.0.1")
    with raw_host(OK + b"Content-Length: 3\r\n\r\nabc") as host:
        url = f"http://pictures.example:{host.port}/"
        assert get(host.port, tmp_path, name="pictures.example").size == 3
        assert post(url, b"{}", {}, allowed=HERE, seconds=20) == 200
    assert len(host.requests) == 2


def test_addresses_that_stay_silent_leave_time_for_the_one_that_answers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connecting, "STAGGER_SECONDS", 0.01)
    silent = [f"127.0.1.{number}" for number in range(1, 2 * connecting.MAX_OPEN_ATTEMPTS)]
    begin = connecting._begin

    def begin_in_vain(address: connecting.Address, port: int) -> socket.socket:
        # A socket that never becomes writable, as if all its packets were lost.
        return full_socket() if str(address) in silent else begin(address, port)

    monkeypatch.setattr(connecting, "_begin", begin_in_vain)
    resolve(monkeypatch, *silent, "127.0.0.1")
    with raw_host(OK + b"Content-Length: 3\r\n\r\nabc") as host:
        assert get(host.port, tmp_path, name="pictures.example").size == 3


def test_addresses_that_all_stay_silent_are_given_up_in_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connecting, "_begin", lambda address, port: full_socket())
    resolve(monkeypatch, "127.0.0.8", "127.0.0.9")
    with pytest.raises(FetchFailed):
        fetch("http://pictures.example/", tmp_path / "a", max_bytes=10, allowed=HERE, seconds=0.3)


def test_no_other_address_is_tried_after_one_accepted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    resolve(monkeypatch, "127.0.0.1", "127.0.0.1", "127.0.0.2")
    with raw_host(b"") as host, pytest.raises(FetchFailed, match="broke off"):
        get(host.port, tmp_path, name="pictures.example")
    assert len(host.requests) == 1


@pytest.mark.parametrize("fault", [errno.EMFILE, errno.ENFILE, errno.ENOBUFS])
def test_a_lack_of_resources_of_this_machine_is_not_a_refusal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: int
) -> None:
    def lacking(*_: object, **__: object) -> None:
        raise OSError(fault, "too many open files")

    monkeypatch.setattr("packshot.network.connecting.socket.socket", lacking)
    with pytest.raises(OSError, match="too many open files"):
        fetch("http://127.0.0.1:9/", tmp_path / "a", max_bytes=10, allowed=HERE)


def test_an_unforeseen_exception_is_a_refusal_and_logged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def unreadable(*_: object) -> None:
        raise AttributeError("a parser stumbles")

    monkeypatch.setattr(FinalResponse, "_read_status", unreadable)
    with raw_host(OK) as host, pytest.raises(FetchFailed, match="broke off"):
        get(host.port, tmp_path)
    assert "a parser stumbles" in caplog.text


def full_socket() -> socket.socket:
    """Return a socket that accepts no more bytes until it is closed."""
    sock, peer = socket.socketpair()
    sock.setblocking(False)
    kept.append(peer)
    try:
        while True:
            sock.send(bytes(1 << 16))
    except BlockingIOError:
        return sock


kept: list[socket.socket] = []


@pytest.fixture(autouse=True)
def peers() -> Iterator[None]:
    yield
    while kept:
        kept.pop().close()


def resolve(monkeypatch: pytest.MonkeyPatch, *addresses: str) -> None:
    """Resolve the name pictures.example to these addresses."""
    real = socket.getaddrinfo

    def looked_up(host: Any, port: Any, *args: Any, **kwargs: Any) -> Any:
        if host != "pictures.example":
            return real(host, port, *args, **kwargs)
        family = {True: socket.AF_INET6, False: socket.AF_INET}
        return [(family[":" in address], socket.SOCK_STREAM, 6, "", (address, port)) for address in addresses]

    monkeypatch.setattr(socket, "getaddrinfo", looked_up)
