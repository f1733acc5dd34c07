"""The REST admin API of a playground, without a socket."""

from typing import Any

import pytest
from starlette.testclient import TestClient

from tests.serve.conftest import TOKEN, client
from tests.support.playground import Playground

__all__ = ["client"]


class Rest:
    """A client of the API with the admin token."""

    def __init__(self, client: TestClient) -> None:
        self.client = client

    def ask(self, method: str, path: str, *, status: int = 200, **sent: Any) -> Any:
        """Send one request, expect that status, and return the response."""
        headers = {"Authorization": f"Bearer {TOKEN}"} | sent.pop("headers", {})
        place = path if path.startswith("/") else f"/adminAPI/{path}"
        answer = self.client.request(method, place, headers=headers, **sent)
        assert answer.status_code == status, (method, path, answer.text)
        assert answer.headers["content-type"] == "application/json"
        assert answer.headers["cache-control"] == "no-store"
        return answer.json()

    def get(self, path: str, **sent: Any) -> Any:
        return self.ask("GET", path, **sent)

    def put(self, path: str, body: Any, **sent: Any) -> Any:
        return self.ask("PUT", path, json=body, **sent)

    def post(self, path: str, body: Any = None, **sent: Any) -> Any:
        return self.ask("POST", path, **({} if body is None else {"json": body}), **sent)

    def delete(self, path: str, **sent: Any) -> Any:
        return self.ask("DELETE", path, **sent)


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest) -> Any:
    """Both databases, because each lacks some values, such as NUL in a text, which the API must refuse first."""
    if request.param == "sqlite":
        yield None
        return
    with request.getfixturevalue("postgres").database() as url:
        yield url


@pytest.fixture
def rest(client: TestClient, playground: Playground) -> Rest:
    """The API of an empty installation."""
    return Rest(client)
