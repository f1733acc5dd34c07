"""Carrying out purge orders: a thread that sends what is due to the CDN, and asks until it is done.

All it knows is in the database. Killed at any point it leaves a lease that runs
out, and the same batch is sent again, which does no harm.
"""

import logging
from collections.abc import Sequence

from packshot import faults
from packshot.catalog import purge_batches
from packshot.catalog.purge_batches import Batch
from packshot.cdn.base import Busy
from packshot.errors import PackshotError
from packshot.site import Site
from pregen.loop import Loop

log = logging.getLogger(__name__)

AT_ONCE = 100
LONGEST_ERROR = 500
# With the second for which orders are collected, an edit's purge is sent well within two.
TICK_SECONDS = 0.5


class PurgeCarrier:
    """Carries purge orders out until it is stopped; any number of processes may have one."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self._purger = site.purger
        self._loop = Loop("purge carrier", self.step, tick=TICK_SECONDS)

    def start(self) -> None:
        self._loop.start()

    def stop(self) -> None:
        """Send nothing more."""
        self._loop.stop()

    def join(self, seconds: float) -> None:
        """Wait a moment for what is being sent; the rest is sent again when its lease runs out."""
        self._loop.join(seconds)

    def step(self) -> bool:
        """Carry on some of what is due; False: nothing is."""
        # Looked at first: mostly nothing is due, and writers on SQLite queue.
        with self._site.catalog.read("") as tx:
            if not purge_batches.is_due(tx):
                return False
        with self._site.catalog.write("") as tx:
            batches = purge_batches.claim_due(tx, limit=AT_ONCE, most_tags=self._purger.most_tags)
        for batch in batches:
            if batch.provider_id is not None:
                self._ask(batch, batch.provider_id)
        self._send([batch for batch in batches if batch.provider_id is None])
        return bool(batches)

    def _send(self, batches: Sequence[Batch]) -> None:
        for number, batch in enumerate(batches):
            try:
                provider_id = self._purger.purge(batch.tags, reference=batch.reference, erasing=batch.erasing)
            except PackshotError as error:
                self._refused(batch, error)
            except Busy as busy:
                log.info("the CDN has no room for %d purges: %s", len(batch.claims), busy)
                with self._site.catalog.write("") as tx:
                    purge_batches.wait_for_room(tx, batch, _shown(busy))
            except Exception as error:  # noqa: BLE001 - it is logged
                # The rest would only wait for the same outage, one after the other.
                left = batches[number:]
                faults.count(log, error, "purges are postponed, now %d", sum(len(one.claims) for one in left))
                with self._site.catalog.write("") as tx:
                    for one in left:
                        purge_batches.put_off(tx, one, _shown(error))
                return
            else:
                self._ask(batch, provider_id)

    def _refused(self, batch: Batch, error: PackshotError) -> None:
        if len(batch.claims) > 1:
            # One of them is at fault; the others must not fail with it.
            self._send(batch.divided())
            return
        log.error("purge %s is refused: %s", batch.claims[0].id, error)
        with self._site.catalog.write("") as tx:
            purge_batches.give_up(tx, batch, _shown(error))

    def _ask(self, batch: Batch, provider_id: str) -> None:
        """Ask how far a batch is that the provider has taken, and note it."""
        try:
            complete = self._purger.is_complete(provider_id)
        except Exception as error:  # noqa: BLE001 - it is logged
            faults.count(log, error, "the state of purges cannot be read, now of %s", provider_id)
            with self._site.catalog.write("") as tx:
                purge_batches.put_off(tx, batch, _shown(error), provider_id=provider_id)
            return
        with self._site.catalog.write("") as tx:
            if complete:
                purge_batches.note_complete(tx, batch, provider_id, repeat_after=self._purger.repeat_after)
            else:
                purge_batches.note_open(tx, batch, provider_id)


def _shown(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"[:LONGEST_ERROR]
