"""Classify the exceptions of background work, and fail a pack or a job after a few faults.

Without this limit, work that always fails would be retried forever, and its jobs would never end.
"""

import logging

from packshot import faults
from packshot.catalog.database.backoff import MAX_FAULTS
from packshot.catalog.database.transaction import Tx
from packshot.catalog.variants import ledger
from packshot.catalog.variants.ledger import FailedVariant, VariantState
from packshot.catalog.work import job_control, job_items, jobs, orders
from packshot.catalog.work.jobs import OF_NO_LOCATION, OF_NO_PACK, Failure
from packshot.catalog.work.orders import OrderClaim
from packshot.errors import Internal, PackshotError, describe
from packshot.maintenance.retrying import describe_outage, is_outage
from packshot.site import Site
from pregen.refreshing.outcome import PackWork

log = logging.getLogger(__name__)


def classify_failure(log: logging.Logger, error: Exception, message: str, *args: object) -> PackshotError | str:
    """Return an item's failure, or, after an outage, a text that describes the outage.

    A fault is logged, and its failure is an `Internal` that names the log entry; the caller gives the item a few
    attempts. An outage counts against no item, and is logged once a minute.
    """
    if isinstance(error, PackshotError):
        return error
    if is_outage(error):
        faults.count(log, error, f"{message}: postponed after an outage", *args)
        return describe_outage(error)
    return Internal(faults.record(log, error, message, *args))


def fail_work(site: Site, tenant: str, work: PackWork, failure: PackshotError) -> None:
    """Requeue a pack whose work failed as a whole, or fail it after too many attempts."""
    with site.catalog.write(tenant) as tx:
        if not _try_again(tx, work.claim, failure):
            missing = [
                FailedVariant(target.key, failure)
                for target in (*work.planned, *work.popular, *work.prepared, *work.pending_popular)
                if (entry := work.entries.get(str(target.key))) is None or entry.state is not VariantState.READY
            ]
            if _end(tx, work.claim, failure):
                ledger.record(tx, missing, final=True)


def fail_order(site: Site, tenant: str, pack_id: str, error: Exception) -> None:
    """Requeue or fail a pack whose work could not be determined.

    Raises:
        Exception: `error`, if it is an outage.
    """
    failure = classify_failure(log, error, "the work on pack %s could not be determined", pack_id)
    if isinstance(failure, str):
        raise error
    with site.catalog.write(tenant) as tx:
        for claim in orders.claim(tx, [pack_id]):
            if not _try_again(tx, claim, failure):
                _end(tx, claim, failure)


def fail_job(site: Site, tenant: str, job_id: str, error: Exception, message: str) -> None:
    """Count a fault in a step of a job itself, and fail the job after a few. An outage does not count.

    Args:
        message: the failed step, for the log, with a place for the job's id.
    """
    failure = classify_failure(log, error, message, job_id)
    if isinstance(failure, str):
        return
    with site.catalog.write(tenant) as tx:
        attempts = jobs.count_fault(tx, job_id, describe(failure))
        if not isinstance(failure, Internal) or attempts >= MAX_FAULTS:
            log.error("job %s of %s has failed: %s", job_id, tenant, describe(failure))
            job_control.fail(tx, job_id, Failure(OF_NO_PACK, OF_NO_LOCATION, failure.code, describe(failure), attempts))


def _try_again(tx: Tx, claim: OrderClaim, failure: PackshotError) -> bool:
    return isinstance(failure, Internal) and orders.retry_after_fault(tx, claim, describe(failure))


def _end(tx: Tx, claim: OrderClaim, failure: PackshotError) -> bool:
    """Finish an order without its work. False: another worker has claimed it."""
    if not orders.finish(tx, [claim]):
        return False
    text = describe(failure)
    log.error("pack %s could not be brought up to date: %s", claim.pack_id, text)
    failed = Failure(claim.pack_id, OF_NO_LOCATION, failure.code, text, claim.faults + 1)
    job_items.fail_pack(tx, claim.pack_id, claim.seq, failed)
    return True
