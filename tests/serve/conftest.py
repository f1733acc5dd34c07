"""The application over a playground, without a socket."""

from collections.abc import Iterator

import pytest
from starlette.testclient import TestClient

from pregen.queue.broker import make_broker
from serve.app import create_app
from tests.support.playground import Playground

TOKEN = "test-token-0123456789abcdef"


@pytest.fixture(params=["sqlite"])
def database_url() -> None:
    """SQLite is enough: the code behind the endpoints has its own tests on every database."""


@pytest.fixture
def client(playground: Playground) -> Iterator[TestClient]:
    """Return an HTTP client of the playground's application; a fault becomes a 500 response, as in production."""
    app = create_app(playground.site, make_broker(playground.settings), playground.doorbell, TOKEN)
    address = ("127.0.0.1", 50_000)
    with TestClient(app, raise_server_exceptions=False, follow_redirects=False, client=address) as client:
        yield client
