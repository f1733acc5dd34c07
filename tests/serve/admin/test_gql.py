"""The unmodified Python client `gql`: queries, subscriptions over expired tokens and a restart, a wrong token."""

import asyncio
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import jwt
import pytest
from gql import Client, GraphQLRequest, gql
from gql.transport.exceptions import TransportConnectionFailed
from gql.transport.websockets import WebsocketsTransport
from websockets.exceptions import ConnectionClosed

from tests.support.server import TOKEN, Server, serving

KEY = "0123456789abcdef0123456789abcdef"
FOLLOW = "subscription Follow($id: ID!) { packChanged(id: $id) { version } }"
PAGE = "query Page($after: String) { packs(first: 5, after: $after) { nodes { id } } }"


def token(seconds: float = 2) -> str:
    claims = {"sub": "ed", "scope": "read", "exp": datetime.now(UTC) + timedelta(seconds=seconds)}
    return f"Bearer {jwt.encode(claims, KEY)}"


def socket(server: Server, authorization: str) -> WebsocketsTransport:
    url = server.base.replace("http", "ws") + "/graphql"
    return WebsocketsTransport(url, init_payload={"authorization": authorization})


def close_code(error: TransportConnectionFailed) -> int:
    cause = error.__cause__
    assert isinstance(cause, ConnectionClosed)
    assert cause.rcvd is not None
    return cause.rcvd.code


async def follow(server: Server, pack_id: str, codes: list[int], edits: list[int]) -> None:
    """Follow a pack with a sequence of short tokens until its third version appears; edit it meanwhile."""
    while True:
        try:
            async with Client(transport=socket(server, token())) as session:
                async for event in session.subscribe(GraphQLRequest(FOLLOW, variable_values={"id": pack_id})):
                    edits.append(event["packChanged"]["version"])
                    if edits[-1] == 3:
                        return
                pytest.fail("it is not complete")
        except TransportConnectionFailed as error:
            codes.append(close_code(error))
        if len(codes) == 1:
            await asyncio.to_thread(edit, server, pack_id, "once")
        elif len(codes) == 2:
            await asyncio.to_thread(server.restart)
            await asyncio.to_thread(edit, server, pack_id, "twice")


def edit(server: Server, pack_id: str, external_id: str) -> None:
    server.do("updatePack", f'id: "{pack_id}", input: {{externalId: "{external_id}"}}', "pack { id }")


async def ask(server: Server, request: GraphQLRequest, authorization: str = f"Bearer {TOKEN}") -> dict[str, Any]:
    async with Client(transport=socket(server, authorization), fetch_schema_from_transport=True) as session:
        answer: dict[str, Any] = await session.execute(request)
        return answer


def test_gql_asks_and_follows_through_the_end_of_tokens_and_a_restart(tmp_path: Path) -> None:
    with serving(tmp_path / "data", PACKSHOT_JWT_SECRET=KEY) as server:
        made = asyncio.run(ask(server, gql("mutation { createPack { pack { id } } }")))
        pack_id = made["createPack"]["pack"]["id"]
        shown = asyncio.run(ask(server, GraphQLRequest(PAGE, variable_values={"after": ""}), token(60)))
        assert shown == {"packs": {"nodes": [{"id": pack_id}]}}
        codes: list[int] = []
        seen: list[int] = []
        asyncio.run(follow(server, pack_id, codes, seen))
        assert codes == [4403, 4403]
        assert seen == [1, 2, 3]
        with pytest.raises(TransportConnectionFailed) as refused:
            asyncio.run(ask(server, gql("{ __typename }"), "Bearer wrong"))
        assert close_code(refused.value) == 4401
