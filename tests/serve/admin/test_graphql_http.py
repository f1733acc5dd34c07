"""GraphQL over HTTP: methods, media types and statuses."""

import json
from typing import Any

import pytest
from starlette.testclient import TestClient

from tests.serve.conftest import TOKEN

RESPONSE = "application/graphql-response+json"
JSON = "application/json"
COUNT = "{ packs { totalCount } }"
CREATE = "mutation { createPack { pack { id } } }"


@pytest.fixture
def database_url() -> None:
    """SQLite only: these tests are about HTTP."""


def send(client: TestClient, body: Any, *, accept: str | None = RESPONSE, content_type: str | None = JSON) -> Any:
    """Send a body, as JSON unless it is bytes; return the response, which must be JSON of an allowed type."""
    headers = {"Authorization": f"Bearer {TOKEN}"}
    if content_type is not None:
        headers["Content-Type"] = content_type
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    request = client.build_request("POST", "/graphql", content=content, headers=headers)
    del request.headers["Accept"]
    if accept is not None:
        request.headers["Accept"] = accept
    answer = client.send(request)
    assert answer.headers["content-type"] in (f"{RESPONSE}; charset=utf-8", f"{JSON}; charset=utf-8")
    assert (answer.headers["cache-control"], answer.headers["vary"]) == ("no-store", "Accept")
    return answer


def get(client: TestClient, **parameters: str) -> Any:
    return client.get("/graphql", params=parameters, headers={"Authorization": f"Bearer {TOKEN}"})


def error(answer: Any) -> Any:
    """Return the only error of a response without data."""
    body = answer.json()
    assert "data" not in body
    (error,) = body["errors"]
    return error


@pytest.mark.parametrize(
    ("accept", "media"),
    [
        (None, RESPONSE),
        ("*/*", RESPONSE),
        ("application/*", RESPONSE),
        (f"{RESPONSE}, {JSON};q=0.9", RESPONSE),
        (f"{JSON}, {RESPONSE}", RESPONSE),
        (f"{JSON};q=nonsense", RESPONSE),
        ("text/plain", RESPONSE),
        (JSON, JSON),
        (f"{JSON}; charset=utf-8", JSON),
        (f"{RESPONSE};q=0.5, {JSON}", JSON),
        (f"{RESPONSE};q=0, */*", JSON),
    ],
)
def test_the_client_chooses_the_media_type(client: TestClient, accept: str | None, media: str) -> None:
    answer = send(client, {"query": COUNT}, accept=accept)
    assert (answer.status_code, answer.headers["content-type"]) == (200, f"{media}; charset=utf-8")
    assert answer.json()["data"] == {"packs": {"totalCount": 0}}


@pytest.mark.parametrize(
    "body",
    [
        {"query": "{"},
        {"query": "{ nothing }"},
        {"query": "query Q($n: Int!) { packs(first: $n) { totalCount } }"},
        {"query": "query Q($n: Int!) { packs(first: $n) { totalCount } }", "variables": {"n": "one"}},
        {"query": "query A { __typename } query B { __typename }"},
        {"query": "{ a" * 2000},
        {"query": "{ nodes(ids: " + "[" * 4000},
    ],
)
def test_a_document_that_cannot_be_run_is_a_bad_request_in_the_new_type_only(
    client: TestClient, body: dict[str, Any]
) -> None:
    new, old = send(client, body), send(client, body, accept=JSON)
    assert (new.status_code, old.status_code) == (400, 200)
    assert error(new) == error(old)
    assert error(new).get("extensions", {}).get("code") != "INTERNAL"


def test_a_field_that_fails_is_an_answer(client: TestClient) -> None:
    answer = send(client, {"query": "{ packs(first: 1000) { totalCount } }"})
    assert answer.status_code == 200
    assert answer.json()["data"] is None
    assert answer.json()["errors"][0]["path"] == ["packs"]


def test_of_several_operations_the_named_one_is_run(client: TestClient) -> None:
    document = "query A { a: __typename } mutation B { createPack { pack { version } } }"
    assert send(client, {"query": document, "operationName": "A"}).json()["data"] == {"a": "Query"}
    named = send(client, {"query": document, "operationName": "B"}).json()["data"]
    assert named == {"createPack": {"pack": {"version": 1}}}
    for body in ({"query": document}, {"query": document, "operationName": None}):
        refused = send(client, body)
        assert refused.status_code == 400
        assert "operationName" in error(refused)["message"]
    for name in ("C", ""):
        assert send(client, {"query": document, "operationName": name}).status_code == 400
    assert send(client, {"query": COUNT}).json()["data"]["packs"]["totalCount"] == 1


@pytest.mark.parametrize("accept", [RESPONSE, JSON, None])
@pytest.mark.parametrize(
    "body",
    [
        b"null",
        b'"x"',
        b"[]",
        b"[" * 100_000,
        b"\xff",
        b"{",
        b"",
        {},
        {"query": ""},
        {"query": 7},
        {"query": COUNT, "variables": [1]},
        {"query": COUNT, "operationName": {}},
        {"query": COUNT, "extensions": "x"},
        {"query": "fragment F on Query { __typename }", "operationName": "F"},
    ],
)
def test_an_invalid_request_is_a_bad_request_in_either_type(client: TestClient, body: Any, accept: str | None) -> None:
    answer = send(client, body, accept=accept)
    assert answer.status_code == 400
    assert error(answer)["extensions"]["code"] == "INVALID"


def test_a_batch_is_refused_in_words(client: TestClient) -> None:
    refused = send(client, [{"query": COUNT}, {"query": COUNT}])
    assert refused.status_code == 400
    assert "Batches are not supported" in error(refused)["message"]


@pytest.mark.parametrize(("accept", "status"), [(RESPONSE, 400), (JSON, 200)])
def test_persisted_queries_are_refused_in_the_words_that_clients_know(
    client: TestClient, accept: str, status: int
) -> None:
    persisted = {"persistedQuery": {"version": 1, "sha256Hash": "a" * 64}}
    body = {"operationName": "Q", "variables": {}, "extensions": persisted}
    by_get = client.get(
        "/graphql",
        params={"extensions": json.dumps(persisted), "variables": "{}"},
        headers={"Authorization": f"Bearer {TOKEN}", "Accept": accept},
    )
    for answer in (send(client, body, accept=accept), send(client, body | {"query": ""}, accept=accept), by_get):
        assert answer.status_code == status
        assert error(answer)["message"] == "PersistedQueryNotSupported"
        assert error(answer)["extensions"]["code"] == "PERSISTED_QUERY_NOT_SUPPORTED"
    in_full = send(client, {"query": COUNT, "extensions": persisted}, accept=accept)
    assert in_full.json()["data"] == {"packs": {"totalCount": 0}}


def test_persisted_queries_are_refused_as_an_event_too(client: TestClient) -> None:
    headers = {"Authorization": f"Bearer {TOKEN}", "Accept": "text/event-stream"}
    answer = client.post("/graphql", json={"extensions": {"persistedQuery": {"version": 1}}}, headers=headers)
    assert "PERSISTED_QUERY_NOT_SUPPORTED" in answer.text
    assert "event: complete" in answer.text


@pytest.mark.parametrize("name", ["variables", "extensions"])
def test_a_parameter_of_a_url_that_is_no_json_is_not_called_a_body(client: TestClient, name: str) -> None:
    answer = get(client, query=COUNT, **{name: "nope"})
    assert answer.status_code == 400
    assert error(answer)["message"] == "A parameter of the URL is not valid JSON."
    assert name in error(answer)["extensions"]["expected"]


def test_empty_url_parameters_are_ignored(client: TestClient) -> None:
    answer = get(client, query=COUNT, variables="", operationName="", extensions="")
    assert answer.json()["data"] == {"packs": {"totalCount": 0}}
    assert send(client, {"query": COUNT, "operationName": "", "extensions": None}).status_code == 200


@pytest.mark.parametrize(
    "content_type",
    [None, "text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", "application/graphql"],
)
def test_what_a_page_of_another_origin_can_send_is_refused(client: TestClient, content_type: str | None) -> None:
    refused = send(client, {"query": CREATE}, content_type=content_type)
    assert refused.status_code == 415
    assert error(refused)["extensions"]["code"] == "UNSUPPORTED_MEDIA"
    assert send(client, {"query": COUNT}).json()["data"]["packs"]["totalCount"] == 0


def test_content_types_may_be_spelled_in_full(client: TestClient) -> None:
    assert send(client, {"query": COUNT}, content_type="Application/JSON; charset=UTF-8").status_code == 200


def test_a_document_of_megabytes_is_not_even_read(client: TestClient) -> None:
    answer = send(client, b'{"query": "' + b"x" * (1 << 20) + b'"}')
    assert (answer.status_code, error(answer)["extensions"]["code"]) == (413, "TOO_LARGE")


def test_queries_may_be_asked_by_get_and_mutations_not(client: TestClient) -> None:
    query = "query Q($n: Int!) { packs(first: $n) { totalCount } }"
    assert get(client, query=query, variables='{"n": 1}').json()["data"] == {"packs": {"totalCount": 0}}
    refused = get(client, query=CREATE)
    assert (refused.status_code, refused.headers["allow"]) == (405, "OPTIONS, POST")
    assert error(refused)["extensions"]["code"] == "METHOD_NOT_ALLOWED"
    assert get(client, query=COUNT).json()["data"]["packs"]["totalCount"] == 0
    for bad in ({}, {"query": ""}, {"query": COUNT, "variables": "{"}, {"query": COUNT, "variables": "[]"}):
        assert (get(client, **bad).status_code, "errors" in get(client, **bad).json()) == (400, True)


def test_other_methods_get_the_allowed_ones(client: TestClient) -> None:
    answer = client.put("/graphql", json={"query": COUNT}, headers={"Authorization": f"Bearer {TOKEN}"})
    assert (answer.status_code, answer.headers["allow"]) == (405, "GET, HEAD, OPTIONS, POST")
    assert answer.headers["content-type"].startswith(RESPONSE)


def test_a_refused_client_gets_the_media_type_that_it_accepts(client: TestClient) -> None:
    for media in (RESPONSE, JSON):
        answer = client.post("/graphql", json={"query": COUNT}, headers={"Accept": media})
        assert (answer.status_code, answer.headers["content-type"]) == (401, f"{media}; charset=utf-8")
        assert error(answer)["extensions"]["code"] == "UNAUTHENTICATED"


URQL = f"{RESPONSE}, application/graphql+json, {JSON}, text/event-stream, multipart/mixed"
FOLLOW = 'subscription { jobProgress(id: "x") { state } }'


@pytest.mark.parametrize(
    ("accept", "media"),
    [
        (URQL, RESPONSE),
        ("application/json, text/event-stream", JSON),
        ("text/event-stream, */*", RESPONSE),
        ("text/event-stream", "text/event-stream"),
        ("text/event-stream, application/json;q=0.5", "text/event-stream"),
    ],
)
def test_queries_are_answered_by_events_only_if_preferred(client: TestClient, accept: str, media: str) -> None:
    headers = {"Authorization": f"Bearer {TOKEN}", "Accept": accept}
    answer = client.post("/graphql", json={"query": COUNT}, headers=headers)
    assert answer.headers["content-type"].startswith(media)
    assert '"totalCount":0' in answer.text
    followed = client.post("/graphql", json={"query": FOLLOW}, headers=headers)
    assert followed.headers["content-type"].startswith("text/event-stream")
    assert "NOT_FOUND" in followed.text
    wrong = client.post("/graphql", json={"query": "{ nothing }"}, headers=headers)
    assert wrong.headers["content-type"].startswith(media)
