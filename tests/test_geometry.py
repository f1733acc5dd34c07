"""Sizes and boxes, by example and by property."""

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from packshot.geometry import (
    Box,
    Crop,
    Gravity,
    Mode,
    Request,
    Size,
    contain,
    cover_box,
    crop_box,
    output_size,
    place,
)

LIMIT = Size(4096, 4096)
sides = st.integers(1, 6000)
sizes = st.builds(Size, sides, sides)
asked = st.one_of(st.none(), st.integers(1, 4096))
scales = st.sampled_from([Fraction(1, 2), Fraction(1), Fraction(3, 2), Fraction(2), Fraction(4)])
requests = st.builds(Request, asked, asked, scales, st.one_of(st.none(), st.just(Fraction(16, 9))))
modes = st.sampled_from(Mode)
gravities = st.sampled_from(Gravity)


@pytest.mark.parametrize(
    ("gravity", "left", "top"),
    [
        (Gravity.NORTHWEST, 0, 0),
        (Gravity.NORTH, 200, 0),
        (Gravity.NORTHEAST, 400, 0),
        (Gravity.WEST, 0, 0),
        (Gravity.CENTER, 200, 0),
        (Gravity.EAST, 400, 0),
        (Gravity.SOUTHWEST, 0, 0),
        (Gravity.SOUTH, 200, 0),
        (Gravity.SOUTHEAST, 400, 0),
    ],
)
def test_a_wide_picture_is_cropped_sideways_towards_its_gravity(gravity: Gravity, left: int, top: int) -> None:
    assert cover_box(Size(1000, 600), Size(100, 100), gravity.anchor) == Box(left, top, 600, 600)


def test_a_tall_picture_is_cropped_in_height() -> None:
    assert cover_box(Size(600, 1000), Size(300, 100), Gravity.SOUTH.anchor) == Box(0, 800, 600, 200)


def test_a_crop_is_taken_in_whole_pixels_and_never_empty() -> None:
    assert crop_box(Size(1000, 500), Crop(0.1, 0.2, 0.6, 1.0)) == Box(100, 100, 500, 400)
    assert crop_box(Size(3, 3), Crop(0.99, 0.99, 1.0, 1.0)) == Box(2, 2, 1, 1)
    assert crop_box(Size(1000, 500), None) == Box(0, 0, 1000, 500)


@pytest.mark.parametrize(
    ("request_", "mode", "expected"),
    [
        (Request(None, None), Mode.CROP, (2725, 2225)),
        (Request(720, None), Mode.CROP, (720, 588)),
        (Request(None, 588), Mode.CROP, (720, 588)),
        (Request(300, 300), Mode.CROP, (300, 300)),
        (Request(300, 300), Mode.CLIP, (300, 245)),
        (Request(300, 300), Mode.INCLUDE_ALL, (300, 300)),
        (Request(300, 300, Fraction(2)), Mode.CROP, (600, 600)),
        # Beyond the original the box shrinks and keeps its ratio.
        (Request(4000, 1000), Mode.CROP, (2725, 681)),
        (Request(3000, 3000), Mode.CROP, (2225, 2225)),
        (Request(4000, 4000), Mode.INCLUDE_ALL, (2725, 2725)),
        (Request(4000, 4000), Mode.CLIP, (2725, 2225)),
        (Request(400, None, ratio=Fraction(16, 9)), Mode.CROP, (400, 225)),
    ],
)
def test_sizes_come_out_as_the_contract_says(request_: Request, mode: Mode, expected: tuple[int, int]) -> None:
    assert output_size(Size(2725, 2225), request_, mode, allow_upscale=False, limit=LIMIT) == expected


def test_upscaling_is_done_only_where_it_is_allowed() -> None:
    small, request = Size(100, 50), Request(400, 200)
    assert output_size(small, request, Mode.CROP, allow_upscale=False, limit=LIMIT) == (100, 50)
    assert output_size(small, request, Mode.CROP, allow_upscale=True, limit=LIMIT) == (400, 200)


@given(sizes, requests, modes, st.booleans())
def test_a_size_stays_within_the_limit_and_has_pixels(picture: Size, request: Request, mode: Mode, up: bool) -> None:
    size = output_size(picture, request, mode, allow_upscale=up, limit=LIMIT)
    assert 1 <= size.width <= LIMIT.width
    assert 1 <= size.height <= LIMIT.height


@given(sizes, requests, modes, st.booleans())
def test_a_finished_size_asked_for_again_gives_itself(picture: Size, request: Request, mode: Mode, up: bool) -> None:
    size = output_size(picture, request, mode, allow_upscale=up, limit=LIMIT)
    asked_again = [Request(*size), Request(size.width, None), Request(None, size.height)]
    assert size in [output_size(picture, again, mode, allow_upscale=up, limit=LIMIT) for again in asked_again]


@given(sizes, requests, modes)
def test_nothing_is_enlarged_unless_allowed(picture: Size, request: Request, mode: Mode) -> None:
    size = output_size(picture, request, mode, allow_upscale=False, limit=Size(9999, 9999))
    drawn = contain(picture, size) if mode is Mode.INCLUDE_ALL else size
    assert drawn.width <= picture.width
    assert drawn.height <= picture.height


@given(sizes, sizes, gravities)
def test_a_cover_box_lies_inside_and_has_the_targets_ratio(source: Size, target: Size, gravity: Gravity) -> None:
    box = cover_box(source, target, gravity.anchor)
    assert box.left >= 0
    assert box.top >= 0
    assert box.left + box.width <= source.width
    assert box.top + box.height <= source.height
    assert box.width == source.width or box.height == source.height
    # Off by half a pixel at the most, but never thinner than one.
    exact_height = max(Fraction(1), Fraction(box.width * target.height, target.width))
    exact_width = max(Fraction(1), Fraction(box.height * target.width, target.height))
    assert abs(exact_height - box.height) <= Fraction(1, 2) or abs(exact_width - box.width) <= Fraction(1, 2)


@given(sizes, sizes, gravities)
def test_a_contained_picture_touches_two_edges_and_sits_at_its_gravity(
    source: Size, target: Size, gravity: Gravity
) -> None:
    inner = contain(source, target)
    placed = place(inner, target, gravity.anchor)
    assert inner.width == target.width or inner.height == target.height
    assert placed.size == inner
    assert 0 <= placed.left <= target.width - inner.width
    assert 0 <= placed.top <= target.height - inner.height
    if "west" in gravity.value:
        assert placed.left == 0
    if "south" in gravity.value:
        assert placed.top == target.height - inner.height
