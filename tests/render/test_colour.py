"""Any colour space is converted to sRGB, as calculated from the standards."""

import struct
import zlib
from collections.abc import Callable
from io import BytesIO

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from packshot.render.decoding.decode import decode
from packshot.render.formats.cicp import matrix_profile
from packshot.render.limits import Limits
from packshot.render.revision import DecodeRevision
from tests.support import pictures

Floats = npt.NDArray[np.float64]
Curve = Callable[[Floats], Floats]

LIMITS = Limits()
D50 = np.array([0.9642, 1.0, 0.8249])
SRGB = (0.3127, 0.3290, 0.64, 0.33, 0.30, 0.60, 0.15, 0.06)
P3 = (0.3127, 0.3290, 0.680, 0.320, 0.265, 0.690, 0.150, 0.060)
BT2020 = (0.3127, 0.3290, 0.708, 0.292, 0.170, 0.797, 0.131, 0.046)
ADOBE = (0.3127, 0.3290, 0.64, 0.33, 0.21, 0.71, 0.15, 0.06)
PROPHOTO = (0.3457, 0.3585, 0.7347, 0.2653, 0.1596, 0.8404, 0.0366, 0.0001)


def srgb_light(signal: Floats) -> Floats:
    return np.where(signal <= 0.04045, signal / 12.92, ((signal + 0.055) / 1.055) ** 2.4)


def srgb_signal(light: Floats) -> Floats:
    light = light.clip(0, 1)
    return np.where(light <= 0.0031308, light * 12.92, 1.055 * light ** (1 / 2.4) - 0.055)


def power(gamma: float) -> Curve:
    return lambda signal: signal**gamma


def to_d50(chromaticities: tuple[float, ...]) -> Floats:
    """Return the matrix from linear RGB to XYZ under D50 (Lindbloom; Bradford)."""
    points = np.array(chromaticities).reshape(4, 2)
    xyz = np.stack([points[:, 0] / points[:, 1], np.ones(4), (1 - points.sum(1)) / points[:, 1]])
    white, primaries = xyz[:, 0], xyz[:, 1:]
    bradford = np.array([[0.8951, 0.2664, -0.1614], [-0.7502, 1.7135, 0.0367], [0.0389, -0.0685, 1.0296]])
    adaptation = np.linalg.inv(bradford) @ np.diag((bradford @ D50) / (bradford @ white)) @ bradford
    return np.asarray(adaptation @ primaries @ np.diag(np.linalg.solve(primaries, white)))


def in_srgb(colours: npt.NDArray[np.uint8], chromaticities: tuple[float, ...], curve: Curve) -> Floats:
    """Convert 8-bit RGB colours of another space to sRGB, 0 to 255."""
    light = curve(colours / 255) @ to_d50(chromaticities).T @ np.linalg.inv(to_d50(SRGB)).T
    return 255 * srgb_signal(light)


def lab(srgb: Floats) -> Floats:
    """Convert sRGB colours, 0 to 255, to CIE L*a*b* under D50."""
    xyz = srgb_light(srgb / 255) @ to_d50(SRGB).T / D50
    f = np.where(xyz > 216 / 24389, np.cbrt(xyz), (24389 / 27 * xyz + 16) / 116)
    return np.stack([116 * f[..., 1] - 16, 500 * (f[..., 0] - f[..., 1]), 200 * (f[..., 1] - f[..., 2])], -1)


def delta_e2000(one: Floats, other: Floats) -> Floats:
    """Return the CIEDE2000 difference of two sets of sRGB colours, 0 to 255 (Sharma, Wu and Dalal 2005)."""
    (l1, a1, b1), (l2, a2, b2) = np.moveaxis(lab(one), -1, 0), np.moveaxis(lab(other), -1, 0)
    mean = (np.hypot(a1, b1) + np.hypot(a2, b2)) / 2
    stretch = 1.5 - 0.5 * np.sqrt(mean**7 / (mean**7 + 25.0**7))
    a1, a2 = a1 * stretch, a2 * stretch
    c1, c2 = np.hypot(a1, b1), np.hypot(a2, b2)
    h1, h2 = np.degrees(np.arctan2(b1, a1)) % 360, np.degrees(np.arctan2(b2, a2)) % 360
    coloured = c1 * c2 > 0
    dh = np.where(coloured, (h2 - h1 + 180) % 360 - 180, 0)
    hue = np.where(coloured, (h1 + dh / 2) % 360, h1 + h2)
    dl, dc = l2 - l1, c2 - c1
    big_dh = 2 * np.sqrt(c1 * c2) * np.sin(np.radians(dh / 2))
    lightness, c = (l1 + l2) / 2, (c1 + c2) / 2
    t = (
        1
        - 0.17 * np.cos(np.radians(hue - 30))
        + 0.24 * np.cos(np.radians(2 * hue))
        + 0.32 * np.cos(np.radians(3 * hue + 6))
        - 0.20 * np.cos(np.radians(4 * hue - 63))
    )
    sl = 1 + 0.015 * (lightness - 50) ** 2 / np.sqrt(20 + (lightness - 50) ** 2)
    sc, sh = 1 + 0.045 * c, 1 + 0.015 * c * t
    rotation = np.sin(np.radians(60 * np.exp(-(((hue - 275) / 25) ** 2)))) * 2 * np.sqrt(c**7 / (c**7 + 25.0**7))
    parts = (dl / sl) ** 2 + (dc / sc) ** 2 + (big_dh / sh) ** 2 - rotation * (dc / sc) * (big_dh / sh)
    return np.asarray(np.sqrt(parts.clip(0)))


def colours(steps: int = 9) -> npt.NDArray[np.uint8]:
    """Return colours that fill the RGB cube, as the rows of an image."""
    axis = np.linspace(0, 255, steps).round().astype(np.uint8)
    return np.stack(np.meshgrid(axis, axis, axis, indexing="ij"), -1).reshape(steps, steps * steps, 3)


def decoded(data: bytes) -> npt.NDArray[np.uint8]:
    found = decode(data, LIMITS)
    return np.asarray(found.shown(found.picture))


def profile(chromaticities: tuple[float, ...], gamma: float) -> bytes:
    """Build a profile as vendors do: colorants under D50, and a gamma."""
    xyz = to_d50(chromaticities)
    point = b"XYZ \0\0\0\0" + struct.pack(">3i", *(round(value * 65536) for value in D50))
    tags = {"wtpt": point}
    for name, column in zip("rgb", xyz.T, strict=True):
        tags[f"{name}XYZ"] = b"XYZ \0\0\0\0" + struct.pack(">3i", *(round(value * 65536) for value in column))
        tags[f"{name}TRC"] = b"para\0\0\0\0\0\0\0\0" + struct.pack(">i", round(gamma * 65536))
    return pictures.icc("RGB", "XYZ ", tags)


def test_ciede2000_agrees_with_published_pairs() -> None:
    grey, near = np.full((1, 3), 119.0), np.full((1, 3), 122.0)
    assert delta_e2000(grey, grey)[0] == 0
    assert 1.0 < delta_e2000(grey, near)[0] < 1.3


@pytest.mark.parametrize(
    ("chromaticities", "gamma"),
    [(P3, 2.2), (ADOBE, 563 / 256), (PROPHOTO, 1.8), (BT2020, 2.4)],
    ids=["P3", "AdobeRGB", "ProPhoto", "BT.2020"],
)
@pytest.mark.parametrize("encode", [pictures.png, pictures.tiff, pictures.webp])
def test_wide_colour_spaces_are_converted_by_their_primaries_and_curves(
    encode: pictures.Encoder, chromaticities: tuple[float, ...], gamma: float
) -> None:
    data = encode(Image.fromarray(colours()), icc_profile=profile(chromaticities, gamma))
    difference = delta_e2000(decoded(data).astype(float), in_srgb(colours(), chromaticities, power(gamma)))
    assert difference.max() <= 2
    assert difference.mean() <= 0.5


def test_cmyk_is_converted_by_its_profile() -> None:
    inks = colours().astype(float)
    black = np.linspace(0, 255, inks.shape[1]).round()[None, :, None].repeat(inks.shape[0], 0)
    cmyk = np.concatenate([inks, black], -1).round().astype(np.uint8)
    # In that profile, each ink alone removes a quarter of the lightness.
    lightness = 100 * (1 - cmyk.sum(-1) / 255 / 4)
    light = np.where(lightness > 8, ((lightness + 16) / 116) ** 3, lightness * 27 / 24389)
    expected = 255 * srgb_signal(light)[..., None].repeat(3, -1)
    data = pictures.tiff(Image.fromarray(cmyk, "CMYK"), icc_profile=pictures.grey_inks())
    assert delta_e2000(decoded(data).astype(float), expected).max() <= 2


def test_lab_is_converted_by_the_standard() -> None:
    expected = np.array([[[200, 100, 50], [20, 130, 90], [128, 128, 128], [255, 255, 255], [9, 9, 60]]], float)
    values = lab(expected)
    stored = (values * (2.55, 1, 1)).round().astype(np.int16).astype(np.uint8)  # a* and b* are signed
    data = pictures.tiff(Image.frombytes("LAB", (5, 1), stored.tobytes()))
    assert delta_e2000(decoded(data).astype(float), expected).max() <= 2


def tagged(picture: Image.Image, primaries: int, transfer: int) -> bytes:
    """Encode as AVIF, and change the code points in its colour box."""
    data = bytearray(pictures.avif(picture, quality=100))
    at = data.index(b"colrnclx") + 8
    data[at : at + 4] = struct.pack(">HH", primaries, transfer)
    return bytes(data)


def png_with(picture: Image.Image, *chunks: tuple[bytes, bytes]) -> bytes:
    data = pictures.png(picture)
    added = b"".join(
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body)) for kind, body in chunks
    )
    return data[:33] + added + data[33:]  # right after IHDR


def bent(light: Floats) -> Floats:
    return np.where(light <= 0.6, light, 0.6 + 0.4 * (1 - np.exp((0.6 - light) / 0.4)))


def pq(signal: Floats) -> Floats:
    m1, m2, c1, c2, c3 = 2610 / 16384, 2523 / 32, 3424 / 4096, 2413 / 128, 2392 / 128
    root = signal ** (1 / m2)
    return bent(10_000 / 203 * ((root - c1).clip(0) / (c2 - c3 * root)) ** (1 / m1))


def hlg(signal: Floats) -> Floats:
    a, b, c = 0.17883277, 0.28466892, 0.55991073
    scene = np.where(signal <= 0.5, signal**2 / 3, (np.exp((signal - c) / a) + b) / 12)
    return bent(1_000 / 203 * scene**1.2)


@pytest.mark.parametrize(
    ("codes", "chromaticities", "curve"),
    [
        ((12, 13), P3, srgb_light),
        ((9, 16), BT2020, pq),
        ((9, 18), BT2020, hlg),
        ((12, 16), P3, pq),
        ((1, 8), SRGB, power(1.0)),
        ((9, 14), BT2020, srgb_light),
    ],
    ids=["P3", "BT.2020 PQ", "BT.2020 HLG", "P3 PQ", "linear", "BT.2020"],
)
@pytest.mark.parametrize("format", ["avif", "png"])
def test_code_points_are_converted_to_srgb(
    format: str, codes: tuple[int, int], chromaticities: tuple[float, ...], curve: Curve
) -> None:
    patches = np.array([[40, 40, 40], [120, 90, 60], [90, 120, 110], [128, 128, 128], [150, 60, 60]], np.uint8)
    picture = Image.fromarray(patches[:, None].repeat(16, 0).repeat(16, 1))
    data = tagged(picture, *codes) if format == "avif" else png_with(picture, (b"cICP", bytes((*codes, 0, 1))))
    shown = decoded(data)[8::16, 8].astype(float)
    stored = patches if format == "png" else np.asarray(Image.open(BytesIO(data)))[8::16, 8]
    assert delta_e2000(shown, in_srgb(stored, chromaticities, curve)).max() <= 2


def test_diffuse_white_of_an_hdr_image_stays_light() -> None:
    paper = Image.new("RGB", (16, 16), (148, 148, 148))  # 203 cd/m² in PQ
    assert 225 <= int(decoded(png_with(paper, (b"cICP", b"\x09\x10\x00\x01")))[0, 0, 0]) <= 250


def test_code_points_of_srgb_need_no_conversion() -> None:
    picture = pictures.photo(32, 32)
    plain = decoded(tagged(picture, 2, 2))
    for codes in ((1, 13), (1, 1), (2, 2), (1, 6)):
        assert (decoded(tagged(picture, *codes)) == plain).all()


def test_a_png_without_a_profile_is_converted_by_gamma_and_primaries() -> None:
    picture = Image.fromarray(colours())
    linear = png_with(picture, (b"gAMA", struct.pack(">I", 100_000)))
    assert delta_e2000(decoded(linear).astype(float), in_srgb(colours(), SRGB, power(1.0))).max() <= 2
    usual = png_with(picture, (b"gAMA", struct.pack(">I", 45_455)))
    assert (decoded(usual) == colours()).all()
    points = struct.pack(">8I", *(round(value * 100_000) for value in P3))
    wide = png_with(picture, (b"gAMA", struct.pack(">I", 45_455)), (b"cHRM", points))
    assert delta_e2000(decoded(wide).astype(float), in_srgb(colours(), P3, srgb_light)).max() <= 2
    # An sRGB chunk takes precedence over both.
    stated = png_with(picture, (b"sRGB", b"\0"), (b"gAMA", struct.pack(">I", 100_000)))
    assert (decoded(stated) == colours()).all()


def test_a_profile_equivalent_to_srgb_changes_nothing() -> None:
    for likeness in (pictures.srgb(), matrix_profile((0.3127, 0.3290, 0.64, 0.33, 0.30, 0.60, 0.15, 0.06), _light)):
        data = pictures.png(Image.fromarray(colours()), icc_profile=likeness)
        assert (decoded(data) == colours()).all()


def _light(signal: float) -> float:
    return float(srgb_light(np.array(signal)))


@pytest.mark.parametrize("gamma", [1.0, 1.8, 2.2])
def test_a_grey_profile_is_applied_to_grey_with_alpha(gamma: float) -> None:
    picture = Image.merge("LA", [Image.linear_gradient("L"), Image.linear_gradient("L").rotate(90)])
    shown = decoded(pictures.png(picture, icc_profile=pictures.grey_gamma(gamma)))
    expected = 255 * srgb_signal((np.arange(256) / 255) ** gamma)
    assert np.abs(shown[:, 0, :3] - expected[:, None]).max() <= 2
    assert (shown[..., 3] == np.asarray(picture.getchannel("A"))).all()


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (np.array([[0.0, 0.5, 1.0]], np.float32), [0, 128, 255]),
        (np.array([[0.0, 1.0, 2.0]], np.float32), [0, 128, 255]),
        (np.array([[0.0, 128.0, 255.0]], np.float32), [0, 128, 255]),
        (np.array([[0.0, 40_000.0, 80_000.0]], np.float32), [0, 128, 255]),
        (np.array([[-0.5, 0.25, 1.0]], np.float32), [0, 128, 255]),
        (np.array([[0, 32_896, 65_535]], np.uint16), [0, 128, 255]),
        (np.array([[0, 1_000_000, 2_000_000]], np.int32), [0, 128, 255]),
    ],
)
def test_samples_of_more_than_8_bits_are_scaled_not_clipped(values: npt.NDArray[np.uint8], expected: list[int]) -> None:
    assert decoded(pictures.tiff(Image.fromarray(values)))[0, :, 0].tolist() == expected


@pytest.mark.parametrize("compression", ["raw", "tiff_lzw"])
@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (np.array([[0, 64, 255]], np.uint8), [255, 191, 0]),
        (np.array([[0, 0x4000, 0xFFFF]], np.uint16), [255, 191, 0]),
        (np.array([[0.0, 0.25, 1.0]], np.float32), [255, 191, 0]),
    ],
)
def test_a_tiff_with_0_as_white_is_inverted(
    values: npt.NDArray[np.uint8], expected: list[int], compression: str
) -> None:
    plain = pictures.tiff(Image.fromarray(values), compression=compression)
    # The tag's entry: number, type short, count 1, value.
    data = plain.replace(struct.pack("<HHIHH", 262, 3, 1, 1, 0), struct.pack("<HHIHH", 262, 3, 1, 0, 0))
    assert data != plain
    assert decoded(data)[0, :, 0].tolist() == expected


def fractions(fill: float, **pixels: float) -> npt.NDArray[np.uint8]:
    """Convert a float TIFF of `fill` that has a few other pixels, from the left of its second row."""
    values = np.full((32, 32), fill, np.float32)
    values[1, : len(pixels)] = list(pixels.values())
    return decoded(pictures.tiff(Image.fromarray(values)))[..., 0]


@pytest.mark.parametrize(
    ("fill", "other", "expected"),
    [
        (0.5, 1.001, 128),
        (0.5, 1.0, 128),
        (0.5, 1.25, 102),
        (0.5, 1000.0, 64),
        (0.5, 3e38, 64),
        (100.0, 256.0, 100),
        (100.0, 3e38, 50),
        (20_000.0, 65_536.0, 78),
        (20_000.0, 3e38, 39),
        (0.5, -0.001, 128),
        (0.5, -3e38, 191),
    ],
)
def test_one_outlier_beyond_white_or_black_does_not_hide_other_pixels(fill: float, other: float, expected: int) -> None:
    shown = fractions(fill, other=other)
    assert abs(int(shown[0, 0]) - expected) <= 1
    assert shown[1, 0] == (255 if other > fill else 0)


def test_overshoots_of_a_float_image_do_not_change_other_pixels() -> None:
    wide = pictures.photo(200, 150).convert("L").convert("F").point(lambda value: value * (1 / 255))
    small = wide.resize((67, 50), Image.Resampling.LANCZOS)
    sharp = np.asarray(small).copy()
    sharp[10, 10:14] = 1.03
    expected = np.asarray(small) * 255
    assert np.abs(decoded(pictures.tiff(Image.fromarray(sharp)))[20:, :, 0] - expected[20:]).max() <= 255 * 0.04


def test_nan_counts_as_0_and_infinity_as_the_largest_number() -> None:
    nan, inf = float("nan"), float("inf")
    assert fractions(0.5, none=nan, most=inf, least=-inf, largest=1.0)[1, :5].tolist() == [0, 255, 0, 255, 128]
    assert fractions(0.25, most=inf, largest=0.5)[1, :3].tolist() == [128, 128, 64]
    # With negative samples, 0 is not black, regardless of the position of the NaN.
    assert fractions(0.5, none=nan, least=-inf, lowest=-1.0)[1, :4].tolist() == [128, 0, 0, 191]
    assert fractions(nan, some=0.5, largest=1.0)[:2, :2].tolist() == [[0, 0], [128, 255]]
    assert (fractions(inf) == 0).all()


def test_a_photograph_in_p3_is_converted_closely_everywhere() -> None:
    photo = np.asarray(pictures.photo(120, 90))
    shown = decoded(pictures.jpeg(Image.fromarray(photo), quality=100, icc_profile=profile(P3, 2.2)))
    difference = delta_e2000(shown.astype(float), in_srgb(photo, P3, power(2.2)))
    assert difference.mean() <= 1


@pytest.mark.parametrize("encode", [pictures.tiff, pictures.jpeg])
@pytest.mark.parametrize("printer", [True, False])
def test_the_black_of_a_printing_profile_becomes_black(encode: pictures.Encoder, printer: bool) -> None:
    profile = pictures.dim_black(printer=printer)
    for inks, expected in (((255,) * 4, 0), ((0,) * 4, 255)):
        decoded = decode(encode(Image.new("CMYK", (16, 16), inks), icc_profile=profile), Limits())
        assert decoded.shown(decoded.picture).getpixel((5, 5)) == pytest.approx((expected,) * 3, abs=1)
        assert decoded.revision == DecodeRevision.BLACK_POINT


def test_the_black_of_a_grey_profile_becomes_black() -> None:
    for grey, expected in ((0, 0), (255, 255)):
        decoded = decode(pictures.png(Image.new("L", (16, 16), grey), icc_profile=pictures.lifted_grey()), Limits())
        assert decoded.shown(decoded.picture).getpixel((5, 5)) == pytest.approx((expected,) * 3, abs=1)
        assert decoded.revision == DecodeRevision.BLACK_POINT


@pytest.mark.parametrize("profile", [b"", b"garbage", pictures.srgb(), pictures.display_p3()])
def test_originals_without_black_point_compensation_keep_their_keys(profile: bytes) -> None:
    for picture in (pictures.photo(20, 20), pictures.photo(20, 20).convert("L")):
        assert decode(pictures.jpeg(picture, icc_profile=profile), Limits()).revision == 0
    for profile in (pictures.grey_gamma(1.8), pictures.grey_inks()):
        mode = "L" if profile == pictures.grey_gamma(1.8) else "CMYK"
        assert decode(pictures.tiff(pictures.photo(20, 20).convert(mode), icc_profile=profile), Limits()).revision == 0
