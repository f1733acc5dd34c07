"""Measure an original: decode it once completely, and collect what the catalog stores about it."""

from base64 import b64encode
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

from PIL import Image

from packshot.render.cpu_clock import CpuClock
from packshot.render.decoding.decode import inspect
from packshot.render.drawing.paths import decode_paths
from packshot.render.drawing.thumbhash import THUMBNAIL_SIDE, thumbhash
from packshot.render.formats.tiff_parts import check_parts
from packshot.render.limits import Limits

# The dominant colour is counted on a thumbnail with sides of at most this many pixels.
_SIDE = 64

_BOX = Image.Resampling.BOX


@dataclass(frozen=True, slots=True)
class Facts:
    """What the catalog stores about an original.

    Attributes:
        width, height: size of the upright image in pixels.
        format: one of `formats.sniffing.ACCEPTED`.
        alpha: whether any pixel of any shown frame is not opaque.
        frames: 1 for a still image.
        thumbhash: ThumbHash of about 25 bytes, in Base64.
        dominant_color: "#rrggbb"; None if no pixel is visible.
        quality: estimated JPEG quality, 1 to 100; None for other formats.
        decoding_seconds: CPU time of decoding all its frames once.
        decode_revision: the decode revision; 0 if no decoder change affects the original.
    """

    width: int
    height: int
    format: str
    alpha: bool
    frames: int
    thumbhash: str | None
    dominant_color: str | None
    quality: int | None = None
    decoding_seconds: float = field(default=0.0, compare=False)
    decode_revision: int = 0


def _ignore(pixels: int) -> None:
    pass


def probe(data: bytes, limits: Limits, begin: Callable[[int], None] = _ignore) -> Facts:
    """Decode an original completely, in every way that drawings use, and measure it.

    Args:
        begin: called before each step with the number of pixels of all frames: before an animation is decoded.
        Called with
            0 before a still image is decoded in another way, and after all decoding.

    Raises:
        UnsupportedMedia, TooLarge, Unrenderable: as `decode` does.
        MemoryError: the process has too little memory.
    """
    clock = CpuClock()
    header = inspect(data, limits)
    paths = decode_paths(data, limits)
    decoded = paths.whole()
    alpha = decoded.picture.mode == "RGBA"
    if (animation := paths.animation()) is not None:
        begin(header.frames * header.width * header.height)
        # All frames, so that damage in a later frame is found now.
        for frame, _ in animation.pictures():
            alpha = alpha or frame.picture.mode == "RGBA"
    decoding_seconds = clock.seconds()
    if paths.half is not None:
        # Small drawings use only this way.
        begin(0)
        paths.half()
    if header.format == "tiff":
        check_parts(data)
    # The remaining time depends only on the number of pixels.
    begin(0)
    # From small copies, because converting the colours of a whole original takes long.
    color = dominant_color(decoded.shown(decoded.picture.resize(_sampled(decoded.picture), _BOX)))
    hashed = thumbhash(decoded.shown(_thumbnail(decoded.picture)))
    return Facts(
        width=decoded.size.width,
        height=decoded.size.height,
        format=header.format,
        alpha=alpha,
        frames=header.frames,
        thumbhash=b64encode(hashed).decode(),
        dominant_color=color,
        quality=header.quality,
        decoding_seconds=decoding_seconds,
        # A plain integer, because the parent process unpickles only allowed classes.
        decode_revision=int(decoded.revision),
    )


def _thumbnail(picture: Image.Image) -> Image.Image:
    scale = min(1.0, THUMBNAIL_SIDE / max(picture.size))
    width, height = (max(1, round(side * scale)) for side in picture.size)
    # Pillow weights colours by alpha here.
    return picture.resize((width, height), _BOX)


def dominant_color(picture: Image.Image) -> str | None:
    """Return the mean of the most common group of colours in an RGB or RGBA image; None if no pixel counts.

    Each channel has 8 ranges, so there are 512 groups. They are counted on a thumbnail. Pixels with an alpha below 128
    do not count.
    """
    pixels = picture.resize(_sampled(picture), _BOX).convert("RGBA").tobytes()
    seen = [pixels[at : at + 3] for at in range(0, len(pixels), 4) if pixels[at + 3] >= 128]
    if not seen:
        return None
    kinds = Counter(_kind(color) for color in seen)
    # Among equally common groups, the lowest number wins, so that the position in the image does not matter.
    most = max(kinds, key=lambda kind: (kinds[kind], -kind))
    alike = [color for color in seen if _kind(color) == most]
    mean = (round(sum(color[channel] for color in alike) / len(alike)) for channel in range(3))
    return "#" + bytes(mean).hex()


def _sampled(picture: Image.Image) -> tuple[int, int]:
    return min(_SIDE, picture.width), min(_SIDE, picture.height)


def _kind(color: bytes) -> int:
    return color[0] >> 5 << 6 | color[1] >> 5 << 3 | color[2] >> 5
