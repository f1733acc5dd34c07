"""Refuse the URLs of erased packs from the moment of the erasure on."""

import threading
import time

from packshot.catalog.configuration.snapshots import read_snapshot
from packshot.catalog.database.transaction import DatabaseFault, Tx
from packshot.catalog.variants import tombstones
from packshot.catalog.work import erasures
from packshot.errors import Gone, NotFound
from packshot.model import Snapshot
from packshot.site import Site

# Seconds for which the list of running erasures is reused: after a read, and after a failed read.
FRESH, PATIENT = 1.0, 30.0


class Erased:
    """Refuses the URLs of erased packs without one database read per image.

    While an erasure runs, variants of the pack may still be stored. This class keeps the list of those packs in memory.
    After the erasure no variant is left, and a lookup of the pack in the catalog finds its tombstone.
    """

    def __init__(self, site: Site) -> None:
        self._site = site
        self._lock = threading.Lock()
        self._under_way: set[tuple[str, str]] = set()
        self._until = 0.0

    def refuse_under_way(self, tenant: str, pack_id: str) -> None:
        """Raise `Gone` if the pack is being erased."""
        if time.monotonic() >= self._until and self._lock.acquire(blocking=False):
            try:
                self._look()
            finally:
                self._lock.release()
        if (tenant, pack_id) in self._under_way:
            raise _gone(pack_id)

    def may_be_erased(self, tenant: str, pack_id: str) -> bool:
        """Whether the list in memory is recent and does not contain the pack."""
        return time.monotonic() < self._until and (tenant, pack_id) not in self._under_way

    def _look(self) -> None:
        self._until = time.monotonic() + PATIENT
        try:
            with self._site.catalog.read_system() as tx:
                self._under_way = erasures.list_under_way(tx)
        except DatabaseFault:
            # Stored variants are served while the database does not answer; the last list stays in use.
            return
        self._until = time.monotonic() + FRESH


def read_shown(tx: Tx, pack_id: str) -> Snapshot:
    """Return the snapshot of a requested pack.

    Raises:
        Gone: the pack was erased.
        NotFound: this tenant has no such pack.
    """
    try:
        return read_snapshot(tx, pack_id)
    except NotFound:
        if tombstones.find_erased(tx, [pack_id]):
            raise _gone(pack_id) from None
        raise


def _gone(pack_id: str) -> Gone:
    return Gone("This image was erased.", expected="another image", got=pack_id)
