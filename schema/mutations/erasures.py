"""Mutations that erase packs for good."""

from typing import Annotated

import strawberry

from resolvers import packs
from resolvers.caller import Caller, Scope
from schema.execution.scopes import Needs
from schema.mutations.payloads import IdempotencyKey, JobPayload, payload
from schema.request.context import Info
from schema.types.jobs import Job


@strawberry.type
class EraseMutation:
    @strawberry.mutation(
        description="Erase a pack for good. It disappears from the catalog at once. Then all its stored objects are "
        "erased: variants, originals and placeholders, also earlier ones. All its URLs answer 410. "
        "Originals that other packs use are kept and counted as skipped. A deleted pack can be erased "
        "too.",
        extensions=[Needs(Scope.PACKS_WRITE)],
    )
    async def erase_pack(
        self,
        info: Info,
        id: Annotated[strawberry.ID, strawberry.argument(description="The id of the pack.")],
        reason: Annotated[
            str, strawberry.argument(description="The reason, for the log and the tombstone; 1 to 500 characters.")
        ],
        idempotency_key: IdempotencyKey = strawberry.UNSET,
    ) -> JobPayload | None:
        def act(caller: Caller) -> JobPayload:
            return JobPayload(job=Job.of(packs.erase_pack(caller, id, reason)))

        threads = info.context.threads.rendering
        return await payload(info, JobPayload, act, key=idempotency_key, threads=threads)
