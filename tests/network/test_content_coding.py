"""Files with a Content-Encoding are decoded before they are stored, within the same limits."""

import gzip
import zlib
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from packshot.errors import FetchFailed, TooLarge
from packshot.network.content_coding import PART_BYTES, decode_body
from packshot.network.fetch import Fetched, fetch, parse_allowed
from tests.servers.raw_host import raw_host

FILE = bytes(range(256)) * 1000
BOMB = gzip.compress(bytes(50_000_000), 9)


def raw_deflate(data: bytes) -> bytes:
    deflater = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return deflater.compress(data) + deflater.flush()


SOUND = {
    "gzip": (b"gzip", gzip.compress(FILE)),
    "an old name of gzip": (b"X-GZip", gzip.compress(FILE)),
    "several members": (b"gzip", gzip.compress(FILE[:1000]) + gzip.compress(b"") + gzip.compress(FILE[1000:])),
    "padding": (b"gzip", gzip.compress(FILE) + bytes(600)),
    "deflate": (b"deflate", zlib.compress(FILE)),
    "deflate without a header": (b"deflate", raw_deflate(FILE)),
    "stored deflate": (b"deflate", zlib.compress(FILE, 0)),
    "identity": (b"identity", FILE),
    "nothing": (b"", FILE),
    "a framing that the store removed": (b"aws-chunked", FILE),
    "a removed framing and gzip": (b"gzip, aws-chunked", gzip.compress(FILE)),
}
BROKEN = {
    "another coding": (b"br", FILE),
    "two codings": (b"gzip, gzip", gzip.compress(gzip.compress(FILE))),
    "another file": (b"gzip", FILE),
    "half of it": (b"gzip", gzip.compress(FILE)[:-100]),
    "without its checksum": (b"gzip", gzip.compress(FILE)[:-8]),
    "with a wrong checksum": (b"gzip", gzip.compress(FILE)[:-8] + bytes(8)),
    "nothing at all": (b"gzip", b""),
    "a byte": (b"deflate", b"x"),
    "half of deflate": (b"deflate", zlib.compress(FILE)[:-10]),
}


def get(folder: Path, coding: bytes, body: bytes, *, chunked: bool = False, max_bytes: int = 10**6) -> Fetched:
    head = b"HTTP/1.1 200 OK\r\nContent-Encoding: " + coding + b"\r\n"
    if chunked:
        framed = b"Transfer-Encoding: chunked\r\n\r\n%x\r\n%b\r\n0\r\n\r\n" % (len(body), body)
    else:
        framed = b"Content-Length: %d\r\n\r\n%b" % (len(body), body)
    with raw_host(head + framed) as host:
        url = f"http://127.0.0.1:{host.port}/"
        return fetch(url, folder / "file", max_bytes=max_bytes, allowed=parse_allowed("127.0.0.1"), seconds=20)


@pytest.mark.parametrize("chunked", [False, True], ids=["whole", "chunked"])
@pytest.mark.parametrize("answer", SOUND.values(), ids=SOUND.keys())
def test_a_file_is_stored_decoded(tmp_path: Path, answer: tuple[bytes, bytes], chunked: bool) -> None:
    fetched = get(tmp_path, *answer, chunked=chunked)
    assert (tmp_path / "file").read_bytes() == FILE
    assert (fetched.size, fetched.sha256) == (len(FILE), sha256(FILE).hexdigest())


@pytest.mark.parametrize("answer", BROKEN.values(), ids=BROKEN.keys())
def test_an_undecodable_body_is_a_refusal_with_a_reason(tmp_path: Path, answer: tuple[bytes, bytes]) -> None:
    with pytest.raises(FetchFailed) as refused:
        get(tmp_path, *answer, chunked=True)
    assert refused.value.expected


def test_a_decompression_bomb_is_stopped_at_the_limit(tmp_path: Path) -> None:
    assert len(BOMB) < 100_000
    with pytest.raises(TooLarge):
        get(tmp_path, b"gzip", BOMB)
    assert (tmp_path / "file").stat().st_size <= 10**6


def test_members_without_content_count_as_received_bytes(tmp_path: Path) -> None:
    with pytest.raises(TooLarge):
        get(tmp_path, b"gzip", gzip.compress(b"") * 6000, chunked=True, max_bytes=100_000)


@given(st.binary(max_size=300_000), st.integers(1, 70_000), st.sampled_from(["gzip", "zlib", "raw"]))
def test_a_body_is_decoded_in_small_parts(data: bytes, step: int, kind: str) -> None:
    coders: dict[str, Callable[[bytes], bytes]]
    coders = {"gzip": gzip.compress, "zlib": zlib.compress, "raw": raw_deflate}
    encoded = coders[kind](data * 3)
    chunks = [encoded[start : start + step] for start in range(0, len(encoded), step)]
    parts = list(decode_body(chunks, ["gzip" if kind == "gzip" else "deflate"]))
    assert b"".join(parts) == data * 3
    assert all(0 < len(part) <= PART_BYTES for part in parts)
