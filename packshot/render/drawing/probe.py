"""What the catalog keeps of an original, found by decoding it once and wholly."""

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

# Colours are counted on a thumbnail of at most this many pixels a side.
_SIDE = 64

_BOX = Image.Resampling.BOX


@dataclass(frozen=True, slots=True)
class Facts:
    """What is known of an original.

    Attributes:
        width, height: pixels of the upright picture.
        format: one of `formats.ACCEPTED`.
        alpha: whether any pixel is not opaque, of any frame that is shown.
        frames: 1 for a still picture.
        thumbhash: a placeholder of about 25 bytes, in Base64.
        dominant_color: "#rrggbb"; None if nothing of the picture can be seen.
        quality: 1 to 100, of a JPEG, estimated from its quantisation tables; None for other formats.
        decoding_seconds: CPU time of decoding all its frames once.
        decode_revision: number of the decoder's change that its pixels depend on; 0: none.
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
    """Decode an original to the end in every way in which drawings decode it, and return what is known of it.

    Args:
        begin: called before the frames of an animation are decoded, with the pixels of all of them; with 0 before
            a still picture is decoded in another way, and after all decoding.

    Raises:
        UnsupportedMedia, TooLarge, Unrenderable: as `decode` does.
        MemoryError: the process has no room for the picture.
    """
    clock = CpuClock()
    header = inspect(data, limits)
    paths = decode_paths(data, limits)
    decoded = paths.whole()
    alpha = decoded.picture.mode == "RGBA"
    if (animation := paths.animation()) is not None:
        begin(header.frames * header.width * header.height)
        # To the end, since damage in a later frame is to be found out at once too.
        for frame, _ in animation.pictures():
            alpha = alpha or frame.picture.mode == "RGBA"
    decoding_seconds = clock.seconds()
    if paths.half is not None:
        # Small drawings are made of this alone.
        begin(0)
        paths.half()
    if header.format == "tiff":
        check_parts(data)
    # What follows takes as long as there are pixels, whatever the file is.
    begin(0)
    # Both are told of a small copy alone: colours of a whole original take long.
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
        # A plain number: the parent reads no class that it has not allowed.
        decode_revision=int(decoded.revision),
    )


def _thumbnail(picture: Image.Image) -> Image.Image:
    scale = min(1.0, THUMBNAIL_SIDE / max(picture.size))
    width, height = (max(1, round(side * scale)) for side in picture.size)
    # Colours are weighed by their alpha here, as everywhere.
    return picture.resize((width, height), _BOX)


def dominant_color(picture: Image.Image) -> str | None:
    """Return the mean of the most common kind of colour in an RGB or RGBA picture.

    Each channel is cut into 8 ranges, so there are 512 kinds; the picture is
    first averaged down to a thumbnail. Pixels less than half opaque do not count.
    """
    pixels = picture.resize(_sampled(picture), _BOX).convert("RGBA").tobytes()
    seen = [pixels[at : at + 3] for at in range(0, len(pixels), 4) if pixels[at + 3] >= 128]
    if not seen:
        return None
    kinds = Counter(_kind(color) for color in seen)
    # Of equally common kinds the first in number, not in the picture.
    most = max(kinds, key=lambda kind: (kinds[kind], -kind))
    alike = [color for color in seen if _kind(color) == most]
    mean = (round(sum(color[channel] for color in alike) / len(alike)) for channel in range(3))
    return "#" + bytes(mean).hex()


def _sampled(picture: Image.Image) -> tuple[int, int]:
    return min(_SIDE, picture.width), min(_SIDE, picture.height)


def _kind(color: bytes) -> int:
    return color[0] >> 5 << 6 | color[1] >> 5 << 3 | color[2] >> 5
