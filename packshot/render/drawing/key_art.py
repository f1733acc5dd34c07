"""Draw sample key art: large posters with labels that make crops and gravity visible."""

import colorsys
from io import BytesIO

from PIL import Image, ImageDraw, ImageFont

from packshot.geometry import Gravity, Size

# Distance of the gravity labels from the edge, as a share of the shorter side.
_INSET = 0.08


def draw_key_art(title: str, size: Size, *, hue: float, transparent: bool = False) -> bytes:
    """Draw a poster, and return it as a JPEG, or as a PNG if it is transparent.

    Args:
        title: text in the middle.
        size: in pixels.
        hue: hue of the background, 0.0 to 1.0.
        transparent: omit the background, as for a logo.
    """
    image = Image.new("RGBA", size, (0, 0, 0, 0)) if transparent else _gradient(size, hue)
    canvas = ImageDraw.Draw(image, "RGBA")
    unit = min(size)
    accent = (*_rgb(hue + 0.45, 0.75, 1.0), 255)
    line = max(2, unit // 300)
    for step in range(1, 10):
        x, y = size.width * step // 10, size.height * step // 10
        canvas.line([(x, 0), (x, size.height)], fill=(255, 255, 255, 40), width=line)
        canvas.line([(0, y), (size.width, y)], fill=(255, 255, 255, 40), width=line)
    centre = (size.width / 2, size.height / 2)
    for share in (0.30, 0.22, 0.14):
        radius = unit * share
        box = (centre[0] - radius, centre[1] - radius, centre[0] + radius, centre[1] + radius)
        canvas.ellipse(box, outline=accent, width=line * 3)
    for gravity in Gravity:
        _label(canvas, size, gravity, unit)
    canvas.text(
        centre, title, font=_font(unit * 0.1), fill="white", anchor="mm", stroke_width=line, stroke_fill="black"
    )
    canvas.rectangle((0, 0, size.width - 1, size.height - 1), outline=accent, width=line * 4)
    out = BytesIO()
    if transparent:
        image.save(out, "PNG")
    else:
        image.convert("RGB").save(out, "JPEG", quality=92)
    return out.getvalue()


def _label(canvas: ImageDraw.ImageDraw, size: Size, gravity: Gravity, unit: int) -> None:
    anchor = gravity.anchor
    inset = unit * _INSET
    x = inset + anchor.x * (size.width - 2 * inset)
    y = inset + anchor.y * (size.height - 2 * inset)
    if gravity is Gravity.CENTER:
        y += unit * 0.1
    across = "l" if anchor.x == 0 else "r" if anchor.x == 1 else "m"
    radius = unit * 0.012
    canvas.ellipse((x - radius, y - radius, x + radius, y + radius), fill="white")
    offset = unit * 0.035 if anchor.y < 1 else -unit * 0.035
    canvas.text(
        (x, y + offset),
        gravity.value,
        font=_font(unit * 0.035),
        fill="white",
        anchor=f"{across}m",
        stroke_width=max(1, unit // 500),
        stroke_fill="black",
    )


def _gradient(size: Size, hue: float) -> Image.Image:
    ramp = Image.linear_gradient("L").resize(size, Image.Resampling.BICUBIC)
    glow = Image.radial_gradient("L").resize(size, Image.Resampling.BICUBIC)
    top, bottom = Image.new("RGB", size, _rgb(hue, 0.8, 0.25)), Image.new("RGB", size, _rgb(hue + 0.1, 0.7, 0.85))
    mixed = Image.composite(bottom, top, ramp)
    return Image.composite(Image.new("RGB", size, _rgb(hue, 0.9, 0.12)), mixed, glow.point(lambda v: v // 2))


def _rgb(hue: float, saturation: float, value: float) -> tuple[int, int, int]:
    red, green, blue = colorsys.hsv_to_rgb(hue % 1.0, saturation, value)
    return round(red * 255), round(green * 255), round(blue * 255)


def _font(pixels: float) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(pixels)
