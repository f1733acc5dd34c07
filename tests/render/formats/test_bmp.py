"""BMP with arbitrary channel masks, with short OS/2 headers, and with runs."""

import struct
from itertools import product

import numpy as np
import numpy.typing as npt
import pytest

from packshot.errors import PackshotError, TooLarge, UnsupportedMedia
from packshot.render.decoding.decode import decode
from packshot.render.drawing.probe import probe
from packshot.render.limits import Limits
from packshot.render.revision import DecodeRevision
from tests.support import pictures

LIMITS = Limits()
WIDTH, HEIGHT = 7, 5
Masks = tuple[int, int, int, int]

M565, M555, M1555, M4444 = (
    (0xF800, 0x7E0, 0x1F, 0),
    (0x7C00, 0x3E0, 0x1F, 0),
    (0x7C00, 0x3E0, 0x1F, 0x8000),
    (0xF00, 0xF0, 0xF, 0xF000),
)
LAYOUTS: list[tuple[int, Masks]] = [
    *product(
        [16], [M565, M555, M1555, M4444, (0xF, 0xF0, 0xF00, 0xF000), (0xF800, 0x7C0, 0x3E, 1), (0xE0, 0x1C, 3, 0)]
    ),
    *product(
        [32],
        [
            (0xFF0000, 0xFF00, 0xFF, 0xFF000000),
            (0xFF, 0xFF00, 0xFF0000, 0),
            (0xFF, 0xFF00, 0xFF0000, 0xFF000000),
            (0xFF00, 0xFF0000, 0xFF000000, 0xFF),
            (0x3FF00000, 0xFFC00, 0x3FF, 0xC0000000),
            (0xFF000000, 0xF0000, 0xFF0, 0xF),
            (0x1F, 0x3E0, 0x7C00, 0x8000),
            (0xFFF00000, 0xFFF00, 0xFF, 0),
        ],
    ),
]


def samples(masks: Masks, *, seed: int = 1) -> npt.NDArray[np.int64]:
    """Return random values for each channel, as wide as its mask."""
    random = np.random.default_rng(seed)
    full = [mask // (mask & -mask) if mask else 0 for mask in masks]
    return np.stack([random.integers(0, top + 1, (HEIGHT, WIDTH)) for top in full], -1)


def bmp(values: npt.NDArray[np.int64], bits: int, masks: Masks, *, header: int = 124, down: bool = False) -> bytes:
    """Encode samples with channel masks. With a 40-byte header and alpha, the compression must be the one with four
    masks.
    """
    words = sum(values[..., place] * (mask & -mask) for place, mask in enumerate(masks))
    rows = np.asarray(words).astype(f"<u{bits // 8}")
    lines = [row.tobytes().ljust((WIDTH * bits // 8 + 3) // 4 * 4, b"\0") for row in (rows if down else rows[::-1])]
    is_long = header == 40 and masks[3] > 0
    info = struct.pack("<IiiHHI", header, WIDTH, -HEIGHT if down else HEIGHT, 1, bits, 6 if is_long else 3)
    info = info.ljust(40, b"\0") + struct.pack("<IIII", *masks)
    info = info[: 56 if is_long else 52] if header == 40 else info.ljust(header, b"\0")[:header]
    body = b"".join(lines)
    return b"BM" + struct.pack("<III", 14 + len(info) + len(body), 0, 14 + len(info)) + info + body


def expected(values: npt.NDArray[np.int64], masks: Masks) -> npt.NDArray[np.float64]:
    full = [mask // (mask & -mask) if mask else 1 for mask in masks]
    shown = np.asarray(values * 255 / np.array(full), np.float64)
    if not masks[3]:
        shown[..., 3] = 255
    return shown


def shown(data: bytes) -> npt.NDArray[np.float64]:
    return np.asarray(decode(data, LIMITS).picture.convert("RGBA"), np.float64)


@pytest.mark.parametrize(("bits", "masks"), LAYOUTS)
@pytest.mark.parametrize("header", [40, 56, 108, 124])
@pytest.mark.parametrize("down", [False, True])
def test_masks_of_every_layout_are_used(bits: int, masks: Masks, header: int, down: bool) -> None:
    values = samples(masks)
    data = bmp(values, bits, masks, header=header, down=down)
    probe(data, LIMITS)
    # Pillow truncates samples of 5 and 6 bits, where Packshot rounds.
    assert np.abs(shown(data) - expected(values, masks)).max() <= 1


@pytest.mark.parametrize(("bits", "masks"), [(16, M1555), (16, M4444), (32, (0xFF0000, 0xFF00, 0xFF, 0xFF000000))])
def test_an_alpha_channel_of_zeros_is_ignored(bits: int, masks: Masks) -> None:
    values = samples(masks)
    values[..., 3] = 0
    assert (shown(bmp(values, bits, masks))[..., 3] == 255).all()
    assert not probe(bmp(values, bits, masks), LIMITS).alpha


@pytest.mark.parametrize("size", [16, 24, 42, 48, 60])
def test_a_short_header_of_os2_is_read(size: int) -> None:
    plain = pictures.bmp(pictures.corners(20, 10))
    fields = plain[18:54].ljust(64, b"\0")[: size - 4]
    data = plain[:10] + struct.pack("<II", 14 + size, size) + fields + plain[54:]
    assert (shown(data) == shown(plain)).all()


def test_a_mask_with_a_gap_and_other_compressions_are_refused_by_name() -> None:
    masks = (0xF800, 0x7E0, 0x1F, 0)
    data = bytearray(bmp(samples(masks), 16, masks))
    data[54:58] = struct.pack("<I", 0xB800)
    with pytest.raises(UnsupportedMedia, match="mask"):
        decode(bytes(data), LIMITS)
    for compression in (4, 5, 11):
        data = bytearray(pictures.bmp(pictures.corners(20, 10)))
        data[30:34] = struct.pack("<I", compression)
        with pytest.raises(UnsupportedMedia):
            decode(bytes(data), LIMITS)


def test_a_mask_is_cut_to_the_bits_of_a_pixel() -> None:
    values = samples(M4444)
    data = bytearray(bmp(values, 16, M4444))
    data[54 + 12 : 54 + 16] = struct.pack("<I", 0x7F_F000)
    assert np.abs(shown(bytes(data)) - expected(values, M4444)).max() <= 1
    data[54 + 12 : 54 + 16] = struct.pack("<I", 0xFF_0000)
    assert (shown(bytes(data))[..., 3] == 255).all()


def test_a_bmp_with_masks_is_limited_and_refused_if_truncated() -> None:
    data = bmp(samples(M4444), 16, M4444)
    huge = data[:18] + struct.pack("<ii", 60_000, 60_000) + data[26:]
    with pytest.raises(TooLarge):
        decode(huge, LIMITS)
    for end in range(20, len(data), 9):
        with pytest.raises(PackshotError):
            decode(data[:end], LIMITS)


PALETTE = [(position * 40 % 256, position * 70 % 256, position * 110 % 256) for position in range(16)]


def with_runs(runs: bytes, width: int, height: int, *, bits: int = 8, colours: int = 0, header: int = 40) -> bytes:
    """Encode a BMP with runs, and a palette of 16 colours."""
    info = struct.pack("<IiiHHIIiiII", header, width, height, 1, bits, 1 if bits == 8 else 2, 0, 0, 0, colours, 0)
    table = b"".join(bytes((blue, green, red, 0)) for red, green, blue in PALETTE)
    table = table[: 4 * colours] if colours else table.ljust(4 << bits, b"\0")
    head = info.ljust(header, b"\0") + table
    return b"BM" + struct.pack("<III", 0, 0, 14 + len(head)) + head + runs


def rows_of(data: bytes) -> list[list[int]]:
    """Return the palette indexes of the image's rows, lowest row first."""
    probe(data, LIMITS)
    numbers = {colour: number for number, colour in enumerate(PALETTE)}
    seen = shown(data)[::-1, :, :3].astype(int)
    return [[numbers[tuple(pixel)] for pixel in row] for row in seen.tolist()]


RUNS = {
    "whole": (b"\4\1\0\0" + b"\2\2\2\3\0\0" + b"\4\4\0\1", [[1] * 4, [2, 2, 3, 3], [4] * 4]),
    "complete without end marks": (b"\4\1\0\0" + b"\4\2\0\0" + b"\4\3", [[1] * 4, [2] * 4, [3] * 4]),
    "no runs at all": (b"\0\1", [[0] * 4] * 3),
    "one row": (b"\4\1\0\0\0\1", [[1] * 4, [0] * 4, [0] * 4]),
    "an end within a row": (b"\4\1\0\0\2\2\0\1", [[1] * 4, [2, 2, 0, 0], [0] * 4]),
    "a row that ends early": (b"\2\1\0\0\4\2\0\0\4\3\0\1", [[1, 1, 0, 0], [2] * 4, [3] * 4]),
    "an empty row": (b"\4\1\0\0\0\0\4\3\0\1", [[1] * 4, [0] * 4, [3] * 4]),
    "a jump": (b"\1\1\0\2\1\1\2\2\0\0\4\3\0\1", [[1, 0, 0, 0], [0, 0, 2, 2], [3] * 4]),
    "a jump beyond the top": (b"\4\1\0\2\0\7", [[1] * 4, [0] * 4, [0] * 4]),
    "single pixels": (b"\0\3\1\2\3\0\1\4\0\0\4\2\0\0\0\4\1\2\3\4\0\1", [[1, 2, 3, 4], [2] * 4, [1, 2, 3, 4]]),
    "runs beyond a row": (
        b"\7\1\0\0" + b"\0\6\1\2\3\4\5\6\0\0" + b"\3\4\3\5\0\1",
        [[1] * 4, [1, 2, 3, 4], [4, 4, 4, 5]],
    ),
}


@pytest.mark.parametrize("name", RUNS)
@pytest.mark.parametrize(("colours", "header"), [(0, 40), (16, 40), (7, 64), (16, 124)])
def test_pixels_without_a_run_have_the_first_colour(name: str, colours: int, header: int) -> None:
    runs, expected = RUNS[name]
    assert rows_of(with_runs(runs, 4, 3, colours=colours, header=header)) == expected


@pytest.mark.parametrize(
    ("runs", "expected"),
    [
        (b"\5\x12\0\0" + b"\0\5\x12\x34\x50\0" + b"\0\1", [[1, 2, 1, 2, 1], [1, 2, 3, 4, 5], [0] * 5]),
        (b"\0\0" + b"\3\x21\0\0" + b"\5\x33", [[0] * 5, [2, 1, 2, 0, 0], [3] * 5]),
    ],
)
def test_pixels_without_a_run_of_nibbles_have_the_first_colour(runs: bytes, expected: list[list[int]]) -> None:
    assert rows_of(with_runs(runs, 5, 3, bits=4)) == expected


def test_truncated_runs_are_refused() -> None:
    runs = b"\4\1\0\0" + b"\0\3\1\2\3\0\1\4\0\0" + b"\4\3"
    assert probe(with_runs(runs, 4, 3), LIMITS).height == 3
    for end in range(len(runs)):
        with pytest.raises(PackshotError):
            probe(with_runs(runs[:end], 4, 3), LIMITS)


def test_runs_are_checked_against_the_limits_before_they_are_decompressed() -> None:
    with pytest.raises(TooLarge):
        decode(with_runs(b"\0\1", 60_000, 60_000), LIMITS)


def test_only_runs_with_gaps_get_another_revision() -> None:
    assert decode(with_runs(RUNS["whole"][0], 4, 3), LIMITS).revision == 0
    assert decode(with_runs(RUNS["a jump"][0], 4, 3), LIMITS).revision == DecodeRevision.RUNS
