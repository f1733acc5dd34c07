"""Leases: work that one process of many does at a time, until it stops renewing."""

from datetime import timedelta

import sqlalchemy as sa

from packshot.catalog.database import backoff
from packshot.catalog.database.transaction import Tx
from packshot.catalog.tables.work import leases


def take_lease(tx: Tx, name: str, holder: str, duration: timedelta) -> bool:
    """Take or renew a lease; False: another holder has it, and it has not run out.

    The lease's row stays locked to the end of the transaction, so whatever else
    is written in it is written by the one holder.
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
    """Give a lease up, so that the next holder need not wait for it to run out."""
    tx.connection.execute(sa.delete(leases).where(leases.c.name == name, leases.c.holder == holder))


def release_all(tx: Tx) -> None:
    """Forget every lease; only for the one process that may hold any, when it starts."""
    tx.connection.execute(sa.delete(leases))
