"""Render many drawings of one original: decode once, then sample, place, finish and encode each.

The bytes of a drawing depend only on the original and on that drawing, so they are the same in any batch.
"""

import copy
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial

from PIL import Image

from packshot.errors import PackshotError
from packshot.geometry import Box, Size
from packshot.render.animation.animation import ANIMATED_FORMATS, Animation, write_animation
from packshot.render.cpu_clock import CpuClock
from packshot.render.decoding.decode import Decoded, check_frames, check_pixels, credits_of
from packshot.render.drawing.encode import check_sides, encode
from packshot.render.drawing.finish import blurred, on_background, opaque, rounded, without_idle_alpha
from packshot.render.drawing.paths import decode_paths
from packshot.render.drawing.resample import Levels, check_inside, level_factor, levels_of
from packshot.render.drawing.smart import smart_box
from packshot.render.limits import Limits
from packshot.variants.plan import Drawing

# Pixels of composed images, 4 bytes each, that are kept for further formats.
_KEPT_PIXELS = 16_000_000

_Geometry = tuple[Box, Size, Box, bool, float]


@dataclass(frozen=True, slots=True)
class Rendered:
    """The file of one drawing. Width and height are in pixels.

    Attributes:
        seconds: CPU time of this drawing, including later decoding.
        decoding_seconds: CPU time of decoding the original before its first drawing; 0 for all others, and if an
        earlier
            call had decoded it.
    """

    data: bytes
    width: int
    height: int
    seconds: float = field(default=0.0, compare=False)
    decoding_seconds: float = field(default=0.0, compare=False)


def _unheard(pixels: int) -> None:
    pass


def render_all(
    original: bytes,
    drawings: Sequence[Drawing],
    limits: Limits,
    begin: Callable[[int], None] = _unheard,
    levels: Levels | None = None,
) -> Iterator[Rendered | PackshotError]:
    """Decode `original` now, and return an iterator of one outcome per drawing.

    Outcomes come in the order of `drawings`, and each is drawn when it is requested. A refusal takes the place of its
    drawing, and the others continue. If the original itself is refused, each drawing gets that refusal.

    Args:
        begin: called before each drawing with the number of pixels of all its frames; 0 for a still image.
        levels: levels of this original, which may be decoded already; None if there are none.

    Raises:
        MemoryError: the process has too little memory; raised here or by the iterator.
    """
    clock = CpuClock()
    levels = levels_of(original, limits) if levels is None else levels
    is_decoded = levels.most > 0
    try:
        # First, so that a damaged original is refused once.
        levels.at(_level(drawings[0]) if drawings else 1)
        paths = decode_paths(original, limits)
        animation = paths.animation() if any(drawing.format in ANIMATED_FORMATS for drawing in drawings) else None
        credits = credits_of(original, limits) if any(drawing.credits for drawing in drawings) else None
    except PackshotError as refusal:
        return iter(undecodable(refusal, drawings))
    drawn = _draw_all(levels, animation, credits, drawings, limits, begin)
    return _timed(drawn, 0.0 if is_decoded else clock.seconds())


def undecodable(refusal: PackshotError, drawings: Sequence[Drawing]) -> list[Rendered | PackshotError]:
    """Return the refusal of an original as the outcome of each drawing."""
    refusal.undecodable = True
    # One copy each, because callers prepend their own field paths.
    return [copy.copy(refusal) for _ in drawings]


def _timed(outcomes: Iterator[Rendered | PackshotError], decoding_seconds: float) -> Iterator[Rendered | PackshotError]:
    while True:
        clock = CpuClock()
        outcome = next(outcomes, None)
        if outcome is None:
            return
        if isinstance(outcome, Rendered):
            seconds = clock.seconds()
            outcome = replace(outcome, seconds=seconds, decoding_seconds=decoding_seconds)
            decoding_seconds = 0.0
        yield outcome


def located(levels: Levels, drawing: Drawing) -> Drawing:
    """Choose the box of a smart drawing. Other drawings are returned unchanged.

    Raises:
        PackshotError: as `compose` does.
    """
    if not drawing.smart:
        return drawing
    check_inside(drawing.placed, drawing.size, "the output")
    check_inside(drawing.box, levels.size, "the original")
    box = smart_box(levels.preview, levels.size, drawing.box, drawing.placed.size)
    return replace(drawing, box=box, smart=False)


def compose(levels: Levels, drawing: Drawing, limits: Limits) -> Image.Image:
    """Sample the original, blur it and place it on transparent padding.

    Args:
        drawing: a result of `located`.

    Returns:
        An image of the drawing's size in mode RGB or RGBA.

    Raises:
        PackshotError: the original or the limits do not allow the drawing.
    """
    check_pixels(drawing.size, limits)
    check_inside(drawing.placed, drawing.size, "the output")
    sampled = levels.sample(drawing.box, drawing.placed.size)
    sampled = blurred(sampled, drawing.blur)
    if drawing.placed == Box(0, 0, *drawing.size):
        return sampled
    canvas = Image.new("RGBA", drawing.size, (0, 0, 0, 0))
    canvas.paste(sampled, (drawing.placed.left, drawing.placed.top))
    return canvas


def finish(picture: Image.Image, drawing: Drawing) -> Image.Image:
    """Add background and rounded corners to a composed image, and convert it to a mode of its format.

    Corners are cut out of the background too. An opaque format fills them with the background.
    """
    picture = on_background(picture, drawing.background)
    picture = rounded(picture, drawing.corner)
    if not drawing.format.has_alpha:
        return opaque(picture, drawing.background)
    return without_idle_alpha(picture)


def _draw_all(
    levels: Levels,
    animation: Animation | None,
    credits: bytes | None,
    drawings: Sequence[Drawing],
    limits: Limits,
    begin: Callable[[int], None],
) -> Iterator[Rendered | PackshotError]:
    geometries = [_geometry(drawing) for drawing in drawings]
    sampled_from = {geometry: _level(drawing) for geometry, drawing in zip(geometries, drawings, strict=True)}
    to_come = Counter(geometries)
    kept: dict[_Geometry, Image.Image] = {}
    for drawing, geometry in zip(drawings, geometries, strict=True):
        to_come[geometry] -= 1
        exif = credits if drawing.credits else None
        try:
            if animation is not None and drawing.format in ANIMATED_FORMATS:
                # Reading a frame costs as much as writing one.
                begin(animation.frames * max(_area(levels.size), _area(drawing.size)))
                # The first frame decides the box of a smart drawing. Otherwise the image would jump.
                yield Rendered(_animated(animation, located(levels, drawing), exif, limits), *drawing.size)
                continue
            begin(0)
            composed = kept.pop(geometry, None) or compose(levels, located(levels, drawing), limits)
            if to_come[geometry] and _pixels(*kept.values(), composed) <= _KEPT_PIXELS:
                kept[geometry] = composed
            # Free levels first: an encoder may need as much memory as the original.
            levels.release(level for later, level in sampled_from.items() if to_come[later] and later not in kept)
            data = encode(finish(composed, drawing), drawing.format, drawing.quality, exif, quick=drawing.quick)
            yield Rendered(data, *drawing.size)
        except PackshotError as refusal:
            yield refusal


def _animated(animation: Animation, drawing: Drawing, exif: bytes | None, limits: Limits) -> bytes:
    check_sides(drawing.size, drawing.format)
    check_frames(animation.frames, drawing.size, limits)

    def frames() -> Iterator[tuple[Image.Image, int]]:
        for frame, milliseconds in animation.pictures():
            yield finish(compose(Levels(partial(_same, frame)), drawing, limits), drawing), milliseconds

    # Resampling and blurring create colours that the original does not have.
    keeps_exact = drawing.box.size == drawing.placed.size and not drawing.blur
    return write_animation(
        frames(),
        animation.frames,
        drawing.format,
        drawing.quality,
        animation.plays,
        exif,
        keeps_exact=keeps_exact,
        colours=animation.colours,
    )


def _same(decoded: Decoded) -> Decoded:
    return decoded


def _level(drawing: Drawing) -> int:
    # The box of a smart drawing is not known yet, so this is the level for its whole region.
    return level_factor(drawing.box.size, drawing.placed.size)


def _geometry(drawing: Drawing) -> _Geometry:
    return drawing.box, drawing.size, drawing.placed, drawing.smart, drawing.blur


def _area(size: Size) -> int:
    return size.width * size.height


def _pixels(*pictures: Image.Image) -> int:
    return sum(picture.width * picture.height for picture in pictures)
