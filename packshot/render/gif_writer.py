"""Animated GIF, written frame by frame, each cropped to what it changes."""

import struct
from collections.abc import Iterable, Iterator
from io import BytesIO
from math import ceil, sqrt

from PIL import Image, ImageChops

from packshot.render import gif

# Browsers show what is to last 10 ms or less for 100.
_SHORTEST = 20

# 16 bits of hundredths of a second; and as many bits of repetitions.
_LONGEST = 655_350
_MOST_REPEATS = 65_535

# Pixels less opaque than that are left out in GIF, which knows nothing in between.
_SEEN_FROM = 128

# Pixels of a frame of which its 256 colours are chosen, at most: of all, it takes six times as long.
_SAMPLE = 8192

# What becomes of a frame before the next one is drawn.
_KEPT, _CLEARED = 1, 2

_Edges = tuple[int, int, int, int]


def write_gif(frames: Iterable[tuple[Image.Image, int]], plays: int) -> bytes:
    """Encode frames of one size, each in mode RGB or RGBA, shown for so many milliseconds.

    Args:
        plays: how often it is to run; 0: for ever.
    """
    file = BytesIO()
    # What is on the canvas before a frame is drawn; and the frame that waits for
    # what comes after it, since only then it is known what is to become of it.
    canvas: Image.Image | None = None
    waiting: tuple[Image.Image, int] | None = None
    for picture, milliseconds in paced(frames):
        frame = _seen(picture)
        if waiting is None:
            file.write(_head(frame, plays))
        else:
            canvas = _write(file, *waiting, canvas, frame)
        waiting = frame, milliseconds
    if waiting is not None:
        _write(file, *waiting, canvas, None)
    file.write(b";")
    return file.getvalue()


def paced(frames: Iterable[tuple[Image.Image, int]]) -> Iterator[tuple[Image.Image, int]]:
    """Leave out the frames that come faster than browsers show a GIF's; the rest lasts as long as all did.

    Yields pictures and milliseconds: tens, from 20 to 655,350. The ends of frames
    are rounded rather than their times, so that no error adds up.
    """
    held: list[tuple[Image.Image, int]] = []  # at most two, and when they begin
    end = 0
    for picture, milliseconds in frames:
        # No sooner than the last one was seen for long enough, and not at all if it is over by then.
        start = max(round(end / 10) * 10, held[-1][1] + _SHORTEST) if held else 0
        end += milliseconds
        if held and end <= start:
            continue
        if len(held) == 2:
            yield held[0][0], min(held[1][1] - held[0][1], _LONGEST)
            del held[0]
        held.append((picture, start))
    over = round(end / 10) * 10
    if len(held) == 2 and over - held[1][1] < _SHORTEST:
        del held[1]
    for (picture, start), after in zip(held, [*(start for _, start in held[1:]), over], strict=True):
        yield picture, min(max(after - start, _SHORTEST), _LONGEST)


def _seen(picture: Image.Image) -> Image.Image:
    # In RGBA, each pixel either opaque or all zeros, so that equal ones look equal.
    if picture.mode == "RGB":
        return picture.convert("RGBA")
    opaque = picture.getchannel("A").point([255 * (value >= _SEEN_FROM) for value in range(256)])
    seen = Image.new("RGBA", picture.size)
    seen.paste(picture.convert("RGB"), mask=opaque)
    return seen


def _head(frame: Image.Image, plays: int) -> bytes:
    head = b"GIF89a" + struct.pack("<2H", *frame.size) + bytes(3)
    if plays == 1:
        return head
    # What is counted are repetitions, and 0 means without end.
    repeats = min(max(plays - 1, 0), _MOST_REPEATS)
    return head + b"!\xff\x0bNETSCAPE2.0\x03\x01" + struct.pack("<H", repeats) + b"\0"


def _write(
    file: BytesIO, frame: Image.Image, milliseconds: int, canvas: Image.Image | None, after: Image.Image | None
) -> Image.Image:
    # Returns what is on the canvas when the next frame is drawn.
    edges = (0, 0, *frame.size) if canvas is None else _bounds(ImageChops.difference(canvas, frame))
    # Drawing covers, but makes no holes: those are left where a whole frame is cleared.
    holes = after and ImageChops.subtract(frame.getchannel("A"), after.getchannel("A")).getbbox()
    if holes:
        edges = _around(edges, holes)
    file.write(_block(frame.crop(edges), edges[:2], _CLEARED if holes else _KEPT, milliseconds))
    if holes:
        frame = frame.copy()
        frame.paste((0, 0, 0, 0), edges)
    return frame


def _bounds(difference: Image.Image) -> _Edges:
    # Of one that changes nothing, a pixel, as its time must stand somewhere.
    return difference.getbbox(alpha_only=False) or (0, 0, 1, 1)


def _around(one: _Edges, other: _Edges) -> _Edges:
    return min(one[0], other[0]), min(one[1], other[1]), max(one[2], other[2]), max(one[3], other[3])


def _block(picture: Image.Image, corner: tuple[int, int], disposal: int, milliseconds: int) -> bytes:
    file = BytesIO()
    _indexed(picture).save(file, "GIF", interlace=False, optimize=True)
    part = next(gif.parts(file.getvalue()))
    clear = part.transparent is not None
    return (
        b"!\xf9\x04"
        + struct.pack("<BHBx", disposal << 2 | clear, milliseconds // 10, part.transparent or 0)
        + b","
        # Its own table, of as many colours as the power of two in the last bits says.
        + struct.pack("<4HB", *corner, *picture.size, 0x80 | (len(part.colours) // 3).bit_length() - 2)
        + part.colours
        + part.pixels
    )


def _indexed(picture: Image.Image) -> Image.Image:
    opaque = picture.getchannel("A")
    colours = picture.convert("RGB")
    if opaque.getextrema() == (255, 255):
        return with_sampled_colours(colours, 256)
    frame = with_sampled_colours(colours, 255)
    frame.paste(255, mask=ImageChops.invert(opaque))
    frame.info["transparency"] = 255
    return frame


def with_sampled_colours(picture: Image.Image, colours: int) -> Image.Image:
    """Return an RGB picture in so many colours at most, those of a sample of its pixels."""
    step = ceil(sqrt(picture.width * picture.height / _SAMPLE))
    if step < 2 or picture.getcolors(colours) is not None:
        return picture.quantize(colours)  # where there are few, each stays as it is
    sample = picture.resize((ceil(picture.width / step), ceil(picture.height / step)), Image.Resampling.NEAREST)
    # Undithered, as noise that changes from frame to frame flickers and compresses badly.
    return picture.quantize(palette=sample.quantize(colours), dither=Image.Dither.NONE)
