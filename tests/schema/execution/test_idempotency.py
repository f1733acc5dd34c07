"""Calls with the same idempotency key happen once, even at the same time."""

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest
import sqlalchemy as sa
from graphql import GraphQLField

from packshot.catalog.tables.clients import idempotency_answers
from resolvers.caller import Caller
from schema.build import schema
from tests.schema.api import Api, crop
from tests.support.pictures import jpeg, photo
from tests.support.playground import TENANT, Playground

CREATE = """mutation Create($key: String, $input: PackInput) {
  createPack(input: $input, idempotencyKey: $key) { pack { id version } userErrors { code field expected got } } }"""
UPLOAD = """mutation Upload($key: String, $input: UploadInput!) {
  createUpload(input: $input, idempotencyKey: $key) {
    upload { id url method fields { name value } headers { name value } } userErrors { code field } } }"""
ORIGINAL = """mutation Original($key: String, $pack: ID!, $upload: ID!) {
  setOriginal(packId: $pack, location: "main", source: {uploadId: $upload}, idempotencyKey: $key) {
    packLocation { id } pack { id version } job { id } userErrors { code field } } }"""
CROP = """mutation Crop($key: String, $pack: ID!, $crop: CropInput!) {
  setCrop(packId: $pack, location: "main", crop: $crop, idempotencyKey: $key) {
    packLocation { id crop { topLeftX } } pack { id version } job { id } userErrors { code field } } }"""
PUT = """mutation Put($key: String, $width: Int) {
  putLocation(input: {name: "thumb", width: $width}, idempotencyKey: $key) {
    location { id version width } job { id } userErrors { code field } } }"""
REGENERATE = """mutation Again($key: String, $scope: JobScope!) {
  regenerate(scope: $scope, idempotencyKey: $key) { job { id } userErrors { code field } } }"""
PURGE = """mutation Purge($key: String, $scope: JobScope!, $before: DateTime) {
  purge(scope: $scope, renderedBefore: $before, idempotencyKey: $key) { job { id kind } userErrors { code field } } }"""
OTHERS = {
    "updateTenant": "(input: {resizeGravity: SOUTH}, force: true",
    "updatePack": "(id: $pack, input: {assetId: 5}",
    "deletePack": "(id: $pack",
    "erasePack": '(id: $pack, reason: "the rights have ended"',
    "removeOriginal": '(packId: $pack, location: "main"',
    "updatePackLocation": '(packId: $pack, location: "main", input: {focus: {x: 0.5, y: 0}}',
    "updatePackLocations": '(packId: $pack, inputs: [{location: "main", resizeGravity: NORTH}]',
    "deleteLocation": '(name: "thumb"',
    "addRendition": '(location: "thumb", rendition: {width: 4}',
    "rollbackLocation": '(name: "thumb", toVersion: 1, force: true',
}
ANSWERS = {
    "updateTenant": "tenant { id version } job { id }",
    "updatePack": "pack { id version } job { id }",
    "deletePack": "deletedId",
    "erasePack": "job { id }",
    "deleteLocation": "deletedId deletedName job { id }",
    "addRendition": "location { id version } job { id }",
    "rollbackLocation": "location { id version } job { id }",
    "updatePackLocations": "pack { id version } job { id }",
}
FETCHED = {"location": "main", "source": {"url": "http://host.invalid/a.jpg"}}
CREATE_MANY = """mutation Many($key: String, $inputs: [PackInput!]!) {
  createPacks(inputs: $inputs, idempotencyKey: $key) {
    results { pack { id version } job { id } userErrors {
      __typename code message field expected got ... on Taken { existing { id } } } }
    job { id } userErrors { code field } } }"""
COUNT = "{ packs { totalCount } }"


def other(name: str) -> str:
    answer = ANSWERS.get(name, "packLocation { id } pack { id version } job { id }")
    return f"""mutation Other($key: String, $pack: ID!) {{
  {name}{OTHERS[name]}, idempotencyKey: $key) {{ {answer} userErrors {{ code }} }}
  unused: setCrop(packId: $pack, location: "none", crop: {{topLeftX: 0, topLeftY: 0, bottomRightX: 1, bottomRightY: 1}})
  @include(if: false) {{ job {{ id }} }} }}"""


def mutations() -> dict[str, GraphQLField]:
    mutation = schema._schema.mutation_type
    assert mutation is not None
    fields: dict[str, GraphQLField] = mutation.fields
    return fields


def test_a_repeated_call_gets_the_same_response_and_changes_nothing(api: Api, playground: Playground) -> None:
    pack_id = playground.pack(picture=photo(16, 16))
    upload_id = playground.upload(jpeg(photo(20, 10)))
    calls: list[tuple[str, dict[str, Any]]] = [
        (CREATE, {"input": {"externalId": "a"}}),
        (CREATE_MANY, {"inputs": [{"externalId": "b", "originals": [FETCHED]}, {"externalId": "a"}]}),
        (UPLOAD, {"input": {"mediaType": "image/jpeg", "bytes": 10}}),
        (ORIGINAL, {"pack": pack_id, "upload": upload_id}),
        (CROP, {"pack": pack_id, "crop": crop(0, 0, 0.5, 1)}),
        (PUT, {"width": 10}),
        (REGENERATE, {"scope": {"location": "thumb"}}),
        (REGENERATE, {"scope": {"packIds": [pack_id]}}),
        (PURGE, {"scope": {"packIds": [pack_id]}}),
        (PURGE, {"scope": {"packIds": [pack_id]}, "before": "2020-01-01T00:00:00Z"}),
    ]
    for name in (
        "updatePack",
        "updatePackLocation",
        "updatePackLocations",
        "addRendition",
        "rollbackLocation",
        "removeOriginal",
        "updateTenant",
    ):
        calls.append((other(name), {"pack": pack_id}))
    calls += [(other("deleteLocation"), {"pack": pack_id}), (other("deletePack"), {"pack": pack_id})]
    calls.append((other("erasePack"), {"pack": pack_id}))
    tried = {document.partition("{")[2].partition("(")[0].strip() for document, _ in calls}
    assert tried == {name for name, field in mutations().items() if "idempotencyKey" in field.args}
    for number, (document, variables) in enumerate(calls):
        first = api.payload(document, key=f"key {number}", **variables)
        assert api.payload(document, key=f"key {number}", **variables) == first
    assert api.data(COUNT)["packs"]["totalCount"] == 2, "three packs were created and one was deleted"


def test_a_repeated_upload_has_the_same_url_and_fields(api: Api, playground: Playground) -> None:
    variables = {"input": {"mediaType": "image/jpeg", "bytes": 10}}
    first, again = (api.payload(UPLOAD, key="k", **variables)["upload"] for _ in range(2))
    assert first == again
    other = api.payload(UPLOAD, key="l", **variables)["upload"]
    assert other["fields"] != first["fields"]


def test_a_repeated_call_shows_the_current_state_of_its_objects(api: Api) -> None:
    api.payload(PUT, key="k", width=10)
    api.payload(PUT, key="l", width=20)
    assert api.payload(PUT, key="k", width=10)["location"] == {"id": "location:thumb", "version": 2, "width": 20}


def test_a_different_call_with_the_same_key_is_refused(api: Api) -> None:
    api.payload(CREATE, key="k", input={"externalId": "a"})
    for document, variables in ((CREATE, {"input": {"externalId": "b"}}), (CREATE, {}), (PUT, {"width": 5})):
        (payload,) = api.data(document, key="k", **variables).values()
        (error,) = payload["userErrors"]
        assert (error["code"], error["field"]) == ("IDEMPOTENCY_MISMATCH", ["idempotencyKey"])
    assert api.data(COUNT)["packs"]["totalCount"] == 1


def test_a_refused_call_can_be_repeated_with_the_same_key(api: Api) -> None:
    taken = api.payload(CREATE, input={"externalId": "a"})["pack"]["id"]
    (payload,) = api.data(CREATE, key="k", input={"externalId": "a"}).values()
    assert [error["code"] for error in payload["userErrors"]] == ["TAKEN"]
    with api.caller.site.catalog.write(TENANT) as tx:
        tx.connection.execute(sa.text(f"UPDATE packs SET external_id = 'b' WHERE id = '{taken}'"))  # noqa: S608
    assert api.payload(CREATE, key="k", input={"externalId": "a"})["pack"]["id"] != taken


def test_idempotency_keys_of_different_callers_are_independent(api: Api, playground: Playground) -> None:
    first = api.payload(CREATE, key="k", input={})["pack"]["id"]
    api.caller = Caller(playground.site, playground.doorbell, TENANT, "another user", "http://test")
    assert api.payload(CREATE, key="k", input={})["pack"]["id"] != first


def test_an_idempotency_key_expires_after_a_day(api: Api, playground: Playground) -> None:
    first = api.payload(CREATE, key="k", input={})["pack"]["id"]
    with playground.site.catalog.write(TENANT) as tx:
        tx.connection.execute(sa.update(idempotency_answers).values(expires_at=tx.now - timedelta(seconds=1)))
    assert api.payload(CREATE, key="k", input={})["pack"]["id"] != first
    with playground.site.catalog.write(TENANT) as tx:
        tx.connection.execute(sa.update(idempotency_answers).values(expires_at=tx.now - timedelta(seconds=1)))
    playground.dispatcher.step()
    with playground.site.catalog.read(TENANT) as tx:
        assert tx.connection.scalar(sa.select(sa.func.count()).select_from(idempotency_answers)) == 0


@pytest.mark.parametrize("key", ["", "k" * 256])
def test_an_idempotency_key_has_a_length_limit(api: Api, key: str) -> None:
    (payload,) = api.data(CREATE, key=key, input={}).values()
    assert [error["code"] for error in payload["userErrors"]] == ["INVALID"]
    assert api.data(COUNT)["packs"]["totalCount"] == 0


def test_simultaneous_calls_with_one_key_happen_once(api: Api) -> None:
    def call(number: int) -> str:
        payload = api.payload(CREATE, key=f"key {number % 3}", input={"externalId": f"pack {number % 3}"})
        found: str = payload["pack"]["id"]
        return found

    with ThreadPoolExecutor(12) as pool:
        found = list(pool.map(call, range(36)))
    assert len(set(found)) == 3
    assert api.data(COUNT)["packs"]["totalCount"] == 3


def test_an_absent_variable_and_a_null_are_different_calls(api: Api, playground: Playground) -> None:
    pack_id = playground.pack(picture=photo(16, 16))
    document = """mutation($pack: ID!, $crop: CropInput) { updatePackLocation(
      packId: $pack, location: "main", input: {crop: $crop}, idempotencyKey: "k") { userErrors { code } } }"""
    api.payload(document, pack=pack_id)
    (payload,) = api.data(document, pack=pack_id, crop=None).values()
    assert [error["code"] for error in payload["userErrors"]] == ["IDEMPOTENCY_MISMATCH"]


def test_a_mutation_field_that_is_selected_twice_happens_once(api: Api) -> None:
    document = """mutation { a: createPack(input: {externalId: "x"}, idempotencyKey: "k") { pack { id } }
      a: createPack(input: {externalId: "x"}, idempotencyKey: "k") { userErrors { code } } }"""
    assert api.payload(document)["pack"] is not None


def test_a_repeated_call_for_a_deleted_upload_gives_not_found(api: Api, playground: Playground) -> None:
    variables = {"input": {"mediaType": "image/jpeg", "bytes": 10}}
    api.payload(UPLOAD, key="k", **variables)
    with playground.site.catalog.write(TENANT) as tx:
        tx.connection.execute(sa.text("DELETE FROM uploads"))
    (payload,) = api.data(UPLOAD, key="k", **variables).values()
    assert (payload["upload"], [error["code"] for error in payload["userErrors"]]) == (None, ["NOT_FOUND"])
