"""Count open WebSockets, so that no address and no caller holds more than its share of them."""

from collections import Counter
from collections.abc import Hashable, Iterator
from contextlib import contextmanager

MAX_SOCKETS_PER_ADDRESS = 100
MAX_SOCKETS_PER_CALLER = 100


class SocketCounts:
    """How many sockets each holder has open."""

    def __init__(self) -> None:
        self._counts: Counter[Hashable] = Counter()

    @contextmanager
    def hold(self, holder: Hashable, most: int) -> Iterator[bool]:
        """Count one more socket for the block; False: the holder has `most` already, and it is not counted."""
        is_held = self._counts[holder] < most
        self._counts[holder] += is_held
        try:
            yield is_held
        finally:
            self._counts[holder] -= is_held
            if not self._counts[holder]:
                del self._counts[holder]
