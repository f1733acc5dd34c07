"""Any decoded picture as 8-bit sRGB, with or without an alpha channel."""

import math
from functools import lru_cache
from io import BytesIO
from itertools import product

from PIL import Image, ImageChops, ImageCms, ImageMath
from PIL.ImageCms import ImageCmsProfile, ImageCmsTransform

from packshot.errors import TooLarge
from packshot.render.damage import DAMAGE

_SRGB = ImageCms.createProfile("sRGB")
_SPACE = {"L": "GRAY", "RGB": "RGB", "RGBA": "RGB", "CMYK": "CMYK", "LAB": "Lab"}
# The white of print, which TIFF files in Lab are relative to.
_D50_KELVIN = 5000
# Rounded to the nearest of 256, as 65535 / 255 is 257; Pillow would cut off.
_TO_8_BITS = [(value + 128) // 257 for value in range(65536)]
_GREYS = Image.frombytes("L", (256, 1), bytes(range(256)))
_MODES_8_BITS = {"1": "L", "La": "LA", "RGBa": "RGBA", "PA": "RGBA"}


def check_profile(profile: bytes, max_bytes: int) -> None:
    """Refuse a picture whose sound ICC profile is too large; a broken one counts as none.

    Raises:
        TooLarge: the profile's header says that it has more than `max_bytes`.
    """
    announced = int.from_bytes(profile[:4], "big")
    if announced > max_bytes and profile[36:40] == b"acsp":
        raise TooLarge(
            "The picture's colour profile is too large.", expected=f"at most {max_bytes} bytes", got=announced
        )


def to_srgb(picture: Image.Image) -> Image.Image:
    """Return `picture` in mode RGB, or RGBA where any pixel is not opaque; `picture` itself may be changed.

    What `to_rgb` leaves to be done is done too.
    """
    plain, transform = to_rgb(picture)
    return plain if transform is None else transformed(plain, transform)


def to_rgb(picture: Image.Image) -> tuple[Image.Image, ImageCmsTransform | None]:
    """Return `picture` in mode RGB, or RGBA where any pixel is not opaque, and what brings that to sRGB.

    None: it is sRGB. Where the pixels are RGB in another space, whoever makes the
    picture smaller transforms what comes of it: a whole original takes far longer.

    Its ICC profile is applied with relative colorimetric intent and black point compensation. A profile that is broken,
    or made for other channels than the picture has, counts as none: then grey
    and RGB are taken for sRGB, and CMYK is converted by complement. Pillow
    reads every CMYK JPEG as Adobe writes it, inverted, whoever wrote it.

    Numbers of more than 8 bits are scaled down, whole ones by 65535 or, if it is
    more, by the highest. With fractions nobody says what is white: it is the first
    of 1, 255 and 65535 that nearly all pixels stay within 16 times of. Whiter pixels
    set the scale instead of being cut off, as far as twice that or twice what nearly
    all stay within; so do negative ones for black. Nearly all is all but one in 256.
    NaN counts as 0, infinity as the largest number that there is.
    """
    profile = picture.info.get("icc_profile") or b""
    plain = _without_useless_alpha(_with_8_bits(picture))
    if plain.mode in ("L", "LA"):
        return _from_grey(plain, profile), None
    if plain.mode == "LAB":
        return transformed(plain, _lab()), None
    transform = _to_srgb(profile, plain.mode)
    if plain.mode == "CMYK":
        return (plain.convert("RGB") if transform is None else transformed(plain, transform)), None
    return plain, transform


def transformed(picture: Image.Image, transform: ImageCmsTransform) -> Image.Image:
    """Return `picture` in the space that `transform` leads to; `picture` itself may be changed."""
    # In place where the channels stay: another copy of a large original is 320 MB.
    apply = transform.apply_in_place if picture.mode == transform.output_mode else transform.apply
    result = apply(picture)
    # Encoders would write it into every file.
    result.info.pop("icc_profile", None)
    return result


def _with_8_bits(picture: Image.Image) -> Image.Image:
    # Gives L, LA, RGB, RGBA, CMYK or LAB.
    mode = picture.mode
    if mode in ("I", "F") or mode.startswith("I;16"):
        return _from_wide(picture)
    if picture.has_transparency_data and mode not in ("LA", "RGBA"):
        return picture.convert("LA" if mode in ("1", "L", "La") else "RGBA")
    if mode in ("L", "LA", "RGB", "RGBA", "CMYK", "LAB"):
        return picture
    return picture.convert(_MODES_8_BITS.get(mode, "RGB"))


def _from_wide(picture: Image.Image) -> Image.Image:
    # 16-bit numbers, 32-bit ones and fractions; only a PNG has a colour that is transparent.
    transparent = picture.info.get("transparency")
    wide = picture if picture.mode in ("I", "F") else picture.convert("I")
    lowest, highest = _extrema(wide)
    if picture.mode == "F":
        if not _is_finite(wide):
            lowest, highest = _make_finite(wide)
        near = _reach(wide, highest)
        white = next((usual for usual in (1.0, 255.0, 65535.0) if near <= 16 * usual), near)
        full = max(white, min(highest, 2 * max(white, near)))
        if lowest < 0:
            lowest = max(lowest, -max(full, -2 * _reach(wide, lowest)))
    else:
        # TIFF tag 258 is the number of bits of each channel.
        bits = getattr(picture, "tag_v2", {}).get(258)
        full = max(4095.0 if bits == (12,) else 65535.0, highest)
    if full == 65535 >= highest and lowest >= 0:
        if picture.mode == "F":
            wide = wide.convert("I")
        grey = wide.point(_TO_8_BITS, "L")
    else:
        lowest = min(lowest, 0.0)
        scale = 255 / (full - lowest)
        # Half a step more, as the fraction is cut off.
        grey = wide.convert("F").point(lambda value: value * scale + (0.5 - lowest * scale)).convert("L")
    # TIFF tag 262: 0 stands for white. Pillow sees to it where numbers have 8 bits.
    if getattr(picture, "tag_v2", {}).get(262) == 0:
        grey = ImageChops.invert(grey)
    if picture.mode == "I;16" and isinstance(transparent, int):
        grey.putalpha(wide.point([0 if value == transparent else 255 for value in range(65536)], "L"))
    return grey


def _extrema(wide: Image.Image) -> tuple[float, float]:
    lowest, highest = wide.getextrema()
    assert not isinstance(lowest, tuple)
    assert not isinstance(highest, tuple)
    return lowest, highest


def _is_finite(fractions: Image.Image) -> bool:
    # NaN shows among the extrema only where it comes first; it falls into no part of a histogram.
    lowest, highest = _extrema(fractions)
    if not (math.isfinite(lowest) and math.isfinite(highest)):
        return False
    # Where nothing is negative it comes out as 0 anyway.
    return lowest >= 0 or sum(fractions.histogram(None, (lowest, highest))) == fractions.width * fractions.height


def _make_finite(fractions: Image.Image) -> tuple[float, float]:
    """Bring NaN to 0 and what is infinite to the lowest and highest other numbers, and return these."""
    # In strips, as the arithmetic copies what it works on several times.
    rows = max(1, 2**20 // fractions.width)
    strips = [(0, top, fractions.width, min(top + rows, fractions.height)) for top in range(0, fractions.height, rows)]
    lowest = highest = 0.0
    for strip in strips:
        part = fractions.crop(strip)
        # Only a number less itself equals itself.
        unknown = ImageMath.lambda_eval(lambda of: (of["it"] - of["it"]) != (of["it"] - of["it"]), it=part)
        part.paste(0.0, mask=unknown.convert("L").point([0] + [255] * 255, "1"))
        low, high = _extrema(part)
        lowest, highest = min(lowest, low), max(highest, high)
    for strip in strips:
        clamped = ImageMath.lambda_eval(
            lambda of: of["min"](of["max"](of["it"], 0.0), highest) + of["max"](of["min"](of["it"], 0.0), lowest),
            it=fractions.crop(strip),
        )
        fractions.paste(clamped, strip)
    return lowest, highest


def _reach(fractions: Image.Image, end: float) -> float:
    """Return how far from 0 towards `end` all pixels but one in 256 stay, or a little more."""
    beyond = fractions.width * fractions.height // 256
    while abs(end) > 1:
        parts = fractions.histogram(None, (min(end, 0.0), max(end, 0.0)))
        if end < 0:
            parts.reverse()
        last = 255
        while last >= 0 and parts[last] <= beyond:
            beyond -= parts[last]
            last -= 1
        end *= min(last + 1, 255) / 255
        if last >= 3:
            break
        # One far off has left all others in the first parts: once more, closer.
        end = math.copysign(max(abs(end), 1.0), end) if last >= 0 else 0.0
    return end


def _without_useless_alpha(picture: Image.Image) -> Image.Image:
    if picture.mode in ("LA", "RGBA"):
        lowest = picture.getchannel("A").getextrema()[0]
        assert not isinstance(lowest, tuple)
        if lowest == 255:
            return picture.convert(picture.mode[:-1])
    return picture


def _from_grey(picture: Image.Image, profile: bytes) -> Image.Image:
    # 256 greys are transformed, not millions of pixels. RGB profiles of grey pictures
    # are common: a grey JPEG saved with the profile of where it came from.
    result = "RGB" if picture.mode == "L" else "RGBA"
    transform = _to_srgb(profile, "L")
    greys = None if transform is None else transform.apply(_GREYS)
    if greys is None and (transform := _to_srgb(profile, "RGB")) is not None:
        greys = transform.apply(_GREYS.convert("RGB"))
    if greys is None:
        return picture.convert(result)
    curves = [channel.tobytes() for channel in greys.split()]
    grey, *alpha = picture.split()
    if max(abs(one - other) for curve in curves for one, other in zip(curve, curves[0], strict=True)) <= 1:
        # Grey stays grey, which takes one look at each pixel instead of three.
        grey = grey.point(curves[1])
        return (Image.merge("LA", [grey, *alpha]) if alpha else grey).convert(result)
    return Image.merge(result, [*(grey.point(curve) for curve in curves), *alpha])


@lru_cache(maxsize=4)
def _to_srgb(profile: bytes, mode: str) -> ImageCmsTransform | None:
    """Return what brings pictures of `mode` from `profile` to sRGB; None if nothing does, or need."""
    if not profile:
        return None
    try:
        source = ImageCmsProfile(BytesIO(profile))
        if source.profile.xcolor_space.strip() != _SPACE[mode]:
            return None
        transform = _transform(_with_black(profile, source), mode, "RGBA" if mode == "RGBA" else "RGB")
    except DAMAGE:
        return None
    return None if mode in ("RGB", "RGBA") and not _moves_colours(transform, mode) else transform


@lru_cache(maxsize=1)
def _lab() -> ImageCmsTransform:
    return _transform(ImageCmsProfile(ImageCms.createProfile("LAB", _D50_KELVIN)), "LAB", "RGB")


@lru_cache(maxsize=4)
def compensates_black(profile: bytes) -> bool:
    """Return whether an ICC profile's black is not that of sRGB, so that black point compensation moves its colours."""
    try:
        source = ImageCmsProfile(BytesIO(profile))
        mode = {space: mode for mode, space in _SPACE.items()}.get(source.profile.xcolor_space.strip())
        if mode is None or mode == "LAB":
            return False
        mode = "RGB" if mode == "RGBA" else mode
        plain = _transform(source, mode, "RGB", compensated=False)
        if mode != "CMYK" and plain.apply(Image.new(mode, (1, 1))).tobytes() == b"\0\0\0":
            return False
        colours = {"L": _GREYS, "RGB": _sampled_colours(), "CMYK": _sampled_inks()}[mode]
        compensated = _transform(_with_black(profile, source), mode, "RGB")
        return bool(plain.apply(colours).tobytes() != compensated.apply(colours).tobytes())
    except DAMAGE:
        return False


def _with_black(profile: bytes, source: ImageCmsProfile) -> ImageCmsProfile:
    """Return a profile whose black littleCMS can find.

    It looks for the black of a printer with the tables from Lab to ink. A profile that lacks these, as it is meant for
    reading only, is declared one of an input device: then its darkest colour counts.
    """
    tags = {profile[at : at + 4] for at in range(132, 132 + 12 * int.from_bytes(profile[128:132], "big"), 12)}
    if source.profile.device_class != "prtr" or b"B2A0" in tags:
        return source
    return ImageCmsProfile(BytesIO(profile[:12] + b"scnr" + profile[16:]))


def _transform(source: ImageCmsProfile, mode: str, result: str, *, compensated: bool = True) -> ImageCmsTransform:
    flags = ImageCms.Flags.BLACKPOINTCOMPENSATION if compensated else ImageCms.Flags.NONE
    # Optimised, the curve of a grey profile is too coarse for shadows; it is asked for 256 greys only.
    if mode == "L":
        flags |= ImageCms.Flags.NOOPTIMIZE
    transform = ImageCms.buildTransform(
        source, _SRGB, mode, result, renderingIntent=ImageCms.Intent.RELATIVE_COLORIMETRIC, flags=flags
    )
    assert isinstance(transform, ImageCmsTransform)
    return transform


@lru_cache(maxsize=1)
def _sampled_inks() -> Image.Image:
    steps = range(0, 256, 51)
    inks = [bytes(ink) for ink in product(steps, steps, steps, steps)]
    return Image.frombytes("CMYK", (len(inks), 1), b"".join(inks))


def _moves_colours(transform: ImageCmsTransform, mode: str) -> bool:
    # A profile that is sRGB in effect is the usual case, and would cost more than the decoding.
    before = _sampled_colours().convert(mode)
    after = transform.apply(before)
    return any(abs(one - other) > 1 for one, other in zip(before.tobytes(), after.tobytes(), strict=True))


@lru_cache(maxsize=1)
def _sampled_colours() -> Image.Image:
    steps = range(0, 256, 17)
    colours = [bytes(colour) for colour in product(steps, steps, steps)] + [bytes([grey] * 3) for grey in range(256)]
    return Image.frombytes("RGB", (len(colours), 1), b"".join(colours))
