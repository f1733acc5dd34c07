"""How much of a multipart form is read before the sender is authenticated, and how it is parsed."""

import asyncio
from collections.abc import Iterable
from itertools import chain, repeat
from typing import Any

import pytest
from starlette.requests import Request

from packshot.errors import Invalid
from serve.http.multipart import MAX_FIELD_BYTES, Form

FIELD = b'--x\r\nContent-Disposition: form-data; name="token"\r\n\r\n'
FILE = b'--x\r\nContent-Disposition: form-data; name="file"; filename="a.jpg"\r\n\r\n'
CHUNK_BYTES = 65_536


class Sender:
    """A client that sends as long as the server reads.

    Attributes:
        sent: bytes that the server has read.
    """

    def __init__(self, chunks: Iterable[bytes], content_type: str = "multipart/form-data; boundary=x") -> None:
        self.sent = 0
        self._chunks = iter(chunks)
        headers = [(b"content-type", content_type.encode())]
        self.request = Request({"type": "http", "method": "POST", "headers": headers}, self._receive)

    async def _receive(self) -> dict[str, Any]:
        chunk = next(self._chunks, b"")
        self.sent += len(chunk)
        return {"type": "http.request", "body": chunk, "more_body": bool(chunk)}


def read(sender: Sender) -> tuple[dict[str, str], bytes]:
    async def run() -> tuple[dict[str, str], bytes]:
        form = Form(sender.request)
        fields = await form.fields()
        return fields, b"".join([chunk async for chunk in form.file()])

    return asyncio.run(run())


def cut(data: bytes) -> bytes:
    """Repeat a text up to the size of one chunk."""
    return data * (CHUNK_BYTES // len(data))


@pytest.mark.parametrize(
    "chunks",
    [
        repeat(cut(b"--x\r\n\r\n\r\n")),
        repeat(cut(b"--x\r\nA:\r\n\r\n\r\n")),
        repeat(b"g" * CHUNK_BYTES),
        repeat(b"\r\n" * (CHUNK_BYTES // 2)),
        chain([FIELD], repeat(b"a" * CHUNK_BYTES)),
        chain([FIELD], repeat(cut(b"\r\n--"))),
        chain([b"--x\r\nContent-Disposition: "], repeat(b"a" * CHUNK_BYTES)),
        repeat(cut(FIELD + b"a\r\n")),
    ],
)
def test_an_endless_form_is_refused_after_a_bounded_number_of_bytes(chunks: Iterable[bytes]) -> None:
    sender = Sender(chunks)
    with pytest.raises(Invalid):
        read(sender)
    assert sender.sent <= MAX_FIELD_BYTES + 2 * CHUNK_BYTES


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ((FIELD + b"a\r\n") * 40 + FILE + b"abc\r\n--x--", "at most 32 parts"),
        (b"--x\r\nContent-Disposition: form-data; " + b"a=b; " * 3000 + b"\r\n\r\n", "at most 8192 bytes"),
        (b"--x\r\n" + b"X-Header: a\r\n" * 1000 + b"\r\n", "at most 8192 bytes"),
        (FIELD + b"a" * 70_000 + b"\r\n" + FILE + b"abc\r\n--x--", "at most 65536 bytes"),
    ],
)
def test_a_form_beyond_a_limit_is_refused_with_that_limit(body: bytes, said: str) -> None:
    with pytest.raises(Invalid) as refused:
        read(Sender([body]))
    assert refused.value.expected == said


@pytest.mark.parametrize(
    "content_type",
    [
        "multipart/form-data; boundary=" + "x" * 71,
        "multipart/form-data; boundary=",
        "multipart/form-data; boundary=x" + "; a=b" * 500,
    ],
)
def test_a_form_with_an_invalid_content_type_is_refused_without_reading(content_type: str) -> None:
    sender = Sender([FIELD], content_type)
    with pytest.raises(Invalid):
        read(sender)
    assert sender.sent == 0


@pytest.mark.parametrize("size", [1, 7, 4096, 200_000])
def test_the_chunks_of_a_form_do_not_change_its_fields_and_file(size: int) -> None:
    picture = bytes(range(256)) * 500
    body = FIELD + b"secret\r\n" + FILE + picture + b"\r\n--x--\r\n"
    pieces = [body[start : start + size] for start in range(0, len(body), size)]
    assert read(Sender(pieces)) == ({"token": "secret"}, picture)


def test_nothing_is_read_after_the_file() -> None:
    sender = Sender(chain([FIELD + b"a\r\n" + FILE + b"abc\r\n--x--\r\n"], repeat(b"g" * CHUNK_BYTES)))
    assert read(sender) == ({"token": "a"}, b"abc")
    assert sender.sent < CHUNK_BYTES


PICTURE = bytes(range(256)) * 500


@pytest.mark.parametrize("size", [1, 7, 4096, 200_000])
@pytest.mark.parametrize("preamble", [b"\r\n", b"This is a message in MIME format.\r\n", b"a\r\n--\r\n--w\r\n"])
def test_a_preamble_is_skipped(preamble: bytes, size: int) -> None:
    body = preamble + FIELD + b"secret\r\n" + FILE + PICTURE + b"\r\n--x--\r\nepilogue"
    pieces = [body[start : start + size] for start in range(0, len(body), size)]
    assert read(Sender(pieces)) == ({"token": "secret"}, PICTURE)


def test_a_long_preamble_is_refused() -> None:
    sender = Sender(repeat(b"a" * 1000))
    with pytest.raises(Invalid):
        read(sender)
    assert sender.sent <= MAX_FIELD_BYTES + CHUNK_BYTES


@pytest.mark.parametrize(
    ("named", "is_file"),
    [
        (b"filename*=UTF-8''%E5%86%99%E7%9C%9F.png", True),
        (b"FileName* = UTF-8''a.png", True),
        (b"filename=a.png", True),
        (b'x="; filename*=a"', False),
        (b"filename=", False),
    ],
)
def test_a_part_with_any_kind_of_filename_parameter_is_a_file(named: bytes, is_file: bool) -> None:
    body = b'--x\r\nContent-Disposition: form-data; name="photo"; ' + named + b"\r\n\r\n" + PICTURE + b"\r\n--x--\r\n"

    async def run() -> bytes:
        form = Form(Sender([body]).request, file=None)
        await form.fields()
        return b"".join([chunk async for chunk in form.file()])

    if is_file:
        assert asyncio.run(run()) == PICTURE
    else:
        with pytest.raises(Invalid):
            asyncio.run(run())


@pytest.mark.parametrize("size", [1, 7, 4096, 200_000])
@pytest.mark.parametrize("padding", [b" ", b"\t", b" \t  ", b" " * 256])
def test_blanks_after_a_boundary_are_skipped(padding: bytes, size: int) -> None:
    body = FIELD + b"secret\r\n" + FILE + PICTURE + b"\r\n--x\r\n\r\n--x--"
    body = body.replace(b"--x\r\n", b"--x" + padding + b"\r\n") + padding + b"\r\n"
    pieces = [body[start : start + size] for start in range(0, len(body), size)]
    assert read(Sender(pieces)) == ({"token": "secret"}, PICTURE)


@pytest.mark.parametrize("begun", [b"", FIELD + b"a\r\n" + FILE + b"abc\r\n"])
def test_a_boundary_followed_by_too_many_blanks_is_no_boundary(begun: bytes) -> None:
    body = begun + b"--x" + b" " * 257 + b"\r\n\r\n\r\n--x--"
    if begun:
        assert read(Sender([body]))[1].endswith(b"--x" + b" " * 257 + b"\r\n\r\n"), "a line of the file"
    else:
        with pytest.raises(Invalid):
            read(Sender([body]))


@pytest.mark.parametrize("size", [1, 7, 4096])
@pytest.mark.parametrize("fold", [b"\r\n ", b"\r\n\t", b"\r\n  \r\n\t"])
def test_folded_headers_of_a_part_are_parsed(fold: bytes, size: int) -> None:
    body = FIELD.replace(b"; ", b";" + fold) + b"secret\r\n"
    body += FILE.replace(b"; ", b";" + fold).replace(b": ", b":" + fold) + b"abc\r\n--x--"
    pieces = [body[start : start + size] for start in range(0, len(body), size)]
    assert read(Sender(pieces)) == ({"token": "secret"}, b"abc")


@pytest.mark.parametrize(
    "line", [b"Content-Disposition", b" name=a", b"Content-Disposition : form-data", b"\xff: a", b"A: b\nC: d", b": a"]
)
def test_the_refusal_of_a_malformed_header_quotes_it(line: bytes) -> None:
    with pytest.raises(Invalid) as refused:
        read(Sender([b"--x\r\n" + line + b"\r\n\r\na\r\n--x--"]))
    assert refused.value.message == "A part of the form has a malformed header."
    assert refused.value.got == line.decode("utf-8", "replace")


@pytest.mark.parametrize("ending", [b"\r\n--x--", b"", b"a" * 70_000])
def test_the_refusal_of_a_file_in_a_wrong_part_names_the_expected_part(ending: bytes) -> None:
    body = FILE.replace(b'name="file"', b'name="photo"') + b"abc" + ending
    with pytest.raises(Invalid) as refused:
        read(Sender([body]))
    assert (refused.value.expected, refused.value.got) == ("the part 'file'", "the part 'photo'")


def test_lines_that_resemble_a_boundary_stay_in_the_file() -> None:
    lines = b"\r\n--xy\r\n--x-\r\n--x \t.\r\n-x\r\n--X\r\n"
    assert read(Sender([FILE + lines + b"\r\n--x--"])) == ({}, lines)
    assert read(Sender(bytes([byte]) for byte in FILE + lines + b"\r\n--x--")) == ({}, lines)
