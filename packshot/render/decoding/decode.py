"""Decode an original to 8 bits per channel. Rotation and conversion to sRGB are left to the caller.

Originals are hostile input. The header is checked before any pixel is decoded, and decoding belongs in a render process
that may die.
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

# Pixels. A line of 80 million pixels would take longer to resample than a square of as many.
LONGEST_SIDE = 65_535

# Four samples of 16 bits, the maximum of formats other than TIFF.
_BYTES_A_PIXEL = 8
_BITS_PER_SAMPLE, _SAMPLES_PER_PIXEL, _TILE_WIDTH, _TILE_LENGTH = 258, 277, 322, 323

# Formats whose readers take the number of frames from the header.
_ANIMATED = ("webp", "avif", "png")

DAMAGED = "The image is damaged and cannot be decoded."

# Bytes that are passed to a decoder at once. At Pillow's 64 KiB, libjpeg starts rows repeatedly.
_BLOCK = 2**20

# `check_pixels` runs first and uses the site's own limit.
Image.MAX_IMAGE_PIXELS = None
# Pillow applies this limit to colour profiles too.
PngImagePlugin.MAX_TEXT_CHUNK = MAX_PROFILE_BYTES
jpeg.ignore_broken_segments()
# The pool of render processes decides how many renders run in parallel.
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

# Rotations that exchange width and height; and those after which the upright left or top edge is the stored right or
# bottom edge.
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
    """What an original's header says.

    Attributes:
        format: one of `ACCEPTED`.
        width, height: stored size in pixels, before rotation.
        frames: 1 for a still image. Further pages of a TIFF and further images of a HEIC do not count.
        quality: estimated JPEG quality, 1 to 100; None for other formats.
        revision: the decode revision, as far as the header shows it.
    """

    format: str
    width: int
    height: int
    frames: int
    quality: int | None = None
    revision: DecodeRevision = DecodeRevision.FIRST


@dataclass(frozen=True, slots=True)
class Decoded:
    """A decoded image as stored, with the rotation and colour transform that are still due.

    Both take time per pixel, so they are applied after scaling down.

    Attributes:
        picture: mode RGB, or RGBA if any pixel is not opaque; without metadata.
        turn: the rotation to upright; None if the image is upright.
        whole: stored size of the original if `picture` was decoded at a smaller scale; None otherwise.
        colours: the transform to sRGB; None if the image is sRGB.
        revision: the decode revision; see `packshot.render.revision`.
    """

    picture: Image.Image
    turn: Image.Transpose | None
    whole: Size | None = None
    colours: ImageCmsTransform | None = None
    revision: int = 0

    @property
    def size(self) -> Size:
        """Size of the upright original in pixels."""
        return self.turned_size(self._stored_size)

    def turned_size(self, size: Size) -> Size:
        """Convert a stored size to upright, or the reverse."""
        return Size(size.height, size.width) if self.turn in _SIDEWAYS else size

    def stored(self, box: Box) -> Box:
        """Convert a box of the upright original to a box of the stored original."""
        left, top, width, height = box
        if self.turn in _SIDEWAYS:
            left, top, width, height = top, left, height, width
        if self.turn in _FROM_RIGHT:
            left = self._stored_size.width - left - width
        if self.turn in _FROM_BOTTOM:
            top = self._stored_size.height - top - height
        return Box(left, top, width, height)

    def shown(self, part: Image.Image) -> Image.Image:
        """Return `part`, which was sampled from `picture`, upright and in sRGB. May change `part` itself."""
        if self.colours is not None:
            part = transformed(part, self.colours)
        return part if self.turn is None else part.transpose(self.turn)

    @property
    def _stored_size(self) -> Size:
        return self.whole or Size(*self.picture.size)


def inspect(data: bytes, limits: Limits) -> Header:
    """Read the header of an original, and check it against the limits.

    Raises:
        UnsupportedMedia: the format is not accepted.
        TooLarge: a limit is exceeded: bytes, pixels, frames or parts of the file, or bytes of the colour profile.
        Unrenderable: the header is damaged.
    """
    source, header = open_original(data, limits)
    if isinstance(source, JpegImageFile):
        # Not in `open_original`, because the estimate takes longer than decoding a small image.
        return replace(header, quality=jpeg.estimated_quality(source.quantization))
    return header


@without_warnings()
def decode(data: bytes, limits: Limits, *, halved: bool = False) -> Decoded:
    """Decode an original's first frame to 8 bits per channel. Truncated files are refused.

    Args:
        halved: decode a JPEG at half its size, rounded up, in a third of the time. Ignored for lossless JPEG and
        other
            formats.

    Raises:
        UnsupportedMedia, TooLarge: as `inspect` does.
        Unrenderable: the file is damaged.
        MemoryError: the process has too little memory.
    """
    source, header = open_original(data, limits)
    if header.format == "gif":
        # Composed as in browsers. Pillow would fill areas outside the first frame.
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
    if header.format == "bmp" and bmp.is_fully_transparent(source):
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
    """Decode the pixels of an open original, and return the decode revision."""
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
    """Return whether `decode` can halve the size: the original is a JPEG, and it is not lossless."""
    if sniff(data) != "jpeg":
        return False
    frame = jpeg.frame_of(data)
    return frame is not None and not frame.is_lossless


@without_warnings()
def credits_of(data: bytes, limits: Limits) -> bytes | None:
    """Return EXIF data that hold only the credits of an original; None if it has none.

    Raises:
        UnsupportedMedia, TooLarge, Unrenderable: as `inspect` does.
    """
    source, _ = open_original(data, limits)
    try:
        return credit_exif(source)
    except DAMAGE:
        # Damaged metadata do not make an intact image unusable.
        return None


def without_metadata(picture: Image.Image) -> Image.Image:
    """Return an image with the same pixels, not copied, and without metadata.

    Encoders write what they find in `info` and `getexif`: GPS, comments, foreign profiles.
    """
    bare = picture._new(picture.im)
    bare.info = {}
    return bare


def check_length(length: int, limits: Limits) -> None:
    """Check the length of a file in bytes before it is read.

    Raises:
        TooLarge: it exceeds the limit.
    """
    if length > limits.max_bytes:
        raise TooLarge("The file has too many bytes.", expected=f"at most {limits.max_bytes} bytes", got=length)


def check_pixels(size: Size, limits: Limits) -> None:
    """Check the number of pixels.

    Raises:
        TooLarge: it exceeds the limit.
    """
    if size.width * size.height > limits.max_pixels:
        raise TooLarge(
            "The image has too many pixels.",
            expected=f"at most {limits.max_pixels} pixels",
            got=f"{size.width} x {size.height} = {size.width * size.height}",
        )


def open_original(data: bytes, limits: Limits) -> tuple[ImageFile, Header]:
    """Check a file, and return Pillow's reader of it and its header without the quality. No pixel is decoded.

    Raises:
        UnsupportedMedia, TooLarge, Unrenderable: as `inspect` does.
    """
    check_length(len(data), limits)
    raw = camera_raw(data)
    format = sniff(data) if raw is None else f"camera raw ({raw})"
    if format not in READERS:
        raise UnsupportedMedia(
            "The file is not an image of an accepted format.",
            expected=", ".join(ACCEPTED),
            got=format or (f"bytes beginning {data[:8].hex(' ')}" if data else "an empty file"),
        )
    check_structure(data, format)
    frames = 1
    reach = Size(0, 0)
    file, revision = data, DecodeRevision.FIRST
    # Checks that the readers do too late, or not at all.
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
    with refused_if_damaged("The image is damaged: its header cannot be read."):
        source = _opened(format, file)
        if format in _ANIMATED:
            frames = int(getattr(source, "n_frames", 1))
        profile = source.info.get("icc_profile") or b""
    size = Size(*source.size)
    if max(size) > LONGEST_SIDE:
        raise TooLarge(
            "The image has a side that is too long.",
            expected=f"at most {LONGEST_SIDE} pixels per side",
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
    """Check the memory that the samples of a TIFF need, which have up to 64 bits each.

    A tile may be larger than the image, and is decoded as a whole.

    Raises:
        TooLarge: they need more memory than `max_pixels` pixels of 8 bytes.
        Unrenderable: the header is damaged.
    """
    tags = source.tag_v2
    with refused_if_damaged("The image is damaged: its header cannot be read."):
        bits = max((int(number) for number in tags.get(_BITS_PER_SAMPLE, (1,))), default=1)
        samples = int(tags.get(_SAMPLES_PER_PIXEL, 1))
        tile = int(tags.get(_TILE_WIDTH, 0)) * int(tags.get(_TILE_LENGTH, 0))
        found = max(source.width * source.height, tile) * samples * bits // 8
    if found > limits.max_pixels * _BYTES_A_PIXEL:
        raise TooLarge(
            "The image's samples need too much memory.",
            expected=f"at most {limits.max_pixels * _BYTES_A_PIXEL} bytes",
            got=found,
        )


def check_frames(frames: int, size: Size, limits: Limits) -> None:
    """Check the number of frames, and the number of pixels in all frames.

    Raises:
        TooLarge: either exceeds its limit.
    """
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
    # The transparent grey of a PNG has the file's bit depth. Pillow scales the pixels to 8 bits, but not that value.
    value = source.info.get("transparency")
    depth = source.tile[0].args if source.tile else None
    if depth in ("L;2", "L;4") and isinstance(value, int):
        source.info["transparency"] = value * (85 if depth == "L;2" else 17)
