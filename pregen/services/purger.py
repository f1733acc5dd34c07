"""The purger service: sends due purge batches to the CDN, and asks the CDN until they are complete.

Its state is in the database. If it is killed, the lease of its batch expires, and the same batch is sent again, which
is harmless.
"""

import logging
from collections.abc import Sequence

from packshot.catalog.purging import purge_batches
from packshot.catalog.purging.purge_batches import PurgeBatch
from packshot.catalog.work.jobs import OF_NO_LOCATION, OF_NO_PACK, Failure
from packshot.cdn.base import ProviderBusy
from packshot.errors import Internal, PackshotError, describe
from packshot.site import Site
from pregen.refreshing.failures import classify_failure
from pregen.services.service import Service

log = logging.getLogger(__name__)

MAX_BATCHES = 100
MAX_ERROR_CHARACTERS = 500
# Purges of one second share a batch. With this interval, the purge of an edit is sent within two seconds.
INTERVAL_SECONDS = 0.5
PATIENCE_SECONDS = 5.0


class Purger(Service):
    """Runs in every worker: each claims the batches that it sends."""

    def __init__(self, site: Site) -> None:
        super().__init__("purger", interval=INTERVAL_SECONDS, patience=PATIENCE_SECONDS)
        self._site = site
        self._purger = site.purger

    def step(self) -> bool:
        """Send due purge batches, or ask about them. False: none is due."""
        # A read first: mostly no purge is due, and SQLite has one writer at a time.
        with self._site.catalog.read_system() as tx:
            if not purge_batches.is_due(tx):
                return False
        with self._site.catalog.write_system() as tx:
            batches = purge_batches.claim_due(tx, limit=MAX_BATCHES, most_tags=self._purger.most_tags)
        for batch in batches:
            if batch.provider_id is not None:
                self._ask(batch, batch.provider_id)
        self._send([batch for batch in batches if batch.provider_id is None])
        return bool(batches)

    def _send(self, batches: Sequence[PurgeBatch]) -> None:
        for number, batch in enumerate(batches):
            try:
                provider_id = self._purger.purge(batch.tags, reference=batch.reference, erasing=batch.erasing)
            except ProviderBusy as busy:
                log.info("the CDN has no room for %d purges: %s", len(batch.claims), busy)
                with self._site.catalog.write_system() as tx:
                    purge_batches.wait_for_room(tx, batch, _shown(busy))
            except Exception as error:  # noqa: BLE001 - classified and logged
                failure = classify_failure(log, error, "the purge %s could not be sent", batch.claims[0].id)
                if not isinstance(failure, str):
                    self._fail(batch, failure)
                    continue
                # The other batches would meet the same outage.
                with self._site.catalog.write_system() as tx:
                    for later in batches[number:]:
                        purge_batches.postpone(tx, later, _shown(error))
                return
            else:
                self._ask(batch, provider_id)

    def _fail(self, batch: PurgeBatch, failure: PackshotError) -> None:
        if len(batch.claims) > 1:
            # One of the purges causes the failure; the others must not fail with it.
            self._send(batch.divided())
            return
        self._count(batch, failure)

    def _count(self, batch: PurgeBatch, failure: PackshotError, provider_id: str | None = None) -> None:
        """Count a failed attempt, and give the batch up after the last one."""
        text = _shown(failure)
        with self._site.catalog.write_system() as tx:
            if isinstance(failure, Internal) and purge_batches.retry_after_fault(
                tx, batch, text, provider_id=provider_id
            ):
                return
            log.error("purge %s has failed: %s", batch.claims[0].id, text)
            ended = Failure(OF_NO_PACK, OF_NO_LOCATION, failure.code, describe(failure), batch.claims[0].faults + 1)
            purge_batches.give_up(tx, batch, text, ended)

    def _ask(self, batch: PurgeBatch, provider_id: str) -> None:
        """Ask the provider about a batch that it has accepted, and record the answer."""
        try:
            complete = self._purger.is_complete(provider_id)
        except Exception as error:  # noqa: BLE001 - classified and logged
            failure = classify_failure(log, error, "the provider could not be asked about the purge %s", provider_id)
            if not isinstance(failure, str):
                self._count(batch, failure, provider_id)
                return
            with self._site.catalog.write_system() as tx:
                purge_batches.postpone(tx, batch, _shown(error), provider_id=provider_id)
            return
        with self._site.catalog.write_system() as tx:
            if complete:
                purge_batches.mark_complete(tx, batch, provider_id, repeat_after=self._purger.repeat_after)
            else:
                purge_batches.mark_open(tx, batch, provider_id)


def _shown(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"[:MAX_ERROR_CHARACTERS]
