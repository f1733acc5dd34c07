"""Convert any decoded image to 8-bit sRGB, with or without an alpha channel."""

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
# The white point of print, which Lab values in TIFF files refer to.
_D50_KELVIN = 5000
# Rounded: 65535 / 255 is 257. Pillow would truncate.
_TO_8_BITS = [(value + 128) // 257 for value in range(65536)]
_GREYS = Image.frombytes("L", (256, 1), bytes(range(256)))
_MODES_8_BITS = {"1": "L", "La": "LA", "RGBa": "RGBA", "PA": "RGBA"}


def check_profile(profile: bytes, max_bytes: int) -> None:
    """Refuse an image with a valid ICC profile that is too large. A broken profile is ignored.

    Raises:
        TooLarge: the profile's header announces more than `max_bytes`.
    """
    announced = int.from_bytes(profile[:4], "big")
    if announced > max_bytes and profile[36:40] == b"acsp":
        raise TooLarge("The image's colour profile is too large.", expected=f"at most {max_bytes} bytes", got=announced)


def to_srgb(picture: Image.Image) -> Image.Image:
    """Convert an image to sRGB, in mode RGB, or RGBA if any pixel is not opaque. May change `picture` itself."""
    plain, transform = to_rgb(picture)
    return plain if transform is None else transformed(plain, transform)


def to_rgb(picture: Image.Image) -> tuple[Image.Image, ImageCmsTransform | None]:
    """Convert an image to mode RGB, or RGBA if any pixel is not opaque. May change `picture` itself.

    The ICC profile is applied with relative colorimetric intent and black point compensation. A profile that is broken,
    or made for other channels, is ignored: grey and RGB then count as sRGB, and CMYK is converted by complement. Pillow
    reads every CMYK JPEG as inverted, which is how Adobe writes it.

    Samples of more than 8 bits are scaled. Integers are divided by 65535 (4095 in a 12-bit TIFF), or by the highest
    sample if it is larger.

    Floating-point samples define no white. Here the peak is a value that at most one pixel in 256 exceeds. White is the
    first of 1, 255 and 65535 that is at least a 16th of the peak, else the peak. Samples above white extend the scale
    up to twice white or twice the peak, instead of being clipped. Negative samples extend it below black alike. NaN
    counts as 0, infinity as the largest finite sample.

    Returns:
        The image, and the transform from its RGB space to sRGB; None if the image is sRGB. Callers that scale the image
        down apply the transform afterwards, which is much faster than for a whole original.
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
    """Apply a colour transform to an image. May change `picture` itself."""
    # In place if the channels stay, since another copy of a large original takes 320 MB.
    apply = transform.apply_in_place if picture.mode == transform.output_mode else transform.apply
    result = apply(picture)
    # Encoders would write the profile into each file.
    result.info.pop("icc_profile", None)
    return result


def _with_8_bits(picture: Image.Image) -> Image.Image:
    # Returns mode L, LA, RGB, RGBA, CMYK or LAB.
    mode = picture.mode
    if mode in ("I", "F") or mode.startswith("I;16"):
        return _from_wide(picture)
    if picture.has_transparency_data and mode not in ("LA", "RGBA"):
        return picture.convert("LA" if mode in ("1", "L", "La") else "RGBA")
    if mode in ("L", "LA", "RGB", "RGBA", "CMYK", "LAB"):
        return picture
    return picture.convert(_MODES_8_BITS.get(mode, "RGB"))


def _from_wide(picture: Image.Image) -> Image.Image:
    # Samples of 16 or 32 bits, or floating-point samples. Only a PNG has a transparent colour.
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
        # TIFF tag 258 (BitsPerSample).
        bits = getattr(picture, "tag_v2", {}).get(258)
        full = max(4095.0 if bits == (12,) else 65535.0, highest)
    if full == 65535 >= highest and lowest >= 0:
        if picture.mode == "F":
            wide = wide.convert("I")
        grey = wide.point(_TO_8_BITS, "L")
    else:
        lowest = min(lowest, 0.0)
        scale = 255 / (full - lowest)
        # Plus 0.5, because the conversion to mode L truncates.
        grey = wide.convert("F").point(lambda value: value * scale + (0.5 - lowest * scale)).convert("L")
    # TIFF tag 262 (PhotometricInterpretation): 0 means WhiteIsZero. Pillow inverts only 8-bit samples itself.
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
    # The extrema show NaN only if it is the first sample. A histogram never counts it.
    lowest, highest = _extrema(fractions)
    if not (math.isfinite(lowest) and math.isfinite(highest)):
        return False
    # Without negative samples, NaN becomes 0 anyway.
    return lowest >= 0 or sum(fractions.histogram(None, (lowest, highest))) == fractions.width * fractions.height


def _make_finite(fractions: Image.Image) -> tuple[float, float]:
    """Replace NaN by 0, and infinities by the lowest and highest finite samples; return these two."""
    # In strips, because the arithmetic copies its operands several times.
    rows = max(1, 2**20 // fractions.width)
    strips = [(0, top, fractions.width, min(top + rows, fractions.height)) for top in range(0, fractions.height, rows)]
    lowest = highest = 0.0
    for strip in strips:
        part = fractions.crop(strip)
        # Only for a finite x is x - x equal to itself.
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
    """Return the value towards `end` that at most one pixel in 256 exceeds, rounded away from 0."""
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
        # An outlier has put all other samples into the first bins: repeat with a smaller range.
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
    # Transform 256 greys instead of millions of pixels. A grey image often has the RGB profile of the image that it was
    # made from.
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
        # If greys stay neutral, one lookup per pixel suffices instead of three.
        grey = grey.point(curves[1])
        return (Image.merge("LA", [grey, *alpha]) if alpha else grey).convert(result)
    return Image.merge(result, [*(grey.point(curve) for curve in curves), *alpha])


@lru_cache(maxsize=4)
def _to_srgb(profile: bytes, mode: str) -> ImageCmsTransform | None:
    """Return the transform from `profile` to sRGB for images of `mode`; None if none is possible or needed."""
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
    """Return whether black point compensation changes the colours of images with this ICC profile."""
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
    """Return a profile whose black point littleCMS can detect.

    For a printer profile, littleCMS needs the table from Lab to ink (B2A). A profile without it is declared an input
    profile, so that its darkest colour is the black point.
    """
    tags = {profile[at : at + 4] for at in range(132, 132 + 12 * int.from_bytes(profile[128:132], "big"), 12)}
    if source.profile.device_class != "prtr" or b"B2A0" in tags:
        return source
    return ImageCmsProfile(BytesIO(profile[:12] + b"scnr" + profile[16:]))


def _transform(source: ImageCmsProfile, mode: str, result: str, *, compensated: bool = True) -> ImageCmsTransform:
    flags = ImageCms.Flags.BLACKPOINTCOMPENSATION if compensated else ImageCms.Flags.NONE
    # Optimised grey curves are too coarse in shadows. Only 256 greys are transformed, so speed does not matter.
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
    # Most profiles are equivalent to sRGB. Applying them would take longer than decoding.
    before = _sampled_colours().convert(mode)
    after = transform.apply(before)
    return any(abs(one - other) > 1 for one, other in zip(before.tobytes(), after.tobytes(), strict=True))


@lru_cache(maxsize=1)
def _sampled_colours() -> Image.Image:
    steps = range(0, 256, 17)
    colours = [bytes(colour) for colour in product(steps, steps, steps)] + [bytes([grey] * 3) for grey in range(256)]
    return Image.frombytes("RGB", (len(colours), 1), b"".join(colours))
