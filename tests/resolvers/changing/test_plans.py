"""A plan says exactly what a change would do, as a walk over every pack finds it."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
import sqlalchemy as sa

from packshot.catalog.configuration.tenants import ensure_tenant
from packshot.catalog.packs import packs as rows
from packshot.catalog.tables.artwork import packs as packs_table
from packshot.catalog.variants.ledger import VariantState
from packshot.errors import PlanStale
from packshot.geometry import Crop, Gravity
from packshot.model import Focus, Format, FormatPolicy, IncludeAll, Location, Rendition, Snapshot
from packshot.variants.change import Change, under
from packshot.variants.change_plan import ChangePlan
from packshot.variants.request import RequestForm
from packshot.variants.resolve import Target, planned, resolve, shown_at
from resolvers import packs
from resolvers.changing import plans
from resolvers.changing.configuration import read_configuration
from resolvers.changing.plan_ids import basis_of, check_basis, read_plan_id
from resolvers.changing.plans import plan_change, plan_location
from resolvers.packs import PackLocationPatch
from tests.support.pictures import animated, cutout, photo, png
from tests.support.playground import TENANT, Playground

# What a person might do to `thumb`, `card` or the tenant.
CHANGES: list[tuple[str, dict[str, Any]]] = [
    ("thumb", {"width": 64, "height": 36}),
    ("thumb", {"width": 300, "height": 300, "allow_upscale": True}),
    ("thumb", {"resize_gravity": Gravity.NORTH}),
    ("thumb", {"resize_gravity": Gravity.FOCUS}),
    ("thumb", {"include_all": IncludeAll.TRUE}),
    ("thumb", {"fallback": "poster"}),
    ("thumb", {"fallback": None}),
    ("card", {"fallback": None}),
    ("card", {"fallback": "poster"}),
    ("card", {"renditions": (Rendition(48, None), Rendition(90, 60, 2.0))}),
    ("card", {"formats": (Format.JPEG,)}),
    ("card", {"label": "Card"}),
    ("card", {}),
    ("main", {"width": 50}),
    ("fresh", {"width": 40, "height": 40, "fallback": "thumb"}),
]


def zoo(playground: Playground) -> list[str]:
    """Fill an installation with packs of many kinds, render them, and return their ids."""
    playground.location("poster", width=40, height=60)
    playground.location("thumb", width=64, height=36, fallback="main")
    playground.location("card", width=60, height=60, fallback="thumb")
    caller = playground.caller
    plain = [playground.pack(picture=photo(300, 200)) for _ in range(3)]
    tiny = playground.pack(picture=photo(30, 20))
    cut = playground.pack(picture=png(cutout(200, 150)))
    moving = playground.pack(picture=animated("GIF"))
    own = playground.pack(picture=photo(300, 200))
    playground.show(own, "thumb", photo(160, 90, seed=2))
    elsewhere = playground.pack(picture=photo(120, 180, seed=3), at="poster", main_location="poster")
    nowhere = packs.create_pack(caller, {}).pack.id
    hidden = playground.pack(picture=photo(120, 180, seed=3), at="poster")
    twin = playground.pack(picture=photo(300, 200))
    playground.show(twin, "card", photo(300, 200))
    playground.run_jobs()
    # What was rendered by the size before is there still; of packs that are edited from now on, of no use.
    playground.location("thumb", width=80, height=45)
    playground.run_jobs()
    packs.set_crop(caller, plain[1], "main", Crop(0.1, 0.0, 0.9, 0.5))
    packs.set_crop(caller, plain[2], "thumb", Crop(0.0, 0.0, 1.0, 1.0))
    packs.edit_pack_location(caller, cut, PackLocationPatch("thumb", {"focus": Focus(0.9, 0.1)}))
    packs.edit_pack_location(caller, own, PackLocationPatch("thumb", {"resize_gravity": Gravity.SOUTH}))
    packs.update_pack(caller, tiny, {"include_all": IncludeAll.TRUE, "resize_gravity": Gravity.EAST})
    playground.run_jobs()
    return [*plain, tiny, cut, moving, own, elsewhere, nowhere, hidden, twin]


def walked(playground: Playground, pack_ids: list[str], change: Change, fresh: Location | None = None) -> Any:
    """Count pack by pack what a change does: packs, render, reuse, upscaled."""
    packs = render = reuse = upscaled = 0
    for pack_id in pack_ids:
        live = playground.snapshot(pack_id)
        then = under(live, change)
        if fresh is not None:
            then = replace(then, locations={**then.locations, fresh.name: fresh})
        ready = {key for key, entry in playground.entries(pack_id).items() if entry.state is VariantState.READY}
        changes = False
        for name in then.locations:
            was, will = wanted(playground, live, name), wanted(playground, then, name)
            new = will.keys() - was.keys()
            if not new and bare(playground, live, name) == bare(playground, then, name):
                continue
            changes = True
            render += len(new - ready)
            reuse += len(new & ready)
            upscaled += any(target.upscaled for target in will.values())
        packs += changes
    return packs, render, reuse, upscaled


def wanted(playground: Playground, snapshot: Snapshot, name: str) -> Mapping[str, Target]:
    return {str(target.key): target for target in planned(snapshot, name, limit=playground.site.limit)}


def bare(playground: Playground, snapshot: Snapshot, name: str) -> str | None:
    if name not in snapshot.locations or shown_at(snapshot, name) is None:
        return None
    return str(resolve(snapshot, RequestForm(location=name), limit=playground.site.limit).key)


def figures(plan: ChangePlan) -> tuple[int, int, int, int]:
    return plan.packs, plan.render, plan.reuse, plan.upscaled


def test_a_plan_agrees_with_a_walk_over_every_pack(playground: Playground) -> None:
    pack_ids = zoo(playground)
    seen = []
    for name, values in CHANGES:
        fresh = None
        if name == "fresh":
            defaults = replace(playground.snapshot(pack_ids[0]).locations["poster"], name="fresh", version=0)
            fresh = replace(defaults, **values)
        change = Change(locations={} if fresh else {name: values})
        plan = plan_location(playground.caller, name, values)
        assert figures(plan) == walked(playground, pack_ids, change, fresh), (name, values)
        seen.append(figures(plan))
    assert sum(bool(packs) for packs, *_ in seen) > 9, "most of these changes do something"
    assert sum(bool(reuse) for _, _, reuse, _ in seen) > 0
    assert any(upscaled for *_, upscaled in seen)
    for values in (
        {"resize_gravity": Gravity.WEST},
        {"include_all": True},
        {"keep_credits": True},
        {"format_policy": FormatPolicy.AUTO},
        {"format_policy": FormatPolicy.WEBP},
    ):
        change = Change(tenant=values)
        with playground.site.catalog.read(TENANT) as tx:
            plan = plan_change(playground.site, tx, read_configuration(tx), change, None)
        assert plan.requires_force
        assert figures(plan) == walked(playground, pack_ids, change), values


def checked(playground: Playground, plan_id: str, change: Change, *, tenant: str = TENANT, name: str = "thumb") -> None:
    with playground.site.catalog.read(tenant) as tx:
        seen = read_plan_id(playground.site, tx, plan_id)
        check_basis(seen, basis_of(read_configuration(tx), change, name), name)


def test_a_plan_holds_for_what_was_planned_and_as_long_as_nothing_else_changes(playground: Playground) -> None:
    playground.location("thumb", width=80, height=45, fallback="main")
    with playground.site.catalog.write("other") as tx:
        ensure_tenant(tx)
    plan = plan_location(playground.caller, "thumb", {"width": 64, "renditions": (Rendition(48, None),)})
    change = Change(locations={"thumb": {"width": 64, "renditions": (Rendition(48, None),)}})
    checked(playground, plan.id, change)
    said_again = {**change.locations["thumb"], "height": 45, "fallback": "main"}
    checked(playground, plan.id, Change(locations={"thumb": said_again}))
    for other, complaint in (
        (Change(locations={"thumb": {"width": 65, "renditions": (Rendition(48, None),)}}), "another change"),
        (Change(locations={"thumb": {"width": 64}}), "another change"),
        (replace(change, tenant={"include_all": True}), "another change"),
        (replace(change, refreshed=frozenset({"thumb"})), "another change"),
    ):
        with pytest.raises(PlanStale, match=complaint):
            checked(playground, plan.id, other)
    with pytest.raises(PlanStale, match="another change"):
        checked(playground, plan.id, change, name="main")
    with pytest.raises(PlanStale, match="has not made that"):
        checked(playground, plan.id, change, tenant="other")
    playground.pack()
    checked(playground, plan.id, change)
    # Any change of the configuration ends a plan, even a new label.
    playground.location("main", label="Main")
    with pytest.raises(PlanStale, match="has changed since") as refusal:
        checked(playground, plan.id, change)
    assert (refusal.value.field, refusal.value.expected) == (
        ("plan_id",),
        "a plan of the current configuration",
    )


def test_a_plan_ends_after_an_hour(playground: Playground, monkeypatch: pytest.MonkeyPatch) -> None:
    change = Change(locations={"main": {"width": 64}})
    plan = plan_location(playground.caller, "main", {"width": 64})
    with playground.site.catalog.read(TENANT) as tx:
        assert timedelta(minutes=59) < plan.expires_at - tx.now <= timedelta(hours=1)
    monkeypatch.setattr(plans, "LIFETIME", timedelta(0))
    ended = plan_location(playground.caller, "main", {"width": 64})
    with pytest.raises(PlanStale, match="expired") as refusal:
        checked(playground, ended.id, change, name="main")
    assert refusal.value.expected == "a plan of the last hour"
    # No edit extends it.
    later = plan.id.replace("plan:1", "plan:2", 1)
    for forged in (later, plan.id[:-1], "plan:", "plan:1-2-3-4", "plan:x-2-3-4", "job:1", ""):
        with pytest.raises(PlanStale, match=r"has not made that|not the id of a plan"):
            checked(playground, forged, change, name="main")


def test_of_more_shapes_than_are_counted_the_rest_is_told_from_a_sample(
    playground: Playground, monkeypatch: pytest.MonkeyPatch
) -> None:
    playground.location("thumb", width=20, height=20, fallback="main")
    original = playground.snapshot(playground.pack(picture=photo(60, 40))).pack_locations["main"].original
    assert original is not None
    shown = {"original_sha256": original.sha256}
    for number in range(300):
        pack_id = packs.create_pack(playground.caller, {}).pack.id
        # Half of them have a crop like no other's, and every tenth has nothing to show.
        crop = {"crop_left": number / 1000, "crop_top": 0.0, "crop_right": 0.9, "crop_bottom": 0.9}
        if number % 10:
            with playground.site.catalog.write(TENANT) as tx:
                rows.set_pack_location(tx, pack_id, "main", shown | (crop if number % 2 else {}))
    monkeypatch.setattr(plans, "_MAX_PACK_LOCATIONS", 64)
    monkeypatch.setattr(plans, "_MIN_SHAPES", 64)
    plan = plan_location(playground.caller, "thumb", {"width": 30, "height": 30})
    assert plan.packs == pytest.approx(271, rel=0.1)
    assert plan.render == pytest.approx(271 * 3, rel=0.1)


def test_an_edit_by_an_earlier_release_is_planned_as_it_is(playground: Playground) -> None:
    playground.location("thumb", width=20, height=20)
    pack_ids = [playground.pack(picture=photo(60, 40)) for _ in range(3)]
    assert plan_location(playground.caller, "thumb", {"width": 30}).packs == 3
    with playground.site.catalog.write(TENANT) as tx:
        # It knows no shapes, but moves the version with every edit.
        here = (packs_table.c.tenant_id == TENANT, packs_table.c.id == pack_ids[0])
        values = {"version": packs_table.c.version + 1, "main_location": "thumb"}
        tx.connection.execute(sa.update(packs_table).where(*here).values(**values))
    assert plan_location(playground.caller, "thumb", {"width": 30}).packs == 2
