"""The eraser: carries out what was ordered to be erased, and replays tombstones that the database does not know."""

import logging
import time

from packshot.catalog.work import erasures
from packshot.catalog.work.erasures import ErasureClaim
from packshot.catalog.work.jobs import OF_NO_LOCATION, Failure
from packshot.errors import Internal, describe
from packshot.maintenance.erase import erase, replay_tombstones, settling_time
from packshot.site import Site
from pregen.refreshing.failures import classify_failure
from pregen.services.service import Loop, Service

log = logging.getLogger(__name__)

# Seconds between two looks at all tombstones; and after one that failed.
REPLAY_PAUSE, REPLAY_AGAIN = 3600.0, 60.0


class Eraser(Service):
    """Erases what is due until it is stopped; any number of processes may have one."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self._next_replay = 0.0
        self._has_looked = False
        self._max_pause = max(erasures.MAX_PAUSE, settling_time(site.settings))
        super().__init__(Loop("eraser", self._tick))

    def _tick(self) -> bool:
        if time.monotonic() >= self._next_replay:
            self._next_replay = time.monotonic() + REPLAY_AGAIN
            replay_tombstones(self._site)
            # What was too young for the first look is old enough for the second.
            self._next_replay = time.monotonic() + (REPLAY_PAUSE if self._has_looked else REPLAY_AGAIN)
            self._has_looked = True
        return self.step()

    def step(self) -> bool:
        """Erase one pack that is due; False: there is none."""
        with self._site.catalog.read_system() as tx:
            if not erasures.is_due(tx, self._max_pause):
                return False
        with self._site.catalog.write_system() as tx:
            held = erasures.claim_due(tx, self._max_pause)
        if held is None:
            return False
        try:
            erase(self._site, held)
        except Exception as error:  # noqa: BLE001 - sorted and logged
            self._fail(held, error)
        return True

    def _fail(self, held: ErasureClaim, error: Exception) -> None:
        failure = classify_failure(log, error, "the pack %s could not be erased", held.pack_id)
        with self._site.catalog.write(held.tenant) as tx:
            if isinstance(failure, str):
                erasures.postpone(tx, held, failure)
                return
            text = describe(failure)
            if isinstance(failure, Internal) and erasures.retry_after_fault(tx, held, text):
                return
            log.error("the erasure of pack %s of %s has failed: %s", held.pack_id, held.tenant, text)
            erasures.fail(tx, held, Failure(held.pack_id, OF_NO_LOCATION, failure.code, text, held.faults + 1))
