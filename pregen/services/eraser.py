"""The eraser: the service that carries out erasures, and replays tombstones that the database does not know."""

import logging
import time

from packshot.catalog.work import erasures
from packshot.catalog.work.erasures import ErasureClaim
from packshot.catalog.work.jobs import OF_NO_LOCATION, Failure
from packshot.errors import Internal, describe
from packshot.maintenance.erase import erase, replay_tombstones, settling_time
from packshot.site import Site
from pregen.refreshing.failures import classify_failure
from pregen.services.service import Service

log = logging.getLogger(__name__)

# Seconds between two readings of all tombstones, and after a reading that failed.
REPLAY_SECONDS, REPLAY_AGAIN_SECONDS = 3600.0, 60.0


class Eraser(Service):
    """Runs in every worker: each claims the erasures that it carries out."""

    def __init__(self, site: Site) -> None:
        super().__init__("eraser")
        self._site = site
        self._next_replay = 0.0
        self._has_replayed = False
        self._max_pause = max(erasures.MAX_PAUSE, settling_time(site.settings))

    def step(self) -> bool:
        """Replay tombstones if it is time, and carry out one due erasure. Returns whether one was due."""
        if time.monotonic() >= self._next_replay:
            self._next_replay = time.monotonic() + REPLAY_AGAIN_SECONDS
            replay_tombstones(self._site)
            # The first reading skips tombstones that are too young; the second one follows when they are old enough.
            self._next_replay = time.monotonic() + (REPLAY_SECONDS if self._has_replayed else REPLAY_AGAIN_SECONDS)
            self._has_replayed = True
        return self.erase_next()

    def erase_next(self) -> bool:
        """Carry out one due erasure. False: none is due."""
        with self._site.catalog.read_system() as tx:
            if not erasures.is_due(tx, self._max_pause):
                return False
        with self._site.catalog.write_system() as tx:
            claim = erasures.claim_due(tx, self._max_pause)
        if claim is None:
            return False
        try:
            erase(self._site, claim)
        except Exception as error:  # noqa: BLE001 - classified and logged
            self._fail(claim, error)
        return True

    def _fail(self, claim: ErasureClaim, error: Exception) -> None:
        failure = classify_failure(log, error, "the pack %s could not be erased", claim.pack_id)
        with self._site.catalog.write(claim.tenant) as tx:
            if isinstance(failure, str):
                erasures.postpone(tx, claim, failure)
                return
            text = describe(failure)
            if isinstance(failure, Internal) and erasures.retry_after_fault(tx, claim, text):
                return
            log.error("the erasure of pack %s of %s has failed: %s", claim.pack_id, claim.tenant, text)
            erasures.fail(tx, claim, Failure(claim.pack_id, OF_NO_LOCATION, failure.code, text, claim.faults + 1))
