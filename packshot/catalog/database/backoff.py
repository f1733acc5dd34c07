"""How long work waits after a failed attempt, and when a lease is over."""

from datetime import timedelta
from typing import Any

import sqlalchemy as sa

from packshot.catalog.database.transaction import Tx

# Unforeseen exceptions in a row after which an item fails. Outages are not among them, and count nothing.
MAX_FAULTS = 3
MAX_REASON_CHARACTERS = 500


def is_free(tx: Tx, lease_until: sa.Column[Any], lease: timedelta) -> sa.ColumnElement[bool]:
    """Return whether a lease is over. One that ends more than `lease` ahead is over too: the clock has moved back."""
    return sa.or_(lease_until.is_(None), lease_until <= tx.now, lease_until > tx.now + lease)


def pause_after(failures: int, max_pause: timedelta) -> timedelta:
    """Return the pause after so many failures in a row: two seconds, doubled each time, up to `max_pause`."""
    return min(timedelta(seconds=2 ** min(max(failures, 1), 10)), max_pause)


def shorten(reason: str) -> str:
    """Return why an attempt failed, in one line that fits its column."""
    # PostgreSQL's text has no NUL.
    text = " ".join(reason.replace("\0", "").encode(errors="replace").decode().split())
    return text if len(text) <= MAX_REASON_CHARACTERS else f"{text[: MAX_REASON_CHARACTERS - 1]}…"
