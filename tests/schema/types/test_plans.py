"""Change plans over GraphQL: their figures, their samples, and their errors."""

from typing import Any

import pytest
from PIL import Image

from packshot.catalog.configuration.tenants import ensure_tenant
from packshot.catalog.variants.render_costs import read_costs
from packshot.geometry import Crop
from packshot.model import Format
from pregen.services.cost_recorder import record_costs
from resolvers import packs
from tests.schema.api import USER_ERRORS, Api
from tests.schema.request.test_statements import statements
from tests.support.pictures import photo
from tests.support.playground import TENANT

PLAN = f"""
mutation Plan($input: LocationInput!) {{
  planLocation(input: $input) {{
    plan {{ id name baseVersion requiresForce changes {{ field before after requiresForce }}
            packs render reuse upscaled cpuSeconds wallSeconds bytes purgeRequests expiresAt }}
    {USER_ERRORS}
  }}
}}"""
PUT = f"""
mutation Put($input: LocationInput!, $force: Boolean! = false, $planId: ID) {{
  putLocation(input: $input, force: $force, planId: $planId) {{
    location {{ name version label }} job {{ id }} plan {{ id }} {USER_ERRORS} }}
}}"""
LOCATIONS = "{ locations { nodes { name version label width height } } jobs { totalCount } }"
SAMPLES = f"""
mutation Plan($input: LocationInput!, $first: Int! = 4) {{
  planLocation(input: $input) {{
    plan {{ packs samples(first: $first) {{ pack {{ id }} before after }} }}
    {USER_ERRORS}
  }}
}}"""


def plan(api: Api, **values: Any) -> Any:
    return api.payload(PLAN, input=values)["plan"]


def samples(api: Api, first: int = 4, **values: Any) -> Any:
    return api.payload(SAMPLES, input=values, first=first)["plan"]["samples"]


def picture(api: Api, url: str) -> Image.Image:
    """Return the picture that is in the store under an immutable URL."""
    with api.playground.site.variants.as_file(url.removeprefix("http://test/i/")) as path, Image.open(path) as found:
        return found.copy()


def test_a_plan_says_what_differs_and_what_it_costs(api: Api) -> None:
    api.playground.location("thumb", width=64, height=36, fallback="main")
    for _ in range(3):
        api.playground.pack()
    api.playground.run_jobs()
    told = plan(api, name="thumb", width=80, height=45, label="Small", resizeGravity="NORTH", formats=["JPEG"])
    assert told["id"].startswith("plan:")
    assert (told["name"], told["baseVersion"], told["requiresForce"]) == ("thumb", 1, True)
    assert {
        change["field"]: (change["before"], change["after"], change["requiresForce"]) for change in told["changes"]
    } == {
        "label": (None, "Small", False),
        "width": ("64", "80", True),
        "height": ("36", "45", True),
        "resizeGravity": (None, "NORTH", True),
        "formats": (None, "JPEG", False),
    }
    # A JPEG at 1x and one at 2x of each pack; the bare URL means the first of them.
    assert (told["packs"], told["render"], told["reuse"], told["upscaled"]) == (3, 6, 0, 0)
    assert told["cpuSeconds"] >= told["wallSeconds"] > 0
    assert told["bytes"] > 0
    assert told["purgeRequests"] == 2


def test_planning_changes_nothing(api: Api) -> None:
    api.playground.location("thumb", width=64, height=36, fallback="main")
    api.playground.pack()
    before = api.data("{ locations { nodes { name version width } } jobs { totalCount } }")
    plan(api, name="thumb", width=80)
    plan(api, name="cover", width=80)
    assert api.data("{ locations { nodes { name version width } } jobs { totalCount } }") == before


def test_what_nobody_sees_needs_no_force(api: Api) -> None:
    api.playground.location("thumb", width=64, height=36)
    packs.create_pack(api.caller, {})
    assert not plan(api, name="thumb", width=80)["requiresForce"], "no pack shows anything"
    api.playground.pack(at="thumb")
    assert plan(api, name="thumb", width=80)["requiresForce"]
    assert not plan(api, name="thumb", label="Small", renditions=[{"width": 20}])["requiresForce"]
    fresh = plan(api, name="cover", width=300, fallback="thumb")
    assert (fresh["baseVersion"], fresh["requiresForce"], fresh["purgeRequests"]) == (None, False, 0)
    assert fresh["packs"] == 1
    assert {change["before"] for change in fresh["changes"]} == {None}


@pytest.mark.parametrize(
    ("input", "code", "field"),
    [
        ({"name": "Thumb", "width": 1}, "INVALID", ["input", "name"]),
        ({"name": "thumb", "width": 0}, "INVALID", ["input", "width"]),
        ({"name": "cover"}, "INVALID", ["input", "width"]),
        ({"name": "thumb", "fallback": "nowhere"}, "NOT_FOUND", ["input", "fallback"]),
        ({"name": "thumb", "fallback": "thumb"}, "CYCLE", ["input", "fallback"]),
        ({"name": "thumb", "renditions": []}, "INVALID", ["input", "renditions"]),
    ],
)
def test_what_could_not_be_put_cannot_be_planned(api: Api, input: Any, code: str, field: list[str]) -> None:
    api.playground.location("thumb", width=64, height=36)
    error = api.refusal(PLAN, input=input)
    assert (error["code"], error["field"]) == (code, field)


def test_samples_show_packs_before_and_after_the_change(api: Api) -> None:
    playground = api.playground
    playground.location("thumb", width=60, height=60, fallback="main")
    wide, tall = playground.pack(picture=photo(300, 200)), playground.pack(picture=photo(200, 300))
    cropped = playground.pack(picture=photo(300, 200))
    packs.set_crop(playground.caller, cropped, "main", Crop(0.0, 0.0, 0.5, 1.0))
    found = samples(api, name="thumb", width=90, height=45)
    # Of each kind one, the last modified first; nothing was rendered before.
    assert [sample["pack"]["id"] for sample in found] == [cropped, tall, wide]
    for sample in found:
        live = playground.target(sample["pack"]["id"], "location=thumb")
        assert sample["before"] == f"http://test/i/{live.key}"
        assert picture(api, sample["before"]).size == (60, 60)
        assert picture(api, sample["after"]).size == (90, 45)
    # What was drawn for a sample need not be drawn again.
    rendered = plan(api, name="thumb", width=90, height=45)
    assert (rendered["reuse"], rendered["render"]) == (3, 15)


def test_a_sample_of_a_new_location_has_no_before(api: Api) -> None:
    api.playground.pack()
    (sample,) = samples(api, name="cover", width=50, height=50)
    assert sample["before"] is None
    assert picture(api, sample["after"]).size == (50, 50)


def test_a_pack_that_cannot_be_rendered_is_no_sample(api: Api) -> None:
    good, broken = api.playground.pack(picture=photo(300, 200)), api.playground.pack(picture=photo(200, 300))
    original = api.playground.snapshot(broken).pack_locations["main"].original
    assert original is not None
    api.playground.site.originals.delete(f"{TENANT}/{original.sha256}")
    assert [sample["pack"]["id"] for sample in samples(api, name="main", width=50)] == [good]


def test_there_are_so_many_samples_and_no_more(api: Api) -> None:
    for height in range(5):
        api.playground.pack(picture=photo(60, 40 + height))
    assert len(samples(api, 2, name="main", width=20)) == 2
    assert len(samples(api, 16, name="main", width=20)) == 5
    for first in (0, 17):
        error = api.error(SAMPLES, input={"name": "main", "width": 20}, first=first)
        assert error["extensions"]["code"] == "LIMIT"
        assert error["extensions"]["expected"] == "1 to 16"


def test_a_plan_costs_as_many_statements_for_fifty_packs_as_for_one(api: Api) -> None:
    def fill(count: int) -> None:
        for number in range(count):
            api.playground.pack(picture=photo(30, 20 + number % 7))

    fill(1)
    catalog = api.playground.site.catalog
    with statements(catalog) as one:
        plan(api, name="main", width=20)
    fill(49)
    with statements(catalog) as fifty:
        assert plan(api, name="main", width=20)["packs"] == 50
    assert len(fifty) == len(one) <= 16


def test_a_plan_is_of_the_tenant_that_asks(api: Api) -> None:
    api.playground.pack()
    with api.playground.site.catalog.write("other") as tx:
        ensure_tenant(tx)
    api.caller = api.caller.__class__(api.caller.site, api.caller.doorbell, "other", "tester", "http://test")
    assert plan(api, name="main", width=20)["packs"] == 0
    assert samples(api, name="main", width=20) == []


def test_what_rendering_took_is_learnt(api: Api) -> None:
    playground = api.playground
    # Another picture for each database: what a render process decoded last costs it nothing.
    playground.pack(picture=photo(300, 200, seed=11 if playground.site.catalog.is_sqlite else 12))
    playground.run_jobs()
    record_costs(playground.site)
    with playground.site.catalog.read(TENANT) as tx:
        rates = read_costs(tx)
    kinds = {kind for kind, _ in rates.measured}
    assert kinds == {"avif", "webp", "jpeg", "decoding"}
    assert all(found.seconds > 0 and found.megapixels > 0 for found in rates.measured.values())
    seconds, size = rates.variant(Format.JPEG, 60_000)
    measured = rates.measured["jpeg", 1]
    assert (seconds, size) == pytest.approx(
        (measured.seconds / measured.megapixels * 0.06, measured.bytes / measured.megapixels * 0.06)
    )


FREE = [
    ({"label": "Small"}, {"label": "Tiny"}),
    ({"renditions": [{"width": 20}]}, {"renditions": [{"width": 30}]}),
    ({"formats": ["JPEG"]}, {"formats": ["JPEG", "WEBP"]}),
    # What is so already.
    ({"width": 64}, {"label": "Small"}),
]


@pytest.mark.parametrize(("planned", "other"), FREE)
def test_what_needs_no_force_is_bound_to_its_plan_too(api: Api, planned: Any, other: Any) -> None:
    api.playground.location("thumb", width=64, height=36)
    api.playground.pack(at="thumb")
    seen = plan(api, name="thumb", **planned)
    assert not seen["requiresForce"]
    before = api.data(LOCATIONS)
    for values, plan_id in [
        (planned, "plan:garbage"),
        (planned, ""),
        (other, seen["id"]),
        (planned, plan(api, name="main", **planned)["id"]),
    ]:
        error = api.refusal(PUT, input={"name": "thumb", **values}, planId=plan_id)
        assert (error["code"], error["field"]) == ("PLAN_STALE", ["planId"])
    assert api.data(LOCATIONS) == before
    put = api.payload(PUT, input={"name": "thumb", **planned}, planId=seen["id"])
    assert put["location"]["version"] == (1 if "width" in planned else 2)


def test_a_location_is_created_as_it_was_planned_or_not_at_all(api: Api) -> None:
    api.playground.pack()
    seen = plan(api, name="cover", width=50, height=50)
    before = api.data(LOCATIONS)
    attempts: list[tuple[dict[str, Any], str]] = [
        ({"width": 70, "height": 50}, seen["id"]),
        ({"width": 50, "height": 50, "fallback": "main"}, seen["id"]),
        ({"width": 50, "height": 50}, "plan:garbage"),
        ({"width": 50, "height": 50}, plan(api, name="poster", width=50, height=50)["id"]),
    ]
    for values, plan_id in attempts:
        error = api.refusal(PUT, input={"name": "cover", **values}, planId=plan_id)
        assert (error["code"], error["field"]) == ("PLAN_STALE", ["planId"])
    assert api.data(LOCATIONS) == before
    assert api.payload(PUT, input={"name": "cover", "width": 50, "height": 50}, planId=seen["id"])["job"] is not None
    error = api.refusal(PUT, input={"name": "cover", "width": 50, "height": 50}, planId=seen["id"])
    assert error["code"] == "PLAN_STALE", "it was planned as a new one"
    again = plan(api, name="cover", width=50, height=50)
    assert (again["baseVersion"], again["changes"]) == (1, [])
    put = api.payload(PUT, input={"name": "cover", "width": 50, "height": 50}, planId=again["id"])
    assert (put["location"]["version"], put["job"]) == (1, None)


def test_what_is_under_way_already_can_be_put_once_more_with_a_plan_of_it(api: Api) -> None:
    api.playground.location("thumb", width=64, height=36)
    api.playground.pack(at="thumb")
    wanted = {"name": "thumb", "width": 80}
    first = plan(api, **wanted)["id"]
    job = api.payload(PUT, input=wanted, force=True, planId=first)["job"]
    assert api.refusal(PUT, input=wanted, force=True, planId=first)["code"] == "PLAN_STALE"
    again = plan(api, **wanted)["id"]
    assert api.payload(PUT, input=wanted, planId=again)["job"] == job
    labelled = plan(api, name="thumb", label="Small")["id"]
    assert api.refusal(PUT, input={"name": "thumb", "label": "Tiny"}, planId=labelled)["code"] == "PLAN_STALE"
