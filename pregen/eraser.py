"""The eraser: carries out what was ordered to be erased, and replays tombstones that the database does not know."""

import logging
import time

from packshot import faults
from packshot.catalog import erasures
from packshot.erase import erase, replay_tombstones
from packshot.site import Site
from pregen.loop import Loop

log = logging.getLogger(__name__)

# Seconds between two looks at all tombstones; and after one that failed.
REPLAY_PAUSE, REPLAY_AGAIN = 3600.0, 60.0


class Eraser:
    """Erases what is due until it is stopped; any number of processes may have one."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self._next_replay = 0.0
        self._has_looked = False
        self._loop = Loop("eraser", self._tick)

    def start(self) -> None:
        self._loop.start()

    def stop(self) -> None:
        """Begin to erase nothing more."""
        self._loop.stop()

    def join(self, seconds: float) -> None:
        """Wait a moment for what is being erased; the rest is erased again when its lease runs out."""
        self._loop.join(seconds)

    def wake(self) -> None:
        """Look now instead of at the next tick."""
        self._loop.wake()

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
        with self._site.catalog.read("") as tx:
            if not erasures.is_due(tx):
                return False
        with self._site.catalog.write("") as tx:
            held = erasures.claim_due(tx)
        if held is None:
            return False
        try:
            erase(self._site, held)
        except Exception as error:  # noqa: BLE001 - it is logged
            faults.record(log, error, "the erasure of pack %s is postponed", held.pack_id)
            with self._site.catalog.write(held.tenant) as tx:
                erasures.put_off(tx, held)
        return True
