"""Tenants: read and change."""

from collections.abc import Mapping
from typing import Any

from packshot.catalog import jobs, purges, tenants
from packshot.catalog.jobs import Job, JobKind
from packshot.catalog.orders import Priority
from packshot.model import Tenant
from resolvers.caller import Caller


def get_tenant(caller: Caller) -> Tenant:
    """Return the caller's tenant.

    Raises:
        NotFound: the token names a tenant that there is not.
    """
    with caller.site.catalog.read(caller.tenant) as tx:
        return tenants.get_tenant(tx)


def update_tenant(
    caller: Caller, values: Mapping[str, Any], *, expected_version: int | None = None
) -> tuple[Tenant, Job | None]:
    """Set what applies where nothing else is said; return the tenant and the job that renders what changes.

    A change applies at once; until a variant is rendered ahead of time again,
    the fallback renders it.

    Raises:
        NotFound, VersionConflict: see `packshot.catalog.tenants.update_tenant`.
    """
    job = None
    with caller.write() as tx:
        tenant, changed = tenants.update_tenant(tx, values, expected_version=expected_version)
        caller.answer(tenant=f"tenant:{tenant.name}")
        if changed:
            purges.order_configuration_purge(tx, None, cause=f"updateTenant by {caller.subject}")
            job = jobs.create_job(tx, JobKind.LOCATION_CHANGE, Priority.BULK, whole_tenant=True, by=caller.subject)
            caller.answer(job=f"job:{job.id}")
    if job is not None:
        caller.bell.wake()
    return tenant, job
