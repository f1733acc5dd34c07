"""erasePack as a client sees it."""

from tests.playground import Playground
from tests.pregen.test_eraser import finish
from tests.schema.api import Api

ERASE = """mutation Erase($id: ID!, $reason: String!) {
  erasePack(id: $id, reason: $reason) {
    job { id kind state total done skipped failed createdBy } userErrors { code message field expected got } } }"""
JOB = "query($id: ID!) { job(id: $id) { kind state total done skipped failed } }"


def test_a_job_tells_how_far_an_erasure_is(api: Api, playground: Playground) -> None:
    pack_id = playground.pack()
    playground.run_jobs()
    job = api.payload(ERASE, id=pack_id, reason="rights")["job"]
    assert (job["kind"], job["state"], job["createdBy"]) == ("ERASE", "QUEUED", "tester")
    finish(playground)
    ended = {"kind": "ERASE", "state": "SUCCEEDED", "total": 4, "done": 4, "skipped": 0, "failed": 0}
    assert api.data(JOB, id=job["id"])["job"] == ended
    assert api.data("query($id: ID!) { node(id: $id) { id } }", id=pack_id)["node"] is None


def test_refusals_name_the_argument_and_change_nothing(api: Api, playground: Playground) -> None:
    pack_id = playground.pack()
    error = api.refusal(ERASE, id=pack_id, reason=" ")
    assert (error["code"], error["field"], error["expected"]) == ("INVALID", ["reason"], "1 to 500 characters")
    error = api.refusal(ERASE, id="0" * 24, reason="rights")
    assert (error["code"], error["field"], error["got"]) == ("NOT_FOUND", ["id"], "0" * 24)
    error = api.refusal(ERASE, id="../x", reason="rights")
    assert error["code"] == "NOT_FOUND"
    assert list(playground.site.tombstones.list("")) == []
    api.payload(ERASE, id=pack_id, reason="rights")
    assert api.refusal(ERASE, id=pack_id, reason="rights")["code"] == "NOT_FOUND", "it is erased already"
