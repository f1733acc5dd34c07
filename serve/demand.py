"""Counting what had to be rendered on demand: in memory at once, in the database every few seconds."""

import logging
import threading
import time
from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime

from packshot import faults
from packshot.catalog.demand import add_requests
from packshot.catalog.transaction import DatabaseFault
from packshot.site import Site
from packshot.variants.demand import Asked, Counted
from packshot.variants.request import RequestForm
from packshot.variants.resolve import Target
from pregen.loop import Loop

log = logging.getLogger(__name__)

SECONDS = 5.0
# Counted between two writes; what is new beyond that is asked for too rarely to matter, or will come again.
MOST_KINDS = 2_000
# Of one tenant, so that what is asked for of another one is counted too.
MOST_KINDS_OF_TENANT = 500


class DemandCounter:
    """Counts until it is stopped, and then writes what is left. A storm of requests costs no more writes than one.

    A process that is killed loses the counts of a few seconds.
    """

    def __init__(self, site: Site) -> None:
        self._site = site
        self._counted: dict[Asked, Counted] = {}
        self._kinds: Counter[str] = Counter()
        self._lock = threading.Lock()
        self._written = time.monotonic()
        self._loop = Loop("demand counter", self._step)

    def count(self, form: RequestForm, target: Target) -> None:
        """Count one request that was not rendered ahead of time, whatever location it named."""
        asked = Asked(
            target.key.tenant, target.key.location, target.drawing.format, replace(form, location=None).query()
        )
        self._add(Counted(asked, 1, datetime.now(UTC)))

    def _add(self, fresh: Counted) -> None:
        with self._lock:
            known = self._counted.get(fresh.asked)
            if known is not None:
                last = max(known.last_requested_at, fresh.last_requested_at)
                self._counted[fresh.asked] = Counted(fresh.asked, known.requests + fresh.requests, last)
            elif len(self._counted) < MOST_KINDS and self._kinds[fresh.asked.tenant] < MOST_KINDS_OF_TENANT:
                self._counted[fresh.asked] = fresh
                self._kinds[fresh.asked.tenant] += 1

    def start(self) -> None:
        self._loop.start()

    def stop(self) -> None:
        """Write what is left, and count no more."""
        self._loop.stop()
        self._loop.join()
        try:
            self.write()
        except DatabaseFault as error:
            faults.count(log, error, "the demand of the last seconds could not be stored")

    def _step(self) -> None:
        if time.monotonic() - self._written >= SECONDS:
            self.write()

    def write(self) -> None:
        """Add what was counted to the database; after an outage it is still there to be added."""
        with self._lock:
            counted, self._counted, self._kinds = self._counted, {}, Counter()
            self._written = time.monotonic()
        if not counted:
            return
        try:
            with self._site.catalog.write("") as tx:
                add_requests(tx, list(counted.values()))
        except BaseException:
            for one in counted.values():
                self._add(one)
            raise
