"""The mechanism of every queue: which rows are due, who may work on them, and how they are released.

Orders, URL imports, erasures, purges and webhook deliveries are queues. A claim takes the lease of a row. When a
process dies, its leases run out, and another process claims the rows. Only the claim that holds the lease may change a
row.

The clock, `Tx.now`, may move back. So a row is also due if its due time lies further ahead than its queue ever plans.
A lease is also over if it ends further ahead than its queue ever leases a row.
"""

import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Protocol

import sqlalchemy as sa

from packshot.catalog.database import backoff
from packshot.catalog.database.backoff import MAX_FAULTS
from packshot.catalog.database.transaction import Tx


class Claim(Protocol):
    """The right to work on one row until its lease runs out."""

    @property
    def key(self) -> tuple[str, ...]:
        """The row's primary key without the tenant."""

    @property
    def token(self) -> str | int:
        """The value of the queue's `claim_column` that differs from claim to claim."""


class CountingClaim(Claim, Protocol):
    """A claim of a row that counts consecutive outages and unforeseen exceptions."""

    @property
    def outages(self) -> int: ...

    @property
    def faults(self) -> int: ...


def new_token() -> str:
    """Return the token of a new claim."""
    return secrets.token_hex(16)


@dataclass(frozen=True, slots=True)
class LeasedQueue:
    """A table whose rows are claimed, worked on and released.

    Attributes:
        table: has the columns `due_at` and `lease_until`.
        lease_time: how long a lease lasts.
        max_pause: how far ahead `due_at` lies at most.
        claim_column: tells the claim that holds the lease from earlier ones, by its token.
    """

    table: sa.Table
    lease_time: timedelta
    max_pause: timedelta
    claim_column: str = "lease_token"

    def is_due(
        self, tx: Tx, *, max_pause: timedelta | None = None, overdue: timedelta = timedelta()
    ) -> sa.ColumnElement[bool]:
        """Return whether a row is due.

        Args:
            max_pause: replaces the queue's own.
            overdue: how long the row must have been due.
        """
        due_at = self.table.c.due_at
        return sa.or_(due_at <= tx.now - overdue, due_at > tx.now + (max_pause or self.max_pause))

    def is_leased(self, tx: Tx) -> sa.ColumnElement[bool]:
        """Return whether a claim holds a row."""
        lease_until = self.table.c.lease_until
        return sa.and_(lease_until > tx.now, lease_until <= tx.now + self.lease_time)

    def is_free(self, tx: Tx) -> sa.ColumnElement[bool]:
        """Return whether no claim holds a row."""
        return backoff.is_free(tx, self.table.c.lease_until, self.lease_time)

    def has(self, tx: Tx, *conditions: sa.ColumnElement[bool]) -> bool:
        """Return whether any row meets the conditions."""
        statement = sa.select(self.table.c.tenant_id).where(*conditions).limit(1)
        return tx.connection.execute(statement).first() is not None

    def lock(
        self, tx: Tx, *conditions: sa.ColumnElement[bool], order_by: Sequence[sa.ColumnElement[Any]], limit: int
    ) -> list[Any]:
        """Return up to `limit` rows that meet the conditions; skip rows that another transaction has locked."""
        statement = sa.select(self.table).where(*conditions).order_by(*order_by).limit(limit)
        return list(tx.connection.execute(statement.with_for_update(skip_locked=True)))

    def lease(self, tx: Tx, row: Any, token: str | int, **values: Any) -> None:
        """Take the lease of a locked row, and write `values` with it."""
        key = (column == getattr(row, column.name) for column in self.table.primary_key)
        lease = {self.claim_column: token, "lease_until": tx.now + self.lease_time}
        tx.connection.execute(sa.update(self.table).where(*key).values(**lease, **values))

    def held(self, tx: Tx, claims: Sequence[Claim]) -> tuple[sa.ColumnElement[bool], ...]:
        """Return the conditions that a row of the tenant meets while one of these claims holds it."""
        _, *columns = self.table.primary_key
        keys: Any = [claim.key for claim in claims]
        # A list of single values uses the index on every database.
        is_one_of = columns[0].in_([key for (key,) in keys]) if len(columns) == 1 else sa.tuple_(*columns).in_(keys)
        tokens = {claim.token for claim in claims}
        return self.table.c.tenant_id == tx.tenant, is_one_of, self.table.c[self.claim_column].in_(tokens)

    @property
    def no_lease(self) -> dict[str, None]:
        """The values of a row without a lease."""
        return {name: None for name in ("lease_token", "lease_until") if name in self.table.c}

    def release(self, tx: Tx, claims: Sequence[Claim], *conditions: sa.ColumnElement[bool], **values: Any) -> bool:
        """Release the rows that these claims still hold, and write `values` to them.

        Args:
            conditions: release only rows that meet them.

        Returns:
            whether any row was released.
        """
        released = sa.update(self.table).where(*self.held(tx, claims), *conditions).values(**self.no_lease, **values)
        return tx.connection.execute(released).rowcount > 0

    def postpone(self, tx: Tx, claim: CountingClaim, reason: str, **values: Any) -> None:
        """Release a row after an outage. The pause grows with each consecutive outage; outages do not fail a row."""
        self._pause(tx, claim, claim.outages + 1, reason, outages=self.table.c.outages + 1, **values)

    def retry_after_fault(self, tx: Tx, claim: CountingClaim, reason: str, **values: Any) -> bool:
        """Release a row after an unforeseen exception.

        Returns:
            False after `MAX_FAULTS` in a row: the claim still holds the row, and its holder must end it.
        """
        if claim.faults + 1 >= MAX_FAULTS:
            return False
        self._pause(tx, claim, claim.faults + 1, reason, faults=self.table.c.faults + 1, **values)
        return True

    def _pause(self, tx: Tx, claim: Claim, failures: int, reason: str, **values: Any) -> None:
        due_at = tx.now + backoff.pause_after(failures, self.max_pause)
        self.release(tx, [claim], due_at=due_at, reason=backoff.shorten(reason), **values)

    def free_leases(self, tx: Tx) -> None:
        """End every lease. Call it only at the start of the one process that may hold any."""
        held = sa.update(self.table).where(self.table.c.lease_until.is_not(None))
        tx.connection.execute(held.values(**self.no_lease))
