"""Packs as the old service's clients create, change and read them."""

import re
from typing import Any

import pytest

from packshot.geometry import Crop, Gravity
from packshot.model import IncludeAll
from tests.serve.rest.conftest import Rest
from tests.support.pictures import photo
from tests.support.playground import TENANT, Playground

CROP = {"topLeftX": 0.1, "topLeftY": 0.05, "bottomRightX": 0.9, "bottomRightY": 0.95}


def test_an_empty_object_makes_a_pack_with_200(rest: Rest) -> None:
    made = rest.post("imagePacks", {})
    assert re.fullmatch("[0-9a-f]{24}", made["id"])
    assert made == {
        "id": made["id"],
        "imageLocations": {},
        "useResizeIncludeAll": "UNSET",
        "tenant": TENANT,
        "created": made["created"],
        "modified": made["created"],
        "sequenceNumber": made["sequenceNumber"],
    }
    assert rest.get(f"imagePack/{made['id']}") == made


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b'"text"', b"7", b"\xff", b'{"a": NaN}', b"[" * 2000])
def test_an_absent_or_broken_body_gets_the_error_of_the_old_service(rest: Rest, body: bytes) -> None:
    told = rest.post("imagePacks", content=body, status=400)
    assert told["message"].startswith("[Invalid Json]")
    assert told["expected"] == "an object such as {}"


def test_a_body_of_any_media_type_is_read(rest: Rest) -> None:
    for kind in ("application/json; charset=utf-8", "text/plain", "application/x-www-form-urlencoded"):
        made = rest.post("imagePacks", content=b'{"mainImageLocation": "main"}', headers={"Content-Type": kind})
        assert made["mainImageLocation"] == "main"


def test_a_pack_is_created_with_all_fields(rest: Rest, playground: Playground) -> None:
    playground.location("thumb", width=100)
    said: dict[str, Any] = {
        "assetId": 4711,
        "mainImageLocation": "thumb",
        "useResizeIncludeAll": "TRUE",
        "resizeGravity": "southwest",
        "imageLocations": {"thumb": {"cropInfo": CROP, "useResizeIncludeAll": "FALSE", "resizeGravity": "north"}},
    }
    made = rest.post("imagePacks", said)
    assert {name: made[name] for name in said} == said
    snapshot = playground.snapshot(made["id"])
    assert (snapshot.pack.asset_id, snapshot.pack.main_location) == (4711, "thumb")
    assert (snapshot.pack.include_all, snapshot.pack.resize_gravity) == (IncludeAll.TRUE, Gravity.SOUTHWEST)
    pack_location = snapshot.pack_location("thumb")
    assert (pack_location.crop, pack_location.include_all) == (Crop(0.1, 0.05, 0.9, 0.95), IncludeAll.FALSE)


def test_ids_with_a_cache_buster_are_the_same_pack(rest: Rest) -> None:
    made = rest.post("imagePacks", {})
    for suffix in ("-1662654467834", "-new", "-", "-a-b"):
        assert rest.get(f"imagePack/{made['id']}{suffix}") == made


def test_a_pack_is_found_by_its_asset(rest: Rest) -> None:
    made = rest.post("imagePacks", {"assetId": 4711})
    assert rest.get("imagePackViaAsset/4711") == made
    taken = rest.post("imagePacks", {"assetId": 4711}, status=409)
    assert (taken["code"], taken["parameter"], taken["existing"]) == ("TAKEN", "assetId", made["id"])
    odd = rest.post("imagePacks", {"assetId": -78})
    assert rest.get("imagePackViaAsset/-78") == odd
    for absent in ("4712", "0", "-1", "x", "4711.0", "9" * 16, "9" * 30, "%D9%A4", "%00"):
        assert rest.get(f"imagePackViaAsset/{absent}", status=404)["code"] == "NOT_FOUND"


def test_put_changes_given_fields_and_null_resets(rest: Rest, playground: Playground) -> None:
    playground.location("thumb", width=100)
    pack_id = rest.post("imagePacks", {"assetId": 1, "mainImageLocation": "thumb", "resizeGravity": "east"})["id"]
    changed = rest.put(f"imagePack/{pack_id}", {"useResizeIncludeAll": "true"})
    assert (changed["assetId"], changed["mainImageLocation"], changed["resizeGravity"]) == (1, "thumb", "east")
    assert changed["useResizeIncludeAll"] == "TRUE"
    cleared = rest.put(
        f"imagePack/{pack_id}",
        {"assetId": None, "mainImageLocation": None, "resizeGravity": None, "useResizeIncludeAll": None},
    )
    assert set(cleared) == {
        "id", "imageLocations", "useResizeIncludeAll", "tenant", "created", "modified", "sequenceNumber",
    }  # fmt: skip
    assert cleared["useResizeIncludeAll"] == "UNSET"
    assert cleared["sequenceNumber"] > changed["sequenceNumber"]


def test_a_response_can_be_put_and_read_only_fields_are_ignored(rest: Rest) -> None:
    made = rest.post("imagePacks", {"assetId": 1, "imageLocations": {"main": {"cropInfo": CROP}}})
    again = rest.put(f"imagePack/{made['id']}", made | {"id": "0" * 24, "tenant": "other", "anything": {"else": 1}})
    assert {**again, "modified": 0, "sequenceNumber": 0} == {**made, "modified": 0, "sequenceNumber": 0}


def test_a_packs_locations_are_changed_with_the_pack_all_or_nothing(rest: Rest, playground: Playground) -> None:
    playground.location("thumb", width=100)
    pack_id = playground.pack(picture=photo(60, 40))
    playground.run_jobs()
    before = playground.planned(pack_id).keys()
    body: dict[str, Any] = {"imageLocations": {"thumb": {"cropInfo": CROP}, "main": {}}}
    told = rest.put(f"imagePack/{pack_id}", body)
    assert told["imageLocations"] == {
        "main": {"useResizeIncludeAll": "UNSET"},
        "thumb": {"cropInfo": CROP, "useResizeIncludeAll": "UNSET"},
    }
    playground.run_jobs()
    assert playground.entries(pack_id).keys() > playground.planned(pack_id).keys() != before, "rendered again"
    for nothing in (None, {}, {"main": None}):
        again = rest.put(f"imagePack/{pack_id}", {"imageLocations": nothing})
        assert again["imageLocations"] == told["imageLocations"]
        told = again
    body = {"resizeGravity": "west", "imageLocations": {"main": {"cropInfo": CROP}, "nowhere": {"cropInfo": CROP}}}
    refused = rest.put(f"imagePack/{pack_id}", body, status=404)
    assert refused["parameter"] == "imageLocations.nowhere.location"
    assert rest.get(f"imagePack/{pack_id}") == told


def test_a_crop_is_set_changed_in_part_and_cleared(rest: Rest, playground: Playground) -> None:
    pack_id = playground.pack(picture=photo(60, 40))
    told = rest.put(f"imagePack/{pack_id}-17/main", {"cropInfo": CROP, "resizeGravity": "north"})
    assert told["imageLocations"] == {
        "main": {"cropInfo": CROP, "useResizeIncludeAll": "UNSET", "resizeGravity": "north"}
    }
    told = rest.put(f"imagePack/{pack_id}/main", {"useResizeIncludeAll": "TRUE"})
    assert told["imageLocations"]["main"] == {"cropInfo": CROP, "useResizeIncludeAll": "TRUE", "resizeGravity": "north"}
    told = rest.put(f"imagePack/{pack_id}/main", {"cropInfo": None, "resizeGravity": None})
    assert told["imageLocations"]["main"] == {"useResizeIncludeAll": "TRUE"}


@pytest.mark.parametrize(
    ("body", "parameter", "expected"),
    [
        ({"cropInfo": CROP | {"topLeftX": "0.1"}}, "cropInfo.topLeftX", "a number"),
        ({"cropInfo": CROP | {"topLeftX": None}}, "cropInfo.topLeftX", "a number"),
        ({"cropInfo": CROP | {"topLeftX": -0.1}}, "cropInfo.topLeftX", "0.0 to 1.0"),
        ({"cropInfo": CROP | {"topLeftX": 1e400}}, None, None),
        ({"cropInfo": CROP | {"bottomRightY": 1.01}}, "cropInfo.bottomRightY", "0.0 to 1.0"),
        ({"cropInfo": CROP | {"bottomRightX": 0.1}}, "cropInfo.bottomRightX", "more than 0.1"),
        ({"cropInfo": {"topLeftX": 0}}, "cropInfo.topLeftY", "topLeftX, topLeftY, bottomRightX, bottomRightY"),
        ({"cropInfo": [0, 0, 1, 1]}, "cropInfo", "an object"),
        ({"resizeGravity": 1}, "resizeGravity", "a text"),
    ],
)
def test_an_invalid_crop_is_named_and_changes_nothing(
    rest: Rest, body: dict[str, Any], parameter: str | None, expected: str | None
) -> None:
    pack_id = rest.post("imagePacks", {})["id"]
    before = rest.get(f"imagePack/{pack_id}")
    if parameter is None:
        sent = b'{"cropInfo": {"topLeftX": 1e400, "topLeftY": 0, "bottomRightX": 1, "bottomRightY": 1}}'
        rest.ask("PUT", f"imagePack/{pack_id}/main", content=sent, status=400)
    else:
        told = rest.put(f"imagePack/{pack_id}/main", body, status=400)
        assert (told["parameter"], told["expected"]) == (parameter, expected)
        nested = rest.put(f"imagePack/{pack_id}", {"imageLocations": {"main": body}}, status=400)
        assert nested["parameter"] == f"imageLocations.main.{parameter}"
    assert rest.get(f"imagePack/{pack_id}") == before


@pytest.mark.parametrize(
    ("body", "status", "parameter"),
    [
        ({"assetId": "4711"}, 400, "assetId"),
        ({"assetId": 2**53}, 400, "assetId"),
        ({"assetId": 10**40}, 400, "assetId"),
        ({"mainImageLocation": 1}, 400, "mainImageLocation"),
        ({"mainImageLocation": "nowhere"}, 404, "mainImageLocation"),
        ({"mainImageLocation": "\0"}, 400, "mainImageLocation"),
        ({"imageLocations": []}, 400, "imageLocations"),
        ({"imageLocations": ""}, 400, "imageLocations"),
        ({"imageLocations": {"main": []}}, 400, "imageLocations.main"),
        ({"imageLocations": {"nowhere": {"cropInfo": None}}}, 404, "imageLocations.nowhere.location"),
        ({"imageLocations": {"\0": {"cropInfo": None}}}, 400, "imageLocations.\0"),
    ],
)
def test_an_invalid_pack_is_not_created(rest: Rest, body: dict[str, Any], status: int, parameter: str) -> None:
    assert rest.post("imagePacks", body, status=status)["parameter"] == parameter


def test_a_deleted_pack_is_not_found_by_any_operation(rest: Rest) -> None:
    pack_id = rest.post("imagePacks", {"assetId": 9})["id"]
    assert rest.delete(f"imagePack/{pack_id}-17") == {"id": pack_id}
    for named in (pack_id, "0" * 24, "123-456", "x", "%00", pack_id.upper()):
        rest.get(f"imagePack/{named}", status=404)
        rest.put(f"imagePack/{named}", {"assetId": 1}, status=404)
        rest.put(f"imagePack/{named}/main", {"cropInfo": None}, status=404)
        rest.delete(f"imagePack/{named}", status=404)
        rest.post(f"imagePack/{named}/main/upload", content=b"x", status=404)
        rest.post(f"imagePack/{named}/main/fetchImage?imageUrl=http://192.0.2.1/a", {}, status=404)
        told = rest.delete(f"images/{TENANT}/{named}", status=404)
        assert (told["code"], told["parameter"]) == ("NOT_FOUND", "id")
    rest.get("imagePackViaAsset/9", status=404)


def test_an_unknown_location_is_not_found(rest: Rest) -> None:
    pack_id = rest.post("imagePacks", {})["id"]
    for named in ("nowhere", "Main", "%00"):
        told = rest.put(f"imagePack/{pack_id}/{named}", {"cropInfo": None}, status=404)
        assert told["parameter"] == "location"
        rest.post(f"imagePack/{pack_id}/{named}/upload", content=b"x", status=404)
