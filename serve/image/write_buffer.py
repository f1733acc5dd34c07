"""A buffer for what requests note: entries wait in memory, and a thread writes them every few seconds."""

import logging
import threading
from collections import Counter
from collections.abc import Callable, Hashable, Mapping
from typing import Generic, TypeVar

from packshot import faults
from packshot.maintenance.retrying import is_outage
from pregen.services.service import Service

log = logging.getLogger(__name__)

WRITE_SECONDS = 5.0
MAX_REFUSED = 20  # refused entries per write; the rest waits for the next write

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class WriteBuffer(Service, Generic[K, V]):
    """Collects entries and writes them in batches, so that many requests cost no more writes than one.

    After an outage the entries wait for the next write. When a write fails for another reason, the buffer halves the
    batch until it finds the entry that the database refuses, logs it and drops it. A process that is killed loses the
    entries of a few seconds.

    Args:
        name: name of the thread, used in log messages.
        store: writes a batch, in one transaction or so that writing it twice changes nothing.
        merge: combines the waiting entry with a new entry of the same key.
        tenant_of: returns the tenant of a key.
        max_entries: entries that wait for one write; the buffer ignores new keys beyond that.
        max_tenant_entries: the same limit for each tenant, so that one tenant leaves room for the others.
    """

    def __init__(
        self,
        name: str,
        store: Callable[[Mapping[K, V]], None],
        merge: Callable[[V, V], V],
        *,
        tenant_of: Callable[[K], str],
        max_entries: int,
        max_tenant_entries: int,
    ) -> None:
        super().__init__(name, interval=WRITE_SECONDS, patience=None)
        self._store = store
        self._merge = merge
        self._tenant_of = tenant_of
        self._max_entries = max_entries
        self._max_tenant_entries = max_tenant_entries
        self._entries: dict[K, V] = {}
        self._sizes: Counter[str] = Counter()
        self._lock = threading.Lock()

    def add(self, key: K, value: V) -> None:
        """Merge one entry into the buffer. Executes no statement."""
        tenant = self._tenant_of(key)
        with self._lock:
            if key in self._entries:
                self._entries[key] = self._merge(self._entries[key], value)
            elif len(self._entries) < self._max_entries and self._sizes[tenant] < self._max_tenant_entries:
                self._entries[key] = value
                self._sizes[tenant] += 1

    def step(self) -> None:
        """Write every entry."""
        self.write()

    def finish(self) -> None:
        """Write the last entries."""
        self.write()

    def write(self) -> None:
        """Write every entry.

        Raises:
            Exception: an outage, or the last of `MAX_REFUSED` refusals; unwritten entries are kept.
        """
        with self._lock:
            entries, self._entries, self._sizes = self._entries, {}, Counter()
        batches = [list(entries.items())] if entries else []
        refused = 0
        try:
            while batches:
                batch = batches[-1]
                try:
                    self._store(dict(batch))
                except Exception as error:
                    if is_outage(error):
                        raise
                    if len(batch) > 1:
                        middle = len(batch) // 2
                        batches[-1:] = [batch[middle:], batch[:middle]]
                        continue
                    faults.record(log, error, f"the {self.name} dropped an entry of %s", self._tenant_of(batch[0][0]))
                    refused += 1
                    batches.pop()
                    if refused >= MAX_REFUSED:
                        raise
                else:
                    batches.pop()
        finally:
            for key, value in (entry for batch in batches for entry in batch):
                self.add(key, value)
