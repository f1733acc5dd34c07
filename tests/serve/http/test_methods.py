"""The methods of every path of the application: `Allow` names all that a path takes, and no other."""

import re
from collections.abc import Iterable, Iterator

import pytest
from starlette.applications import Starlette
from starlette.routing import BaseRoute, Host, Route
from starlette.testclient import TestClient

from pregen.queue.broker import make_broker
from serve.app import create_app
from tests.serve.conftest import TOKEN
from tests.support.playground import Playground

METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "PROPFIND")
ADMIN = {"Authorization": f"Bearer {TOKEN}"}
LIVE_HOST = "img.example"


@pytest.fixture(scope="module")
def database_url() -> None:
    """No row is read."""


@pytest.fixture
def app(playground: Playground) -> Starlette:
    """The application with every route that settings can add."""
    settings = playground.settings.model_copy(update={"live_host": LIVE_HOST, "live_prefix": "/live"})
    return create_app(playground.with_settings(settings), make_broker(settings), playground.doorbell, TOKEN)


def paths(routes: Iterable[BaseRoute]) -> Iterator[str]:
    """Yield a path for every route, with something in the place of each parameter."""
    for route in routes:
        if isinstance(route, Host):
            yield from paths(route.routes)
        elif isinstance(route, Route):
            yield re.sub(r"{\w+(:\w+)?}", "x", route.path)


@pytest.mark.parametrize("host", ["testserver", LIVE_HOST])
def test_a_path_names_all_the_methods_that_it_takes_and_no_other(app: Starlette, host: str) -> None:
    with TestClient(app, f"http://{host}", raise_server_exceptions=False, client=("127.0.0.1", 50_000)) as client:
        seen = set()
        for path in sorted(set(paths(app.routes))):
            answers = {
                method: client.request(method, path, headers=ADMIN, follow_redirects=False) for method in METHODS
            }
            if answers["TRACE"].status_code == 404:
                assert {answer.status_code for answer in answers.values()} == {404}, path
                continue
            refused = {method: answer for method, answer in answers.items() if answer.status_code == 405}
            taken = set(METHODS) - refused.keys()
            assert ("HEAD" in taken) == ("GET" in taken), path
            assert answers["OPTIONS"].status_code == 204, path
            assert not answers["OPTIONS"].content
            for method in [*refused, "OPTIONS"]:
                allowed = re.split(r", *", answers[method].headers.get("allow", ""))
                assert (len(allowed), set(allowed)) == (len(taken), taken), (method, path)
            for method, answer in refused.items():
                if method != "HEAD":
                    assert answer.headers["allow"] in answer.text, (method, path)
            seen.add(path)
        assert {"/", "/graphql", "/healthz", "/live/token", "/live/x.x", "/uploads/x/x", "/adminAPI/imagePacks"} <= seen


@pytest.mark.parametrize(
    ("path", "taken"),
    [
        ("/live/_health", {"GET", "HEAD"}),
        ("/live/robots.txt", {"GET", "HEAD"}),
        ("/live/token", {"POST"}),
        ("/live/holiday.jpg", {"GET", "HEAD", "POST"}),
        ("/adminAPI/openapi.json", {"GET", "HEAD"}),
        ("/graphql", {"GET", "HEAD", "POST"}),
    ],
)
def test_the_methods_of_one_path_are_not_those_of_its_neighbours(app: Starlette, path: str, taken: set[str]) -> None:
    with TestClient(app, client=("127.0.0.1", 50_000)) as client:
        for method in ("OPTIONS", "PATCH"):
            answer = client.request(method, path, headers=ADMIN)
            assert set(answer.headers["allow"].split(", ")) == taken | {"OPTIONS"}


def test_pages_of_every_origin_may_read_the_description(app: Starlette) -> None:
    asked = {"Origin": "https://docs.example", "Access-Control-Request-Method": "GET"}
    with TestClient(app) as client:
        answer = client.options("/adminAPI/openapi.json", headers=asked)
    assert (answer.status_code, answer.headers["access-control-allow-origin"]) == (204, "*")
    assert "GET" in answer.headers["access-control-allow-methods"]


def test_a_preflight_for_an_upload_ends_where_no_image_can_be(app: Starlette) -> None:
    asked = {"Origin": "https://shop.example", "Access-Control-Request-Method": "POST"}
    with TestClient(app) as client:
        for name in ("_health", "robots.txt", "token"):
            assert "access-control-allow-origin" not in client.options(f"/live/{name}", headers=asked).headers


def test_head_asks_as_get_does_but_waits_for_no_events(app: Starlette) -> None:
    subscription = {"query": 'subscription { jobProgress(id: "x") { id } }'}
    with TestClient(app, client=("127.0.0.1", 50_000)) as client:
        asked = client.head("/graphql", params={"query": "{ __typename }"}, headers=ADMIN)
        events = client.head("/graphql", params=subscription, headers=ADMIN | {"Accept": "text/event-stream"})
    assert asked.status_code == 200
    assert asked.headers["content-type"].startswith("application/graphql-response+json")
    assert events.status_code == 400
