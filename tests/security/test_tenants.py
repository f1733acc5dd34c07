"""GraphQL answers for another tenant's objects exactly as for objects that do not exist, in every field."""

import base64
import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import jwt
import pytest
from graphql import GraphQLObjectType, build_schema
from pydantic import SecretStr
from starlette.testclient import TestClient

from packshot.catalog.configuration.tenants import ensure_tenant
from packshot.settings.settings import Settings
from pregen.queue.broker import make_broker
from resolvers.caller import Scope
from schema.build import sdl
from serve.app import create_app
from tests.serve.conftest import TOKEN
from tests.support.pictures import jpeg, photo
from tests.support.playground import TENANT, Playground

KEY = "0123456789abcdef0123456789abcdef"
DOMAIN = "images.example"
SOON = f"{datetime.now(UTC) + timedelta(days=1):%Y-%m-%dT%H:%M:%SZ}"
REFUSED = "userErrors { code message field expected got }"
PACK_LOCATION = f"{{ packLocation {{ id }} pack {{ id }} job {{ id }} {REFUSED} }}"

# Ids of objects that do not exist, in the form of those that do.
NONEXISTENT = {
    "pack": "0123456789abcdef01234567",
    "job": "job:0123456789abcdef01234567",
    "upload": "fedcba9876543210fedcba98",
    "location": "absent-place",
    "external": "film-absent",
    "asset": 4712,
    "tenant": "tenant:nonexistent",
    "webhook": "webhook:0123456789abcdef01234567",
    "delivery": "delivery:0123456789abcdef01234567",
    "purge": "purge:0123456789abcdef01234567",
    "key": "an unused key",
    "stable_url": "http://testserver/api/v2/img/nonexistent/0123456789abcdef01234567",
    "immutable_url": (
        f"http://testserver/i/nonexistent/0123456789abcdef01234567/main/{'0' * 24}/w9-h9-crop-center-q80.jpg"
    ),
}

# By field: a document, and its variables by the names above. `own` is a pack of the caller.
ATTEMPTS: dict[str, list[tuple[str, dict[str, Any]]]] = {
    "viewer": [("{ viewer { tenant { version } } }", {})],
    "node": [
        ("query($id: ID!) { node(id: $id) { __typename id } }", {"id": f"{{{name}}}"})
        for name in ("pack", "job", "tenant", "webhook", "delivery", "purge", "pack_location", "variant", "place")
    ],
    "nodes": [
        (
            "query($ids: [ID!]!) { nodes(ids: $ids) { id } }",
            {"ids": ["{pack}", "{job}", "{pack_location}", "{variant}"]},
        )
    ],
    "location": [("query($name: String!) { location(name: $name) { id } }", {"name": "{location}"})],
    "locations": [
        ("{ locations { totalCount nodes { name } } }", {}),
        ("query($at: String) { locations(after: $at) { totalCount nodes { name } } }", {"at": "{locations_cursor}"}),
    ],
    "pack": [
        ("query($by: PackBy!) { pack(by: $by) { id } }", {"by": {"id": "{pack}"}}),
        ("query($by: PackBy!) { pack(by: $by) { id } }", {"by": {"externalId": "{external}"}}),
        ("query($by: PackBy!) { pack(by: $by) { id } }", {"by": {"assetId": "{asset}"}}),
    ],
    "packs": [
        ("{ packs { totalCount nodes { id } } }", {}),
        ("query($at: String) { packs(after: $at) { totalCount nodes { id } } }", {"at": "{packs_cursor}"}),
        ("query($f: PackFilter) { packs(filter: $f) { totalCount } }", {"f": {"externalIds": ["{external}"]}}),
        ("query($f: PackFilter) { packs(filter: $f) { totalCount } }", {"f": {"assetIds": ["{asset}"]}}),
        ("query($f: PackFilter) { packs(filter: $f) { totalCount } }", {"f": {"nothingToShowAt": "{location}"}}),
    ],
    "job": [("query($id: ID!) { job(id: $id) { id } }", {"id": "{job}"})],
    "jobs": [
        ("{ jobs { totalCount } }", {}),
        ("query($at: String) { jobs(after: $at) { totalCount nodes { id } } }", {"at": "{jobs_cursor}"}),
    ],
    "changes": [("{ changes { nodes { id externalId assetId } } }", {})],
    "purges": [
        ("{ purges { totalCount } }", {}),
        ("query($at: String) { purges(after: $at) { totalCount nodes { id } } }", {"at": "{purges_cursor}"}),
    ],
    "webhooks": [("{ webhooks { id url } }", {})],
    "updateTenant": [(f"mutation {{ updateTenant(input: {{keepCredits: true}}) {{ {REFUSED} }} }}", {})],
    "putLocation": [
        (
            f"mutation($i: LocationInput!) {{ putLocation(input: $i) {{ location {{ version label }} {REFUSED} }} }}",
            {"i": {"name": "{location}", "width": 10}},
        ),
        (
            f"mutation($i: LocationInput!) {{ putLocation(input: $i) {{ location {{ version }} {REFUSED} }} }}",
            {"i": {"name": "mine", "width": 10, "fallback": "{location}"}},
        ),
    ],
    "planLocation": [
        (
            f"mutation($i: LocationInput!) {{ planLocation(input: $i) {{ plan {{ baseVersion packs }} {REFUSED} }} }}",
            {"i": {"name": "{location}", "width": 10}},
        ),
        (
            f"mutation($i: LocationInput!) {{ planLocation(input: $i) {{ plan {{ packs }} {REFUSED} }} }}",
            {"i": {"name": "mine", "width": 10, "fallback": "{location}"}},
        ),
    ],
    "deleteLocation": [
        (f"mutation($n: String!) {{ deleteLocation(name: $n) {{ deletedId {REFUSED} }} }}", {"n": "{location}"}),
    ],
    "addRendition": [
        (
            f"mutation($n: String!) {{ addRendition(location: $n, rendition: {{width: 9}}) {{ {REFUSED} }} }}",
            {"n": "{location}"},
        ),
    ],
    "createPacks": [
        (
            "mutation($i: [PackInput!]!, $what: OnExisting!) { createPacks(inputs: $i, onExisting: $what) { "
            f"results {{ pack {{ id version }} {REFUSED} }} {REFUSED} }} }}",
            {
                "i": [
                    {"externalId": "{external}", "assetId": "{asset}"},
                    {"mainLocation": "{location}"},
                    {"originals": [{"location": "{location}", "source": {"url": "http://host.invalid/a"}}]},
                    {"originals": [{"location": "main", "source": {"uploadId": "{upload}"}}]},
                ],
                "what": what,
            },
        )
        for what in ("FAIL", "SKIP", "UPDATE")
    ],
    "createPack": [
        (
            f"mutation($i: PackInput!) {{ createPack(input: $i) {{ pack {{ id version }} {REFUSED} }} }}",
            {"i": {"externalId": "{external}", "assetId": "{asset}"}},
        ),
        (
            f"mutation($i: PackInput!) {{ createPack(input: $i) {{ {REFUSED} }} }}",
            {"i": {"mainLocation": "{location}"}},
        ),
        (f"mutation($k: String!) {{ createPack(idempotencyKey: $k) {{ pack {{ id }} {REFUSED} }} }}", {"k": "{key}"}),
    ],
    "updatePack": [
        (f"mutation($p: ID!) {{ updatePack(id: $p, input: {{}}) {{ pack {{ id }} {REFUSED} }} }}", {"p": "{pack}"}),
        (
            f"mutation($p: ID!, $i: PackInput!) {{ updatePack(id: $p, input: $i) {{ pack {{ version }} {REFUSED} }} }}",
            {"p": "{own}", "i": {"externalId": "{external}"}},
        ),
    ],
    "deletePack": [(f"mutation($p: ID!) {{ deletePack(id: $p) {{ deletedId {REFUSED} }} }}", {"p": "{pack}"})],
    "erasePack": [
        (
            f'mutation($p: ID!) {{ erasePack(id: $p, reason: "rights") {{ job {{ id }} {REFUSED} }} }}',
            {"p": "{pack}"},
        )
    ],
    "createUpload": [
        (
            f"""mutation($k: String!) {{
              createUpload(input: {{mediaType: "image/jpeg", bytes: 9}}, idempotencyKey: $k) {{
                upload {{ id }} {REFUSED} }} }}""",
            {"k": "{key}"},
        )
    ],
    "setOriginal": [
        (
            f"""mutation($p: ID!, $u: ID!) {{
              setOriginal(packId: $p, location: "main", source: {{uploadId: $u}}) {PACK_LOCATION} }}""",
            variables,
        )
        for variables in ({"p": "{pack}", "u": "{upload}"}, {"p": "{own}", "u": "{upload}"})
    ],
    "setCrop": [
        (
            f"""mutation($p: ID!, $l: String!) {{ setCrop(packId: $p, location: $l,
              crop: {{topLeftX: 0, topLeftY: 0, bottomRightX: 1, bottomRightY: 1}}) {PACK_LOCATION} }}""",
            variables,
        )
        for variables in ({"p": "{pack}", "l": "main"}, {"p": "{own}", "l": "{location}"})
    ],
    "removeOriginal": [
        (f'mutation($p: ID!) {{ removeOriginal(packId: $p, location: "main") {PACK_LOCATION} }}', {"p": "{pack}"}),
    ],
    "updatePackLocation": [
        (
            f'mutation($p: ID!) {{ updatePackLocation(packId: $p, location: "main", input: {{}}) {PACK_LOCATION} }}',
            {"p": "{pack}"},
        ),
    ],
    "updatePackLocations": [
        (
            f"""mutation($p: ID!) {{ updatePackLocations(packId: $p, inputs: [{{location: "main"}}]) {{
              pack {{ id }} {REFUSED} }} }}""",
            {"p": "{pack}"},
        ),
    ],
    "regenerate": [
        (
            f"mutation($s: JobScope!) {{ regenerate(scope: $s) {{ job {{ total }} {REFUSED} }} }}",
            {"s": scope},
        )
        for scope in ({"packIds": ["{pack}"]}, {"location": "{location}"}, {"tenant": "{tenant}"})
    ],
    "purge": [
        (
            f"mutation($s: JobScope!) {{ purge(scope: $s{before}) {{ job {{ total }} {REFUSED} }} }}",
            {"s": scope},
        )
        for scope in ({"packIds": ["{pack}"]}, {"location": "{location}"}, {"tenant": "{tenant}"})
        for before in ("", ', renderedBefore: "2020-01-01T00:00:00Z"')
    ],
    "rollbackLocation": [
        (
            f"mutation($n: String!) {{ rollbackLocation(name: $n, toVersion: 1, force: true) {{ {REFUSED} }} }}",
            {"n": "{location}"},
        ),
    ],
    **{
        name: [(f"mutation($id: ID!) {{ {name}(id: $id) {{ job {{ id state }} {REFUSED} }} }}", {"id": "{job}"})]
        for name in ("activateJob", "pauseJob", "resumeJob", "cancelJob", "retryJobFailures")
    },
    "createWebhook": [
        (
            f"""mutation {{ createWebhook(url: "https://hooks.example/", events: ["pack.changed"]) {{
              webhook {{ id }} {REFUSED} }} }}""",
            {},
        )
    ],
    "deleteWebhook": [
        (f"mutation($id: ID!) {{ deleteWebhook(id: $id) {{ webhook {{ id }} {REFUSED} }} }}", {"id": "{webhook}"})
    ],
    "rotateWebhookSecret": [
        (f"mutation($id: ID!) {{ rotateWebhookSecret(id: $id) {{ webhook {{ id }} {REFUSED} }} }}", {"id": "{webhook}"})
    ],
    "replayDelivery": [
        (f"mutation($id: ID!) {{ replayDelivery(id: $id) {{ webhook {{ id }} {REFUSED} }} }}", {"id": "{delivery}"})
    ],
    "signUrl": [
        (
            f"""mutation($u: URL!) {{ signUrl(url: $u, expiresAt: "{SOON}") {{
              url expiresAt {REFUSED} }} }}""",
            {"u": url},
        )
        for url in ("{stable_url}", "{immutable_url}")
    ],
    "jobProgress": [("subscription($id: ID!) { jobProgress(id: $id) { state } }", {"id": "{job}"})],
    "packChanged": [("subscription($id: ID!) { packChanged(id: $id) { id } }", {"id": "{pack}"})],
}


@pytest.fixture
def database_url() -> None:
    """One database is enough, because the tests of the catalog run on both."""


@dataclass
class Tenants:
    """An installation with one tenant that has one object of each kind. Other tenants are created on demand."""

    playground: Playground
    client: TestClient
    theirs: dict[str, Any]
    count: int = 0

    def token(self, tenant: str) -> str:
        claims = {
            "sub": "ann",
            "tenant": tenant,
            "scope": " ".join(Scope),
            "exp": datetime.now(UTC) + timedelta(hours=1),
        }
        return jwt.encode(claims, KEY, "HS256")

    def ask(self, tenant: str, document: str, variables: dict[str, Any]) -> tuple[int, str]:
        headers = {"Authorization": f"Bearer {self.token(tenant)}"}
        if document.startswith("subscription"):
            headers["Accept"] = "text/event-stream"
        answer = self.client.post("/graphql", json={"query": document, "variables": variables}, headers=headers)
        return answer.status_code, answer.text

    def newcomer(self) -> tuple[str, str]:
        """Create a tenant; return its name and the id of its one pack."""
        self.count += 1
        tenant = f"books-{self.count}"
        with self.playground.site.catalog.write(tenant) as tx:
            ensure_tenant(tx)
        _, text = self.ask(tenant, "mutation { createPack { pack { id } } }", {})
        return tenant, json.loads(text)["data"]["createPack"]["pack"]["id"]

    def attempt(self, document: str, variables: dict[str, Any], known: dict[str, Any]) -> tuple[int, str]:
        """Send the document as a new tenant, and return the response without the names that the request contained."""
        tenant, own = self.newcomer()
        status, text = self.ask(tenant, document, _fill(variables, known | {"own": own}))
        return status, _strike(text, known | {"who": tenant})


def _fill(value: Any, known: dict[str, Any]) -> Any:
    if isinstance(value, dict):
        return {name: _fill(item, known) for name, item in value.items()}
    if isinstance(value, list):
        return [_fill(item, known) for item in value]
    return known[value[1:-1]] if isinstance(value, str) and value.startswith("{") else value


def _strike(text: str, known: dict[str, Any]) -> str:
    text = re.sub(r"[0-9a-f]{24,}", "<id>", text)
    # The refilled part of a budget depends on time.
    text = re.sub(r'"available":\d+', '"available":<left>', text)
    for name in sorted(known, key=lambda name: -len(str(known[name]))):
        text = text.replace(str(known[name]), f"<{name}>")
    return text


def _nonexistent(theirs: dict[str, Any]) -> dict[str, Any]:
    """Return the variables with names of no existing object, also within ids and cursors."""

    def swap(text: str) -> str:
        for name in ("pack", "job", "purge", "location"):
            text = text.replace(theirs[name].rpartition(":")[2], str(NONEXISTENT[name]).rpartition(":")[2])
        return text

    composed = {name: swap(theirs[name]) for name in ("pack_location", "variant", "place")}
    for name in ("packs_cursor", "jobs_cursor", "purges_cursor", "locations_cursor"):
        plain = base64.urlsafe_b64decode(theirs[name] + "=" * (-len(theirs[name]) % 4)).decode()
        composed[name] = base64.urlsafe_b64encode(swap(plain).encode()).decode().rstrip("=")
    return NONEXISTENT | composed


@contextmanager
def _serving(playground: Playground, **changes: Any) -> Iterator[TestClient]:
    settings = Settings(**playground.settings.model_dump() | {"jwt_secret": SecretStr(KEY)} | changes)
    app = create_app(playground.with_settings(settings), make_broker(settings), playground.doorbell, TOKEN)
    with TestClient(app, raise_server_exceptions=False, follow_redirects=False, client=("127.0.0.1", 50_000)) as client:
        yield client


@pytest.fixture
def tenants(playground: Playground) -> Iterator[Tenants]:
    with _serving(playground) as client:
        tenants = Tenants(playground, client, {})

        def ask(document: str, **variables: Any) -> Any:
            body = json.loads(tenants.ask(TENANT, document, variables)[1])
            assert "errors" not in body, body
            return body["data"]

        url = "https://hooks.example/"
        ask('mutation($u: URL!) { createWebhook(url: $u, events: ["pack.changed"]) { userErrors { code } } }', u=url)
        playground.location("secret-place", width=64, height=48, fallback="main", label="Secret")
        pack_id = playground.pack(external_id="film-secret", asset_id=4711)
        playground.run_jobs()
        ask('mutation { createPack(idempotencyKey: "a key of ours") { pack { id } } }')
        seen = ask(
            """query($id: ID!) { pack(by: {id: $id}) { location(name: "secret-place") { id variants { id } } }
              packs { edges { cursor } } locations { edges { cursor } } jobs { edges { cursor node { id } } }
              purges { edges { cursor node { id } } } webhooks { id deliveries { nodes { id } } } }""",
            id=pack_id,
        )
        tenants.theirs = {
            "pack": pack_id,
            "job": seen["jobs"]["edges"][0]["node"]["id"],
            "upload": playground.upload(jpeg(photo(32, 32))),
            "location": "secret-place",
            "place": "location:secret-place",
            "external": "film-secret",
            "asset": 4711,
            "tenant": f"tenant:{TENANT}",
            "pack_location": seen["pack"]["location"]["id"],
            "variant": seen["pack"]["location"]["variants"][0]["id"],
            "webhook": seen["webhooks"][0]["id"],
            "delivery": seen["webhooks"][0]["deliveries"]["nodes"][0]["id"],
            "purge": seen["purges"]["edges"][0]["node"]["id"],
            "key": "a key of ours",
            "stable_url": f"http://testserver/api/v2/img/{TENANT}/{pack_id}",
            "immutable_url": f"http://testserver/i/{next(iter(playground.planned(pack_id)))}",
            "packs_cursor": seen["packs"]["edges"][-1]["cursor"],
            "jobs_cursor": seen["jobs"]["edges"][-1]["cursor"],
            "purges_cursor": seen["purges"]["edges"][-1]["cursor"],
            "locations_cursor": seen["locations"]["edges"][0]["cursor"],
        }
        yield tenants


def test_every_query_mutation_and_subscription_is_tried() -> None:
    schema = build_schema(sdl())
    roots = (schema.query_type, schema.mutation_type, schema.subscription_type)
    assert set(ATTEMPTS) == {name for root in roots if isinstance(root, GraphQLObjectType) for name in root.fields}
    kinds = {kind.name for kind in schema.get_implementations(schema.type_map["Node"]).objects}  # type: ignore[arg-type]
    assert len(ATTEMPTS["node"]) == len(kinds)


def test_objects_of_another_tenant_look_nonexistent(tenants: Tenants) -> None:
    nonexistent = _nonexistent(tenants.theirs)
    for field, attempts in ATTEMPTS.items():
        for document, variables in attempts:
            theirs = tenants.attempt(document, variables, tenants.theirs)
            assert theirs == tenants.attempt(document, variables, nonexistent), field
            assert "INTERNAL" not in theirs[1], field


def test_the_same_requests_succeed_for_the_owner(tenants: Tenants) -> None:
    """So that the tenant of the caller is the only reason for a refusal."""
    for name in ("pack", "job", "tenant", "webhook", "delivery", "purge", "pack_location", "variant", "place"):
        _, text = tenants.ask(TENANT, *ATTEMPTS["node"][0][:1], {"id": tenants.theirs[name]})
        assert json.loads(text)["data"]["node"]["id"] == tenants.theirs[name]


def test_the_attempts_change_nothing(tenants: Tenants) -> None:
    state = """{ packs { nodes { id version } } locations { nodes { name version label } } jobs { nodes { id state } }
      webhooks { id } viewer { tenant { version keepCredits } } }"""
    before = json.loads(tenants.ask(TENANT, state, {})[1])["data"]
    for attempts in ATTEMPTS.values():
        for document, variables in attempts:
            tenants.attempt(document, variables, tenants.theirs)
    assert json.loads(tenants.ask(TENANT, state, {})[1])["data"] == before


def test_urls_yield_nothing_on_another_tenants_host(tenants: Tenants) -> None:
    document = """mutation($i: UploadInput!) { createUpload(input: $i) { upload { id url headers { value } } } }"""
    data = jpeg(photo(16, 16))
    announced = {"mediaType": "image/jpeg", "bytes": len(data), "method": "PRESIGNED_PUT"}
    _, text = tenants.ask(TENANT, document, {"i": announced})
    upload = json.loads(text)["data"]["createUpload"]["upload"]
    token = {"X-Upload-Token": upload["headers"][0]["value"]}
    urls = 'query($id: ID!) { pack(by: {id: $id}) { location(name: "main") { currentUrl original { url } } } }'
    _, text = tenants.ask(TENANT, urls, {"id": tenants.theirs["pack"]})
    place = json.loads(text)["data"]["pack"]["location"]
    sha256 = re.search("[0-9a-f]{64}", place["original"]["url"])
    assert sha256 is not None
    known = {"pack": tenants.theirs["pack"], "upload": upload["id"], "sha256": sha256[0]}
    absent = {"pack": NONEXISTENT["pack"], "upload": NONEXISTENT["upload"], "sha256": "0" * 64}
    paths = [
        f"/api/v2/img/{known['pack']}",
        place["currentUrl"].partition("testserver")[2],
        place["original"]["url"].partition("testserver")[2],
        f"/uploads/{TENANT}/{known['upload']}",
    ]
    paths += [path.replace(f"/{TENANT}/", "/films/") for path in paths[1:]]
    with _serving(tenants.playground, tenant_domain=DOMAIN) as client:
        for path in paths:
            method, body = ("PUT", data) if path.startswith("/uploads") else ("GET", b"")
            answers = []
            for names in (known, absent):
                tried = path
                for name, value in known.items():
                    tried = tried.replace(value, names[name])
                answer = client.request(method, f"http://films.{DOMAIN}{tried}", content=body, headers=token)
                answers.append((answer.status_code, _strike(answer.text, names)))
            assert answers[0] == answers[1], path
            assert answers[0][0] in (403, 404), path
        for path in paths[:4]:
            method, body = ("PUT", data) if path.startswith("/uploads") else ("GET", b"")
            answer = client.request(method, f"http://{TENANT}.{DOMAIN}{path}", content=body, headers=token)
            assert answer.status_code == 200, path
