"""The collector: deletes a small portion of what nobody needs any more, now and then.

Of many processes one collects at a time, by a lease; what it leaves half-way is
in the database, where the next step finds it.
"""

import logging
import secrets
import time
from datetime import timedelta

from packshot.catalog import collection, leases, usage
from packshot.catalog.tenants import list_tenants
from packshot.collect import (
    Collected,
    collect_originals,
    collect_portion,
    collect_unplanned_portion,
    count_usage,
    thin_out,
)
from packshot.site import Site
from pregen.loop import Loop

log = logging.getLogger(__name__)

LEASE = "collector"
LEASE_TIME = timedelta(minutes=5)
# Seconds between portions while there is something to collect, and between looks while there is nothing.
PAUSE, LONG_PAUSE = 10.0, 600.0
# What the unplanned variants of each tenant take is counted anew so often.
RECOUNT = timedelta(hours=6)


class Collector:
    """Collects slowly until it is stopped; any number of processes may have one."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self._holder = secrets.token_hex(16)
        self._next = self._next_look = time.monotonic() + PAUSE
        self._loop = Loop("collector", self._step)

    def start(self) -> None:
        self._loop.start()

    def stop(self) -> None:
        """Begin no further portion."""
        self._loop.stop()

    def join(self, seconds: float) -> None:
        """Wait a moment for the portion in work; the rest is found by whoever collects next."""
        self._loop.join(seconds)

    def _step(self) -> bool:
        if time.monotonic() >= self._next_look:
            # Before the portion, so that one that fails is not tried again at once.
            self._next_look = time.monotonic() + PAUSE
            if self.reduce():
                # Clients may store faster than one portion in a pause.
                self._next_look = time.monotonic()
                return True
        if time.monotonic() >= self._next:
            self._next = time.monotonic() + PAUSE
            if not self.tick():
                self._next = time.monotonic() + LONG_PAUSE
        return False

    def reduce(self) -> bool:
        """Collect one portion of unplanned variants of a tenant or place that has too many; False: none has."""
        settings = self._site.settings
        with self._site.catalog.read("") as tx:
            uncounted = usage.find_uncounted(tx, tx.now - RECOUNT)
            over, place = usage.find_over_budget(tx, settings.unplanned_bytes), usage.find_crowded(tx)
        if uncounted is None and over is None and place is None:
            return False
        with self._site.catalog.write("") as tx:
            if not leases.take_lease(tx, LEASE, self._holder, LEASE_TIME):
                return False
        if over is not None:
            if self._told(over, collect_unplanned_portion(self._site, over)):
                return True
            # Nothing is left to collect, so it is the count that is wrong; or all of it is being made.
            count_usage(self._site, over)
            return False
        if place is not None:
            tenant, pack_id, location = place
            self._told(tenant, thin_out(self._site, tenant, pack_id, location))
            return True
        assert uncounted is not None
        count_usage(self._site, uncounted)
        return True

    def tick(self) -> bool:
        """Collect one portion of variants, or else of originals; False: there was nothing, or it is another's work."""
        with self._site.catalog.write("") as tx:
            if not leases.take_lease(tx, LEASE, self._holder, LEASE_TIME):
                return False
            tenant = collection.find_due_tenant(tx, tx.now - self._site.settings.grace)
        if tenant is not None:
            return self._told(tenant, collect_portion(self._site, tenant))
        return any(self._told(name, collect_originals(self._site, name)) for name in self._tenants())

    def _tenants(self) -> list[str]:
        with self._site.catalog.read("") as tx:
            return list_tenants(tx)

    def _told(self, tenant: str, portion: Collected) -> bool:
        if portion.variants or portion.originals:
            log.info(
                "collected %d variants and %d originals of %s, %d bytes",
                portion.variants,
                portion.originals,
                tenant,
                portion.bytes,
            )
        return bool(portion.variants or portion.kept or portion.originals)
