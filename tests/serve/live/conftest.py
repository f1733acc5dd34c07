"""Clients of live resize, under its prefix and at its own host, with any settings."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from typing import Any

import pytest
from starlette.testclient import TestClient

from packshot.settings.settings import Settings
from pregen.queue.broker import make_broker
from serve.app import create_app
from tests.serve.conftest import TOKEN
from tests.support.playground import Playground

NEAR, FAR = ("127.0.0.1", 50_000), ("203.0.113.9", 50_000)

Opening = Callable[..., TestClient]
"""Opens a client. Keywords: `address`, the client's address; `base`; parts of the site; else settings by name."""


@pytest.fixture
def opening(playground: Playground) -> Iterator[Opening]:
    """Open clients of the same installation with other settings."""
    with ExitStack() as stack:

        def open_(*, address: tuple[str, int] = NEAR, base: str = "http://testserver", **changes: Any) -> TestClient:
            parts = {name: changes.pop(name) for name in ("purger", "renderer") if name in changes}
            settings = Settings(**playground.settings.model_dump() | changes)
            site = replace(playground.with_settings(settings), **parts)
            app = create_app(site, make_broker(settings), playground.doorbell, TOKEN)
            client = TestClient(app, base, raise_server_exceptions=False, follow_redirects=False, client=address)
            return stack.enter_context(client)

        yield open_
