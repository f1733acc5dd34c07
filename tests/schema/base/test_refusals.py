"""Every refusal names its field, what was expected and what was got, and changes nothing."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import sqlalchemy as sa

from packshot.catalog.tables.clients import uploads as upload_rows
from tests.schema.api import CREATE_PACK, PUT_LOCATION, REGENERATE, SET_CROP, SET_ORIGINAL, Api, crop
from tests.support.pictures import jpeg, photo

UNKNOWN = "0123456789abcdef01234567"

STATE = """query State {
  packs { nodes { id version sequenceNumber locations { name version crop { topLeftX } original { sha256 } } } }
  locations { nodes { name version } }
  jobs { totalCount }
}"""


def refused(api: Api, document: str, **variables: Any) -> dict[str, Any]:
    """Return the refusal, after checking that nothing changed."""
    before = api.data(STATE)
    error: dict[str, Any] = api.refusal(document, **variables)
    assert api.data(STATE) == before
    return error


@pytest.mark.parametrize(
    ("wanted", "field", "expected", "got"),
    [
        (crop(-0.1, 0, 1, 1), "topLeftX", "0.0 to 1.0", "-0.1"),
        (crop(0, 0, 1, 1.5), "bottomRightY", "0.0 to 1.0", "1.5"),
        (crop(0.8, 0, 0.2, 1), "bottomRightX", "more than 0.8", "0.2"),
        (crop(0, 0.5, 1, 0.5), "bottomRightY", "more than 0.5", "0.5"),
    ],
)
def test_a_crop_outside_the_image_or_inverted_is_refused(
    api: Api, wanted: dict[str, float], field: str, expected: str, got: str
) -> None:
    pack_id = api.playground.pack()
    error = refused(api, SET_CROP, pack=pack_id, location="main", crop=wanted)
    assert error["__typename"] == "InputError"
    assert (error["code"], error["field"]) == ("INVALID", ["crop", field])
    assert (error["expected"], error["got"]) == (expected, got)


def test_an_unknown_pack_or_location_is_not_found(api: Api) -> None:
    pack_id = api.playground.pack()
    whole = crop(0, 0, 1, 1)
    error = refused(api, SET_CROP, pack=UNKNOWN, location="main", crop=whole)
    assert (error["code"], error["field"], error["got"]) == ("NOT_FOUND", ["packId"], UNKNOWN)
    error = refused(api, SET_CROP, pack="not an id", location="main", crop=whole)
    assert (error["code"], error["field"]) == ("NOT_FOUND", ["packId"])
    error = refused(api, SET_CROP, pack=pack_id, location="poster", crop=whole)
    assert (error["code"], error["field"]) == ("NOT_FOUND", ["location"])
    assert (error["expected"], error["got"]) == ("main", "poster")


@pytest.mark.parametrize(
    ("values", "code", "field", "expected"),
    [
        ({"name": "thumb", "width": -1}, "INVALID", ["input", "width"], "1 to 4096"),
        ({"name": "thumb", "height": 4097}, "INVALID", ["input", "height"], "1 to 4096"),
        ({"name": "thumb"}, "INVALID", ["input", "width"], "a number of pixels"),
        ({"name": "Thumb", "width": 1}, "INVALID", ["input", "name"], "[a-z0-9][a-z0-9-]{0,62}"),
        ({"name": "thumb", "width": 1, "fallback": "poster"}, "NOT_FOUND", ["input", "fallback"], "main"),
        (
            {"name": "thumb", "width": 1, "renditions": [{"width": 9}, {"height": 0}]},
            "INVALID",
            ["input", "renditions", "1", "height"],
            "1 to 4096",
        ),
        (
            {"name": "thumb", "width": 1, "renditions": [{"width": 9, "dpr": 5}]},
            "INVALID",
            ["input", "renditions", "0", "dpr"],
            "0.5 to 4",
        ),
        ({"name": "thumb", "width": 1, "formats": []}, "INVALID", ["input", "formats"], "one or more, each once"),
    ],
)
def test_a_location_with_invalid_fields_is_refused(
    api: Api, values: dict[str, Any], code: str, field: list[str], expected: str
) -> None:
    error = refused(api, PUT_LOCATION, input=values)
    assert (error["code"], error["field"], error["expected"]) == (code, field, expected)


def test_a_cycle_of_fallbacks_is_refused(api: Api) -> None:
    api.playground.location("a", width=10)
    api.playground.location("b", width=10, fallback="a")
    error = refused(api, PUT_LOCATION, input={"name": "a", "fallback": "b"})
    assert (error["code"], error["field"]) == ("CYCLE", ["input", "fallback"])
    assert error["got"] == "a -> b -> a"


@pytest.mark.parametrize(
    ("changes", "code", "field"),
    [
        ({"mediaType": "text/html"}, "INVALID", ["input", "mediaType"]),
        ({"bytes": 0}, "INVALID", ["input", "bytes"]),
        ({"bytes": 2**40}, "TOO_LARGE", ["input", "bytes"]),
        ({"sha256": "beef"}, "INVALID", ["input", "sha256"]),
    ],
)
def test_an_upload_with_invalid_fields_is_refused(
    api: Api, changes: dict[str, Any], code: str, field: list[str]
) -> None:
    document = """mutation U($input: UploadInput!) {
      createUpload(input: $input) { upload { id } userErrors { code field expected got } } }"""
    error = refused(api, document, input={"mediaType": "image/png", "bytes": 10} | changes)
    assert (error["code"], error["field"]) == (code, field)
    assert error["expected"]
    assert error["got"] == str(next(iter(changes.values())))


def test_an_original_needs_a_finished_and_unexpired_upload(api: Api) -> None:
    pack_id = api.playground.pack()
    error = refused(api, SET_ORIGINAL, pack=pack_id, location="main", upload=UNKNOWN)
    assert (error["code"], error["field"], error["got"]) == ("NOT_FOUND", ["source", "uploadId"], UNKNOWN)

    document = (
        'mutation { createUpload(input: {mediaType: "image/png", bytes: 9}) { upload { id } userErrors { code } } }'
    )
    announced = api.payload(document)["upload"]["id"]
    error = refused(api, SET_ORIGINAL, pack=pack_id, location="main", upload=announced)
    assert (error["code"], error["field"], error["got"]) == ("BAD_STATE", ["source", "uploadId"], "open")

    late = api.playground.upload(jpeg(photo(40, 30)))
    with api.playground.site.catalog.write("default") as tx:
        then = datetime.now(UTC) - timedelta(seconds=1)
        tx.connection.execute(sa.update(upload_rows).where(upload_rows.c.id == late).values(expires_at=then))
    error = refused(api, SET_ORIGINAL, pack=pack_id, location="main", upload=late)
    assert (error["code"], error["field"]) == ("UPLOAD_EXPIRED", ["source", "uploadId"])


def test_an_upload_that_is_not_an_image_is_refused_as_original(api: Api) -> None:
    pack_id = api.playground.pack()
    text = api.playground.upload(b"<html>no picture</html>")
    error = refused(api, SET_ORIGINAL, pack=pack_id, location="main", upload=text)
    assert (error["code"], error["field"]) == ("UNSUPPORTED_MEDIA", ["source", "uploadId"])
    torn = api.playground.upload(jpeg(photo(400, 300))[:3000])
    error = refused(api, SET_ORIGINAL, pack=pack_id, location="main", upload=torn)
    assert (error["code"], error["field"]) == ("UNRENDERABLE", ["source", "uploadId"])


def test_the_refusal_of_an_id_in_use_shows_its_pack(api: Api) -> None:
    first = api.payload(CREATE_PACK, input={"assetId": 7, "externalId": "moth"})["pack"]["id"]
    error = refused(api, CREATE_PACK, input={"assetId": 7})
    assert (error["__typename"], error["code"], error["field"]) == ("Taken", "TAKEN", ["input", "assetId"])
    assert error["existing"] == {"__typename": "Pack", "id": first}
    error = refused(api, CREATE_PACK, input={"externalId": "moth"})
    assert (error["field"], error["got"]) == (["input", "externalId"], "moth")
    error = refused(api, CREATE_PACK, input={"mainLocation": "poster"})
    assert (error["code"], error["field"]) == ("NOT_FOUND", ["input", "mainLocation"])


def test_the_refusal_of_a_stale_edit_shows_the_current_object(api: Api) -> None:
    pack_id = api.playground.pack()
    upload = api.playground.upload(jpeg(photo(40, 30)))
    query = "query V($id: ID!) { pack(by: {id: $id}) { version } }"
    version = api.data(query, id=pack_id)["pack"]["version"]
    half = crop(0, 0, 0.5, 1)
    api.payload(SET_CROP, pack=pack_id, location="main", crop=half, expectedVersion=version)
    for document, values in ((SET_CROP, {"crop": half}), (SET_ORIGINAL, {"upload": upload})):
        error = refused(api, document, pack=pack_id, location="main", expectedVersion=version, **values)
        assert (error["__typename"], error["code"]) == ("VersionConflict", "VERSION_CONFLICT")
        assert error["field"] == ["expectedVersion"]
        assert (error["expected"], error["got"]) == (str(version + 1), str(version))
        assert error["currentVersion"] == version + 1
        assert error["current"] == {"__typename": "Pack", "id": pack_id}


def test_a_location_is_created_only_if_expected_version_is_0_or_absent(api: Api) -> None:
    error = refused(api, PUT_LOCATION, input={"name": "main", "width": 10}, expectedVersion=0)
    assert (error["__typename"], error["currentVersion"]) == ("VersionConflict", 1)
    assert error["current"] == {"__typename": "ImageLocation", "id": "location:main"}
    # There is no current object to show, so the refusal is a plain `InputError`.
    error = refused(api, PUT_LOCATION, input={"name": "thumb", "width": 10}, expectedVersion=3)
    assert (error["__typename"], error["code"]) == ("InputError", "VERSION_CONFLICT")
    assert (error["field"], error["expected"], error["got"]) == (["expectedVersion"], "0", "3")
    api.payload(PUT_LOCATION, input={"name": "thumb", "width": 10}, expectedVersion=0)


@pytest.mark.parametrize(
    ("scope", "code", "field"),
    [
        ({"packIds": []}, "LIMIT", ["scope", "packIds"]),
        ({"packIds": [UNKNOWN]}, "NOT_FOUND", ["scope", "packIds", "0"]),
        ({"location": "poster"}, "NOT_FOUND", ["scope", "location"]),
        ({"tenant": "tenant:other"}, "NOT_FOUND", ["scope", "tenant"]),
        ({"tenant": "default"}, "NOT_FOUND", ["scope", "tenant"]),
    ],
)
def test_regenerate_refuses_unknown_objects_and_other_tenants(
    api: Api, scope: dict[str, Any], code: str, field: list[str]
) -> None:
    error = refused(api, REGENERATE, scope=scope)
    assert (error["code"], error["field"]) == (code, field)


def test_a_refused_mutation_does_not_affect_others_in_the_document(api: Api) -> None:
    result = api.data(
        """mutation {
          bad: putLocation(input: {name: "a", width: 0}) { location { name } userErrors { code } }
          good: putLocation(input: {name: "b", width: 10}) { location { name } userErrors { code } }
        }"""
    )
    assert result == {
        "bad": {"location": None, "userErrors": [{"code": "INVALID"}]},
        "good": {"location": {"name": "b"}, "userErrors": []},
    }


@pytest.mark.parametrize(
    ("by", "message"),
    [
        ({}, "exactly one"),
        ({"assetId": 1, "externalId": "x"}, "exactly one"),
        ({"assetId": 1, "externalId": None}, "exactly one"),
        ({"assetId": None}, "null"),
    ],
)
def test_a_one_of_input_needs_exactly_one_field(api: Api, by: dict[str, Any], message: str) -> None:
    document = "query P($by: PackBy!) { pack(by: $by) { id } }"
    result = api.run(document, by=by)
    assert result.data is None
    assert result.errors is not None
    assert message in result.errors[0].message
    assert api.run("mutation { regenerate(scope: {}) { job { id } } }").errors
