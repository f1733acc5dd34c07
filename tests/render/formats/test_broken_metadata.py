"""Broken metadata never make an image unreadable: EXIF, XMP, profiles, comments and application data."""

import struct
from collections.abc import Callable

import numpy as np
import pytest

from packshot.errors import PackshotError
from packshot.render.decoding.decode import decode
from packshot.render.drawing.probe import probe
from packshot.render.limits import Limits
from tests.support import pictures

LIMITS = Limits()
PICTURE = pictures.corners(40, 30)
NONSENSE = [b"", b"\0", b"x" * 7, b"Exif\0\0", b"\xff" * 100, b"MM\0*\0\0\0\x08\xff\xff", b"MM\0*\xff\xff\xff\xff"]

WEBP = pictures.webp(PICTURE, exif=pictures.exif(1), xmp=b"<x/>", icc_profile=pictures.srgb())
GIF = pictures.gif(PICTURE.convert("P"))
GIF_PIXELS = 13 + 3 * (2 << (GIF[10] & 7))


def chunks(data: bytes) -> list[tuple[bytes, bytes]]:
    found, at = [], 12
    while at < len(data):
        length = int.from_bytes(data[at + 4 : at + 8], "little")
        found.append((data[at : at + 4], data[at + 8 : at + 8 + length]))
        at += 8 + length + (length & 1)
    return found


def riff(parts: list[tuple[bytes, bytes]]) -> bytes:
    body = b"WEBP" + b"".join(
        kind + struct.pack("<I", len(part)) + part + b"\0" * (len(part) & 1) for kind, part in parts
    )
    return b"RIFF" + struct.pack("<I", len(body)) + body


def told(data: bytes, place: int, length: int) -> bytes:
    return data[:place] + struct.pack("<I", length % 2**32) + data[place + 4 :]


WEBPS = {
    **{
        f"{kind.decode()} of {body!r}": riff([(name, body if name == kind else part) for name, part in chunks(WEBP)])
        for kind in (b"EXIF", b"XMP ", b"ICCP")
        for body in NONSENSE
    },
    **{
        f"{kind.decode()} with a length of {length}": told(WEBP, WEBP.rindex(kind) + 4, length)
        for kind in (b"EXIF", b"XMP ")
        for length in (0, 1, 3, 5, 1000, -1, 2**31 - 1)
    },
    **{f"a file length of {more} bytes more": told(WEBP, 4, len(WEBP) - 8 + more) for more in (-1, 1, 2, 100)},
    "truncated in XMP": WEBP[: WEBP.rindex(b"XMP ") + 9],
    "truncated in the header of XMP": WEBP[: WEBP.rindex(b"XMP ") + 5],
    "trailing data": WEBP + b"something" * 10,
    "an unknown chunk": riff([*chunks(WEBP), (b"abcd", b"xyz")]),
}

EXTENSIONS = {
    "comment": b"\xfe\x03abc\0",
    "empty comment": b"\xfe\0",
    "loop": b"\xff\x0bNETSCAPE2.0\x03\x01\0\0\0",
    "short loop": b"\xff\x0bNETSCAPE2.0\x01\x01\0",
    "empty loop": b"\xff\x0bNETSCAPE2.0\0",
    "short name": b"\xff\x03abc\x02xx\0",
    "no name": b"\xff\0",
    "XMP": b"\xff\x0bXMP DataXMP<x/>\x01" + bytes(range(255, -1, -1)) + b"\0",
    "profile": b"\xff\x0bICCRGBG1012\x05hello\0",
    "plain text": b"\x01\x0c" + bytes(12) + b"\x03abc\0",
    "unknown": b"\x99\x02ab\0",
    "short control": b"\xf9\x02ab\0",
    "empty control": b"\xf9\0",
}


def same(data: bytes, plain: bytes) -> bool:
    one, other = (decode(file, LIMITS) for file in (data, plain))
    return bool((np.asarray(one.shown(one.picture)) == np.asarray(other.shown(other.picture))).all())


@pytest.mark.parametrize("name", WEBPS)
def test_broken_metadata_do_not_refuse_or_change_a_webp(name: str) -> None:
    assert probe(WEBPS[name], LIMITS).width == 40
    assert same(WEBPS[name], WEBP)


def test_a_webp_with_truncated_pixels_is_refused() -> None:
    moving = pictures.animated("webp")
    for data in (WEBP[: WEBP.index(b"EXIF") - 20], moving[:-30], moving[: len(moving) // 2]):
        for file in (data, told(data, 4, len(data) - 8)):
            with pytest.raises(PackshotError):
                probe(file, LIMITS)


@pytest.mark.parametrize("name", EXTENSIONS)
def test_an_extension_does_not_refuse_or_change_a_gif(name: str) -> None:
    extension = b"\x21" + EXTENSIONS[name]
    for place in (GIF_PIXELS, len(GIF) - 1):
        data = GIF[:place] + extension + GIF[place:]
        assert probe(data, LIMITS).width == 40
        assert same(data, GIF)


@pytest.mark.parametrize("encode", [pictures.avif, pictures.heic])
def test_broken_exif_does_not_refuse_an_avif_or_heic(encode: Callable[..., bytes]) -> None:
    data = encode(PICTURE, exif=pictures.exif(6))
    upright = probe(data, LIMITS)
    at = next(place for mark in (b"MM\0*", b"II*\0") if (place := data.rfind(mark)) >= 0)
    # The four bytes before the TIFF header are its offset. "Exif" may stand between.
    for place in range(at - 10, at + 8):
        for value in (0, 255):
            facts = probe(data[:place] + bytes([value]) + data[place + 1 :], LIMITS)
            assert (facts.width, facts.height) == (upright.width, upright.height)


@pytest.mark.parametrize(
    "encode", [pictures.jpeg, pictures.png, pictures.webp, pictures.avif, pictures.tiff, pictures.heic]
)
def test_a_broken_profile_does_not_refuse_an_image(encode: Callable[..., bytes]) -> None:
    for profile in (b"x", b"garbage" * 100, bytes(128), bytes(70_000), pictures.display_p3()[:200]):
        assert probe(encode(PICTURE, icc_profile=profile), LIMITS).width == 40
