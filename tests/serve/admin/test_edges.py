"""Uploads, tokens, health and the front page over HTTP."""

from datetime import timedelta
from hashlib import sha256
from typing import Any

import pytest
import sqlalchemy as sa
from starlette.testclient import TestClient

from packshot.catalog.tables.clients import uploads as upload_table
from tests.serve.conftest import TOKEN
from tests.support.pictures import jpeg, photo
from tests.support.playground import TENANT, Playground

CREATE = """mutation Create($input: UploadInput!) {
  createUpload(input: $input) {
    upload { id url method fields { name } headers { name value } maxBytes expiresAt }
    userErrors { code message field expected got }
  }
}"""

INPUT = {"mediaType": "image/jpeg", "method": "ONE_TIME_TOKEN"}


def ask(client: TestClient, query: str, variables: dict[str, Any] | None = None) -> Any:
    """Run one operation with the admin token; return its data."""
    answer = client.post(
        "/graphql", json={"query": query, "variables": variables}, headers={"Authorization": f"Bearer {TOKEN}"}
    )
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"].startswith("application/graphql-response+json")
    body = answer.json()
    assert "errors" not in body, body
    return body["data"]


def announce(client: TestClient, size: int, **values: Any) -> tuple[str, dict[str, str]]:
    """Announce an upload; return its URL and headers."""
    data = ask(client, CREATE, {"input": INPUT | {"bytes": size} | values})["createUpload"]
    assert data["userErrors"] == []
    upload = data["upload"]
    assert (upload["method"], upload["fields"], upload["maxBytes"]) == ("PUT", [], size)
    return upload["url"], {header["name"]: header["value"] for header in upload["headers"]}


def kept(playground: Playground) -> list[Any]:
    """Return the files in the folders for incoming bytes."""
    return [*playground.site.incoming.iterdir(), *playground.site.uploads.list("")]


def test_bytes_are_received_once(client: TestClient, playground: Playground) -> None:
    data = jpeg(photo(64, 64))
    url, headers = announce(client, len(data), sha256=sha256(data).hexdigest())
    answer = client.put(url, content=data, headers=headers)
    assert answer.status_code == 200
    assert (answer.json()["bytes"], answer.json()["sha256"]) == (len(data), sha256(data).hexdigest())
    assert list(playground.site.incoming.iterdir()) == []
    again = client.put(url, content=data, headers=headers)
    assert (again.status_code, again.json()["code"]) == (409, "BAD_STATE")


def test_a_wrong_token_receives_nothing_and_does_not_use_the_upload_up(
    client: TestClient, playground: Playground
) -> None:
    data = jpeg(photo(64, 64))
    url, headers = announce(client, len(data))
    for wrong in ({}, {"X-Upload-Token": "guess"}, {"Authorization": f"Bearer {TOKEN}"}):
        assert client.put(url, content=data, headers=wrong).status_code == 404
    assert kept(playground) == []
    assert client.put(url, content=data, headers=headers).status_code == 200


def test_an_expired_upload_says_so(client: TestClient, playground: Playground) -> None:
    url, headers = announce(client, 10)
    with playground.site.catalog.write(TENANT) as tx:
        tx.connection.execute(sa.update(upload_table).values(expires_at=tx.now - timedelta(seconds=1)))
    answer = client.put(url, content=b"0123456789", headers=headers)
    assert (answer.status_code, answer.json()["code"]) == (410, "UPLOAD_EXPIRED")


@pytest.mark.parametrize("announced", [True, False], ids=["with Content-Length", "chunked"])
def test_more_bytes_than_announced_are_cut_off_and_not_kept(
    client: TestClient, playground: Playground, announced: bool
) -> None:
    url, headers = announce(client, 1000)
    chunks = [b"x" * 600, b"x" * 600]
    answer = client.put(url, content=b"".join(chunks) if announced else iter(chunks), headers=headers)
    assert (answer.status_code, answer.json()["code"]) == (413, "TOO_LARGE")
    assert answer.json()["expected"] == "at most 1000 bytes"
    assert kept(playground) == []
    # A wrong Content-Length is refused before it uses up the token's only attempt.
    assert client.put(url, content=b"x" * 1000, headers=headers).status_code == (200 if announced else 409)


def test_bytes_of_another_digest_are_not_kept(client: TestClient, playground: Playground) -> None:
    url, headers = announce(client, 3, sha256="0" * 64)
    answer = client.put(url, content=b"abc", headers=headers)
    assert (answer.status_code, answer.json()["code"]) == (422, "CHECKSUM_MISMATCH")
    assert kept(playground) == []


@pytest.mark.parametrize(
    "headers", [{}, {"Authorization": "Bearer wrong"}, {"Authorization": f"Basic {TOKEN}"}, {"Authorization": TOKEN}]
)
def test_without_the_token_the_admin_side_answers_401(client: TestClient, headers: dict[str, str]) -> None:
    answer = client.post("/graphql", json={"query": "{ packs { totalCount } }"}, headers=headers)
    assert answer.status_code == 401
    assert answer.headers["www-authenticate"].startswith("Bearer")
    assert answer.json()["errors"][0]["extensions"]["code"] == "UNAUTHENTICATED"


def test_a_browser_gets_graphiql_and_the_front_page(client: TestClient) -> None:
    assert "graphiql" in client.get("/graphql", headers={"Accept": "text/html"}).text.lower()
    front = client.get("/")
    assert front.headers["content-type"].startswith("text/html")
    assert "Packshot" in front.text
