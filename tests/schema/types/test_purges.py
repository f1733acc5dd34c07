"""What operators see of purges."""

from dataclasses import replace

from packshot.cdn.base import REPEAT_AFTER
from packshot.geometry import Crop
from resolvers import packs
from resolvers.caller import Scope
from tests.pregen.services.test_purger import Front, RecordingPurger
from tests.schema.api import Api

PURGES = """query($first: Int, $after: String) { purges(first: $first, after: $after) {
  totalCount pageInfo { hasNextPage endCursor }
  nodes { id scope cause tags state attempts providerId error requestedAt firstCompletedAt finishedAt }
} }"""
NODE = "query($id: ID!) { node(id: $id) { id ... on Purge { scope state error } } }"


def test_purges_are_listed_newest_first_with_their_state(api: Api) -> None:
    pack_ids = [api.playground.pack() for _ in range(3)]
    page = api.data(PURGES, first=2)["purges"]
    assert page["totalCount"] == 3
    assert [node["scope"] for node in page["nodes"]] == [f"pack {pack_ids[2]}", f"pack {pack_ids[1]}"]
    rest = api.data(PURGES, first=2, after=page["pageInfo"]["endCursor"])["purges"]["nodes"]
    assert [node["scope"] for node in rest] == [f"pack {pack_ids[0]}"]
    (node,) = rest
    assert (node["state"], node["cause"], node["attempts"]) == ("QUEUED", "setOriginal by tester", 0)
    assert node["tags"] == [f"p:default:{pack_ids[0]}"]
    assert (node["providerId"], node["error"], node["firstCompletedAt"], node["finishedAt"]) == (None, None, None, None)


def test_the_first_and_the_repeated_purge_have_their_own_times(api: Api) -> None:
    api.playground.pack()
    front = Front(api.playground, RecordingPurger())
    front.carry()
    (first,) = api.data(PURGES)["purges"]["nodes"]
    assert (first["state"], first["attempts"], first["finishedAt"]) == ("RUNNING", 1, None)
    assert first["firstCompletedAt"] >= first["requestedAt"]
    front.let_pass(REPEAT_AFTER)
    front.carry()
    (second,) = api.data(PURGES)["purges"]["nodes"]
    assert (second["state"], second["attempts"]) == ("SUCCEEDED", 2)
    assert second["finishedAt"] is not None


def test_the_error_of_a_cdn_is_shown_in_the_list_and_by_id(api: Api) -> None:
    purger = RecordingPurger()
    purger.fault = OSError("the CDN is away")
    packs.set_crop(api.caller, api.playground.pack(), "main", Crop(0, 0, 1, 0.5))
    Front(api.playground, purger).carry()
    (node,) = api.data(PURGES)["purges"]["nodes"]
    assert (node["state"], node["attempts"], node["error"]) == ("RUNNING", 1, "OSError: the CDN is away")
    assert api.data(NODE, id=node["id"])["node"]["error"] == node["error"]
    for absent in ("purge:" + "0" * 24, "purge:", "purge:x", node["id"].upper()):
        assert api.data(NODE, id=absent)["node"] is None


def test_reading_purges_requires_the_scope_read(api: Api) -> None:
    api.playground.pack()
    api.caller = replace(api.caller, scopes=frozenset({Scope.READ}))
    assert api.data(PURGES)["purges"]["totalCount"] == 1
    api.caller = replace(api.caller, scopes=frozenset({Scope.CDN_WRITE}))
    assert api.error(PURGES)["extensions"]["code"] == "FORBIDDEN"
