"""Purging by hand."""

from datetime import datetime
from typing import Annotated

import strawberry

from packshot.errors import Invalid
from resolvers import manual_purges
from resolvers.caller import Caller, Scope
from schema.base.inputs import given
from schema.execution.scopes import Needs
from schema.mutations.payloads import IdempotencyKey, JobPayload, payload
from schema.request.context import Info
from schema.types.jobs import Job, JobScope, check_tenant


@strawberry.type
class PurgeMutation:
    @strawberry.mutation(
        description="Remove copies from the CDN now: of packs all, of a location or the tenant those under stable "
        "URLs, as immutable ones never go stale. With `renderedBefore`, what was rendered before that moment gets a "
        "new revision instead and is rendered again, some packs at a time, the oldest first; the CDN is purged of them "
        "when they go live. Then `jobs:write` is needed too.",
        extensions=[Needs(Scope.CDN_WRITE)],
    )
    async def purge(
        self,
        info: Info,
        scope: Annotated[JobScope, strawberry.argument(description="Of which packs or locations.")],
        rendered_before: Annotated[
            datetime | None,
            strawberry.argument(description="Render older variants again; the job is null if there are none."),
        ] = strawberry.UNSET,
        limit: Annotated[
            int | None,
            strawberry.argument(
                description="With `renderedBefore`: of how many packs at most, 1 to 1000; 100 if absent. "
                "All that such a pack shows is rendered."
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
                    raise Invalid("A limit needs a date.", field=("limit",), expected="renderedBefore too", got=most)
                return JobPayload(job=Job.of(manual_purges.purge(caller, pack_ids=pack_ids, location=location)))
            most = manual_purges.AT_ONCE if most is None else most
            job = manual_purges.refresh_older_than(caller, before, limit=most, pack_ids=pack_ids, location=location)
            return JobPayload(job=None if job is None else Job.of(job))

        threads = info.context.threads.rendering
        return await payload(info, JobPayload, act, key=idempotency_key, threads=threads)
