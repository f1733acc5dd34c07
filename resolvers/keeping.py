"""Rounds of collecting and scrubbing that somebody asks for, each with a job that says what came of it."""

from collections.abc import Callable

from packshot.catalog import items, jobs
from packshot.catalog.jobs import Counts, Failure, Job, JobKind
from packshot.catalog.orders import Priority
from packshot.collect import Collected, collect_all
from packshot.errors import ErrorCode
from packshot.make import DAMAGED, MISSING
from packshot.scrub import Fault, Scrubbed, scrub
from resolvers.caller import Caller

MESSAGES = {Fault.MISSING: MISSING, Fault.WRONG: DAMAGED}


def collect(caller: Caller, seen: Callable[[Collected], None]) -> tuple[Collected, Job]:
    """Collect whatever is due of the caller's tenant; return how much, and the job that says so.

    Raises:
        OSError: the store is away; what is left is collected later.
    """
    total = collect_all(caller.site, caller.tenant, seen)
    done = total.variants + total.originals
    return total, _note(caller, JobKind.COLLECT, Counts(total=done + total.kept, done=done, skipped=total.kept))


def scrub_tenant(caller: Caller, *, deep: bool, seen: Callable[[Scrubbed], None]) -> tuple[Scrubbed, Job]:
    """Compare store and ledger of the caller's tenant and put right what can be; return what was found, and the job.

    Raises:
        OSError: the store is away; what was put right by then stays so.
    """
    result = scrub(caller.site, caller.tenant, deep=deep, mend=True, seen=seen)
    if result.ordered:
        caller.bell.wake()
    failures = [
        Failure(pack_id, location, ErrorCode.UNRENDERABLE, MESSAGES[lost.fault], 0)
        for lost in result.lost
        for pack_id, location in lost.places
    ]
    right = result.variants + result.originals - result.missing - result.wrong - len(result.lost)
    counts = Counts(total=right + result.found + len(failures), done=result.found, skipped=right, failed=len(failures))
    return result, _note(caller, JobKind.SCRUB, counts, failures)


def _note(caller: Caller, kind: JobKind, counts: Counts, failures: list[Failure] | None = None) -> Job:
    # Written when the round is over: one that is killed leaves no job that runs for ever.
    with caller.site.catalog.write(caller.tenant) as tx:
        job = jobs.create_job(tx, kind, Priority.BULK, by=caller.subject)
        items.mark_running(tx, job.id)
        items.count(tx, job.id, counts, failures or ())
        return jobs.get_job(tx, job.id)
