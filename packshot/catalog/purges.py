"""Purge orders: which copies in a CDN are to be removed, and how far that is.

A row is written in the transaction of the change that needs it, so it is there
exactly when the change is. Its tags are purged twice: at once, and again a while
after the first purge is complete, since a fill in flight during a purge would
otherwise put old bytes back.
"""

import hashlib
import json
import secrets
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

import sqlalchemy as sa

from packshot.catalog.pages import Order, Page, fetch_page
from packshot.catalog.tables import purges
from packshot.catalog.transaction import Tx
from packshot.variants.resolve import location_tag, pack_tag, tenant_tag

# Longer than a provider takes to accept what is claimed at once.
LEASE = timedelta(seconds=90)
LOOK_AGAIN = timedelta(seconds=2)
# A purge that a provider has not completed by then is sent again.
PATIENCE = timedelta(minutes=10)
LONGEST_PAUSE = timedelta(minutes=5)
# With the pauses between them: about a day.
MOST_OUTAGES = 300
KEPT = timedelta(days=7)


class PurgeState(StrEnum):
    """How a purge stands; the last two are final."""

    QUEUED = "queued"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Purge:
    """One purge order as it stands.

    Attributes:
        scope, cause: what is purged and why, for people.
        attempts: how often a provider was asked to purge, for the first or the second time.
        provider_id: what the provider calls the last purge that it took.
        error: what went wrong since a purge was last complete; None: nothing did.
    """

    id: str
    scope: str
    cause: str
    state: PurgeState
    attempts: int
    provider_id: str | None
    error: str | None
    requested_at: datetime
    finished_at: datetime | None


@dataclass(frozen=True, slots=True)
class Claim:
    """The right to carry one purge on until the lease runs out.

    Attributes:
        provider_id: the provider took the purge by this id, and is asked how far it is; None: it is still to be sent.
        outages: how often in a row it came to nothing.
    """

    tenant: str
    id: str
    tags: tuple[str, ...]
    round: int
    provider_id: str | None
    outages: int
    token: str


def order_pack_purge(tx: Tx, pack_id: str, *, cause: str) -> None:
    """Order that whatever a pack shows be purged."""
    order_purge(tx, scope=f"pack {pack_id}", cause=cause, tags=[pack_tag(tx.tenant, pack_id)])


def order_configuration_purge(tx: Tx, location: str | None, *, cause: str) -> None:
    """Order that whatever was looked up at a location be purged, however many packs show it; None: all of the tenant.

    Call it in the transaction that puts another configuration in force.
    """
    if location is None:
        order_purge(tx, scope="tenant", cause=cause, tags=[tenant_tag(tx.tenant)])
    else:
        order_purge(tx, scope=f"location {location}", cause=cause, tags=[location_tag(tx.tenant, location)])


def order_purge(tx: Tx, *, scope: str, cause: str, tags: Iterable[str]) -> None:
    """Order that what carries one of the tags be purged.

    An order for the same tags that nobody has begun with will do, and gets this
    one's cause. One that was begun will not: it may have been sent before this change.
    """
    known = sorted(set(tags))
    statement = tx.insert(purges).values(
        tenant_id=tx.tenant,
        id=secrets.token_hex(12),
        scope=scope,
        cause=cause,
        tags=known,
        tags_sha256=hashlib.sha256(json.dumps(known).encode()).hexdigest(),
        state=PurgeState.QUEUED.value,
        round=1,
        attempts=0,
        outages=0,
        requested_at=tx.now,
        due_at=tx.now,
    )
    tx.connection.execute(
        statement.on_conflict_do_update(
            index_elements=["tenant_id", "tags_sha256"],
            # Spelled out: a parameter would hide from the database which index is meant.
            index_where=sa.text("state = 'queued'"),
            set_={"cause": cause},
        )
    )


def is_due(tx: Tx) -> bool:
    """Whether any tenant has a purge that is to be carried on now."""
    return tx.connection.execute(sa.select(purges.c.id).where(*_due(tx)).limit(1)).first() is not None


def claim_due(tx: Tx, *, limit: int) -> list[Claim]:
    """Take the lease of up to `limit` purges of every tenant that are to be carried on now, the longest due first."""
    found = tx.connection.execute(
        sa.select(purges).where(*_due(tx)).order_by(purges.c.due_at).limit(limit).with_for_update(skip_locked=True)
    ).all()
    return [_claim(tx, row) for row in found]


def _due(tx: Tx) -> tuple[sa.ColumnElement[bool], ...]:
    free = sa.or_(purges.c.lease_until.is_(None), purges.c.lease_until < tx.now)
    return purges.c.finished_at.is_(None), purges.c.due_at <= tx.now, free


def _claim(tx: Tx, row: Any) -> Claim:
    token, outages = secrets.token_hex(16), row.outages
    taken = row.sent_at is not None and row.sent_at > tx.now - PATIENCE
    values = {"state": PurgeState.RUNNING.value, "lease_token": token, "lease_until": tx.now + LEASE}
    if not taken:
        # Counted before it is tried, so that an attempt which ends this process counts too.
        values |= {"attempts": row.attempts + 1, "sent_at": None}
    if row.sent_at is not None and not taken:
        outages += 1
        minutes = int(PATIENCE.total_seconds() / 60)
        values |= {"outages": outages, "error": f"The provider did not complete the purge within {minutes} minutes."}
    tx.connection.execute(
        sa.update(purges).where(purges.c.tenant_id == row.tenant_id, purges.c.id == row.id).values(**values)
    )
    return Claim(row.tenant_id, row.id, tuple(row.tags), row.round, row.provider_id if taken else None, outages, token)


def note_open(tx: Tx, held: Claim, provider_id: str) -> None:
    """Note that the provider has taken a purge and is not done with it; it is asked again in a moment."""
    if held.outages >= MOST_OUTAGES:
        give_up(tx, held, "The provider takes the purge and does not complete it.")
        return
    _release(tx, held, **_taken(tx, provider_id), due_at=tx.now + LOOK_AGAIN)


def note_complete(tx: Tx, held: Claim, provider_id: str, *, repeat_after: timedelta | None) -> None:
    """Note that a purge has reached every cache; the first one is followed by a second, unless that is None."""
    values: dict[str, Any] = {"provider_id": provider_id, "sent_at": None, "error": None, "outages": 0}
    if held.round == 1:
        values["first_done_at"] = tx.now
    if held.round == 1 and repeat_after is not None:
        values |= {"round": 2, "due_at": tx.now + repeat_after}
    else:
        values |= {"state": PurgeState.SUCCEEDED.value, "finished_at": tx.now}
    _release(tx, held, **values)


def put_off(tx: Tx, held: Claim, error: str, *, provider_id: str | None = None) -> None:
    """Put a purge off after an outage of the provider, two seconds at first and five minutes at last, for a day.

    Args:
        provider_id: by this id the provider has taken the purge; only how far it is could not be learnt.
    """
    if held.outages + 1 >= MOST_OUTAGES:
        give_up(tx, held, error)
        return
    taken = {} if provider_id is None else _taken(tx, provider_id)
    pause = min(timedelta(seconds=2 ** min(held.outages + 1, 10)), LONGEST_PAUSE)
    _release(tx, held, **taken, error=error, outages=held.outages + 1, due_at=tx.now + pause)


def give_up(tx: Tx, held: Claim, error: str) -> None:
    """End a purge undone: the provider refused it, or was away for too long."""
    _release(tx, held, error=error, state=PurgeState.FAILED.value, finished_at=tx.now)


def _taken(tx: Tx, provider_id: str) -> dict[str, Any]:
    return {"provider_id": provider_id, "sent_at": sa.func.coalesce(purges.c.sent_at, tx.now)}


def _release(tx: Tx, held: Claim, **values: Any) -> None:
    # Against the lease: whoever came too late must not end what another has begun anew.
    tx.connection.execute(
        sa.update(purges)
        .where(purges.c.tenant_id == held.tenant, purges.c.id == held.id, purges.c.lease_token == held.token)
        .values(lease_token=None, lease_until=None, **values)
    )


def free_leases(tx: Tx) -> None:
    """Free every lease; only for the one process that may hold any, when it starts."""
    tx.connection.execute(
        sa.update(purges).where(purges.c.lease_token.is_not(None)).values(lease_token=None, lease_until=None)
    )


def forget_purges(tx: Tx) -> None:
    """Drop what ended long ago, of every tenant."""
    tx.connection.execute(sa.delete(purges).where(purges.c.finished_at < tx.now - KEPT))


def list_purges(tx: Tx, *, first: int, after: str | None) -> Page[Purge]:
    """Return a page of the tenant's purges, newest first."""
    statement = sa.select(purges).where(purges.c.tenant_id == tx.tenant)
    order = Order((purges.c.requested_at, purges.c.id), descending=True)
    return fetch_page(tx, statement, order, _to_purge, first=first, after=after)


def get_purges(tx: Tx, ids: Sequence[str]) -> dict[str, Purge]:
    """Return those purges of the tenant that there are, by id."""
    found = tx.connection.execute(sa.select(purges).where(purges.c.tenant_id == tx.tenant, purges.c.id.in_(ids)))
    return {row.id: _to_purge(row) for row in found}


def _to_purge(row: Any) -> Purge:
    return Purge(
        id=row.id,
        scope=row.scope,
        cause=row.cause,
        state=PurgeState(row.state),
        attempts=row.attempts,
        provider_id=row.provider_id,
        error=row.error,
        requested_at=row.requested_at,
        finished_at=row.finished_at,
    )
