"""Tenants: read."""

from packshot.catalog import tenants
from packshot.model import Tenant
from resolvers.caller import Caller


def get_tenant(caller: Caller) -> Tenant:
    """Return the caller's tenant.

    Raises:
        NotFound: the token names a tenant that there is not.
    """
    with caller.site.catalog.read(caller.tenant) as tx:
        return tenants.get_tenant(tx)
