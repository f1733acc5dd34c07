"""Erasing a pack through GraphQL."""

from dataclasses import replace

from packshot.catalog.configuration.tenants import ensure_tenant
from tests.pregen.services.test_eraser import finish
from tests.schema.api import Api
from tests.support.playground import Playground

ERASE = """mutation Erase($id: ID!, $reason: String!) {
  erasePack(id: $id, reason: $reason) {
    job { id kind state total done skipped failed createdBy } userErrors { code message field expected got } } }"""
JOB = "query($id: ID!) { job(id: $id) { kind state total done skipped failed } }"


def test_the_job_of_an_erasure_shows_its_progress(api: Api, playground: Playground) -> None:
    pack_id = playground.pack()
    playground.run_jobs()
    job = api.payload(ERASE, id=pack_id, reason="rights")["job"]
    assert (job["kind"], job["state"], job["createdBy"]) == ("ERASE", "QUEUED", "tester")
    finish(playground)
    ended = {"kind": "ERASE", "state": "SUCCEEDED", "total": 4, "done": 4, "skipped": 0, "failed": 0}
    assert api.data(JOB, id=job["id"])["job"] == ended
    assert api.data("query($id: ID!) { node(id: $id) { id } }", id=pack_id)["node"] is None


def test_refusals_of_an_erasure_name_the_argument_and_change_nothing(api: Api, playground: Playground) -> None:
    pack_id = playground.pack()
    error = api.refusal(ERASE, id=pack_id, reason=" ")
    assert (error["code"], error["field"], error["expected"]) == ("INVALID", ["reason"], "1 to 500 characters")
    error = api.refusal(ERASE, id="0" * 24, reason="rights")
    assert (error["code"], error["field"], error["got"]) == ("NOT_FOUND", ["id"], "0" * 24)
    error = api.refusal(ERASE, id="../x", reason="rights")
    assert error["code"] == "NOT_FOUND"
    assert list(playground.site.tombstones.list("")) == []
    api.payload(ERASE, id=pack_id, reason="rights")


def test_erasing_a_pack_again_is_refused_with_the_reason(api: Api, playground: Playground) -> None:
    pack_id = playground.pack()
    job = api.payload(ERASE, id=pack_id, reason="rights")["job"]
    for _ in ("during the erasure", "after the erasure"):
        error = api.refusal(ERASE, id=pack_id, reason="rights")
        assert (error["code"], error["message"]) == ("NOT_FOUND", "This pack was erased.")
        assert (error["field"], error["got"]) == (["id"], pack_id)
        finish(playground)
    assert api.data("{ jobs { totalCount } }")["jobs"]["totalCount"] == 2, (
        "the job of the original and the job of the erasure"
    )
    assert api.data(JOB, id=job["id"])["job"]["state"] == "SUCCEEDED"
    with playground.site.catalog.write("other") as tx:
        ensure_tenant(tx)
    stranger = Api(playground)
    stranger.caller = replace(playground.caller, tenant="other")
    refusals = [stranger.refusal(ERASE, id=id, reason="rights") for id in (pack_id, "0" * 24)]
    assert {error["message"] for error in refusals} == {"There is no such pack."}, (
        "another tenant cannot know that the pack existed"
    )
