"""Note when unplanned variants were last requested: in memory at once, in the database every few seconds.

Each process writes a variant at most once an hour, so that serving costs no statement. Hourly times are exact enough,
because CDNs rarely request what they keep.
"""

import threading
from collections import defaultdict
from collections.abc import Mapping
from datetime import UTC, datetime

from cachetools import LRUCache

from packshot.catalog.variants import unplanned_usage
from packshot.catalog.variants.ledger import place_of
from packshot.site import Site
from packshot.variants.key import parse_key
from serve.image.write_buffer import WriteBuffer

# Variants noted between two writes. A variant beyond that is noted at its next request.
MAX_KEYS = 2_000
MAX_TENANT_KEYS = 1_000
# Variants that this process has written in this hour. Writing one twice changes nothing.
MAX_WRITTEN = 20_000


class Recency(WriteBuffer[str, datetime]):
    """The hour in which each variant was last requested, by its key."""

    def __init__(self, site: Site) -> None:
        super().__init__(
            "recency buffer",
            self._write_hours,
            max,
            tenant_of=_tenant_of,
            max_entries=MAX_KEYS,
            max_tenant_entries=MAX_TENANT_KEYS,
        )
        self._site = site
        self._written: LRUCache[str, datetime] = LRUCache(MAX_WRITTEN)
        self._written_lock = threading.Lock()

    def note(self, key: str) -> None:
        """Note that a client requested a variant."""
        hour = datetime.now(UTC).replace(minute=0, second=0, microsecond=0)
        with self._written_lock:
            is_written = self._written.get(key) == hour
        if not is_written:
            self.add(key, hour)

    def _write_hours(self, hours: Mapping[str, datetime]) -> None:
        places: defaultdict[tuple[str, datetime], list[tuple[str, str, str, str]]] = defaultdict(list)
        for text, hour in hours.items():
            key = parse_key(text)
            places[key.tenant, hour].append(place_of(key))
        for (tenant, hour), some in places.items():
            with self._site.catalog.write(tenant) as tx:
                unplanned_usage.touch_requested(tx, some, hour)
        with self._written_lock:
            self._written.update(hours)


def _tenant_of(key: str) -> str:
    return key.partition("/")[0]
