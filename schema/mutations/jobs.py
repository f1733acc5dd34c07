"""Mutations of jobs: start one, stop it, let it go on."""

from collections.abc import Callable
from typing import Annotated

import strawberry

from packshot.catalog.work.jobs import Job as CoreJob
from resolvers import jobs
from resolvers.caller import Caller, Scope
from schema.base.enums import Priority, RegenerateMode, core
from schema.execution.scopes import Needs
from schema.mutations.payloads import IdempotencyKey, JobPayload, payload
from schema.request.context import Info
from schema.types.jobs import Job, JobScope, check_tenant

JobId = Annotated[strawberry.ID, strawberry.argument(description="The job's id.")]


@strawberry.type
class JobMutation:
    @strawberry.mutation(
        description="Render what is missing, or everything again; what failed before is retried.",
        extensions=[Needs(Scope.JOBS_WRITE)],
    )
    async def regenerate(
        self,
        info: Info,
        scope: Annotated[JobScope, strawberry.argument(description="Of which packs and locations.")],
        mode: Annotated[RegenerateMode, strawberry.argument(description="What to render.")] = RegenerateMode.MISSING,
        priority: Annotated[Priority, strawberry.argument(description="Who waits for it.")] = Priority.BULK,
        idempotency_key: IdempotencyKey = strawberry.UNSET,
    ) -> JobPayload | None:
        def act(caller: Caller) -> JobPayload:
            how = core(priority), core(mode)
            if scope.pack_ids is not None:
                return JobPayload(job=Job.of(jobs.regenerate_packs(caller, scope.pack_ids.value, *how)))
            if scope.tenant is not None:
                check_tenant(caller, scope.tenant.value)
            location = None if scope.location is None else scope.location.value
            return JobPayload(job=Job.of(jobs.regenerate_tenant(caller, location, *how)))

        return await payload(info, JobPayload, act, key=idempotency_key)

    @strawberry.mutation(
        description="Let a prepared change go live although some of its variants could not be rendered.",
        extensions=[Needs(Scope.JOBS_WRITE)],
    )
    async def activate_job(
        self,
        info: Info,
        id: JobId,
        accept_failures: Annotated[
            bool, strawberry.argument(description="Go live without what could not be rendered.")
        ] = False,
    ) -> JobPayload | None:
        return await _control(
            info, id, lambda caller, job: jobs.activate_job(caller, job, accept_failures=accept_failures)
        )

    @strawberry.mutation(
        description="Stop the work of a job that renders where it is; no other can be paused. "
        "Edits go on being rendered.",
        extensions=[Needs(Scope.JOBS_WRITE)],
    )
    async def pause_job(self, info: Info, id: JobId) -> JobPayload | None:
        return await _control(info, id, jobs.pause_job)

    @strawberry.mutation(description="Go on with a paused job.", extensions=[Needs(Scope.JOBS_WRITE)])
    async def resume_job(self, info: Info, id: JobId) -> JobPayload | None:
        return await _control(info, id, jobs.resume_job)

    @strawberry.mutation(
        description="End a job that renders, or an import; no other can be cancelled. What it rendered or fetched "
        "stays; a change that it prepares never goes live.",
        extensions=[Needs(Scope.JOBS_WRITE)],
    )
    async def cancel_job(self, info: Info, id: JobId) -> JobPayload | None:
        return await _control(info, id, jobs.cancel_job)

    @strawberry.mutation(description="Try once more what a job could not render.", extensions=[Needs(Scope.JOBS_WRITE)])
    async def retry_job_failures(self, info: Info, id: JobId) -> JobPayload | None:
        return await _control(info, id, jobs.retry_failures)


async def _control(info: Info, id: str, act: Callable[[Caller, str], CoreJob]) -> JobPayload:
    return await payload(info, JobPayload, lambda caller: JobPayload(job=Job.of(act(caller, id.removeprefix("job:")))))
