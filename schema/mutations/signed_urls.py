"""URLs that open for a while."""

from datetime import datetime
from typing import Annotated

import strawberry

from resolvers import access_keys
from resolvers.caller import Caller, Scope
from schema.base.scalars import URL
from schema.execution.scopes import Needs
from schema.mutations.payloads import UrlPayload, payload
from schema.request.context import Info


@strawberry.type
class SigningMutation:
    @strawberry.mutation(
        description="Sign an image URL of the tenant, stable, immutable or of `picture.json`, with its newest access "
        "key: it opens until then without a key. What it asks for cannot be changed; revoking the key ends it.",
        extensions=[Needs(Scope.READ)],
    )
    async def sign_url(
        self,
        info: Info,
        url: Annotated[URL, strawberry.argument(description="The URL, as the API or a page has it.")],
        expires_at: Annotated[
            datetime, strawberry.argument(description="Until when it opens, to the second; at most 366 days from now.")
        ],
    ) -> UrlPayload | None:
        def act(caller: Caller) -> UrlPayload:
            signed, ends = access_keys.sign_url(caller, url, expires_at)
            return UrlPayload(url=URL(signed), expires_at=ends)

        return await payload(info, UrlPayload, act)
