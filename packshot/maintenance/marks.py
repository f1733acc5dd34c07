"""Marks: the sequence position of each tenant, kept outside the database.

The database also records how far it was marked. If it is behind a mark, it was restored from a backup: clients have
already seen higher sequence numbers. Then a new epoch begins, and the sequence continues far above the mark. A mark is
an object `<tenant>/<number>-<epoch>`; the highest number of a tenant counts.
"""

import logging
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from packshot.catalog.configuration import epochs
from packshot.catalog.configuration.epochs import Positions
from packshot.catalog.configuration.tenants import ensure_tenant, list_tenants
from packshot.model import check_name
from packshot.site import Site
from packshot.storage.base import AlreadyThere, Metadata
from packshot.storage.write_check import is_check

log = logging.getLogger(__name__)

_METADATA = Metadata("text/plain", None, ())


@dataclass(frozen=True, slots=True)
class Mark:
    """One object in the store of marks."""

    tenant: str
    number: int
    epoch: str

    @property
    def key(self) -> str:
        return f"{self.tenant}/{self.number:020d}-{self.epoch}"


def read_marks(site: Site) -> list[Mark]:
    """Return all marks; objects that are not marks are skipped and logged."""
    return list(_parse_all(key for key in site.marks.list("") if not is_check(key)))


def create_tenant(site: Site, tenant: str) -> bool:
    """Create a tenant unless it exists; return whether it was created.

    A restore may have lost an earlier tenant of that name. Then the sequence starts far above its mark.

    Raises:
        OSError: the store of marks does not answer.
    """
    with site.catalog.read_system() as tx:
        if tenant in list_tenants(tx):
            return False
    check_name(tenant, "tenant")
    mark = _highest(_parse_all(site.marks.list(f"{tenant}/"))).get(tenant)
    with site.catalog.write(tenant) as tx:
        # The database's record of the mark stays behind, so that `check_epoch` still notices the restore.
        return ensure_tenant(tx, drawn=0 if mark is None else mark.number + epochs.MARGIN)


def check_epoch(site: Site, *, restored: bool = False) -> str | None:
    """Begin a new epoch if the database is behind its marks; return its id; None: it is not behind.

    Args:
        restored: begin one in any case, because an operator says that the database was restored.
    """
    # The marks are read before the database, so that the database is at least as far.
    marks = read_marks(site)
    with site.catalog.read_system() as tx:
        behind = _behind(marks, epochs.get_positions(tx))
    if not behind and not restored:
        return None
    with site.catalog.write_system() as tx:
        # One of several processes that start together does it, and the others find it done.
        epochs.lock_epochs(tx)
        positions = epochs.get_positions(tx)
        behind = _behind(marks, positions)
        epoch = None
        if restored or any(mark.epoch not in positions.past for mark in behind):
            reason = (
                "an operator said that the database was restored" if restored else "the database is behind its marks"
            )
            epoch = epochs.begin_epoch(tx, reason)
            log.warning("epoch %s begins: %s; clients of the change feed start over", epoch, reason)
        for mark in behind:
            epochs.raise_sequence(tx, mark.tenant, mark.number)
    return epoch


def write_marks(site: Site) -> Positions | None:
    """Put a mark for each tenant whose sequence rose since its last mark, and return the positions.

    None: the database was restored just now; the next check notices it.
    """
    marks = read_marks(site)
    with site.catalog.write_system() as tx:
        positions = epochs.get_positions(tx)
        # The mark of a tenant that an earlier restore lost stays, in case the tenant is created again.
        if any(
            mark.tenant in positions.marked_up_to or mark.epoch not in positions.past
            for mark in _behind(marks, positions)
        ):
            return None
        # Recorded before the marks are put, so that no mark is ahead if the process dies in between.
        epochs.note_marks(tx)
        positions = epochs.get_positions(tx)
    highest = _highest(marks)
    for tenant, number in positions.marked_up_to.items():
        mark = Mark(tenant, number, positions.epoch)
        if highest.get(tenant) == mark:
            continue
        try:
            site.marks.put(mark.key, b"", _METADATA)
        except AlreadyThere:
            log.debug("%s is marked already", mark.key)
        for older in marks:
            if older.tenant == tenant and older != mark:
                site.marks.delete(older.key)
    return positions


def _behind(marks: Iterable[Mark], positions: Positions) -> list[Mark]:
    """Return the highest marks of tenants that do not exist, or whose recorded position is below the mark."""
    return [mark for mark in _highest(marks).values() if positions.marked_up_to.get(mark.tenant, -1) < mark.number]


def _highest(marks: Iterable[Mark]) -> dict[str, Mark]:
    highest: dict[str, Mark] = {}
    for mark in marks:
        if mark.tenant not in highest or highest[mark.tenant].number < mark.number:
            highest[mark.tenant] = mark
    return highest


def _parse_all(keys: Iterable[str]) -> Iterator[Mark]:
    for key in keys:
        tenant, _, rest = key.partition("/")
        number, _, epoch = rest.partition("-")
        if number.isascii() and number.isdecimal() and epoch:
            yield Mark(tenant, int(number), epoch)
        else:
            log.warning("%s is in the store of marks, but is not a mark: remove it", ascii(key))
