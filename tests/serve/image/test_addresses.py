"""Which tenant an image URL belongs to: by host, by path, or the default tenant."""

from collections.abc import Iterator
from dataclasses import replace

import pytest
from starlette.testclient import TestClient

from packshot.catalog.configuration.tenants import ensure_tenant
from packshot.errors import Invalid, NotFound
from packshot.settings.settings import Settings
from pregen.queue.broker import make_broker
from resolvers import tokens
from resolvers.urls.parse import NamedBy, read_url
from serve.app import create_app
from tests.serve.conftest import TOKEN
from tests.support.pictures import photo
from tests.support.playground import Playground

DOMAIN = "images.example"
PACK = "0123456789abcdef01234567"


@pytest.fixture
def films(playground: Playground) -> str:
    """A pack of the tenant `films`, which is not the default tenant."""
    with playground.site.catalog.write("films") as tx:
        ensure_tenant(tx)
    caller = playground.caller
    playground.caller = replace(caller, tenant="films")
    pack_id = playground.pack(picture=photo(60, 40))
    playground.caller = caller
    return pack_id


@pytest.fixture
def hosts(playground: Playground) -> Iterator[TestClient]:
    """A client of an installation whose host names select tenants."""
    settings = Settings(**playground.settings.model_dump() | {"tenant_domain": DOMAIN})
    app = create_app(playground.with_settings(settings), make_broker(settings), playground.doorbell, TOKEN)
    address = ("127.0.0.1", 50_000)
    with TestClient(app, raise_server_exceptions=False, follow_redirects=False, client=address) as client:
        yield client


def stable_urls(client: TestClient, pack_id: str, token: str, host: str) -> list[str]:
    query = f'{{ pack(by: {{id: "{pack_id}"}}) {{ stableUrl location(name: "main") {{ stableUrl currentUrl }} }} }}'
    headers = {"Authorization": f"Bearer {token}", "Host": host}
    pack = client.post("/graphql", json={"query": query}, headers=headers).json()["data"]["pack"]
    return [pack["stableUrl"], pack["location"]["stableUrl"], pack["location"]["currentUrl"]]


def test_without_a_tenant_domain_the_path_selects_the_tenant(client: TestClient, films: str) -> None:
    assert client.get(f"/api/v2/img/films/{films}").status_code == 200
    assert client.get(f"/api/v2/img/films/{films}-17?width=20").status_code == 200
    assert client.get(f"/api/v2/img/films/{films}/picture.json").status_code == 200
    for path in (films, f"default/{films}", f"absent/{films}", f"FILMS/{films}", "films/absent", "films/picture.json"):
        answer = client.get(f"/api/v2/img/{path}")
        assert (answer.status_code, answer.json()["code"]) == (404, "NOT_FOUND"), path


def test_urls_of_another_tenant_work_without_a_domain(client: TestClient, playground: Playground, films: str) -> None:
    _, secret = tokens.create_token(replace(playground.caller, tenant="films"), "ci", ["read"])
    urls = stable_urls(client, films, secret, "testserver")
    assert urls[0] == f"http://testserver/api/v2/img/films/{films}"
    for url in urls:
        assert client.get(url).status_code == 200


def test_with_a_tenant_domain_urls_work_without_the_tenant_in_the_path(hosts: TestClient, films: str) -> None:
    urls = stable_urls(hosts, films, TOKEN, f"films.{DOMAIN}")
    assert urls[0] == f"http://films.{DOMAIN}/api/v2/img/{films}"
    for url in urls:
        assert hosts.get(url).status_code == 200


def test_host_and_path_of_different_tenants_give_404(hosts: TestClient, films: str) -> None:
    agreeing = {"Host": f"films.{DOMAIN}"}
    assert hosts.get(f"/api/v2/img/films/{films}", headers=agreeing).status_code == 200
    assert hosts.get(f"/api/v2/img/{films}/picture.json", headers=agreeing).status_code == 200
    for path in (f"/api/v2/img/films/{films}", f"/api/v2/img/{films}", f"/api/v2/img/films/{films}/picture.json"):
        assert hosts.get(path, headers={"Host": f"books.{DOMAIN}"}).status_code == 404


def test_a_host_matches_in_any_case_and_with_a_final_dot(hosts: TestClient, films: str) -> None:
    for host in (f"films.{DOMAIN}.", f"FILMS.{DOMAIN}"):
        assert hosts.get(f"/api/v2/img/{films}", headers={"Host": host}).status_code == 200
    assert hosts.get(f"/api/v2/img/{films}", headers={"Host": f"films.{DOMAIN}.."}).status_code == 404


def test_public_urls_have_the_tenant_in_the_path_unless_the_host_selects_it(playground: Playground) -> None:
    for public, domain, expected in (
        ("https://{tenant}.images.example", DOMAIN, f"https://films.images.example/api/v2/img/{PACK}"),
        ("https://{tenant}.cdn.example", None, f"https://films.cdn.example/api/v2/img/films/{PACK}"),
        ("https://cdn.example/art", None, f"https://cdn.example/art/api/v2/img/films/{PACK}"),
    ):
        settings = Settings(**playground.settings.model_dump() | {"public_url": public, "tenant_domain": domain})
        site = playground.with_settings(settings)
        origin = public.replace("{tenant}", "films")
        caller = replace(playground.caller, site=site, tenant="films", origin=origin)
        assert caller.urls.stable(PACK) == expected
        address = read_url(settings, caller.urls.stable(PACK, "main"))
        assert (address.tenant, address.pack_id, address.query) == ("films", PACK, "location=main")


def test_a_pasted_url_is_parsed_like_a_request(playground: Playground) -> None:
    settings = Settings(**playground.settings.model_dump() | {"tenant_domain": DOMAIN})
    for url, tenant, by, path, query in (
        (f"/api/v2/img/{PACK}-17?width=020&Width=1&x=2", "default", NamedBy.DEFAULT, f"/api/v2/img/{PACK}", "width=20"),
        (f"http://any/api/v2/img/films/{PACK}", "films", NamedBy.PATH, f"/api/v2/img/{PACK}", ""),
        (
            f"https://films.{DOMAIN}/api/v2/img/{PACK}/picture.json?widths=9,8",
            "films",
            NamedBy.HOST,
            f"/api/v2/img/{PACK}/picture.json",
            "widths=8,9",
        ),
        # The name of a tenant may look like the id of a pack.
        (f"/api/v2/img/{PACK}/{PACK}/picture.json", PACK, NamedBy.PATH, f"/api/v2/img/{PACK}/picture.json", ""),
    ):
        address = read_url(settings, url)
        assert (address.tenant, address.named_by, address.path, address.query) == (tenant, by, path, query)
    for url in (
        "",
        "ftp://any/i/x",
        "http://[",
        "/api/v2/img",
        f"/api/v3/img/{PACK}",
        "/graphql",
        f"/api/v2/img/a/b/{PACK}",
    ):
        with pytest.raises(Invalid) as refusal:
            read_url(settings, url)
        assert refusal.value.field == ("url",)
    for url in ("/i/x", "/api/v2/img/x", f"https://films.{DOMAIN}/api/v2/img/books/{PACK}"):
        with pytest.raises(NotFound):
            read_url(settings, url)
