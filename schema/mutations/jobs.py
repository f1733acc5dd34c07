"""Mutations of jobs: start, pause, resume, cancel, retry, activate."""

from collections.abc import Callable
from typing import Annotated

import strawberry

from packshot.catalog.work.jobs import Job as CoreJob
from packshot.ids import IdKind, own_id
from resolvers import jobs
from resolvers.caller import Caller, Scope
from schema.base.enums import Priority, RegenerateMode, core
from schema.execution.scopes import Needs
from schema.mutations.payloads import IdempotencyKey, JobPayload, payload
from schema.request.context import Info
from schema.types.jobs import Job, JobScope, check_tenant

JobId = Annotated[strawberry.ID, strawberry.argument(description="The id of the job.")]


@strawberry.type
class JobMutation:
    @strawberry.mutation(
        description="Render missing variants, or all variants again; failed variants are retried.",
        extensions=[Needs(Scope.JOBS_WRITE)],
    )
    async def regenerate(
        self,
        info: Info,
        scope: Annotated[JobScope, strawberry.argument(description="Which packs and locations to render.")],
        mode: Annotated[
            RegenerateMode, strawberry.argument(description="Which variants to render.")
        ] = RegenerateMode.MISSING,
        priority: Annotated[Priority, strawberry.argument(description="How urgent the job is.")] = Priority.BULK,
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
        description="Activate a pending change although some of its variants could not be rendered.",
        extensions=[Needs(Scope.JOBS_WRITE)],
    )
    async def activate_job(
        self,
        info: Info,
        id: JobId,
        accept_failures: Annotated[
            bool, strawberry.argument(description="Must be true to activate it without the failed variants.")
        ] = False,
    ) -> JobPayload | None:
        return await _control(
            info, id, lambda caller, job: jobs.activate_job(caller, job, accept_failures=accept_failures)
        )

    @strawberry.mutation(
        description="Pause a job that renders; other jobs cannot be paused. Edits are still rendered.",
        extensions=[Needs(Scope.JOBS_WRITE)],
    )
    async def pause_job(self, info: Info, id: JobId) -> JobPayload | None:
        return await _control(info, id, jobs.pause_job)

    @strawberry.mutation(description="Resume a paused job.", extensions=[Needs(Scope.JOBS_WRITE)])
    async def resume_job(self, info: Info, id: JobId) -> JobPayload | None:
        return await _control(info, id, jobs.resume_job)

    @strawberry.mutation(
        description="Cancel an import or a job that renders; other jobs cannot be cancelled. Rendered variants "
        "and fetched originals stay; a pending change is dropped.",
        extensions=[Needs(Scope.JOBS_WRITE)],
    )
    async def cancel_job(self, info: Info, id: JobId) -> JobPayload | None:
        return await _control(info, id, jobs.cancel_job)

    @strawberry.mutation(description="Retry the failed variants of a job.", extensions=[Needs(Scope.JOBS_WRITE)])
    async def retry_job_failures(self, info: Info, id: JobId) -> JobPayload | None:
        return await _control(info, id, jobs.retry_failures)


async def _control(info: Info, id: str, act: Callable[[Caller, str], CoreJob]) -> JobPayload:
    return await payload(info, JobPayload, lambda caller: JobPayload(job=Job.of(act(caller, own_id(IdKind.JOB, id)))))
