"""The explanation of a URL agrees with the URL's own response, and only readers of the tenant get it."""

import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from starlette.testclient import TestClient

from packshot.catalog.configuration.tenants import ensure_tenant
from packshot.geometry import Crop
from packshot.model import FormatPolicy, IncludeAll
from packshot.site import original_key
from resolvers import packs, tokens
from resolvers import tenants as tenant_resolvers
from tests.serve.conftest import TOKEN
from tests.support.command import Command
from tests.support.pictures import cutout, photo, png
from tests.support.playground import TENANT, Playground

ADMIN = {"Authorization": f"Bearer {TOKEN}"}
# Every parameter, with valid and invalid values.
VALUES = {
    "location": ["thumb", "cover", "alone", "main", "nowhere", ""],
    "width": ["20", "33", "5000", "x"],
    "height": ["20", "41"],
    "resize-mode": ["crop", "includeAll", "clip", "cover", "canvas", "stretch"],
    "resize-gravity": ["north", "focus", "smart", "southwest"],
    "skip-crop": ["true", "false"],
    "format": ["auto", "webp", "png", "jpeg"],
    "quality": ["50", "auto"],
    "rounded-corners": ["4"],
    "dpr": ["2", "0.5"],
    "background": ["112233"],
    "date": ["17"],
}
ACCEPT = ["", "image/avif,image/webp", "image/webp;q=0.5,*/*"]


@pytest.fixture
def pack_id(playground: Playground) -> str:
    """A pack whose locations get their originals, crops and policies from different levels."""
    playground.location("thumb", width=40, height=30, fallback="main")
    playground.location("cover", width=20, height=30, fallback="thumb", include_all=IncludeAll.TRUE)
    playground.location("alone", width=30, height=30, allow_upscale=True)
    pack_id = playground.pack(picture=photo(64, 48))
    playground.show(pack_id, "alone", png(cutout(16, 16)))
    packs.set_crop(playground.caller, pack_id, "main", Crop(0, 0, 0.5, 1))
    packs.set_crop(playground.caller, pack_id, "thumb", Crop(0.5, 0, 1, 1))
    playground.run_jobs()
    return pack_id


def ask(client: TestClient, url: str, **headers: str) -> Any:
    answer = client.get(url + ("&" if "?" in url else "?") + "explain=1", headers=ADMIN | headers)
    assert answer.status_code == 200
    assert answer.headers["cache-control"] == "private, no-store"
    assert answer.headers["content-type"] == "application/json"
    return answer.json()


QUERIES = st.fixed_dictionaries({}, optional={name: st.sampled_from(values) for name, values in VALUES.items()})


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(asked=QUERIES, accept=st.sampled_from(ACCEPT))
def test_an_explanation_agrees_with_the_response_of_the_url(
    client: TestClient, pack_id: str, asked: dict[str, str], accept: str
) -> None:
    url = f"/api/v2/img/{pack_id}?" + "&".join(f"{name}={value}" for name, value in asked.items())
    answer = client.get(url, headers={"Accept": accept})
    if answer.status_code == 400 and asked.get("width") == "x":
        # A malformed request is refused, not explained.
        assert client.get(f"{url}&explain=1", headers=ADMIN).content == answer.content
        return
    told = ask(client, url, Accept=accept)
    assert told["answer"]["status"] == answer.status_code
    if answer.status_code != 200:
        assert told["refusal"]["title"] == answer.json()["title"]
        return
    assert f"/i/{told['key']}" == answer.headers["content-location"]
    assert told["source"] == answer.headers["x-packshot-source"]
    assert told["stored"]["bytes"] == len(answer.content)
    headers = {name.lower(): text for name, text in told["headers"].items()}
    assert headers.items() <= dict(answer.headers).items()
    assert client.get(told["immutableUrl"]).content == answer.content
    immutable = ask(client, f"/i/{told['key']}")
    assert (immutable["key"], immutable["current"]["isThis"]) == (told["key"], True)


def test_an_explanation_names_the_source_of_each_value(client: TestClient, pack_id: str) -> None:
    told = ask(client, f"/api/v2/img/{pack_id}?location=cover&format=webp&resize-gravity=west")
    assert told["tenant"] == {"value": TENANT, "from": "default"}
    assert told["location"] == {"value": "cover", "from": "request"}
    assert (told["source"], told["consulted"]) == ("main", ["cover", "thumb", "main"])
    assert told["crop"] == {"value": {"left": 0, "top": 0, "right": 0.5, "bottom": 1}, "from": "main"}
    assert told["focus"] == {"value": None, "from": None}
    policy = told["policy"]
    assert policy["includeAll"] == {"value": True, "from": "location"}
    assert policy["mode"] == {"value": "includeall", "from": "location"}
    assert policy["gravity"] == {"value": "west", "from": "request"}
    assert policy["format"] == {"value": "webp", "from": "request"}
    assert policy["quality"] == {"value": "of the format", "from": "default"}
    assert policy["upscale"] == {"value": False, "from": "location"}
    assert policy["formats"] == {"value": ["avif", "webp", "jpeg"], "from": "default"}
    assert f"p:{TENANT}:{pack_id}" in told["tags"]
    assert [tag for tag in told["tags"] if tag.startswith("l:")] == [f"l:{TENANT}:{name}" for name in told["consulted"]]
    bare = ask(client, f"/api/v2/img/{pack_id}")
    assert bare["location"] == {"value": "main", "from": "default"}
    assert bare["policy"]["gravity"] == {"value": "center", "from": "tenant"}
    assert bare["policy"]["format"] == {"value": "original", "from": "tenant"}
    assert bare["ledger"]["state"] == "READY"
    assert bare["plannedAhead"] is True


def test_an_explanation_names_the_tenant_as_source_of_its_defaults(
    client: TestClient, playground: Playground, pack_id: str
) -> None:
    tenant_resolvers.update_tenant(playground.caller, {"format_policy": FormatPolicy.AUTO}, force=True)
    playground.run_jobs()
    told = ask(client, f"/api/v2/img/{pack_id}", Accept="image/webp")
    assert told["policy"]["format"] == {"value": "auto", "from": "tenant"}
    assert told["accepts"] == ["webp"]
    assert told["plan"].endswith(".webp")
    assert told["headers"]["Vary"] == "Accept"


def test_a_refusal_is_explained_up_to_the_failing_step(
    client: TestClient, playground: Playground, pack_id: str
) -> None:
    nowhere = ask(client, f"/api/v2/img/{pack_id}?location=nowhere")
    assert nowhere["refusal"]["code"] == "NOT_FOUND"
    assert nowhere["consulted"] == ["nowhere", "main"]
    empty = packs.create_pack(playground.caller, {}).pack.id
    told = ask(client, f"/api/v2/img/{empty}?location=thumb")
    assert (told["answer"], told["source"], told["consulted"]) == ({"status": 404}, None, ["thumb", "main"])
    absent = ask(client, f"/api/v2/img/{'0' * 24}")
    assert absent["refusal"]["title"] == "There is no such pack."
    packs.erase_pack(playground.caller, pack_id, "the rights have ended")
    assert ask(client, f"/api/v2/img/{pack_id}")["answer"] == {"status": 410}


def test_superseded_and_deleted_variants_are_explained(
    client: TestClient, playground: Playground, pack_id: str
) -> None:
    old = ask(client, f"/api/v2/img/{pack_id}?location=thumb")
    packs.set_crop(playground.caller, pack_id, "thumb", Crop(0, 0, 0.5, 0.5))
    playground.run_jobs()
    told = ask(client, f"/i/{old['key']}")
    assert (told["answer"]["status"], told["ledger"]["superseded"], told["current"]["isThis"]) == (200, True, False)
    playground.site.variants.delete(old["key"])
    told = ask(client, f"/i/{old['key']}")
    assert (told["answer"]["status"], told["stored"]) == (302, None)
    assert told["headers"] == {"Cache-Control": client.get(f"/i/{old['key']}").headers["cache-control"]}
    assert client.get(f"/i/{old['key']}").headers["location"] == f"/i/{told['current']['key']}"


def test_explain_has_no_effect_without_the_right_to_read_the_tenant(
    client: TestClient, playground: Playground, pack_id: str
) -> None:
    with playground.site.catalog.write("films") as tx:
        ensure_tenant(tx)
    _, foreign = tokens.create_token(replace(playground.caller, tenant="films"), "ci", ["read"])
    _, writer = tokens.create_token(playground.caller, "writer", ["packs:write"])
    _, reader = tokens.create_token(playground.caller, "reader", ["read"])
    urls = [f"/api/v2/img/{pack_id}", ask(client, f"/api/v2/img/{pack_id}")["immutableUrl"], f"/api/v2/img/{'0' * 24}"]
    for url in urls:
        plain = client.get(url)
        for headers in (
            {},
            {"Authorization": "Bearer wrong"},
            {"Authorization": "Basic eDp5"},
            {"Authorization": f"Bearer {foreign}"},
            {"Authorization": f"Bearer {writer}"},
        ):
            answer = client.get(f"{url}?explain=1", headers=headers)
            assert (answer.status_code, answer.content) == (plain.status_code, plain.content)
            assert answer.headers["cache-control"] == plain.headers["cache-control"]
        told = client.get(f"{url}?explain=1", headers={"Authorization": f"Bearer {reader}"})
        assert "answer" in told.json()
        assert client.get(f"{url}?explain=0", headers=ADMIN).content == plain.content


def test_the_admin_token_may_explain_urls_of_any_tenant(client: TestClient, playground: Playground) -> None:
    with playground.site.catalog.write("films") as tx:
        ensure_tenant(tx)
    told = ask(client, f"/api/v2/img/films/{'0' * 24}")
    assert told["tenant"] == {"value": "films", "from": "path"}
    assert told["answer"] == {"status": 404}


def test_the_command_explain_prints_the_same_explanation(
    client: TestClient, playground: Playground, pack_id: str
) -> None:
    command = Command(playground)
    url = f"http://127.0.0.1:8000/api/v2/img/{pack_id}?location=thumb&format=auto"
    told = command.json("explain", url, "--accept", "image/avif")
    by_http = ask(client, f"/api/v2/img/{pack_id}?location=thumb&format=auto", Accept="image/avif")
    assert told.pop("immutableUrl").removeprefix("http://127.0.0.1:8000") == f"/i/{told['key']}"
    by_http.pop("immutableUrl")
    assert json.dumps(told) == json.dumps(by_http)
    lines = command.run("explain", f"/i/{told['key']}").stdout.splitlines()
    assert any(line.split() == ["key", told["key"]] for line in lines)
    text = command.run("explain", url, "--accept", "image/avif").stdout
    assert "(from thumb)" in text
    assert told["key"] in text
    refused = command.run("explain", f"/api/v2/img/{pack_id}?location=nowhere", code=1)
    assert "There is no location 'nowhere'." in refused.stdout
    assert "expected /api/v2/img/<pack>" in command.run("explain", "http://127.0.0.1:8000/graphql", code=1).stderr
    assert "expected" in command.run("explain", f"/api/v2/img/{pack_id}/picture.json", code=1).stderr


@pytest.mark.parametrize("fault", ["missing", "damaged"])
def test_a_missing_or_damaged_original_is_explained(
    client: TestClient, playground: Playground, pack_id: str, fault: str
) -> None:
    original = playground.snapshot(pack_id).pack_location("main").original
    assert original is not None
    path = playground.site.originals.local_path(original_key(TENANT, original.sha256))
    assert path is not None
    body = path.read_bytes()
    if fault == "missing":
        path.unlink()
    else:
        path.write_bytes(body[:-1] + bytes([body[-1] ^ 1]))
    url = f"/api/v2/img/{pack_id}?width=23&format=png"
    for _ in range(4):
        answer = client.get(url)
        assert answer.status_code == 422
        told = ask(client, url)
        assert (told["answer"], told["refusal"]["title"]) == ({"status": 422}, answer.json()["title"])
        assert fault in answer.json()["title"]
    path.write_bytes(body)
    assert client.get(url).status_code == 200, "the failures were not counted against the original"
