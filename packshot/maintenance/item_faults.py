"""Continue with the other items of a portion when one item meets an unforeseen exception."""

import logging
from collections import Counter
from collections.abc import Callable, Hashable, Mapping
from typing import TypeVar

from packshot import faults
from packshot.catalog.database.backoff import MAX_FAULTS
from packshot.maintenance.retrying import is_outage
from packshot.storage.base import NoSuchObject

# The number of items that are remembered; beyond it, the oldest gets its attempts again.
MAX_ITEMS = 10_000
# Outages of items in a row after which the store counts as down.
MAX_OUTAGES = 3

T = TypeVar("T")


class ItemFaults:
    """Counts the unforeseen exceptions of each item of one kind of work. For one thread at a time.

    An item has `MAX_FAULTS` attempts in one process. After the last one it has failed and is skipped. Every attempt is
    logged with its error id.

    Args:
        log: where faults are recorded.
        message: describes the fault, with a placeholder for the item.
    """

    def __init__(self, log: logging.Logger, message: str) -> None:
        self._log = log
        self._message = message
        self._faults: Counter[Hashable] = Counter()
        self.failed: dict[Hashable, str] = {}
        """Items that are skipped, with the error id of the last attempt."""

    def attempt(self, item: Hashable, act: Callable[[], T]) -> T | None:
        """Run `act` for one item; None: it met an unforeseen exception, or has failed before.

        Raises:
            Exception: an outage, which is not the item's fault.
        """
        if item in self.failed:
            return None
        try:
            result = act()
        except Exception as error:
            if is_outage(error):
                raise
            self.blame(item, error)
            return None
        self._faults.pop(item, None)
        return result

    def attempt_each(self, items: Mapping[Hashable, Callable[[], T]]) -> dict[Hashable, T]:
        """Run the step of each item, and return the results of those that succeeded.

        If some items succeed, an outage of another item counts as its fault, such as a folder in place of its file.

        Raises:
            Exception: an outage of the database, or one that met `MAX_OUTAGES` items in a row, or every item.
        """
        results: dict[Hashable, T] = {}
        outages: list[tuple[Hashable, Exception]] = []
        in_a_row = 0
        for item, act in items.items():
            try:
                result = self.attempt(item, act)
            except (OSError, NoSuchObject) as error:
                outages.append((item, error))
                in_a_row += 1
                if in_a_row >= MAX_OUTAGES:
                    raise
                continue
            in_a_row = 0
            if result is not None:
                results[item] = result
        if not results and any(item not in self._faults for item, _ in outages):
            raise outages[0][1]
        for item, fault in outages:
            self.blame(item, fault)
        return results

    def blame(self, item: Hashable, error: Exception) -> None:
        """Count an exception against an item."""
        error_id = faults.record(self._log, error, self._message, item)
        self._faults[item] += 1
        if self._faults[item] >= MAX_FAULTS:
            del self._faults[item]
            self.failed[item] = error_id
        for known in (self._faults, self.failed):
            if len(known) > MAX_ITEMS:
                del known[next(iter(known))]
