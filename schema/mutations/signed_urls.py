"""Mutations that sign URLs."""

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
        description="Sign an image URL of the tenant with its newest access key: a stable or immutable URL, or "
        "one of `picture.json`. It works without a key until it expires. Its parameters cannot be "
        "changed; revoking the key ends it.",
        extensions=[Needs(Scope.READ)],
    )
    async def sign_url(
        self,
        info: Info,
        url: Annotated[URL, strawberry.argument(description="The image URL, such as a pack's `stableUrl`.")],
        expires_at: Annotated[
            datetime, strawberry.argument(description="When it expires, to the second; at most 366 days from now.")
        ],
    ) -> UrlPayload | None:
        def act(caller: Caller) -> UrlPayload:
            signed, ends = access_keys.sign_url(caller, url, expires_at)
            return UrlPayload(url=URL(signed), expires_at=ends)

        return await payload(info, UrlPayload, act)
