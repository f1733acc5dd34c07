"""Inputs are patches: an absent field stays as it is, and null clears it."""

from typing import Any

from tests.schema.api import CREATE_PACK, PUT_LOCATION, Api

FULL = {
    "name": "thumb",
    "label": "Thumbnail",
    "width": 320,
    "height": 180,
    "fallback": "main",
    "resizeGravity": "NORTHEAST",
    "useResizeIncludeAll": "TRUE",
    "allowUpscale": True,
    "renditions": [{"width": 320}, {"height": 90, "dpr": 2}, {"width": 100, "height": 50, "dpr": 1.5}],
    "formats": ["PNG", "WEBP"],
}


def test_a_location_has_every_field_that_was_set(api: Api) -> None:
    location = api.payload(PUT_LOCATION, input=FULL)["location"]
    assert location == FULL | {
        "version": 1,
        "fallback": {"name": "main"},
        "renditions": [
            {"width": 320, "height": None, "dpr": 1.0},
            {"width": None, "height": 90, "dpr": 2.0},
            {"width": 100, "height": 50, "dpr": 1.5},
        ],
    }


def test_a_dpr_is_rounded_to_nine_decimals(api: Api) -> None:
    renditions = [{"width": 320, "dpr": 1.100000023841858}]
    location = api.payload(PUT_LOCATION, input=FULL | {"renditions": renditions})["location"]
    assert location["renditions"] == [{"width": 320, "height": None, "dpr": 1.100000024}]


def test_an_absent_field_stays_and_null_clears_it(api: Api) -> None:
    before = api.payload(PUT_LOCATION, input=FULL)["location"]
    assert api.payload(PUT_LOCATION, input={"name": "thumb"})["location"] == before
    cleared = dict.fromkeys(FULL) | {"name": "thumb", "width": 100}
    after = api.payload(PUT_LOCATION, input=cleared)["location"]
    assert after == {
        "name": "thumb",
        "version": 2,
        "label": None,
        "width": 100,
        "height": None,
        "fallback": None,
        "resizeGravity": None,
        "useResizeIncludeAll": "UNSET",
        "allowUpscale": False,
        "renditions": [{"width": 100, "height": None, "dpr": 1.0}, {"width": 100, "height": None, "dpr": 2.0}],
        "formats": ["AVIF", "WEBP", "JPEG"],
    }


def test_an_absent_variable_leaves_its_field_and_null_clears_it(api: Api) -> None:
    api.payload(PUT_LOCATION, input=FULL)
    document = """mutation Label($label: String, $gravity: Gravity, $version: Int) {
      putLocation(input: {name: "thumb", label: $label, resizeGravity: $gravity}, expectedVersion: $version) {
        location { label resizeGravity version } job { id } userErrors { code }
      }
    }"""
    untouched = api.payload(document)
    assert untouched["location"] == {"label": "Thumbnail", "resizeGravity": "NORTHEAST", "version": 1}
    assert untouched["job"] is None
    assert api.payload(document, label=None)["location"]["label"] is None
    assert api.payload(document, gravity=None, version=None)["location"]["resizeGravity"] is None


def test_a_change_of_only_the_label_renders_nothing(api: Api) -> None:
    api.payload(PUT_LOCATION, input=FULL)
    assert api.payload(PUT_LOCATION, input={"name": "thumb", "label": "Small"})["job"] is None


def test_a_pack_can_be_created_with_all_fields_or_none(api: Api) -> None:
    nothing = {
        "assetId": None,
        "externalId": None,
        "mainLocation": None,
        "resizeGravity": None,
        "useResizeIncludeAll": "UNSET",
    }
    calls: list[dict[str, Any]] = [{}, {"input": None}, {"input": {}}, {"input": dict.fromkeys(nothing)}]
    for variables in calls:
        pack = api.payload(CREATE_PACK, **variables)["pack"]
        assert {name: pack[name] for name in nothing} == nothing
    values = {
        "assetId": 2**53 - 1,
        "externalId": "ümlaut/…",
        "mainLocation": "main",
        "resizeGravity": "SOUTH",
        "useResizeIncludeAll": "FALSE",
    }
    pack = api.payload(CREATE_PACK, input=values)["pack"]
    assert {name: pack[name] for name in values} == values
    found = api.data("query P($by: PackBy!) { pack(by: $by) { id } }", by={"assetId": 2**53 - 1})
    assert found["pack"]["id"] == pack["id"]
