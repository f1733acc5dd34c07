"""Hosts and URLs that break the rules: each is a refusal with a reason, never a fault of ours."""

import errno
import socket
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from packshot import fetch as fetching
from packshot.errors import FetchBlocked, FetchFailed, PackshotError, TooLarge
from packshot.fetch import Fetched, check_address, fetch, parse_allowed, post
from packshot.fetch_url import follow_redirect, parse_url
from tests.servers.certificate import make_certificate
from tests.servers.raw_host import raw_host

HERE = parse_allowed("127.0.0.0/8, pictures.example")
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
    "interim answers without end": b"HTTP/1.1 100 Continue\r\n\r\n" * 10_000,
    "lengths that differ": OK + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\nab",
    "a chunk's size of letters": CHUNKED + b"zz\r\nabc\r\n",
    "a chunk that ends": CHUNKED + b"10\r\nabc",
    "a chunk's extension of a megabyte": CHUNKED + b"5;" + b"a" * 1_000_000 + b"\r\nabcde\r\n0\r\n\r\n",
    "a chunk too large for any number": CHUNKED + b"f" * 5000 + b"\r\nabc\r\n",
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
def test_an_answer_that_is_no_http_is_a_refusal(tmp_path: Path, answer: bytes) -> None:
    with raw_host(answer) as host, pytest.raises(FetchFailed) as refused:
        get(host.port, tmp_path)
    assert refused.value.expected


@pytest.mark.parametrize("length", LENGTHS.values(), ids=LENGTHS.keys())
def test_a_length_that_cannot_be_is_a_refusal(tmp_path: Path, length: tuple[bytes, type[PackshotError]]) -> None:
    text, kind = length
    with raw_host(OK + b"Content-Length: " + text + b"\r\n\r\nabc") as host, pytest.raises(kind) as refused:
        get(host.port, tmp_path)
    assert refused.value.expected


@pytest.mark.parametrize(
    "head",
    [b"Content-Length: 3\r\n", b"Content-Length: 003\r\n", b"Content-Length: 3\r\nContent-Length: 3\r\n", b""],
)
def test_a_length_that_can_be_is_taken(tmp_path: Path, head: bytes) -> None:
    with raw_host(OK + head + b"\r\nabc") as host:
        assert get(host.port, tmp_path).size == 3


def test_of_an_answer_in_chunks_the_length_does_not_matter(tmp_path: Path) -> None:
    head = OK + b"Content-Length: 77\r\nTransfer-Encoding: chunked\r\n\r\n"
    with raw_host(head + b"3\r\nabc\r\n0\r\n\r\n") as host:
        assert get(host.port, tmp_path).size == 3


@pytest.mark.parametrize(
    "answer", [BROKEN["garbage"], BROKEN["nothing"], BROKEN["10,000 headers"], BROKEN["lengths that differ"]]
)
def test_a_receiver_that_answers_no_http_is_a_refusal(answer: bytes) -> None:
    with raw_host(answer) as host, pytest.raises(FetchFailed):
        post(f"http://127.0.0.1:{host.port}/", b"{}", {}, allowed=HERE, seconds=20)


@pytest.mark.parametrize(
    ("path", "asked"),
    [
        ("/café.png", b"/caf%C3%A9.png"),
        ("/写真.png", b"/%E5%86%99%E7%9C%9F.png"),
        ("/ok.png?q=ü&r=%C3%BC", b"/ok.png?q=%C3%BC&r=%C3%BC"),
        ("/a%20b+c;d='e'", b"/a%20b+c;d='e'"),
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
        b"Location: /" + b"a" * 3000 + b"\r\n",
    ],
)
def test_a_redirect_that_leads_nowhere_is_a_refusal(tmp_path: Path, head: bytes) -> None:
    with raw_host(b"HTTP/1.1 302 Found\r\n" + head + b"\r\n") as host, pytest.raises((FetchBlocked, FetchFailed)):
        get(host.port, tmp_path)


def test_a_host_beyond_ascii_is_asked_by_its_idna_name() -> None:
    assert parse_url("http://bücher.example/").host == "xn--bcher-kva.example"
    assert follow_redirect("http://a.example/", ["http://bücher.example/".encode().decode("latin-1")]) == (
        "http://bücher.example/"
    )


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
        parse_url(following)
    except (FetchBlocked, FetchFailed):
        return


@pytest.mark.parametrize("name", ["127.0.0.1", "pictures.example"])
def test_a_certificate_of_another_host_is_a_refusal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    certificate, tls = make_certificate(tmp_path, "localhost")
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    resolve(monkeypatch, "127.0.0.1")
    with raw_host(OK + b"Content-Length: 3\r\n\r\nabc", tls) as host:
        with pytest.raises(FetchFailed, match="prove who it is"):
            get(host.port, tmp_path, scheme="https", name=name)
        with pytest.raises(FetchFailed, match="prove who it is"):
            post(f"https://{name}:{host.port}/", b"{}", {}, allowed=HERE, seconds=20)


@pytest.mark.parametrize("answer", [b"\x15\x03\x01\x00\x02\x02\x28", b"\x16\x03\x01\xff\xff" + b"x" * 100, OK])
def test_what_is_no_tls_is_a_refusal(tmp_path: Path, answer: bytes) -> None:
    with raw_host(answer) as host, pytest.raises(FetchFailed):
        # What a TLS client says first has no empty line, so the answer comes when it has hung up, or waits.
        fetch(f"https://127.0.0.1:{host.port}/", tmp_path / "a", max_bytes=10, allowed=HERE, seconds=0.5)


def test_headers_that_cannot_be_parsed_leave_no_traceback_in_the_log(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with raw_host(OK + b"no colon\r\nContent-Length: 3\r\n\r\nabc") as host:
        get(host.port, tmp_path)
    assert "Traceback" not in caplog.text


def test_a_dead_address_of_several_is_passed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    resolve(monkeypatch, "127.0.0.9", "127.0.0.1")
    with raw_host(OK + b"Content-Length: 3\r\n\r\nabc") as host:
        assert get(host.port, tmp_path, name="pictures.example").size == 3
    assert len(host.requests) == 1


@pytest.mark.parametrize("fault", [errno.EMFILE, errno.ENFILE, errno.ENOBUFS])
def test_what_this_machine_lacks_is_no_refusal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: int) -> None:
    def lacking(*_: object, **__: object) -> None:
        raise OSError(fault, "too many open files")

    monkeypatch.setattr("urllib3.util.connection.create_connection", lacking)
    with pytest.raises(OSError, match="too many open files"):
        fetch("http://127.0.0.1:9/", tmp_path / "a", max_bytes=10, allowed=HERE)


def test_an_exception_that_nobody_foresaw_is_the_hosts_failure_and_in_the_log(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def unreadable(*_: object) -> None:
        raise AttributeError("a parser stumbles")

    monkeypatch.setattr(fetching._Response, "_read_status", unreadable)
    with raw_host(OK) as host, pytest.raises(FetchFailed, match="broke off"):
        get(host.port, tmp_path)
    assert "a parser stumbles" in caplog.text


def resolve(monkeypatch: pytest.MonkeyPatch, *addresses: str) -> None:
    """Let the name pictures.example have these addresses."""
    real = socket.getaddrinfo

    def looked_up(host: Any, port: Any, *args: Any, **kwargs: Any) -> Any:
        if host != "pictures.example":
            return real(host, port, *args, **kwargs)
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port)) for address in addresses]

    monkeypatch.setattr(socket, "getaddrinfo", looked_up)
