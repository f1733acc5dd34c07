"""A path that does not take a method names every one that it takes, at every path of the application."""

import re
from collections.abc import Iterable, Iterator

import pytest
from starlette.applications import Starlette
from starlette.routing import BaseRoute, Host, Route
from starlette.testclient import TestClient

from pregen.queue import make_broker
from serve.app import create_app
from tests.playground import Playground
from tests.serve.conftest import TOKEN

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
    return create_app(playground.with_settings(settings), make_broker(settings), playground.bell, TOKEN)


def paths(routes: Iterable[BaseRoute]) -> Iterator[str]:
    """Yield a path for every route, with something in the place of each parameter."""
    for route in routes:
        if isinstance(route, Host):
            yield from paths(route.routes)
        elif isinstance(route, Route):
            yield re.sub(r"{\w+(:\w+)?}", "x", route.path)


@pytest.mark.parametrize("host", ["testserver", LIVE_HOST])
def test_what_a_path_does_not_take_names_all_that_it_takes(app: Starlette, host: str) -> None:
    with TestClient(app, f"http://{host}", raise_server_exceptions=False, client=("127.0.0.1", 50_000)) as client:
        seen = set()
        for path in sorted(set(paths(app.routes))):
            statuses = {
                method: client.request(method, path, headers=ADMIN, follow_redirects=False) for method in METHODS
            }
            refused = {method: answer for method, answer in statuses.items() if answer.status_code == 405}
            taken = set(METHODS) - refused.keys()
            for method, answer in refused.items():
                allowed = set(re.split(r", *", answer.headers.get("allow", "")))
                assert allowed == taken, (method, path)
                if method != "HEAD":
                    assert answer.headers["allow"] in answer.text, (method, path)
            seen |= {path} if refused else set()
        assert {"/", "/graphql", "/healthz", "/live/token", "/live/x.x", "/uploads/x/x", "/adminAPI/imagePacks"} <= seen
