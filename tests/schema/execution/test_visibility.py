"""The fields that a token with one scope can read, on every path of the schema."""

from collections.abc import Iterator
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
from graphql import (
    EnumValueNode,
    GraphQLError,
    GraphQLField,
    GraphQLObjectType,
    StringValueNode,
    build_schema,
    get_named_type,
    is_abstract_type,
    is_leaf_type,
)

from resolvers.caller import Scope
from schema.build import schema, sdl
from tests.schema.api import Api
from tests.support.pictures import jpeg, photo

SDL = build_schema(sdl())
ERRORS = (
    "InputError: code message field expected got",
    "Taken: code message field expected got",
    "VersionConflict: code message field expected got currentVersion",
)
# Objects that a version conflict can contain.
NODES = (
    "Tenant: id version name",
    "ImageLocation: id version name",
    "Pack: id version sequenceNumber stableUrl",
    "PackLocation: id version name stableUrl",
    "Webhook: id active",
    "WebhookDelivery: id",
    "Variant: id",
    "Purge: id",
    "Job: id kind state packId priority total done skipped failed variantsPerSecond etaSeconds stalledReason createdAt"
    " startedAt heartbeatAt activatedAt finishedAt",
)
PLAN = (
    "LocationPlan: id name baseVersion requiresForce packs render reuse upscaled cpuSeconds wallSeconds bytes"
    " purgeRequests expiresAt",
    "FieldChange: field after requiresForce",
    "ForceRequired: code message field expected got",
)
VIEWER = ("Viewer: subject scopes expiresAt epoch",)
COMMON = (*VIEWER, *ERRORS, *PLAN, *NODES)
# By scope: every leaf that a token with only that scope can read.
EXPECTED: dict[Scope, tuple[str, ...]] = {
    Scope.LOCATIONS_WRITE: (*COMMON, "DeleteLocationPayload: deletedId deletedName"),
    Scope.PACKS_WRITE: (*COMMON, "DeletePackPayload: deletedId", "WebhookPayload: secret"),
    Scope.UPLOADS_WRITE: (*COMMON, "Upload: id url method maxBytes expiresAt", "KeyValue: name value"),
    Scope.JOBS_WRITE: COMMON,
    Scope.CDN_WRITE: COMMON,
}


@pytest.fixture
def database_url() -> None:
    """SQLite is enough: these tests are about scopes."""


def required(field: GraphQLField) -> Scope | None:
    """Return the scope that a field requires according to the SDL."""
    for directive in field.ast_node.directives or () if field.ast_node else ():
        if directive.name.value == "requires":
            (argument,) = directive.arguments or ()
            assert isinstance(argument.value, EnumValueNode | StringValueNode)
            return Scope(argument.value.value)
    return None


def reachable(held: Scope) -> dict[str, set[str]]:
    """Return by type the leaves that a caller with only one scope can reach."""
    found: dict[str, set[str]] = {}
    roots = (SDL.query_type, SDL.mutation_type, SDL.subscription_type)
    waiting: list[Any] = [root for root in roots if root is not None]
    seen = set()
    while waiting:
        kind = waiting.pop()
        if kind.name in seen:
            continue
        seen.add(kind.name)
        for name, field in kind.fields.items():
            if required(field) not in (None, held):
                continue
            below = get_named_type(field.type)
            if is_leaf_type(below):
                found.setdefault(kind.name, set()).add(name)
            else:
                waiting += SDL.get_possible_types(below) if is_abstract_type(below) else [below]
    return found


@pytest.mark.parametrize("scope", list(EXPECTED))
def test_a_token_with_one_scope_reaches_exactly_the_declared_fields(scope: Scope) -> None:
    expected = {kind: set(fields.split()) for kind, fields in (line.split(": ") for line in EXPECTED[scope])}
    assert reachable(scope) == expected


def test_every_scope_has_declared_fields() -> None:
    assert {*EXPECTED, Scope.READ} == set(Scope)


def closed_fields() -> Iterator[tuple[str, str]]:
    """Yield type and name of each field that requires `read` according to the SDL."""
    for kind in SDL.type_map.values():
        if isinstance(kind, GraphQLObjectType):
            yield from ((kind.name, name) for name, field in kind.fields.items() if required(field) is Scope.READ)


def test_a_field_that_requires_read_is_refused_before_it_is_resolved(api: Api) -> None:
    caller = replace(api.caller, scopes=frozenset(Scope) - {Scope.READ})
    info: Any = SimpleNamespace(context=SimpleNamespace(caller=caller))
    roots = ("Query", "Mutation", "Subscription")
    checked = [(kind, name) for kind, name in closed_fields() if kind not in roots]
    assert ("LocationPlan", "samples") in checked
    assert ("PackLocation", "original") in checked
    for kind, name in checked:
        found = schema._schema.type_map[kind]
        assert isinstance(found, GraphQLObjectType)
        resolve = found.fields[name].resolve
        assert resolve is not None
        with pytest.raises(GraphQLError) as refused:
            resolve(None, info)
        assert refused.value.extensions is not None
        assert refused.value.extensions["code"] == "FORBIDDEN", (kind, name)
        assert refused.value.extensions["expected"] == "read"


SEES_PACK = "pack { id version sequenceNumber stableUrl } job { id state total } userErrors { code }"
SECRETS = (
    ("putLocation", "location { label }"),
    ("putLocation", "location { history { nodes { label } } }"),
    ("planLocation", "plan { samples { pack { externalId locations { original { url } } } } }"),
    ("planLocation", "plan { samples { before after } }"),
    ("planLocation", "plan { changes { field before } }"),
    ("createPack", "userErrors { ... on Taken { existing { ... on Pack { externalId } } } }"),
    ("createPack", "userErrors { ... on Taken { existing { ... on Pack { locations { original { url } } } } } }"),
    ("updatePack", "pack { externalId }"),
    ("updatePack", "pack { locations { original { url } } }"),
    ("regenerate", "job { createdBy }"),
    ("conflict", "userErrors { ... on VersionConflict { current { ... on Pack { externalId } } } }"),
    ("updatePackLocation", "packLocation { currentUrl }"),
    ("updatePackLocation", "packLocation { original { url } }"),
    ("setCrop", "previewUrls"),
    ("regenerate", "job { failures { nodes { pack { id } } } }"),
    ("regenerate", "job { reportUrl }"),
    ("purge", "job { location { label } }"),
    ("viewer", "tenant { formatPolicy }"),
)


def asked(pack_id: str) -> dict[str, tuple[Scope, str]]:
    """Return by name the scope and the beginning of an operation."""
    pack, locations = Scope.PACKS_WRITE, Scope.LOCATIONS_WRITE
    crop = "{topLeftX: 0, topLeftY: 0, bottomRightX: 0.5, bottomRightY: 1}"
    return {
        "putLocation": (locations, 'mutation { putLocation(input: {name: "thumb", formats: [AVIF]})'),
        "planLocation": (locations, 'mutation { planLocation(input: {name: "thumb", width: 30})'),
        "createPack": (pack, 'mutation { createPack(input: {externalId: "secret film"})'),
        "updatePack": (pack, f'mutation {{ updatePack(id: "{pack_id}", input: {{assetId: 5}})'),
        "conflict": (pack, f'mutation {{ updatePack(id: "{pack_id}", input: {{assetId: 5}}, expectedVersion: 999)'),
        "updatePackLocation": (
            pack,
            f'mutation {{ updatePackLocation(packId: "{pack_id}", location: "main", input: {{resizeGravity: NORTH}})',
        ),
        "setCrop": (pack, f'mutation {{ setCrop(packId: "{pack_id}", location: "main", crop: {crop}, dryRun: true)'),
        "regenerate": (Scope.JOBS_WRITE, f'mutation {{ regenerate(scope: {{packIds: ["{pack_id}"]}})'),
        "purge": (Scope.CDN_WRITE, 'mutation { purge(scope: {location: "thumb"})'),
        "viewer": (Scope.CDN_WRITE, "{ viewer"),
    }


def test_a_token_without_read_sees_only_the_result_of_its_own_call(api: Api) -> None:
    api.playground.location("thumb", width=20, height=10, label="secret label")
    pack_id = api.playground.pack(picture=jpeg(photo(60, 40)), external_id="secret film")
    all_scopes, calls = api.caller, asked(pack_id)
    for name, selection in SECRETS:
        scope, beginning = calls[name]
        api.caller = replace(all_scopes, scopes=frozenset({scope}))
        result = api.run(f"{beginning} {{ {selection} }} }}")
        assert result.errors, (name, selection)
        assert {(error.extensions or {})["code"] for error in result.errors} == {"FORBIDDEN"}
        assert "secret" not in str(result.data)
        assert "http" not in str(result.data)
        # With `read` in addition the selection is allowed.
        api.caller = replace(all_scopes, scopes=frozenset({scope, Scope.READ}))
        assert api.run(f"{beginning} {{ {selection} }} }}").errors is None
    api.caller = replace(all_scopes, scopes=frozenset({Scope.PACKS_WRITE}))
    changed = api.data(f"{calls['updatePack'][1]} {{ {SEES_PACK} }} }}")["updatePack"]
    assert (changed["userErrors"], changed["pack"]["id"]) == ([], pack_id)
    conflict = api.data(
        f"{calls['conflict'][1]} {{ userErrors {{ ... on VersionConflict {{ current {{ id }} }} }} }} }}"
    )
    assert conflict["updatePack"]["userErrors"] == [{"current": {"id": pack_id}}]


def test_a_webhook_for_pack_events_requires_the_scope_read(api: Api) -> None:
    create = """mutation { createWebhook(url: "https://hooks.example/", events: ["pack.changed"]) {
        webhook { id } secret userErrors { code expected } } }"""
    rotate = """mutation($id: ID!) { rotateWebhookSecret(id: $id) { secret userErrors { code expected } } }"""
    all_scopes = api.caller
    api.caller = replace(all_scopes, scopes=frozenset({Scope.PACKS_WRITE}))
    refused = api.data(create)["createWebhook"]
    forbidden = {"secret": None, "userErrors": [{"code": "FORBIDDEN", "expected": "read"}]}
    assert refused == {"webhook": None} | forbidden
    api.caller = replace(all_scopes, scopes=frozenset({Scope.PACKS_WRITE, Scope.READ}))
    created = api.data(create)["createWebhook"]
    assert created["secret"]
    api.caller = replace(all_scopes, scopes=frozenset({Scope.PACKS_WRITE}))
    assert api.data(rotate, id=created["webhook"]["id"])["rotateWebhookSecret"] == forbidden
