"""List the work of a job that waits for a retry, from all queues."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa

from packshot.catalog.database.transaction import Tx
from packshot.catalog.purging import purge_batches
from packshot.catalog.tables import work
from packshot.catalog.work import erasures, orders, url_imports


@dataclass(frozen=True, slots=True)
class Retry:
    """Work of a job whose last attempt failed.

    Attributes:
        pack_id: None: not of one pack.
        location: None: not of one location.
        reason: why the last attempt failed.
        attempts: consecutive failures and unforeseen exceptions of the item.
        outages: consecutive outages; they are not counted as attempts.
        next_attempt_at: None: the work is under way, or follows within seconds.
    """

    pack_id: str | None
    location: str | None
    reason: str
    attempts: int
    outages: int
    next_attempt_at: datetime | None


def list_retries(tx: Tx, job_id: str, *, first: int) -> list[Retry]:
    """Return up to `first` retries of a job, the next one first."""
    found = [
        *_own(tx, job_id),
        *_orders(tx, job_id, first),
        *_url_imports(tx, job_id, first),
        *_erasures(tx, job_id, first),
        *_purges(tx, job_id, first),
    ]
    return sorted(found, key=lambda retry: retry.next_attempt_at or tx.now)[:first]


def _own(tx: Tx, job_id: str) -> list[Retry]:
    table = work.jobs
    statement = sa.select(table).where(*_open(tx, table, table.c.id == job_id))
    return [Retry(None, None, row.reason, row.faults, 0, None) for row in tx.connection.execute(statement)]


def _orders(tx: Tx, job_id: str, first: int) -> list[Retry]:
    table, item = work.orders, work.job_items
    wants = (
        sa.select(item.c.pack_id)
        .where(item.c.tenant_id == tx.tenant, item.c.job_id == job_id, item.c.finished_at.is_(None))
        .where(item.c.pack_id == table.c.pack_id)
        .exists()
    )
    waits = (table.c.wanted_seq > table.c.rendered_seq, ~table.c.held, wants)
    rows = _waiting(tx, table, first, *waits)
    # The doorbell of an order that is not paused was rung, so a worker claims it soon.
    return [
        _retry(
            tx,
            row,
            orders.MAX_PAUSE,
            pack_id=row.pack_id,
            attempts=row.faults,
            is_rung=row.faults > 0 and not row.paused,
        )
        for row in rows
    ]


def _url_imports(tx: Tx, job_id: str, first: int) -> list[Retry]:
    rows = _waiting(tx, work.url_imports, first, work.url_imports.c.job_id == job_id)
    return [
        _retry(
            tx,
            row,
            url_imports.MAX_PAUSE,
            pack_id=row.pack_id,
            location=row.location,
            attempts=row.attempts + row.faults,
        )
        for row in rows
    ]


def _erasures(tx: Tx, job_id: str, first: int) -> list[Retry]:
    rows = _waiting(tx, work.erasures, first, work.erasures.c.job_id == job_id)
    return [_retry(tx, row, erasures.MAX_PAUSE, pack_id=row.pack_id, attempts=row.faults) for row in rows]


def _purges(tx: Tx, job_id: str, first: int) -> list[Retry]:
    table = work.purges
    reason = table.c.error.label("reason")
    statement = sa.select(table, reason).where(*_open(tx, table, table.c.job_id == job_id, reason=table.c.error))
    rows = tx.connection.execute(statement.order_by(table.c.due_at).limit(first))
    return [_retry(tx, row, purge_batches.MAX_PAUSE, attempts=row.faults) for row in rows]


def _waiting(tx: Tx, table: sa.Table, first: int, *which: sa.ColumnElement[bool]) -> Sequence[Any]:
    conditions = (table.c.tenant_id == tx.tenant, table.c.reason.is_not(None), *which)
    return tx.connection.execute(sa.select(table).where(*conditions).order_by(table.c.due_at).limit(first)).all()


def _open(
    tx: Tx, table: sa.Table, *which: sa.ColumnElement[bool], reason: sa.ColumnElement[str] | None = None
) -> tuple[sa.ColumnElement[bool], ...]:
    why = table.c.reason if reason is None else reason
    return table.c.tenant_id == tx.tenant, table.c.finished_at.is_(None), why.is_not(None), *which


def _retry(
    tx: Tx,
    row: Any,
    max_pause: timedelta,
    *,
    attempts: int,
    is_rung: bool = False,
    pack_id: str | None = None,
    location: str | None = None,
) -> Retry:
    is_at_work = row.lease_until is not None and row.lease_until > tx.now
    # If the clock moved back, a time further ahead counts as due.
    waits = tx.now < row.due_at <= tx.now + max_pause and not is_at_work and not is_rung
    return Retry(pack_id, location, row.reason, attempts, row.outages, row.due_at if waits else None)
