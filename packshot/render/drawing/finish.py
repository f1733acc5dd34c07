"""What a placed picture goes through before it is encoded: blur, background, corners, no alpha."""

from math import asin, sqrt

from PIL import Image, ImageChops, ImageColor, ImageFilter

from packshot.geometry import Size

# Under transparency where an opaque format is told no colour.
_WHITE = (255, 255, 255, 255)

_Colour = tuple[int, int, int, int]


def blurred(picture: Image.Image, deviation: float) -> Image.Image:
    """Blur an RGB or RGBA picture by a Gaussian; its standard deviation is in pixels.

    Colours are weighted by their alpha, so those of hidden pixels do not spread.
    """
    if deviation <= 0:
        return picture
    gaussian = ImageFilter.GaussianBlur(deviation)
    if picture.mode == "RGBA":
        return picture.convert("RGBa").filter(gaussian).convert("RGBA")
    return picture.filter(gaussian)


def on_background(picture: Image.Image, background: str | None) -> Image.Image:
    """Lay `background`, rrggbb or rrggbbaa, under all of a picture; None: nothing."""
    if background is None or picture.mode != "RGBA":
        return picture
    return Image.alpha_composite(Image.new("RGBA", picture.size, _colour(background)), picture)


def rounded(picture: Image.Image, radius: int) -> Image.Image:
    """Round all four corners; no radius is larger than half the shorter side.

    The alpha of a corner's pixel is its own times the share of it that lies
    inside the arc.
    """
    radius = min(radius, min(picture.size) // 2)
    if radius < 1:
        return picture
    mask = _corners(Size(*picture.size), radius)
    if picture.mode == "RGBA":
        mask = ImageChops.multiply(mask, picture.getchannel("A"))
    # A copy, since other drawings share what was placed.
    picture = picture.copy()
    picture.putalpha(mask)
    return picture


def opaque(picture: Image.Image, background: str | None) -> Image.Image:
    """Flatten a picture on `background`, itself on white; an RGB picture is left as it is."""
    if picture.mode != "RGBA":
        return picture
    ground = Image.new("RGBA", (1, 1), _WHITE)
    ground.alpha_composite(Image.new("RGBA", (1, 1), _colour(background) if background else _WHITE))
    flat = ground.convert("RGB").resize(picture.size)
    flat.paste(picture, mask=picture.getchannel("A"))
    return flat


def without_idle_alpha(picture: Image.Image) -> Image.Image:
    """Drop an alpha channel that hides nothing."""
    if picture.mode == "RGBA" and picture.getchannel("A").getextrema() == (255, 255):
        return picture.convert("RGB")
    return picture


def _colour(text: str) -> _Colour:
    red, green, blue, *alpha = ImageColor.getrgb(f"#{text}")
    return red, green, blue, alpha[0] if alpha else 255


def _corners(size: Size, radius: int) -> Image.Image:
    mask = Image.new("L", size, 255)
    # Lower right first: there, x and y grow away from the arc's centre.
    quarter = Image.frombytes("L", (radius, radius), b"".join(_row(row, radius) for row in range(radius)))
    flipped = quarter.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    right, lower = size.width - radius, size.height - radius
    mask.paste(quarter, (right, lower))
    mask.paste(flipped, (0, lower))
    mask.paste(quarter.transpose(Image.Transpose.FLIP_TOP_BOTTOM), (right, 0))
    mask.paste(flipped.transpose(Image.Transpose.FLIP_TOP_BOTTOM), (0, 0))
    return mask


def _row(row: int, radius: int) -> bytes:
    # Pixels from `row` to `row + 1` below the centre: first those wholly inside,
    # then those that the arc crosses, then those wholly outside.
    nearer, farther = sqrt(radius**2 - row**2), sqrt(max(0, radius**2 - (row + 1) ** 2))
    inside = int(farther)
    crossed = (round(255 * _inside(column, row, farther, nearer, radius)) for column in range(inside, radius))
    return b"\xff" * inside + bytes(crossed)


def _inside(column: int, row: int, farther: float, nearer: float, radius: int) -> float:
    # The share of a pixel inside the circle: the circle's height above the row's
    # upper edge, between 0 and 1, integrated over the pixel's width. It is 1 up to
    # `farther`, where the arc leaves the row, and 0 from `nearer` on.
    start, end = min(max(column, farther), column + 1), max(min(column + 1, nearer), column)
    if end <= start:
        return min(max(farther - column, 0.0), 1.0)
    return start - column + _area(end, radius) - _area(start, radius) - row * (end - start)


def _area(x: float, radius: int) -> float:
    # Under the arc from 0 to `x`: the integral of sqrt(radius^2 - x^2).
    return (x * sqrt(max(0.0, radius**2 - x**2)) + radius**2 * asin(min(1.0, x / radius))) / 2
