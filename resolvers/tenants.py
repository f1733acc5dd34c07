"""Tenants: read and change."""

from collections.abc import Mapping
from typing import Any

from packshot.catalog.configuration import pending_changes, tenants
from packshot.catalog.configuration.pending_changes import PendingChange
from packshot.catalog.database.transaction import Tx, hold_configuration
from packshot.catalog.purging import purges
from packshot.catalog.variants import unplanned_usage
from packshot.catalog.work import jobs
from packshot.catalog.work.jobs import Job
from packshot.model import Tenant
from packshot.variants.change import Change
from resolvers.caller import Answer, Caller
from resolvers.changing import changes
from resolvers.changing.changes import Consent

# What clients can have besides the planned variants; no planned picture changes by it.
LIMITS = frozenset({"on_demand", "unplanned_bytes"})


def get_tenant(caller: Caller) -> Tenant:
    """Return the caller's tenant.

    Raises:
        NotFound: the token names a tenant that there is not.
    """
    with caller.site.catalog.read(caller.tenant) as tx:
        return tenants.get_tenant(tx)


def update_tenant(
    caller: Caller, values: Mapping[str, Any], *, force: bool = False, expected_version: int | None = None
) -> tuple[Tenant, Job | None]:
    """Set what applies where nothing else is said; return the tenant and the job that renders what changes.

    It goes live as a location's change does: with force where packs show
    anything, and once every pack is rendered under it. The policy for on-demand
    parameters and the budget of their variants touch no planned picture, so they
    apply at once.

    Raises:
        NotFound, VersionConflict: see `packshot.catalog.configuration.tenants.read_changes`.
        ForceRequired, BadState: see `resolvers.changing.changes.apply`.
    """
    foreseen = None
    with caller.site.catalog.read(caller.tenant) as tx:
        _, fields, _ = _read_change(tx, values, expected_version)
        fields = _without_limits(fields)
        if fields:
            foreseen = changes.foresee(caller, tx, Change(tenant=fields), None)
    with caller.write() as tx:
        hold_configuration(tx)
        tenant, fields, pending_change = _read_change(tx, values, expected_version)
        limits = {name: value for name, value in fields.items() if name in LIMITS}
        if limits:
            tenants.write_tenant(tx, limits)
        if "on_demand" in limits:
            # Caches hold what the former policy gave.
            purges.order_configuration_purge(tx, None, cause=f"updateTenant by {caller.subject}")
        fields = _without_limits(fields)
        job = None
        if fields:
            consent, cause = Consent(force=force), f"updateTenant by {caller.subject}"
            job, _ = changes.apply(
                caller, tx, Change(tenant=fields), foreseen, location=None, consent=consent, cause=cause
            )
        elif pending_change is not None and pending_change.change.tenant and values:
            # Asked for once more: it is under way.
            job = jobs.get_job(tx, pending_change.job_id)
        caller.record(tx, Answer(tenant=tenant.name, job=job))
        tenant = tenants.get_tenant(tx)
    if job is not None:
        caller.doorbell.wake()
    return tenant, job


def _without_limits(fields: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if name not in LIMITS}


def read_usage(caller: Caller) -> int:
    """Return how many bytes the unplanned variants of the caller's tenant take, with what each row takes."""
    with caller.site.catalog.read(caller.tenant) as tx:
        return unplanned_usage.read_usage(tx)


def _read_change(
    tx: Tx, values: Mapping[str, Any], expected_version: int | None
) -> tuple[Tenant, dict[str, Any], PendingChange | None]:
    tenant, pending_change = tenants.get_tenant(tx), pending_changes.read_pending_change(tx)
    pending = {} if pending_change is None else pending_change.change.tenant
    return tenant, tenants.read_changes(tenant, values, pending, expected_version=expected_version), pending_change
