"""Mutations that purge the CDN."""

from datetime import datetime
from typing import Annotated

import strawberry

from packshot.errors import Invalid
from resolvers import purges
from resolvers.caller import Caller, Scope
from schema.base.inputs import given
from schema.execution.scopes import Needs
from schema.mutations.payloads import IdempotencyKey, JobPayload, payload
from schema.request.context import Info
from schema.types.jobs import Job, JobScope, check_tenant


@strawberry.type
class PurgeMutation:
    @strawberry.mutation(
        description="Remove copies from the CDN now: all copies of packs; for a location or the tenant, the "
        "copies under stable URLs, because immutable ones never go stale. With `renderedBefore`, "
        "variants that were rendered before that moment get a new revision and are rendered again, "
        "some packs at a time, the oldest first; the CDN is purged when they go live. This also needs "
        "`jobs:write`.",
        extensions=[Needs(Scope.CDN_WRITE)],
    )
    async def purge(
        self,
        info: Info,
        scope: Annotated[JobScope, strawberry.argument(description="Which packs or locations to purge.")],
        rendered_before: Annotated[
            datetime | None,
            strawberry.argument(
                description="Render variants from before this moment again; the job is null if there are none."
            ),
        ] = strawberry.UNSET,
        limit: Annotated[
            int | None,
            strawberry.argument(
                description="With `renderedBefore`: the maximum number of packs, 1 to 1000; 100 if absent. All "
                "variants of each of these packs are rendered."
            ),
        ] = strawberry.UNSET,
        idempotency_key: IdempotencyKey = strawberry.UNSET,
    ) -> JobPayload | None:
        def act(caller: Caller) -> JobPayload:
            if scope.tenant is not None:
                check_tenant(caller, scope.tenant.value)
            pack_ids = None if scope.pack_ids is None else scope.pack_ids.value
            location = None if scope.location is None else scope.location.value
            before, most = given(rendered_before), given(limit)
            if before is None:
                if most is not None:
                    raise Invalid(
                        "`limit` requires `renderedBefore`.", field=("limit",), expected="renderedBefore too", got=most
                    )
                return JobPayload(job=Job.of(purges.purge(caller, pack_ids=pack_ids, location=location)))
            most = purges.DEFAULT_PACKS if most is None else most
            job = purges.refresh_older_than(caller, before, limit=most, pack_ids=pack_ids, location=location)
            return JobPayload(job=None if job is None else Job.of(job))

        threads = info.context.threads.rendering
        return await payload(info, JobPayload, act, key=idempotency_key, threads=threads)
