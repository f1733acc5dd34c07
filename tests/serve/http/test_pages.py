"""Security headers of HTML pages and of GraphQL responses."""

import re
from base64 import b64encode
from hashlib import sha256

import pytest
from starlette.testclient import TestClient

HTML = {"Accept": "text/html"}


def directives(policy: str) -> dict[str, list[str]]:
    return {name: sources for name, *sources in (part.split() for part in policy.split("; "))}


@pytest.mark.parametrize("path", ["/", "/graphql"])
def test_a_page_forbids_framing_and_foreign_scripts(client: TestClient, path: str) -> None:
    answer = client.get(path, headers=HTML)
    assert answer.headers["content-type"].startswith("text/html")
    assert answer.headers["x-frame-options"] == "DENY"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["referrer-policy"] == "no-referrer"
    policy = directives(answer.headers["content-security-policy"])
    assert policy["default-src"] == policy["frame-ancestors"] == policy["base-uri"] == ["'none'"]
    assert not {"'unsafe-inline'", "'unsafe-eval'", "*", "https:", "http:", "data:"} & set(policy["script-src"])
    scripts = [text for text in re.findall(r"<script[^>]*>(.*?)</script>", answer.text, re.DOTALL) if text.strip()]
    assert scripts
    for text in scripts:
        assert f"'sha256-{b64encode(sha256(text.encode()).digest()).decode()}'" in policy["script-src"]


def test_only_the_ide_page_allows_scripts_of_another_host(client: TestClient) -> None:
    front, ide = (client.get(path, headers=HTML) for path in ("/", "/graphql"))
    hosts = set(re.findall(r'(?:src|href)="(https://[^/"]+)/', ide.text))
    assert hosts
    policy = directives(ide.headers["content-security-policy"])
    assert hosts <= set(policy["script-src"])
    assert hosts <= set(policy["style-src"])
    assert not any(host in front.headers["content-security-policy"] for host in hosts)


@pytest.mark.parametrize("query", ["{ viewer { subject } }", "{"])
def test_a_graphql_response_forbids_framing(client: TestClient, query: str) -> None:
    answer = client.post("/graphql", json={"query": query})
    assert answer.headers["x-frame-options"] == "DENY"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert "frame-ancestors 'none'" in answer.headers["content-security-policy"]
