"""Activate a pending change in one transaction, and mark the superseded variants afterwards."""

import logging
from datetime import timedelta

from packshot import faults
from packshot.catalog.configuration import pending_changes, tenants
from packshot.catalog.configuration.pending_changes import PendingChange
from packshot.catalog.database.transaction import Tx
from packshot.catalog.packs.activation import activate
from packshot.catalog.work import job_ends, job_items, jobs, orders
from packshot.catalog.work.jobs import ACTIVE, JobState
from packshot.ids import IdKind, global_id
from packshot.maintenance.retrying import is_outage
from packshot.production import supersede_outdated
from packshot.site import Site

log = logging.getLogger(__name__)

# Most time that a pending change waits, once it is prepared, for a moment without pending edits.
PATIENCE = timedelta(seconds=10)
# Most seconds that edits are held after that. Edits that are still pending are rendered after the activation.
HOLD_SECONDS = 2.0
# Packs whose superseded variants are marked at a time.
PORTION = 50


def activate_if_ready(site: Site, tenant: str, job_id: str) -> None:
    """Activate a pending change if every pack is prepared. If a pack failed, wait for a user's decision instead."""
    with site.catalog.write(tenant) as tx:
        pending_change = _prepared(tx, job_id)
        if pending_change is None:
            return
        if jobs.get_job(tx, job_id).failed and not pending_change.accepts_failures:
            jobs.set_state(tx, job_id, JobState.AWAITING_ACTIVATION)
            return
        since = pending_change.prepared_at or tx.now
        if pending_change.prepared_at is None:
            pending_changes.update_pending_change(tx, prepared_at=tx.now)
        # A negative time: the clock has moved back.
        if orders.is_any_edit_pending(tx) and timedelta() <= tx.now - since < PATIENCE:
            return
    with site.catalog.hold_edits(tenant, lambda: not _is_any_edit_pending(site, tenant), HOLD_SECONDS) as tx:
        # Read again: the change may have been cancelled or replaced, or an edit may have ended by a failure.
        pending_change = _prepared(tx, job_id)
        if pending_change is not None:
            _switch(tx, pending_change)


def _is_any_edit_pending(site: Site, tenant: str) -> bool:
    with site.catalog.read(tenant) as tx:
        return orders.is_any_edit_pending(tx)


def _prepared(tx: Tx, job_id: str) -> PendingChange | None:
    pending_change = pending_changes.read_pending_change(tx)
    if pending_change is None or pending_change.job_id != job_id:
        return None
    job = jobs.get_job(tx, job_id)
    if job.state not in ACTIVE or job.cursor is not None or job_items.has_items(tx, job_id):
        return None
    return pending_change


def _switch(tx: Tx, pending_change: PendingChange) -> None:
    activate(
        tx, pending_change.change, by=pending_change.created_by, cause=global_id(IdKind.JOB, pending_change.job_id)
    )
    pending_changes.drop_pending_change(tx)
    orders.prioritize_edits(tx)
    jobs.mark_activated(tx, pending_change.job_id)
    job_ends.close_finished(tx, [pending_change.job_id])
    log.info("the change of job %s is active", pending_change.job_id)


def mark_portion(site: Site, tenant: str) -> None:
    """Mark the superseded variants of a few packs after a change of configuration.

    After a fault each pack is tried alone. A pack that fails again is skipped: its superseded variants stay until its
    next edit.
    """
    try:
        with site.catalog.write(tenant) as tx:
            supersede_outdated(tx, tenants.take_packs_to_mark(tx, PORTION), limit=site.limit)
    except Exception as error:
        if is_outage(error):
            raise
        for _ in range(PORTION):
            _mark_one(site, tenant)


def _mark_one(site: Site, tenant: str) -> None:
    with site.catalog.write(tenant) as tx:
        pack_ids = tenants.take_packs_to_mark(tx, 1)
        try:
            with tx.part():
                supersede_outdated(tx, pack_ids, limit=site.limit)
        except Exception as error:
            if is_outage(error):
                raise
            faults.record(log, error, "the superseded variants of pack %s are not marked", *pack_ids)
