"""Manual purges: copies are purged from the CDN, or old variants are rendered again, some packs at a time."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import sqlalchemy as sa

from packshot.catalog.tables.artwork import variants
from packshot.errors import Invalid
from packshot.geometry import Crop
from resolvers import packs, purges
from resolvers.caller import Scope
from tests.pregen.services.test_purger import Front, RecordingPurger
from tests.schema.api import USER_ERRORS, Api
from tests.support.pictures import photo
from tests.support.playground import TENANT, Playground

PURGE = f"""mutation($scope: JobScope!, $before: DateTime, $limit: Int) {{
  purge(scope: $scope, renderedBefore: $before, limit: $limit) {{
    job {{ id kind state total done failed location {{ name }} createdBy }} {USER_ERRORS} }} }}"""
JOB = "query($id: ID!) { job(id: $id) { state total done failed startedAt finishedAt } }"
PURGES = "{ purges(first: 50) { nodes { scope cause state erasing } } }"


@pytest.fixture
def front(playground: Playground) -> Front:
    front = Front(playground, RecordingPurger())
    playground.location("thumb", width=60, height=40, fallback="main")
    return front


def aged(playground: Playground, *, days: int, seed: int = 0) -> str:
    """Create a pack whose variants were rendered some days ago."""
    pack_id = playground.pack(picture=photo(64, 48, seed=seed))
    playground.run_jobs()
    with playground.site.catalog.write(TENANT) as tx:
        then = tx.now - timedelta(days=days)
        tx.connection.execute(sa.update(variants).where(variants.c.pack_id == pack_id).values(rendered_at=then))
    return pack_id


def ago(days: float) -> str:
    return (datetime.now(UTC) - timedelta(days=days)).isoformat().replace("+00:00", "Z")


def urls(playground: Playground, *pack_ids: str) -> list[str]:
    return [str(playground.target(pack_id, "location=thumb").key) for pack_id in pack_ids]


def test_a_manual_purge_sends_its_tags_and_its_job_ends_with_it(api: Api, front: Front) -> None:
    ids = [front.playground.pack() for _ in range(2)]
    front.settle()
    asked: list[tuple[dict[str, Any], set[str], str]] = [
        ({"packIds": ids}, {f"{kind}:{TENANT}:{id}" for kind in "pe" for id in ids}, "2 packs"),
        ({"packIds": [ids[0]]}, {f"{kind}:{TENANT}:{ids[0]}" for kind in "pe"}, f"pack {ids[0]}"),
        ({"location": "thumb"}, {f"l:{TENANT}:thumb"}, "location thumb"),
        ({"tenant": f"tenant:{TENANT}"}, {f"t:{TENANT}"}, "tenant"),
    ]
    for scope, tags, name in asked:
        job = api.payload(PURGE, scope=scope)["job"]
        assert (job["kind"], job["state"], job["createdBy"]) == ("PURGE", "QUEUED", "tester")
        assert job["location"] == ({"name": "thumb"} if "location" in scope else None)
        front.carry()
        assert [set(call) for call in front.purger.purged] == [tags]
        running = api.data(JOB, id=job["id"])["job"]
        assert (running["state"], running["done"], running["startedAt"] is None) == ("RUNNING", 0, False)
        assert [node["scope"] for node in api.data(PURGES)["purges"]["nodes"]] == [name]
        front.settle()
        ended = api.data(JOB, id=job["id"])["job"]
        things = len(scope.get("packIds", ["one"]))
        assert (ended["state"], ended["done"], ended["total"]) == ("SUCCEEDED", things, things)


def test_a_purge_that_the_cdn_refuses_fails_its_job(api: Api, front: Front) -> None:
    pack_id = front.playground.pack()
    front.settle()
    job = api.payload(PURGE, scope={"packIds": [pack_id]})["job"]
    front.purger.fault = Invalid("No such key.")
    front.carry()
    ended = api.data(JOB, id=job["id"])["job"]
    assert (ended["state"], ended["failed"], ended["finishedAt"] is None) == ("FAILED", 1, False)


def test_manual_purges_are_not_merged_with_each_other_or_with_those_of_edits(api: Api, front: Front) -> None:
    pack_id = front.playground.pack()
    front.settle()
    jobs = [api.payload(PURGE, scope={"packIds": [pack_id]})["job"]["id"] for _ in range(2)]
    front.edit(pack_id)
    assert len(api.data(PURGES)["purges"]["nodes"]) == 3
    front.settle()
    assert [api.data(JOB, id=id)["job"]["state"] for id in jobs] == ["SUCCEEDED"] * 2


def test_old_variants_are_rendered_again_oldest_first_and_then_purged(api: Api, front: Front) -> None:
    playground = front.playground
    ids = [aged(playground, days=days, seed=days) for days in (30, 10, 50, 40)]
    new = aged(playground, days=1)
    front.settle()
    before = urls(playground, *ids, new)
    first = api.payload(PURGE, scope={"tenant": f"tenant:{TENANT}"}, before=ago(20), limit=2)["job"]
    assert (first["kind"], first["location"]) == ("REGENERATE", None)
    assert urls(playground, *ids, new) == before, "the old variants are live until the new ones are stored"
    assert api.refusal(PURGE, scope={"tenant": f"tenant:{TENANT}"}, before=ago(20))["code"] == "BAD_STATE"
    playground.run_jobs()
    assert api.data(JOB, id=first["id"])["job"]["state"] == "SUCCEEDED"
    after = urls(playground, *ids, new)
    assert [old != new for old, new in zip(before, after, strict=True)] == [False, False, True, True, False]
    for key in [key for pack_id in ids for key in playground.planned(pack_id)]:
        assert playground.site.variants.head(key) is not None
    front.carry()
    assert {tag for call in front.purger.purged for tag in call} == {f"p:{TENANT}:{id}" for id in ids[2:]}
    second = api.payload(PURGE, scope={"tenant": f"tenant:{TENANT}"}, before=ago(20), limit=2)["job"]
    assert second is not None, "replaced variants may not be marked as superseded yet"
    playground.run_jobs()
    last = urls(playground, *ids, new)
    assert [old != new for old, new in zip(after, last, strict=True)] == [True, False, False, False, False]
    assert api.payload(PURGE, scope={"tenant": f"tenant:{TENANT}"}, before=ago(20))["job"] is None, (
        "no old variant is left"
    )


def test_an_old_superseded_variant_is_not_rendered_again(api: Api, front: Front) -> None:
    playground = front.playground
    pack_id = aged(playground, days=30)
    packs.set_crop(playground.caller, pack_id, "main", Crop(0, 0, 1, 0.5))
    packs.set_crop(playground.caller, pack_id, "thumb", Crop(0, 0, 1, 0.5))
    playground.run_jobs()
    # The ledger is in this state until a change of many packs is marked in it.
    with playground.site.catalog.write(TENANT) as tx:
        tx.connection.execute(sa.update(variants).values(superseded_at=None))
    assert api.payload(PURGE, scope={"packIds": [pack_id]}, before=ago(20))["job"] is None


def test_only_variants_in_the_scope_are_rendered_again(api: Api, front: Front) -> None:
    playground = front.playground
    one, other = (aged(playground, days=30, seed=seed) for seed in range(2))
    with playground.site.catalog.write(TENANT) as tx:
        of_thumb = sa.and_(variants.c.pack_id == other, variants.c.location == "thumb")
        tx.connection.execute(sa.update(variants).where(of_thumb).values(rendered_at=tx.now))
    before = urls(playground, one, other)
    assert api.payload(PURGE, scope={"location": "thumb"}, before=ago(20))["job"] is not None
    playground.run_jobs()
    assert [a != b for a, b in zip(before, urls(playground, one, other), strict=True)] == [True, False]
    assert api.payload(PURGE, scope={"packIds": [one]}, before=ago(20))["job"] is None
    assert api.payload(PURGE, scope={"packIds": [other]}, before=ago(20))["job"] is not None


def test_invalid_purges_are_refused_and_purge_nothing(api: Api, front: Front) -> None:
    pack_id = aged(front.playground, days=30)
    front.settle()
    tenant = {"tenant": f"tenant:{TENANT}"}
    refused: list[tuple[dict[str, Any], str, list[str]]] = [
        ({"scope": {"packIds": [pack_id, "0" * 24]}}, "NOT_FOUND", ["scope", "packIds", "1"]),
        ({"scope": {"packIds": []}}, "LIMIT", ["scope", "packIds"]),
        ({"scope": {"location": "none"}}, "NOT_FOUND", ["scope", "location"]),
        ({"scope": {"location": "none"}, "before": ago(1)}, "NOT_FOUND", ["scope", "location"]),
        ({"scope": {"packIds": ["0" * 24]}, "before": ago(1)}, "NOT_FOUND", ["scope", "packIds", "0"]),
        ({"scope": {"tenant": "tenant:other"}}, "NOT_FOUND", ["scope", "tenant"]),
        ({"scope": tenant, "limit": 5}, "INVALID", ["limit"]),
        ({"scope": tenant, "before": ago(-1)}, "INVALID", ["renderedBefore"]),
        ({"scope": tenant, "before": ago(1), "limit": 0}, "LIMIT", ["limit"]),
        ({"scope": tenant, "before": ago(1), "limit": purges.MAX_PACKS + 1}, "LIMIT", ["limit"]),
    ]
    for variables, code, field in refused:
        error = api.refusal(PURGE, **variables)
        assert (error["code"], error["field"]) == (code, field), variables
    assert front.rows() == []


def test_a_purge_requires_cdn_write_and_with_rendered_before_also_jobs_write(api: Api, front: Front) -> None:
    pack_id = aged(front.playground, days=30)
    api.caller = replace(api.caller, scopes=frozenset(Scope) - {Scope.CDN_WRITE})
    assert api.refusal(PURGE, scope={"packIds": [pack_id]})["expected"] == "cdn:write"
    api.caller = replace(api.caller, scopes=frozenset({Scope.READ, Scope.CDN_WRITE}))
    assert api.payload(PURGE, scope={"packIds": [pack_id]})["job"] is not None
    assert api.refusal(PURGE, scope={"packIds": [pack_id]}, before=ago(1))["expected"] == "jobs:write"
