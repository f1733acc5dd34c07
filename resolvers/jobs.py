"""Jobs: start one, and see how far it is."""

from collections.abc import Sequence

from packshot.catalog import jobs, ledger, packs
from packshot.catalog.jobs import Failure, Job, JobKind, JobState
from packshot.catalog.orders import Priority
from packshot.catalog.pages import Page
from packshot.catalog.snapshots import read_snapshots
from packshot.errors import Limit, NotFound
from resolvers.caller import Caller
from resolvers.ordering import order_packs, ring_for

MOST_PACKS = 100


def get_jobs(caller: Caller, job_ids: Sequence[str]) -> dict[str, Job]:
    """Return those jobs of the tenant that there are, by id."""
    with caller.site.catalog.read(caller.tenant) as tx:
        return jobs.get_jobs(tx, job_ids)


def list_jobs(caller: Caller, *, first: int, after: str | None, states: Sequence[JobState] | None) -> Page[Job]:
    """Return a page of jobs, newest first."""
    with caller.site.catalog.read(caller.tenant) as tx:
        return jobs.list_jobs(tx, first=first, after=after, states=states)


def list_failures(caller: Caller, job_id: str, *, first: int, after: str | None) -> Page[Failure]:
    """Return a page of a job's failures."""
    with caller.site.catalog.read(caller.tenant) as tx:
        return jobs.list_failures(tx, job_id, first=first, after=after)


def regenerate_packs(caller: Caller, pack_ids: Sequence[str], priority: Priority) -> Job:
    """Order whatever the ledger or the store lacks of these packs; failed ones are tried again.

    Raises:
        Limit: no pack, or more than 100.
        NotFound: one of them is no pack of this tenant; nothing is ordered then.
    """
    wanted = list(dict.fromkeys(pack_ids))
    if not 1 <= len(wanted) <= MOST_PACKS:
        raise Limit(
            "That many packs cannot be named at once.",
            field=("scope", "pack_ids"),
            expected=f"1 to {MOST_PACKS}; for more, a location or the tenant",
            got=len(wanted),
        )
    with caller.write() as tx:
        known = read_snapshots(tx, wanted)
        for index, pack_id in enumerate(wanted):
            if pack_id not in known:
                raise NotFound(
                    "There is no such pack.",
                    field=("scope", "pack_ids", str(index)),
                    expected="a pack of this tenant",
                    got=pack_id,
                )
        # Orders before variants, as the end of a refresh takes them: the other way round the two could deadlock.
        job = order_packs(tx, caller.site, wanted, by=caller.subject, priority=priority, verify=True)
        ledger.retry_failures(tx, wanted)
        caller.answer(job=f"job:{job.id}")
    ring_for(caller, wanted, priority)
    return job


def regenerate_tenant(caller: Caller, location: str | None, priority: Priority) -> Job:
    """Order whatever the ledger or the store lacks of every pack, at one location or at all.

    Raises:
        NotFound: no such location in this tenant.
    """
    with caller.write() as tx:
        if location is not None:
            packs.check_location(tx, location, "scope", "location")
        job = jobs.create_job(
            tx, JobKind.REGENERATE, priority, location=location, verify=True, whole_tenant=True, by=caller.subject
        )
        caller.answer(job=f"job:{job.id}")
    caller.bell.wake()
    return job
