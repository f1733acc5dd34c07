"""The texts of variant plans, fingerprints and keys survive parsing."""

import contextlib
from dataclasses import replace
from decimal import Decimal

import pytest
import sqlalchemy as sa
from hypothesis import given
from hypothesis import strategies as st

from packshot.catalog.tables.artwork import variants
from packshot.errors import Invalid
from packshot.geometry import Crop, Gravity, Mode, Size
from packshot.model import Focus, Format, Original
from packshot.storage.base import check_key
from packshot.variants.key import Key, fingerprint, parse_key
from packshot.variants.plan import Plan, encoding_of, needs_quick, parse_plan

names = st.from_regex(r"[a-z0-9][a-z0-9-]{0,62}", fullmatch=True)
hexes = st.text("0123456789abcdef", min_size=24, max_size=24)
digits = "0123456789abcdef"
backgrounds = st.one_of(st.none(), st.text(digits, min_size=6, max_size=6), st.text(digits, min_size=8, max_size=8))


@st.composite
def plans(draw: st.DrawFn) -> Plan:
    format = draw(st.sampled_from(Format))
    return Plan(
        draw(st.integers(1, 9999)),
        draw(st.integers(1, 9999)),
        draw(st.sampled_from(Mode)),
        draw(st.sampled_from(Gravity)),
        draw(st.booleans()),
        draw(backgrounds),
        None if format in (Format.PNG, Format.GIF) else draw(st.integers(0, 100)),
        format,
        draw(st.decimals(0, 1000, places=2)),
        draw(st.integers(0, 9999)),
        draw(st.booleans()),
        draw(st.booleans()),
        draw(st.integers(1, 9)),
    )


keys = st.builds(Key, names, hexes, names, hexes, plans())
edges = st.floats(0, 1)
crops = st.builds(Crop, edges, edges, edges, edges)


@given(plans())
def test_a_plan_reads_back_as_itself(plan: Plan) -> None:
    assert parse_plan(str(plan)) == plan


@given(keys)
def test_a_key_reads_back_as_itself_and_fits_the_store(key: Key) -> None:
    assert parse_key(str(key)) == key
    assert check_key(str(key)) == str(key)


@given(keys, keys)
def test_different_variants_have_different_keys(one: Key, other: Key) -> None:
    assert (str(one) == str(other)) == (one == other)


@given(st.text())
def test_any_text_is_a_key_or_refused(text: str) -> None:
    with contextlib.suppress(Invalid):
        assert str(parse_key(text)) == text


@pytest.mark.parametrize(
    "plan",
    [
        "w640-h360-crop-center-q80.png",
        "w640-h360-crop-center.jpg",
        "w640-h360-crop-center-q101.jpg",
        "w640-h360-crop-center-q080.jpg",
        "w0640-h360-crop-center-q80.jpg",
        "w640-h360-crop-center-q80.jpeg",
        "w640-h360-crop-up-q80.jpg",
        "w640-h360-crop-center-q80.jpg\n",
        "W640-h360-crop-center-q80.jpg",
        "w640-h360-crop-center-q80.gif",
        "w640-h360-crop-center-blur1.50-q80.jpg",
        "w640-h360-crop-center-blur01-q80.jpg",
        "w640-h360-crop-center-blur0-q80.jpg",
        "w640-h360-crop-center-blur0.005-q80.jpg",
        "w640-h360-crop-center-r0.png",
        "w640-h360-crop-center-r8-blur1.png",
        "w640-h360-canvas-center-bFFFFFF.png",
        "w640-h360-canvas-center-bfffffff.png",
        "w640-h360-crop-center-credits-q80.jpg",
    ],
)
def test_a_second_spelling_of_a_plan_is_no_plan(plan: str) -> None:
    with pytest.raises(Invalid):
        parse_plan(plan)


def test_a_plan_is_spelled_the_same_in_every_release() -> None:
    # A recorded value: another spelling would make every stored variant stale.
    plan = Plan(640, 360, Mode.CROP, Gravity.NORTHEAST, True, "ffffff", 80, Format.JPEG)
    assert str(plan) == "w640-h360-crop-northeast-full-bffffff-q80.jpg"
    everything = replace(plan, mode=Mode.CANVAS, gravity=Gravity.SMART, blur=Decimal("2.50"), corner=12, credits=True)
    assert str(everything) == "w640-h360-canvas-smart-full-blur2.5-r12-bffffff-q80-credits.jpg"
    assert str(replace(everything, format=Format.GIF, quality=None, quick=True)).endswith("-credits-quick.gif")
    assert str(replace(plan, format=Format.GIF, quality=None, encoding=2)).endswith("-bffffff-e2.gif")


def test_only_plans_of_animations_say_that_their_files_are_written_in_another_way() -> None:
    still = Original("a" * 64, 80, 60, 1000, "gif", False, 1, None, None)
    moving = replace(still, frames=2)
    assert {format: encoding_of(format, still) for format in Format} == dict.fromkeys(Format, 1)
    again = {Format.GIF: 2, Format.WEBP: 2}
    assert {format: encoding_of(format, moving) for format in Format} == dict.fromkeys(Format, 1) | again


def test_only_plans_of_large_pictures_that_take_long_say_that_they_are_encoded_quickly() -> None:
    opaque = Original("a" * 64, 8000, 6000, 1000, "png", False, 1, None, None)
    cutout, moving = replace(opaque, alpha=True), replace(opaque, format="gif", frames=2)
    sizes = [Size(640, 360), Size(2000, 2000), Size(2001, 2000), Size(4000, 2000), Size(4096, 4096)]

    def quick(original: Original) -> list[tuple[Format, int, int]]:
        return [(format, *size) for format in Format for size in sizes if needs_quick(format, size, original)]

    gifs = [(Format.GIF, 2001, 2000), (Format.GIF, 4000, 2000), (Format.GIF, 4096, 4096)]
    assert quick(opaque) == gifs
    assert quick(cutout) == [(Format.AVIF, 4096, 4096), (Format.WEBP, 4096, 4096), *gifs]
    assert quick(moving) == []


def test_the_longest_plan_fits_its_column() -> None:
    longest = Plan(
        999999, 999999, Mode.INCLUDE_ALL, Gravity.NORTHEAST, True, "ffffff80", 100, Format.WEBP, Decimal("1000.25"),
        999999, True, True, 9,
    )  # fmt: skip
    plan_column = variants.c.plan.type
    assert isinstance(plan_column, sa.String)
    assert len(str(longest)) <= (plan_column.length or 0)


def test_the_fingerprint_moves_with_all_that_the_picture_is_made_of() -> None:
    crop, focus = Crop(0.1, 0.2, 0.9, 0.8), Focus(0.5, 0.4)
    prints = {
        fingerprint("a" * 64, None, None, 0),
        fingerprint("b" * 64, None, None, 0),
        fingerprint("a" * 64, crop, None, 0),
        fingerprint("a" * 64, None, focus, 0),
        fingerprint("a" * 64, crop, focus, 0),
        fingerprint("a" * 64, crop, focus, 1),
        fingerprint("a" * 64, crop, focus, 0, 1),
        fingerprint("a" * 64, crop, focus, 0, 2),
    }
    assert len(prints) == 8


def test_the_full_rectangle_is_the_same_picture_as_no_crop() -> None:
    assert fingerprint("a" * 64, Crop(0, 0, 1, 1), None, 0) == fingerprint("a" * 64, None, None, 0)


def test_a_fingerprint_never_changes_with_a_release() -> None:
    # A recorded value: a change here would make every stored variant of every installation stale.
    assert fingerprint("a" * 64, Crop(0.1, 0.2, 0.9, 0.8), None, 3) == "687b7600b2287b8069b83764"


@given(crops, crops)
def test_crops_that_differ_give_fingerprints_that_differ(one: Crop, other: Crop) -> None:
    same = fingerprint("a" * 64, one, None, 0) == fingerprint("a" * 64, other, None, 0)
    assert same == (one == other)
