"""Orders: which packs are to be brought up to date, and who is at it.

One row a pack. Every order raises `wanted_seq`; finishing a pack raises
`rendered_seq` to what was wanted when the work was claimed. So ten edits are
one render of the latest state, and a message can come late, twice or never.
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
# The mutation rings by itself; the dispatcher rings for what is still undone after this.
FIRST_RING_AFTER = timedelta(seconds=3)
# A bell that was rung and not answered is rung again after this.
RING_AGAIN_AFTER = timedelta(seconds=30)
MAX_PAUSE = timedelta(seconds=60)

QUEUE = LeasedQueue(orders, LEASE_TIME, MAX_PAUSE)


class Priority(IntEnum):
    """Who waits for the result: an editor, or nobody."""

    INTERACTIVE = 1
    BULK = 2


@dataclass(frozen=True, slots=True)
class DueOrder:
    """A pack whose bell is to be rung."""

    tenant: str
    pack_id: str
    priority: Priority


@dataclass(frozen=True, slots=True)
class OrderClaim:
    """The right to work on one pack until the lease runs out.

    Attributes:
        seq: finishing brings the pack's `rendered_seq` to this number.
        check_store: the store is to be looked into, not only the ledger.
        outages: how often in a row the pack was put off since it was ordered.
        faults: how many unforeseen exceptions in a row ended the work on it.
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
    """Order that these packs be brought up to date, the first of them first; `seq` is the order's number.

    With `job_only` nobody but jobs wants it: it can be held and withdrawn with them.
    """
    if not pack_ids:
        return
    # An edit rings by itself; the dispatcher rings for what jobs want.
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
    # In one order, so that two who order the same wait for each other instead of deadlocking.
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
                # Bulk work never slows down an edit that is already waiting.
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
    """Take the leases of those packs of which something is to be done and nobody is at it.

    An edit takes over from bulk work: whoever was at that finds its lease gone.
    """
    conditions = (orders.c.tenant_id == tx.tenant, orders.c.pack_id.in_(pack_ids))
    waiting = (
        sa.select(orders.c.pack_id)
        .where(*conditions, orders.c.wanted_seq > orders.c.rendered_seq, ~orders.c.held, _is_free(tx))
        # A message that comes twice must not use up the few attempts of a pack after an exception.
        .where(sa.or_(~orders.c.paused, QUEUE.is_due(tx)))
        .order_by(orders.c.pack_id)
        # An edit's one message must not find its row locked for a moment, and be gone.
        .with_for_update(skip_locked=len(pack_ids) > 1)
    )
    # One statement for the whole batch, which also notes what each lease is for.
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
    """Prolong leases; return the packs whose lease was still held."""
    kept = sa.update(orders).where(*QUEUE.held(tx, held)).values(lease_until=tx.now + LEASE_TIME)
    return set(tx.connection.scalars(kept.returning(orders.c.pack_id)))


def finish(tx: Tx, held: Sequence[OrderClaim]) -> dict[str, bool]:
    """Say that packs are as they were wanted at their claim.

    Returns the packs whose lease was still held, and whether nothing newer is wanted of them.
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
    """Return the packs whose lease is still held: not run out, taken over by an edit, or stopped with its job."""
    found = sa.select(orders.c.pack_id).where(*QUEUE.held(tx, held))
    return set(tx.connection.scalars(found))


def yield_to_newer(tx: Tx, held: OrderClaim) -> bool:
    """Give a pack back for a newer order; False: there is none, and the pack is kept."""
    return QUEUE.release(tx, [held], orders.c.wanted_seq > orders.c.lease_seq, due_at=tx.now)


def release(tx: Tx, held: Sequence[OrderClaim]) -> None:
    """Give packs back that were not begun, to be worked on soon by whoever is free."""
    QUEUE.release(tx, held, due_at=tx.now)


def postpone(tx: Tx, held: OrderClaim, reason: str) -> None:
    """Give a pack back undone after an outage, to be tried again later.

    The pause doubles with every outage in a row, from two seconds to a minute.
    Nothing else counts it: a good picture is not to be blamed for an outage.
    """
    QUEUE.postpone(tx, held, reason)


def retry_after_fault(tx: Tx, held: OrderClaim, reason: str) -> bool:
    """Give a pack back after an unforeseen exception, to be tried again later; False: it was tried often enough.

    Then the caller still holds it, and ends it.
    """
    return QUEUE.retry_after_fault(tx, held, reason, paused=True)


def take_due(tx: Tx, priority: Priority, *, limit: int, overdue: timedelta = timedelta(0)) -> list[DueOrder]:
    """Return up to `limit` packs of every tenant whose bell is due, and put the next ring off.

    Args:
        overdue: only packs whose bell has been due for so long.
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
    """Make packs due again whose bell could not be rung, soon."""
    for due in unrung:
        tx.connection.execute(
            sa.update(orders)
            .where(orders.c.tenant_id == due.tenant, orders.c.pack_id == due.pack_id)
            .where(orders.c.lease_until.is_(None))
            .values(due_at=tx.now + FIRST_RING_AFTER)
        )


def count_pending(tx: Tx, priority: Priority) -> int:
    """Return how many packs of all tenants wait or are being worked on."""
    pending = (orders.c.wanted_seq > orders.c.rendered_seq, orders.c.priority == priority.value, ~orders.c.held)
    return tx.connection.scalar(sa.select(sa.func.count()).select_from(orders).where(*pending)) or 0


def is_any_edit_pending(tx: Tx) -> bool:
    """Whether the tenant has an edit that is not rendered yet."""
    conditions = (orders.c.tenant_id == tx.tenant, orders.c.wanted_seq > orders.c.rendered_seq, ~orders.c.job_only)
    return tx.connection.execute(sa.select(orders.c.pack_id).where(*conditions).limit(1)).first() is not None


def prioritize_edits(tx: Tx) -> None:
    """Make interactive work of every edit of the tenant that is not rendered yet."""
    conditions = (orders.c.tenant_id == tx.tenant, orders.c.wanted_seq > orders.c.rendered_seq, ~orders.c.job_only)
    tx.connection.execute(
        sa.update(orders)
        .where(*conditions, orders.c.priority != Priority.INTERACTIVE.value)
        .values(priority=Priority.INTERACTIVE.value, due_at=tx.now)
    )


def count_leased(tx: Tx, priority: Priority) -> int:
    """Return how many packs of all tenants are leased, or rung for and not yet taken."""
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
    """Free every lease; only for the one process that may hold any, when it starts."""
    tx.connection.execute(
        sa.update(orders)
        .where(orders.c.wanted_seq > orders.c.rendered_seq)
        .values(**QUEUE.no_lease, due_at=tx.now, paused=False)
    )
