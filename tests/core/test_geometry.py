"""Sizes and boxes, by example and by property."""

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from packshot.geometry import (
    Anchor,
    Box,
    Crop,
    Fit,
    Gravity,
    Mode,
    Request,
    Size,
    contain,
    cover_box,
    crop_box,
    fit,
    focal_anchor,
    place,
)

LIMIT = Size(4096, 4096)
sides = st.integers(1, 6000)
sizes = st.builds(Size, sides, sides)
asked = st.one_of(st.none(), st.integers(1, 4096))
scales = st.one_of(
    st.sampled_from([Fraction(1, 2), Fraction(1), Fraction(3, 2), Fraction(2), Fraction(4)]),
    st.integers(50, 400).map(lambda hundredths: Fraction(hundredths, 100)),
)
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
        (Request(300, 300), Mode.COVER, (367, 300)),
        (Request(300, None), Mode.COVER, (300, 245)),
        (Request(3000, 100), Mode.COVER, (2725, 2225)),
        (Request(300, 300), Mode.CANVAS, (300, 300)),
        (Request(4000, 4000), Mode.CANVAS, (2725, 2725)),
        (Request(300, 600), Mode.STRETCH, (300, 600)),
        (Request(300, None), Mode.STRETCH, (300, 245)),
        (Request(5450, 1000), Mode.STRETCH, (2725, 500)),
        (Request(1000, 4450), Mode.STRETCH, (500, 2225)),
    ],
)
def test_sizes_come_out_as_the_contract_says(request_: Request, mode: Mode, expected: tuple[int, int]) -> None:
    assert fit(Size(2725, 2225), request_, mode, allow_upscale=False, limit=LIMIT).size == expected


def test_upscaling_is_done_only_where_it_is_allowed() -> None:
    small, request = Size(100, 50), Request(400, 200)
    assert fit(small, request, Mode.CROP, allow_upscale=False, limit=LIMIT) == Fit(Size(100, 50), Fraction(1, 4))
    assert fit(small, request, Mode.CROP, allow_upscale=True, limit=LIMIT) == Fit(Size(400, 200), Fraction(1))


@given(sizes, requests, modes, st.booleans())
def test_a_size_stays_within_the_limit_and_has_pixels(picture: Size, request: Request, mode: Mode, up: bool) -> None:
    size = fit(picture, request, mode, allow_upscale=up, limit=LIMIT).size
    assert 1 <= size.width <= LIMIT.width
    assert 1 <= size.height <= LIMIT.height


@given(sizes, requests, modes, st.booleans())
def test_a_finished_size_asked_for_again_gives_itself(picture: Size, request: Request, mode: Mode, up: bool) -> None:
    size = fit(picture, request, mode, allow_upscale=up, limit=LIMIT).size
    asked_again = [Request(*size), Request(size.width, None), Request(None, size.height)]
    fitted = [fit(picture, again, mode, allow_upscale=up, limit=LIMIT) for again in asked_again]
    # At a scale of 1: what is measured in pixels of the output stays as it is, too.
    assert Fit(size, Fraction(1)) in fitted


@given(sizes, requests, modes)
def test_nothing_is_enlarged_unless_allowed(picture: Size, request: Request, mode: Mode) -> None:
    size = fit(picture, request, mode, allow_upscale=False, limit=Size(9999, 9999)).size
    drawn = contain(picture, size) if mode.pads else size
    assert drawn.width <= picture.width
    assert drawn.height <= picture.height


@given(sizes, st.integers(1, 4096), st.integers(1, 4096))
def test_a_covered_box_is_a_minimum_and_one_side_of_the_picture_is_its_own(picture: Size, w: int, h: int) -> None:
    size = fit(picture, Request(w, h), Mode.COVER, allow_upscale=True, limit=Size(10**9, 10**9)).size
    assert size.width >= w
    assert size.height >= h
    assert size.width == w or size.height == h


def test_a_focal_point_is_found_again_in_a_region_or_at_its_nearest_edge() -> None:
    region = Box(100, 100, 200, 100)
    assert focal_anchor(0.5, 0.5, Size(400, 300), region) == Anchor(0.5, 0.5)
    assert focal_anchor(0.5, 0.4, Size(400, 300), region) == pytest.approx(Anchor(0.5, 0.2))
    assert focal_anchor(0.1, 0.9, Size(400, 300), region) == Anchor(0.0, 1.0)


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
