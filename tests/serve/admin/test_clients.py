"""Unmodified clients of CMS teams in Node.js: Apollo Client, urql, graphql-ws and graphql-sse."""

import json
import secrets
from pathlib import Path
from typing import Any

import pytest

from tests.support.admin import wait_for
from tests.support.nodejs import Node, installed
from tests.support.server import Server, serving

KEY = "0123456789abcdef0123456789abcdef"
FOLLOWERS = ("apollo", "graphql-sse", "graphql-ws")


class Clients:
    """The running clients, and the pack that they follow."""

    def __init__(self, node: Node, server: Server, scratch: Path) -> None:
        self._server = server
        self.pack_id = server.do("createPack", "input: {}", "pack { id }")["pack"]["id"]
        self._seen = scratch / "seen"
        self._seen.touch()
        environ = {"PACKSHOT_GRAPHQL": f"{server.base}/graphql", "PACKSHOT_KEY": KEY, "PACKSHOT_PACK": self.pack_id}
        self.process = node.start("clients.mjs", PACKSHOT_SEEN=str(self._seen), **environ)

    def wait_for(self, version: int) -> None:
        """Wait until every follower has seen a version of the pack."""
        wanted = {f"{follower} {version}" for follower in FOLLOWERS}

        def seen() -> bool:
            assert self.process.poll() is None, self.process.communicate()
            return wanted <= set(self._seen.read_text().splitlines())

        wait_for(seen)

    def times_seen(self, version: int) -> int:
        """Return the least number of times that any follower saw a version; each connection begins with the current
        one.
        """
        lines = self._seen.read_text().splitlines()
        return min(lines.count(f"{follower} {version}") for follower in FOLLOWERS)

    def edit(self) -> int:
        """Change the pack and return its version."""
        arguments = f'id: "{self.pack_id}", input: {{externalId: "{secrets.token_hex(4)}"}}'
        payload = self._server.do("updatePack", arguments, "pack { version }")
        version: int = payload["pack"]["version"]
        return version

    def end(self) -> Any:
        """Return the clients' results."""
        printed, errors = self.process.communicate("enough\n", timeout=30)
        assert self.process.returncode == 0, errors
        return json.loads(printed)


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The clients' results after tokens expired and the server restarted."""
    scratch = tmp_path_factory.mktemp("clients")
    node = installed(scratch / "node")
    node.copy("clients.mjs")
    with serving(scratch / "data", PACKSHOT_JWT_SECRET=KEY) as server:
        clients = Clients(node, server, scratch)
        try:
            clients.wait_for(1)
            wait_for(lambda: clients.times_seen(1) >= 3)  # Two tokens have expired.
            clients.wait_for(clients.edit())
            server.restart()
            clients.wait_for(clients.edit())
            return clients.end()
        finally:
            clients.process.kill()
            clients.process.wait()


@pytest.mark.parametrize("client", ["apollo", "apolloByGet", "urql"])
def test_clients_with_persisted_queries_send_them_in_full_after_one_refusal(found: Any, client: str) -> None:
    assert found[client]["answers"][0]["subject"] == "ed"
    assert found[client]["answers"][1]["tenant"]["name"] == "default"
    assert len(found[client]["sent"]) == 3, "the hash, then both queries"
    assert [sent["status"] for sent in found[client]["sent"]] == [400, 200, 200]


@pytest.mark.parametrize("client", ["apollo", "graphql-ws"])
def test_sockets_outlive_their_tokens_and_a_restart(found: Any, client: str) -> None:
    codes = found["codes"][client]
    assert codes.count(4403) >= 2, "tokens ended"
    assert set(codes) - {4403}, "the server was restarted"
    assert 4401 not in codes


def test_events_outlive_their_tokens_and_a_restart(found: Any) -> None:
    assert set(found["errors"]) == {"UNAUTHENTICATED"}


def test_nothing_that_was_followed_has_ended(found: Any) -> None:
    assert found["ended"] == []


def test_urql_follows_by_events(found: Any) -> None:
    assert found["followedByFetch"] == 1


def test_a_bad_token_is_sent_once(found: Any) -> None:
    assert found["refused"] == {"code": 4401, "closed": [4401]}
