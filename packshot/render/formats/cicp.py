"""Build ICC profiles for images that describe their colours without one.

AVIF and HEIC store code points of ITU-T H.273 in an `nclx` box, PNG stores them in `cICP`. Older PNG files store a
gamma (`gAMA`) and primaries (`cHRM`).
"""

import math
import struct
import zlib
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import Any

from packshot.render.formats.boxes import boxes

Chromaticities = tuple[float, float, float, float, float, float, float, float]
"""x and y of white, red, green and blue."""

_D65 = (0.3127, 0.3290)
_BT709: Chromaticities = (*_D65, 0.640, 0.330, 0.300, 0.600, 0.150, 0.060)
_PRIMARIES: dict[int, Chromaticities] = {
    1: _BT709,
    4: (0.310, 0.316, 0.67, 0.33, 0.21, 0.71, 0.14, 0.08),
    5: (*_D65, 0.64, 0.33, 0.29, 0.60, 0.15, 0.06),
    6: (*_D65, 0.630, 0.340, 0.310, 0.595, 0.155, 0.070),
    7: (*_D65, 0.630, 0.340, 0.310, 0.595, 0.155, 0.070),
    9: (*_D65, 0.708, 0.292, 0.170, 0.797, 0.131, 0.046),
    11: (0.314, 0.351, 0.680, 0.320, 0.265, 0.690, 0.150, 0.060),
    12: (*_D65, 0.680, 0.320, 0.265, 0.690, 0.150, 0.060),
}

# Luminance of diffuse white in an HDR image, in cd/m² (ITU-R BT.2408).
_WHITE_NITS = 203.0
# Light above this share of white is compressed, not clipped.
_KNEE = 0.6

# Number of entries in a profile's curve.
_STEPS = 4096


def srgb_to_light(signal: float) -> float:
    """Convert an sRGB value, 0 to 1, to linear light, 0 to 1 (IEC 61966-2-1)."""
    return signal / 12.92 if signal <= 0.04045 else math.pow((signal + 0.055) / 1.055, 2.4)


def _pq(signal: float) -> float:
    # SMPTE ST 2084: absolute luminance, at most 10,000 cd/m².
    power = math.pow(signal, 32 / 2523)
    return _tone_mapped(
        10_000 / _WHITE_NITS * math.pow(max(power - 0.8359375, 0) / (18.8515625 - 18.6875 * power), 8192 / 1305)
    )


def _hlg(signal: float) -> float:
    # ARIB STD-B67 on a display of 1,000 cd/m². The system gamma of 1.2 is applied to each channel separately.
    scene = signal * signal / 3 if signal <= 0.5 else (math.exp((signal - 0.55991073) / 0.17883277) + 0.28466892) / 12
    return _tone_mapped(1_000 / _WHITE_NITS * math.pow(scene, 1.2))


def _tone_mapped(light: float) -> float:
    if light <= _KNEE:
        return light
    return _KNEE + (1 - _KNEE) * (1 - math.exp((_KNEE - light) / (1 - _KNEE)))


# Transfer characteristics by code point. Those of television (1, 6, 14, 15) and unspecified ones are missing, because
# browsers treat them as sRGB.
_TRANSFERS: dict[int, Callable[[float], float]] = {
    4: lambda signal: math.pow(signal, 2.2),
    5: lambda signal: math.pow(signal, 2.8),
    8: lambda signal: signal,
    16: _pq,
    17: lambda signal: math.pow(signal, 2.6),
    18: _hlg,
}


def implied_profile(format: str, data: bytes, info: Mapping[Any, Any]) -> bytes | None:
    """Return an ICC profile for the colours that an original describes without a profile.

    Args:
        format: name of the format, as `sniff` returns it.
        data: the file.
        info: what Pillow read from the header. An embedded profile takes precedence, except over the `cICP` chunk of
        a PNG,
            which takes precedence by the standard.

    Returns:
        None if the file describes no colours, describes sRGB, or has an embedded profile that takes precedence.
    """
    codes = _png_codes(data) if format == "png" else None
    if codes is None and info.get("icc_profile"):
        return None
    if format == "avif":
        codes = _nclx(data, 0, len(data))
    elif format == "heic" and isinstance(nclx := info.get("nclx_profile"), Mapping):
        codes = int(nclx["color_primaries"]), int(nclx["transfer_characteristics"])
    if codes is not None:
        return _profile_of_code_points(*codes)
    if format == "png" and "srgb" not in info:
        return _profile_of_gamma(info.get("gamma"), info.get("chromaticity"))
    return None


@lru_cache(maxsize=8)
def _profile_of_code_points(primaries: int, transfer: int) -> bytes | None:
    chromaticities = _PRIMARIES.get(primaries, _BT709)
    if chromaticities == _BT709 and transfer not in _TRANSFERS:
        return None
    return matrix_profile(chromaticities, _TRANSFERS.get(transfer, srgb_to_light))


def _profile_of_gamma(gamma: object, chromaticity: object) -> bytes | None:
    chromaticities = chromaticity if isinstance(chromaticity, tuple) and len(chromaticity) == 8 else _BT709
    curve = srgb_to_light
    # Writers store 1 / 2.2 for sRGB, whose curve is not a power function.
    if isinstance(gamma, float) and gamma > 0 and abs(gamma * 2.2 - 1) > 0.02:
        power = min(max(1 / gamma, 0.1), 10)
        curve = lambda signal: math.pow(signal, power)  # noqa: E731
    alike = max(abs(one - other) for one, other in zip(chromaticities, _BT709, strict=True)) < 0.002
    if alike and curve is srgb_to_light:
        return None
    return matrix_profile(chromaticities, curve)


def matrix_profile(chromaticities: Chromaticities, curve: Callable[[float], float]) -> bytes | None:
    """Build an ICC profile (version 2) from primaries and one curve for all channels.

    Args:
        curve: maps a signal, 0 to 1, to linear light, 0 to 1.

    Returns:
        None if the primaries span no colour space.
    """
    try:
        white, *primaries = (
            (x / y, 1.0, (1 - x - y) / y) for x, y in zip(chromaticities[::2], chromaticities[1::2], strict=True)
        )
        shares = _matrix_times_vector(_inverse(_transposed(primaries)), white)
        colorants = [
            _adapted_to_d50([share * part for part in primary], white)
            for share, primary in zip(shares, primaries, strict=True)
        ]
        tags = {f"{name}XYZ": b"XYZ \0\0\0\0" + _s15_fixed16(xyz) for name, xyz in zip("rgb", colorants, strict=True)}
    except (ArithmeticError, struct.error):
        return None
    values = (round(65535 * min(max(curve(step / (_STEPS - 1)), 0), 1)) for step in range(_STEPS))
    table = b"curv" + struct.pack(f">4xI{_STEPS}H", _STEPS, *values)
    return _profile_bytes(
        {"wtpt": b"XYZ \0\0\0\0" + _s15_fixed16(_D50), **tags, "rTRC": table, "gTRC": table, "bTRC": table}
    )


_Vector = Sequence[float]
_Matrix = Sequence[_Vector]

# The white point of ICC profiles, and the matrix of the Bradford adaptation to it.
_D50 = (0.9642, 1.0, 0.8249)
_BRADFORD = ((0.8951, 0.2664, -0.1614), (-0.7502, 1.7135, 0.0367), (0.0389, -0.0685, 1.0296))


def _adapted_to_d50(xyz: _Vector, white: _Vector) -> _Vector:
    white_cones, target_cones = _matrix_times_vector(_BRADFORD, white), _matrix_times_vector(_BRADFORD, _D50)
    cones = _matrix_times_vector(_BRADFORD, xyz)
    return _matrix_times_vector(
        _inverse(_BRADFORD), [cone * target_cones[i] / white_cones[i] for i, cone in enumerate(cones)]
    )


def _matrix_times_vector(matrix: _Matrix, vector: _Vector) -> _Vector:
    return [sum(one * other for one, other in zip(row, vector, strict=True)) for row in matrix]


def _transposed(matrix: _Matrix) -> _Matrix:
    return list(zip(*matrix, strict=True))


def _inverse(matrix: _Matrix) -> _Matrix:
    a, b, c = matrix
    adjugate = _transposed([_cross(b, c), _cross(c, a), _cross(a, b)])
    determinant = sum(one * other for one, other in zip(a, _cross(b, c), strict=True))
    return [[value / determinant for value in row] for row in adjugate]


def _cross(one: _Vector, other: _Vector) -> _Vector:
    return [one[i - 2] * other[i - 1] - one[i - 1] * other[i - 2] for i in range(3)]


def _s15_fixed16(values: _Vector) -> bytes:
    return struct.pack(f">{len(values)}i", *(round(value * 65536) for value in values))


def _profile_bytes(tags: Mapping[str, bytes]) -> bytes:
    table, body, start = b"", b"", 128 + 4 + 12 * len(tags)
    for name, content in tags.items():
        table += name.encode() + struct.pack(">II", start + len(body), len(content))
        body += content
    head = struct.pack(">I4xI4s4s4s", start + len(body), 0x02400000, b"mntr", b"RGB ", b"XYZ ")
    head = head.ljust(36, b"\0") + b"acsp"
    head = head.ljust(68, b"\0") + _s15_fixed16(_D50)
    return head.ljust(128, b"\0") + struct.pack(">I", len(tags)) + table + body


def _png_codes(data: bytes) -> tuple[int, int] | None:
    at = 8
    while at + 8 <= len(data):
        length, kind = struct.unpack_from(">I4s", data, at)
        if kind == b"IDAT":
            break
        if (
            kind == b"cICP"
            and length == 4
            and zlib.crc32(data[at + 4 : at + 12]).to_bytes(4, "big") == data[at + 12 : at + 16]
        ):
            return data[at + 8], data[at + 9]
        at += length + 12
    return None


# Boxes on the path to `colr`, with the number of bytes before their child boxes.
_CONTAINERS = {b"meta": 4, b"iprp": 0, b"ipco": 0}


def _nclx(data: bytes, start: int, end: int) -> tuple[int, int] | None:
    # The first `colr` box is enough: grid tiles repeat that of the whole image, and alpha has none.
    for kind, _, inside, after in boxes(data, start, end):
        if kind in _CONTAINERS and (found := _nclx(data, inside + _CONTAINERS[kind], after)) is not None:
            return found
        if kind == b"colr" and data[inside : inside + 4] == b"nclx" and inside + 8 <= after:
            primaries, transfer = struct.unpack_from(">HH", data, inside + 4)
            return primaries, transfer
    return None
