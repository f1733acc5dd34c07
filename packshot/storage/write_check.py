"""Check repeatedly that a store puts, returns and deletes an object; no object stays behind."""

from contextlib import suppress
from datetime import UTC, datetime, timedelta
from itertools import islice
from uuid import uuid4

from packshot.storage.base import Metadata, NoSuchObject, ObjectStore

# Names of tenants have no dot.
FOLDER = "packshot.check"
CHECK_METADATA = Metadata("application/octet-stream", "no-store", ("packshot", "t:check"))
# Older objects were left by a process that was killed.
STALE = timedelta(hours=1)
_MAX_STALE = 100


class WrongBytes(OSError):
    """The store returns other bytes than were put."""


class WriteCheck:
    """Writes, reads and deletes one small object at each check. Called by one thread at a time."""

    def __init__(self, store: ObjectStore) -> None:
        self._store = store
        self._left: str | None = None
        self._swept = False

    def run(self) -> None:
        """Run one check.

        Raises:
            OSError: the store fails. The next check first deletes what this one left.
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
                    raise WrongBytes("The store returns other bytes than were put.")
            except NoSuchObject:
                raise WrongBytes("The store does not have an object that was just put.") from None
        finally:
            with suppress(OSError):  # The next check deletes it; the first fault is the one to report.
                self._store.delete(key)
                self._left = None

    def _sweep(self) -> None:
        """Delete what killed processes left."""
        for key in list(islice(self._store.list(f"{FOLDER}/"), _MAX_STALE)):
            stored = self._store.head(key)
            if stored is not None and datetime.now(UTC) - stored.modified_at > STALE:
                self._store.delete(key)
        self._swept = True


def is_check(key: str) -> bool:
    """Whether an object belongs to a check."""
    return key.startswith(f"{FOLDER}/")
