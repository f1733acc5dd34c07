"""Edits of packs, pack locations and locations: absent fields stay, and null clears a field."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import sqlalchemy as sa

from packshot.catalog.tables.artwork import pack_locations
from packshot.catalog.work.jobs import JobState
from packshot.catalog.work.orders import Priority
from packshot.geometry import Crop
from pregen.refreshing.refresh import refresh_packs
from resolvers import jobs as job_resolvers
from tests.schema.api import USER_ERRORS, Api, crop
from tests.support.pictures import jpeg, photo
from tests.support.playground import TENANT, Playground

UPDATE_PACK = f"""mutation Update($id: ID!, $input: PackInput!, $expectedVersion: Int) {{
  updatePack(id: $id, input: $input, expectedVersion: $expectedVersion) {{
    pack {{ id version assetId externalId mainLocation resizeGravity useResizeIncludeAll }} job {{ id }} {USER_ERRORS}
  }} }}"""
DELETE_PACK = f"""mutation Delete($id: ID!, $expectedVersion: Int) {{
  deletePack(id: $id, expectedVersion: $expectedVersion) {{ deletedId {USER_ERRORS} }} }}"""
EDIT = f"""mutation Edit($pack: ID!, $location: String!, $input: PackLocationInput!, $expectedVersion: Int) {{
  updatePackLocation(packId: $pack, location: $location, input: $input, expectedVersion: $expectedVersion) {{
    packLocation {{ {{FIELDS}} }} pack {{ version }} job {{ id }} {USER_ERRORS} }} }}""".replace(
    "{FIELDS}",
    "crop { topLeftX bottomRightX } focus { x y } resizeGravity useResizeIncludeAll effective { resizeGravityFrom }",
)
EDITS = f"""mutation Edits($pack: ID!, $inputs: [PackLocationPatch!]!) {{
  updatePackLocations(packId: $pack, inputs: $inputs) {{
    pack {{ version locations {{ name crop {{ topLeftX }} focus {{ x }} }} }} job {{ id }} {USER_ERRORS} }} }}"""
REMOVE = f"""mutation Remove($pack: ID!, $location: String!) {{
  removeOriginal(packId: $pack, location: $location) {{
    packLocation {{ original {{ sha256 }} source crop {{ topLeftX }} }} job {{ id }} {USER_ERRORS} }} }}"""
DELETE_LOCATION = f"""mutation Drop($name: String!, $force: Boolean! = false, $expectedVersion: Int) {{
  deleteLocation(name: $name, force: $force, expectedVersion: $expectedVersion) {{
    deletedId deletedName job {{ id kind }} {USER_ERRORS} }} }}"""
ADD = f"""mutation Add($location: String!, $rendition: RenditionInput!) {{
  addRendition(location: $location, rendition: $rendition) {{
    location {{ version renditions {{ width height dpr }} }} job {{ id }} {USER_ERRORS} }} }}"""
PACK = "query($id: ID!) { pack(by: {id: $id}) { id version locations { name source currentUrl } } }"
LISTED = "query($filter: PackFilter) { packs(filter: $filter) { nodes { id } totalCount } }"


TENANT_UPDATE = f"""mutation Tenant($input: TenantInput!, $expectedVersion: Int) {{
  updateTenant(input: $input, force: true, expectedVersion: $expectedVersion) {{
    tenant {{ version resizeGravity useResizeIncludeAll formatPolicy keepCredits }} job {{ id }} {USER_ERRORS} }} }}"""


def ids(api: Api, **filter: Any) -> set[str]:
    return {node["id"] for node in api.data(LISTED, filter=filter)["packs"]["nodes"]}


def test_an_update_of_a_pack_changes_only_the_given_fields(api: Api, playground: Playground) -> None:
    playground.location("cover", width=20, height=30)
    pack_id = playground.pack(asset_id=7, external_id="a")
    changed = api.payload(UPDATE_PACK, id=pack_id, input={"mainLocation": "cover", "resizeGravity": "NORTH"})
    assert changed["pack"]["mainLocation"] == "cover"
    assert (changed["pack"]["assetId"], changed["pack"]["externalId"]) == (7, "a")
    assert changed["job"] is not None
    cleared = api.payload(UPDATE_PACK, id=pack_id, input={"externalId": None, "mainLocation": None})
    assert (cleared["pack"]["externalId"], cleared["pack"]["mainLocation"]) == (None, None)
    assert cleared["pack"]["resizeGravity"] == "NORTH"
    renamed = api.payload(UPDATE_PACK, id=pack_id, input={"assetId": 8})
    assert renamed["job"] is None, "no variant changes"


def test_an_update_of_a_pack_refuses_ids_in_use_and_unknown_locations(api: Api, playground: Playground) -> None:
    other, pack_id = playground.pack(asset_id=7), playground.pack()
    taken = api.refusal(UPDATE_PACK, id=pack_id, input={"assetId": 7})
    assert (taken["code"], taken["field"], taken["existing"]["id"]) == ("TAKEN", ["input", "assetId"], other)
    api.payload(UPDATE_PACK, id=other, input={"assetId": 7})
    missing = api.refusal(UPDATE_PACK, id=pack_id, input={"mainLocation": "nowhere"})
    assert (missing["code"], missing["field"]) == ("NOT_FOUND", ["input", "mainLocation"])
    stale = api.refusal(UPDATE_PACK, id=pack_id, input={}, expectedVersion=1)
    assert (stale["code"], stale["field"], stale["current"]["id"]) == ("VERSION_CONFLICT", ["expectedVersion"], pack_id)
    unknown = api.refusal(UPDATE_PACK, id="0" * 24, input={})
    assert unknown["code"] == "NOT_FOUND"


def test_a_deleted_pack_is_gone_and_no_job_waits_for_it(api: Api, playground: Playground) -> None:
    pack_id, other = playground.pack(picture=photo(20, 10)), playground.pack(picture=photo(20, 10, seed=2))
    job = job_resolvers.regenerate_packs(playground.caller, [pack_id, other], Priority.BULK)
    stale = api.refusal(DELETE_PACK, id=pack_id, expectedVersion=99)
    assert stale["code"] == "VERSION_CONFLICT"
    assert api.payload(DELETE_PACK, id=pack_id)["deletedId"] == pack_id
    assert api.data(PACK, id=pack_id)["pack"] is None
    assert api.refusal(DELETE_PACK, id=pack_id)["code"] == "NOT_FOUND"
    playground.run_jobs()
    ended = playground.job(job)
    assert (ended.state, ended.done, ended.total) == (JobState.SUCCEEDED, 3, 3)


def test_a_pack_can_be_deleted_while_it_is_rendered(
    api: Api, playground: Playground, monkeypatch: pytest.MonkeyPatch
) -> None:
    pack_id = playground.pack(picture=photo(20, 10))
    real = playground.site.renderer.render

    def delete_meanwhile(*args: Any, **kwargs: Any) -> Any:
        api.payload(DELETE_PACK, id=pack_id)
        return real(*args, **kwargs)

    with monkeypatch.context() as patched:
        patched.setattr(playground.site.renderer, "render", delete_meanwhile)
        refresh_packs(playground.site, TENANT, [pack_id])
    playground.run_jobs()
    assert api.data(PACK, id=pack_id)["pack"] is None


def test_an_update_of_a_pack_location_changes_only_the_given_fields(api: Api, playground: Playground) -> None:
    pack_id = playground.pack()
    change = {"crop": crop(0.1, 0, 0.9, 1), "focus": {"x": 0.3, "y": 0.2}, "resizeGravity": "FOCUS"}
    edited = api.payload(EDIT, pack=pack_id, location="main", input=change)
    assert edited["packLocation"] == {
        "crop": {"topLeftX": 0.1, "bottomRightX": 0.9},
        "focus": {"x": 0.3, "y": 0.2},
        "resizeGravity": "FOCUS",
        "useResizeIncludeAll": "UNSET",
        "effective": {"resizeGravityFrom": "packLocation"},
    }
    cleared = api.payload(EDIT, pack=pack_id, location="main", input={"crop": None, "useResizeIncludeAll": "TRUE"})
    assert cleared["packLocation"]["crop"] is None
    assert cleared["packLocation"]["focus"] == {"x": 0.3, "y": 0.2}
    assert cleared["packLocation"]["useResizeIncludeAll"] == "TRUE"
    unset = api.payload(
        EDIT, pack=pack_id, location="main", input={"focus": None, "resizeGravity": None, "useResizeIncludeAll": None}
    )
    assert unset["packLocation"]["focus"] is None
    assert unset["packLocation"]["effective"]["resizeGravityFrom"] == "tenant"
    assert unset["packLocation"]["useResizeIncludeAll"] == "UNSET"


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"crop": crop(0, 0, 1.5, 1)}, ["input", "crop", "bottomRightX"]),
        ({"crop": crop(0.5, 0, 0.5, 1)}, ["input", "crop", "bottomRightX"]),
        ({"focus": {"x": 0.5, "y": -0.1}}, ["input", "focus", "y"]),
    ],
)
def test_a_crop_or_focus_outside_the_image_is_refused(
    api: Api, playground: Playground, change: dict[str, Any], field: list[str]
) -> None:
    pack_id = playground.pack()
    refused = api.refusal(EDIT, pack=pack_id, location="main", input=change)
    assert (refused["code"], refused["field"]) == ("INVALID", field)


def test_an_update_of_several_pack_locations_is_atomic(api: Api, playground: Playground) -> None:
    playground.location("cover", width=20, height=30)
    pack_id = playground.pack()
    version = api.data(PACK, id=pack_id)["pack"]["version"]
    good = {"location": "main", "crop": crop(0.1, 0, 1, 1)}
    for bad, field in (
        ({"location": "nowhere"}, ["inputs", "1", "location"]),
        ({"location": "main"}, ["inputs", "1", "location"]),
        ({"location": "cover", "focus": {"x": 2, "y": 0}}, ["inputs", "1", "focus", "x"]),
    ):
        refused = api.refusal(EDITS, pack=pack_id, inputs=[good, bad])
        assert refused["field"] == field
        assert api.data(PACK, id=pack_id)["pack"]["version"] == version
    assert api.refusal(EDITS, pack=pack_id, inputs=[])["code"] == "INVALID"
    both = api.payload(EDITS, pack=pack_id, inputs=[good, {"location": "cover", "focus": {"x": 0.5, "y": 0.2}}])
    assert both["pack"]["version"] == version + 1, "one edit"
    assert both["pack"]["locations"] == [
        {"name": "cover", "crop": None, "focus": {"x": 0.5}},
        {"name": "main", "crop": {"topLeftX": 0.1}, "focus": None},
    ]


def test_removing_an_original_keeps_its_crop(api: Api, playground: Playground) -> None:
    playground.location("cover", width=20, height=30)
    pack_id = playground.pack()
    playground.show(pack_id, "cover", photo(30, 20, seed=3))
    api.payload(EDIT, pack=pack_id, location="cover", input={"crop": crop(0.2, 0, 1, 1)})
    removed = api.payload(REMOVE, pack=pack_id, location="cover")["packLocation"]
    assert removed == {"original": None, "source": "main", "crop": {"topLeftX": 0.2}}
    refused = api.refusal(REMOVE, pack=pack_id, location="cover")
    assert (refused["code"], refused["field"]) == ("BAD_STATE", ["location"])
    assert api.refusal(REMOVE, pack=pack_id, location="nowhere")["code"] == "NOT_FOUND"


def test_deleting_a_location_in_use_needs_force_and_names_the_uses(api: Api, playground: Playground) -> None:
    playground.location("cover", width=20, height=30)
    playground.location("tall", width=10, height=30, fallback="cover")
    pack_id = playground.pack()
    playground.show(pack_id, "cover", photo(30, 20, seed=3))
    api.payload(UPDATE_PACK, id=pack_id, input={"mainLocation": "cover"})
    before = api.data(PACK, id=pack_id)["pack"]["locations"]
    assert {pack_location["name"]: pack_location["source"] for pack_location in before}["tall"] == "cover"
    refused = api.refusal(DELETE_LOCATION, name="cover")
    assert (refused["code"], refused["field"]) == ("IN_USE", ["force"])
    assert refused["message"] == (
        "The location 'cover' is in use. packs with settings there: 1; packs with it as their main location: 1; "
        "fallback of tall: 1."
    )
    assert api.refusal(DELETE_LOCATION, name="cover", force=True, expectedVersion=9)["code"] == "VERSION_CONFLICT"
    done = api.payload(DELETE_LOCATION, name="cover", force=True)
    assert (done["deletedId"], done["deletedName"], done["job"]["kind"]) == (
        "location:cover",
        "cover",
        "LOCATION_CHANGE",
    )
    after = api.data(PACK, id=pack_id)["pack"]["locations"]
    assert {pack_location["name"]: pack_location["source"] for pack_location in after} == {
        "main": "main",
        "tall": "main",
    }
    playground.run_jobs()
    assert ids(api, variantState="PENDING") == set()


def test_an_unused_location_is_deleted_without_force_and_main_cannot_be_deleted(
    api: Api, playground: Playground
) -> None:
    playground.location("cover", width=20, height=30)
    assert api.payload(DELETE_LOCATION, name="cover")["job"] is None
    assert api.refusal(DELETE_LOCATION, name="cover")["code"] == "NOT_FOUND"
    refused = api.refusal(DELETE_LOCATION, name="main", force=True)
    assert (refused["code"], refused["field"]) == ("BAD_STATE", ["name"])


@pytest.mark.parametrize(
    "values",
    [
        {"crop": crop(0.1, 0, 1, 1)},
        {"focus": {"x": 0.5, "y": 0.2}},
        {"resizeGravity": "NORTH"},
        {"useResizeIncludeAll": "TRUE"},
    ],
    ids=lambda values: next(iter(values)),
)
def test_overrides_make_a_location_used_and_refreshed_variants_do_not(
    api: Api, playground: Playground, values: dict[str, Any]
) -> None:
    for name in ("cover", "tall"):
        playground.location(name, width=20, height=30, fallback="main")
    pack_id, other = playground.pack(), playground.pack(picture=photo(20, 30, seed=4))
    api.payload(EDIT, pack=pack_id, location="cover", input=values)
    # The override was set and removed again.
    api.payload(EDIT, pack=pack_id, location="tall", input=values)
    api.payload(EDIT, pack=pack_id, location="tall", input=dict.fromkeys(values))
    playground.run_jobs()
    refresh = job_resolvers.RegenerateMode.REFRESH
    job = job_resolvers.regenerate_packs(playground.caller, [pack_id, other], Priority.BULK, refresh)
    playground.run_jobs()
    assert playground.job(job).state is JobState.SUCCEEDED
    refused = api.refusal(DELETE_LOCATION, name="cover")
    assert refused["message"] == "The location 'cover' is in use. packs with settings there: 1."
    assert api.payload(DELETE_LOCATION, name="tall")["job"] is None
    with playground.site.catalog.read(TENANT) as tx:
        left = tx.connection.scalars(sa.select(pack_locations.c.location).distinct())
        assert set(left) == {"cover", "main"}


def test_a_rendition_is_added_once(api: Api, playground: Playground) -> None:
    playground.location("cover", width=20, height=30)
    added = api.payload(ADD, location="cover", rendition={"width": 15})
    assert [(r["width"], r["dpr"]) for r in added["location"]["renditions"]] == [(20, 1), (20, 2), (15, 1)]
    assert added["job"] is not None
    again = api.payload(ADD, location="cover", rendition={"width": 15})
    assert (again["location"]["version"], again["job"]) == (added["location"]["version"], None)
    refused = api.refusal(ADD, location="cover", rendition={})
    assert (refused["code"], refused["field"]) == ("INVALID", ["rendition", "width"])
    assert api.refusal(ADD, location="nowhere", rendition={"width": 5})["code"] == "NOT_FOUND"


def test_a_rendition_is_added_to_a_location_without_a_size(api: Api, playground: Playground) -> None:
    added = api.payload(ADD, location="main", rendition={"width": 15})["location"]["renditions"]
    assert [(r["width"], r["dpr"]) for r in added] == [(None, 1), (None, 2), (15, 1)]
    assert len(playground.planned(playground.pack())) == 3 * 3 - 3, "an original is not enlarged to 2x"
    playground.location("main", width=300)
    refused = api.refusal(ADD, location="main", rendition={"dpr": 3})
    assert (refused["code"], refused["field"]) == ("INVALID", ["rendition", "width"])


def test_packs_with_nothing_to_show_are_found_after_applying_fallbacks(api: Api, playground: Playground) -> None:
    playground.location("cover", width=20, height=30)
    playground.location("tall", width=10, height=30, fallback="cover")
    empty = playground.pack(at="main")
    api.payload(REMOVE, pack=empty, location="main")
    by_fallback = playground.pack(at="cover", picture=photo(20, 30))
    by_main = playground.pack(at="main", picture=photo(20, 30))
    elsewhere = playground.pack(at="cover", picture=photo(20, 30), main_location="cover")
    assert ids(api, nothingToShowAt="tall") == {empty}
    assert ids(api, nothingToShowAt="main") == {empty, by_fallback}
    assert {by_main, elsewhere} <= ids(api)
    unknown = api.error(LISTED, filter={"nothingToShowAt": "nowhere"})
    assert unknown["extensions"]["code"] == "NOT_FOUND"


def test_packs_can_be_filtered_by_the_state_of_their_variants(api: Api, playground: Playground) -> None:
    ready = playground.pack(picture=photo(20, 10))
    playground.run_jobs()
    broken = playground.pack(picture=photo(20, 10, seed=2))
    original = playground.snapshot(broken).pack_location("main").original
    assert original is not None
    path = playground.site.originals.local_path(f"{TENANT}/{original.sha256}")
    assert path is not None
    path.write_bytes(jpeg(photo(20, 10, seed=2))[:200])
    playground.run_jobs()
    waiting = playground.pack(picture=photo(20, 10, seed=3))
    assert ids(api, variantState="READY") == {ready}
    assert ids(api, variantState="FAILED") == {broken}
    assert ids(api, variantState="PENDING") == {waiting}


def test_an_absent_crop_variable_changes_nothing(api: Api, playground: Playground) -> None:
    pack_id = playground.pack()
    api.payload(EDIT, pack=pack_id, location="main", input={"crop": crop(0.1, 0, 1, 1)})
    document = """mutation($pack: ID!, $crop: CropInput) {
      updatePackLocation(packId: $pack, location: "main", input: {crop: $crop}) { userErrors { code } } }"""
    api.payload(document, pack=pack_id)
    assert playground.snapshot(pack_id).pack_location("main").crop == Crop(0.1, 0, 1, 1)


def test_an_update_of_a_tenant_changes_only_the_given_fields_and_its_variants(api: Api, playground: Playground) -> None:
    pack_id = playground.pack()
    playground.run_jobs()
    before = set(playground.planned(pack_id))
    change = {"useResizeIncludeAll": True, "formatPolicy": "WEBP", "keepCredits": True, "resizeGravity": "NORTH"}
    prepared = api.payload(TENANT_UPDATE, input=change)
    assert prepared["tenant"]["version"] == 1, "the change becomes live once every variant is rendered"
    assert set(playground.planned(pack_id)) == before
    assert api.payload(TENANT_UPDATE, input=change)["job"] == prepared["job"], "the change is already being prepared"
    playground.run_jobs()
    changed = api.payload(TENANT_UPDATE, input=change)
    assert changed["tenant"] == {"version": 2, **change}
    assert changed["job"] is None
    after = set(playground.planned(pack_id))
    assert not before & after
    assert after <= set(playground.entries(pack_id))
    api.payload(TENANT_UPDATE, input=dict.fromkeys(change))
    playground.run_jobs()
    reset = api.payload(TENANT_UPDATE, input={})
    assert reset["tenant"] == {
        "version": 3,
        "useResizeIncludeAll": False,
        "formatPolicy": "ORIGINAL",
        "keepCredits": False,
        "resizeGravity": "CENTER",
    }
    stale = api.refusal(TENANT_UPDATE, input={}, expectedVersion=1)
    assert (stale["code"], stale["field"], stale["current"]["id"]) == (
        "VERSION_CONFLICT",
        ["expectedVersion"],
        "tenant:default",
    )


DRY_RUN = f"""mutation Try($pack: ID!, $crop: CropInput!, $expectedVersion: Int) {{
  setCrop(packId: $pack, location: "main", crop: $crop, dryRun: true, expectedVersion: $expectedVersion) {{
    packLocation {{ crop {{ topLeftX }} currentUrl }} pack {{ version }} job {{ id }} previewUrls {USER_ERRORS} }} }}"""


def test_a_dry_run_of_a_crop_returns_previews_and_changes_nothing(api: Api, playground: Playground) -> None:
    playground.location("main", width=40, height=30)
    pack_id = playground.pack(picture=photo(200, 150))
    playground.run_jobs()
    before = api.data(PACK, id=pack_id)["pack"]
    tried = api.payload(DRY_RUN, pack=pack_id, crop=crop(0.5, 0, 1, 0.5))
    assert (tried["job"], tried["packLocation"]["crop"]) == (None, None)
    assert api.data(PACK, id=pack_id)["pack"] == before
    keys = [url.partition("/i/")[2] for url in tried["previewUrls"]]
    assert [key.partition("/w")[2].partition("-")[0] for key in keys] == ["80", "40"]
    stored = [playground.site.variants.head(key) for key in keys]
    assert all(stored)
    set_now = api.payload(EDIT, pack=pack_id, location="main", input={"crop": crop(0.5, 0, 1, 0.5)})
    assert set_now["job"] is not None
    playground.run_jobs()
    assert set(keys) <= set(playground.planned(pack_id)), "these are the variants of the preview"
    assert [playground.site.variants.head(key) for key in keys] == stored, "not rendered again"
    again = api.payload(DRY_RUN, pack=pack_id, crop=crop(0, 0, 1, 1))
    assert len(again["previewUrls"]) == 2


def test_a_dry_run_of_an_invalid_crop_is_refused(api: Api, playground: Playground) -> None:
    pack_id = playground.pack(picture=photo(200, 150))
    refused = api.refusal(DRY_RUN, pack=pack_id, crop=crop(0.5, 0, 0.5, 1))
    assert (refused["code"], refused["field"]) == ("INVALID", ["crop", "bottomRightX"])
    stale = api.refusal(DRY_RUN, pack=pack_id, crop=crop(0, 0, 0.5, 1), expectedVersion=99)
    assert (stale["code"], stale["field"]) == ("VERSION_CONFLICT", ["expectedVersion"])
    empty = api.payload(f"mutation {{ createPack {{ pack {{ id }} {USER_ERRORS} }} }}")["pack"]["id"]
    assert api.refusal(DRY_RUN, pack=empty, crop=crop(0, 0, 0.5, 1))["code"] == "NOT_FOUND"


def test_one_of_many_simultaneous_edits_of_a_version_succeeds(api: Api, playground: Playground) -> None:
    pack_id = playground.pack(picture=photo(16, 16))
    version = api.data(PACK, id=pack_id)["pack"]["version"]

    def edit(number: int) -> list[str]:
        change = {"focus": {"x": number / 12, "y": 0.5}}
        variables = {"pack": pack_id, "location": "main", "input": change, "expectedVersion": version}
        (payload,) = api.data(EDIT, **variables).values()
        return [error["code"] for error in payload["userErrors"]]

    with ThreadPoolExecutor(12) as pool:
        outcomes = list(pool.map(edit, range(12)))
    assert sorted(outcomes) == [[]] + [["VERSION_CONFLICT"]] * 11
    assert api.data(PACK, id=pack_id)["pack"]["version"] == version + 1


def test_one_of_many_simultaneous_changes_of_a_location_version_succeeds(api: Api, playground: Playground) -> None:
    playground.location("thumb", width=10)
    put = """mutation($width: Int!) { putLocation(input: {name: "thumb", width: $width}, expectedVersion: 1) {
      location { version } userErrors { code } } }"""

    def change(number: int) -> list[str]:
        (payload,) = api.data(put, width=20 + number).values()
        return [error["code"] for error in payload["userErrors"]]

    with ThreadPoolExecutor(12) as pool:
        outcomes = list(pool.map(change, range(12)))
    assert sorted(outcomes) == [[]] + [["VERSION_CONFLICT"]] * 11
    assert api.data('{ location(name: "thumb") { version } }')["location"]["version"] == 2
