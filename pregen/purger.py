"""Carrying out purge orders: a thread that sends what is due to the CDN, and asks until it is done.

All it knows is in the database. Killed at any point it leaves a lease that runs
out, and the purge is sent again, which does no harm.
"""

import logging
from collections import defaultdict
from collections.abc import Iterator, Sequence
from itertools import chain

from packshot.catalog import purges
from packshot.catalog.purges import Claim
from packshot.errors import PackshotError
from packshot.site import Site
from pregen.loop import Loop

log = logging.getLogger(__name__)

AT_ONCE = 100
LONGEST_ERROR = 500


class PurgeCarrier:
    """Carries purge orders out until it is stopped; any number of processes may have one."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self._purger = site.purger
        self._loop = Loop("purge carrier", self.step)

    def start(self) -> None:
        self._loop.start()

    def stop(self) -> None:
        """Send nothing more."""
        self._loop.stop()

    def join(self, seconds: float) -> None:
        """Wait a moment for what is being sent; the rest is sent again when its lease runs out."""
        self._loop.join(seconds)

    def wake(self) -> None:
        """Look now instead of at the next tick."""
        self._loop.wake()

    def step(self) -> bool:
        """Carry on some of what is due; False: nothing is."""
        # Looked at first: mostly nothing is due, and writers on SQLite queue.
        with self._site.catalog.read("") as tx:
            if not purges.is_due(tx):
                return False
        with self._site.catalog.write("") as tx:
            claims = purges.claim_due(tx, limit=AT_ONCE)
        taken: defaultdict[str, list[Claim]] = defaultdict(list)
        for claim in claims:
            if claim.provider_id is not None:
                taken[claim.provider_id].append(claim)
        for provider_id, batch in taken.items():
            self._ask(batch, provider_id)
        for batch in _batches([claim for claim in claims if claim.provider_id is None], self._purger.most_tags):
            self._send(batch)
        return bool(claims)

    def _send(self, batch: Sequence[Claim]) -> None:
        """Purge the tags of several orders in one call."""
        try:
            provider_id = self._purger.purge(sorted(_tags(batch)), reference=batch[0].token, erasing=False)
        except PackshotError as error:
            if len(batch) > 1:
                # One of them is at fault; the others must not fail with it.
                for claim in batch:
                    self._send([claim])
                return
            log.error("purge %s is refused: %s", batch[0].id, error)
            with self._site.catalog.write("") as tx:
                purges.give_up(tx, batch[0], _shown(error))
        except Exception as error:
            log.exception("putting %d purges off after an outage", len(batch))
            self._put_off(batch, error, None)
        else:
            self._ask(batch, provider_id)

    def _ask(self, batch: Sequence[Claim], provider_id: str) -> None:
        """Ask how far a purge is that the provider has taken, and note it."""
        try:
            complete = self._purger.is_complete(provider_id)
        except Exception as error:
            log.exception("cannot learn how far the purge %s is", provider_id)
            self._put_off(batch, error, provider_id)
            return
        with self._site.catalog.write("") as tx:
            for claim in batch:
                if complete:
                    purges.note_complete(tx, claim, provider_id, repeat_after=self._purger.repeat_after)
                else:
                    purges.note_open(tx, claim, provider_id)

    def _put_off(self, batch: Sequence[Claim], error: Exception, provider_id: str | None) -> None:
        with self._site.catalog.write("") as tx:
            for claim in batch:
                purges.put_off(tx, claim, _shown(error), provider_id=provider_id)


def _batches(claims: Sequence[Claim], most_tags: int) -> Iterator[list[Claim]]:
    """Divide orders so that those of one call have few enough tags together."""
    batch: list[Claim] = []
    for claim in claims:
        if batch and len(_tags([*batch, claim])) > most_tags:
            yield batch
            batch = []
        batch.append(claim)
    if batch:
        yield batch


def _tags(batch: Sequence[Claim]) -> set[str]:
    return set(chain.from_iterable(claim.tags for claim in batch))


def _shown(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"[:LONGEST_ERROR]
