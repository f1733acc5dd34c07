"""When unplanned variants were last asked for: noted in memory at once, in the database every few seconds.

A variant is written at most once an hour by each process, so that serving costs no
statement. A process that is killed loses a few seconds. CDNs ask seldom for what they
keep, so an hour is as exact as it needs to be.
"""

import logging
import threading
import time
from collections import defaultdict
from datetime import UTC, datetime

from cachetools import LRUCache

from packshot import faults
from packshot.catalog import usage
from packshot.catalog.ledger import place_of
from packshot.catalog.transaction import DatabaseFault
from packshot.site import Site
from packshot.variants.key import parse_key
from pregen.loop import Loop

log = logging.getLogger(__name__)

SECONDS = 5.0
# Noted between two writes; what is asked for beyond that is noted when it is asked for again.
MOST_KEYS = 2_000
# Known to be written in this hour; what was forgotten is written once more, which changes nothing.
MOST_WRITTEN = 20_000


class Recency:
    """Notes until it is stopped, and then writes what is left."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self._noted: set[str] = set()
        self._written: LRUCache[str, datetime] = LRUCache(MOST_WRITTEN)
        self._lock = threading.Lock()
        self._written_at = time.monotonic()
        self._loop = Loop("recency", self._step)

    def note(self, key: str) -> None:
        """Note that a variant was asked for."""
        hour = _hour()
        with self._lock:
            if self._written.get(key) != hour and len(self._noted) < MOST_KEYS:
                self._noted.add(key)

    def start(self) -> None:
        self._loop.start()

    def stop(self) -> None:
        """Write what is left, and note no more."""
        self._loop.stop()
        self._loop.join()
        try:
            self.write()
        except DatabaseFault as fault:
            faults.count(log, fault, "the database is away; what was asked for in the last seconds is not noted")

    def _step(self) -> None:
        if time.monotonic() - self._written_at >= SECONDS:
            self.write()

    def write(self) -> None:
        """Write what was noted; after an outage it is still there to be written."""
        hour = _hour()
        with self._lock:
            noted = set(self._noted)
            self._written_at = time.monotonic()
        by_tenant: defaultdict[str, list[tuple[str, str, str, str]]] = defaultdict(list)
        for text in noted:
            key = parse_key(text)
            by_tenant[key.tenant].append(place_of(key))
        for tenant, places in by_tenant.items():
            with self._site.catalog.write(tenant) as tx:
                usage.touch(tx, places, hour)
        with self._lock:
            self._noted -= noted
            self._written.update(dict.fromkeys(noted, hour))


def _hour() -> datetime:
    return datetime.now(UTC).replace(minute=0, second=0, microsecond=0)
