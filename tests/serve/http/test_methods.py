"""For each path of the application, `Allow` names every method that the path accepts, and no other."""

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
    """The tests read no row."""


@pytest.fixture
def app(playground: Playground) -> Starlette:
    """Return an application with every route that settings can add."""
    settings = playground.settings.model_copy(update={"live_host": LIVE_HOST, "live_prefix": "/live"})
    return create_app(playground.with_settings(settings), make_broker(settings), playground.doorbell, TOKEN)


def paths(routes: Iterable[BaseRoute]) -> Iterator[str]:
    """Yield a path for each route, with `x` for each parameter."""
    for route in routes:
        if isinstance(route, Host):
            yield from paths(route.routes)
        elif isinstance(route, Route):
            yield re.sub(r"{\w+(:\w+)?}", "x", route.path)


@pytest.mark.parametrize("host", ["testserver", LIVE_HOST])
def test_allow_names_exactly_the_methods_that_a_path_accepts(app: Starlette, host: str) -> None:
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
def test_paths_with_a_common_prefix_have_their_own_methods(app: Starlette, path: str, taken: set[str]) -> None:
    with TestClient(app, client=("127.0.0.1", 50_000)) as client:
        for method in ("OPTIONS", "PATCH"):
            answer = client.request(method, path, headers=ADMIN)
            assert set(answer.headers["allow"].split(", ")) == taken | {"OPTIONS"}


def test_pages_of_any_origin_may_read_the_openapi_description(app: Starlette) -> None:
    asked = {"Origin": "https://docs.example", "Access-Control-Request-Method": "GET"}
    with TestClient(app) as client:
        answer = client.options("/adminAPI/openapi.json", headers=asked)
    assert (answer.status_code, answer.headers["access-control-allow-origin"]) == (204, "*")
    assert "GET" in answer.headers["access-control-allow-methods"]


def test_a_preflight_is_not_allowed_for_paths_that_cannot_be_images(app: Starlette) -> None:
    asked = {"Origin": "https://shop.example", "Access-Control-Request-Method": "POST"}
    with TestClient(app) as client:
        for name in ("_health", "robots.txt", "token"):
            assert "access-control-allow-origin" not in client.options(f"/live/{name}", headers=asked).headers


def test_head_answers_a_query_but_opens_no_event_stream(app: Starlette) -> None:
    subscription = {"query": 'subscription { jobProgress(id: "x") { id } }'}
    with TestClient(app, client=("127.0.0.1", 50_000)) as client:
        asked = client.head("/graphql", params={"query": "{ __typename }"}, headers=ADMIN)
        events = client.head("/graphql", params=subscription, headers=ADMIN | {"Accept": "text/event-stream"})
    assert asked.status_code == 200
    assert asked.headers["content-type"].startswith("application/graphql-response+json")
    assert events.status_code == 400
