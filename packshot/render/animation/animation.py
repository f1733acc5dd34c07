"""Animations: one frame after the other, in and out; never all of them at once in full size.

GIF and WebP move; of an animated AVIF or PNG the first frame is shown.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from io import BytesIO

from PIL import Image

from packshot.errors import Unrenderable
from packshot.model import Format
from packshot.render.animation.gif_writer import write_gif
from packshot.render.colour import to_srgb
from packshot.render.damage import refused_if_damaged, refused_if_unwritable
from packshot.render.decoding.decode import DAMAGED, UPRIGHT, Decoded, open_original, without_metadata
from packshot.render.formats import gif
from packshot.render.formats.metadata import orientation
from packshot.render.formats.sniffing import sniff
from packshot.render.limits import Limits

MOVING = (Format.WEBP, Format.GIF)
"""The formats in which an animation stays one."""

# Milliseconds that browsers show a frame without a time of its own, of which a GIF's 10 is one too.
_UNTOLD = 100

# What a WebP has room for.
_MOST_PLAYS = 65_535


@dataclass(frozen=True, slots=True)
class Animation:
    """An animated original, decoded again each time its frames are asked for.

    Attributes:
        format: "gif" or "webp".
        frames: how many, more than one.
        plays: how often it runs; 0: for ever.
        colours: how many a frame has at most.
    """

    data: bytes
    limits: Limits
    format: str
    frames: int
    plays: int
    colours: int = 1 << 24

    def pictures(self) -> Iterator[tuple[Decoded, int]]:
        """Yield each frame as all of what is then seen, in sRGB, and for how many milliseconds.

        Raises:
            Unrenderable: a frame is damaged, or missing.
        """
        frames = self._gif() if self.format == "gif" else self._webp()
        for _ in range(self.frames):
            # Not around the whole loop, as a context must not stay open while others work.
            with refused_if_damaged(DAMAGED):
                frame = next(frames, None)
            if frame is None:
                raise Unrenderable(DAMAGED, expected=f"{self.frames} frames", got="fewer")
            yield frame

    def _gif(self) -> Iterator[tuple[Decoded, int]]:
        canvas = gif.layout(self.data, self.limits.max_frames, lambda size: None).canvas
        for picture, milliseconds in gif.composed(self.data, canvas):
            yield Decoded(without_metadata(to_srgb(picture)), None), milliseconds if milliseconds > 10 else _UNTOLD

    def _webp(self) -> Iterator[tuple[Decoded, int]]:
        source, _ = open_original(self.data, self.limits)
        turn = UPRIGHT.get(orientation(source))
        for frame in range(self.frames):
            source.seek(frame)
            source.load()
            # A copy, as the reader may go on with its own.
            yield (
                Decoded(without_metadata(to_srgb(source.copy())), turn),
                int(source.info.get("duration", 0)) or _UNTOLD,
            )


def animation_of(data: bytes, limits: Limits) -> Animation | None:
    """Return the animation that an original is; None for what stands still.

    Raises:
        UnsupportedMedia, TooLarge, Unrenderable: as `inspect` does.
    """
    if sniff(data) not in ("gif", "webp"):
        return None
    source, header = open_original(data, limits)
    if header.frames == 1:
        return None
    if header.format == "gif":
        found = gif.layout(data, limits.max_frames, lambda size: None)
        return Animation(data, limits, header.format, header.frames, found.plays, found.colours)
    return Animation(data, limits, header.format, header.frames, int(source.info.get("loop", 0)))


def write_animation(
    frames: Iterator[tuple[Image.Image, int]],
    count: int,
    format: Format,
    quality: int | None,
    plays: int,
    exif: bytes | None = None,
    *,
    keeps_exact: bool = True,
    colours: int = 256,
) -> bytes:
    """Encode `count` frames, each in mode RGB or RGBA, shown for so many milliseconds; no metadata but the given.

    Args:
        format: one of `MOVING`.
        plays: how often it is to run; 0: for ever.
        exif: kept in the file; ignored by GIF.
        keeps_exact, colours: of GIF, see `packshot.render.animation.gif_frame.Coder`.

    Raises:
        Unrenderable: what reading the frames raises.
        MemoryError: the process has no room for it.
    """
    with refused_if_unwritable("The animation cannot be encoded."):
        if format is Format.GIF:
            return write_gif(frames, plays, keeps_exact=keeps_exact, colours=colours)
        return _webp(frames, count, quality, plays, exif)


def _webp(
    frames: Iterator[tuple[Image.Image, int]], count: int, quality: int | None, plays: int, exif: bytes | None
) -> bytes:
    sequence = _Sequence(frames, count)
    file = BytesIO()
    sequence.save(
        file,
        "WEBP",
        save_all=True,
        quality=80 if quality is None else quality,
        method=4,
        # No frame is written whole for those who begin in the middle.
        kmin=0,
        kmax=0,
        duration=sequence.milliseconds,
        loop=plays if plays <= _MOST_PLAYS else 0,
        background=(0, 0, 0, 0),
        exif=exif or b"",
    )
    return file.getvalue()


class _Sequence(Image.Image):
    """Frames as Pillow's writer asks for them, one after the other, of which it keeps none."""

    def __init__(self, frames: Iterator[tuple[Image.Image, int]], count: int) -> None:
        super().__init__()
        self.n_frames = count
        self.milliseconds: list[int] = []
        self._frames = frames
        self.seek(0)

    def seek(self, frame: int) -> None:
        if frame != len(self.milliseconds):
            return  # the one it has, or back to the first when all are written
        picture, milliseconds = next(self._frames)
        self.milliseconds.append(milliseconds)
        self._mode, self._size, self.im = picture.mode, picture.size, picture.im

    def tell(self) -> int:
        return 0
