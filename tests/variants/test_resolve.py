"""Which image a request means: fallback, crop, policy, format and size."""

from dataclasses import replace
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from packshot.errors import Invalid, NotFound
from packshot.geometry import Box, Crop, Gravity, Mode, Size
from packshot.model import Focus, Format, FormatPolicy, IncludeAll, Rendition, Snapshot
from packshot.variants.key import parse_key
from packshot.variants.live_request import EXTENSIONS, FITS, LiveForm, parse_live_request
from packshot.variants.request import FormatChoice, QualityChoice, RequestForm, parse_request
from packshot.variants.resolve import Target, planned, planned_all, policy_for, resolve, retarget, shown_at, source_of
from tests.variants.samples import PACK, TENANT, location, original, pack_location, snapshot

LIMIT = Size(4096, 4096)
THUMB = location("thumb", width=320, height=180, fallback="main")
MAIN = pack_location("main", original=original("a"))


def target_of(snap: Snapshot, query: str, accept: frozenset[Format] = frozenset()) -> Target:
    return resolve(snap, parse_request(query), limit=LIMIT, accept=accept)


def plan_of(snap: Snapshot, query: str, accept: frozenset[Format] = frozenset()) -> str:
    return str(target_of(snap, query, accept).key.plan)


def test_a_location_shows_its_own_original_first() -> None:
    snap = snapshot(THUMB, MAIN, pack_location("thumb", original=original("b")))
    assert source_of(snap, "thumb") == ("thumb", ("thumb",))


def test_without_an_original_the_fallback_chain_and_then_the_main_location_count() -> None:
    snap = snapshot(THUMB, location("cover", fallback="thumb"), location("alone"), MAIN)
    assert source_of(snap, "cover") == ("main", ("cover", "thumb", "main"))
    assert source_of(snap, "alone") == ("main", ("alone", "main"))


def test_a_pack_can_name_another_main_location() -> None:
    snap = snapshot(
        location("hero"),
        location("alone"),
        pack_location("hero", original=original("b")),
        pack=replace(PACK, main_location="hero"),
    )
    assert source_of(snap, "alone") == ("hero", ("alone", "hero"))
    assert resolve(snap, RequestForm(), limit=LIMIT).source == "hero"


def test_a_stored_fallback_cycle_ends() -> None:
    snap = snapshot(location("a", fallback="b"), location("b", fallback="a"))
    assert source_of(snap, "a") == (None, ("a", "b", "main"))


def test_nothing_to_show_and_an_unknown_location_are_told_apart() -> None:
    with pytest.raises(NotFound, match="nothing to show"):
        resolve(snapshot(THUMB), RequestForm(location="thumb"), limit=LIMIT)
    with pytest.raises(NotFound, match="no location") as refusal:
        resolve(snapshot(THUMB, MAIN), RequestForm(location="thmub"), limit=LIMIT)
    assert refusal.value.expected == "main, thumb"


def test_crop_and_focus_are_the_locations_own_else_those_of_the_source() -> None:
    crop, own = Crop(0.1, 0.1, 0.9, 0.9), Crop(0.0, 0.0, 0.5, 0.5)
    source = pack_location("main", original=original("a"), crop=crop, focus=Focus(0.2, 0.2))
    inherited = shown_at(snapshot(THUMB, source), "thumb")
    assert inherited is not None
    assert (inherited.crop, inherited.focus) == (crop, Focus(0.2, 0.2))
    cropped = shown_at(snapshot(THUMB, source, pack_location("thumb", crop=own)), "thumb")
    assert cropped is not None
    assert (cropped.crop, cropped.focus) == (own, Focus(0.2, 0.2))


def test_the_full_rectangle_says_no_crop_although_the_source_has_one() -> None:
    source = pack_location("main", original=original("a"), crop=Crop(0.1, 0.1, 0.9, 0.9))
    full = shown_at(snapshot(THUMB, source, pack_location("thumb", crop=Crop(0, 0, 1, 1))), "thumb")
    plain = shown_at(snapshot(THUMB, MAIN), "thumb")
    assert full is not None
    assert plain is not None
    assert full.fingerprint == plain.fingerprint


def test_a_policy_comes_from_the_first_level_that_sets_it() -> None:
    everything = (
        location("thumb", width=320, height=180, resize_gravity=Gravity.EAST, include_all=IncludeAll.TRUE),
        pack_location("thumb", resize_gravity=Gravity.NORTH, include_all=IncludeAll.FALSE),
    )
    pack = replace(PACK, resize_gravity=Gravity.WEST, include_all=IncludeAll.TRUE)
    by_slot = policy_for(snapshot(*everything, pack=pack), "thumb")
    assert (by_slot.gravity, by_slot.gravity_from) == (Gravity.NORTH, "packLocation")
    assert (by_slot.include_all, by_slot.include_all_from) == (False, "packLocation")
    by_pack = policy_for(snapshot(everything[0], pack=pack), "thumb")
    assert (by_pack.gravity, by_pack.gravity_from, by_pack.include_all_from) == (Gravity.WEST, "pack", "pack")
    by_location = policy_for(snapshot(everything[0]), "thumb")
    assert (by_location.gravity, by_location.gravity_from) == (Gravity.EAST, "location")
    by_tenant = policy_for(snapshot(tenant=replace(TENANT, resize_gravity=Gravity.SOUTH)), "main")
    assert (by_tenant.gravity, by_tenant.gravity_from, by_tenant.include_all) == (Gravity.SOUTH, "tenant", False)


def test_the_request_overrides_every_policy() -> None:
    snap = snapshot(
        replace(THUMB, include_all=IncludeAll.TRUE, resize_gravity=Gravity.EAST),
        pack_location("main", original=original("a", 4000, 1000)),
    )
    assert plan_of(snap, "location=thumb&format=webp") == "w320-h180-includeall-center-q80.webp"
    assert plan_of(snap, "location=thumb&resize-mode=crop&resize-gravity=west") == "w320-h180-crop-west-q80.jpg"


@pytest.mark.parametrize(
    "query",
    [
        "location=thumb",
        "location=thumb&width=320&height=180",
        "location=thumb&resize-mode=crop",
        "location=thumb&width=160&height=90&dpr=2",
        "location=thumb&width=320&location-ratio=true",
        "location=thumb&format=jpeg&quality=80",
        "location=thumb&resize-gravity=center&skip-crop=true",
        "location=thumb&date=4711",
    ],
)
def test_equal_requests_have_one_plan(query: str) -> None:
    assert plan_of(snapshot(THUMB, MAIN), query) == "w320-h180-crop-center-q80.jpg"


def test_gravity_is_spelled_only_where_it_changes_the_picture() -> None:
    wide = snapshot(location("thumb", width=200, height=100), pack_location("main", original=original("a", 4000, 2000)))
    assert plan_of(wide, "location=thumb&resize-gravity=north") == plan_of(wide, "location=thumb")
    assert plan_of(wide, "location=thumb&width=200&height=200&resize-gravity=east") == "w200-h200-crop-east-q80.jpg"
    # In a full-width crop only north and south differ.
    assert plan_of(wide, "location=thumb&width=200&height=50&resize-gravity=east") == "w200-h50-crop-center-q80.jpg"


def test_the_focal_point_is_in_the_middle_of_a_crop_as_far_as_the_picture_goes() -> None:
    square = location("thumb", width=100, height=100, resize_gravity=Gravity.FOCUS)
    wide = original("a", 4000, 1000)
    drawn = [
        target_of(
            snapshot(square, pack_location("main", original=wide, focus=Focus(x, 0.1))), "location=thumb"
        ).drawing.box
        for x in (0.0, 0.5, 0.6, 1.0)
    ]
    assert drawn == [
        Box(0, 0, 1000, 1000),
        Box(1500, 0, 1000, 1000),
        Box(1900, 0, 1000, 1000),
        Box(3000, 0, 1000, 1000),
    ]


def test_the_focal_point_holds_inside_a_stored_crop_and_beside_it() -> None:
    square = location("thumb", width=100, height=100, resize_gravity=Gravity.FOCUS)
    wide = pack_location("main", original=original("a", 4000, 1000), crop=Crop(0.25, 0.0, 0.75, 1.0))
    for x, left in ((0.4, 1100), (0.1, 1000), (0.9, 2000)):
        snap = snapshot(square, replace(wide, focus=Focus(x, 0.5)))
        assert target_of(snap, "location=thumb").drawing.box == Box(left, 0, 1000, 1000)
    skipped = snapshot(square, replace(wide, focus=Focus(0.1, 0.5)))
    assert target_of(skipped, "location=thumb&skip-crop=true").drawing.box == Box(0, 0, 1000, 1000)


@pytest.mark.parametrize("gravity", ["focus", "smart"])
@pytest.mark.parametrize("mode", ["includeAll", "canvas", "clip", "cover", "stretch"])
def test_a_padded_image_is_centred_with_any_focus(gravity: str, mode: str) -> None:
    snap = snapshot(pack_location("main", original=original("a", 4000, 1000), focus=Focus(0.0, 0.0)))
    query = f"width=100&height=100&resize-mode={mode}"
    assert plan_of(snap, f"{query}&resize-gravity={gravity}") == plan_of(snap, query)


def test_a_focus_that_changes_nothing_is_not_part_of_the_plan() -> None:
    query = "width=100&height=100&resize-gravity=focus"
    nowhere = snapshot(pack_location("main", original=original("a", 4000, 1000)))
    assert plan_of(nowhere, query) == "w100-h100-crop-center-q80.jpg"
    middle = snapshot(pack_location("main", original=original("a", 4000, 1000), focus=Focus(0.5, 0.0)))
    assert plan_of(middle, query) == "w100-h100-crop-center-q80.jpg"
    left = snapshot(pack_location("main", original=original("a", 4000, 1000), focus=Focus(0.2, 0.0)))
    assert plan_of(left, query) == "w100-h100-crop-focus-q80.jpg"


def test_smart_leaves_the_choice_of_the_box_to_the_renderer_where_something_is_cut() -> None:
    snap = snapshot(pack_location("main", original=original("a", 4000, 1000), crop=Crop(0.5, 0.0, 1.0, 1.0)))
    cut = target_of(snap, "width=100&height=100&resize-gravity=smart")
    assert str(cut.key.plan) == "w100-h100-crop-smart-q80.jpg"
    assert (cut.drawing.smart, cut.drawing.box) == (True, Box(2000, 0, 2000, 1000))
    assert cut.drawing.placed == Box(0, 0, 100, 100)
    whole = target_of(snap, "width=100&height=50&resize-gravity=smart")
    assert (str(whole.key.plan), whole.drawing.smart) == ("w100-h50-crop-center-q80.jpg", False)


@pytest.mark.parametrize(
    ("query", "plan"),
    [
        ("width=100&height=100&resize-mode=canvas", "w100-h100-canvas-center-bffffff-q80.jpg"),
        ("width=100&height=100&resize-mode=canvas&background=FF0000", "w100-h100-canvas-center-bff0000-q80.jpg"),
        ("width=100&height=100&resize-mode=canvas&background=ff000080", "w100-h100-canvas-center-bff7f7f-q80.jpg"),
        ("width=100&height=100&resize-mode=canvas&background=ff000000", "w100-h100-canvas-center-bffffff-q80.jpg"),
        (
            "width=100&height=100&resize-mode=canvas&background=ff000080&format=webp",
            "w100-h100-canvas-center-bff000080-q80.webp",
        ),
        (
            "width=100&height=100&resize-mode=canvas&background=ff0000ff&format=png",
            "w100-h100-canvas-center-bff0000.png",
        ),
        # The colour of fully transparent pixels is invisible.
        (
            "width=100&height=100&resize-mode=canvas&background=12345600&format=png",
            "w100-h100-includeall-center.png",
        ),
        ("width=100&resize-mode=canvas&background=ff0000", "w100-h50-canvas-center-q80.jpg"),
        ("width=100&height=100&background=ff0000", "w100-h100-crop-center-q80.jpg"),
        ("width=100&height=100&resize-mode=canvas&resize-gravity=south", "w100-h100-canvas-south-bffffff-q80.jpg"),
        ("width=100&height=100&resize-mode=cover", "w200-h100-cover-center-q80.jpg"),
        ("width=100&height=300&resize-mode=stretch", "w100-h300-stretch-center-q80.jpg"),
    ],
)
def test_canvas_cover_and_stretch(query: str, plan: str) -> None:
    assert plan_of(snapshot(pack_location("main", original=original("a", 4000, 2000))), query) == plan


@pytest.mark.parametrize(
    ("query", "plan"),
    [
        ("width=100&format=jpeg&background=102030", "w100-h50-crop-center-b102030-q80.jpg"),
        ("width=100&format=jpeg&background=00000080", "w100-h50-crop-center-b7f7f7f-q80.jpg"),
        ("width=100&format=webp&background=102030", "w100-h50-crop-center-q80.webp"),
        ("width=100&resize-mode=canvas&background=102030", "w100-h50-canvas-center-b102030.png"),
    ],
)
def test_a_background_lies_under_a_transparent_picture_in_jpeg_and_on_a_canvas(query: str, plan: str) -> None:
    logo = original("a", 4000, 2000, format="png", alpha=True)
    assert plan_of(snapshot(pack_location("main", original=logo)), query) == plan


@pytest.mark.parametrize(
    ("query", "plan"),
    [
        ("width=100&rounded-corners=10", "w100-h50-crop-center-r10.png"),
        ("width=100&rounded-corners=10&format=jpeg", "w100-h50-crop-center-r10.png"),
        ("width=100&rounded-corners=10&format=webp", "w100-h50-crop-center-r10-q80.webp"),
        ("width=100&rounded-corners=9999&format=webp", "w100-h50-crop-center-r25-q80.webp"),
        ("width=100&rounded-corners=10&dpr=2&format=webp", "w200-h100-crop-center-r20-q80.webp"),
        # The image is too small for a dpr of 2, so the corners scale with the actual size.
        ("width=400&rounded-corners=100&dpr=2&format=webp", "w600-h300-crop-center-r150-q80.webp"),
        ("width=1200&rounded-corners=100&format=webp", "w600-h300-crop-center-r50-q80.webp"),
        ("width=100&rounded-corners=0", "w100-h50-crop-center-q80.jpg"),
        ("width=100&blur=2.50", "w100-h50-crop-center-blur2.5-q80.jpg"),
        ("width=100&blur=1.111111&dpr=3", "w300-h150-crop-center-blur3.33-q80.jpg"),
        ("width=1200&blur=5", "w600-h300-crop-center-blur2.5-q80.jpg"),
        ("width=100&blur=0.001", "w100-h50-crop-center-q80.jpg"),
        ("width=100&blur=0", "w100-h50-crop-center-q80.jpg"),
    ],
)
def test_corners_and_blur_are_in_css_pixels(query: str, plan: str) -> None:
    assert plan_of(snapshot(pack_location("main", original=original("a", 600, 300))), query) == plan


def test_quality_auto_is_a_jpegs_own_where_a_jpeg_is_made_of_it() -> None:
    known = snapshot(pack_location("main", original=original("a", quality=92)))
    assert plan_of(known, "width=100&quality=auto") == "w100-h75-crop-center-q92.jpg"
    assert plan_of(known, "width=100&quality=auto&format=webp") == "w100-h75-crop-center-q80.webp"
    assert plan_of(known, "width=100&quality=auto&format=png") == "w100-h75-crop-center.png"
    assert plan_of(snapshot(MAIN), "width=100&quality=auto") == "w100-h75-crop-center-q80.jpg"


def test_an_enlarged_picture_is_reported() -> None:
    small = pack_location("main", original=original("a", 300, 200))
    allowed = snapshot(location("thumb", width=400, height=100, allow_upscale=True), small)
    assert target_of(allowed, "location=thumb").upscaled
    assert target_of(allowed, "location=thumb&resize-gravity=smart").upscaled
    assert not target_of(allowed, "location=thumb&resize-mode=clip").upscaled
    # Padding does not enlarge the image.
    assert not target_of(allowed, "location=thumb&resize-mode=includeAll").upscaled
    assert target_of(allowed, "width=301&height=2&location=thumb&resize-mode=stretch").upscaled
    assert not target_of(snapshot(location("thumb", width=400, height=100), small), "location=thumb").upscaled


def test_a_tenant_that_keeps_credits_has_other_variants_and_the_old_lead_to_them() -> None:
    plain, keeping = snapshot(THUMB, MAIN), snapshot(THUMB, MAIN, tenant=replace(TENANT, keep_credits=True))
    old, new = target_of(plain, "location=thumb"), target_of(keeping, "location=thumb")
    assert str(new.key.plan) == "w320-h180-crop-center-q80-credits.jpg"
    assert (old.drawing.credits, new.drawing.credits) == (False, True)
    assert retarget(keeping, old.key, limit=LIMIT) == new
    assert retarget(plain, new.key, limit=LIMIT) == old


def test_skipping_the_crop_is_a_plan_of_its_own_only_where_there_is_one() -> None:
    cropped = snapshot(THUMB, replace(MAIN, crop=Crop(0, 0, 0.5, 0.5)))
    assert plan_of(cropped, "location=thumb&skip-crop=true") == "w320-h180-crop-center-full-q80.jpg"


@pytest.mark.parametrize(
    ("kind", "alpha", "query", "extension"),
    [
        ("jpeg", False, "", "jpg"),
        ("png", False, "", "png"),
        ("webp", True, "", "webp"),
        ("avif", False, "", "jpg"),
        ("avif", True, "", "png"),
        ("jpeg", False, "resize-mode=includeAll", "png"),
        ("jpeg", False, "resize-mode=includeAll&format=jpeg", "png"),
        ("jpeg", False, "resize-mode=includeAll&format=webp", "webp"),
        ("png", True, "format=jpeg", "jpg"),
        ("png", True, "format=auto", "png"),
        ("png", False, "format=auto", "jpg"),
        ("gif", False, "", "jpg"),
        ("gif", True, "", "png"),
        ("heic", False, "", "jpg"),
        ("tiff", True, "", "png"),
        ("bmp", False, "", "jpg"),
    ],
)
def test_the_format_follows_original_request_and_mode(kind: str, alpha: bool, query: str, extension: str) -> None:
    snap = snapshot(pack_location("main", original=original("a", format=kind, alpha=alpha)))
    assert plan_of(snap, query).rpartition(".")[2] == extension


def test_auto_yields_the_best_accepted_format() -> None:
    snap = snapshot(MAIN)
    both = frozenset({Format.AVIF, Format.WEBP})
    assert plan_of(snap, "format=auto", both).endswith("-q50.avif")
    assert plan_of(snap, "format=auto", frozenset({Format.WEBP})).endswith("-q80.webp")
    assert plan_of(snap, "format=webp", both).endswith(".webp")
    assert plan_of(snapshot(MAIN, tenant=replace(TENANT, format_policy=FormatPolicy.AUTO)), "", both).endswith(".avif")


def test_an_animation_stays_one_unless_another_format_is_asked_for() -> None:
    moving = original("a", 300, 200, format="gif", frames=12, alpha=True)
    snap = snapshot(pack_location("main", original=moving))
    both = frozenset({Format.AVIF, Format.WEBP})
    assert plan_of(snap, "") == "w300-h200-crop-center-e2.gif"
    assert plan_of(snap, "format=auto", both) == "w300-h200-crop-center-q80-e2.webp"
    assert plan_of(snap, "format=auto", frozenset({Format.AVIF})) == "w300-h200-crop-center-e2.gif"
    assert plan_of(snap, "format=png", both) == "w300-h200-crop-center.png"
    # Their frames are not shown, so they count as still images.
    for kind in ("png", "avif"):
        still = snapshot(pack_location("main", original=replace(moving, format=kind)))
        assert plan_of(still, "format=auto", both) == "w300-h200-crop-center-q50.avif"
        assert plan_of(still, "") == "w300-h200-crop-center.png"
    webp = snapshot(pack_location("main", original=replace(moving, format="webp")))
    assert plan_of(webp, "") == "w300-h200-crop-center-q80-e2.webp"
    assert {str(target.key.plan) for target in planned(snap, "main", limit=LIMIT)} == {
        "w300-h200-crop-center-q80-e2.webp",
        "w300-h200-crop-center-e2.gif",
    }


def test_the_key_of_an_animation_from_before_it_was_written_in_another_way_leads_to_its_successor() -> None:
    snap = snapshot(pack_location("main", original=original("a", 300, 200, format="gif", frames=12)))
    for format in (Format.GIF, Format.WEBP):
        target = resolve(snap, RequestForm(width=64), limit=LIMIT, format=format)
        older = replace(target.key, plan=replace(target.key.plan, encoding=1))
        assert older != target.key
        assert retarget(snap, older, limit=LIMIT) == target


def test_a_transparent_picture_in_jpeg_stands_on_white() -> None:
    assert (
        plan_of(snapshot(pack_location("main", original=original(alpha=True))), "format=jpeg&width=10")
        == "w10-h8-crop-center-bffffff-q80.jpg"
    )


def test_a_side_beyond_the_limit_is_refused() -> None:
    with pytest.raises(Invalid) as refusal:
        plan_of(snapshot(MAIN), "width=4097")
    assert (refusal.value.field, refusal.value.expected, refusal.value.got) == (("width",), "at most 4096", "4097")


def test_the_default_plan_is_the_location_at_1x_and_2x_in_three_formats() -> None:
    plans = {str(target.key.plan) for target in planned(snapshot(THUMB, MAIN), "thumb", limit=LIMIT)}
    assert plans == {
        f"w{w}-h{h}-crop-center-{kind}"
        for w, h in [(320, 180), (640, 360)]
        for kind in ("q50.avif", "q80.webp", "q80.jpg")
    }


def test_the_plan_has_no_duplicates_if_2x_exceeds_the_image() -> None:
    small = snapshot(THUMB, pack_location("main", original=original(width=320, height=180)))
    assert len(planned(small, "thumb", limit=LIMIT)) == 3


def test_the_plan_includes_the_stable_url_without_parameters() -> None:
    thumb = replace(THUMB, formats=(Format.AVIF,), renditions=(Rendition(100, None),))
    for policy in FormatPolicy:
        snap = snapshot(thumb, MAIN, tenant=replace(TENANT, format_policy=policy))
        keys = {target.key for target in planned(snap, "thumb", limit=LIMIT)}
        for accept in (frozenset[Format](), frozenset({Format.AVIF}), frozenset({Format.WEBP})):
            assert resolve(snap, RequestForm(location="thumb"), limit=LIMIT, accept=accept).key in keys


def test_a_location_without_an_image_plans_nothing() -> None:
    assert planned_all(snapshot(THUMB), limit=LIMIT) == ()


sides = st.one_of(st.none(), st.integers(1, 4096))
edges = st.floats(0, 0.4)
queries = st.builds(
    RequestForm,
    location=st.sampled_from(["thumb", "main", None]),
    width=sides,
    height=sides,
    resize_mode=st.one_of(st.none(), st.sampled_from(Mode)),
    resize_gravity=st.one_of(st.none(), st.sampled_from(Gravity)),
    skip_crop=st.one_of(st.none(), st.booleans()),
    location_ratio=st.one_of(st.none(), st.booleans()),
    format=st.one_of(st.none(), st.sampled_from(FormatChoice)),
    rounded_corners=st.one_of(st.none(), st.integers(0, 5000)),
    quality=st.one_of(st.none(), st.integers(0, 100), st.just(QualityChoice.AUTO)),
    blur=st.one_of(st.none(), st.decimals(0, 250, places=3)),
    background=st.one_of(st.none(), st.sampled_from(["ff0000", "00000000", "11223344", "445566ff"])),
    dpr=st.one_of(st.none(), st.decimals("0.5", "4", places=2)),
)
unit = st.floats(0, 1)
originals = st.builds(
    lambda *values: original("a", *values[:2], alpha=values[2], frames=values[3], quality=values[4]),
    st.integers(1, 6000),
    st.integers(1, 6000),
    st.booleans(),
    st.sampled_from([1, 5]),
    st.one_of(st.none(), st.integers(1, 100)),
)
snapshots = st.builds(
    lambda shown, crop, focus, up, tenant: snapshot(
        replace(THUMB, allow_upscale=up), pack_location("main", original=shown, crop=crop, focus=focus), tenant=tenant
    ),
    originals,
    st.one_of(st.none(), st.builds(lambda x, y: Crop(x, y, x + 0.5, y + 0.5), edges, edges)),
    st.one_of(st.none(), st.builds(Focus, unit, unit)),
    st.booleans(),
    st.sampled_from([TENANT, replace(TENANT, resize_gravity=Gravity.SMART, keep_credits=True)]),
)


@given(snapshots, queries)
def test_every_key_that_a_request_gives_can_be_made_from_the_key_alone(snap: Snapshot, form: RequestForm) -> None:
    target = resolve(snap, form, limit=LIMIT)
    assert len(str(target.key.plan)) <= 200
    again = retarget(snap, parse_key(str(target.key)), limit=LIMIT)
    assert again == target


@given(snapshots, queries)
def test_every_drawing_lies_within_the_original_and_the_output(snap: Snapshot, form: RequestForm) -> None:
    target = resolve(snap, form, limit=LIMIT)
    drawing, source = target.drawing, target.original
    assert drawing.box.left + drawing.box.width <= source.width
    assert drawing.box.top + drawing.box.height <= source.height
    assert drawing.placed.left + drawing.placed.width <= drawing.size.width
    assert drawing.placed.top + drawing.placed.height <= drawing.size.height
    assert min(*drawing.box.size, *drawing.placed.size) >= 1
    assert drawing.corner <= min(drawing.size) / 2
    assert drawing.format.has_alpha or not (drawing.corner or len(drawing.background or "") == 8)
    assert snap.locations[target.key.location].allow_upscale or not target.upscaled


def test_a_replaced_pictures_key_leads_to_its_successor() -> None:
    before = resolve(snapshot(THUMB, MAIN), RequestForm(location="thumb"), limit=LIMIT).key
    after = snapshot(THUMB, pack_location("main", original=original("b")))
    successor = retarget(after, before, limit=LIMIT)
    assert successor.key == resolve(after, RequestForm(location="thumb"), limit=LIMIT).key
    assert successor.key != before


def test_an_invented_plan_is_never_drawn() -> None:
    snap = snapshot(THUMB, MAIN)
    key = resolve(snap, RequestForm(location="thumb"), limit=LIMIT).key
    for made_up in (
        replace(key.plan, width=5000),
        replace(key.plan, width=4096, height=4096),
        replace(key.plan, background="ff0000"),
        replace(key.plan, full=True),
        replace(key.plan, mode=Mode.CLIP, width=320, height=100),
        replace(key.plan, blur=Decimal("1000.01")),
        replace(key.plan, format=Format.GIF, quality=None),
    ):
        with pytest.raises(NotFound):
            retarget(snap, replace(key, plan=made_up), limit=LIMIT)


live_forms = st.builds(
    LiveForm,
    image_id=st.just("film"),
    extension=st.sampled_from(sorted(EXTENSIONS)),
    size=st.builds(Size, st.integers(1, 4096), st.integers(1, 4096)),
    fit=st.sampled_from(sorted(FITS.values())),
    blur=st.booleans(),
    quality=st.integers(0, 100) | st.just(QualityChoice.AUTO),
)


def named(snap: Snapshot) -> Snapshot:
    """Give a snapshot's pack the id by which live URLs name it."""
    return replace(snap, pack=replace(snap.pack, external_id="film"))


@given(snapshots.map(named), live_forms)
def test_every_key_that_a_live_url_gives_can_be_made_from_the_key_alone(snap: Snapshot, form: LiveForm) -> None:
    target = resolve(snap, form.request, limit=LIMIT, upscale=True)
    assert retarget(snap, parse_key(str(target.key)), limit=LIMIT, live=True) == target


@given(snapshots, live_forms)
def test_a_live_url_gives_the_box_that_it_names_however_small_the_picture(snap: Snapshot, form: LiveForm) -> None:
    assert form.size is not None
    size = resolve(snap, form.request, limit=LIMIT, upscale=True).drawing.size
    if form.fit in (Mode.CROP, Mode.CANVAS):
        assert size == form.size
    elif form.fit is Mode.CLIP:
        assert size.width <= form.size.width
        assert size.height <= form.size.height
        assert size.width == form.size.width or size.height == form.size.height
    else:
        # The larger side, up to the limit of a variant.
        assert (size.width >= form.size.width and size.height >= form.size.height) or max(size) == 4096


def test_without_live_urls_no_key_enlarges() -> None:
    snap = named(snapshot(pack_location("main", original=original("a", 40, 30))))
    key = resolve(snap, parse_live_request("film_400_300.jpg", "").request, limit=LIMIT, upscale=True).key
    assert key.plan.width == 400
    assert retarget(snap, key, limit=LIMIT, live=True).key == key
    for nameless, live in ((snap, False), (replace(snap, pack=PACK), True)):
        with pytest.raises(NotFound):
            retarget(nameless, key, limit=LIMIT, live=live)


def test_a_key_enlarges_only_what_a_live_url_can_ask_for() -> None:
    snap = named(snapshot(THUMB, pack_location("main", original=original("a", 40, 30))))
    key = resolve(snap, parse_live_request("film_400_400.jpg", "fit=crop").request, limit=LIMIT, upscale=True).key
    for made_up in (
        replace(key, location="thumb"),
        replace(key, plan=replace(key.plan, gravity=Gravity.WEST)),
        replace(key, plan=replace(key.plan, mode=Mode.STRETCH)),
        replace(key, plan=replace(key.plan, mode=Mode.CANVAS, background="ff0000")),
        replace(key, plan=replace(key.plan, corner=5, format=Format.PNG, quality=None)),
        replace(key, plan=replace(key.plan, width=5000)),
    ):
        with pytest.raises(NotFound):
            retarget(snap, made_up, limit=LIMIT, live=True)


def test_a_replaced_enlargement_leads_to_one_of_the_same_shape() -> None:
    before, after = (named(snapshot(pack_location("main", original=original(digit, 40, 30)))) for digit in "ab")
    form = parse_live_request("film_400_300.jpg", "").request
    old, new = (resolve(snap, form, limit=LIMIT, upscale=True) for snap in (before, after))
    assert retarget(after, old.key, limit=LIMIT, live=True) == new


def test_the_key_of_a_large_picture_from_before_it_was_encoded_quickly_leads_to_its_successor() -> None:
    cutout = original("a", format="png", alpha=True)
    snap = snapshot(location("main", formats=(Format.GIF,)), pack_location("main", original=cutout))
    for format in (Format.AVIF, Format.WEBP, Format.GIF):
        target = resolve(snap, RequestForm(), limit=LIMIT, format=format)
        assert "-quick." in str(target.key.plan)
        assert target.drawing.quick
        older = replace(target.key, plan=replace(target.key.plan, quick=False))
        assert retarget(snap, older, limit=LIMIT) == target
        small = resolve(snap, RequestForm(width=640), limit=LIMIT, format=format)
        made_up = replace(small.key, plan=replace(small.key.plan, quick=True))
        assert retarget(snap, made_up, limit=LIMIT) == small
