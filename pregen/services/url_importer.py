"""Fetching originals of imports: a few threads that take what is due, beside those that render.

They wait for other people's servers, so nobody else waits in their threads; and
what is due is in the database, so they need no queue.
"""

import logging
import threading
from collections import Counter

from packshot.catalog.database.transaction import next_sequence
from packshot.catalog.packs import packs
from packshot.catalog.work import job_items, orders, url_imports
from packshot.catalog.work.jobs import Failure
from packshot.catalog.work.orders import Priority
from packshot.catalog.work.url_imports import UrlImportClaim
from packshot.errors import FetchFailed, Internal, PackshotError, Unrenderable, describe
from packshot.model import Original
from packshot.originals.ingest import fetch_original
from packshot.render.processes.pool import Lane
from packshot.site import Site
from pregen.queue.doorbell import Doorbell
from pregen.refreshing.failures import classify_failure
from pregen.services.service import Loop

log = logging.getLogger(__name__)

THREADS = 12
# Slow hosts of one tenant must leave threads to the others.
TENANT_THREADS = 4
# What is fetched when the worker stops is left to its lease.
STOP_SECONDS = 5.0


class ImportSuperseded(Exception):
    """Something else was set there meanwhile, or somebody else fetches it by now."""


class UrlImporter:
    """Fetches what is due until it is stopped; any number of processes may have one.

    Args:
        bell: rung for every pack that has an original to be rendered now.
    """

    def __init__(self, site: Site, doorbell: Doorbell) -> None:
        self._site = site
        self._doorbell = doorbell
        self._lock = threading.Lock()
        # Fetches of each tenant that this process is at.
        self._fetching: Counter[str] = Counter()
        self._loops = [Loop(f"fetcher-{number}", self.step) for number in range(THREADS)]

    def start(self) -> None:
        for loop in self._loops:
            loop.start()

    def stop(self) -> None:
        """Fetch nothing more."""
        for loop in self._loops:
            loop.stop()

    def join(self) -> None:
        """Wait a moment for what is being fetched; the rest is fetched again when its lease runs out."""
        for loop in self._loops:
            loop.join(STOP_SECONDS / THREADS)

    def wake(self) -> None:
        """Look now instead of at the next tick."""
        for loop in self._loops:
            loop.wake()

    def step(self) -> bool:
        """Fetch one original that is due; False: there is none, or only of tenants that have their share of threads."""
        claimed = self._claim()
        if claimed is None:
            return False
        tenant, held = claimed
        try:
            self._carry_out(tenant, held)
        finally:
            with self._lock:
                self._fetching[tenant] -= 1
                self._fetching += Counter()  # Drops what is at zero.
        return True

    def _claim(self) -> tuple[str, UrlImportClaim] | None:
        # One thread at a time, or two could take a tenant's last place.
        with self._lock:
            busy = [tenant for tenant, count in self._fetching.items() if count >= TENANT_THREADS]
            with self._site.catalog.read_system() as tx:
                if not url_imports.is_due(tx, busy=busy):
                    return None
            with self._site.catalog.write_system() as tx:
                claimed = url_imports.claim_due(tx, busy=busy)
            if claimed is not None:
                self._fetching[claimed[0]] += 1
            return claimed

    def _carry_out(self, tenant: str, held: UrlImportClaim) -> None:
        lane = Lane.INTERACTIVE if held.priority is Priority.INTERACTIVE else Lane.BULK
        if held.is_exhausted:
            expected = f"at most {url_imports.MAX_ATTEMPTS} attempts"
            ended = Unrenderable("Every process that fetched it ended.", expected=expected, got=held.attempt - 1)
            self._refuse(tenant, held, ended)
            return
        try:
            with self._site.catalog.write(tenant) as tx:
                job_items.mark_running(tx, held.job_id)
            original = fetch_original(self._site, tenant, held.url, lane=lane)
            self._keep(tenant, held, original)
        except ImportSuperseded:
            log.info("the original for %s of pack %s is not wanted any more", held.location, held.pack_id)
        except Exception as error:  # noqa: BLE001 - sorted and logged
            failure = classify_failure(log, error, "the original for pack %s could not be fetched", held.pack_id)
            if isinstance(failure, str):
                with self._site.catalog.write(tenant) as tx:
                    url_imports.postpone(tx, held, failure)
            else:
                self._refuse(tenant, held, failure)

    def _keep(self, tenant: str, held: UrlImportClaim, original: Original) -> None:
        with self._site.catalog.write(tenant) as tx:
            packs.touch_pack(tx, held.pack_id, cause=f"an original fetched by job:{held.job_id}")
            packs.keep_original(tx, held.pack_id, original)
            shown = {"original_sha256": original.sha256, "original_at": tx.now}
            packs.set_pack_location(tx, held.pack_id, held.location, shown)
            orders.place_orders(tx, [held.pack_id], next_sequence(tx), held.priority, check_store=False)
            if not url_imports.finish(tx, held):
                raise ImportSuperseded
        if held.priority is Priority.INTERACTIVE:
            self._doorbell.ring(tenant, held.pack_id, held.priority)
        else:
            self._doorbell.wake()

    def _refuse(self, tenant: str, held: UrlImportClaim, error: PackshotError) -> None:
        failure = Failure(held.pack_id, held.location, error.code, describe(error), held.attempt + held.faults)
        with self._site.catalog.write(tenant) as tx:
            if isinstance(error, Internal) and url_imports.retry_after_fault(tx, held, str(error)):
                return
            if isinstance(error, FetchFailed) and error.may_pass and url_imports.retry(tx, held, describe(error)):
                return
            # As whoever drops several fetches of a job has drawn one: the two would wait for each other otherwise.
            next_sequence(tx)
            url_imports.finish(tx, held, failure)
