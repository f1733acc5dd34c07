"""The collector: the service that deletes superseded objects after the grace period, and variants beyond a budget.

A lease decides which process collects. The state of unfinished work is in the database, where the next step finds it.
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
from pregen.services.service import Service

log = logging.getLogger(__name__)

T = TypeVar("T")

LEASE = "collector"
LEASE_TIME = timedelta(minutes=5)
# Seconds between portions while something remains to collect, and after a portion that found nothing.
PAUSE_SECONDS, LONG_PAUSE_SECONDS = 10.0, 600.0
# Time between two counts of the bytes that a tenant's unplanned variants take.
RECOUNT = timedelta(hours=6)


class Collector(Service):
    """Runs in every worker; a lease decides which one collects. It deletes slowly, to leave the store to requests."""

    def __init__(self, site: Site) -> None:
        super().__init__("collector")
        self._site = site
        self._holder = secrets.token_hex(16)
        self._next_superseded = self._next_unplanned = time.monotonic() + PAUSE_SECONDS
        self._faults = make_faults()
        # By tenant: the monotonic time until which nothing is collected.
        self._paused: dict[str, float] = {}

    def step(self) -> bool:
        """Collect a portion of unplanned variants if a budget is exceeded, else a portion of superseded objects."""
        if time.monotonic() >= self._next_unplanned:
            # Before the portion, so that a portion that fails is not retried at once.
            self._next_unplanned = time.monotonic() + PAUSE_SECONDS
            if self.collect_unplanned():
                # On-demand requests may store more during a pause than one portion deletes.
                self._next_unplanned = time.monotonic()
                return True
        if time.monotonic() >= self._next_superseded:
            self._next_superseded = time.monotonic() + PAUSE_SECONDS
            if not self.collect_superseded():
                self._next_superseded = time.monotonic() + LONG_PAUSE_SECONDS
        return False

    def collect_unplanned(self) -> bool:
        """Collect one portion of unplanned variants of a tenant or pack location that has too many. False: none has."""
        settings = self._site.settings
        paused = self._paused_tenants()
        with self._site.catalog.read_system() as tx:
            uncounted = unplanned_usage.find_uncounted(tx, tx.now - RECOUNT, without=paused)
            over = unplanned_usage.find_over_budget(tx, settings.unplanned_bytes, without=paused)
            full = unplanned_usage.find_full(tx, without=paused)
        if uncounted is None and over is None and full is None:
            return False
        with self._site.catalog.write_system() as tx:
            if not leases.take_lease(tx, LEASE, self._holder, LEASE_TIME):
                return False
        if over is not None:
            if self._collect(over, collect_unplanned_portion):
                return True
            # Nothing remains to collect: the count is wrong, or every variant is being rendered.
            self._run_for_tenant(over, partial(count_usage, self._site, over))
            return False
        if full is not None:
            tenant, pack_id, location = full
            thin = partial(thin_out, self._site, tenant, pack_id, location, self._faults)
            self._log_collected(tenant, self._run_for_tenant(tenant, thin))
            return True
        assert uncounted is not None
        self._run_for_tenant(uncounted, partial(count_usage, self._site, uncounted))
        return True

    def collect_superseded(self) -> bool:
        """Collect one portion of superseded variants, or else of unused originals.

        Returns False if nothing remained to collect, or if another process holds the lease.
        """
        skipped = self._paused_tenants()
        while True:
            with self._site.catalog.write_system() as tx:
                if not leases.take_lease(tx, LEASE, self._holder, LEASE_TIME):
                    return False
                tenant = collection.find_due_tenant(tx, tx.now - self._site.settings.grace, without=skipped)
            if tenant is None:
                break
            if self._collect(tenant, collect_portion):
                return True
            # The objects that remain of this tenant can only fail. They must not delay the others.
            skipped.append(tenant)
        tenants = [name for name in self._tenants() if name not in self._paused_tenants()]
        return any(self._collect(name, collect_originals) for name in tenants)

    def _collect(self, tenant: str, collect: Callable[[Site, str, ItemFaults], Collected]) -> bool:
        portion = self._run_for_tenant(tenant, partial(collect, self._site, tenant, self._faults))
        return self._log_collected(tenant, portion)

    def _run_for_tenant(self, tenant: str, act: Callable[[], T]) -> T | None:
        """Call a function for one tenant. After a fault this tenant pauses, and the others continue."""
        try:
            return act()
        except Exception as error:
            if is_outage(error):
                raise
            faults.record(log, error, "nothing could be collected of tenant %s", tenant)
            self._paused[tenant] = time.monotonic() + LONG_PAUSE_SECONDS
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
