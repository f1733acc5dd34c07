"""The originals: given photographs, joined to a mosaic if they are too small, or drawn images."""

from collections.abc import Sequence
from itertools import cycle
from pathlib import Path

from PIL import Image, ImageOps

from packshot.geometry import Size
from tests.support import pictures

LARGE = Size(4000, 3000)
SMALL = Size(2725, 2225)


def originals(photos: Sequence[Path], folder: Path) -> tuple[Path, Path, str]:
    """Return the 12-megapixel original, the original for a single variant, and their description.

    Without photographs both are drawn: waves, edges and noise.
    """
    large, small = folder / "large.jpg", folder / "small.jpg"
    if not photos:
        for path, size in ((large, LARGE), (small, SMALL)):
            pictures.photo(*size).save(path, quality=90)
        return large, small, "drawn images: waves, edges and noise, JPEG q90"
    upright = [ImageOps.exif_transpose(Image.open(photo)).convert("RGB") for photo in photos]
    _mosaic(upright, LARGE).save(large, quality=90)
    small.write_bytes(photos[0].read_bytes())
    named = f"`{photos[0].name}`, {upright[0].width}x{upright[0].height}"
    return (
        large,
        small,
        f"a mosaic of {len(photos)} photographs at their own scale, JPEG q90; for the single variant: {named}",
    )


def _mosaic(photos: Sequence[Image.Image], size: Size) -> Image.Image:
    canvas = Image.new("RGB", size)
    endless = cycle(photos)
    top = 0
    while top < size.height:
        shelf: list[Image.Image] = []
        while sum(photo.width for photo in shelf) < size.width:
            shelf.append(next(endless))
        height = min(photo.height for photo in shelf)
        left = 0
        for photo in shelf:
            middle = (photo.height - height) // 2
            canvas.paste(photo.crop((0, middle, photo.width, middle + height)), (left, top))
            left += photo.width
        top += height
    return canvas
