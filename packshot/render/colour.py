"""Any decoded picture as 8-bit sRGB, with or without an alpha channel."""

from io import BytesIO

from PIL import Image, ImageCms

from packshot.render.damage import DAMAGE

_SRGB = ImageCms.createProfile("sRGB")
_SPACE = {"L": "GRAY", "RGB": "RGB", "CMYK": "CMYK"}
# Rounded to the nearest of 256, as 65535 / 255 is 257; Pillow would cut off.
_TO_8_BITS = [(value + 128) // 257 for value in range(65536)]


def to_srgb(picture: Image.Image) -> Image.Image:
    """Return `picture` in mode RGB, or RGBA where any pixel is not opaque.

    Its ICC profile is applied with relative colorimetric intent. A profile that is broken,
    or made for other channels than the picture has, counts as none: then grey
    and RGB are taken for sRGB, and CMYK is converted by complement. Pillow
    reads every CMYK JPEG as Adobe writes it, inverted, whoever wrote it.
    """
    profile = _profile(picture.info.get("icc_profile"))
    opaque, alpha = _split(picture)
    colours = _converted(opaque, profile)
    if alpha is not None and _lowest(alpha) < 255:
        colours.putalpha(alpha)
    return colours


def _split(picture: Image.Image) -> tuple[Image.Image, Image.Image | None]:
    # Gives L, RGB or CMYK of 8 bits, and the alpha channel if there is one.
    transparent = picture.info.get("transparency")
    if picture.mode == "I;16":
        wide = picture.convert("I")
        alpha = None
        if isinstance(transparent, int):
            alpha = wide.point([0 if value == transparent else 255 for value in range(65536)], "L")
        return wide.point(_TO_8_BITS, "L"), alpha
    grey = picture.mode in ("1", "L", "LA")
    if picture.has_transparency_data:
        whole = picture if picture.mode in ("LA", "RGBA") else picture.convert("LA" if grey else "RGBA")
        alpha = whole.getchannel("A")
        return (whole.getchannel("L") if grey else whole.convert("RGB")), alpha
    if picture.mode == "CMYK":
        return picture, None
    return picture.convert("L" if grey else "RGB"), None


def _lowest(channel: Image.Image) -> float:
    lowest = channel.getextrema()[0]
    assert not isinstance(lowest, tuple)
    return lowest


def _profile(data: bytes | None) -> ImageCms.ImageCmsProfile | None:
    if not data:
        return None
    try:
        return ImageCms.ImageCmsProfile(BytesIO(data))
    except DAMAGE:
        return None


def _converted(picture: Image.Image, profile: ImageCms.ImageCmsProfile | None) -> Image.Image:
    if profile is None:
        return picture.convert("RGB")
    space = profile.profile.xcolor_space.strip()
    if space == "RGB" and picture.mode == "L":
        # Common: a grey JPEG saved with the RGB profile of where it came from.
        picture = picture.convert("RGB")
    if _SPACE[picture.mode] != space:
        return picture.convert("RGB")
    try:
        converted = ImageCms.profileToProfile(
            picture, profile, _SRGB, renderingIntent=ImageCms.Intent.RELATIVE_COLORIMETRIC, outputMode="RGB"
        )
    except DAMAGE:
        return picture.convert("RGB")
    assert converted is not None
    return converted
