"""Count open WebSockets, and limit how many each address and each caller holds."""

from collections import Counter
from collections.abc import Hashable, Iterator
from contextlib import contextmanager

MAX_SOCKETS_PER_ADDRESS = 100
MAX_SOCKETS_PER_CALLER = 100


class SocketCounts:
    """The number of open sockets of each holder."""

    def __init__(self) -> None:
        self._counts: Counter[Hashable] = Counter()

    @contextmanager
    def hold(self, holder: Hashable, most: int) -> Iterator[bool]:
        """Count one more socket during the block; yield False, without counting, if the holder has `most` already."""
        is_held = self._counts[holder] < most
        self._counts[holder] += is_held
        try:
            yield is_held
        finally:
            self._counts[holder] -= is_held
            if not self._counts[holder]:
                del self._counts[holder]
