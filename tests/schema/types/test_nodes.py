"""Each node can be fetched by its id, and only within its tenant."""

from dataclasses import replace

from packshot.catalog.configuration.tenants import ensure_tenant
from resolvers import tenants
from tests.schema.api import REGENERATE, Api

NODES = "query Nodes($ids: [ID!]!) { nodes(ids: $ids) { __typename id } }"
UNKNOWN = "0123456789abcdef01234567"


def ids_of_everything(api: Api) -> dict[str, str]:
    """Create one object of each type, and return their ids by type."""
    pack_id = api.playground.pack()
    job = api.payload(REGENERATE, scope={"packIds": [pack_id]})["job"]["id"]
    query = (
        'query P($id: ID!) { pack(by: {id: $id}) { location(name: "main") { id location { id } variants { id } } } }'
    )
    pack_location = api.data(query, id=pack_id)["pack"]["location"]
    return {
        "Tenant": "tenant:default",
        "Pack": pack_id,
        "ImageLocation": pack_location["location"]["id"],
        "PackLocation": pack_location["id"],
        "Variant": pack_location["variants"][0]["id"],
        "Job": job,
    }


def test_every_node_is_found_by_its_id(api: Api) -> None:
    ids = ids_of_everything(api)
    assert ids["ImageLocation"] == "location:main"
    assert ids["PackLocation"] == f"packLocation:{ids['Pack']}:main"
    assert ids["Variant"].startswith(f"variant:{ids['Pack']}/main/")
    expected = [{"__typename": kind, "id": id} for kind, id in ids.items()]
    assert api.data(NODES, ids=list(ids.values()))["nodes"] == expected
    for node in expected:
        assert api.data("query N($id: ID!) { node(id: $id) { __typename id } }", id=node["id"])["node"] == node


def test_a_superseded_variant_is_still_found_by_its_id(api: Api) -> None:
    ids = ids_of_everything(api)
    api.playground.run_jobs()
    query = "query N($id: ID!) { node(id: $id) { ... on Variant { state width height format bytes url } } }"
    before = api.data(query, id=ids["Variant"])["node"]
    assert (before["state"], before["format"], before["width"], before["height"]) == ("READY", "AVIF", 600, 400)
    crop = "{topLeftX: 0, topLeftY: 0, bottomRightX: 0.5, bottomRightY: 1}"
    api.payload(
        f'mutation C($id: ID!) {{ setCrop(packId: $id, location: "main", crop: {crop}) {{ userErrors {{ code }} }} }}',
        id=ids["Pack"],
    )
    assert api.data(query, id=ids["Variant"])["node"] == before


def test_a_tenant_shows_its_defaults(api: Api) -> None:
    query = """{ node(id: "tenant:default") { ... on Tenant {
      name version resizeGravity useResizeIncludeAll formatPolicy keepCredits } } }"""
    tenant = {
        "name": "default",
        "version": 1,
        "resizeGravity": "CENTER",
        "useResizeIncludeAll": False,
        "formatPolicy": "ORIGINAL",
        "keepCredits": False,
    }
    assert api.data(query)["node"] == tenant
    tenants.update_tenant(api.caller, {"keep_credits": True})
    assert api.data(query)["node"] == {**tenant, "version": 2, "keepCredits": True}


def test_an_enlarged_variant_says_so_in_its_location_and_as_a_node(api: Api) -> None:
    api.playground.location("poster", width=900, height=600, fallback="main", allow_upscale=True)
    pack_id = api.playground.pack()
    query = """query P($id: ID!) { pack(by: {id: $id}) {
      main: location(name: "main") { variants { id upscaled } }
      poster: location(name: "poster") { variants { id upscaled } } } }"""
    pack = api.data(query, id=pack_id)["pack"]
    assert {variant["upscaled"] for variant in pack["main"]["variants"]} == {False}
    assert {variant["upscaled"] for variant in pack["poster"]["variants"]} == {True}
    for name in ("main", "poster"):
        for variant in pack[name]["variants"]:
            node = api.data("query N($id: ID!) { node(id: $id) { ... on Variant { id upscaled } } }", id=variant["id"])
            assert node["node"] == variant


def test_a_malformed_or_unknown_id_gives_null_only_in_its_place(api: Api) -> None:
    pack_id = api.playground.pack()
    bad = [
        "",
        ":",
        "tenant:",
        "tenant:absent",
        "Pack",
        "pack:1",
        UNKNOWN,
        pack_id.upper(),
        f"{pack_id}-1",
        "location:",
        "location:poster",
        "location:../main",
        "job:",
        f"job:{UNKNOWN}",
        UNKNOWN[:5],
        f"packLocation:{pack_id}",
        f"packLocation:{pack_id}:poster",
        f"packLocation:{UNKNOWN}:main",
        "variant:",
        f"variant:{pack_id}/main/{UNKNOWN}/w1-h1-crop-center-q80.jpg",
        f"variant:{UNKNOWN}/main/{UNKNOWN}/w1-h1-crop-center-q80.jpg",
        f"variant:{pack_id}/main/{UNKNOWN}/x",
        "💥",
    ]
    found = api.data(NODES, ids=[*bad, pack_id])["nodes"]
    assert found == [None] * len(bad) + [{"__typename": "Pack", "id": pack_id}]
    for id in bad:
        assert api.data("query N($id: ID!) { node(id: $id) { id } job(id: $id) { id } }", id=id) == {
            "node": None,
            "job": None,
        }


def test_the_id_of_another_type_gives_no_job(api: Api) -> None:
    assert api.data('{ job(id: "location:main") { id } }') == {"job": None}


def test_nodes_of_another_tenant_are_not_found(api: Api) -> None:
    ids = ids_of_everything(api)
    api.playground.run_jobs()
    with api.playground.site.catalog.write("other") as tx:
        ensure_tenant(tx)
    api.caller = replace(api.caller, tenant="other")
    found = dict(zip(ids, api.data(NODES, ids=list(ids.values()))["nodes"], strict=True))
    # Every tenant has a location `main`; the other objects belong to one tenant.
    assert found.pop("ImageLocation") is not None
    assert set(found.values()) == {None}
    assert api.data("query P($id: ID!) { pack(by: {id: $id}) { id } }", id=ids["Pack"]) == {"pack": None}
    assert api.data("{ packs { totalCount } jobs { totalCount } }") == {
        "packs": {"totalCount": 0},
        "jobs": {"totalCount": 0},
    }


def test_more_than_100_ids_are_refused(api: Api) -> None:
    error = api.error(NODES, ids=["x"] * 101)
    assert error["extensions"] == {"code": "LIMIT", "field": ["ids"], "expected": "at most 100", "got": "101"}
