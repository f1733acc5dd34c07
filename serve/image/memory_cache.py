"""Keep frequently requested variants in memory for a moment.

Only immutable URLs are cached, because the bytes under a key never change. Entries expire soon, because a variant can
be deleted.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from cachetools import TTLCache

from serve.image.sendable import Sendable

SECONDS = 10.0
# One large image would evict hundreds of the small ones that lists and players request.
MAX_SHARE = 1 / 64

Place = tuple[str, str]


@dataclass(frozen=True, slots=True)
class CachedImage:
    """A variant's bytes, its response headers, and the tenant and pack that it belongs to."""

    sendable: Sendable
    headers: Mapping[str, str]
    tenant: str
    pack: str


class MemoryCache:
    """Variants by host and path. Not thread-safe.

    Args:
        max_bytes: total size of all entries; 0: no entry is kept.
    """

    def __init__(self, most_bytes: int) -> None:
        self._most_of_one = int(most_bytes * MAX_SHARE)
        self._kept: TTLCache[Place, CachedImage] = TTLCache(most_bytes, SECONDS, getsizeof=_size)

    def get(self, place: Place) -> CachedImage | None:
        """Return the entry for a host and path, if there is a recent one."""
        return self._kept.get(place)

    def put(self, place: Place, kept: CachedImage) -> None:
        """Keep a variant, unless it is large."""
        if _size(kept) <= self._most_of_one:
            self._kept[place] = kept


def _size(kept: CachedImage) -> int:
    # The rest of an entry takes about a kilobyte.
    return 1000 + kept.sendable.stored.size
