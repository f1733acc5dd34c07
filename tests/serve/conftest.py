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
    """The SQLite file: what is behind the endpoints is tried on every database in its own tests."""


@pytest.fixture
def client(playground: Playground) -> Iterator[TestClient]:
    """An HTTP client of the playground's application; bugs come out as 500, as for anybody."""
    app = create_app(playground.site, make_broker(playground.settings), playground.doorbell, TOKEN)
    here = ("127.0.0.1", 50_000)
    with TestClient(app, raise_server_exceptions=False, follow_redirects=False, client=here) as client:
        yield client
