"""An original's bytes as a picture: 8 bits, told how to bring it upright and to sRGB, nothing else attached.

Originals are hostile input. What a header tells is checked before a pixel is
decoded; the decoding itself belongs in a process that may die.
"""

from dataclasses import dataclass, replace
from io import BytesIO

from PIL import AvifImagePlugin, Image, PngImagePlugin
from PIL.ImageCms import ImageCmsTransform
from PIL.ImageFile import ImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.TiffImagePlugin import TiffImageFile

from packshot.errors import TooLarge, Unrenderable, UnsupportedMedia
from packshot.geometry import Box, Size
from packshot.render.colour import check_profile, compensates_black, to_rgb, to_srgb, transformed
from packshot.render.damage import DAMAGE, refused_if_damaged, without_warnings
from packshot.render.formats import avif, bmp, gif, jpeg, png, webp
from packshot.render.formats.bmp_runs import find_runs, without_runs
from packshot.render.formats.camera_raw import camera_raw
from packshot.render.formats.cicp import implied_profile
from packshot.render.formats.clean_aperture import clean_aperture, with_sound_apertures
from packshot.render.formats.metadata import credit_exif, orientation, tiff_orientation
from packshot.render.formats.profiles import MAX_PROFILE_BYTES
from packshot.render.formats.sniffing import ACCEPTED, READERS, sniff, webp_canvas
from packshot.render.formats.structure import check_structure
from packshot.render.formats.tiff import TiffReader
from packshot.render.limits import Limits
from packshot.render.revision import DecodeRevision

# No picture is that long, and a line of 80 million pixels takes longer to sample than a square of as many.
LONGEST_SIDE = 65_535

# Four samples of 16 bits, the most that other formats have.
_BYTES_A_PIXEL = 8
_BITS_PER_SAMPLE, _SAMPLES_PER_PIXEL, _TILE_WIDTH, _TILE_LENGTH = 258, 277, 322, 323

# Formats whose readers know the number of frames from the header.
_ANIMATED = ("webp", "avif", "png")

DAMAGED = "The picture is damaged and cannot be decoded."

# Bytes that a decoder is given at a time. At Pillow's 64 KiB, libjpeg starts rows over and over again.
_BLOCK = 2**20

# The check of ours comes first, and knows the site's own limit.
Image.MAX_IMAGE_PIXELS = None
# Pillow's bound on one inflated PNG chunk holds for the colour profile as well.
PngImagePlugin.MAX_TEXT_CHUNK = MAX_PROFILE_BYTES
jpeg.ignore_broken_segments()
# How many renders run side by side is the pool's to say.
AvifImagePlugin.DEFAULT_MAX_THREADS = 1

UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}

# Which of these exchange width and height, and at which edges of the stored
# picture the upright one's left and top are counted from the far end.
_SIDEWAYS = {
    Image.Transpose.TRANSPOSE,
    Image.Transpose.ROTATE_270,
    Image.Transpose.TRANSVERSE,
    Image.Transpose.ROTATE_90,
}
_FROM_RIGHT = {
    Image.Transpose.FLIP_LEFT_RIGHT,
    Image.Transpose.ROTATE_180,
    Image.Transpose.TRANSVERSE,
    Image.Transpose.ROTATE_90,
}
_FROM_BOTTOM = {
    Image.Transpose.ROTATE_180,
    Image.Transpose.FLIP_TOP_BOTTOM,
    Image.Transpose.ROTATE_270,
    Image.Transpose.TRANSVERSE,
}


@dataclass(frozen=True, slots=True)
class Header:
    """What an original says of itself before its pixels are decoded.

    Attributes:
        format: one of `ACCEPTED`.
        width, height: pixels as stored, not yet upright.
        frames: 1 for a still picture; further pages of a TIFF and further pictures of a HEIC do not count.
        quality: 1 to 100, of a JPEG, by its quantisation tables; None for other formats.
        revision: the decoder's change that the header shows the pixels to depend on.
    """

    format: str
    width: int
    height: int
    frames: int
    quality: int | None = None
    revision: DecodeRevision = DecodeRevision.FIRST


@dataclass(frozen=True, slots=True)
class Decoded:
    """A decoded picture as it is stored, and the turn and the colours that are still to come.

    Both take as long as there are pixels, so whoever makes the picture smaller
    applies them to what comes of it.

    Attributes:
        picture: mode RGB, or RGBA where some pixel is not opaque; without metadata.
        turn: what brings it upright; None: it is.
        colours: what brings it to sRGB; None: it is.
        revision: number of the decoder's change that the pixels depend on; see `packshot.render.revision`.
        whole: size of the original as stored where `picture` was decoded smaller; None: its own.
    """

    picture: Image.Image
    turn: Image.Transpose | None
    whole: Size | None = None
    colours: ImageCmsTransform | None = None
    revision: int = 0

    @property
    def size(self) -> Size:
        """Width and height of the original in pixels, upright."""
        return self.turned_size(self._stored_size)

    def turned_size(self, size: Size) -> Size:
        """Return `size` turned upright, or from upright to stored: it is the same."""
        return Size(size.height, size.width) if self.turn in _SIDEWAYS else size

    def stored(self, box: Box) -> Box:
        """Return where in the original, as stored, lies what is at `box` of the upright original."""
        left, top, width, height = box
        if self.turn in _SIDEWAYS:
            left, top, width, height = top, left, height, width
        if self.turn in _FROM_RIGHT:
            left = self._stored_size.width - left - width
        if self.turn in _FROM_BOTTOM:
            top = self._stored_size.height - top - height
        return Box(left, top, width, height)

    def shown(self, part: Image.Image) -> Image.Image:
        """Return `part`, which was made of `picture`, upright and in sRGB; `part` itself may be changed."""
        if self.colours is not None:
            part = transformed(part, self.colours)
        return part if self.turn is None else part.transpose(self.turn)

    @property
    def _stored_size(self) -> Size:
        return self.whole or Size(*self.picture.size)


def inspect(data: bytes, limits: Limits) -> Header:
    """Read the header of an original and hold it against the limits.

    Raises:
        UnsupportedMedia: the bytes are of no accepted format.
        TooLarge: too many bytes, pixels, or bytes of colour profile.
        Unrenderable: the header is damaged.
    """
    source, header = open_original(data, limits)
    if isinstance(source, JpegImageFile):
        # Its estimate takes longer than decoding a small picture does.
        return replace(header, quality=jpeg.estimated_quality(source.quantization))
    return header


@without_warnings()
def decode(data: bytes, limits: Limits, *, halved: bool = False) -> Decoded:
    """Decode an original's first frame with 8 bits a channel; a file that ends early is refused.

    Args:
        halved: decode a JPEG to half its size, rounded up, for a third of the time; a lossless one and other
            formats have no such way and come at their own size.

    Raises:
        UnsupportedMedia, TooLarge: as `inspect` does.
        Unrenderable: the file is damaged.
        MemoryError: the process has no room for the picture.
    """
    source, header = open_original(data, limits)
    if header.format == "gif":
        # As browsers put it together; Pillow fills what the first frame leaves out.
        with refused_if_damaged(DAMAGED):
            picture, _ = next(gif.composed(data, Size(header.width, header.height)))
        return Decoded(without_metadata(to_srgb(picture)), None)
    _scale_transparent_value(source)
    if (implied := implied_profile(header.format, data, source.info)) is not None:
        source.info["icc_profile"] = implied
    whole = None
    if halved and isinstance(source, JpegImageFile) and can_be_halved(data):
        whole = Size(*source.size)
        source.draft(None, (max(1, whole.width // 2), max(1, whole.height // 2)))
    source.decodermaxblock = _BLOCK
    held = tiff_orientation(source) if isinstance(source, TiffImageFile) else None
    with refused_if_damaged(DAMAGED):
        revision = max(header.revision, _load(source, data, limits))
    if isinstance(source, JpegImageFile) and jpeg.ends_early(data, source):
        raise Unrenderable(DAMAGED, got="a JPEG that ends before its last pixel")
    turn = UPRIGHT.get(held or orientation(source))
    stored: Image.Image = source
    if header.format == "bmp" and bmp.shows_nothing(source):
        stored = source.convert("RGB")
        revision = DecodeRevision.ALPHA_MASK
    if header.format == "avif" and (shown := clean_aperture(data, Size(*source.size))) is not None:
        stored = source.crop((shown.left, shown.top, shown.left + shown.width, shown.top + shown.height))
        revision = max(revision, DecodeRevision.CLEAN_APERTURE)
    if compensates_black(source.info.get("icc_profile") or b""):
        revision = max(revision, DecodeRevision.BLACK_POINT)
    picture, colours = to_rgb(stored)
    return Decoded(without_metadata(picture), turn, whole, colours, revision)


def _load(source: ImageFile, data: bytes, limits: Limits) -> DecodeRevision:
    """Decode the pixels of an open original, and return what of the decoder's changes they depend on."""
    is_keyed = isinstance(source, PngImageFile) and png.has_wide_key(source)
    source.load()
    if isinstance(source, TiffReader):
        return source.revision
    if not is_keyed:
        return DecodeRevision.FIRST
    low, _ = open_original(data, limits)
    assert isinstance(source, PngImageFile)
    assert isinstance(low, PngImageFile)
    png.apply_wide_key(source, low)
    return DecodeRevision.WIDE_KEY


def can_be_halved(data: bytes) -> bool:
    """Return whether `decode` may be asked for half the size: a JPEG whose coding process has frequencies."""
    if sniff(data) != "jpeg":
        return False
    frame = jpeg.frame_of(data)
    return frame is not None and not frame.is_lossless


@without_warnings()
def credits_of(data: bytes, limits: Limits) -> bytes | None:
    """Return EXIF data that tells whose an original is, and nothing else; None where it does not say.

    Raises:
        UnsupportedMedia, TooLarge, Unrenderable: as `inspect` does.
    """
    source, _ = open_original(data, limits)
    try:
        return credit_exif(source)
    except DAMAGE:
        # Damaged metadata is no reason to refuse a picture that is whole.
        return None


def without_metadata(picture: Image.Image) -> Image.Image:
    """Return the same pixels, not copied, without what else `picture` knows.

    Encoders write what they find in `info` and `getexif`: GPS, comments, foreign profiles.
    """
    bare = picture._new(picture.im)
    bare.info = {}
    return bare


def check_length(length: int, limits: Limits) -> None:
    """Raise `TooLarge` if a file of `length` bytes is not to be read at all."""
    if length > limits.max_bytes:
        raise TooLarge("The file has too many bytes.", expected=f"at most {limits.max_bytes} bytes", got=length)


def check_pixels(size: Size, limits: Limits) -> None:
    """Raise `TooLarge` if a picture of `size` has too many pixels."""
    if size.width * size.height > limits.max_pixels:
        raise TooLarge(
            "The picture has too many pixels.",
            expected=f"at most {limits.max_pixels} pixels",
            got=f"{size.width} x {size.height} = {size.width * size.height}",
        )


def open_original(data: bytes, limits: Limits) -> tuple[ImageFile, Header]:
    """Return Pillow's reader of an original, nothing decoded yet, and its header without the quality."""
    check_length(len(data), limits)
    raw = camera_raw(data)
    format = sniff(data) if raw is None else f"camera raw ({raw})"
    if format not in READERS:
        raise UnsupportedMedia(
            "The file is no picture of an accepted format.",
            expected=", ".join(ACCEPTED),
            got=format or (f"bytes beginning {data[:8].hex(' ')}" if data else "an empty file"),
        )
    check_structure(data, format)
    frames = 1
    reach = Size(0, 0)
    file, revision = data, DecodeRevision.FIRST
    # What the readers would do too late, or not at all.
    if format == "webp":
        if (canvas := webp_canvas(data)) is not None:
            check_pixels(canvas, limits)
        file = webp.readable(data)
    elif format == "jpeg":
        jpeg.check_frame(data)
        jpeg.check_scans(data)
    elif format == "gif":
        found = gif.layout(data, limits.max_frames, lambda size: check_pixels(size, limits))
        frames, reach = found.frames, found.reach
        file = gif.first_frame(data)
    elif format == "avif":
        file = with_sound_apertures(avif.with_sizes(data))
    elif format == "heic":
        file = with_sound_apertures(data)
        revision = DecodeRevision.CLEAN_APERTURE if file is not data else revision
    elif format == "bmp":
        if (layout := bmp.find_layout(data)) is not None:
            check_pixels(layout.size, limits)
            revision = DecodeRevision.ALPHA_MASK
        file = bmp.readable(data, layout)
        if (runs := find_runs(file)) is not None:
            check_pixels(runs.size, limits)
            file, is_plain = without_runs(file, runs)
            revision = revision if is_plain else DecodeRevision.RUNS
    elif format == "png":
        readable = png.readable(data, MAX_PROFILE_BYTES)
        file = readable.data
        revision = DecodeRevision.IGNORED_CHUNKS if readable.lacks_colours else revision
    with refused_if_damaged("The picture is damaged: its header cannot be read."):
        source = _opened(format, file)
        if format in _ANIMATED:
            frames = int(getattr(source, "n_frames", 1))
        profile = source.info.get("icc_profile") or b""
    size = Size(*source.size)
    if max(size) > LONGEST_SIDE:
        raise TooLarge(
            "The picture has too long a side.",
            expected=f"at most {LONGEST_SIDE} pixels a side",
            got=f"{size.width} x {size.height}",
        )
    check_pixels(size, limits)
    if isinstance(source, TiffImageFile):
        check_samples(source, limits)
    check_frames(frames, Size(max(size.width, reach.width), max(size.height, reach.height)), limits)
    if len(profile) > MAX_PROFILE_BYTES:
        check_profile(profile, MAX_PROFILE_BYTES)
        source.info.pop("icc_profile")
    return source, Header(format, size.width, size.height, frames, revision=revision)


def _opened(format: str, file: bytes) -> ImageFile:
    try:
        return READERS[format](BytesIO(file))
    except DAMAGE:
        bare = avif.without_exif(file) if format == "avif" else file
        if bare == file:
            raise
        return READERS[format](BytesIO(bare))


def check_samples(source: TiffImageFile, limits: Limits) -> None:
    """Raise `TooLarge` if the samples of a TIFF, which have up to 64 bits each, need more memory than those of others.

    A tile may be larger than the picture, and is decoded in full.
    """
    tags = source.tag_v2
    with refused_if_damaged("The picture is damaged: its header cannot be read."):
        bits = max((int(number) for number in tags.get(_BITS_PER_SAMPLE, (1,))), default=1)
        samples = int(tags.get(_SAMPLES_PER_PIXEL, 1))
        tile = int(tags.get(_TILE_WIDTH, 0)) * int(tags.get(_TILE_LENGTH, 0))
        found = max(source.width * source.height, tile) * samples * bits // 8
    if found > limits.max_pixels * _BYTES_A_PIXEL:
        raise TooLarge(
            "The picture's samples need too much memory.",
            expected=f"at most {limits.max_pixels * _BYTES_A_PIXEL} bytes",
            got=found,
        )


def check_frames(frames: int, size: Size, limits: Limits) -> None:
    """Raise `TooLarge` if an animation has too many frames, or too many pixels in all of them."""
    if frames > limits.max_frames:
        raise TooLarge(
            "The animation has too many frames.",
            expected=f"at most {limits.max_frames} frames",
            got=f"more than {limits.max_frames}" if frames == limits.max_frames + 1 else frames,
        )
    if frames > 1 and frames * size.width * size.height > limits.max_frames_pixels:
        raise TooLarge(
            "The animation has too many pixels.",
            expected=f"at most {limits.max_frames_pixels} pixels in all frames",
            got=f"{frames} frames of {size.width} x {size.height}",
        )


def _scale_transparent_value(source: ImageFile) -> None:
    # A PNG may name one grey as transparent, in its own depth. Pillow brings
    # the pixels to 8 bits but leaves that grey as it was written.
    value = source.info.get("transparency")
    depth = source.tile[0].args if source.tile else None
    if depth in ("L;2", "L;4") and isinstance(value, int):
        source.info["transparency"] = value * (85 if depth == "L;2" else 17)
