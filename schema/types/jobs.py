"""Jobs: what was asked to be rendered, and how far it is."""

from datetime import datetime

import strawberry

from packshot.catalog.database.pages import MAX_PAGE, Page, check_first
from packshot.catalog.packs.retrying_work import Retry
from packshot.catalog.work import jobs as catalog
from packshot.errors import NotFound
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


@strawberry.type(description="One pack location that could not be rendered or fetched, or a failure of all of a pack.")
class JobFailure:
    code: ErrorCode = strawberry.field(description="What kind of refusal it was.")
    message: str = strawberry.field(description="Why, for a person.")
    attempts: int = strawberry.field(description="How often it was tried.")
    core: strawberry.Private[catalog.Failure]

    @strawberry.field(description="The pack; null: it is gone, or the failure is the job's own.")
    async def pack(self, info: Info) -> Pack | None:
        snapshot = await info.context.loaders.snapshots.load(self.core.pack_id)
        return None if snapshot is None else Pack.of(snapshot.pack)

    @strawberry.field(description="The pack location; null: it is gone, or the failure is of all of the pack.")
    async def pack_location(self, info: Info) -> PackLocation | None:
        snapshot = await info.context.loaders.snapshots.load(self.core.pack_id)
        if snapshot is None or self.core.location not in snapshot.locations:
            return None
        return PackLocation.of(snapshot, self.core.location)

    @classmethod
    def of(cls, failure: catalog.Failure) -> "JobFailure":
        return cls(code=ErrorCode[failure.code.name], message=failure.message, attempts=failure.attempts, core=failure)


@strawberry.type(description="Work of a job whose last attempt came to nothing, and that is tried again.")
class JobRetry:
    reason: str = strawberry.field(description="Why the last attempt came to nothing.")
    attempts: int = strawberry.field(
        description="Attempts in a row that counted, failures of its own and unforeseen exceptions; a few are allowed."
    )
    outages: int = strawberry.field(
        description="Attempts in a row that an outage of a store, the database or the CDN ended; any number is allowed."
    )
    next_attempt_at: datetime | None = strawberry.field(
        description="When it is tried again; null: now, or within seconds."
    )
    core: strawberry.Private[Retry]

    @strawberry.field(description="The pack; null: it is of no single pack, or the pack is gone.")
    async def pack(self, info: Info) -> Pack | None:
        snapshot = await info.context.loaders.snapshots.load(self.core.pack_id or "")
        return None if snapshot is None else Pack.of(snapshot.pack)

    @strawberry.field(description="The location of an original that is fetched; null: it is of all of the pack.")
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
    description="What was asked to be rendered, and how far it is. Counts are variants; of an IMPORT, originals; of "
    "a PURGE, what it names."
)
class Job(Node):
    kind: JobKind = strawberry.field(description="Why it is done.")
    state: JobState = strawberry.field(description="How it stands.")
    priority: Priority = strawberry.field(description="Who waits for it.")
    total: Long = strawberry.field(description="How many variants it is about, as far as is known.")
    done: Long = strawberry.field(description="How many were rendered.")
    skipped: Long = strawberry.field(description="How many were there already.")
    failed: Long = strawberry.field(description="How many could not be rendered.")
    variants_per_second: float | None = strawberry.field(
        description="Variants a second over the minute that ends now; of a job that has ended, over all its time. "
        "Null before one has ended and while the job is stopped."
    )
    eta_seconds: int | None = strawberry.field(
        description="Seconds until the end at that rate, 0 at the end; null before there is one or while nothing ends."
    )
    stalled_reason: str | None = strawberry.field(
        description="Why nothing of it ends although it is open, for a person: no worker is running. Null otherwise."
    )
    created_by: str | None = strawberry.field(description="Who asked for it.")
    created_at: datetime = strawberry.field(description="When it was asked for.")
    started_at: datetime | None = strawberry.field(description="When its first pack was begun.")
    heartbeat_at: datetime | None = strawberry.field(description="When its last finished pack was.")
    activated_at: datetime | None = strawberry.field(description="When the change it prepared went live.")
    finished_at: datetime | None = strawberry.field(description="When it ended.")
    core: strawberry.Private[catalog.Job]

    @strawberry.field(description="The one location it is about; null: all of them.")
    async def location(self, info: Info) -> ImageLocation | None:
        if self.core.location is None:
            return None
        found = await info.context.loaders.locations.load(self.core.location)
        return None if found is None else ImageLocation.of(found)

    @strawberry.field(description="The one pack it is about, as after an edit; null: several, or it is gone.")
    async def pack(self, info: Info) -> Pack | None:
        if self.core.pack_id is None:
            return None
        snapshot = await info.context.loaders.snapshots.load(self.core.pack_id)
        return None if snapshot is None else Pack.of(snapshot.pack)

    @strawberry.field(description="The id of the one pack it is about, also of one that is gone; null: several.")
    def pack_id(self) -> strawberry.ID | None:
        return None if self.core.pack_id is None else strawberry.ID(self.core.pack_id)

    @strawberry.field(description="What could not be rendered.")
    async def failures(self, info: Info, first: First = 20, after: After = strawberry.UNSET) -> Connection[JobFailure]:
        if not self.core.failed and 1 <= first <= MAX_PAGE and not given(after):
            # The counters say it already: a listing of jobs asks the database for none of the good ones.
            none: Page[catalog.Failure] = Page((), (), has_next=False, has_previous=False, total=0)
            return connect(none, JobFailure.of)
        caller, job_id = info.context.caller, self.core.id
        total = asks_total(info)
        page = await read(
            info, lambda: jobs.list_failures(caller, job_id, first=first, after=given(after), total=total)
        )
        return connect(page, JobFailure.of)

    @strawberry.field(description="What waits to be tried again, the soonest first; empty where nothing does.")
    async def retrying(self, info: Info, first: First = 20) -> list[JobRetry]:
        caller, job_id = info.context.caller, self.core.id
        if self.core.finished_at is not None:
            check_first(first)
            return []
        return [
            JobRetry.of(retry) for retry in await read(info, lambda: jobs.list_retries(caller, job_id, first=first))
        ]

    @strawberry.field(
        description="The failures as CSV, for the morning hand-over; signed, for 15 minutes. Null: there are none."
    )
    def report_url(self, info: Info) -> URL | None:
        return URL(reports.sign_report(info.context.caller, self.core.id)) if self.core.failed else None

    @classmethod
    def of(cls, job: catalog.Job) -> "Job":
        return cls(
            id=strawberry.ID(f"job:{job.id}"),
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


@strawberry.input(description="Which jobs; each field that is given narrows the listing.")
class JobFilter:
    states: list[JobState] | None = strawberry.field(
        default=strawberry.UNSET, description="Those in one of these states."
    )
    kinds: list[JobKind] | None = strawberry.field(default=strawberry.UNSET, description="Those of one of these kinds.")
    pack_id: strawberry.ID | None = strawberry.field(
        default=strawberry.UNSET, description="Those that are about this one pack."
    )
    location: str | None = strawberry.field(
        default=strawberry.UNSET, description="Those that are about this one location."
    )
    since: datetime | None = strawberry.field(
        default=strawberry.UNSET, description="Those created at this moment or later."
    )

    def to_core(self) -> catalog.JobFilter:
        """Return what narrows the listing."""
        states, kinds, pack_id = given(self.states), given(self.kinds), given(self.pack_id)
        return catalog.JobFilter(
            states=None if states is None else known_states(states),
            kinds=None if kinds is None else [core(kind) for kind in kinds],
            pack_id=None if pack_id is None else str(pack_id),
            location=given(self.location),
            since=given(self.since),
        )


def known_states(states: list[JobState]) -> list[catalog.JobState]:
    """Return the core's states; those that no job can be in yet match none, and are left out."""
    return [core(state) for state in states if state.name in catalog.JobState.__members__]


@strawberry.input(one_of=True, description="What a job is about: exactly one of these.")
class JobScope:
    pack_ids: strawberry.Maybe[list[strawberry.ID]] = strawberry.field(description="These packs, up to 100.")
    location: strawberry.Maybe[str] = strawberry.field(description="One location of every pack.")
    tenant: strawberry.Maybe[strawberry.ID] = strawberry.field(
        description="Every location of every pack: `tenant:<name>`, the token's own."
    )


def check_tenant(caller: Caller, tenant_id: str) -> None:
    """Raise `NotFound` unless that is the caller's own tenant; another's name answers like one that nobody has."""
    own = f"tenant:{caller.tenant}"
    if tenant_id != own:
        raise NotFound("There is no such tenant.", field=("scope", "tenant"), expected=own, got=tenant_id)
