"""The URL importer: the service that fetches originals from URLs.

It has its own threads, because they wait for servers of others, and renders must not wait with them. It needs no
queue, because the database holds the due imports.
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
from pregen.services.service import Service

log = logging.getLogger(__name__)

THREADS = 12
# Threads that fetch for one tenant at a time. Slow servers of one tenant must leave threads to the others.
TENANT_THREADS = 4
PATIENCE_SECONDS = 5.0


class ImportSuperseded(Exception):
    """The pack location has another original now, or another process has claimed the import."""


class UrlImporter(Service):
    """Runs in every worker: each claims the imports that it carries out.

    Args:
        doorbell: rings for each pack that has a new original.
    """

    def __init__(self, site: Site, doorbell: Doorbell) -> None:
        super().__init__("url importer", threads=THREADS, patience=PATIENCE_SECONDS)
        self._site = site
        self._doorbell = doorbell
        self._lock = threading.Lock()
        # By tenant: the number of fetches in progress in this process.
        self._fetching: Counter[str] = Counter()

    def step(self) -> bool:
        """Carry out one due import. False: none is due, or only those of tenants that use all their threads."""
        claimed = self._claim()
        if claimed is None:
            return False
        tenant, claim = claimed
        try:
            self._carry_out(tenant, claim)
        finally:
            with self._lock:
                self._fetching[tenant] -= 1
                self._fetching += Counter()  # Drops tenants at zero.
        return True

    def _claim(self) -> tuple[str, UrlImportClaim] | None:
        # One thread at a time. Otherwise two threads could take the last thread of a tenant.
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

    def _carry_out(self, tenant: str, claim: UrlImportClaim) -> None:
        lane = Lane.INTERACTIVE if claim.priority is Priority.INTERACTIVE else Lane.BULK
        if claim.is_exhausted:
            expected = f"at most {url_imports.MAX_ATTEMPTS} attempts"
            ended = Unrenderable("Every process that fetched it ended.", expected=expected, got=claim.attempt - 1)
            self._refuse(tenant, claim, ended)
            return
        try:
            with self._site.catalog.write(tenant) as tx:
                job_items.mark_running(tx, claim.job_id)
            original = fetch_original(self._site, tenant, claim.url, lane=lane)
            self._keep(tenant, claim, original)
        except ImportSuperseded:
            log.info("the original for %s of pack %s has been superseded", claim.location, claim.pack_id)
        except Exception as error:  # noqa: BLE001 - classified and logged
            failure = classify_failure(log, error, "the original for pack %s could not be fetched", claim.pack_id)
            if isinstance(failure, str):
                with self._site.catalog.write(tenant) as tx:
                    url_imports.postpone(tx, claim, failure)
            else:
                self._refuse(tenant, claim, failure)

    def _keep(self, tenant: str, claim: UrlImportClaim, original: Original) -> None:
        with self._site.catalog.write(tenant) as tx:
            packs.touch_pack(tx, claim.pack_id, cause=f"an original fetched by job:{claim.job_id}")
            packs.keep_original(tx, claim.pack_id, original)
            shown = {"original_sha256": original.sha256, "original_at": tx.now}
            packs.set_pack_location(tx, claim.pack_id, claim.location, shown)
            orders.place_orders(tx, [claim.pack_id], next_sequence(tx), claim.priority, check_store=False)
            if not url_imports.finish(tx, claim):
                raise ImportSuperseded
        if claim.priority is Priority.INTERACTIVE:
            self._doorbell.ring(tenant, claim.pack_id, claim.priority)
        else:
            self._doorbell.wake()

    def _refuse(self, tenant: str, claim: UrlImportClaim, error: PackshotError) -> None:
        failure = Failure(claim.pack_id, claim.location, error.code, describe(error), claim.attempt + claim.faults)
        with self._site.catalog.write(tenant) as tx:
            if isinstance(error, Internal) and url_imports.retry_after_fault(tx, claim, str(error)):
                return
            if isinstance(error, FetchFailed) and error.may_pass and url_imports.retry(tx, claim, describe(error)):
                return
            # A transaction that cancels several imports of a job draws a sequence number first. Without the same order
            # here, the two could deadlock.
            next_sequence(tx)
            url_imports.finish(tx, claim, failure)
