"""The root type of queries."""

import asyncio
from dataclasses import replace
from typing import Annotated

import strawberry

from packshot.model import NAME, PACK_ID
from resolvers import change_feed, jobs, locations, packs, tenants, webhooks
from schema.base.enums import JobState, PackOrder, core
from schema.base.inputs import given
from schema.base.interfaces import Node
from schema.base.paging import After, Connection, First, asks_total, check_length, connect
from schema.base.refusals import read
from schema.execution.scopes import READS
from schema.request.context import Info
from schema.types.change_feed import ChangeQuery
from schema.types.jobs import Job, JobFilter, known_states
from schema.types.locations import ImageLocation
from schema.types.nodes import load_node, load_pack
from schema.types.pack_inputs import PackBy, PackFilter
from schema.types.packs import Pack
from schema.types.purges import PurgeQuery
from schema.types.tenants import Tenant, Viewer
from schema.types.webhooks import Webhook


@strawberry.type(description="Everything that can be read.")
class Query(PurgeQuery, ChangeQuery):
    @strawberry.field(description="The caller and the scopes of its token.")
    async def viewer(self, info: Info) -> Viewer:
        caller = info.context.caller
        tenant, epoch = await read(info, lambda: (tenants.get_tenant(caller), change_feed.get_epoch(caller)))
        return Viewer(
            tenant=Tenant.of(tenant),
            epoch=epoch,
            subject=caller.subject,
            scopes=sorted(caller.scopes),
            expires_at=caller.expires_at,
        )

    @strawberry.field(description="The object with that id; null if none exists.", extensions=[READS])
    async def node(
        self, info: Info, id: Annotated[strawberry.ID, strawberry.argument(description="The id of any object.")]
    ) -> Node | None:
        return await load_node(info, id)

    @strawberry.field(
        description="The objects with these ids, in order; null for each that does not exist.",
        extensions=[READS],
    )
    async def nodes(
        self,
        info: Info,
        ids: Annotated[list[strawberry.ID], strawberry.argument(description="Up to 100 ids of objects.")],
    ) -> list[Node | None]:
        await read(info, lambda: check_length(ids, "ids"))
        return await asyncio.gather(*(load_node(info, id) for id in ids))

    @strawberry.field(description="One location; null if none has that name.", extensions=[READS])
    async def location(
        self, info: Info, name: Annotated[str, strawberry.argument(description="The name of the location.")]
    ) -> ImageLocation | None:
        found = await info.context.loaders.locations.load(name) if NAME.fullmatch(name) else None
        return None if found is None else ImageLocation.of(found)

    @strawberry.field(description="The locations of the tenant, by name.", extensions=[READS])
    async def locations(
        self, info: Info, first: First = 50, after: After = strawberry.UNSET
    ) -> Connection[ImageLocation]:
        caller = info.context.caller
        page = await read(info, lambda: locations.list_locations(caller, first=first, after=given(after)))
        return connect(page, ImageLocation.of)

    @strawberry.field(description="One pack; null if none matches.", extensions=[READS])
    async def pack(
        self, info: Info, by: Annotated[PackBy, strawberry.argument(description="How the pack is identified.")]
    ) -> Pack | None:
        caller = info.context.caller
        if by.id is not None:
            return await load_pack(info, by.id.value) if PACK_ID.fullmatch(by.id.value) else None
        asset_id = None if by.asset_id is None else by.asset_id.value
        external_id = None if by.external_id is None else by.external_id.value
        found = await read(info, lambda: packs.find_pack(caller, asset_id=asset_id, external_id=external_id))
        return None if found is None else await load_pack(info, found)

    @strawberry.field(description="The packs of the tenant.", extensions=[READS])
    async def packs(
        self,
        info: Info,
        first: First = 20,
        after: After = strawberry.UNSET,
        filter: Annotated[
            PackFilter | None, strawberry.argument(description="Which packs to return; all if absent.")
        ] = strawberry.UNSET,
        order_by: Annotated[
            PackOrder, strawberry.argument(description="The order of the packs.")
        ] = PackOrder.CREATED_DESC,
    ) -> Connection[Pack]:
        caller, asked = info.context.caller, given(filter) or PackFilter()
        total = asks_total(info)
        page = await read(
            info,
            lambda: packs.list_packs(
                caller, first=first, after=given(after), filter=asked.to_core(), order=core(order_by), total=total
            ),
        )
        return connect(page, Pack.of)

    @strawberry.field(description="One job; null if it does not exist.", extensions=[READS])
    async def job(
        self, info: Info, id: Annotated[strawberry.ID, strawberry.argument(description="The id of the job.")]
    ) -> Job | None:
        found = await load_node(info, id)
        return found if isinstance(found, Job) else None

    @strawberry.field(description="The jobs of the tenant, newest first.", extensions=[READS])
    async def jobs(
        self,
        info: Info,
        first: First = 20,
        after: After = strawberry.UNSET,
        states: Annotated[
            list[JobState] | None,
            strawberry.argument(
                description="Only jobs in one of these states; all if absent.",
                deprecation_reason="Use `filter`.",
            ),
        ] = strawberry.UNSET,
        filter: Annotated[
            JobFilter | None, strawberry.argument(description="Which jobs to return; all if absent.")
        ] = strawberry.UNSET,
    ) -> Connection[Job]:
        caller, only = info.context.caller, (given(filter) or JobFilter()).to_core()
        if (chosen := given(states)) is not None:
            either = known_states(chosen)
            only = replace(only, states=[one for one in either if only.states is None or one in only.states])
        total = asks_total(info)
        page = await read(info, lambda: jobs.list_jobs(caller, first=first, after=given(after), only=only, total=total))
        return connect(page, Job.of)

    @strawberry.field(description="The webhooks of the tenant, oldest first.", extensions=[READS])
    async def webhooks(self, info: Info) -> list[Webhook]:
        caller = info.context.caller
        return [Webhook.of(webhook) for webhook in await read(info, lambda: webhooks.list_webhooks(caller))]
