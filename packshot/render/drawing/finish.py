"""Finish a composed image before it is encoded: blur, background, rounded corners, flattening."""

from math import asin, sqrt

from PIL import Image, ImageChops, ImageColor, ImageFilter

from packshot.geometry import Size

# The background of an opaque format if the drawing names none.
_WHITE = (255, 255, 255, 255)

_Colour = tuple[int, int, int, int]


def blurred(picture: Image.Image, deviation: float) -> Image.Image:
    """Blur an RGB or RGBA image with a Gaussian filter. Colours are premultiplied by alpha, so hidden colours do not
    spread.

    Args:
        deviation: standard deviation in pixels; 0 leaves the image as it is.
    """
    if deviation <= 0:
        return picture
    gaussian = ImageFilter.GaussianBlur(deviation)
    if picture.mode == "RGBA":
        return picture.convert("RGBa").filter(gaussian).convert("RGBA")
    return picture.filter(gaussian)


def on_background(picture: Image.Image, background: str | None) -> Image.Image:
    """Put a background under an image.

    Args:
        background: rrggbb or rrggbbaa; None leaves the image as it is.
    """
    if background is None or picture.mode != "RGBA":
        return picture
    return Image.alpha_composite(Image.new("RGBA", picture.size, _colour(background)), picture)


def rounded(picture: Image.Image, radius: int) -> Image.Image:
    """Round all four corners with antialiasing.

    Args:
        radius: in pixels; at most half of the shorter side is used.
    """
    radius = min(radius, min(picture.size) // 2)
    if radius < 1:
        return picture
    mask = _corners(Size(*picture.size), radius)
    if picture.mode == "RGBA":
        mask = ImageChops.multiply(mask, picture.getchannel("A"))
    # Copied, because other drawings share the composed image.
    picture = picture.copy()
    picture.putalpha(mask)
    return picture


def opaque(picture: Image.Image, background: str | None) -> Image.Image:
    """Flatten an RGBA image onto a background, and that onto white. An RGB image stays as it is.

    Args:
        background: rrggbb or rrggbbaa; None means white.
    """
    if picture.mode != "RGBA":
        return picture
    ground = Image.new("RGBA", (1, 1), _WHITE)
    ground.alpha_composite(Image.new("RGBA", (1, 1), _colour(background) if background else _WHITE))
    flat = ground.convert("RGB").resize(picture.size)
    flat.paste(picture, mask=picture.getchannel("A"))
    return flat


def without_idle_alpha(picture: Image.Image) -> Image.Image:
    """Drop an alpha channel if all pixels are opaque."""
    if picture.mode == "RGBA" and picture.getchannel("A").getextrema() == (255, 255):
        return picture.convert("RGB")
    return picture


def _colour(text: str) -> _Colour:
    red, green, blue, *alpha = ImageColor.getrgb(f"#{text}")
    return red, green, blue, alpha[0] if alpha else 255


def _corners(size: Size, radius: int) -> Image.Image:
    mask = Image.new("L", size, 255)
    # The lower right corner, where x and y grow away from the centre of the arc.
    quarter = Image.frombytes("L", (radius, radius), b"".join(_row(row, radius) for row in range(radius)))
    flipped = quarter.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    right, lower = size.width - radius, size.height - radius
    mask.paste(quarter, (right, lower))
    mask.paste(flipped, (0, lower))
    mask.paste(quarter.transpose(Image.Transpose.FLIP_TOP_BOTTOM), (right, 0))
    mask.paste(flipped.transpose(Image.Transpose.FLIP_TOP_BOTTOM), (0, 0))
    return mask


def _row(row: int, radius: int) -> bytes:
    # The pixels between `row` and `row + 1` below the centre: those inside the arc, then those that it crosses, then
    # those outside.
    nearer, farther = sqrt(radius**2 - row**2), sqrt(max(0, radius**2 - (row + 1) ** 2))
    inside = int(farther)
    crossed = (round(255 * _inside(column, row, farther, nearer, radius)) for column in range(inside, radius))
    return b"\xff" * inside + bytes(crossed)


def _inside(column: int, row: int, farther: float, nearer: float, radius: int) -> float:
    # The share of a pixel inside the circle: the circle's height above the row's upper edge, clipped to 0 … 1 and
    # integrated over the pixel's width. The height is 1 up to x = `farther`, and 0 from `nearer` on.
    start, end = min(max(column, farther), column + 1), max(min(column + 1, nearer), column)
    if end <= start:
        return min(max(farther - column, 0.0), 1.0)
    return start - column + _area(end, radius) - _area(start, radius) - row * (end - start)


def _area(x: float, radius: int) -> float:
    # The area under the arc from 0 to `x`: the integral of sqrt(radius^2 - x^2).
    return (x * sqrt(max(0.0, radius**2 - x**2)) + radius**2 * asin(min(1.0, x / radius))) / 2
