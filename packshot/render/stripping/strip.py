"""Remove the metadata of an original without encoding it again.

Pixels, colour profile and orientation stay. EXIF, XMP, IPTC, comments, thumbnails and everything after the image are
removed. Parts are kept by an allow list, so unknown parts are removed too. If the tenant keeps credits, they stay as in
its variants: as the EXIF tags `Artist` and `Copyright`.

The result is a list of pieces, see `packshot.render.stripping.pieces`.
"""

import struct
from collections.abc import Callable
from io import BytesIO

from PIL.ImageFile import ImageFile

from packshot.errors import Unrenderable
from packshot.render.damage import DAMAGE, refused_if_damaged, without_warnings
from packshot.render.decoding.decode import open_original
from packshot.render.formats import png
from packshot.render.formats.metadata import kept_exif
from packshot.render.formats.profiles import MAX_PROFILE_BYTES
from packshot.render.formats.sniffing import READERS, sniff
from packshot.render.limits import Limits
from packshot.render.stripping.pieces import Piece
from packshot.render.stripping.strip_bmp import strip_bmp
from packshot.render.stripping.strip_boxes import strip_boxes
from packshot.render.stripping.strip_chunks import strip_gif, strip_webp
from packshot.render.stripping.strip_jpeg import strip_jpeg
from packshot.render.stripping.strip_png import png_metadata, strip_png
from packshot.render.stripping.strip_tiff import strip_tiff

STRIP_REVISION = 4
"""Part of the entity tag of stripped originals. Raise it when the bytes of a stripped original change."""

MAX_PIECES = 65_536
MAX_INSERTED_BYTES = 2**20

_STRIPPERS: dict[str, Callable[[bytes, bytes | None], list[Piece]]] = {
    "jpeg": strip_jpeg,
    "png": strip_png,
    "webp": strip_webp,
    "gif": strip_gif,
    "tiff": strip_tiff,
    "avif": strip_boxes,
    "heic": strip_boxes,
    "bmp": strip_bmp,
}


def strip(data: bytes, limits: Limits, *, credits: bool) -> list[Piece]:
    """Return the pieces of a stripped original.

    Args:
        credits: whether the credits stay.

    Raises:
        UnsupportedMedia, TooLarge: as `inspect` does.
        Unrenderable: the structure of the file is damaged, so metadata might remain in it.
    """
    source, header = open_original(data, limits)
    try:
        with without_warnings():
            exif = _kept_exif(_with_metadata(data, source), credits=credits)
        pieces = _STRIPPERS[header.format](data, exif)
        if len(pieces) > MAX_PIECES:
            raise ValueError(f"more than {MAX_PIECES} pieces")
        if sum(len(piece) for piece in pieces if isinstance(piece, bytes)) > MAX_INSERTED_BYTES:
            raise ValueError(f"more than {MAX_INSERTED_BYTES} rewritten bytes")
    except (ValueError, IndexError, struct.error) as error:
        raise Unrenderable(
            "The metadata of this image cannot be removed without encoding it again.",
            expected="a file with distinguishable parts",
            got=str(error),
        ) from error
    return pieces


def _kept_exif(source: ImageFile, *, credits: bool) -> bytes | None:
    try:
        return kept_exif(source, credits=credits)
    except DAMAGE:
        # An original with unreadable credits is stripped of them.
        return kept_exif(source, credits=False)


def _with_metadata(data: bytes, source: ImageFile) -> ImageFile:
    # The metadata of a PNG may follow its pixels. Pillow reads such metadata only after decoding.
    if sniff(data) != "png":
        return source
    with refused_if_damaged("The image is damaged: its metadata cannot be read."):
        return READERS["png"](BytesIO(png_metadata(png.readable(data, MAX_PROFILE_BYTES).data)))
