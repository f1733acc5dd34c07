"""The root type of subscriptions."""

from collections.abc import AsyncGenerator
from contextlib import aclosing
from functools import partial
from typing import Annotated, Any

import strawberry
from graphql import VariableValues

from packshot.catalog.work.jobs import FINAL
from packshot.errors import NotFound
from packshot.ids import IdKind, split_global_id
from packshot.model import PACK_ID
from resolvers.caller import Scope
from schema.base.refusals import refused, refusing
from schema.execution.cost import measure
from schema.execution.scopes import Requires
from schema.request.context import Context, Info, Loaders
from schema.request.live_updates import Subject, TokenEnded, token_subject
from schema.types.jobs import Job
from schema.types.nodes import load_pack
from schema.types.packs import Pack


@strawberry.type(
    description="Live updates, over graphql-transport-ws or server-sent events. A subscription ends when the "
    "token expires. Each event costs what the selection costs; if the budget is too small, the event "
    "comes later and has the newest state."
)
class Subscription:
    @strawberry.subscription(
        description="The current state of the job, then each new state, at most twice a second, until the job ends.",
        directives=[Requires(scope=Scope.READ.value)],
    )
    async def job_progress(
        self, info: Info, id: Annotated[strawberry.ID, strawberry.argument(description="The id of the job.")]
    ) -> AsyncGenerator[Job, None]:
        kind, job_id = split_global_id(id)
        subject: Subject = ("job", info.context.caller.tenant, job_id if kind == IdKind.JOB else "")
        found = False
        async with aclosing(_follow(info, subject)) as following:
            async for job in following:
                found = True
                info.context.forget()
                yield Job.of(job)
                if job.state in FINAL:
                    return
        if not found and not info.context.token_ended:
            raise refused(NotFound("No such job exists.", field=("id",), expected="a job of this tenant", got=id))

    @strawberry.subscription(
        description="The current state of the pack, then each state after an edit or a render, at most twice a "
        "second, until the pack is deleted.",
        directives=[Requires(scope=Scope.READ.value)],
    )
    async def pack_changed(
        self, info: Info, id: Annotated[strawberry.ID, strawberry.argument(description="The id of the pack.")]
    ) -> AsyncGenerator[Pack, None]:
        found = False
        caller, threads = info.context.caller, info.context.threads.resolvers
        subject: Subject = ("pack", caller.tenant, id if PACK_ID.fullmatch(id) else "")
        async with aclosing(_follow(info, subject)) as following:
            async for _ in following:
                found = True
                # One read for all subscribers of this pack.
                info.context.loaders = info.context.watch.reader(subject, lambda: Loaders(caller, threads))
                pack = await load_pack(info, id)
                if pack is None:
                    return
                yield pack
        if not found and not info.context.token_ended:
            raise refused(NotFound("No such pack exists.", field=("id",), expected="a pack of this tenant", got=id))


async def _follow(info: Info, subject: Subject) -> AsyncGenerator[Any, None]:
    caller = info.context.caller
    context: Context = info.context
    raw: Any = info._raw_info
    variables = VariableValues(sources={}, coerced=raw.variable_values)
    cost = measure(raw.schema, raw.operation, raw.fragments, variables)
    pay = partial(context.budgets.pay_event, caller.tenant, caller.subject, cost)
    with refusing():
        caller.check(Scope.READ)
        with context.watch.subscribing(caller):
            # The socket is closed when its token expires. Its subscriptions must not complete before that: clients do
            # not reconnect after a completed subscription.
            ends = (None, None) if context.is_socket else (caller.expires_at, token_subject(caller))
            following = context.watch.follow(subject, *ends, pay=pay)
            try:
                async with aclosing(following):
                    async for value in following:
                        yield value
            except TokenEnded:
                context.token_ended = True
