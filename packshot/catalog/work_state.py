"""Whether anybody works: from the leases that workers renew, and from the orders that are due."""

from dataclasses import dataclass
from datetime import datetime, timedelta

import sqlalchemy as sa

from packshot.catalog.orders import LEASE
from packshot.catalog.tables.work import leases, orders
from packshot.catalog.transaction import Tx

# Of all workers one holds it, and renews it every second.
DISPATCHER = "dispatcher"
# Workers renew what they hold every few seconds; a lease that was not renewed for so long belongs to none.
SILENCE = timedelta(seconds=20)


@dataclass(frozen=True, slots=True)
class WorkState:
    """The state of all work of an installation at one moment.

    Attributes:
        now: by the clock of the database.
        dispatching_until: when the lease that every live worker would take runs out; None: nobody has it.
        leased_until: the latest end of a lease on a pack; None: none is held.
        due_since: since when the first order waits that anybody may take; None: none waits.
    """

    now: datetime
    dispatching_until: datetime | None
    leased_until: datetime | None
    due_since: datetime | None

    @property
    def has_worker(self) -> bool:
        """Whether a worker has renewed any lease lately."""
        # No lease lasts longer: an end further ahead is one from before the clock moved back.
        latest = self.now + LEASE
        earliest = self.now - SILENCE / 4
        is_dispatching = self.dispatching_until is not None and earliest < self.dispatching_until <= latest
        is_refreshing = self.leased_until is not None and latest - SILENCE < self.leased_until <= latest
        return is_dispatching or is_refreshing

    @property
    def due_seconds(self) -> float | None:
        """Return how long the first order has been due; None: none is."""
        return None if self.due_since is None else max(0.0, (self.now - self.due_since).total_seconds())


def read_work_state(tx: Tx) -> WorkState:
    """Return the state of the work of all tenants."""
    now = tx.clock
    pending = orders.c.wanted_seq > orders.c.rendered_seq
    is_free = sa.or_(orders.c.lease_until.is_(None), orders.c.lease_until < now)
    row = tx.connection.execute(
        sa.select(
            now.label("now"),
            sa.select(sa.func.max(leases.c.until)).where(leases.c.name == DISPATCHER).scalar_subquery().label("until"),
            sa.select(sa.func.max(orders.c.lease_until)).where(pending).scalar_subquery().label("leased"),
            sa.select(sa.func.min(orders.c.due_at))
            .where(pending, ~orders.c.held, orders.c.due_at <= now, is_free)
            .scalar_subquery()
            .label("due"),
        )
    ).one()
    return WorkState(row.now, row.until, row.leased, row.due)


def check_write(tx: Tx, token: str) -> None:
    """Write one row that nobody reads, to try out whether the database takes writes; it is always the same row."""
    row = {"holder": token, "until": tx.now}
    statement = tx.insert(leases).values(name="write check", **row)
    tx.connection.execute(statement.on_conflict_do_update(index_elements=["name"], set_=row))
