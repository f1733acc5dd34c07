"""The change feed: changed and deleted packs and locations, ordered by sequence number.

A changed pack or location appears once, at its latest number. Deletions appear as rows of `deletions`, which are kept
for a limited time. A page reads each of the three tables by an index.
"""

import base64
import binascii
import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from enum import Enum
from typing import Any

import sqlalchemy as sa

from packshot.catalog.configuration.epochs import get_epoch
from packshot.catalog.configuration.locations import select_locations
from packshot.catalog.database import rows
from packshot.catalog.database.pages import check_first
from packshot.catalog.database.transaction import Tx
from packshot.catalog.tables.artwork import deletions, locations, packs, sequences
from packshot.errors import Invalid, Resync
from packshot.model import Location, Pack

START_OVER = "changes without `after`, and a copy that is empty"


class ChangeKind(Enum):
    """The kind of a change."""

    PACK_CHANGED = "pack_changed"
    PACK_DELETED = "pack_deleted"
    PACK_ERASED = "pack_erased"
    LOCATION_CHANGED = "location_changed"
    LOCATION_DELETED = "location_deleted"


_DELETED = {
    ("pack", False): ChangeKind.PACK_DELETED,
    ("pack", True): ChangeKind.PACK_ERASED,
    ("location", False): ChangeKind.LOCATION_DELETED,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """The latest change of a pack or location.

    Attributes:
        id: pack id, or location name.
        pack, location: the current state; None: deleted.
    """

    kind: ChangeKind
    sequence_number: int
    at: datetime
    id: str
    external_id: str | None = None
    asset_id: int | None = None
    pack: Pack | None = None
    location: Location | None = None


@dataclass(frozen=True, slots=True)
class ChangePage:
    """Some changes in order.

    Attributes:
        end: the cursor after which the next page begins, also of an empty page.
    """

    epoch: str
    changes: tuple[Change, ...]
    cursors: tuple[str, ...]
    end: str
    has_next: bool
    has_previous: bool


@dataclass(frozen=True, slots=True)
class _Place:
    """The position of a cursor: number, table and id, because two tables may have the same number.

    Attributes:
        base: the number at which the client began with an empty copy. It needs no earlier deletions.
    """

    number: int
    table: int
    id: str
    base: int


# The order of the tables at equal numbers.
_PACKS, _LOCATIONS, _DELETIONS, _END = range(4)


def list_changes(tx: Tx, *, first: int, after: str | None) -> ChangePage:
    """Return the changes after a cursor. Without a cursor, return everything that exists, for an empty copy.

    Raises:
        Limit: `first` is not from 1 to 100.
        Invalid: `after` is not a cursor of the feed.
        Resync: the cursor is of another epoch, or deletions since then are no longer known.
    """
    check_first(first)
    epoch = get_epoch(tx)
    counter = tx.connection.execute(sa.select(sequences).where(sequences.c.tenant_id == tx.tenant)).one()
    place = _Place(-1, _PACKS, "", counter.value) if not after else _read(after, epoch)
    if place.number > counter.value or max(place.number, place.base) < counter.deletions_dropped_up_to:
        raise _resync(after)
    found = sorted(
        [*_changed_packs(tx, place, first), *_changed_locations(tx, place, first), *_deleted(tx, place, first)],
        key=_place_of,
    )
    shown = found[:first]
    has_next = len(found) > first
    cursors = tuple(_spell(epoch, *_place_of(change), place.base) for change in shown)
    # Every number up to the counter's value is visible by now.
    end = cursors[-1] if has_next else _spell(epoch, counter.value, _END, "", place.base)
    return ChangePage(epoch, tuple(shown), cursors, end, has_next, bool(after))


def _changed_packs(tx: Tx, place: _Place, first: int) -> Iterator[Change]:
    statement = sa.select(*rows.pack_columns()).where(packs.c.tenant_id == tx.tenant)
    for row in _after(tx, statement, place, _PACKS, packs.c.sequence_number, packs.c.id, first):
        pack = rows.to_pack(row)
        yield Change(
            kind=ChangeKind.PACK_CHANGED,
            sequence_number=pack.sequence_number,
            at=pack.modified_at,
            id=pack.id,
            external_id=pack.external_id,
            asset_id=pack.asset_id,
            pack=pack,
        )


def _changed_locations(tx: Tx, place: _Place, first: int) -> Iterator[Change]:
    number = locations.c.sequence_number.label("_number")
    statement = select_locations().add_columns(number).where(locations.c.tenant_id == tx.tenant)
    for row in _after(tx, statement, place, _LOCATIONS, locations.c.sequence_number, locations.c.name, first):
        location = rows.to_location(row)
        yield Change(
            kind=ChangeKind.LOCATION_CHANGED,
            sequence_number=row._number,
            at=location.updated_at,
            id=location.name,
            location=location,
        )


def _deleted(tx: Tx, place: _Place, first: int) -> Iterator[Change]:
    statement = sa.select(deletions).where(deletions.c.tenant_id == tx.tenant, deletions.c.sequence_number > place.base)
    for row in _after(tx, statement, place, _DELETIONS, deletions.c.sequence_number, deletions.c.id, first):
        yield Change(
            kind=_DELETED[row.subject, row.erased],
            sequence_number=row.sequence_number,
            at=row.deleted_at,
            id=row.id,
            external_id=row.external_id,
            asset_id=row.asset_id,
        )


def _after(
    tx: Tx,
    statement: sa.Select[Any],
    place: _Place,
    table: int,
    number: sa.Column[int],
    id: sa.Column[str],
    first: int,
) -> Iterator[sa.Row[Any]]:
    """Yield the rows of one table after a position, one more than a page has."""
    if table == place.table:
        follows = sa.tuple_(number, id) > sa.tuple_(sa.literal(place.number), sa.literal(place.id))
    else:
        follows = number >= place.number if table > place.table else number > place.number
    # The first condition is redundant, but not every database uses the index for the pair alone.
    statement = statement.where(number >= place.number, follows).order_by(number, id).limit(first + 1)
    yield from tx.connection.execute(statement)


def _place_of(change: Change) -> tuple[int, int, str]:
    if change.pack is not None:
        return change.sequence_number, _PACKS, change.id
    return change.sequence_number, _LOCATIONS if change.location is not None else _DELETIONS, change.id


def _spell(epoch: str, number: int, table: int, id: str, base: int) -> str:
    text = json.dumps([epoch, number, table, id, base])
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def _read(cursor: str, epoch: str) -> _Place:
    try:
        values = json.loads(base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)))
        of, number, table, id, base = values
        if [type(value) for value in values] != [str, int, int, str, int] or "\0" in id:
            raise ValueError
        if not (-1 <= number < 2**63 and 0 <= base < 2**63 and _PACKS <= table <= _END and id.isascii()):
            raise ValueError
    except (binascii.Error, ValueError, TypeError, RecursionError):
        raise Invalid("That is no cursor of changes.", field=("after",), expected="an endCursor", got=cursor) from None
    if of != epoch:
        raise _resync(cursor)
    return _Place(number, table, id, base)


def _resync(cursor: str | None) -> Resync:
    return Resync(
        "What happened since that cursor is not known: the database was restored, or it is too long ago. Start over.",
        field=("after",),
        expected=START_OVER,
        got=cursor,
    )
