"""What can be followed."""

from collections.abc import AsyncGenerator
from typing import Annotated, Any

import strawberry

from packshot.catalog.jobs import FINAL
from packshot.errors import NotFound, PackshotError
from packshot.model import PACK_ID
from resolvers.caller import Scope
from schema.context import Info
from schema.jobs import Job
from schema.nodes import load_pack
from schema.packs import Pack
from schema.refusals import refused
from schema.scopes import Requires
from schema.watching import Subject, token_subject


@strawberry.type(
    description="What can be followed, over graphql-transport-ws or server-sent events. It ends with the token."
)
class Subscription:
    @strawberry.subscription(
        description="The job now, then at most twice a second while it changes, until it ends.",
        directives=[Requires(scope=Scope.READ.value)],
    )
    async def job_progress(
        self, info: Info, id: Annotated[strawberry.ID, strawberry.argument(description="The job's id.")]
    ) -> AsyncGenerator[Job, None]:
        kind, _, job_id = id.partition(":")
        subject: Subject = ("job", info.context.caller.tenant, job_id if kind == "job" else "")
        found = False
        async for job in _follow(info, subject):
            found = True
            info.context.forget()
            yield Job.of(job)
            if job.state in FINAL:
                return
        if not found:
            raise refused(NotFound("There is no such job.", field=("id",), expected="a job of this tenant", got=id))

    @strawberry.subscription(
        description="The pack now, then at most twice a second when it was edited or rendered, until it is deleted.",
        directives=[Requires(scope=Scope.READ.value)],
    )
    async def pack_changed(
        self, info: Info, id: Annotated[strawberry.ID, strawberry.argument(description="The pack's id.")]
    ) -> AsyncGenerator[Pack, None]:
        found = False
        async for _ in _follow(info, ("pack", info.context.caller.tenant, id if PACK_ID.fullmatch(id) else "")):
            found = True
            info.context.forget()
            pack = await load_pack(info, id)
            if pack is None:
                return
            yield pack
        if not found:
            raise refused(NotFound("There is no such pack.", field=("id",), expected="a pack of this tenant", got=id))


async def _follow(info: Info, subject: Subject) -> AsyncGenerator[Any, None]:
    caller = info.context.caller
    try:
        caller.check(Scope.READ)
    except PackshotError as error:
        raise refused(error) from None
    async for value in info.context.watch.follow(subject, caller.expires_at, token_subject(caller)):
        yield value
