"""Erasing packs for good."""

from typing import Annotated

import strawberry

from resolvers import erasures
from resolvers.caller import Caller, Scope
from schema.execution.scopes import Needs
from schema.mutations.payloads import IdempotencyKey, JobPayload, payload
from schema.request.context import Info
from schema.types.jobs import Job


@strawberry.type
class EraseMutation:
    @strawberry.mutation(
        description="Erase a pack for good: it is gone from the catalog at once, then all its bytes from the stores, "
        "with all versions, placeholders, and originals that it showed before; every URL of it answers 410. Originals "
        "that other packs show are kept; the job counts them as skipped. A pack that was deleted can be erased too.",
        extensions=[Needs(Scope.PACKS_WRITE)],
    )
    async def erase_pack(
        self,
        info: Info,
        id: Annotated[strawberry.ID, strawberry.argument(description="The pack's id.")],
        reason: Annotated[
            str, strawberry.argument(description="Why, for the log and the tombstone; 1 to 500 characters.")
        ],
        idempotency_key: IdempotencyKey = strawberry.UNSET,
    ) -> JobPayload | None:
        def act(caller: Caller) -> JobPayload:
            return JobPayload(job=Job.of(erasures.erase_pack(caller, id, reason)))

        threads = info.context.threads.rendering
        return await payload(info, JobPayload, act, key=idempotency_key, threads=threads)
