"""Marks: how far the sequence of each tenant is, kept outside the database.

The database notes up to where it is about to be marked. One that does not know of its mark was restored from a backup:
higher numbers were drawn, and clients have seen them. Then a new epoch begins, and the sequence goes on far above the
mark. A mark is an object `<tenant>/<number>-<epoch>`;
of a tenant's marks the highest number counts.
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
    """Return every mark there is; what is no mark is passed over, and the log names it."""
    return list(_parse_all(key for key in site.marks.list("") if not is_check(key)))


def create_tenant(site: Site, tenant: str) -> bool:
    """Create a tenant unless it exists; return whether it was created.

    A tenant of that name may have been lost in a restore. Then the sequence begins far above its mark.

    Raises:
        OSError: the store of marks does not answer.
    """
    with site.catalog.read_system() as tx:
        if tenant in list_tenants(tx):
            return False
    check_name(tenant, "tenant")
    mark = _highest(_parse_all(site.marks.list(f"{tenant}/"))).get(tenant)
    with site.catalog.write(tenant) as tx:
        # What the database notes as marked stays behind, so that `check_epoch` still sees a restore.
        return ensure_tenant(tx, drawn=0 if mark is None else mark.number + epochs.MARGIN)


def check_epoch(site: Site, *, restored: bool = False) -> str | None:
    """Begin a new epoch where the database is behind its marks; return its id, None: there was no need.

    Args:
        restored: begin one in any case, as somebody says that the database was restored.
    """
    # Before the database is read: what is marked was drawn before.
    marks = read_marks(site)
    with site.catalog.read_system() as tx:
        behind = _behind(marks, epochs.get_positions(tx))
    if not behind and not restored:
        return None
    with site.catalog.write_system() as tx:
        # Of processes that start together one is faster, and the others find it done.
        epochs.lock_epochs(tx)
        now = epochs.get_positions(tx)
        behind = _behind(marks, now)
        epoch = None
        if restored or any(mark.epoch not in now.past for mark in behind):
            reason = (
                "an operator said that the database was restored" if restored else "the database is behind its marks"
            )
            epoch = epochs.begin_epoch(tx, reason)
            log.warning("epoch %s begins: %s; clients that follow changes start over", epoch, reason)
        for mark in behind:
            epochs.raise_sequence(tx, mark.tenant, mark.number)
    return epoch


def write_marks(site: Site) -> Positions | None:
    """Mark how far the database is, for each tenant that went on since its last mark, and return that.

    None: it was restored this moment; the next check finds it.
    """
    marks = read_marks(site)
    with site.catalog.write_system() as tx:
        now = epochs.get_positions(tx)
        # The mark of a tenant that an earlier restore lost stays, in case the tenant is created again.
        if any(mark.tenant in now.marked_up_to or mark.epoch not in now.past for mark in _behind(marks, now)):
            return None
        # Before the marks themselves, so that a process that dies in between leaves none that is ahead.
        epochs.note_marks(tx)
        now = epochs.get_positions(tx)
    highest = _highest(marks)
    for tenant, number in now.marked_up_to.items():
        mark = Mark(tenant, number, now.epoch)
        if highest.get(tenant) == mark:
            continue
        try:
            site.marks.put(mark.key, b"", _METADATA)
        except AlreadyThere:
            log.debug("%s is marked already", mark.key)
        for older in marks:
            if older.tenant == tenant and older != mark:
                site.marks.delete(older.key)
    return now


def _behind(marks: Iterable[Mark], now: Positions) -> list[Mark]:
    """Return the highest marks of those tenants that do not know of them, or are not there."""
    return [mark for mark in _highest(marks).values() if now.marked_up_to.get(mark.tenant, -1) < mark.number]


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
            log.warning("%s is in the store of marks, and is no mark: remove it", ascii(key))
