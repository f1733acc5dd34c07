"""Trying out again and again whether a store takes an object, gives it back and deletes it; nothing is left behind."""

from contextlib import suppress
from datetime import UTC, datetime, timedelta
from itertools import islice
from uuid import uuid4

from packshot.storage.base import Metadata, NoSuchObject, ObjectStore

# No tenant's name has a dot in it.
FOLDER = "packshot.check"
CHECK_METADATA = Metadata("application/octet-stream", "no-store", ("packshot", "t:check"))
# What is older was left by a process that was killed.
STALE = timedelta(hours=1)
_MOST_STALE = 100


class WrongBytes(OSError):
    """The store gives back other bytes than were put."""


class WriteCheck:
    """Writes, reads and deletes one small object at each check. Called by one thread at a time."""

    def __init__(self, store: ObjectStore) -> None:
        self._store = store
        self._left: str | None = None
        self._swept = False

    def run(self) -> None:
        """Try the store out.

        Raises:
            OSError: it does not do what it should; nothing more is put before what was left is deleted.
        """
        if not self._swept:
            self._sweep()
        if self._left is not None:
            self._store.delete(self._left)
        key = self._left = f"{FOLDER}/{uuid4().hex}"
        body = key.encode()
        try:
            self._store.put(key, body, CHECK_METADATA)
            try:
                if self._store.get(key)[0] != body:
                    raise WrongBytes("The store gives back other bytes than were put.")
            except NoSuchObject:
                raise WrongBytes("The store does not have what was put.") from None
        finally:
            with suppress(OSError):  # Deleted at the next check; the first fault is the one to tell.
                self._store.delete(key)
                self._left = None

    def _sweep(self) -> None:
        """Delete what processes that were killed have left."""
        for key in list(islice(self._store.list(f"{FOLDER}/"), _MOST_STALE)):
            stored = self._store.head(key)
            if stored is not None and datetime.now(UTC) - stored.modified_at > STALE:
                self._store.delete(key)
        self._swept = True


def is_check(key: str) -> bool:
    """Whether an object is one that is put to try the store out."""
    return key.startswith(f"{FOLDER}/")
