"""The collector: deletes a small portion of what nobody needs any more, now and then.

Of many processes one collects at a time, by a lease; what it leaves half-way is
in the database, where the next step finds it.
"""

import logging
import secrets
import time
from collections.abc import Callable
from datetime import timedelta
from functools import partial
from typing import TypeVar

from packshot import faults
from packshot.catalog.configuration.tenants import list_tenants
from packshot.catalog.database import leases
from packshot.catalog.variants import collection, unplanned_usage
from packshot.maintenance.collect import (
    Collected,
    collect_originals,
    collect_portion,
    collect_unplanned_portion,
    count_usage,
    make_faults,
    thin_out,
)
from packshot.maintenance.item_faults import ItemFaults
from packshot.maintenance.retrying import is_outage
from packshot.site import Site
from pregen.services.service import Loop, Service

log = logging.getLogger(__name__)

T = TypeVar("T")

LEASE = "collector"
LEASE_TIME = timedelta(minutes=5)
# Seconds between portions while there is something to collect, and between looks while there is nothing.
PAUSE, LONG_PAUSE = 10.0, 600.0
# What the unplanned variants of each tenant take is counted anew so often.
RECOUNT = timedelta(hours=6)


class Collector(Service):
    """Collects slowly until it is stopped; any number of processes may have one."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self._holder = secrets.token_hex(16)
        self._next = self._next_look = time.monotonic() + PAUSE
        self._faults = make_faults()
        # Until when nothing is collected of a tenant, in monotonic seconds.
        self._paused: dict[str, float] = {}
        super().__init__(Loop("collector", self._step))

    def _step(self) -> bool:
        if time.monotonic() >= self._next_look:
            # Before the portion, so that one that fails is not tried again at once.
            self._next_look = time.monotonic() + PAUSE
            if self.collect_unplanned():
                # Clients may store faster than one portion in a pause.
                self._next_look = time.monotonic()
                return True
        if time.monotonic() >= self._next:
            self._next = time.monotonic() + PAUSE
            if not self.collect_superseded():
                self._next = time.monotonic() + LONG_PAUSE
        return False

    def collect_unplanned(self) -> bool:
        """Collect one portion of unplanned variants of a tenant or place that has too many; False: none has."""
        settings = self._site.settings
        paused = self._paused_tenants()
        with self._site.catalog.read_system() as tx:
            uncounted = unplanned_usage.find_uncounted(tx, tx.now - RECOUNT, without=paused)
            over = unplanned_usage.find_over_budget(tx, settings.unplanned_bytes, without=paused)
            place = unplanned_usage.find_full(tx, without=paused)
        if uncounted is None and over is None and place is None:
            return False
        with self._site.catalog.write_system() as tx:
            if not leases.take_lease(tx, LEASE, self._holder, LEASE_TIME):
                return False
        if over is not None:
            if self._collect(over, collect_unplanned_portion):
                return True
            # Nothing is left to collect, so it is the count that is wrong; or all of it is being made.
            self._of_tenant(over, partial(count_usage, self._site, over))
            return False
        if place is not None:
            tenant, pack_id, location = place
            thin = partial(thin_out, self._site, tenant, pack_id, location, self._faults)
            self._log_collected(tenant, self._of_tenant(tenant, thin))
            return True
        assert uncounted is not None
        self._of_tenant(uncounted, partial(count_usage, self._site, uncounted))
        return True

    def collect_superseded(self) -> bool:
        """Collect one portion of variants, or else of originals; False: there was nothing, or it is another's work."""
        looked_at = self._paused_tenants()
        while True:
            with self._site.catalog.write_system() as tx:
                if not leases.take_lease(tx, LEASE, self._holder, LEASE_TIME):
                    return False
                tenant = collection.find_due_tenant(tx, tx.now - self._site.settings.grace, without=looked_at)
            if tenant is None:
                break
            if self._collect(tenant, collect_portion):
                return True
            # What is left of it can only fail, which must not keep the others waiting.
            looked_at.append(tenant)
        tenants = [name for name in self._tenants() if name not in self._paused_tenants()]
        return any(self._collect(name, collect_originals) for name in tenants)

    def _collect(self, tenant: str, collect: Callable[[Site, str, ItemFaults], Collected]) -> bool:
        return self._log_collected(tenant, self._of_tenant(tenant, partial(collect, self._site, tenant, self._faults)))

    def _of_tenant(self, tenant: str, act: Callable[[], T]) -> T | None:
        """Run a step for one tenant; after an unforeseen exception the others go on, and this one pauses."""
        try:
            return act()
        except Exception as error:
            if is_outage(error):
                raise
            faults.record(log, error, "what the tenant %s does not need could not be collected", tenant)
            self._paused[tenant] = time.monotonic() + LONG_PAUSE
            return None

    def _paused_tenants(self) -> list[str]:
        now = time.monotonic()
        self._paused = {tenant: until for tenant, until in self._paused.items() if until > now}
        return list(self._paused)

    def _tenants(self) -> list[str]:
        with self._site.catalog.read_system() as tx:
            return list_tenants(tx)

    def _log_collected(self, tenant: str, portion: Collected | None) -> bool:
        if portion is None:
            return False
        if portion.variants or portion.originals:
            log.info(
                "collected %d variants and %d originals of %s, %d bytes",
                portion.variants,
                portion.originals,
                tenant,
                portion.bytes,
            )
        return bool(portion.variants or portion.kept or portion.originals)
