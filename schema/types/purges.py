"""Purges: which copies in a CDN are removed, why, and how far that is."""

from datetime import datetime

import strawberry

from packshot.catalog.purging import purges as catalog
from resolvers import purges
from schema.base.enums import JobState
from schema.base.inputs import given
from schema.base.interfaces import Node
from schema.base.paging import After, Connection, First, asks_total, connect
from schema.base.refusals import read
from schema.execution.scopes import READS
from schema.request.context import Info


@strawberry.type(
    description="Copies in a CDN that a change has made old. They are removed at once, and once more 20 seconds after"
    " that was complete. Without a CDN there is nothing to do."
)
class Purge(Node):
    scope: str = strawberry.field(description="What is purged: a pack, a location or the tenant.")
    cause: str = strawberry.field(description="Why: the last change that asked for it before it was begun, and whose.")
    tags: list[str] = strawberry.field(description="What carries one of these is purged.")
    erasing: bool = strawberry.field(
        description="Whether the pack was erased: then nothing of it is kept to be shown for want of something newer,"
        " and its immutable URLs are purged too."
    )
    state: JobState = strawberry.field(
        description="QUEUED: not begun; RUNNING: begun, perhaps put off; SUCCEEDED: gone everywhere, twice;"
        " FAILED: refused, or given up after a day."
    )
    attempts: int = strawberry.field(description="How often the CDN was asked to purge.")
    provider_id: str | None = strawberry.field(description="What the CDN calls the last purge that it took.")
    error: str | None = strawberry.field(
        description="What went wrong since a purge was last complete; null: nothing did."
    )
    requested_at: datetime = strawberry.field(description="When it was asked for.")
    first_completed_at: datetime | None = strawberry.field(
        description="When the first purge had reached every cache; the second follows it. null: it has not."
    )
    finished_at: datetime | None = strawberry.field(description="When it ended: when the second was complete too.")

    @classmethod
    def of(cls, purge: catalog.Purge) -> "Purge":
        return cls(
            id=strawberry.ID(f"purge:{purge.id}"),
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
        description="The tenant's purges, newest first; those that ended within the last 7 days, and all others.",
        extensions=[READS],
    )
    async def purges(self, info: Info, first: First = 20, after: After = strawberry.UNSET) -> Connection[Purge]:
        caller = info.context.caller
        total = asks_total(info)
        page = await read(info, lambda: purges.list_purges(caller, first=first, after=given(after), total=total))
        return connect(page, Purge.of)
