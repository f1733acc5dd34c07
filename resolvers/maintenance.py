"""Collection and scrub on request. A job records the result of each."""

import re
from collections.abc import Callable, Mapping

from packshot.catalog.work import job_items, jobs
from packshot.catalog.work.jobs import OF_NO_LOCATION, OF_NO_PACK, Counts, Failure, Job, JobKind
from packshot.catalog.work.orders import Priority
from packshot.errors import ErrorCode, Internal, describe
from packshot.maintenance.collect import Collected, collect_all
from packshot.maintenance.scrub import Fault, ScrubResult, scrub
from packshot.production import DAMAGED, MISSING
from packshot.variants.key import pack_of
from resolvers.caller import Caller

_PACK_ID = re.compile(r"[0-9a-f]{24}")
MESSAGES = {Fault.MISSING: MISSING, Fault.WRONG: DAMAGED}


def collect(caller: Caller, seen: Callable[[Collected], None]) -> tuple[Collected, Job]:
    """Collect every due object of the caller's tenant. Return the counts, and the job that records them.

    Raises:
        OSError: the store does not answer. The rest is collected later.
    """
    total = collect_all(caller.site, caller.tenant, seen)
    done = total.variants + total.originals
    counts = Counts(done + total.kept + len(total.failed), done, total.kept, len(total.failed))
    by_pack = {pack_of(key): error_id for key, error_id in total.failed.items()}
    return total, _note(caller, JobKind.COLLECT, counts, _unforeseen(by_pack))


def scrub_tenant(caller: Caller, *, deep: bool, seen: Callable[[ScrubResult], None]) -> tuple[ScrubResult, Job]:
    """Compare the stores and the ledger of the caller's tenant, and repair what can be repaired. Return result and job.

    Raises:
        OSError: the store does not answer. Repairs up to then stay.
    """
    result = scrub(caller.site, caller.tenant, deep=deep, repair=True, on_progress=seen)
    if result.ordered:
        caller.doorbell.wake()
    failures = [
        Failure(pack_id, location, ErrorCode.UNRENDERABLE, MESSAGES[lost.fault], 0)
        for lost in result.lost
        for pack_id, location in lost.places
    ]
    failures += _unforeseen(result.failed)
    right = result.variants + result.originals - result.missing - result.wrong - len(result.lost)
    counts = Counts(total=right + result.found + len(failures), done=result.found, skipped=right, failed=len(failures))
    return result, _note(caller, JobKind.SCRUB, counts, failures)


def _unforeseen(failed: Mapping[str, str]) -> list[Failure]:
    """Return a failure for each pack or original that met a fault, with its error id."""
    # Failures are by pack, so all originals become one entry. The log names each.
    error_ids = {name if _PACK_ID.fullmatch(name) else OF_NO_PACK: error_id for name, error_id in failed.items()}
    return [
        Failure(pack, OF_NO_LOCATION, ErrorCode.INTERNAL, describe(Internal(error_id)), 1)
        for pack, error_id in error_ids.items()
    ]


def _note(caller: Caller, kind: JobKind, counts: Counts, failures: list[Failure] | None = None) -> Job:
    # Written at the end, so that a killed process leaves no job that never ends.
    with caller.site.catalog.write(caller.tenant) as tx:
        job = jobs.create_job(tx, kind, Priority.BULK, by=caller.subject)
        job_items.mark_running(tx, job.id)
        job_items.count_originals(tx, job.id, counts, failures or ())
        return jobs.get_job(tx, job.id)
