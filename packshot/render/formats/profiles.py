"""Find out whether bytes hold an ICC profile that a decoder can use."""

from io import BytesIO

from PIL import ImageCms
from PIL.ImageCms import ImageCmsProfile

from packshot.render.damage import DAMAGE

MAX_PROFILE_BYTES = 4 * 2**20
"""Profiles of printing presses come close to 3 MiB."""

_HEADER_BYTES = 132
_MODES = {"GRAY": "L", "RGB": "RGB", "CMYK": "CMYK", "Lab": "LAB"}
_SRGB = ImageCms.createProfile("sRGB")


def profile_length(profile: bytes) -> int:
    """Return the length in bytes of an ICC profile at the beginning of `profile`.

    The profile's header holds its length, and littleCMS ignores the bytes after it.

    Returns:
        0 if the bytes are not a profile that littleCMS can convert to sRGB.
    """
    if len(profile) < _HEADER_BYTES or profile[36:40] != b"acsp":
        return 0
    try:
        source = ImageCmsProfile(BytesIO(profile))
        mode = _MODES.get(source.profile.xcolor_space.strip())
        if mode is None:
            return 0
        ImageCms.buildTransform(source, _SRGB, mode, "RGB")
    except DAMAGE:
        return 0
    return min(int.from_bytes(profile[:4], "big"), len(profile))
