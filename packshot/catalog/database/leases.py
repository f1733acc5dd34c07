"""Leases for tasks that only one process does at a time, until it stops renewing."""

from datetime import timedelta

import sqlalchemy as sa

from packshot.catalog.database import backoff
from packshot.catalog.database.transaction import Tx
from packshot.catalog.tables.work import leases


def take_lease(tx: Tx, name: str, holder: str, duration: timedelta) -> bool:
    """Take or renew a lease. Returns False while another holder has it.

    The lease's row stays locked until the transaction ends. So only the holder writes what this transaction writes.
    """
    statement = tx.insert(leases).values(name=name, holder=holder, until=tx.now + duration)
    taken = tx.connection.execute(
        statement.on_conflict_do_update(
            index_elements=["name"],
            set_={"holder": holder, "until": tx.now + duration},
            where=sa.or_(leases.c.holder == holder, backoff.is_free(tx, leases.c.until, duration)),
        ).returning(leases.c.name)
    )
    return taken.first() is not None


def release_lease(tx: Tx, name: str, holder: str) -> None:
    """Release a lease, so that the next holder does not wait until it runs out."""
    tx.connection.execute(sa.delete(leases).where(leases.c.name == name, leases.c.holder == holder))


def release_all(tx: Tx) -> None:
    """Delete every lease. Call it only at the start of the one process that may hold any."""
    tx.connection.execute(sa.delete(leases))
