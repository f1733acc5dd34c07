"""Read the TIFF layouts that Pillow decodes correctly, and refuse all others by name.

TIFF allows more combinations of channels, bit depths and codecs than any reader supports. Pillow decodes some wrongly
without an error, and calls others damaged. So this module lists the correct ones. A test compares the pixels of every
layout, listed or not, with those that were written.
"""

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from io import BytesIO
from typing import TYPE_CHECKING

from PIL import Image, ImageMath, TiffImagePlugin
from PIL.TiffImagePlugin import TiffImageFile

from packshot.errors import UnsupportedMedia
from packshot.render.formats.tiff_tags import (
    BITS_PER_SAMPLE,
    COMPRESSION,
    EXTRA_SAMPLES,
    FILL_ORDER,
    PHOTOMETRIC,
    PLANAR_CONFIGURATION,
    PREDICTOR,
    SAMPLE_FORMAT,
    SAMPLES_PER_PIXEL,
    Directory,
    first_directory,
    first_is_reduced,
)
from packshot.render.revision import DecodeRevision

if TYPE_CHECKING:
    from PIL._imaging import PixelAccess

_WHITE_IS_ZERO, _BLACK_IS_ZERO, _RGB, _PALETTE, _CMYK, _YCBCR, _LAB = 0, 1, 2, 3, 5, 6, 8
_COLOURS = {_WHITE_IS_ZERO: 1, _BLACK_IS_ZERO: 1, _RGB: 3, _PALETTE: 1, _CMYK: 4, _YCBCR: 3, _LAB: 3}
_UNSIGNED, _SIGNED, _FLOAT = 1, 2, 3
# Values of ExtraSamples: unspecified, premultiplied alpha, alpha. CorelDRAW writes 999 for alpha.
_OTHER, _PREMULTIPLIED, _ALPHA, _COREL_ALPHA = 0, 1, 2, 999

_FAX = {2, 3, 4}
_OLD_JPEG, _JPEG = 6, 7
_WITH_PREDICTOR = {5, 8, 32946, 34925, 50000}
_COMPRESSIONS = {1, *_FAX, 5, _OLD_JPEG, _JPEG, 8, 32773, 32946, 34925, 50000}

_Kind = tuple[int, int, int, tuple[int, ...]]
"""Photometric interpretation, sample format, bits per sample, extra samples."""


def _readable() -> Iterator[_Kind]:
    for photometric in (_WHITE_IS_ZERO, _BLACK_IS_ZERO):
        yield from ((photometric, _UNSIGNED, bits, ()) for bits in (1, 2, 4, 8, 12, 16))
        yield photometric, _FLOAT, 32, ()
    yield from ((_BLACK_IS_ZERO, form, 32, ()) for form in (_UNSIGNED, _SIGNED))
    yield from ((_PALETTE, _UNSIGNED, bits, ()) for bits in (1, 2, 4, 8))
    yield from ((_PALETTE, _UNSIGNED, 8, (extra,)) for extra in (_OTHER, _ALPHA))
    for extra in (_OTHER, _PREMULTIPLIED, _ALPHA):
        yield from ((_BLACK_IS_ZERO, _UNSIGNED, bits, (extra,)) for bits in (8, 16))
        yield from ((_RGB, _UNSIGNED, 8, (extra, *[_OTHER] * others)) for others in (0, 1, 2))
        yield _RGB, _UNSIGNED, 16, (extra,)
    yield _RGB, _UNSIGNED, 8, (_COREL_ALPHA,)
    yield from ((photometric, _UNSIGNED, bits, ()) for photometric in (_RGB, _CMYK) for bits in (8, 16))
    yield from ((_CMYK, _UNSIGNED, 8, (_OTHER,) * others) for others in (1, 2))
    yield from ((photometric, _UNSIGNED, 8, ()) for photometric in (_YCBCR, _LAB))


_READABLE = frozenset(_readable())

_PHOTOMETRIC_NAMES = {
    _WHITE_IS_ZERO: "grey (0 is white)",
    _BLACK_IS_ZERO: "grey",
    _RGB: "RGB",
    _PALETTE: "palette",
    4: "transparency mask",
    _CMYK: "CMYK",
    _YCBCR: "YCbCr",
    _LAB: "CIE Lab",
    9: "ICC Lab",
    10: "ITU Lab",
    32844: "LogL",
    32845: "LogLuv",
}
_COMPRESSION_NAMES = {
    1: "no compression",
    2: "CCITT RLE",
    3: "CCITT G3",
    4: "CCITT G4",
    5: "LZW",
    _OLD_JPEG: "old-style JPEG",
    _JPEG: "JPEG",
    8: "deflate",
    32773: "PackBits",
    32946: "deflate",
    34676: "SGI LogL",
    34677: "SGI LogLuv",
    34712: "JPEG 2000",
    33003: "JPEG 2000",
    33005: "JPEG 2000",
    34887: "LERC",
    34892: "lossy JPEG",
    34925: "LZMA",
    50000: "Zstandard",
    50001: "WebP",
    50002: "JPEG XL",
    52546: "JPEG XL",
}
_FORMAT_NAMES = {_UNSIGNED: "", _SIGNED: "signed ", _FLOAT: "floating-point ", 5: "complex ", 6: "complex "}
_EXTRA_NAMES = {
    _OTHER: "another channel",
    _PREMULTIPLIED: "premultiplied alpha",
    _ALPHA: "alpha",
    _COREL_ALPHA: "alpha",
}

_EXPECTED = (
    "grey of up to 16 bits or of 32, palette, RGB and CMYK of 8 or 16 bits, YCbCr and Lab of 8; "
    "uncompressed, LZW, deflate, PackBits, LZMA, Zstandard, JPEG or fax"
)

# Use libtiff for uncompressed data too, so that a layout is read alike under each compression.
TiffImagePlugin.READ_LIBTIFF = True
# Layouts that Pillow can unpack but does not list.
for _prefix in (b"II", b"MM"):
    for _photometric in (_WHITE_IS_ZERO, _BLACK_IS_ZERO):
        # Packed samples have one bit order, regardless of the file's byte order.
        TiffImagePlugin.OPEN_INFO[_prefix, _photometric, (_UNSIGNED,), 1, (12,), ()] = ("I;16", "I;12")
    TiffImagePlugin.OPEN_INFO[_prefix, _BLACK_IS_ZERO, (_UNSIGNED,), 1, (32,), ()] = ("I", "I;32N")
    for _extra in (_OTHER, _PREMULTIPLIED, _ALPHA):
        # Four bytes, which `_grey_and_alpha` combines.
        TiffImagePlugin.OPEN_INFO[_prefix, _BLACK_IS_ZERO, (_UNSIGNED,), 1, (16, 16), (_extra,)] = ("RGBA", "RGBA")
TiffImagePlugin.OPEN_INFO[b"MM", _WHITE_IS_ZERO, (_UNSIGNED,), 1, (16,), ()] = ("I;16B", "I;16B")

# libtiff returns samples in native byte order. Pillow knows that only for 16-bit samples.
_NATIVE = {"F;32F": "F;32NF", "F;32BF": "F;32NF", "I;32S": "I;32NS", "I;32BS": "I;32NS"}


@dataclass(frozen=True, slots=True)
class Layout:
    """How a TIFF stores its first image.

    Attributes:
        photometric: photometric interpretation (tag 262).
        compression: tag 259.
        predictor: tag 317.
        formats: sample format of each channel (tag 339), or one for all.
        bits: bits of each sample of a pixel.
        extras: meaning of the extra samples (tag 338). The file may list fewer than there are.
        samples: samples per pixel.
        is_planar: whether each channel is stored separately.
    """

    photometric: int
    compression: int
    predictor: int
    formats: tuple[int, ...]
    bits: tuple[int, ...]
    extras: tuple[int, ...]
    samples: int
    is_planar: bool

    def __str__(self) -> str:
        numbers = "/".join(map(str, sorted(set(self.bits))))
        formats = "/".join(_FORMAT_NAMES.get(format, f"format {format} ") for format in sorted(set(self.formats)))
        colours = _PHOTOMETRIC_NAMES.get(self.photometric, f"photometric {self.photometric}")
        extras = "".join(f" and {_EXTRA_NAMES.get(extra, f'channel {extra}')}" for extra in self.extras)
        unknown = self.samples - len(self.extras) - _COLOURS.get(self.photometric, self.samples)
        more = f", {self.samples} samples per pixel" if unknown else ""
        compression = _COMPRESSION_NAMES.get(self.compression, f"compression {self.compression}")
        planar = ", planar" if self.is_planar else ""
        predictor = f" with predictor {self.predictor}" if self.predictor != 1 else ""
        return f"{numbers}-bit {formats}{colours}{extras}{more}{planar}, {compression}{predictor}"


def _unsupported(what: str) -> UnsupportedMedia:
    return UnsupportedMedia("This kind of TIFF is not supported.", expected=_EXPECTED, got=f"unsupported: {what}")


def layout_of(directory: Directory) -> Layout:
    """Return the layout that a directory describes, with Pillow's defaults for missing tags."""
    compression = directory.number(COMPRESSION, 1)
    photometric = directory.number(PHOTOMETRIC, _WHITE_IS_ZERO)
    samples = directory.number(
        SAMPLES_PER_PIXEL, 3 if compression == _OLD_JPEG and photometric in (_RGB, _YCBCR) else 1
    )
    bits = directory.numbers(BITS_PER_SAMPLE) or (1,)
    return Layout(
        photometric,
        compression,
        directory.number(PREDICTOR, 1) if compression in _WITH_PREDICTOR else 1,
        directory.numbers(SAMPLE_FORMAT) or (_UNSIGNED,),
        bits * min(samples, 16) if len(bits) == 1 else bits[:samples],
        directory.numbers(EXTRA_SAMPLES),
        samples,
        directory.number(PLANAR_CONFIGURATION, 1) == 2 and samples > 1,
    )


def is_readable(layout: Layout) -> bool:
    """Return whether Pillow decodes images of a layout correctly."""
    if layout.compression not in _COMPRESSIONS or len(set(layout.bits)) != 1 or len(set(layout.formats)) != 1:
        return False
    (bits,), (format,) = set(layout.bits), set(layout.formats)
    return (
        len(layout.bits) == layout.samples
        and _is_readable_kind(layout, bits, format)
        and _is_readable_codec(layout, bits, format)
    )


def _is_readable_kind(layout: Layout, bits: int, format: int) -> bool:
    extras, photometric = layout.extras, layout.photometric
    beyond = layout.samples - _COLOURS.get(photometric, 0)
    if photometric == _YCBCR and layout.samples == 1:
        photometric, beyond = _BLACK_IS_ZERO, 0
    if photometric == _RGB and beyond == 1 and not extras:
        # The standard does not say so, but all readers do.
        extras = (_ALPHA,)
    if len(extras) != beyond:
        return False
    if layout.is_planar and extras and not any(extras):
        # Pillow ignores these planes.
        extras = ()
    if layout.is_planar and (len(extras) > 1 or photometric == _LAB):
        return False
    if layout.is_planar and photometric not in (_RGB, _CMYK) and (extras or bits not in (8, 16)):
        return False
    return (photometric, format, bits, extras) in _READABLE


def _is_readable_codec(layout: Layout, bits: int, format: int) -> bool:
    if layout.compression in _FAX:
        return bits == 1 and layout.samples == 1
    if layout.compression == _OLD_JPEG:
        return bits == 8 and layout.samples == 3 and layout.photometric in (_RGB, _YCBCR) and not layout.is_planar
    if layout.compression == _JPEG:
        return bits == 8 and not layout.extras and layout.photometric not in (_PALETTE, _LAB)
    if layout.predictor == 3:
        return format == _FLOAT
    return layout.predictor == 1 or (layout.predictor == 2 and bits in (8, 16, 32))


class TiffReader(TiffImageFile):
    """Pillow's TIFF reader, restricted to the layouts that it decodes correctly.

    Attributes:
        revision: the last change of the decoder that affects the pixels.

    Raises:
        UnsupportedMedia: another layout, or a thumbnail comes before the image.
    """

    def __init__(self, file: BytesIO) -> None:
        self.revision = DecodeRevision.FIRST
        self._kind: tuple[int, int, tuple[int, ...]] | None = None
        super().__init__(file)

    def _setup(self) -> None:
        assert isinstance(self.fp, BytesIO)
        directory = first_directory(self.fp.getvalue())
        if directory is None:
            raise SyntaxError("the first directory cannot be read")
        layout = layout_of(directory)
        if not is_readable(layout):
            raise _unsupported(str(layout))
        if first_is_reduced(self.fp.getvalue()):
            raise _unsupported("a thumbnail before the image itself")
        self._kind = layout.formats[0], layout.bits[0], layout.extras if layout.photometric == _BLACK_IS_ZERO else ()
        if _came_out_wrong(layout, directory.order):
            self.revision = DecodeRevision.TIFF_LAYOUT
        # libtiff has already put the bits in order.
        self.tag_v2.pop(FILL_ORDER, None)
        super()._setup()
        for number, tile in enumerate(self.tile):
            if isinstance(tile.args, tuple) and tile.args[0] in _NATIVE:
                self.tile[number] = tile._replace(args=(_NATIVE[tile.args[0]], *tile.args[1:]))

    def load(self) -> "PixelAccess | None":
        """Decode the image, and convert samples that no mode of Pillow can hold."""
        is_decoded = not self.tile
        access = super().load()
        if is_decoded or self._kind is None:
            return access
        changed: Image.Image = self
        format, bits, extras = self._kind
        if bits == 16 and extras and self.mode == "RGBA":
            changed = _grey_and_alpha(self, extras[0])
        elif (format, bits) == (_UNSIGNED, 32):
            changed = _halved(self)
        if changed is not self:
            self._mode, self.im = changed.mode, changed.im
        return Image.Image.load(self)


def _came_out_wrong(layout: Layout, order: str) -> bool:
    """Return whether the first release of Packshot decoded such samples wrongly."""
    is_plain, bits = layout.compression == 1, layout.bits[0]
    return (
        (layout.is_planar and bits == 16 and is_plain)
        or (bits == 32 and (layout.formats[0] == _UNSIGNED or (order == ">" and not is_plain)))
        or (layout.photometric == _YCBCR and is_plain)
    )


def _grey_and_alpha(picture: Image.Image, extra: int) -> Image.Image:
    # Two 16-bit samples, held as four channels of 8 bits.
    high = (1, 3) if sys.byteorder == "little" else (0, 2)
    grey, alpha = (picture.getchannel(channel) for channel in high)
    if extra == _OTHER:
        return grey
    return Image.merge("La" if extra == _PREMULTIPLIED else "LA", (grey, alpha))


def _halved(numbers: Image.Image) -> Image.Image:
    """Return unsigned 32-bit samples, which Pillow takes for signed ones; all halved if any needs the highest bit."""
    lowest, _ = numbers.getextrema()
    assert not isinstance(lowest, tuple)
    if lowest >= 0:
        return numbers
    halved = Image.new("I", numbers.size)
    # In strips, because the arithmetic copies its operands.
    rows = max(1, 2**20 // numbers.width)
    for top in range(0, numbers.height, rows):
        strip = numbers.crop((0, top, numbers.width, min(top + rows, numbers.height)))
        halved.paste(ImageMath.lambda_eval(lambda of: (of["it"] >> 1) & 0x7FFFFFFF, it=strip), (0, top))
    return halved
