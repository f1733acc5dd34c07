"""GraphQL types of jobs: background work and its progress."""

from datetime import datetime

import strawberry

from packshot.catalog.database.pages import MAX_PAGE, Page, check_first
from packshot.catalog.packs.retrying_work import Retry
from packshot.catalog.work import jobs as catalog
from packshot.errors import NotFound
from packshot.ids import IdKind, global_id
from resolvers import jobs, reports
from resolvers.caller import Caller
from schema.base.enums import ErrorCode, JobKind, JobState, Priority, core
from schema.base.inputs import given
from schema.base.interfaces import Node
from schema.base.paging import After, Connection, First, asks_total, connect
from schema.base.refusals import read
from schema.base.scalars import URL, Long
from schema.request.context import Info
from schema.types.locations import ImageLocation
from schema.types.packs import Pack, PackLocation


@strawberry.type(description="A pack location that could not be rendered or fetched, or a failure of a whole pack.")
class JobFailure:
    code: ErrorCode = strawberry.field(description="The kind of the failure.")
    message: str = strawberry.field(description="The reason, for people.")
    attempts: int = strawberry.field(description="The number of attempts.")
    core: strawberry.Private[catalog.Failure]

    @strawberry.field(description="The pack; null if it no longer exists or the failure concerns the whole job.")
    async def pack(self, info: Info) -> Pack | None:
        snapshot = await info.context.loaders.snapshots.load(self.core.pack_id)
        return None if snapshot is None else Pack.of(snapshot.pack)

    @strawberry.field(
        description="The pack location; null if it no longer exists or the failure concerns the whole pack."
    )
    async def pack_location(self, info: Info) -> PackLocation | None:
        snapshot = await info.context.loaders.snapshots.load(self.core.pack_id)
        if snapshot is None or self.core.location not in snapshot.locations:
            return None
        return PackLocation.of(snapshot, self.core.location)

    @classmethod
    def of(cls, failure: catalog.Failure) -> "JobFailure":
        return cls(code=ErrorCode[failure.code.name], message=failure.message, attempts=failure.attempts, core=failure)


@strawberry.type(description="Work of a job whose last attempt failed and that will be retried.")
class JobRetry:
    reason: str = strawberry.field(description="Why the last attempt failed.")
    attempts: int = strawberry.field(
        description="Consecutive failed attempts that count: its own failures and unforeseen errors. Their number "
        "is limited."
    )
    outages: int = strawberry.field(
        description="Consecutive attempts that an outage of a store, the database or the CDN ended. Their number "
        "is not limited."
    )
    next_attempt_at: datetime | None = strawberry.field(
        description="When the next attempt starts; null: now, or within seconds."
    )
    core: strawberry.Private[Retry]

    @strawberry.field(description="The pack; null if the work concerns several packs, or the pack no longer exists.")
    async def pack(self, info: Info) -> Pack | None:
        snapshot = await info.context.loaders.snapshots.load(self.core.pack_id or "")
        return None if snapshot is None else Pack.of(snapshot.pack)

    @strawberry.field(
        description="The location of an original that is being fetched; null if the work concerns the whole pack."
    )
    async def location(self, info: Info) -> ImageLocation | None:
        if self.core.location is None:
            return None
        found = await info.context.loaders.locations.load(self.core.location)
        return None if found is None else ImageLocation.of(found)

    @classmethod
    def of(cls, retry: Retry) -> "JobRetry":
        return cls(
            reason=retry.reason,
            attempts=retry.attempts,
            outages=retry.outages,
            next_attempt_at=retry.next_attempt_at,
            core=retry,
        )


@strawberry.type(
    description="Background work that users can follow. Its counts are numbers of variants, except where `JobKind` "
    "says otherwise."
)
class Job(Node):
    kind: JobKind = strawberry.field(description="What the job does.")
    state: JobState = strawberry.field(description="The state of the job.")
    priority: Priority = strawberry.field(description="How urgent the job is.")
    total: Long = strawberry.field(description="The number of variants to process, as far as known.")
    done: Long = strawberry.field(description="The number of rendered variants.")
    skipped: Long = strawberry.field(description="The number of variants that existed already.")
    failed: Long = strawberry.field(description="The number of variants that could not be rendered.")
    variants_per_second: float | None = strawberry.field(
        description="Variants per second over the last minute; for a finished job, over its whole run. Null "
        "before the first variant is finished, and while the job is stopped."
    )
    eta_seconds: int | None = strawberry.field(
        description="Estimated seconds to the end at that rate, 0 for a finished job; null while there is no rate "
        "or nothing is being finished."
    )
    stalled_reason: str | None = strawberry.field(
        description="Why an open job makes no progress: no worker runs. Otherwise null."
    )
    created_by: str | None = strawberry.field(description="Who requested the job, such as `ann` or `token:ci`.")
    created_at: datetime = strawberry.field(description="When the job was created.")
    started_at: datetime | None = strawberry.field(description="When work on its first pack started.")
    heartbeat_at: datetime | None = strawberry.field(description="When its most recent pack was finished.")
    activated_at: datetime | None = strawberry.field(description="When the pending change that it prepared went live.")
    finished_at: datetime | None = strawberry.field(description="When the job finished.")
    core: strawberry.Private[catalog.Job]

    @strawberry.field(description="The one location that the job concerns; null: all locations.")
    async def location(self, info: Info) -> ImageLocation | None:
        if self.core.location is None:
            return None
        found = await info.context.loaders.locations.load(self.core.location)
        return None if found is None else ImageLocation.of(found)

    @strawberry.field(
        description="The one pack that the job concerns, for example after an edit; null if there are several, or it "
        "no longer exists."
    )
    async def pack(self, info: Info) -> Pack | None:
        if self.core.pack_id is None:
            return None
        snapshot = await info.context.loaders.snapshots.load(self.core.pack_id)
        return None if snapshot is None else Pack.of(snapshot.pack)

    @strawberry.field(
        description="The id of the one pack that the job concerns, even if it no longer exists; null if there are "
        "several."
    )
    def pack_id(self) -> strawberry.ID | None:
        return None if self.core.pack_id is None else strawberry.ID(self.core.pack_id)

    @strawberry.field(description="Variants that could not be rendered.")
    async def failures(self, info: Info, first: First = 20, after: After = strawberry.UNSET) -> Connection[JobFailure]:
        if not self.core.failed and 1 <= first <= MAX_PAGE and not given(after):
            # The counter says it, so a list of jobs causes no reads for jobs without failures.
            none: Page[catalog.Failure] = Page((), (), has_next=False, has_previous=False, total=0)
            return connect(none, JobFailure.of)
        caller, job_id = info.context.caller, self.core.id
        total = asks_total(info)
        page = await read(
            info, lambda: jobs.list_failures(caller, job_id, first=first, after=given(after), total=total)
        )
        return connect(page, JobFailure.of)

    @strawberry.field(description="Work that will be retried, the next attempt first; empty if there is none.")
    async def retrying(self, info: Info, first: First = 20) -> list[JobRetry]:
        caller, job_id = info.context.caller, self.core.id
        if self.core.finished_at is not None:
            check_first(first)
            return []
        return [
            JobRetry.of(retry) for retry in await read(info, lambda: jobs.list_retries(caller, job_id, first=first))
        ]

    @strawberry.field(
        description="The failures as CSV: a signed URL that works for 15 minutes. Null if there are no failures."
    )
    def report_url(self, info: Info) -> URL | None:
        return URL(reports.sign_report(info.context.caller, self.core.id)) if self.core.failed else None

    @classmethod
    def of(cls, job: catalog.Job) -> "Job":
        return cls(
            id=strawberry.ID(global_id(IdKind.JOB, job.id)),
            kind=JobKind[job.kind.name],
            state=JobState[job.state.name],
            priority=Priority[job.priority.name],
            total=Long(job.total),
            done=Long(job.done),
            skipped=Long(job.skipped),
            failed=Long(job.failed),
            variants_per_second=job.variants_per_second,
            eta_seconds=job.eta_seconds,
            stalled_reason=job.stalled_reason,
            created_by=job.created_by,
            created_at=job.created_at,
            started_at=job.started_at,
            heartbeat_at=job.heartbeat_at,
            activated_at=job.activated_at,
            finished_at=job.finished_at,
            core=job,
        )


@strawberry.input(description="Which jobs to list; each given field narrows the list.")
class JobFilter:
    states: list[JobState] | None = strawberry.field(
        default=strawberry.UNSET, description="Jobs in one of these states."
    )
    kinds: list[JobKind] | None = strawberry.field(default=strawberry.UNSET, description="Jobs of one of these kinds.")
    pack_id: strawberry.ID | None = strawberry.field(
        default=strawberry.UNSET, description="Jobs that concern this one pack."
    )
    location: str | None = strawberry.field(
        default=strawberry.UNSET, description="Jobs that concern this one location."
    )
    since: datetime | None = strawberry.field(
        default=strawberry.UNSET, description="Jobs created at this moment or later."
    )

    def to_core(self) -> catalog.JobFilter:
        """Return the filter as a core value."""
        states, kinds, pack_id = given(self.states), given(self.kinds), given(self.pack_id)
        return catalog.JobFilter(
            states=None if states is None else known_states(states),
            kinds=None if kinds is None else [core(kind) for kind in kinds],
            pack_id=None if pack_id is None else str(pack_id),
            location=given(self.location),
            since=given(self.since),
        )


def known_states(states: list[JobState]) -> list[catalog.JobState]:
    """Return the core states. States that no job can have yet match nothing and are omitted."""
    return [core(state) for state in states if state.name in catalog.JobState.__members__]


@strawberry.input(one_of=True, description="What the job processes: exactly one of these.")
class JobScope:
    pack_ids: strawberry.Maybe[list[strawberry.ID]] = strawberry.field(description="The ids of up to 100 packs.")
    location: strawberry.Maybe[str] = strawberry.field(
        description="The name of a location: this location of every pack."
    )
    tenant: strawberry.Maybe[strawberry.ID] = strawberry.field(
        description="The id of the token's tenant, such as `tenant:default`: every location of every pack."
    )


def check_tenant(caller: Caller, tenant_id: str) -> None:
    """Raise `NotFound` unless it is the caller's own tenant. Another tenant's name gets the same answer as an
    unknown one.
    """
    own = global_id(IdKind.TENANT, caller.tenant)
    if tenant_id != own:
        raise NotFound("No such tenant exists.", field=("scope", "tenant"), expected=own, got=tenant_id)
