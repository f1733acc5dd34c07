"""Smart crops keep heads whole, or else the detail."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageDraw

from packshot.geometry import Box, Size, cover_size
from packshot.render.drawing.smart import smart_box
from tests.support import pictures

# Skin tones from pale to dark, as in drawings of people.
SKIN = [(255, 219, 172), (241, 194, 125), (224, 172, 105), (198, 134, 66), (141, 85, 36), (90, 56, 37)]
HAIR = [(30, 20, 15), (90, 60, 30), (200, 170, 110)]
WALL, LAWN, NIGHT = (200, 210, 220), (90, 120, 80), (60, 60, 70)

Colour = tuple[int, int, int]


def preview_of(picture: Image.Image) -> Image.Image:
    """Scale down as the renderer does, to at most 256 pixels on the longer side."""
    preview = picture.copy()
    preview.thumbnail((256, 256))
    return preview


def chosen(picture: Image.Image, target: tuple[int, int], region: Box | None = None) -> Box:
    full = Size(*picture.size)
    return smart_box(preview_of(picture), full, region or Box(0, 0, *full), Size(*target))


def add_person(
    picture: Image.Image,
    x: int,
    top: int,
    head: int,
    *,
    skin: Colour = SKIN[2],
    hair: Colour = HAIR[0],
    coat: Colour = (40, 60, 120),
    striped: bool = False,
) -> Box:
    """Draw a person with a head of height `head` and its centre at `x`; return the box of the head, including hair."""
    draw, wide = ImageDraw.Draw(picture), head * 3 // 4
    shoulders, feet = top + head * 23 // 20, top + head * 9 // 2
    draw.rectangle((x - wide, shoulders, x + wide, feet), fill=coat)
    for y in range(shoulders, feet if striped else 0, max(2, head // 6)):
        draw.rectangle((x - wide, y, x + wide, y + head // 12), fill=(250, 250, 250))
    draw.rectangle((x - wide // 5, top + head * 9 // 10, x + wide // 5, top + head * 6 // 5), fill=skin)
    draw.ellipse((x - wide * 14 // 25, top, x + wide * 14 // 25, top + head * 4 // 5), fill=hair)
    draw.ellipse((x - wide // 2, top + head // 5, x + wide // 2, top + head), fill=skin)
    for side in (-1, 1):
        eye = x + side * wide // 5
        draw.ellipse((eye - wide // 16, top + head // 2, eye + wide // 16, top + head * 5 // 9), fill=(30, 30, 30))
    return Box(x - wide * 14 // 25, top, wide * 28 // 25, head)


def holds(box: Box, part: Box) -> bool:
    return (
        box.left <= part.left
        and box.top <= part.top
        and box.left + box.width >= part.left + part.width
        and box.top + box.height >= part.top + part.height
    )


def grainy(size: tuple[int, int], colour: Colour) -> Image.Image:
    """Draw a background with detail."""
    return Image.blend(Image.new("RGB", size, colour), pictures.noise(*size), 0.08)


@pytest.mark.parametrize("striped", [False, True])
@pytest.mark.parametrize("wall", [WALL, LAWN, NIGHT])
@pytest.mark.parametrize("skin", SKIN)
@pytest.mark.parametrize("x", [70, 250, 450, 650, 830])
def test_a_portrait_crop_of_a_wide_image_contains_the_head(x: int, skin: Colour, wall: Colour, striped: bool) -> None:
    picture = Image.new("RGB", (900, 600), wall)
    head = add_person(picture, x, 120, 110, skin=skin, striped=striped)
    assert holds(chosen(picture, (2, 3)), head)
    assert holds(chosen(picture, (9, 16)), head)


@pytest.mark.parametrize("striped", [False, True])
@pytest.mark.parametrize("hair", HAIR)
@pytest.mark.parametrize("skin", SKIN)
@pytest.mark.parametrize("top", [10, 120, 300, 420])
def test_a_wide_crop_of_a_portrait_contains_the_head(top: int, skin: Colour, hair: Colour, striped: bool) -> None:
    picture = grainy((600, 900), WALL)
    head = add_person(picture, 320, top, 140, skin=skin, hair=hair, striped=striped)
    assert holds(chosen(picture, (16, 9)), head)
    assert holds(chosen(picture, (1, 1)), head)


def test_without_colour_the_head_is_found_as_the_top_of_an_object() -> None:
    for top in (100, 250, 400):
        picture = Image.new("RGB", (600, 900), WALL)
        head = add_person(picture, 300, top, 100, striped=True)
        assert holds(chosen(picture.convert("L").convert("RGB"), (16, 9)), head)


def test_a_head_larger_than_the_crop_is_shown_from_the_chin_up() -> None:
    picture = Image.new("RGB", (600, 900), WALL)
    add_person(picture, 300, 200, 400)
    box = chosen(picture, (2, 1))
    # The eyes are at 400, the chin at 600.
    assert box.top < 380
    assert 520 < box.top + box.height < 660


def test_a_crop_contains_both_heads_if_both_fit() -> None:
    picture = Image.new("RGB", (1200, 500), WALL)
    heads = [add_person(picture, x, 100, 90, skin=skin) for x, skin in ((620, SKIN[1]), (860, SKIN[4]))]
    box = chosen(picture, (1, 1))
    assert all(holds(box, head) for head in heads)


@pytest.mark.parametrize("left", [20, 700, 1450])
def test_a_crop_contains_a_whole_object_on_a_plain_background(left: int) -> None:
    picture = Image.new("RGB", (1800, 600), WALL)
    picture.paste(pictures.photo(300, 300), (left, 150))
    assert holds(chosen(picture, (1, 1)), Box(left, 150, 300, 300))


def test_colours_of_transparent_pixels_do_not_count() -> None:
    picture = Image.new("RGBA", (900, 300), (0, 0, 0, 0))
    # A transparent person, and an opaque object.
    hidden = Image.new("RGB", (900, 300))
    add_person(hidden, 100, 40, 60)
    hidden.paste(pictures.photo(200, 200), (650, 50))
    picture.paste(hidden)
    alpha = Image.new("L", picture.size, 0)
    alpha.paste(255, (650, 50, 850, 250))
    picture.putalpha(alpha)
    assert holds(chosen(picture, (1, 1)), Box(650, 50, 200, 200))


def test_only_the_region_is_searched() -> None:
    picture = Image.new("RGB", (1200, 600), WALL)
    add_person(picture, 150, 100, 100)
    head = add_person(picture, 1000, 100, 90)
    region = Box(500, 0, 700, 600)
    box = chosen(picture, (1, 2), region)
    assert holds(region, box)
    assert holds(box, head)


def test_a_plain_image_keeps_its_middle_or_upper_third() -> None:
    assert chosen(Image.new("RGB", (900, 300), WALL), (1, 1)) == Box(300, 0, 300, 300)
    assert chosen(Image.new("RGB", (300, 900), WALL), (1, 1)) == Box(0, 200, 300, 300)


sides = st.integers(1, 3000)


@pytest.mark.slow
@settings(max_examples=150, deadline=None)
@given(st.data(), st.booleans())
def test_the_box_is_the_largest_of_its_ratio_within_the_region(data: st.DataObject, alpha: bool) -> None:
    full = Size(data.draw(sides), data.draw(sides))
    width, height = data.draw(st.integers(1, full.width)), data.draw(st.integers(1, full.height))
    region = Box(
        data.draw(st.integers(0, full.width - width)), data.draw(st.integers(0, full.height - height)), width, height
    )
    target = Size(data.draw(sides), data.draw(sides))
    small = Size(*(max(1, side * 256 // max(256, *full)) for side in full))
    preview = pictures.cutout(*small) if alpha else pictures.photo(*small)
    box = smart_box(preview, full, region, target)
    assert box.size == cover_size(region.size, target)
    assert holds(region, box)
    assert smart_box(preview.copy(), full, region, target) == box
