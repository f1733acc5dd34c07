"""Jobs: start, list, pause, resume, cancel and retry them."""

from collections.abc import Sequence
from enum import StrEnum

from packshot.catalog.configuration import locations
from packshot.catalog.configuration.snapshots import read_snapshots
from packshot.catalog.database.pages import Page, check_first
from packshot.catalog.database.transaction import Tx, hold_configuration
from packshot.catalog.packs import packs, retrying_work
from packshot.catalog.packs.retrying_work import Retry
from packshot.catalog.variants import ledger
from packshot.catalog.work import job_control, jobs
from packshot.catalog.work.jobs import Failure, Job, JobFilter, JobKind
from packshot.catalog.work.orders import Priority
from packshot.errors import Limit, NotFound
from packshot.model import Snapshot
from packshot.variants.change import Change
from resolvers.caller import Answer, Caller
from resolvers.changing import changes
from resolvers.orders import order_packs, ring_doorbell

MAX_PACKS = 100


class RegenerateMode(StrEnum):
    """What a regeneration renders: missing variants, or every variant again."""

    MISSING = "missing"
    REFRESH = "refresh"


def get_jobs(caller: Caller, job_ids: Sequence[str]) -> dict[str, Job]:
    """Return those of the tenant's jobs that exist, by id."""
    with caller.site.catalog.read(caller.tenant) as tx:
        return jobs.get_jobs(tx, job_ids)


def list_jobs(caller: Caller, *, first: int, after: str | None, only: JobFilter, total: bool = True) -> Page[Job]:
    """Return a page of jobs, newest first."""
    with caller.site.catalog.read(caller.tenant) as tx:
        return jobs.list_jobs(tx, first=first, after=after, only=only, total=total)


def find_external_ids(caller: Caller, found: Sequence[Job]) -> dict[str, str | None]:
    """Return the external ids of the jobs' packs, by pack id. Packs that no longer exist are left out."""
    with caller.site.catalog.read(caller.tenant) as tx:
        return packs.find_external_ids(tx, {job.pack_id for job in found if job.pack_id is not None})


def list_failures(caller: Caller, job_id: str, *, first: int, after: str | None, total: bool = True) -> Page[Failure]:
    """Return a page of a job's failures."""
    with caller.site.catalog.read(caller.tenant) as tx:
        return jobs.list_failures(tx, job_id, first=first, after=after, total=total)


def list_retries(caller: Caller, job_id: str, *, first: int) -> list[Retry]:
    """Return the retries that a job waits for, the next one first.

    Raises:
        Limit: `first` is out of range.
    """
    check_first(first)
    with caller.site.catalog.read(caller.tenant) as tx:
        return retrying_work.list_retries(tx, job_id, first=first)


def regenerate_packs(
    caller: Caller, pack_ids: Sequence[str], priority: Priority, mode: RegenerateMode = RegenerateMode.MISSING
) -> Job:
    """Order the missing variants of these packs, or all of them again. Failed variants are retried.

    Raises:
        Limit: no pack, or more than 100.
        NotFound: one of them is no pack of this tenant; nothing is ordered.
        BadState: all variants are ordered again while a change is pending.
    """
    checked = check_pack_ids(pack_ids)
    with caller.write() as tx:
        if mode is RegenerateMode.REFRESH:
            hold_configuration(tx)
        read_existing_packs(tx, checked)
        if mode is RegenerateMode.REFRESH:
            change = Change(refreshed_packs=frozenset(checked))
            job = changes.refresh(caller, tx, change, priority=priority, location=None)
        else:
            # Orders before variants: the end of a refresh locks them in the same order. Otherwise the two could
            # deadlock.
            job = order_packs(
                tx, caller.site, checked, by=caller.subject, priority=priority, check_store=True, job_only=True
            )
            ledger.retry_failures(tx, checked)
        caller.record(tx, Answer(job=job))
    ring_doorbell(caller, checked, priority)
    return job


def check_pack_ids(pack_ids: Sequence[str]) -> list[str]:
    """Return the packs of a job's scope, each once.

    Raises:
        Limit: no pack, or more than 100.
    """
    checked = list(dict.fromkeys(pack_ids))
    if not 1 <= len(checked) <= MAX_PACKS:
        raise Limit(
            "Too many packs, or none.",
            field=("scope", "pack_ids"),
            expected=f"1 to {MAX_PACKS}; for more, a location or the tenant",
            got=len(checked),
        )
    return checked


def read_existing_packs(tx: Tx, pack_ids: Sequence[str]) -> dict[str, Snapshot]:
    """Return the snapshots of the packs of a job's scope.

    Raises:
        NotFound: one of them is no pack of this tenant.
    """
    known = read_snapshots(tx, pack_ids)
    for index, pack_id in enumerate(pack_ids):
        if pack_id not in known:
            raise NotFound(
                "There is no such pack.",
                field=("scope", "pack_ids", str(index)),
                expected="a pack of this tenant",
                got=pack_id,
            )
    return known


def regenerate_tenant(
    caller: Caller, location: str | None, priority: Priority, mode: RegenerateMode = RegenerateMode.MISSING
) -> Job:
    """Order the missing variants of every pack, at one location or all, or all of them again.

    Raises:
        NotFound: no such location in this tenant.
        BadState: all variants are ordered again while a change is pending.
    """
    with caller.write() as tx:
        if location is not None:
            packs.check_location(tx, location, "scope", "location")
        if mode is RegenerateMode.REFRESH:
            hold_configuration(tx)
            names = locations.get_locations(tx) if location is None else [location]
            change = Change(refreshed=frozenset(names))
            job = changes.refresh(caller, tx, change, priority=priority, location=location)
        else:
            job = jobs.create_job(
                tx,
                JobKind.REGENERATE,
                priority,
                location=location,
                scope=None if location is None else [location],
                check_store=True,
                whole_tenant=True,
                by=caller.subject,
            )
        caller.record(tx, Answer(job=job))
    caller.doorbell.wake()
    return job


def pause_job(caller: Caller, job_id: str) -> Job:
    """Pause a job; see `packshot.catalog.work.job_control.pause`."""
    with caller.write() as tx:
        return job_control.pause(tx, job_id)


def resume_job(caller: Caller, job_id: str) -> Job:
    """Resume a paused job; see `packshot.catalog.work.job_control.resume`."""
    with caller.write() as tx:
        job = job_control.resume(tx, job_id)
    caller.doorbell.wake()
    return job


def cancel_job(caller: Caller, job_id: str) -> Job:
    """Cancel a job; see `packshot.catalog.work.job_control.cancel`."""
    with caller.write() as tx:
        return job_control.cancel(tx, job_id)


def retry_failures(caller: Caller, job_id: str) -> Job:
    """Retry the failures of a job; see `packshot.catalog.work.job_control.retry_failures`."""
    with caller.write() as tx:
        job = job_control.retry_failures(tx, job_id)
    caller.doorbell.wake()
    return job


def activate_job(caller: Caller, job_id: str, *, accept_failures: bool = False) -> Job:
    """Activate a pending change although some variants failed; see `job_control.accept_failures`."""
    with caller.write() as tx:
        job = job_control.accept_failures(tx, job_id, failures=accept_failures)
    caller.doorbell.wake()
    return job
