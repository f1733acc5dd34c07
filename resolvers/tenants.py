"""Tenants: read the tenant and change its defaults."""

from collections.abc import Mapping
from typing import Any

from packshot.catalog.configuration import tenants
from packshot.catalog.database.transaction import Tx, hold_configuration
from packshot.catalog.purging import purges
from packshot.catalog.variants import unplanned_usage
from packshot.catalog.work.jobs import Job
from packshot.model import Tenant
from packshot.variants.change import Change
from resolvers.caller import Answer, Caller
from resolvers.changing import changes
from resolvers.changing.configuration import Configuration, read_configuration
from resolvers.changing.decision import Consent

# Fields that limit unplanned variants. They change no planned variant, so they apply at once.
LIMITS = frozenset({"on_demand", "unplanned_bytes"})


def get_tenant(caller: Caller) -> Tenant:
    """Return the caller's tenant.

    Raises:
        NotFound: the token names a tenant that does not exist.
    """
    with caller.site.catalog.read(caller.tenant) as tx:
        return tenants.get_tenant(tx)


def update_tenant(
    caller: Caller, values: Mapping[str, Any], *, force: bool = False, expected_version: int | None = None
) -> tuple[Tenant, Job | None]:
    """Set the tenant's defaults; return the tenant and the job that renders the change, if it has one.

    A change of defaults goes live as a change of a location does: it needs force if packs show anything, and is
    prepared first. The on-demand policy and the budget of unplanned variants apply at once.

    Raises:
        NotFound, VersionConflict: see `packshot.catalog.configuration.tenants.read_changes`.
        ForceRequired, BadState: see `resolvers.changing.decision.decide`.
    """

    def read_change(tx: Tx) -> tuple[Configuration, Change, dict[str, Any]]:
        configuration = read_configuration(tx)
        pending_change = configuration.pending_change
        pending = {} if pending_change is None else pending_change.change.tenant
        fields = tenants.read_changes(configuration.tenant, values, pending, expected_version=expected_version)
        limits = {name: value for name, value in fields.items() if name in LIMITS}
        defaults = {name: value for name, value in fields.items() if name not in LIMITS}
        return configuration, Change(tenant=defaults), limits

    with caller.site.catalog.read(caller.tenant) as tx:
        configuration, change, _ = read_change(tx)
        plan = changes.plan_if_needed(caller.site, tx, configuration, change, None)
    cause, job = f"updateTenant by {caller.subject}", None
    with caller.write() as tx:
        hold_configuration(tx)
        configuration, change, limits = read_change(tx)
        if limits:
            tenants.write_tenant(tx, limits)
        if "on_demand" in limits:
            # Caches hold responses of the former policy.
            purges.order_configuration_purge(tx, None, cause=cause)
        if values:
            consent = Consent(force=force)
            job, _ = changes.apply(caller, tx, configuration, change, plan, location=None, consent=consent, cause=cause)
        caller.record(tx, Answer(tenant=configuration.tenant.name, job=job))
        tenant = tenants.get_tenant(tx)
    if job is not None:
        caller.doorbell.wake()
    return tenant, job


def read_usage(caller: Caller) -> int:
    """Return the bytes that the tenant's unplanned variants take, including their rows."""
    with caller.site.catalog.read(caller.tenant) as tx:
        return unplanned_usage.read_usage(tx)
