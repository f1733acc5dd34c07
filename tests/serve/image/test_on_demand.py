"""The tenant's on-demand policy applies to every kind of URL."""

from datetime import UTC, datetime, timedelta
from io import BytesIO
from typing import Any

import pytest
import sqlalchemy as sa
from PIL import Image
from starlette.testclient import TestClient

from packshot.catalog.tables.work import jobs, purges
from packshot.model import OnDemand
from resolvers import access_keys, packs, tenants
from tests.serve.conftest import TOKEN
from tests.support.pictures import photo
from tests.support.playground import TENANT, Playground

ADMIN = {"Authorization": f"Bearer {TOKEN}"}


@pytest.fixture
def pack_id(playground: Playground) -> str:
    """A rendered pack with an original at `main` and a location `thumb` that falls back to it."""
    playground.location("thumb", width=160, height=90, fallback="main")
    pack_id = playground.pack(picture=photo(900, 600))
    packs.update_pack(playground.caller, pack_id, {"external_id": "film"})
    playground.run_jobs()
    return pack_id


def set_policy(playground: Playground, policy: OnDemand) -> None:
    _, job = tenants.update_tenant(playground.caller, {"on_demand": policy})
    assert job is None, "no planned variant changes"
    # Expire the cached policy, as if a second had passed.
    playground.site.access_policy._fresh_until = playground.site.access_policy._read_at = float("-inf")


def blobs(playground: Playground) -> set[str]:
    return set(playground.site.variants.list(f"{TENANT}/"))


def width_of(answer: Any) -> int:
    assert answer.status_code == 200, answer.text
    return Image.open(BytesIO(answer.content)).width


def graphql(client: TestClient, query: str) -> Any:
    return client.post("/graphql", json={"query": query}, headers=ADMIN).json()


def srcset(picture: Any) -> list[str]:
    return [part.split()[0] for source in picture["sources"] for part in source["srcset"].split(", ")]


def test_update_tenant_sets_the_policy_at_once_and_without_force(
    client: TestClient, playground: Playground, pack_id: str
) -> None:
    there = blobs(playground)
    update = "mutation { updateTenant(input: {%s}) { tenant { onDemand unplannedBytesLimit unplannedBytesUsed version }"
    update += " job { id } userErrors { code field expected got } } }"
    with playground.site.catalog.read(TENANT) as tx:
        before = tx.connection.scalar(sa.select(sa.func.count()).select_from(jobs))
    answer = graphql(client, update % "onDemand: STEPS, unplannedBytesLimit: 5000000000")["data"]["updateTenant"]
    tenant = answer["tenant"]
    assert (tenant["onDemand"], tenant["unplannedBytesLimit"]) == ("STEPS", 5_000_000_000)
    assert (answer["job"], answer["userErrors"]) == (None, [])
    with playground.site.catalog.read(TENANT) as tx:
        assert tx.connection.scalar(sa.select(sa.func.count()).select_from(jobs)) == before
        # Caches hold responses of the former policy.
        assert tx.connection.scalars(sa.select(purges.c.scope).where(purges.c.scope == "tenant")).all()
    assert blobs(playground) == there
    again = graphql(client, update % "onDemand: null, unplannedBytesLimit: null")["data"]["updateTenant"]["tenant"]
    assert (again["onDemand"], again["unplannedBytesLimit"]) == ("ANY", 10 * 1024**3)
    refused = graphql(client, update % "onDemand: STEPS, unplannedBytesLimit: -1")["data"]["updateTenant"]
    assert refused["userErrors"] == [
        {"code": "INVALID", "field": ["input", "unplannedBytesLimit"], "expected": "0 or more", "got": "-1"}
    ]
    assert graphql(client, "{ viewer { tenant { onDemand version } } }")["data"]["viewer"]["tenant"] == {
        "onDemand": "ANY",
        "version": again["version"],
    }


def test_with_policy_steps_many_sizes_share_few_variants(
    client: TestClient, playground: Playground, pack_id: str
) -> None:
    set_policy(playground, OnDemand.STEPS)
    url, there = f"/api/v2/img/{pack_id}", blobs(playground)
    assert {width_of(client.get(f"{url}?width={width}&quality={width // 7}")) for width in range(481, 512, 3)} == {512}
    assert width_of(client.get(f"{url}?location=thumb&width=160")) == 160
    assert client.head(f"{url}?width=499").headers["content-location"].split("/")[-1].startswith("w512-h341-")
    picture = client.get(f"{url}/picture.json?widths=300,310,320").json()
    assert all("320w" in source["srcset"] and "300w" not in source["srcset"] for source in picture["sources"])
    assert all(client.get(one).status_code == 200 for one in srcset(picture))
    assert width_of(client.get("/live/film_300_200.jpg")) == 320
    assert len(blobs(playground) - there) <= 12


def test_an_immutable_url_off_the_ladder_redirects_to_the_ladder(
    client: TestClient, playground: Playground, pack_id: str
) -> None:
    stored = client.get(f"/api/v2/img/{pack_id}?width=333").headers["content-location"]
    missing = f"/i/{playground.target(pack_id, 'width=335').key}"
    set_policy(playground, OnDemand.STEPS)
    assert width_of(client.get(stored)) == 333, "stored variants are served"
    there = blobs(playground)
    led = client.get(missing)
    assert led.status_code == 302
    assert blobs(playground) == there
    assert width_of(client.get(led.headers["location"])) == 352


@pytest.mark.parametrize("policy", [OnDemand.RENDITIONS, OnDemand.SIGNED])
def test_a_request_that_the_policy_denies_is_refused_and_not_rendered(
    client: TestClient, playground: Playground, pack_id: str, policy: OnDemand
) -> None:
    missing = f"/i/{playground.target(pack_id, 'width=335').key}"
    set_policy(playground, policy)
    url, there = f"/api/v2/img/{pack_id}", blobs(playground)
    for asked in (f"{url}?width=335", f"{url}?quality=3", missing, "/live/film_335_200.jpg", f"{missing}?signature=x"):
        refused = client.get(asked)
        assert refused.status_code == 403, asked
        assert refused.headers["cache-control"] == "no-store"
        told = refused.json()
        assert "900x600" in told["expected"]
        assert told["got"]
        assert client.head(asked).status_code == 403
    assert client.get(f"{url}/picture.json?widths=335").status_code == 403
    assert blobs(playground) == there
    for planned in (url, f"{url}?location=thumb", f"{url}?location=thumb&width=160&height=90", f"{url}/picture.json"):
        assert client.get(planned).status_code == 200, planned
    assert all(client.get(one).status_code == 200 for one in srcset(client.get(f"{url}/picture.json").json()))
    assert blobs(playground) == there, "every planned variant was stored before"


def test_with_policy_signed_a_signature_or_an_access_key_allows_unplanned_variants(
    client: TestClient, playground: Playground, pack_id: str
) -> None:
    set_policy(playground, OnDemand.SIGNED)
    widths = '{ pack(by: {id: "%s"}) { location(name: "main") { picture(widths: [335]) { sources { srcset } } } } }'
    assert "expires and signature" in graphql(client, widths % pack_id)["errors"][0]["extensions"]["expected"]
    _, secret = access_keys.create_key(playground.caller, "pages")
    set_policy(playground, OnDemand.SIGNED)
    url = f"http://testserver/api/v2/img/{pack_id}?width=335"
    signed, _ = access_keys.sign_url(playground.caller, url, datetime.now(UTC) + timedelta(hours=1))
    assert client.get(f"{url}&expires=9999999999&signature={'0' * 64}").status_code == 403
    assert width_of(client.get(signed)) == 335
    assert client.get(url).status_code == 403, "even a stored variant needs a signature"
    assert width_of(client.get(f"{url}&format=png", headers={"X-Packshot-Access-Key": secret})) == 335
    # GraphQL signs the URLs of unplanned variants only.
    picture = graphql(client, (widths % pack_id).replace("335", "337, 900"))["data"]["pack"]["location"]["picture"]
    found = srcset(picture)
    assert any("signature=" in one for one in found)
    assert any("signature=" not in one for one in found)
    for one in found:
        assert client.get(one).status_code == 200, one
    page = f"http://testserver/api/v2/img/{pack_id}/picture.json?widths=339"
    signed_page, _ = access_keys.sign_url(playground.caller, page, datetime.now(UTC) + timedelta(hours=1))
    assert client.get(page).status_code == 403
    assert all(client.get(one).status_code == 200 for one in srcset(client.get(signed_page).json()))


def test_explain_names_the_policy_and_its_effect(client: TestClient, playground: Playground, pack_id: str) -> None:
    url = f"/api/v2/img/{pack_id}?width=500&explain=1"
    assert client.get(url, headers=ADMIN).json()["onDemand"]["policy"] == "ANY"
    set_policy(playground, OnDemand.STEPS)
    told = client.get(url, headers=ADMIN).json()
    assert told["onDemand"]["applies"] is True
    assert told["onDemand"]["askedPlan"].startswith("w500-h333-")
    assert told["plan"].startswith("w512-h341-")
    set_policy(playground, OnDemand.RENDITIONS)
    told = client.get(url, headers=ADMIN).json()
    assert told["answer"] == {"status": 403}
    assert told["refusal"]["got"].startswith("w500-h333-")
    assert client.get(f"/api/v2/img/{pack_id}?explain=1", headers=ADMIN).json()["onDemand"]["applies"] is False
