"""How long work waits after a failed attempt, and when a lease is over."""

from datetime import timedelta
from typing import Any

import sqlalchemy as sa

from packshot.catalog.database.transaction import Tx

# An item fails after this many consecutive unforeseen exceptions. Outages do not count.
MAX_FAULTS = 3
MAX_REASON_CHARACTERS = 500


def is_free(tx: Tx, lease_until: sa.Column[Any], lease: timedelta) -> sa.ColumnElement[bool]:
    """Return whether a lease is over. After the clock moved back, an end more than `lease` ahead counts as over."""
    return sa.or_(lease_until.is_(None), lease_until <= tx.now, lease_until > tx.now + lease)


def pause_after(failures: int, max_pause: timedelta) -> timedelta:
    """Return the pause after so many consecutive failures: 2 seconds, doubled each time, at most `max_pause`."""
    return min(timedelta(seconds=2 ** min(max(failures, 1), 10)), max_pause)


def shorten(reason: str) -> str:
    """Return the reason of a failed attempt in one line that fits its column."""
    # PostgreSQL texts cannot hold NUL.
    text = " ".join(reason.replace("\0", "").encode(errors="replace").decode().split())
    return text if len(text) <= MAX_REASON_CHARACTERS else f"{text[: MAX_REASON_CHARACTERS - 1]}…"
