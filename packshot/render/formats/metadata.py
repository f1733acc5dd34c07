"""Read the metadata that Packshot uses: orientation and credits."""

import html
import re
import unicodedata
from contextlib import suppress

from PIL import ExifTags, Image, IptcImagePlugin
from PIL.ImageFile import ImageFile
from PIL.TiffImagePlugin import TiffImageFile

from packshot.render.damage import DAMAGE

# Readers that rotate the image themselves, by the container or the tags.
_UPRIGHT = ("TIFF", "HEIF")
# By the standard, only the container holds the orientation. Pillow returns it as EXIF.
_BY_CONTAINER = ("AVIF",)

_XMP_ORIENTATION = re.compile(rb"tiff:Orientation(?:\s*=\s*[\"']|\s*>\s*)([1-8])\b")
_XMP_CREATOR = re.compile(rb"<dc:creator>.{0,200}?<rdf:li[^>]{0,200}>([^<]{1,2000})</rdf:li>", re.DOTALL)
_XMP_RIGHTS = re.compile(rb"<dc:rights>.{0,200}?<rdf:li[^>]{0,200}>([^<]{1,2000})</rdf:li>", re.DOTALL)
_XMP_CREDIT = re.compile(
    rb"photoshop:Credit(?:\s*=\s*\"([^\"<]{1,2000})\"|\s*=\s*'([^'<]{1,2000})'|>([^<]{1,2000})<)", re.DOTALL
)
_LONGEST_LINE = 200
# Bytes of XMP that are searched. Orientation and credits stand near the beginning.
_MAX_XMP_BYTES = 2**20


def orientation(source: ImageFile) -> int:
    """Return the EXIF orientation, 1 to 8, of a loaded image; 1 if no metadata give a valid one.

    XMP counts only if EXIF has no orientation tag, since some editors write only XMP. Damaged metadata are ignored.
    """
    if source.format in _UPRIGHT:
        return 1
    value = _exif(source).get(ExifTags.Base.Orientation)
    if value is None and source.format not in _BY_CONTAINER:
        value = _xmp_orientation(source)
    return value if isinstance(value, int) and 1 <= value <= 8 else 1


def tiff_orientation(source: TiffImageFile) -> int:
    """Return the orientation, 1 to 8, of an unloaded TIFF that Pillow does not apply itself.

    Pillow applies the orientation tag. It would also apply some forms of the XMP orientation, so this function removes
    the XMP from `source.info`.
    """
    value = 1 if ExifTags.Base.Orientation in source.tag_v2 else _xmp_orientation(source)
    source.info.pop("xmp", None)
    return value


def credit_exif(source: ImageFile) -> bytes | None:
    """Return EXIF data that hold only the credits of an original; None if it has none.

    `Artist` holds the creator and, after a slash, the credit line. `Copyright` holds the copyright notice. EXIF takes
    precedence over IPTC, and IPTC over XMP. Each value is one line of UTF-8 text, at most 200 characters long.
    """
    exif = Image.Exif()
    _add_credits(exif, source)
    return exif.tobytes() if len(exif) else None


def kept_exif(source: ImageFile, *, credits: bool) -> bytes | None:
    """Return the EXIF data of a stripped original: the orientation and, if `credits`, the credits; None if there are
    none.
    """
    exif = Image.Exif()
    turn = orientation(source)
    if isinstance(source, TiffImageFile) and ExifTags.Base.Orientation not in source.tag_v2:
        # A TIFF keeps its orientation tag. Only an orientation in XMP would be lost.
        turn = _xmp_orientation(source)
    if turn != 1 and source.format not in _BY_CONTAINER:
        exif[ExifTags.Base.Orientation] = turn
    if credits:
        _add_credits(exif, source)
    return exif.tobytes() if len(exif) else None


def _add_credits(exif: Image.Exif, source: ImageFile) -> None:
    artist = _first(source, ExifTags.Base.Artist, (2, 80), _XMP_CREATOR)
    credit = _first(source, None, (2, 110), _XMP_CREDIT)
    notice = _first(source, ExifTags.Base.Copyright, (2, 116), _XMP_RIGHTS)
    by = " / ".join(dict.fromkeys(part for part in (artist, credit) if part))
    for tag, text in ((ExifTags.Base.Artist, by), (ExifTags.Base.Copyright, notice)):
        if text:
            # As bytes, because Pillow replaces non-ASCII characters of text with question marks.
            exif[tag] = text.encode()


def _first(source: ImageFile, tag: int | None, record: tuple[int, int], pattern: re.Pattern[bytes]) -> str:
    try:
        iptc = (IptcImagePlugin.getiptcinfo(source) or {}).get(record)
        exif = None
        if tag is not None:
            exif = getattr(source, "tag_v2", None) or _exif(source)
            exif = exif.get(tag)
    except DAMAGE:
        return ""
    found = pattern.search(_xmp(source))
    xmp = html.unescape(found[found.lastindex or 0].decode("utf-8", "replace")) if found else None
    return next(filter(None, map(_one_line, (exif, iptc, xmp))), "")


def _one_line(value: object) -> str:
    if isinstance(value, list | tuple) and value:
        value = value[0]
    # Control characters and marks of text direction become spaces.
    seen = "".join(" " if unicodedata.category(letter)[0] in "CZ" else letter for letter in _text(value))
    return " ".join(seen.split())[:_LONGEST_LINE].strip()


def _text(value: object) -> str:
    if isinstance(value, str):
        # Pillow decodes EXIF as Latin-1, but most writers use UTF-8.
        with suppress(UnicodeError):
            return value.encode("latin-1").decode()
        return value
    if isinstance(value, bytes):
        with suppress(UnicodeError):
            return value.decode()
        return value.decode("latin-1")
    return ""


def _exif(source: ImageFile) -> Image.Exif:
    exif = Image.Exif()
    data = source.info.get("exif")
    if isinstance(data, bytes):
        try:
            exif.load(data)
            # Values are parsed when they are read.
            exif.get(ExifTags.Base.Orientation)
        except DAMAGE:
            return Image.Exif()
    return exif


def _xmp_orientation(source: ImageFile) -> int:
    found = _XMP_ORIENTATION.search(_xmp(source))
    return int(found[1]) if found else 1


def _xmp(source: ImageFile) -> bytes:
    data = source.info.get("xmp") or source.info.get("XML:com.adobe.xmp") or b""
    if isinstance(data, str):
        data = data.encode(errors="replace")
    # The XMP tag of a TIFF may hold a number.
    return data[:_MAX_XMP_BYTES] if isinstance(data, bytes) else b""
