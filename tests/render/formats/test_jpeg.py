"""Kinds of JPEG in the standard are read, or refused with the name of what is not supported."""

import struct
from dataclasses import replace
from itertools import product

import pytest
from PIL import Image

from packshot.errors import PackshotError, Unrenderable, UnsupportedMedia
from packshot.geometry import Box, Size
from packshot.model import Format
from packshot.render.decoding.decode import Decoded, decode
from packshot.render.drawing import paths
from packshot.render.drawing.pipeline import Rendered, render_all
from packshot.render.drawing.probe import probe
from packshot.render.limits import Limits
from packshot.variants.plan import Drawing
from tests.support import pictures

LIMITS = Limits()
SMALL = [(1, 1), (4, 4), (7, 300), (1000, 1), (16, 7), (8, 8), (9, 15), (1, 17)]


def segment(kind: int, body: bytes) -> bytes:
    return bytes((0xFF, kind)) + struct.pack(">H", len(body) + 2) + body


def lossless(size: int, grey: int | None = None) -> bytes:
    """Encode a lossless grey square (SOF3), each pixel predicted from its left neighbour.

    Args:
        grey: value of every pixel; None draws a pattern.
    """
    bits: list[int] = []

    def pixel(x: int, y: int) -> int:
        return (x * 3 + y * 5 + x * y // 7) % 256 if grey is None else grey

    def put(value: int, count: int) -> None:
        bits.extend(value >> (count - 1 - place) & 1 for place in range(count))

    for y, x in product(range(size), repeat=2):
        predicted = 128 if x == y == 0 else pixel(0, y - 1) if x == 0 else pixel(x - 1, y)
        difference = pixel(x, y) - predicted
        length = abs(difference).bit_length()
        put(length, 4)
        put(difference if difference > 0 else difference + (1 << length) - 1, length)
    bits.extend([1] * (-len(bits) % 8))
    octets = [bits[at : at + 8] for at in range(0, len(bits), 8)]
    scan = bytes(sum(bit << (7 - place) for place, bit in enumerate(octet)) for octet in octets)
    return (
        b"\xff\xd8"
        + segment(0xC3, struct.pack(">BHHB", 8, size, size, 1) + b"\x01\x11\x00")
        + segment(0xC4, b"\x00" + bytes([0, 0, 0, 10] + [0] * 12) + bytes(range(10)))
        + segment(0xDA, b"\x01\x01\x00\x01\x00\x00")
        + scan.replace(b"\xff", b"\xff\x00")
        + b"\xff\xd9"
    )


def with_frame(kind: int = 0xC0, bits: int = 8, components: int = 3) -> bytes:
    """Return a JPEG with this frame header. Its scan does not fit."""
    data = bytearray(pictures.jpeg(pictures.corners(16, 16)))
    at = data.index(b"\xff\xc0")
    data[at + 1], data[at + 4], data[at + 9] = kind, bits, components
    return bytes(data)


def lossless_in(components: int, transform: int) -> bytes:
    """Return the beginning of a lossless JPEG with a colour transform in its Adobe segment."""
    parts = b"".join(bytes((number, 0x11, 0)) for number in range(1, components + 1))
    adobe = segment(0xEE, b"Adobe\x00d\0\0\0\0" + bytes((transform,)))
    return b"\xff\xd8" + adobe + segment(0xC3, struct.pack(">BHHB", 8, 4, 4, components) + parts)


def without_height() -> bytes:
    data = bytearray(pictures.jpeg(pictures.corners(16, 16)))
    at = data.index(b"\xff\xc0")
    data[at + 5 : at + 7] = b"\0\0"
    return bytes(data[:-2]) + b"\xff\xdc\0\x04\0\x10\xff\xd9"


@pytest.mark.parametrize("size", SMALL)
@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"subsampling": "4:2:0"}])
@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
def test_a_small_jpeg_of_any_grey_is_accepted(size: tuple[int, int], options: dict[str, object], mode: str) -> None:
    for grey in (0, 127, 128, 255):
        data = pictures.jpeg(Image.new("RGB", size, (grey,) * 3).convert(mode), **options)
        facts = probe(data, LIMITS)
        assert (facts.width, facts.height) == size


@pytest.mark.parametrize("grey", [None, 127, 128, 7])
@pytest.mark.parametrize("size", [5, 160])
def test_a_lossless_jpeg_is_accepted_and_drawn_at_every_size(size: int, grey: int | None) -> None:
    data = lossless(size, grey)
    assert probe(data, LIMITS).width == size
    assert decode(data, LIMITS, halved=True).picture.size == (size, size)
    whole = Box(0, 0, size, size)
    sizes = [Size(side, side) for side in (size, size // 2, size // 3, size // 5)]
    drawings = [Drawing(whole, target, Box(0, 0, *target), Format.PNG, None, None) for target in sizes]
    for alone in drawings:
        assert all(isinstance(outcome, Rendered) for outcome in render_all(data, [alone], LIMITS))
    assert all(isinstance(outcome, Rendered) for outcome in render_all(data, drawings, LIMITS))


def test_an_original_is_refused_at_ingest_if_any_decode_path_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    found = paths.decode_paths(pictures.jpeg(pictures.photo(64, 64)), LIMITS)

    def fails() -> Decoded:
        raise Unrenderable("The image is damaged and cannot be decoded.")

    monkeypatch.setattr("packshot.render.drawing.probe.decode_paths", lambda *_: replace(found, half=fails))
    with pytest.raises(Unrenderable):
        probe(b"\xff\xd8\xff" + pictures.jpeg(pictures.photo(64, 64))[3:], LIMITS)


@pytest.mark.parametrize(
    ("data", "got"),
    [
        (with_frame(0xC1, bits=12), "12 bits per sample"),
        (with_frame(0xC3, bits=16), "16 bits per sample"),
        (with_frame(components=2), "2 components"),
        (with_frame(components=5), "5 components"),
        *((with_frame(kind), "a hierarchical JPEG") for kind in (0xC5, 0xC6, 0xC7, 0xCD, 0xCE, 0xCF, 0xDE)),
        (with_frame(0xCB), "a lossless JPEG with arithmetic coding"),
        (with_frame(0xC3), "a lossless JPEG of YCbCr or YCCK"),
        (lossless_in(3, transform=1), "a lossless JPEG of YCbCr or YCCK"),
        (lossless_in(4, transform=2), "a lossless JPEG of YCbCr or YCCK"),
        (without_height(), "a JPEG with its height after the first scan (DNL)"),
        (b"\xff\xd8" + segment(0xF7, struct.pack(">BHHB", 8, 4, 4, 1) + b"\x01\x11\x00"), "a JPEG-LS"),
    ],
)
def test_an_unsupported_kind_of_jpeg_is_refused_by_name(data: bytes, got: str) -> None:
    with pytest.raises(UnsupportedMedia) as refusal:
        probe(data, LIMITS)
    assert refusal.value.got == got


@pytest.mark.parametrize(
    "extra",
    [
        segment(0xEE, b"Adobe"),
        segment(0xE0, b"JFIF"),
        segment(0xE2, b"ICC_PROFILE\0"),
        segment(0xE2, b"ICC_PROFILE\0\x01\x02" + b"\0" * 50),
        segment(0xE1, b"Exif\0\0"),
        segment(0xE1, b"Exif\0\0MM\0*\xff\xff\xff\xff"),
        segment(0xE1, b"http://ns.adobe.com/xap/1.0/\0<broken \xff\xd0"),
        segment(0xED, b"Photoshop 3.0\x00"),
        segment(0xED, b"Photoshop 3.0\x008BIM\x04\x04\xff"),
        segment(0xED, b"Photoshop 3.0\x008BIM\x03\xed\x00\x00\x00\x00\x00\x02\x00\x00"),
        segment(0xE2, b"MPF\0"),
        segment(0xE2, b"FPXR\0"),
        segment(0xFE, b""),
    ],
)
def test_broken_metadata_does_not_refuse_a_jpeg(extra: bytes) -> None:
    data = pictures.jpeg(pictures.corners(40, 30))
    facts = probe(data[:2] + extra + data[2:], LIMITS)
    assert (facts.width, facts.height) == (40, 30)


def test_a_fault_of_packshot_is_not_reported_as_damage(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> bool:
        raise ZeroDivisionError

    monkeypatch.setattr("packshot.render.formats.jpeg.ends_early", broken)
    with pytest.raises(ZeroDivisionError):
        probe(pictures.jpeg(pictures.corners(40, 30)), LIMITS)


def test_a_refusal_says_what_is_expected() -> None:
    with pytest.raises(PackshotError, match="bit depth") as refusal:
        probe(with_frame(bits=12), LIMITS)
    assert refusal.value.expected == "8 bits per sample"
