"""Decode and encode animations, one frame at a time, so that they need little memory.

Animated GIF and WebP files are supported. Of an animated AVIF or PNG only the first frame is shown.
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

ANIMATED_FORMATS = (Format.WEBP, Format.GIF)
"""The output formats that can hold an animation."""

# Milliseconds for which browsers show a frame without a duration, or a GIF frame of 10 ms or less.
_DEFAULT_FRAME_MILLISECONDS = 100

# WebP stores the number of plays in 16 bits.
_MAX_PLAYS = 65_535


@dataclass(frozen=True, slots=True)
class Animation:
    """An animated original. Each call of `pictures` decodes it again.

    Attributes:
        data: the file.
        format: "gif" or "webp".
        frames: number of frames, at least 2.
        plays: how often it runs; 0 means without end.
        colours: the largest number of colours in a frame.
    """

    data: bytes
    limits: Limits
    format: str
    frames: int
    plays: int
    colours: int = 1 << 24

    def pictures(self) -> Iterator[tuple[Decoded, int]]:
        """Yield each composed frame in sRGB, and its duration in milliseconds.

        Raises:
            Unrenderable: a frame is damaged or missing.
        """
        frames = self._gif() if self.format == "gif" else self._webp()
        for _ in range(self.frames):
            # Not around the whole loop, because the context must not stay open between frames.
            with refused_if_damaged(DAMAGED):
                frame = next(frames, None)
            if frame is None:
                raise Unrenderable(DAMAGED, expected=f"{self.frames} frames", got="fewer")
            yield frame

    def _gif(self) -> Iterator[tuple[Decoded, int]]:
        canvas = gif.layout(self.data, self.limits.max_frames, lambda size: None).canvas
        for picture, milliseconds in gif.composed(self.data, canvas):
            yield (
                Decoded(without_metadata(to_srgb(picture)), None),
                milliseconds if milliseconds > 10 else _DEFAULT_FRAME_MILLISECONDS,
            )

    def _webp(self) -> Iterator[tuple[Decoded, int]]:
        source, _ = open_original(self.data, self.limits)
        turn = UPRIGHT.get(orientation(source))
        for frame in range(self.frames):
            source.seek(frame)
            source.load()
            # Copied, because the reader may reuse its own image.
            yield (
                Decoded(without_metadata(to_srgb(source.copy())), turn),
                int(source.info.get("duration", 0)) or _DEFAULT_FRAME_MILLISECONDS,
            )


def animation_of(data: bytes, limits: Limits) -> Animation | None:
    """Return an original as an animation; None if it is a still image.

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
    """Encode frames as an animation, without metadata other than `exif`.

    Args:
        frames: images in mode RGB or RGBA, each with its duration in milliseconds.
        count: number of frames.
        format: one of `ANIMATED_FORMATS`.
        quality: encoder quality; ignored by GIF. None means the default.
        plays: how often it runs; 0 means without end.
        exif: EXIF to write into the file; ignored by GIF.
        keeps_exact, colours: for GIF only; see `packshot.render.animation.gif_frame.Coder`.

    Raises:
        Unrenderable: the encoder fails, or reading a frame raises it.
        MemoryError: the process has too little memory.
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
        # No key frames are inserted, because playback always starts at the first frame.
        kmin=0,
        kmax=0,
        duration=sequence.milliseconds,
        loop=plays if plays <= _MAX_PLAYS else 0,
        background=(0, 0, 0, 0),
        exif=exif or b"",
    )
    return file.getvalue()


class _Sequence(Image.Image):
    """Feed frames one by one to Pillow's writer, without keeping them."""

    def __init__(self, frames: Iterator[tuple[Image.Image, int]], count: int) -> None:
        super().__init__()
        self.n_frames = count
        self.milliseconds: list[int] = []
        self._frames = frames
        self.seek(0)

    def seek(self, frame: int) -> None:
        if frame != len(self.milliseconds):
            return  # the current frame, or a return to the first one after the last
        picture, milliseconds = next(self._frames)
        self.milliseconds.append(milliseconds)
        self._mode, self._size, self.im = picture.mode, picture.size, picture.im

    def tell(self) -> int:
        return 0
