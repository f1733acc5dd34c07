"""Epochs: the history of the database to which sequence numbers belong.

A database that is restored from a backup continues an older history: it draws numbers again that clients have seen.
So each restore begins a new epoch, and cursors of other epochs are refused.
"""

import secrets
from collections.abc import Mapping
from dataclasses import dataclass

import sqlalchemy as sa

from packshot.catalog.database.transaction import Tx
from packshot.catalog.tables.artwork import epochs, sequences

# Far more than the numbers that can have been drawn after the last mark.
MARGIN = 1_000_000


@dataclass(frozen=True, slots=True)
class Positions:
    """The position of each tenant's sequence in the current epoch.

    Attributes:
        past: earlier epochs.
        numbers: the last drawn number, by tenant.
        marked: the highest number that may be marked outside the database, by tenant.
    """

    epoch: str
    past: frozenset[str]
    numbers: Mapping[str, int]
    marked_up_to: Mapping[str, int]


def get_epoch(tx: Tx) -> str:
    """Return the id of the current epoch."""
    epoch: str = tx.connection.scalar(  # type: ignore[assignment]
        sa.select(epochs.c.epoch).order_by(epochs.c.number.desc()).limit(1)
    )
    return epoch


def get_positions(tx: Tx) -> Positions:
    """Return the position of every tenant's sequence."""
    *past, epoch = tx.connection.scalars(sa.select(epochs.c.epoch).order_by(epochs.c.number)).all()
    found = tx.connection.execute(sa.select(sequences)).all()
    numbers, marked_up_to = (
        {row.tenant_id: row.value for row in found},
        {row.tenant_id: row.marked_up_to for row in found},
    )
    return Positions(epoch, frozenset(past), numbers, marked_up_to)


def begin_epoch(tx: Tx, reason: str) -> str:
    """Begin a new epoch and return its id."""
    epoch = secrets.token_hex(8)
    number = sa.select(sa.func.max(epochs.c.number) + 1).scalar_subquery()
    tx.connection.execute(sa.insert(epochs).values(number=number, epoch=epoch, reason=reason, began_at=tx.now))
    return epoch


def raise_sequence(tx: Tx, tenant: str, mark: int) -> None:
    """Raise the sequence of a tenant that is behind its mark far above all drawn numbers."""
    drawn = sa.case((sequences.c.value < mark, mark), else_=sequences.c.value)
    conditions = (sequences.c.tenant_id == tenant, sequences.c.marked_up_to < mark)
    tx.connection.execute(sa.update(sequences).where(*conditions).values(value=drawn + MARGIN, marked_up_to=mark))


def note_marks(tx: Tx) -> None:
    """Note that the current position of every tenant is about to be marked."""
    tx.connection.execute(
        sa.update(sequences).where(sequences.c.marked_up_to < sequences.c.value).values(marked_up_to=sequences.c.value)
    )


def lock_epochs(tx: Tx) -> None:
    """Let only one process at a time begin an epoch, until the transaction ends."""
    tx.connection.execute(sa.select(epochs.c.number).where(epochs.c.number == 1).with_for_update())
