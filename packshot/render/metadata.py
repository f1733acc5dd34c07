"""The little of a picture's metadata that matters: how it was held, and whose it is."""

import re

from PIL import ExifTags, Image
from PIL.ImageFile import ImageFile

from packshot.render.damage import DAMAGE

# Their readers turn the picture themselves, by what the container or the tags say.
_UPRIGHT = ("TIFF", "HEIF")
# Here the container alone says it, by the standard; Pillow passes it on as EXIF.
_BY_CONTAINER = ("AVIF",)

_XMP_ORIENTATION = re.compile(rb"tiff:Orientation(?:\s*=\s*[\"']|\s*>\s*)([1-8])\b")
# Nothing honest puts it further back.
_MOST_XMP = 2**20


def orientation(source: ImageFile) -> int:
    """Return the EXIF orientation, 1 to 8, of a loaded picture; 1 where nothing readable tells any.

    EXIF is asked first, XMP only where EXIF has no such tag: some editors write
    just that. Damaged metadata is no reason to refuse a picture that is whole.
    """
    if source.format in _UPRIGHT:
        return 1
    value = _exif(source).get(ExifTags.Base.Orientation)
    if value is None and source.format not in _BY_CONTAINER and (found := _XMP_ORIENTATION.search(_xmp(source))):
        value = int(found[1])
    return value if isinstance(value, int) and 1 <= value <= 8 else 1


def _exif(source: ImageFile) -> Image.Exif:
    exif = Image.Exif()
    data = source.info.get("exif")
    if isinstance(data, bytes):
        try:
            exif.load(data)
            # Values are read when they are asked for.
            exif.get(ExifTags.Base.Orientation)
        except DAMAGE:
            return Image.Exif()
    return exif


def _xmp(source: ImageFile) -> bytes:
    data = source.info.get("xmp") or source.info.get("XML:com.adobe.xmp") or b""
    return data.encode(errors="replace")[:_MOST_XMP] if isinstance(data, str) else bytes(data[:_MOST_XMP])
