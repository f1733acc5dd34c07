"""Pictures that are asked for all the time, kept in memory for a moment.

Only of immutable URLs: what is under a key never changes. It can be deleted,
though, so nothing is kept for long.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from cachetools import TTLCache

from serve.image.sendable import Sendable

SECONDS = 10.0
# One large picture would push out hundreds of those that lists and players ask for.
MAX_SHARE = 1 / 64

Place = tuple[str, str]


@dataclass(frozen=True, slots=True)
class CachedImage:
    """An object that was read as a whole, the headers that do not follow from it, and whose it is."""

    sendable: Sendable
    headers: Mapping[str, str]
    tenant: str
    pack: str


class MemoryCache:
    """Objects by host and path; for one thread.

    Args:
        most_bytes: of all of them together; 0: none are kept.
    """

    def __init__(self, most_bytes: int) -> None:
        self._most_of_one = int(most_bytes * MAX_SHARE)
        self._kept: TTLCache[Place, CachedImage] = TTLCache(most_bytes, SECONDS, getsizeof=_size)

    def get(self, place: Place) -> CachedImage | None:
        """Return what was put there of late."""
        return self._kept.get(place)

    def put(self, place: Place, kept: CachedImage) -> None:
        """Keep an object, unless it is large."""
        if _size(kept) <= self._most_of_one:
            self._kept[place] = kept


def _size(kept: CachedImage) -> int:
    # The rest of an entry takes about as much as a kilobyte of picture.
    return 1000 + kept.sendable.stored.size
