"""All kinds of PNG that PngSuite has, written here bit by bit."""

import struct
import zlib
from itertools import product

import numpy as np
import numpy.typing as npt
import pytest
from PIL.PngImagePlugin import PngInfo

from packshot.errors import Unrenderable
from packshot.render.decoding.decode import decode
from packshot.render.drawing.probe import probe
from packshot.render.limits import Limits
from tests.support import pictures

Samples = npt.NDArray[np.int64]

GREY, RGB, PALETTE, GREY_ALPHA, RGBA = 0, 2, 3, 4, 6
CHANNELS = {GREY: 1, RGB: 3, PALETTE: 1, GREY_ALPHA: 2, RGBA: 4}
KINDS = [
    *product([GREY], [1, 2, 4, 8, 16]),
    *product([RGB, GREY_ALPHA, RGBA], [8, 16]),
    *product([PALETTE], [1, 2, 4, 8]),
]
# The seven passes of an interlaced image: x and y of the first pixel, steps dx and dy.
ADAM7 = [(0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2)]
WIDTH, HEIGHT = 13, 11
LIMITS = Limits()


def chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def rows(samples: Samples, depth: int) -> bytes:
    """Pack samples, with the five row filters in turn."""
    height, width, channels = samples.shape
    step = max(1, depth * channels // 8)
    before = np.zeros(-(-width * channels * depth // 8), np.int64)
    packed = b""
    for y in range(height):
        bits = (samples[y].reshape(-1, 1) >> np.arange(depth - 1, -1, -1) & 1).astype(np.uint8).ravel()
        line = np.packbits(bits).astype(np.int64)
        left = np.concatenate([np.zeros(step, np.int64), line])[: len(line)]
        corner = np.concatenate([np.zeros(step, np.int64), before])[: len(line)]
        guess = left + before - corner
        distances = np.abs(guess - np.stack([left, before, corner]))
        paeth = np.choose(distances.argmin(0), [left, before, corner])
        predicted = [np.zeros_like(line), left, before, (left + before) // 2, paeth][y % 5]
        packed += bytes([y % 5]) + ((line - predicted) % 256).astype(np.uint8).tobytes()
        before = line
    return packed


def png(samples: Samples, kind: int, depth: int, *, interlaced: bool = False, chunks: bytes = b"") -> bytes:
    height, width, _ = samples.shape
    header = struct.pack(">IIBBBBB", width, height, depth, kind, 0, 0, interlaced)
    passes = [samples[y::dy, x::dx] for x, y, dx, dy in ADAM7] if interlaced else [samples]
    body = zlib.compress(b"".join(rows(part, depth) for part in passes if part.size))
    half = len(body) // 2  # most encoders write several IDAT chunks
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunks
        + chunk(b"IDAT", body[:half])
        + chunk(b"IDAT", b"")
        + chunk(b"IDAT", body[half:])
        + chunk(b"IEND", b"")
    )


def drawn(kind: int, depth: int) -> Samples:
    most = 2**depth - 1
    y, x, channel = np.mgrid[0:HEIGHT, 0:WIDTH, 0 : CHANNELS[kind]]
    return np.asarray((x * 37 + y * 11 + channel * 71) * most // 255 % (most + 1), np.int64)


def colours(depth: int) -> npt.NDArray[np.uint8]:
    index = np.arange(2**depth)
    return np.stack([index * 7 % 256, 255 - index * 3 % 256, index * 53 % 256], -1).astype(np.uint8)


def expected(samples: Samples, kind: int, depth: int) -> npt.NDArray[np.uint8]:
    """Return the image as 8-bit RGBA."""
    if kind == PALETTE:
        rgb = colours(depth)[samples[..., 0]]
        return np.concatenate([rgb, np.full((*rgb.shape[:2], 1), 255, np.uint8)], -1)
    scaled: npt.NDArray[np.uint8] = (samples * 255 / (2**depth - 1)).round().astype(np.uint8)
    if kind in (GREY, GREY_ALPHA):
        scaled = scaled[..., [0, 0, 0, *range(1, scaled.shape[-1])]]
    if scaled.shape[-1] == 3:
        scaled = np.concatenate([scaled, np.full((*scaled.shape[:2], 1), 255, np.uint8)], -1)
    return scaled


def shown(data: bytes) -> npt.NDArray[np.uint8]:
    found = decode(data, Limits())
    return np.asarray(found.shown(found.picture).convert("RGBA"))


def palette(depth: int) -> bytes:
    return chunk(b"PLTE", colours(depth).tobytes())


@pytest.mark.parametrize(("kind", "depth"), KINDS)
@pytest.mark.parametrize("interlaced", [False, True])
def test_every_kind_decodes(kind: int, depth: int, interlaced: bool) -> None:
    samples = drawn(kind, depth)
    data = png(samples, kind, depth, interlaced=interlaced, chunks=palette(depth) if kind == PALETTE else b"")
    # Pillow keeps the upper 8 of 16 bits, which differs by at most 1.
    tolerance = 1 if depth == 16 else 0
    assert np.abs(shown(data).astype(int) - expected(samples, kind, depth)).max() <= tolerance


@pytest.mark.parametrize(("kind", "depth"), [kind for kind in KINDS if kind[0] in (GREY, RGB)])
@pytest.mark.parametrize("interlaced", [False, True])
def test_exactly_the_transparent_colour_is_transparent(kind: int, depth: int, interlaced: bool) -> None:
    samples = drawn(kind, depth)
    colour = samples[3, 5]
    data = png(samples, kind, depth, interlaced=interlaced, chunks=chunk(b"tRNS", colour.astype(">u2").tobytes()))
    holes = (samples == colour).all(-1)
    assert (shown(data)[..., 3] == np.where(holes, 0, 255)).all()


@pytest.mark.parametrize("depth", [1, 2, 4, 8])
def test_a_palette_may_be_partly_transparent(depth: int) -> None:
    samples = drawn(PALETTE, depth)
    alphas = bytes([0, 100][: 2**depth])
    data = png(samples, PALETTE, depth, chunks=palette(depth) + chunk(b"tRNS", alphas))
    every = np.full(2**depth, 255)
    every[: len(alphas)] = list(alphas)
    assert (shown(data)[..., 3] == every[samples[..., 0]]).all()


@pytest.mark.parametrize(("kind", "depth"), KINDS)
def test_gamma_is_applied_to_every_kind(kind: int, depth: int) -> None:
    samples = drawn(kind, depth)
    chunks = chunk(b"gAMA", struct.pack(">I", 100_000)) + (palette(depth) if kind == PALETTE else b"")
    result = shown(png(samples, kind, depth, chunks=chunks))
    plain = expected(samples, kind, depth)
    light = plain[..., :3] / 255
    bent = np.where(light <= 0.0031308, light * 12.92, 1.055 * light ** (1 / 2.4) - 0.055) * 255
    # 16-bit grey is reduced to 8 bits first, and the curve is steep in shadows.
    assert np.abs(result[..., :3] - bent).max() <= (14 if depth == 16 else 2)
    assert np.abs(result[..., 3].astype(int) - plain[..., 3]).max() <= (1 if depth == 16 else 0)


@pytest.mark.parametrize("size", [(1, 1), (2, 3), (7, 1), (1, 9), (33, 32)])
@pytest.mark.parametrize("interlaced", [False, True])
def test_odd_sizes_decode(size: tuple[int, int], interlaced: bool) -> None:
    samples = np.arange(size[0] * size[1] * 3).reshape(size[1], size[0], 3) % 256
    assert (shown(png(samples, RGB, 8, interlaced=interlaced))[..., :3] == samples).all()


def wrong(kind: bytes, body: bytes) -> bytes:
    """Return a chunk with a wrong checksum."""
    return chunk(kind, body)[:-4] + b"\0\0\0\0"


BROKEN = {
    **{
        f"{kind.decode()} with a wrong checksum": wrong(kind, body)
        for kind, body in (
            (b"tEXt", b"Comment\0hello"),
            (b"zTXt", b"Comment\0\0" + zlib.compress(b"hello")),
            (b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0<x/>"),
            (b"iCCP", b"x\0\0" + zlib.compress(bytes(128))),
            (b"gAMA", struct.pack(">I", 20_000)),
            (b"cHRM", struct.pack(">8I", *range(8))),
            (b"sRGB", b"\0"),
            (b"tRNS", bytes(6)),
            (b"pHYs", bytes(9)),
            (b"eXIf", b"MM\0*\0\0\0\x08\0\0"),
            (b"cICP", b"\x09\x10\0\x01"),
            (b"tIME", bytes(7)),
            (b"bKGD", bytes(6)),
            (b"acTL", bytes(8)),
            (b"fcTL", bytes(26)),
            (b"prVt", b"private"),
        )
    },
    **{
        f"{kind.decode()} of {length} bytes": chunk(kind, b"\1" * length)
        for kind, length in product(
            [
                b"tEXt",
                b"zTXt",
                b"iTXt",
                b"iCCP",
                b"gAMA",
                b"cHRM",
                b"sRGB",
                b"tRNS",
                b"pHYs",
                b"eXIf",
                b"cICP",
                b"tIME",
                b"bKGD",
                b"hIST",
                b"sBIT",
                b"sPLT",
                b"acTL",
                b"fcTL",
                b"fdAT",
                b"oFFs",
            ],
            [0, 1, 3, 5, 40],
        )
    },
    "a profile with an unknown compression": chunk(b"iCCP", b"x\0\1abc"),
    "a profile that inflates without end": chunk(b"iCCP", b"x\0\0" + zlib.compress(bytes(20_000_000))),
    "6 MiB of text": chunk(b"tEXt", b"Comment\0" + b"x" * 6 * 2**20),
    "6 MiB of compressed text": chunk(b"zTXt", b"Comment\0\0" + zlib.compress(b"x" * 6 * 2**20)),
    "6 MiB of compressed XMP": chunk(b"iTXt", b"XML:com.adobe.xmp\0\1\0\0\0" + zlib.compress(b"<x/>" * 3 * 2**19)),
    "a hundred texts of 1 MiB": chunk(b"zTXt", b"a\0\0" + zlib.compress(b"x" * 2**20)) * 100,
    "an animation without frames": chunk(b"acTL", struct.pack(">II", 3, 0)),
    "an animation with frames out of order": chunk(b"acTL", struct.pack(">II", 1, 0))
    + chunk(b"fcTL", struct.pack(">5IHHBB", 7, WIDTH, HEIGHT, 0, 0, 1, 1, 0, 0)),
    "an animation with a frame outside the canvas": chunk(b"acTL", struct.pack(">II", 1, 0))
    + chunk(b"fcTL", struct.pack(">5IHHBB", 0, WIDTH, HEIGHT, 9, 9, 1, 1, 0, 0)),
}


@pytest.mark.parametrize("name", BROKEN)
def test_an_ancillary_chunk_never_refuses_or_changes_an_image(name: str) -> None:
    plain = png(drawn(RGB, 8), RGB, 8)
    for at in (33, plain.index(b"IEND") - 4):
        data = plain[:at] + BROKEN[name] + plain[at:]
        facts = probe(data, LIMITS)
        assert (facts.width, facts.height, facts.frames) == (WIDTH, HEIGHT, 1)
        assert (shown(data) == shown(plain)).all()


def test_a_truncated_chunk_after_the_pixels_is_ignored() -> None:
    plain = png(drawn(RGB, 8), RGB, 8)
    cut = chunk(b"tEXt", b"x" * 1000)[:50]
    assert (shown(plain[: plain.index(b"IEND") - 4] + cut) == shown(plain)).all()
    with pytest.raises(Unrenderable):
        probe(plain[:33] + cut, LIMITS)


@pytest.mark.parametrize("name", [b"IHDR", b"PLTE"])
def test_an_image_with_a_broken_critical_chunk_is_refused(name: bytes) -> None:
    data = bytearray(png(drawn(PALETTE, 8), PALETTE, 8, chunks=palette(8)))
    at = data.index(name)
    length = int.from_bytes(data[at - 4 : at], "big")
    data[at + 4 + length] ^= 1
    with pytest.raises(Unrenderable):
        probe(bytes(data), LIMITS)


def test_valid_metadata_are_still_read() -> None:
    picture = pictures.corners(40, 20)
    info = PngInfo()
    info.add_itxt("XML:com.adobe.xmp", '<x tiff:Orientation="6"/>' + " " * 3_000_000, zip=True)
    data = pictures.png(picture, pnginfo=info)
    assert (probe(data, LIMITS).width, probe(data, LIMITS).height) == (20, 40)
    assert probe(pictures.png(picture, exif=pictures.exif(6)), LIMITS).height == 40
    assert probe(pictures.animated("png"), LIMITS).frames == 3
    plain = png(drawn(GREY, 8), GREY, 8)
    twice = chunk(b"gAMA", struct.pack(">I", 100_000)) + chunk(b"gAMA", struct.pack(">I", 45_455))
    first = chunk(b"gAMA", struct.pack(">I", 100_000))
    assert (shown(plain[:33] + twice + plain[33:]) == shown(plain[:33] + first + plain[33:])).all()


@pytest.mark.parametrize("interlaced", [False, True])
def test_a_transparent_colour_of_16_bits_is_compared_in_all_of_them(interlaced: bool) -> None:
    samples = np.full((HEIGHT, WIDTH, 3), 0x1234)
    samples[3, 4, 1] = 0x1235
    samples[5, 6, 0] = 0x1334
    key = chunk(b"tRNS", struct.pack(">3H", 0x1234, 0x1234, 0x1234))
    alpha = shown(png(samples, RGB, 16, interlaced=interlaced, chunks=key))[..., 3]
    assert alpha[3, 4] == alpha[5, 6] == 255
    assert int(alpha.astype(int).sum()) == 2 * 255
