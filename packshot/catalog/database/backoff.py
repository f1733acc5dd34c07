"""When a row of a leased queue is due, and how long it waits after an attempt that failed: one rule for all queues.

A queue's clock is that of `Tx.now`. It may move back, so no moment is trusted that lies further ahead than the queue
ever plans: such a row is due, and such a lease is over.
"""

from datetime import timedelta

import sqlalchemy as sa

from packshot.catalog.database.transaction import Tx

# Unforeseen exceptions in a row after which an item fails. Outages are not among them, and count nothing.
MAX_FAULTS = 3
MAX_REASON_CHARACTERS = 500


def is_due(
    tx: Tx, due_at: sa.Column[sa.DateTime], max_pause: timedelta, *, overdue: timedelta = timedelta()
) -> sa.ColumnElement[bool]:
    """Return whether a row's moment has come.

    Args:
        max_pause: how far ahead the queue plans at most.
        overdue: how long ago it must have come.
    """
    return sa.or_(due_at <= tx.now - overdue, due_at > tx.now + max_pause)


def is_leased(tx: Tx, lease_until: sa.Column[sa.DateTime], lease: timedelta) -> sa.ColumnElement[bool]:
    """Return whether somebody works on a row; a lease is for `lease` at most."""
    return sa.and_(lease_until > tx.now, lease_until <= tx.now + lease)


def is_free(tx: Tx, lease_until: sa.Column[sa.DateTime], lease: timedelta) -> sa.ColumnElement[bool]:
    """Return whether nobody works on a row."""
    return sa.or_(lease_until.is_(None), lease_until <= tx.now, lease_until > tx.now + lease)


def pause_after(failures: int, max_pause: timedelta) -> timedelta:
    """Return the pause after so many failures in a row: two seconds, doubled each time, up to `max_pause`."""
    return min(timedelta(seconds=2 ** min(max(failures, 1), 10)), max_pause)


def shorten(reason: str) -> str:
    """Return why an attempt failed, in one line that fits its column."""
    # PostgreSQL's text has no NUL.
    text = " ".join(reason.replace("\0", "").encode(errors="replace").decode().split())
    return text if len(text) <= MAX_REASON_CHARACTERS else f"{text[: MAX_REASON_CHARACTERS - 1]}…"
