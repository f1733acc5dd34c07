"""Jobs: start one, and see how far it is."""

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
from resolvers.caller import Caller
from resolvers.changing import changes
from resolvers.orders import order_packs, ring_doorbell

MAX_PACKS = 100


class RegenerateMode(StrEnum):
    """What a regeneration renders: what is missing, or everything again."""

    MISSING = "missing"
    REFRESH = "refresh"


def get_jobs(caller: Caller, job_ids: Sequence[str]) -> dict[str, Job]:
    """Return those jobs of the tenant that there are, by id."""
    with caller.site.catalog.read(caller.tenant) as tx:
        return jobs.get_jobs(tx, job_ids)


def list_jobs(caller: Caller, *, first: int, after: str | None, only: JobFilter, total: bool = True) -> Page[Job]:
    """Return a page of jobs, newest first."""
    with caller.site.catalog.read(caller.tenant) as tx:
        return jobs.list_jobs(tx, first=first, after=after, only=only, total=total)


def find_external_ids(caller: Caller, found: Sequence[Job]) -> dict[str, str | None]:
    """Return the external ids of the jobs' packs, by the packs' own ids; packs that are gone are left out."""
    with caller.site.catalog.read(caller.tenant) as tx:
        return packs.find_external_ids(tx, {job.pack_id for job in found if job.pack_id is not None})


def list_failures(caller: Caller, job_id: str, *, first: int, after: str | None, total: bool = True) -> Page[Failure]:
    """Return a page of a job's failures."""
    with caller.site.catalog.read(caller.tenant) as tx:
        return jobs.list_failures(tx, job_id, first=first, after=after, total=total)


def list_retries(caller: Caller, job_id: str, *, first: int) -> list[Retry]:
    """Return what of a job waits to be tried again, the soonest first.

    Raises:
        Limit: more than a page is asked for, or nothing.
    """
    check_first(first)
    with caller.site.catalog.read(caller.tenant) as tx:
        return retrying_work.list_retries(tx, job_id, first=first)


def regenerate_packs(
    caller: Caller, pack_ids: Sequence[str], priority: Priority, mode: RegenerateMode = RegenerateMode.MISSING
) -> Job:
    """Order what is missing of these packs, or all of it anew; what failed is tried again.

    Raises:
        Limit: no pack, or more than 100.
        NotFound: one of them is no pack of this tenant; nothing is ordered then.
        BadState: all anew, while another change is being prepared.
    """
    wanted = check_pack_ids(pack_ids)
    with caller.write() as tx:
        if mode is RegenerateMode.REFRESH:
            hold_configuration(tx)
        read_existing_packs(tx, wanted)
        if mode is RegenerateMode.REFRESH:
            change = Change(refreshed_packs=frozenset(wanted))
            job = changes.refresh(caller, tx, change, priority=priority, location=None)
        else:
            # Orders before variants, as the end of a refresh takes them: the other way round the two could deadlock.
            job = order_packs(
                tx, caller.site, wanted, by=caller.subject, priority=priority, check_store=True, job_only=True
            )
            ledger.retry_failures(tx, wanted)
        caller.answer(job=f"job:{job.id}")
    ring_doorbell(caller, wanted, priority)
    return job


def check_pack_ids(pack_ids: Sequence[str]) -> list[str]:
    """Return the packs of a job's scope, each once.

    Raises:
        Limit: no pack, or more than 100.
    """
    wanted = list(dict.fromkeys(pack_ids))
    if not 1 <= len(wanted) <= MAX_PACKS:
        raise Limit(
            "That many packs cannot be named at once.",
            field=("scope", "pack_ids"),
            expected=f"1 to {MAX_PACKS}; for more, a location or the tenant",
            got=len(wanted),
        )
    return wanted


def read_existing_packs(tx: Tx, wanted: Sequence[str]) -> dict[str, Snapshot]:
    """Return the snapshots of the packs of a job's scope.

    Raises:
        NotFound: one of them is no pack of this tenant.
    """
    known = read_snapshots(tx, wanted)
    for index, pack_id in enumerate(wanted):
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
    """Order what is missing of every pack, at one location or at all, or all of it anew.

    Raises:
        NotFound: no such location in this tenant.
        BadState: all anew, while another change is being prepared.
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
        caller.answer(job=f"job:{job.id}")
    caller.doorbell.wake()
    return job


def pause_job(caller: Caller, job_id: str) -> Job:
    """Stop the work of a job where it is; see `packshot.catalog.work.job_control.pause`."""
    with caller.write() as tx:
        return job_control.pause(tx, job_id)


def resume_job(caller: Caller, job_id: str) -> Job:
    """Go on with a paused job; see `packshot.catalog.work.job_control.resume`."""
    with caller.write() as tx:
        job = job_control.resume(tx, job_id)
    caller.doorbell.wake()
    return job


def cancel_job(caller: Caller, job_id: str) -> Job:
    """End a job; see `packshot.catalog.work.job_control.cancel`."""
    with caller.write() as tx:
        return job_control.cancel(tx, job_id)


def retry_failures(caller: Caller, job_id: str) -> Job:
    """Try once more what a job could not render; see `packshot.catalog.work.job_control.retry_failures`."""
    with caller.write() as tx:
        job = job_control.retry_failures(tx, job_id)
    caller.doorbell.wake()
    return job


def activate_job(caller: Caller, job_id: str, *, accept_failures: bool = False) -> Job:
    """Activate a prepared change although some variants failed; see `job_control.accept_failures`."""
    with caller.write() as tx:
        job = job_control.accept_failures(tx, job_id, failures=accept_failures)
    caller.doorbell.wake()
    return job
