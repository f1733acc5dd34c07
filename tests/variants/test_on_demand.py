"""Which unplanned variants a tenant's on-demand policy allows."""

from dataclasses import replace
from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from packshot.errors import Forbidden, NotFound
from packshot.geometry import Crop, Mode, Size
from packshot.model import Format, OnDemand, Rendition, Snapshot
from packshot.variants.key import parse_key
from packshot.variants.request import FormatChoice, RequestForm, parse_request
from packshot.variants.resolve import planned_all, resolve, retarget
from packshot.variants.steps import near, snap_colour, step_up
from tests.variants.samples import TENANT, location, original, pack_location, snapshot
from tests.variants.test_resolve import LIMIT, live_forms, named, queries, snapshots

THUMB = location("thumb", width=160, height=90, fallback="main", renditions=(Rendition(333, None, 1.5),))
SNAP = snapshot(THUMB, pack_location("main", original=original("a", 4000, 3000)))


def under(snap: Snapshot, policy: OnDemand) -> Snapshot:
    """Return the snapshot under a policy."""
    return replace(snap, tenant=replace(snap.tenant, on_demand=policy))


STEPS, RENDITIONS, SIGNED = (under(SNAP, one) for one in (OnDemand.STEPS, OnDemand.RENDITIONS, OnDemand.SIGNED))


def size_of(snap: Snapshot, query: str) -> Size:
    """Return the size that a stable URL with this query yields."""
    return resolve(snap, parse_request(query), limit=LIMIT).drawing.size


def test_a_width_moves_up_to_the_next_step_and_the_height_follows() -> None:
    assert size_of(STEPS, "width=700") == (704, 528)
    assert size_of(STEPS, "width=640") == (640, 480)
    assert size_of(STEPS, "height=1000") == (1365, 1024)
    assert size_of(STEPS, "width=350&dpr=2") == (704, 528)
    assert size_of(STEPS, "location=thumb&width=300&location-ratio=true") == (320, 180)


def test_both_sides_keep_their_ratio() -> None:
    assert size_of(STEPS, "width=1900&height=1069") == (1920, 1080)
    assert size_of(STEPS, "width=333&height=187") == (352, 198)
    assert size_of(STEPS, "width=90&height=135&resize-mode=crop") == (96, 144)


def test_the_number_of_possible_sizes_is_small() -> None:
    assert len({size_of(STEPS, f"width={width}") for width in range(1, 4097, 7)}) < 90
    looks = {
        resolve(STEPS, parse_request(f"width=640&quality={q}&blur={q / 7:.3f}&background=12{q:02x}34"), limit=LIMIT).key
        for q in range(100)
    }
    assert len(looks) < 30


# Examples have no deadline, because speed fails no test.
@settings(deadline=None)
@given(snapshots)
def test_planned_variants_are_the_same_under_every_policy(snap: Snapshot) -> None:
    wanted = [target.key for target in planned_all(snap, limit=LIMIT)]
    for policy in OnDemand:
        other = under(snap, policy)
        assert [target.key for target in planned_all(other, limit=LIMIT)] == wanted
        for key in wanted:
            # By its immutable URL, and by the request for it.
            assert retarget(other, key, limit=LIMIT).key == key
        bare = RequestForm(location="thumb")
        for accept in (frozenset[Format](), frozenset({Format.AVIF}), frozenset({Format.WEBP})):
            shown = resolve(snap, bare, limit=LIMIT, accept=accept)
            assert resolve(other, bare, limit=LIMIT, accept=accept) == shown


def test_the_sizes_of_the_tenants_renditions_are_steps() -> None:
    # 333 pixels at a dpr of 1.5.
    assert size_of(STEPS, "location=thumb&width=333&dpr=1.5&location-ratio=true").width == 500
    assert size_of(STEPS, "width=500").width == 500
    assert size_of(STEPS, "width=499").width == 512


@settings(deadline=None)
@example(
    snapshot(replace(THUMB, allow_upscale=False), pack_location("main", original=original("a", 23, 16))),
    RequestForm(location="thumb", height=12, resize_mode=Mode.COVER, location_ratio=True),
)
@example(
    snapshot(replace(THUMB, allow_upscale=False), pack_location("main", original=original("a", 1, 151))),
    RequestForm(location="thumb", height=161, resize_mode=Mode.INCLUDE_ALL, location_ratio=True),
)
@example(
    snapshot(replace(THUMB, allow_upscale=False), pack_location("main", original=original("a", 103, 18))),
    RequestForm(location="thumb", height=5, resize_mode=Mode.COVER, location_ratio=True),
)
@example(
    snapshot(THUMB, pack_location("main", original=original("a", 1280, 720))),
    RequestForm(location="thumb", blur=Decimal("240.041"), dpr=Decimal("3.62")),
)
@given(snapshots, queries)
def test_every_key_on_the_ladder_can_be_made_from_the_key_alone(snap: Snapshot, form: RequestForm) -> None:
    snap = under(snap, OnDemand.STEPS)
    target = resolve(snap, form, limit=LIMIT)
    assert retarget(snap, parse_key(str(target.key)), limit=LIMIT) == target


@settings(deadline=None)
@given(snapshots.map(named), live_forms)
def test_every_key_of_a_live_url_on_the_ladder_can_be_made_from_the_key_alone(snap: Snapshot, form: object) -> None:
    snap = under(snap, OnDemand.STEPS)
    target = resolve(snap, form.request, limit=LIMIT, upscale=True)  # type: ignore[attr-defined]
    assert retarget(snap, parse_key(str(target.key)), limit=LIMIT, live=True) == target


@settings(deadline=None)
@given(snapshots, queries)
def test_a_key_off_the_ladder_leads_to_one_on_it_and_no_further(snap: Snapshot, form: RequestForm) -> None:
    key = resolve(snap, form, limit=LIMIT).key
    stepped = under(snap, OnDemand.STEPS)
    successor = retarget(stepped, key, limit=LIMIT).key
    assert retarget(stepped, successor, limit=LIMIT).key == successor


@settings(deadline=None)
@example(1, 4)
@example(1, 3)
@given(st.integers(1, 4096), st.integers(1, 4096))
def test_the_ratio_of_both_sides_changes_by_less_than_a_percent(width: int, height: int) -> None:
    form = RequestForm(width=width, height=height, resize_mode=Mode.STRETCH)
    up = replace(THUMB, allow_upscale=True)
    snap = under(snapshot(up, pack_location("main", original=original())), OnDemand.STEPS)
    got = resolve(snap, replace(form, location="thumb"), limit=Size(8192, 8192)).drawing.size
    shorter, longer = sorted(got)
    asked = Fraction(min(width, height), max(width, height))
    assert longer <= max(width, height) * Fraction(9, 8) + 1
    assert longer >= max(width, height)
    # Only whole pixels.
    assert abs(Fraction(shorter, longer) / asked - 1) <= Fraction(1, 100) + Fraction(1, shorter)


@settings(deadline=None)
@given(st.integers(1, 100_000))
def test_a_step_is_its_own_next_step(value: int) -> None:
    assert value <= step_up(value) <= value * Fraction(9, 8)
    assert step_up(step_up(value)) == step_up(value)
    assert near(Fraction(near(Fraction(value)))) == near(Fraction(value))


def test_colours_move_to_those_of_three_digits() -> None:
    assert snap_colour("fafafa") == "ffffff"
    assert snap_colour("11223344") == "11223344"
    assert snap_colour("0a80c8") == "1188cc"


def test_only_planned_variants_are_served_under_renditions() -> None:
    bare = resolve(RENDITIONS, parse_request("location=thumb"), limit=LIMIT)
    assert resolve(RENDITIONS, parse_request("location=thumb&width=160&height=90&quality=80"), limit=LIMIT) == bare
    for query in ("location=thumb&width=161", "location=thumb&quality=81", "location=thumb&blur=1", "width=5"):
        with pytest.raises(Forbidden) as refused:
            resolve(RENDITIONS, parse_request(query), limit=LIMIT, opened=True)
        assert refused.value.got
        assert "x" in str(refused.value.expected)
    with pytest.raises(Forbidden) as refused:
        resolve(RENDITIONS, parse_request("location=thumb&width=161"), limit=LIMIT)
    assert "500x281 in" in str(refused.value.expected)


def test_an_immutable_url_renders_nothing_that_the_policy_refuses() -> None:
    key = resolve(SNAP, parse_request("location=thumb&width=77"), limit=LIMIT).key
    with pytest.raises(Forbidden):
        retarget(RENDITIONS, key, limit=LIMIT, opened=True)
    with pytest.raises(Forbidden):
        retarget(SIGNED, key, limit=LIMIT)
    assert retarget(SIGNED, key, limit=LIMIT, opened=True).key == key
    assert retarget(STEPS, key, limit=LIMIT).key != key
    with pytest.raises(NotFound):
        retarget(STEPS, replace(key, plan=replace(key.plan, blur=Decimal(2000))), limit=LIMIT)


def test_other_variants_need_a_signature_under_signed() -> None:
    form = RequestForm(location="thumb", width=77, format=FormatChoice.PNG)
    with pytest.raises(Forbidden) as refused:
        resolve(SIGNED, form, limit=LIMIT)
    assert "expires and signature" in str(refused.value.expected)
    assert resolve(SIGNED, form, limit=LIMIT, opened=True) == resolve(SNAP, form, limit=LIMIT)


def test_a_crop_and_a_small_picture_stay_within_the_picture() -> None:
    small = snapshot(
        THUMB, pack_location("main", original=original("a", 301, 199), crop=Crop(0.1, 0.1, 0.8, 0.9)), tenant=TENANT
    )
    snap = under(small, OnDemand.STEPS)
    target = resolve(snap, RequestForm(width=900), limit=LIMIT)
    assert not target.upscaled
    assert target == resolve(small, RequestForm(width=900), limit=LIMIT)
