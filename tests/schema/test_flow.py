"""From an empty installation to a picture on a web page, through GraphQL alone."""

from hashlib import sha256

from resolvers import uploads
from tests.schema.api import CREATE_PACK, PUT_LOCATION, REGENERATE, SET_CROP, SET_ORIGINAL, Api, crop
from tests.support.pictures import jpeg, photo

CREATE_UPLOAD = """
mutation Upload($input: UploadInput!) {
  createUpload(input: $input) {
    upload { id url method fields { name value } headers { name value } maxBytes expiresAt }
    userErrors { code field message }
  }
}"""

JOB = """
query Job($id: ID!) {
  job(id: $id) {
    id kind state priority total done skipped failed variantsPerSecond etaSeconds
    createdBy createdAt startedAt heartbeatAt finishedAt
    failures { totalCount nodes { code } }
  }
}"""

PICTURE = """
query Picture($id: ID!) {
  pack(by: {id: $id}) {
    location(name: "thumb") {
      source currentUrl stableUrl
      effective { resizeGravity resizeGravityFrom includeAll includeAllFrom }
      variants { format width height bytes url state error renderedAt }
      picture { src width height state sources { mediaType srcset } }
    }
  }
}"""


def test_a_new_pack_gets_from_upload_to_picture(api: Api) -> None:
    sized = api.payload(
        PUT_LOCATION, input={"name": "thumb", "width": 320, "height": 180, "fallback": "main", "label": "Thumbnail"}
    )
    assert sized["location"]["fallback"] == {"name": "main"}
    assert sized["job"]["kind"] == "LOCATION_CHANGE"
    assert sized["job"]["location"] == {"name": "thumb"}
    pack_id = api.payload(CREATE_PACK, input={"assetId": 4711, "externalId": "moth"})["pack"]["id"]

    data = jpeg(photo(800, 600))
    announced = api.payload(
        CREATE_UPLOAD,
        input={
            "mediaType": "image/jpeg",
            "bytes": len(data),
            "sha256": sha256(data).hexdigest(),
            "method": "ONE_TIME_TOKEN",
        },
    )["upload"]
    assert announced["url"] == f"http://test/uploads/default/{announced['id']}"
    assert announced["method"] == "PUT"
    assert announced["fields"] == []
    assert announced["maxBytes"] == len(data)
    (token,) = announced["headers"]
    assert token["name"] == "X-Upload-Token"
    site, tenant = api.playground.site, api.caller.tenant
    begun = uploads.begin_upload(site, tenant, announced["id"], token["value"])
    received = site.incoming / "body"
    received.write_bytes(data)
    uploads.finish_upload(site, tenant, begun, received)

    shown = api.payload(SET_ORIGINAL, pack=pack_id, location="main", upload=announced["id"])
    original = shown["packLocation"]["original"]
    assert original == {
        "sha256": sha256(data).hexdigest(),
        "width": 800,
        "height": 600,
        "mediaType": "image/jpeg",
        "bytes": len(data),
    }
    job_id = shown["job"]["id"]
    before = api.data(JOB, id=job_id)["job"]
    assert (before["state"], before["done"], before["finishedAt"]) == ("QUEUED", 0, None)
    assert before["total"] == shown["job"]["total"] > 0
    assert api.data(PICTURE, id=pack_id)["pack"]["location"]["picture"]["state"] == "PENDING"

    api.playground.run_jobs()
    after = api.data(JOB, id=job_id)["job"]
    assert after["state"] == "SUCCEEDED"
    assert after["done"] == after["total"] == before["total"]
    assert (after["skipped"], after["failed"], after["etaSeconds"]) == (0, 0, 0)
    assert after["failures"] == {"totalCount": 0, "nodes": []}
    assert after["createdBy"] == "tester"
    assert after["createdAt"] <= after["startedAt"] <= after["heartbeatAt"] <= after["finishedAt"]
    assert after["finishedAt"].endswith("Z")

    thumb = api.data(PICTURE, id=pack_id)["pack"]["location"]
    assert thumb["source"] == "main"
    assert thumb["stableUrl"] == f"http://test/api/v2/img/{pack_id}?location=thumb"
    assert thumb["effective"] == {
        "resizeGravity": "CENTER",
        "resizeGravityFrom": "tenant",
        "includeAll": False,
        "includeAllFrom": "tenant",
    }
    assert {variant["state"] for variant in thumb["variants"]} == {"READY"}
    assert all(variant["bytes"] and variant["renderedAt"] for variant in thumb["variants"])
    for variant in thumb["variants"]:
        assert site.variants.head(variant["url"].removeprefix("http://test/i/")) is not None
    picture = thumb["picture"]
    assert (picture["width"], picture["height"], picture["state"]) == (320, 180, "READY")
    assert picture["src"] == thumb["currentUrl"]
    assert [source["mediaType"] for source in picture["sources"]] == ["image/avif", "image/webp", "image/jpeg"]


def test_a_crop_changes_urls_at_once_and_the_full_rectangle_restores_them(api: Api) -> None:
    pack_id = api.playground.pack()
    api.playground.run_jobs()
    query = 'query P($id: ID!) { pack(by: {id: $id}) { location(name: "main") { currentUrl } } }'
    before = api.data(query, id=pack_id)["pack"]["location"]["currentUrl"]

    cropped = api.payload(SET_CROP, pack=pack_id, location="main", crop=crop(0.25, 0, 0.75, 1))
    assert cropped["packLocation"]["crop"] == crop(0.25, 0.0, 0.75, 1.0)
    assert cropped["packLocation"]["currentUrl"] != before
    assert api.data(query, id=pack_id)["pack"]["location"]["currentUrl"] == cropped["packLocation"]["currentUrl"]

    undone = api.payload(SET_CROP, pack=pack_id, location="main", crop=crop(0, 0, 1, 1))
    assert undone["packLocation"]["currentUrl"] == before
    assert undone["pack"]["version"] == cropped["pack"]["version"] + 1


def test_regenerate_accepts_packs_a_location_or_the_whole_tenant(api: Api) -> None:
    pack_id = api.playground.pack()
    api.playground.run_jobs()
    packs = api.payload(REGENERATE, scope={"packIds": [pack_id]})["job"]
    location = api.payload(REGENERATE, scope={"location": "main"})["job"]
    tenant = api.payload(REGENERATE, scope={"tenant": "tenant:default"})["job"]
    assert packs["priority"] == "BULK"
    assert location["location"] == {"name": "main"}
    assert tenant["location"] is None
    api.playground.run_jobs()
    for job in (packs, location, tenant):
        seen = api.data(JOB, id=job["id"])["job"]
        assert (seen["state"], seen["done"]) == ("SUCCEEDED", 0)
        assert seen["skipped"] == seen["total"] > 0


def test_a_variant_that_cannot_be_rendered_is_listed_in_the_job_and_in_the_variants(api: Api) -> None:
    pack_id = api.playground.pack()
    original = api.playground.snapshot(pack_id).pack_locations["main"].original
    assert original is not None
    # The bytes get damaged after they were accepted.
    path = api.playground.site.originals.local_path(f"default/{original.sha256}")
    assert path is not None
    path.chmod(0o644)
    path.write_bytes(path.read_bytes()[:2000])
    job_id = api.payload(REGENERATE, scope={"packIds": [pack_id]})["job"]["id"]
    api.playground.run_jobs()
    job = api.data(
        """query J($id: ID!) { job(id: $id) { state failed total failures(first: 1) {
             totalCount pageInfo { hasNextPage }
             nodes { code attempts pack { id } packLocation { picture { state } variants { state error } } }
           } } }""",
        id=job_id,
    )["job"]
    assert job["state"] == "FAILED"
    assert job["failed"] == job["total"]
    (failure,) = job["failures"]["nodes"]
    assert (failure["code"], failure["attempts"], failure["pack"]["id"]) == ("UNRENDERABLE", 3, pack_id)
    assert failure["packLocation"]["picture"]["state"] == "FAILED"
    assert {v["state"] for v in failure["packLocation"]["variants"]} == {"FAILED"}
    assert all(variant["error"] for variant in failure["packLocation"]["variants"])
