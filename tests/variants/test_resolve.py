"""Which picture a request means: fallback, crop, policy, format and size, as the contract says."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from packshot.errors import Invalid, NotFound
from packshot.geometry import Crop, Gravity, Mode, Size
from packshot.model import Focus, Format, FormatPolicy, IncludeAll, Rendition
from packshot.variants.key import parse_key
from packshot.variants.request import FormatChoice, RequestForm, parse_request
from packshot.variants.resolve import planned, planned_all, policy_for, resolve, retarget, shown_at, source_of
from tests.variants.samples import PACK, TENANT, location, original, slot, snapshot

LIMIT = Size(4096, 4096)
THUMB = location("thumb", width=320, height=180, fallback="main")
MAIN = slot("main", original=original("a"))


def plan_of(snap: object, query: str, accept: frozenset[Format] = frozenset()) -> str:
    return str(resolve(snap, parse_request(query), limit=LIMIT, accept=accept).key.plan)  # type: ignore[arg-type]


def test_a_location_shows_its_own_original_first() -> None:
    snap = snapshot(THUMB, MAIN, slot("thumb", original=original("b")))
    assert source_of(snap, "thumb") == ("thumb", ("thumb",))


def test_then_its_fallback_chain_then_the_main_location() -> None:
    snap = snapshot(THUMB, location("cover", fallback="thumb"), location("alone"), MAIN)
    assert source_of(snap, "cover") == ("main", ("cover", "thumb", "main"))
    assert source_of(snap, "alone") == ("main", ("alone", "main"))


def test_a_pack_can_name_another_main_location() -> None:
    snap = snapshot(
        location("hero"),
        location("alone"),
        slot("hero", original=original("b")),
        pack=replace(PACK, main_location="hero"),
    )
    assert source_of(snap, "alone") == ("hero", ("alone", "hero"))
    assert resolve(snap, RequestForm(), limit=LIMIT).source == "hero"


def test_a_fallback_cycle_that_slipped_in_ends() -> None:
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
    source = slot("main", original=original("a"), crop=crop, focus=Focus(0.2, 0.2))
    inherited = shown_at(snapshot(THUMB, source), "thumb")
    assert inherited is not None
    assert (inherited.crop, inherited.focus) == (crop, Focus(0.2, 0.2))
    cropped = shown_at(snapshot(THUMB, source, slot("thumb", crop=own)), "thumb")
    assert cropped is not None
    assert (cropped.crop, cropped.focus) == (own, Focus(0.2, 0.2))


def test_the_full_rectangle_says_no_crop_although_the_source_has_one() -> None:
    source = slot("main", original=original("a"), crop=Crop(0.1, 0.1, 0.9, 0.9))
    full = shown_at(snapshot(THUMB, source, slot("thumb", crop=Crop(0, 0, 1, 1))), "thumb")
    plain = shown_at(snapshot(THUMB, MAIN), "thumb")
    assert full is not None
    assert plain is not None
    assert full.fingerprint == plain.fingerprint


def test_policy_comes_from_the_first_that_says_anything() -> None:
    everything = (
        location("thumb", width=320, height=180, resize_gravity=Gravity.EAST, include_all=IncludeAll.TRUE),
        slot("thumb", resize_gravity=Gravity.NORTH, include_all=IncludeAll.FALSE),
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
        slot("main", original=original("a", 4000, 1000)),
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
def test_equal_meaning_is_one_plan_however_it_is_asked(query: str) -> None:
    assert plan_of(snapshot(THUMB, MAIN), query) == "w320-h180-crop-center-q80.jpg"


def test_gravity_is_spelled_only_where_it_changes_the_picture() -> None:
    wide = snapshot(location("thumb", width=200, height=100), slot("main", original=original("a", 4000, 2000)))
    assert plan_of(wide, "location=thumb&resize-gravity=north") == plan_of(wide, "location=thumb")
    assert plan_of(wide, "location=thumb&width=200&height=200&resize-gravity=east") == "w200-h200-crop-east-q80.jpg"
    # In a full-width crop only north and south differ.
    assert plan_of(wide, "location=thumb&width=200&height=50&resize-gravity=east") == "w200-h50-crop-center-q80.jpg"


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
    ],
)
def test_the_format_follows_original_request_and_mode(kind: str, alpha: bool, query: str, extension: str) -> None:
    snap = snapshot(slot("main", original=original("a", format=kind, alpha=alpha)))
    assert plan_of(snap, query).rpartition(".")[2] == extension


def test_auto_gives_the_best_that_is_accepted() -> None:
    snap = snapshot(MAIN)
    both = frozenset({Format.AVIF, Format.WEBP})
    assert plan_of(snap, "format=auto", both).endswith("-q50.avif")
    assert plan_of(snap, "format=auto", frozenset({Format.WEBP})).endswith("-q80.webp")
    assert plan_of(snap, "format=webp", both).endswith(".webp")
    assert plan_of(snapshot(MAIN, tenant=replace(TENANT, format_policy=FormatPolicy.AUTO)), "", both).endswith(".avif")


def test_a_transparent_picture_in_jpeg_stands_on_white() -> None:
    assert (
        plan_of(snapshot(slot("main", original=original(alpha=True))), "format=jpeg&width=10")
        == "w10-h8-crop-center-bffffff-q80.jpg"
    )


def test_a_side_beyond_the_limit_is_refused() -> None:
    with pytest.raises(Invalid) as refusal:
        plan_of(snapshot(MAIN), "width=4097")
    assert (refusal.value.field, refusal.value.expected, refusal.value.got) == (("width",), "at most 4096", "4097")


def test_what_is_planned_is_the_location_at_one_and_two_x_in_three_formats() -> None:
    plans = {str(target.key.plan) for target in planned(snapshot(THUMB, MAIN), "thumb", limit=LIMIT)}
    assert plans == {
        f"w{w}-h{h}-crop-center-{kind}"
        for w, h in [(320, 180), (640, 360)]
        for kind in ("q50.avif", "q80.webp", "q80.jpg")
    }


def test_what_is_planned_has_no_doubles_where_2x_cannot_be_had() -> None:
    small = snapshot(THUMB, slot("main", original=original(width=320, height=180)))
    assert len(planned(small, "thumb", limit=LIMIT)) == 3


def test_what_is_planned_holds_what_the_bare_stable_url_gives() -> None:
    thumb = replace(THUMB, formats=(Format.AVIF,), renditions=(Rendition(100, None),))
    for policy in FormatPolicy:
        snap = snapshot(thumb, MAIN, tenant=replace(TENANT, format_policy=policy))
        keys = {target.key for target in planned(snap, "thumb", limit=LIMIT)}
        for accept in (frozenset[Format](), frozenset({Format.AVIF}), frozenset({Format.WEBP})):
            assert resolve(snap, RequestForm(location="thumb"), limit=LIMIT, accept=accept).key in keys


def test_nothing_is_planned_where_there_is_nothing_to_show() -> None:
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
    quality=st.one_of(st.none(), st.integers(0, 100)),
    dpr=st.one_of(st.none(), st.decimals("0.5", "4", places=2)),
)
snapshots = st.builds(
    lambda width, height, alpha, crop, up: snapshot(
        replace(THUMB, allow_upscale=up), slot("main", original=original("a", width, height, alpha=alpha), crop=crop)
    ),
    st.integers(1, 6000),
    st.integers(1, 6000),
    st.booleans(),
    st.one_of(st.none(), st.builds(lambda x, y: Crop(x, y, x + 0.5, y + 0.5), edges, edges)),
    st.booleans(),
)


@given(snapshots, queries)
def test_every_key_that_a_request_gives_can_be_made_from_the_key_alone(snap: object, form: RequestForm) -> None:
    target = resolve(snap, form, limit=LIMIT)  # type: ignore[arg-type]
    again = retarget(snap, parse_key(str(target.key)), limit=LIMIT)  # type: ignore[arg-type]
    assert again == target


@given(snapshots, queries)
def test_what_is_drawn_lies_on_the_original_and_in_the_output(snap: object, form: RequestForm) -> None:
    drawing = resolve(snap, form, limit=LIMIT).drawing  # type: ignore[arg-type]
    source = snap.slots["main"].original  # type: ignore[attr-defined]
    assert drawing.box.left + drawing.box.width <= source.width
    assert drawing.box.top + drawing.box.height <= source.height
    assert drawing.placed.left + drawing.placed.width <= drawing.size.width
    assert drawing.placed.top + drawing.placed.height <= drawing.size.height
    assert min(*drawing.box.size, *drawing.placed.size) >= 1


def test_a_replaced_pictures_key_leads_to_its_successor() -> None:
    before = resolve(snapshot(THUMB, MAIN), RequestForm(location="thumb"), limit=LIMIT).key
    after = snapshot(THUMB, slot("main", original=original("b")))
    successor = retarget(after, before, limit=LIMIT)
    assert successor.key == resolve(after, RequestForm(location="thumb"), limit=LIMIT).key
    assert successor.key != before


def test_a_made_up_plan_is_never_drawn() -> None:
    snap = snapshot(THUMB, MAIN)
    key = resolve(snap, RequestForm(location="thumb"), limit=LIMIT).key
    for made_up in (
        replace(key.plan, width=5000),
        replace(key.plan, width=4096, height=4096),
        replace(key.plan, background="ff0000"),
        replace(key.plan, full=True),
        replace(key.plan, mode=Mode.CLIP, width=320, height=100),
    ):
        with pytest.raises(NotFound):
            retarget(snap, replace(key, plan=made_up), limit=LIMIT)
