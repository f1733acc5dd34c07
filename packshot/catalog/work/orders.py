"""Orders: packs whose variants must be brought up to date.

A pack has one row. Each order raises `wanted_seq`. Finishing the pack raises `rendered_seq` to the `wanted_seq` of the
claim. So ten edits lead to one render of the latest state, and a doorbell may arrive late, twice or never.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from enum import IntEnum
from operator import itemgetter

import sqlalchemy as sa

from packshot.catalog.database.leased_queue import LeasedQueue, new_token
from packshot.catalog.database.transaction import Tx
from packshot.catalog.tables.work import orders

LEASE_TIME = timedelta(seconds=60)
# A mutation rings by itself. The dispatcher rings for orders that are still open after this time.
FIRST_RING_AFTER = timedelta(seconds=3)
# The time after which an unanswered doorbell is rung again.
RING_AGAIN_AFTER = timedelta(seconds=30)
MAX_PAUSE = timedelta(seconds=60)

QUEUE = LeasedQueue(orders, LEASE_TIME, MAX_PAUSE)


class Priority(IntEnum):
    """The urgency of an order: whether an editor waits for the result."""

    INTERACTIVE = 1
    BULK = 2


@dataclass(frozen=True, slots=True)
class DueOrder:
    """A pack whose doorbell is due."""

    tenant: str
    pack_id: str
    priority: Priority


@dataclass(frozen=True, slots=True)
class OrderClaim:
    """The right to work on one pack until the lease runs out.

    Attributes:
        seq: the `rendered_seq` of the pack when it is finished.
        check_store: check that variants are stored, beyond what the ledger says.
        outages: consecutive outages since the pack was ordered.
        faults: consecutive unforeseen exceptions.
    """

    pack_id: str
    token: str
    seq: int
    priority: Priority
    check_store: bool
    outages: int
    faults: int

    @property
    def key(self) -> tuple[str]:
        return (self.pack_id,)


def place_orders(
    tx: Tx, pack_ids: Sequence[str], seq: int, priority: Priority, *, check_store: bool, job_only: bool = False
) -> None:
    """Order these packs, due in this sequence.

    Args:
        seq: the tenant's sequence number of the order.
        job_only: only jobs need the orders, so they can be held and withdrawn with the jobs.
    """
    if not pack_ids:
        return
    # An edit rings by itself; the dispatcher rings for jobs.
    due_at = tx.now + (FIRST_RING_AFTER if priority is Priority.INTERACTIVE and not job_only else timedelta(0))
    common = {
        "tenant_id": tx.tenant,
        "wanted_seq": seq,
        "rendered_seq": 0,
        "priority": priority.value,
        "check_store": check_store,
        "job_only": job_only,
        "outages": 0,
    }
    rows = [
        common | {"pack_id": pack_id, "due_at": due_at + timedelta(microseconds=place)}
        for place, pack_id in enumerate(pack_ids)
    ]
    # Sorted, so that two transactions with the same packs wait for each other instead of deadlocking.
    rows.sort(key=itemgetter("pack_id"))
    statement = tx.insert(orders)
    fresh = statement.excluded
    idle = orders.c.wanted_seq <= orders.c.rendered_seq
    tx.connection.execute(
        statement.on_conflict_do_update(
            index_elements=["tenant_id", "pack_id"],
            set_={
                "wanted_seq": sa.case(
                    (fresh.wanted_seq > orders.c.wanted_seq, fresh.wanted_seq), else_=orders.c.wanted_seq
                ),
                # Bulk work does not delay a pending edit.
                "priority": sa.case(
                    (sa.or_(idle, fresh.priority < orders.c.priority), fresh.priority), else_=orders.c.priority
                ),
                "check_store": sa.or_(fresh.check_store, sa.and_(~idle, orders.c.check_store)),
                "job_only": sa.and_(fresh.job_only, sa.or_(idle, orders.c.job_only)),
                "held": sa.false(),
                "due_at": sa.case((sa.or_(idle, fresh.due_at < orders.c.due_at), fresh.due_at), else_=orders.c.due_at),
                "outages": 0,
                "faults": 0,
                "reason": None,
                "paused": sa.false(),
            },
        ),
        rows,
    )


def claim(tx: Tx, pack_ids: Sequence[str]) -> list[OrderClaim]:
    """Claim those of these packs that have an open order and are free.

    An edit takes over the lease of bulk work.
    """
    conditions = (orders.c.tenant_id == tx.tenant, orders.c.pack_id.in_(pack_ids))
    waiting = (
        sa.select(orders.c.pack_id)
        .where(*conditions, orders.c.wanted_seq > orders.c.rendered_seq, ~orders.c.held, _is_free(tx))
        # A repeated doorbell must not use up the few attempts after an exception.
        .where(sa.or_(~orders.c.paused, QUEUE.is_due(tx)))
        .order_by(orders.c.pack_id)
        # The only doorbell of an edit must not be lost because its row is locked for a moment.
        .with_for_update(skip_locked=len(pack_ids) > 1)
    )
    # One statement claims the whole batch, and records what each lease is for.
    token = new_token()
    taken = tx.connection.execute(
        sa.update(orders)
        .where(orders.c.tenant_id == tx.tenant, orders.c.pack_id.in_(waiting))
        .values(
            lease_token=token,
            lease_until=tx.now + LEASE_TIME,
            lease_seq=orders.c.wanted_seq,
            lease_bulk=orders.c.priority == Priority.BULK.value,
        )
        .returning(orders)
    )
    return [
        OrderClaim(row.pack_id, token, row.wanted_seq, Priority(row.priority), row.check_store, row.outages, row.faults)
        for row in taken.all()
    ]


def _is_free(tx: Tx) -> sa.ColumnElement[bool]:
    is_edited = sa.and_(orders.c.lease_bulk, orders.c.priority == Priority.INTERACTIVE.value)
    return sa.or_(QUEUE.is_free(tx), is_edited)


def renew(tx: Tx, held: Sequence[OrderClaim]) -> set[str]:
    """Extend leases; return the packs whose lease was still held."""
    kept = sa.update(orders).where(*QUEUE.held(tx, held)).values(lease_until=tx.now + LEASE_TIME)
    return set(tx.connection.scalars(kept.returning(orders.c.pack_id)))


def finish(tx: Tx, held: Sequence[OrderClaim]) -> dict[str, bool]:
    """Mark packs as up to date with their claims.

    Returns:
        whether no newer order is open, by pack, for the packs whose lease was still held.
    """
    done = (
        sa.update(orders)
        .where(*QUEUE.held(tx, held))
        .values(
            rendered_seq=orders.c.lease_seq,
            check_store=sa.and_(orders.c.check_store, orders.c.wanted_seq > orders.c.lease_seq),
            due_at=tx.now,
            **QUEUE.no_lease,
            outages=0,
            faults=0,
            reason=None,
            paused=False,
        )
        .returning(orders.c.pack_id, orders.c.wanted_seq, orders.c.rendered_seq)
    )
    return {row.pack_id: row.wanted_seq <= row.rendered_seq for row in tx.connection.execute(done)}


def read_held_leases(tx: Tx, held: Sequence[OrderClaim]) -> set[str]:
    """Return the packs whose lease is still held: it was not taken over, and not withdrawn with its job."""
    found = sa.select(orders.c.pack_id).where(*QUEUE.held(tx, held))
    return set(tx.connection.scalars(found))


def yield_to_newer(tx: Tx, held: OrderClaim) -> bool:
    """Release a pack that has a newer order. Returns False, and keeps the pack, if there is none."""
    return QUEUE.release(tx, [held], orders.c.wanted_seq > orders.c.lease_seq, due_at=tx.now)


def release(tx: Tx, held: Sequence[OrderClaim]) -> None:
    """Release packs whose work has not begun, due at once."""
    QUEUE.release(tx, held, due_at=tx.now)


def postpone(tx: Tx, held: OrderClaim, reason: str) -> None:
    """Release a pack after an outage, to retry it later.

    The pause doubles with each consecutive outage, from 2 seconds to a minute. Outages never fail a pack.
    """
    QUEUE.postpone(tx, held, reason)


def retry_after_fault(tx: Tx, held: OrderClaim, reason: str) -> bool:
    """Release a pack after an unforeseen exception, to retry it later.

    Returns False after too many in a row. The caller then still holds the pack, and must end it.
    """
    return QUEUE.retry_after_fault(tx, held, reason, paused=True)


def take_due(tx: Tx, priority: Priority, *, limit: int, overdue: timedelta = timedelta(0)) -> list[DueOrder]:
    """Return up to `limit` packs of all tenants whose doorbell is due, and postpone their next ring.

    Args:
        overdue: only packs whose doorbell has been due for this time.
    """
    due = (
        sa.select(orders.c.tenant_id, orders.c.pack_id)
        .where(orders.c.wanted_seq > orders.c.rendered_seq)
        .where(orders.c.priority == priority.value, ~orders.c.held, _is_free(tx))
        .where(QUEUE.is_due(tx, overdue=overdue))
        .order_by(orders.c.due_at, orders.c.wanted_seq.desc())
        .limit(limit)
        .with_for_update(skip_locked=True)
    )
    found = tx.connection.execute(due).all()
    of_tenant: dict[str, list[str]] = {}
    for row in found:
        of_tenant.setdefault(row.tenant_id, []).append(row.pack_id)
    for tenant, pack_ids in of_tenant.items():
        tx.connection.execute(
            sa.update(orders)
            .where(orders.c.tenant_id == tenant, orders.c.pack_id.in_(pack_ids))
            .values(due_at=tx.now + RING_AGAIN_AFTER, paused=False)
        )
    return [DueOrder(row.tenant_id, row.pack_id, priority) for row in found]


def requeue(tx: Tx, unrung: Sequence[DueOrder]) -> None:
    """Make packs due again soon, because their doorbells could not be rung."""
    for due in unrung:
        tx.connection.execute(
            sa.update(orders)
            .where(orders.c.tenant_id == due.tenant, orders.c.pack_id == due.pack_id)
            .where(orders.c.lease_until.is_(None))
            .values(due_at=tx.now + FIRST_RING_AFTER)
        )


def count_pending(tx: Tx, priority: Priority) -> int:
    """Return the number of open orders of all tenants."""
    pending = (orders.c.wanted_seq > orders.c.rendered_seq, orders.c.priority == priority.value, ~orders.c.held)
    return tx.connection.scalar(sa.select(sa.func.count()).select_from(orders).where(*pending)) or 0


def is_any_edit_pending(tx: Tx) -> bool:
    """Return whether the tenant has an edit that is not rendered yet."""
    conditions = (orders.c.tenant_id == tx.tenant, orders.c.wanted_seq > orders.c.rendered_seq, ~orders.c.job_only)
    return tx.connection.execute(sa.select(orders.c.pack_id).where(*conditions).limit(1)).first() is not None


def prioritize_edits(tx: Tx) -> None:
    """Give interactive priority to every edit of the tenant that is not rendered yet."""
    conditions = (orders.c.tenant_id == tx.tenant, orders.c.wanted_seq > orders.c.rendered_seq, ~orders.c.job_only)
    tx.connection.execute(
        sa.update(orders)
        .where(*conditions, orders.c.priority != Priority.INTERACTIVE.value)
        .values(priority=Priority.INTERACTIVE.value, due_at=tx.now)
    )


def count_leased(tx: Tx, priority: Priority) -> int:
    """Return the number of packs of all tenants that are leased, or were rung for and are not claimed yet."""
    is_rung = sa.and_(~QUEUE.is_due(tx), orders.c.outages == 0, orders.c.faults == 0)
    return (
        tx.connection.scalar(
            sa.select(sa.func.count())
            .select_from(orders)
            .where(orders.c.wanted_seq > orders.c.rendered_seq, orders.c.priority == priority.value, ~orders.c.held)
            .where(sa.or_(QUEUE.is_leased(tx), is_rung))
        )
        or 0
    )


def free_leases(tx: Tx) -> None:
    """End every lease. Call it only at the start of the one process that may hold any."""
    tx.connection.execute(
        sa.update(orders)
        .where(orders.c.wanted_seq > orders.c.rendered_seq)
        .values(**QUEUE.no_lease, due_at=tx.now, paused=False)
    )
