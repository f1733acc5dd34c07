"""Find out whether a worker runs, from the leases that workers renew and from the work that is due."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa

from packshot.catalog.database.transaction import Tx
from packshot.catalog.tables.work import erasures, jobs, leases, orders, purges, url_imports
from packshot.catalog.work.orders import LEASE_TIME, Priority

# One worker of all holds this lease, and renews it every second.
DISPATCHER = "dispatcher"
# Workers renew their leases every few seconds. A lease that was not renewed for this time belongs to no live worker.
SILENCE = timedelta(seconds=20)


@dataclass(frozen=True, slots=True)
class WorkerState:
    """The state of all work of an installation at one time.

    Attributes:
        now: by the database's clock.
        dispatching_until: end of the dispatcher's lease; None: no process holds it.
        leased_until: the latest end of a lease on an order; None: no lease.
        due_since: since when the first unclaimed work is due; None: no work is due.
        due_kind: what that work is, to display, such as "an order"; None: no work is due.
    """

    now: datetime
    dispatching_until: datetime | None
    leased_until: datetime | None
    due_since: datetime | None
    due_kind: str | None

    @property
    def has_worker(self) -> bool:
        """Whether a worker has recently renewed a lease."""
        # No lease lasts longer. A later end was written before the clock moved back.
        latest = self.now + LEASE_TIME
        earliest = self.now - SILENCE / 4
        is_dispatching = self.dispatching_until is not None and earliest < self.dispatching_until <= latest
        is_refreshing = self.leased_until is not None and latest - SILENCE < self.leased_until <= latest
        return is_dispatching or is_refreshing

    @property
    def due_seconds(self) -> float | None:
        """Seconds for which the first work has been due; None: no work is due."""
        return None if self.due_since is None else max(0.0, (self.now - self.due_since).total_seconds())


def read_worker_state(tx: Tx) -> WorkerState:
    """Return the state of the work of all tenants."""
    pending = orders.c.wanted_seq > orders.c.rendered_seq
    due = list(_due(tx.clock, pending))
    row = tx.connection.execute(
        sa.select(
            tx.clock.label("now"),
            sa.select(sa.func.max(leases.c.until)).where(leases.c.name == DISPATCHER).scalar_subquery().label("until"),
            sa.select(sa.func.max(orders.c.lease_until)).where(pending).scalar_subquery().label("leased"),
            *(first for _, first in due),
        )
    ).one()
    now, until, leased, *moments = row
    waiting = [(since, kind) for (kind, _), since in zip(due, moments, strict=True) if since is not None]
    first, kind = min(waiting, default=(None, None))
    return WorkerState(now, until, leased, first, kind)


def _due(now: sa.ColumnElement[Any], pending: sa.ColumnElement[bool]) -> Iterator[tuple[str, sa.ScalarSelect[Any]]]:
    """Yield each kind of work, and since when its first row is due. Each query reads one end of an index.

    Open jobs with packs to enqueue are read in full, because there are few.
    """
    due, is_free = orders.c.due_at <= now, _is_free(orders, now)
    order = sa.select(sa.func.min(orders.c.due_at)).where(pending, ~orders.c.held, due, is_free)
    yield "an order", order.scalar_subquery()
    since = sa.func.coalesce(jobs.c.enqueued_at, jobs.c.created_at)
    is_open = (jobs.c.finished_at.is_(None), jobs.c.cursor.is_not(None), jobs.c.state.in_(("queued", "running")))
    yield "a job", sa.select(sa.func.min(since)).where(*is_open).scalar_subquery()
    # The index begins with the priority.
    for priority in Priority:
        yield "a fetch", _first(url_imports, now, url_imports.c.priority == priority.value)
    yield "a purge", _first(purges, now, purges.c.finished_at.is_(None))
    yield "an erasure", _first(erasures, now)


def _first(table: sa.Table, now: sa.ColumnElement[Any], *which: sa.ColumnElement[bool]) -> sa.ScalarSelect[Any]:
    """Return since when the first row of a queue is due."""
    first = sa.select(table.c.due_at).where(table.c.due_at <= now, _is_free(table, now), *which)
    return first.order_by(table.c.due_at).limit(1).scalar_subquery()


def _is_free(table: sa.Table, now: sa.ColumnElement[Any]) -> sa.ColumnElement[bool]:
    return sa.or_(table.c.lease_until.is_(None), table.c.lease_until < now)


def check_write(tx: Tx, token: str) -> None:
    """Write one row, always the same, to check whether the database accepts writes."""
    row = {"holder": token, "until": tx.now}
    statement = tx.insert(leases).values(name="write check", **row)
    tx.connection.execute(statement.on_conflict_do_update(index_elements=["name"], set_=row))
