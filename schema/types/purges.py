"""GraphQL types of purges: which copies are removed from the CDN, why, and their progress."""

from datetime import datetime

import strawberry

from packshot.catalog.purging import purges as catalog
from packshot.ids import IdKind, global_id
from resolvers import purges
from schema.base.enums import JobState
from schema.base.inputs import given
from schema.base.interfaces import Node
from schema.base.paging import After, Connection, First, asks_total, connect
from schema.base.refusals import read
from schema.execution.scopes import READS
from schema.request.context import Info


@strawberry.type(
    description="Copies in the CDN that a change made stale. They are removed at once, and again 20 seconds after "
    "the first purge was complete. Without a CDN there is nothing to purge."
)
class Purge(Node):
    scope: str = strawberry.field(
        description="What is purged, such as `pack 62e89a0ce4b0003c6f22b5a3`, `location thumb` or `tenant`."
    )
    cause: str = strawberry.field(
        description="The last change that requested it before it was sent, and the caller, such as `setOriginal by "
        "ann`."
    )
    tags: list[str] = strawberry.field(
        description="The tags, such as `p:default:62e89a0ce4b0003c6f22b5a3`; the CDN removes every copy that has one "
        "of them."
    )
    erasing: bool = strawberry.field(
        description="Whether the pack was erased. Then its immutable URLs are purged too, and no stale copy may "
        "be served in their place."
    )
    state: JobState = strawberry.field(
        description="QUEUED: not sent yet; RUNNING: sent, or postponed; SUCCEEDED: complete, twice; FAILED: "
        "refused, or given up after a day."
    )
    attempts: int = strawberry.field(description="The number of purge requests sent to the CDN.")
    provider_id: str | None = strawberry.field(description="The CDN's id of the last accepted purge request.")
    error: str | None = strawberry.field(
        description="The last error since a purge was complete; null if there was none."
    )
    requested_at: datetime = strawberry.field(description="When it was requested.")
    first_completed_at: datetime | None = strawberry.field(
        description="When the first purge had reached every cache; the second follows. Null if it has not."
    )
    finished_at: datetime | None = strawberry.field(description="When it finished, the second purge included.")

    @classmethod
    def of(cls, purge: catalog.Purge) -> "Purge":
        return cls(
            id=strawberry.ID(global_id(IdKind.PURGE, purge.id)),
            scope=purge.scope,
            cause=purge.cause,
            tags=list(purge.tags),
            erasing=purge.erasing,
            state=JobState[purge.state.name],
            attempts=purge.attempts,
            provider_id=purge.provider_id,
            error=purge.error,
            requested_at=purge.requested_at,
            first_completed_at=purge.first_done_at,
            finished_at=purge.finished_at,
        )


@strawberry.type
class PurgeQuery:
    @strawberry.field(
        description="The purges of the tenant, newest first: all open ones, and those that finished within the "
        "last 7 days.",
        extensions=[READS],
    )
    async def purges(self, info: Info, first: First = 20, after: After = strawberry.UNSET) -> Connection[Purge]:
        caller = info.context.caller
        total = asks_total(info)
        page = await read(info, lambda: purges.list_purges(caller, first=first, after=given(after), total=total))
        return connect(page, Purge.of)
