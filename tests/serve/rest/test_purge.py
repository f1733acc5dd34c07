"""Purges by hand, as operators of the old platform send them."""

from typing import Any

import pytest

from tests.serve.admin.test_edges import ask
from tests.serve.conftest import TOKEN
from tests.serve.rest.conftest import Rest
from tests.support.playground import TENANT, Playground

PURGES = "{ purges { nodes { scope cause state } } }"


@pytest.mark.parametrize(
    "path",
    ["/adminAPI/images/{tenant}/{id}", "/eu-north-1-prod-lof/images/{tenant}/{id}", "/x-lof/images/{tenant}/{id}-17"],
)
def test_a_purge_is_accepted_with_202_and_shows_in_graphql(rest: Rest, playground: Playground, path: str) -> None:
    pack_id = rest.post("imagePacks", {})["id"]
    before = ask(rest.client, PURGES)["purges"]["nodes"]
    told = rest.delete(path.format(tenant=TENANT, id=pack_id), status=202)
    assert {**told, "job": ""} == {"job": "", "tenant": TENANT, "id": pack_id}
    newest, *others = ask(rest.client, PURGES)["purges"]["nodes"]
    assert (newest["scope"], newest["cause"], newest["state"]) == (f"pack {pack_id}", "purge by admin", "QUEUED")
    assert others == before
    query = "query($id: ID!) { job(id: $id) { kind total createdBy } }"
    job = ask(rest.client, query, {"id": told["job"]})["job"]
    assert job == {"kind": "PURGE", "total": 1, "createdBy": "admin"}


@pytest.mark.parametrize("tenant", ["other", "Default", "%00", "..", "default%20"])
def test_another_tenants_path_purges_nothing(rest: Rest, tenant: str) -> None:
    pack_id = rest.post("imagePacks", {})["id"]
    for place in ("/adminAPI/images", "/eu-lof/images"):
        told: Any = rest.client.delete(f"{place}/{tenant}/{pack_id}", headers={"Authorization": f"Bearer {TOKEN}"})
        assert told.status_code == 404
    assert ask(rest.client, PURGES)["purges"]["nodes"] == []
