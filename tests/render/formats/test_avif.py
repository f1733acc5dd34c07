"""The boxes of an AVIF: clean aperture, and the size of its alpha."""

import struct
from collections.abc import Callable
from contextlib import suppress

import pytest
from PIL import Image

from packshot.errors import PackshotError, Unrenderable
from packshot.geometry import Size
from packshot.render.decoding.decode import decode
from packshot.render.drawing.probe import probe
from packshot.render.formats.boxes import find_box
from packshot.render.formats.clean_aperture import clean_aperture
from packshot.render.limits import Limits
from packshot.render.revision import DecodeRevision
from tests.support import pictures

LIMITS = Limits()
Rational = tuple[int, int]
WHOLE: Rational = (0, 1)


def with_clap(data: bytes, width: Rational, height: Rational, right: Rational = WHOLE, down: Rational = WHOLE) -> bytes:
    """Return an AVIF or HEIC with a clean aperture. Offsets lead from the centre of the image to its own."""
    clap = struct.pack(">I4s8i", 40, b"clap", *width, *height, *right, *down)
    meta, iprp, ipco, ipma = (
        found
        for length in range(1, 4)
        for name in ([b"ipco", b"ipma"] if length == 3 else [b"iprp"])
        if (found := find_box(data, 0, len(data), *[(b"meta", 4), (b"iprp", 0), (name, 0)][:length])) is not None
    )
    count, at = 0, ipco.inside
    while at < ipco.after:
        count, at = count + 1, at + int.from_bytes(data[at : at + 4], "big")
    # The entry of the first item, which is the primary one. The aperture comes before rotations.
    entry = ipma.inside + 8 + 2
    links = bytearray(data[ipma.start : ipma.after])
    links[entry - ipma.start] += 1
    links.insert(entry - ipma.start + 1 + data[entry], 0x80 | (count + 1))
    links[:4] = len(links).to_bytes(4, "big")
    body = clap + bytes(links) if ipma.start == ipco.after else b""
    assert body
    grown = data[meta.start : ipco.after] + body + data[ipma.after : meta.after]
    result = bytearray(grown)
    for box, extra in ((meta, 41), (iprp, 41), (ipco, 40)):
        place = box.start - meta.start
        result[place : place + 4] = (box.after - box.start + extra).to_bytes(4, "big")
    hole = data[meta.start : meta.start + 4] + b"free" + data[meta.start + 8 : meta.after]
    return data[: meta.start] + hole + data[meta.after :] + bytes(result)


APERTURES: list[tuple[Rational, ...]] = [
    ((64, 1), (32, 1), WHOLE, (-16, 1)),
    ((64, 1), (32, 1), WHOLE, (16, 1)),
    ((20, 1), (20, 1)),
    ((41, 2), (63, 2)),
    ((21, 1), (33, 1), (1, 2), (-3, 2)),
    ((10, 1), (10, 1), (-27, 1), (27, 1)),
]


@pytest.mark.parametrize("aperture", APERTURES)
def test_the_clean_aperture_of_an_avif_equals_that_of_a_heic(aperture: tuple[Rational, ...]) -> None:
    picture = pictures.corners(64, 64)
    files = (with_clap(encode(picture), *aperture) for encode in (pictures.avif, pictures.heic))
    cut, reference = (decode(file, LIMITS) for file in files)
    assert cut.size == reference.size != (64, 64)
    assert cut.revision == DecodeRevision.CLEAN_APERTURE
    difference = [
        abs(one - other) for one, other in zip(cut.picture.tobytes(), reference.picture.tobytes(), strict=True)
    ]
    assert sum(difference) / len(difference) < 8


def test_the_clean_aperture_comes_before_the_rotation() -> None:
    data = with_clap(pictures.avif(pictures.corners(64, 48), exif=pictures.exif(6)), (32, 1), (16, 1))
    facts = probe(data, LIMITS)
    assert (facts.width, facts.height) == (16, 32)


SENSELESS: list[tuple[Rational, ...]] = [
    ((64, 0), (32, 1)),
    ((64, 1), (32, 1), (0, 0)),
    ((0, 1), (32, 1)),
    ((1, 1000), (32, 1)),
    ((10, 1), (10, 1), (500, 1)),
    ((10, 1), (10, 1), (-500, 1)),
    ((10, 1), (10, 1), WHOLE, (-500, 1)),
]
ENCODERS = [pictures.avif, pictures.heic]


@pytest.mark.parametrize("encode", ENCODERS)
@pytest.mark.parametrize("aperture", [((64, 1), (64, 1)), ((1000, 1), (1000, 1)), *SENSELESS])
def test_an_invalid_clean_aperture_is_ignored(encode: Callable[..., bytes], aperture: tuple[Rational, ...]) -> None:
    plain = encode(pictures.corners(64, 64))
    data = with_clap(plain, *aperture)
    assert (probe(data, LIMITS).width, probe(data, LIMITS).height) == (64, 64)
    assert decode(data, LIMITS).picture.tobytes() == decode(plain, LIMITS).picture.tobytes()
    assert clean_aperture(data, Size(64, 64)) is None


@pytest.mark.parametrize("encode", ENCODERS)
@pytest.mark.parametrize("length", [8, 9, 24, 32])
def test_a_short_clean_aperture_is_ignored(encode: Callable[..., bytes], length: int) -> None:
    plain = encode(pictures.corners(64, 64))
    data = with_clap(plain, (32, 1), (32, 1))
    at = data.rindex(b"clap") - 4
    # The rest of the box becomes another property, which no item uses.
    rest = struct.pack(">I4s", 40 - length, b"free")
    data = data[:at] + struct.pack(">I", length) + data[at + 4 : at + length] + rest + data[at + length + 8 :]
    assert decode(data, LIMITS).picture.tobytes() == decode(plain, LIMITS).picture.tobytes()


@pytest.mark.parametrize("encode", ENCODERS)
@pytest.mark.parametrize("aperture", [((70, 1), (32, 1)), ((10, 1), (10, 1), (30, 1)), ((2**31 - 1, 1), (32, 1))])
def test_a_clean_aperture_ends_at_the_edge_of_the_image(
    encode: Callable[..., bytes], aperture: tuple[Rational, ...]
) -> None:
    facts = probe(with_clap(encode(pictures.corners(64, 64)), *aperture), LIMITS)
    assert (facts.width, facts.height) == ((7, 10) if aperture[1] == (10, 1) else (64, 32))


@pytest.mark.parametrize("encode", ENCODERS)
@pytest.mark.parametrize("box", [(3, 5, 33, 31), (1, 1, 32, 32), (7, 8, 20, 20), (59, 59, 5, 5), (63, 0, 1, 1)])
def test_a_clean_aperture_at_odd_offsets_shows_the_exact_pixels(
    encode: Callable[..., bytes], box: tuple[int, int, int, int]
) -> None:
    left, top, width, height = box
    plain = encode(pictures.photo(64, 64))
    offsets = ((2 * left + width - 64, 2), (2 * top + height - 64, 2))
    shown = decode(with_clap(plain, (width, 1), (height, 1), *offsets), LIMITS).picture
    expected = decode(plain, LIMITS).picture.crop((left, top, left + width, top + height))
    assert shown.size == expected.size
    assert shown.convert("L").tobytes() == expected.convert("L").tobytes()


def test_alpha_without_a_size_is_read() -> None:
    data = bytearray(pictures.avif(Image.new("RGBA", (64, 48), (200, 30, 30, 100))))
    links = find_box(bytes(data), 0, len(data), (b"meta", 4), (b"iprp", 0), (b"ipma", 0))
    assert links is not None
    # Replace the size property in the second entry, that of the alpha, by a second reference to its next property.
    second = links.inside + 8 + 3 + data[links.inside + 10] + 3
    assert data[second] & 0x7F == 1
    data[second] = data[second + 1] & 0x7F
    decoded = decode(bytes(data), LIMITS)
    assert decoded.size == (64, 48)
    assert decoded.picture.getpixel((30, 20)) == pytest.approx((200, 30, 30, 100), abs=2)


def test_boxes_with_wrong_lengths_are_refused_in_finite_time() -> None:
    data = with_clap(pictures.avif(pictures.corners(32, 32)), (16, 1), (16, 1))
    for place in range(0, len(data), 7):
        for value in (0, 255):
            changed = data[:place] + bytes([value]) + data[place + 1 :]
            with suppress(PackshotError):
                decode(changed, LIMITS)
    with pytest.raises(Unrenderable):
        decode(data[: len(data) // 2], LIMITS)
