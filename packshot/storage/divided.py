"""Two stores as one: a public one, and a private one that only the application reads.

Keys begin with a tenant. A tenant's objects can change once from public to private. Until all of them are withdrawn
from the public store, they may be in either.
"""

import heapq
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, suppress
from itertools import groupby
from pathlib import Path

from packshot.storage.base import (
    AlreadyThere,
    DamagedObject,
    Metadata,
    NoSuchObject,
    ObjectStore,
    Opened,
    Stored,
    check_key,
)


class DividedStore:
    """An `ObjectStore` over two others.

    Args:
        is_private: whether a tenant's objects must be put into the private store. Asks the database if necessary.
        is_private_cached: the same as last read from the database; used to find objects.
    """

    direct = None

    def __init__(
        self,
        public: ObjectStore,
        private: ObjectStore,
        *,
        is_private: Callable[[str], bool],
        is_private_cached: Callable[[str], bool],
    ) -> None:
        self.public = public
        self.private = private
        self._is_private = is_private
        self._is_private_cached = is_private_cached

    def put(self, key: str, body: bytes | Path, metadata: Metadata) -> Stored:
        check_key(key)
        store = self.private if self._is_private(_tenant(key)) else self.public
        return store.put(key, body, metadata)

    def get(self, key: str) -> tuple[bytes, Stored]:
        if self._is_hidden(key):
            with suppress(NoSuchObject):
                return self.private.get(key)
        return self.public.get(key)

    def head(self, key: str) -> Stored | None:
        found = self.private.head(key) if self._is_hidden(key) else None
        return found or self.public.head(key)

    def open(self, key: str) -> Opened:
        if self._is_hidden(key):
            with suppress(NoSuchObject):
                return self.private.open(key)
        return self.public.open(key)

    def delete(self, key: str) -> None:
        if self._is_hidden(key):
            self.private.delete(key)
        self.public.delete(key)

    def erase(self, place: str) -> int:
        return self.private.erase(place) + self.public.erase(place)

    def list(self, prefix: str) -> Iterator[str]:
        both = heapq.merge(self.public.list(prefix), self.private.list(prefix))
        return (key for key, _ in groupby(both))

    def local_path(self, key: str) -> Path | None:
        found = self.private.local_path(key) if self._is_hidden(key) else None
        return found or self.public.local_path(key)

    def as_file(self, key: str) -> AbstractContextManager[Path]:
        hidden = self._is_hidden(key) and self.private.head(key) is not None
        return (self.private if hidden else self.public).as_file(key)

    def withdraw(self, key: str) -> None:
        """Move an object of a private tenant from the public to the private store, and erase every version of it there.

        Harmless to repeat, and while other processes read the object: at every moment one of the stores has it.
        """
        with suppress(NoSuchObject, DamagedObject), self.public.as_file(key) as body:
            stored = self.public.head(key)
            if stored is not None:
                with suppress(AlreadyThere):
                    self.private.put(key, body, stored.metadata)
        self.public.erase(key)

    def _is_hidden(self, key: str) -> bool:
        check_key(key)
        return self._is_private_cached(_tenant(key))


def _tenant(key: str) -> str:
    return key.partition("/")[0]
