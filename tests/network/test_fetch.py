"""Fetching by URL: public hosts are reached, other hosts never."""

import ipaddress
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from packshot.errors import FetchBlocked, FetchFailed, TooLarge
from packshot.network.fetch import Allowed, fetch, is_public, parse_allowed
from tests.servers.host import Host, giving, leading

HERE = parse_allowed("127.0.0.1")
BODY = bytes(range(256)) * 400


def test_a_file_is_fetched_completely(host: Host, tmp_path: Path) -> None:
    host.answers["/a.jpg?v=1"] = giving(BODY)
    fetched = fetch(host.url("/a.jpg?v=1"), tmp_path / "a", max_bytes=len(BODY), allowed=HERE)
    assert (tmp_path / "a").read_bytes() == BODY
    assert (fetched.size, fetched.sha256) == (len(BODY), sha256(BODY).hexdigest())
    assert host.requests == [f"127.0.0.1:{host.port}/a.jpg?v=1"]


def test_redirects_are_followed_and_counted(host: Host, tmp_path: Path) -> None:
    for number in range(5):
        host.answers[f"/{number}"] = leading(f"/{number + 1}", (301, 302, 303, 307, 308)[number])
    host.answers["/5"] = giving(BODY)
    assert fetch(host.url("/2"), tmp_path / "a", max_bytes=10**6, allowed=HERE).url == host.url("/5")
    with pytest.raises(FetchFailed, match="redirects too often"):
        fetch(host.url("/1"), tmp_path / "b", max_bytes=10**6, allowed=HERE)
    assert not (tmp_path / "b").exists()


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1:{port}/",
        "http://localhost:{port}/",
        "http://127.1:{port}/",
        "http://2130706433:{port}/",
        "http://0x7f.0.0.1:{port}/",
        "http://[::ffff:127.0.0.1]:{port}/",
        "http://0.0.0.0:{port}/",
    ],
)
def test_this_machine_is_not_reached_by_any_spelling(host: Host, tmp_path: Path, url: str) -> None:
    host.answers["/"] = giving(BODY)
    with pytest.raises((FetchBlocked, FetchFailed)):
        fetch(url.format(port=host.port), tmp_path / "a", max_bytes=10**6, allowed=Allowed())
    assert host.requests == []


@pytest.mark.parametrize("to", ["http://127.0.0.2:{port}/b", "http://169.254.169.254/b", "file:///etc/passwd"])
def test_a_redirect_to_a_private_host_is_refused(host: Host, tmp_path: Path, to: str) -> None:
    host.answers["/a"] = leading(to.format(port=host.port))
    with pytest.raises(FetchBlocked):
        fetch(host.url("/a"), tmp_path / "a", max_bytes=10**6, allowed=HERE)
    assert len(host.requests) == 1
    assert not (tmp_path / "a").exists()


def test_a_name_is_resolved_only_once(host: Host, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    host.answers["/"] = giving(BODY)
    looks: list[str] = []

    def rebinding(name: str, *args: Any, **kwargs: Any) -> list[Any]:
        looks.append(name)
        shown = "127.0.0.1" if len(looks) == 1 else "169.254.169.254"
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (shown, host.port))]

    monkeypatch.setattr(socket, "getaddrinfo", rebinding)
    fetch(f"http://pictures.example:{host.port}/", tmp_path / "a", max_bytes=10**6, allowed=HERE)
    assert looks == ["pictures.example"]
    assert host.requests == [f"pictures.example:{host.port}/"]


def test_a_name_with_one_private_address_among_public_ones_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (text, 80)) for text in ("8.8.8.8", "10.0.0.1")]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: found)
    with pytest.raises(FetchBlocked, match="public internet"):
        fetch("http://pictures.example/", tmp_path / "a", max_bytes=10**6, allowed=Allowed())


@pytest.mark.parametrize(
    "url",
    [
        "ftp://example.com/a",
        "file:///etc/passwd",
        "gopher://example.com/",
        "//example.com/a",
        "http://",
        "http://user:secret@example.com/a.jpg",
        "http://exa mple.com/",
        "http://example.com\\@127.0.0.1/",
        "http://example.com:99999/",
        "http://example.com/\r\nX: y",
        "http://a.example/" + "a" * 9000,
        "http://a.example/" + "ü" * 1500,
        "http://" + "a" * 3000,
        "http://" + "a" * 64 + ".com/",
        "",
    ],
)
def test_other_addresses_are_refused(tmp_path: Path, url: str) -> None:
    with pytest.raises(FetchBlocked) as refused:
        fetch(url, tmp_path / "a", max_bytes=10**6, allowed=HERE)
    assert "secret" not in str(refused.value.got)


PUBLIC = "8.8.8.8 2606:4700::1111 ::ffff:8.8.8.8 64:ff9b::8.8.8.8"
NOT_PUBLIC = """
    0.0.0.0 10.1.1.1 100.64.0.1 100.100.100.200 127.0.0.1 168.63.129.16 169.254.169.254 172.16.0.1
    192.0.0.192 192.0.2.1 192.168.0.1 198.18.0.1 224.0.0.1 240.0.0.1 255.255.255.255
    :: ::1 ::127.0.0.1 ::ffff:10.0.0.1 ::ffff:0:10.0.0.1 64:ff9b::10.0.0.1 64:ff9b:1::1 2001::1
    2001:db8::1 2002:a00:1:: 2002:a9fe:a9fe::1 fc00::1 fd00:ec2::254 fe80::1 fec0::1 ff02::1
    2606:4700::5efe:10.0.0.1 2606:4700::200:5efe:10.0.0.1
"""


@pytest.mark.parametrize("text", PUBLIC.split())
def test_what_is_public(text: str) -> None:
    assert is_public(ipaddress.ip_address(text))


@pytest.mark.parametrize("text", NOT_PUBLIC.split())
def test_what_is_not_public(text: str) -> None:
    assert not is_public(ipaddress.ip_address(text))


@given(st.ip_addresses(v=4), st.sampled_from(["::ffff:0:0", "64:ff9b::", "::"]))
def test_an_ipv6_address_is_public_only_if_its_ipv4_address_is(inner: ipaddress.IPv4Address, around: str) -> None:
    outer = ipaddress.IPv6Address(int(ipaddress.IPv6Address(around)) | int(inner))
    assert is_public(inner) or not is_public(outer)


def test_too_many_bytes_are_refused_with_and_without_a_length(host: Host, tmp_path: Path) -> None:
    host.answers["/said"] = giving(BODY)
    host.answers["/unsaid"] = giving(BODY, Content_Length="", Transfer_Encoding="identity")
    for path in ("/said", "/unsaid"):
        with pytest.raises(TooLarge):
            fetch(host.url(path), tmp_path / path[1:], max_bytes=1000, allowed=HERE)


def test_an_interrupted_response_is_refused(host: Host, tmp_path: Path) -> None:
    host.answers["/"] = giving(BODY[:100], Content_Length="200")
    with pytest.raises(FetchFailed, match="broke off"):
        fetch(host.url("/"), tmp_path / "a", max_bytes=10**6, allowed=HERE)


def test_an_error_response_is_refused(host: Host, tmp_path: Path) -> None:
    host.answers["/"] = lambda handler: handler.send_error(404)
    with pytest.raises(FetchFailed) as refused:
        fetch(host.url("/"), tmp_path / "a", max_bytes=10**6, allowed=HERE)
    assert (refused.value.expected, refused.value.got) == ("status 200", "404")


@contextmanager
def trickling(text: bytes) -> Iterator[int]:
    """A host that sends `text` one byte at a time, repeatedly."""
    ended = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def serve() -> None:
            connection, _ = listening.accept()
            with connection:
                connection.recv(4096)
                try:
                    while not ended.wait(0.02):
                        for byte in text:
                            connection.send(bytes([byte]))
                            if ended.wait(0.02):
                                return
                except OSError:
                    return

        thread = threading.Thread(target=serve)
        thread.start()
        yield listening.getsockname()[1]
        ended.set()
        thread.join()


@pytest.mark.parametrize("text", [b"X: y\r\n", b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * 10_000], ids=["head", "body"])
def test_a_host_that_trickles_bytes_is_given_up(tmp_path: Path, text: bytes) -> None:
    with trickling(text) as port, pytest.raises(FetchFailed):
        fetch(f"http://127.0.0.1:{port}/", tmp_path / "a", max_bytes=10**6, allowed=HERE, seconds=1.0)


def test_an_unreachable_host_is_a_refusal(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    with pytest.raises(FetchFailed, match="does not accept a connection"):
        fetch(f"http://127.0.0.1:{port}/", tmp_path / "a", max_bytes=10**6, allowed=HERE)
    with pytest.raises(FetchFailed, match="name cannot be resolved"):
        fetch("http://absent.invalid/", tmp_path / "a", max_bytes=10**6, allowed=HERE)


def test_an_untrusted_certificate_is_refused(host: Host, tmp_path: Path) -> None:
    with pytest.raises(FetchFailed):
        fetch(f"https://127.0.0.1:{host.port}/", tmp_path / "a", max_bytes=10**6, allowed=HERE)


def test_hosts_and_networks_can_be_allowed() -> None:
    allowed = parse_allowed(" Media.Internal,10.0.0.0/8, fd00::/8, Bücher.example ")
    assert allowed.hosts == {"media.internal", "xn--bcher-kva.example"}
    assert [str(network) for network in allowed.networks] == ["10.0.0.0/8", "fd00::/8"]
    for wrong in ("10.0.0.0/33", "a/b", "http://x"):
        with pytest.raises(ValueError, match="does not appear to be"):
            parse_allowed(wrong)
