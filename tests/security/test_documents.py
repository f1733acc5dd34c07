"""Hostile GraphQL documents are refused over HTTP, with a clear error, before anything is executed."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from starlette.testclient import TestClient

from packshot.settings.settings import Settings
from pregen.queue.broker import make_broker
from serve.app import create_app
from tests.serve.conftest import TOKEN
from tests.support.playground import Playground

WIDE = "{ packs(first: 100) { nodes { locations { pack { locations { pack { locations { name } } } } } } } }"
BOMBS = {
    "circular fragments": "{ ...A } fragment A on Query { ...B } fragment B on Query { ...A }",
    "a fragment in itself": "{ ...A } fragment A on Query { node(id: 1) { id } ...A }",
    "doubling fragments": "{ ...F0 } "
    + " ".join(f"fragment F{n} on Query {{ ...F{n + 1} ...F{n + 1} }}" for n in range(200))
    + " fragment F200 on Query { packs { nodes { id } } " + " ".join(f"a{n}: __typename" for n in range(51)) + " }",
    "doubling pages": "{ ...F0 } "
    + " ".join(f"fragment F{n} on Query {{ ...F{n + 1} ...F{n + 1} }}" for n in range(200))
    + " fragment F200 on Query { packs { nodes { id } } }",
    "depth": "{ packs { nodes " + "{ locations { pack " * 7 + "{ id }" + " } }" * 7 + " } }",
    "depth beyond the parser": "{ a" * 2400,
    "lists in lists": "{ nodes(ids: " + "[" * 4900,
    "width": WIDE,
    "aliases": "{" + " ".join(f"a{n}: __typename" for n in range(51)) + "}",
    "tokens": "{" + " __typename" * 5000 + "}",
    "one field again and again": "{" + " packs { nodes { id } }" * 620 + "}",
    "directives": "{ __typename " + "@include(if: true) " * 800 + "}",
}  # fmt: skip


@pytest.fixture
def database_url() -> None:
    """One database is enough, because no test reads anything."""


@contextmanager
def serving(playground: Playground, **changes: Any) -> Iterator[TestClient]:
    settings = Settings(**playground.settings.model_dump() | changes)
    app = create_app(playground.with_settings(settings), make_broker(settings), playground.doorbell, TOKEN)
    here = ("127.0.0.1", 50_000)
    with TestClient(app, raise_server_exceptions=False, client=here) as client:
        client.headers["Authorization"] = f"Bearer {TOKEN}"
        yield client


def ask(client: TestClient, query: str) -> Any:
    return client.post("/graphql", json={"query": query})


@pytest.mark.parametrize("document", BOMBS.values(), ids=BOMBS.keys())
def test_a_document_bomb_is_a_bad_request(client: TestClient, document: str) -> None:
    answer = client.post("/graphql", json={"query": document}, headers={"Authorization": f"Bearer {TOKEN}"})
    assert answer.status_code == 400
    body = answer.json()
    assert "data" not in body
    assert all(error.get("extensions", {}).get("code") in (None, "LIMIT") for error in body["errors"])


def test_a_client_over_its_budget_learns_when_to_retry(playground: Playground) -> None:
    page = "{ packs(first: 50) { nodes { id } } }"
    with serving(playground, query_budget=100, query_budget_per_second=1) as client:
        first = ask(client, page)
        assert first.status_code == 200
        cost = {"requested": 51, "maximum": 100, "available": 49, "restoreRate": 1}
        assert first.json()["extensions"]["cost"] == cost
        second = ask(client, page)
        assert second.status_code == 429
        assert 1 <= int(second.headers["retry-after"]) <= 2
        (error,) = second.json()["errors"]
        assert error["extensions"] == {"code": "LIMIT", "retryAfterSeconds": int(second.headers["retry-after"])}
        assert "data" not in second.json()
        old = client.post("/graphql", json={"query": page}, headers={"Accept": "application/json"})
        assert (old.status_code, old.headers["content-type"]) == (429, "application/json; charset=utf-8")
        assert ask(client, "{ packs(first: 1) { nodes { id } } }").status_code == 200


def test_introspection_is_refused_where_it_is_off(playground: Playground) -> None:
    near = [
        "{ pakcs { totalCount } }",
        "{ packs(frist: 1) { totalCount } }",
        "{ packs(orderBy: CREATED_DSC) { totalCount } }",
    ]
    asked = "query Q($order: PackOrder!) { packs(orderBy: $order) { totalCount } }"
    with serving(playground) as client:
        assert ask(client, "{ __schema { queryType { name } } }").status_code == 200
        assert all("Did you mean" in ask(client, document).text for document in near)
    with serving(playground, introspection=False) as client:
        for document in ("{ __schema { queryType { name } } }", '{ __type(name: "Pack") { name } }', *near):
            answer = ask(client, document)
            assert answer.status_code == 400
            assert "Did you mean" not in answer.text
        coerced = client.post("/graphql", json={"query": asked, "variables": {"order": "CREATED_DSC"}})
        assert coerced.status_code == 400
        assert "Did you mean" not in coerced.text
        assert ask(client, "{ __typename packs { totalCount } }").json()["data"]["__typename"] == "Query"


def test_a_subscription_sent_as_a_query_is_refused(client: TestClient) -> None:
    body = {"query": 'subscription { jobProgress(id: "job:1") { id } }'}
    answer = client.post("/graphql", json=body, headers={"Authorization": f"Bearer {TOKEN}"})
    assert answer.status_code == 400
    assert "text/event-stream" in answer.json()["errors"][0]["extensions"]["expected"]
