"""Which packs were erased, so that none of their URLs gives anything, from the moment of the mutation on."""

import threading
import time

from packshot.catalog.configuration.snapshots import read_snapshot
from packshot.catalog.database.transaction import DatabaseFault, Tx
from packshot.catalog.variants import tombstones
from packshot.catalog.work import erasures
from packshot.errors import Gone, NotFound
from packshot.model import Snapshot
from packshot.site import Site

# Seconds for which what was read about erasures under way is believed; longer where the database does not answer.
FRESH, PATIENT = 1.0, 30.0


class Erased:
    """Refuses URLs of erased packs, without asking the database for every picture.

    While a pack is being erased blobs of it may still be there, so those few packs
    are kept in mind. Later there is no blob, and whoever looks for the pack in the
    catalog asks for its tombstone.
    """

    def __init__(self, site: Site) -> None:
        self._site = site
        self._lock = threading.Lock()
        self._under_way: set[tuple[str, str]] = set()
        self._until = 0.0

    def refuse_under_way(self, tenant: str, pack_id: str) -> None:
        """Raise `Gone` for a pack that is being erased."""
        if time.monotonic() >= self._until and self._lock.acquire(blocking=False):
            try:
                self._look()
            finally:
                self._lock.release()
        if (tenant, pack_id) in self._under_way:
            raise _gone(pack_id)

    def may_be_erased(self, tenant: str, pack_id: str) -> bool:
        """Whether it is known, without asking anybody, that a pack is not being erased."""
        return time.monotonic() < self._until and (tenant, pack_id) not in self._under_way

    def _look(self) -> None:
        self._until = time.monotonic() + PATIENT
        try:
            with self._site.catalog.read_system() as tx:
                self._under_way = erasures.list_under_way(tx)
        except DatabaseFault:
            # Pictures that are stored are served without it; what was known stays known.
            return
        self._until = time.monotonic() + FRESH


def read_shown(tx: Tx, pack_id: str) -> Snapshot:
    """Return the snapshot of a pack whose pictures somebody asks for.

    Raises:
        Gone: it was erased.
        NotFound: there is no such pack in this tenant.
    """
    try:
        return read_snapshot(tx, pack_id)
    except NotFound:
        if tombstones.find_erased(tx, [pack_id]):
            raise _gone(pack_id) from None
        raise


def _gone(pack_id: str) -> Gone:
    return Gone("This picture was erased.", expected="another picture", got=pack_id)
