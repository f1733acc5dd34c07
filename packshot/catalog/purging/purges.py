"""Purge orders: which copies in a CDN are to be removed, and how far that is.

A row is written in the transaction of the change that needs it, so it is there
exactly when the change is. Its tags are purged twice: at once, and again a while
after the first purge is complete, since a fill in flight during a purge would
otherwise put old bytes back. `packshot.catalog.purging.purge_batches` carries them on.
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

from packshot.catalog.database.pages import Order, Page, fetch_page
from packshot.catalog.database.transaction import Tx
from packshot.catalog.tables.work import purges
from packshot.variants.tags import erase_tag, location_tag, pack_tag, tenant_tag

# What is ordered within it is one purge, and edits of one pack are one order.
COLLECTED_FOR = timedelta(seconds=1)
KEEP_PURGES = timedelta(days=7)
# So few that every CDN takes their tags in one call.
MAX_PACKS_PER_PURGE = 100


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
        tags: what carries one of them is purged.
        erasing: it must not be shown again, not even for want of something newer.
        attempts: how often a provider was asked to purge, for the first or the second time.
        provider_id: what the provider calls the last purge that it took.
        error: what went wrong since a purge was last complete; None: nothing did.
        first_done_at: when the first of its two purges was complete; None: it is not.
    """

    id: str
    scope: str
    cause: str
    tags: tuple[str, ...]
    erasing: bool
    state: PurgeState
    attempts: int
    provider_id: str | None
    error: str | None
    requested_at: datetime
    first_done_at: datetime | None
    finished_at: datetime | None


def order_pack_purge(tx: Tx, pack_id: str, *, cause: str) -> None:
    """Order that whatever a pack shows be purged."""
    order_purge(tx, scope=f"pack {pack_id}", cause=cause, tags=[pack_tag(tx.tenant, pack_id)])


def order_pack_purges(tx: Tx, pack_ids: Iterable[str], *, cause: str) -> None:
    """Order that whatever some packs show be purged, however many, by few orders."""
    wanted = sorted(pack_ids)
    for begin in range(0, len(wanted), MAX_PACKS_PER_PURGE):
        portion = wanted[begin : begin + MAX_PACKS_PER_PURGE]
        scope = f"pack {portion[0]}" if len(portion) == 1 else f"{len(portion)} packs"
        order_purge(tx, scope=scope, cause=cause, tags=[pack_tag(tx.tenant, pack_id) for pack_id in portion])


def order_erasing_purge(tx: Tx, pack_id: str, *, cause: str) -> None:
    """Order that whatever a pack shows or ever showed be purged, its immutable URLs included."""
    tags = [pack_tag(tx.tenant, pack_id), erase_tag(tx.tenant, pack_id)]
    order_purge(tx, scope=f"pack {pack_id}, erased", cause=cause, tags=tags, erasing=True)


def order_configuration_purge(tx: Tx, location: str | None, *, cause: str) -> None:
    """Order that whatever was looked up at a location be purged, however many packs show it; None: all of the tenant.

    Call it in the transaction that puts another configuration in force.
    """
    if location is None:
        order_purge(tx, scope="tenant", cause=cause, tags=[tenant_tag(tx.tenant)])
    else:
        order_purge(tx, scope=f"location {location}", cause=cause, tags=[location_tag(tx.tenant, location)])


def order_purge(
    tx: Tx, *, scope: str, cause: str, tags: Iterable[str], erasing: bool = False, job_id: str | None = None
) -> None:
    """Order that what carries one of the tags be purged.

    An order for the same tags that nobody has begun with will do, and gets this
    one's cause. One that was begun will not: it may have been sent before this change.

    Args:
        job_id: the job that ends with this purge, which therefore shares with no other.
    """
    known = sorted(set(tags))
    statement = tx.insert(purges).values(
        tenant_id=tx.tenant,
        id=secrets.token_hex(12),
        scope=scope,
        cause=cause,
        tags=known,
        tags_sha256=hashlib.sha256(json.dumps([known, job_id] if job_id else known).encode()).hexdigest(),
        job_id=job_id,
        erasing=erasing,
        state=PurgeState.QUEUED.value,
        round=1,
        attempts=0,
        outages=0,
        requested_at=tx.now,
        due_at=tx.now + COLLECTED_FOR,
    )
    # The one that is there stays due when it is, so that edits without end do not put their purge off.
    taken_over: dict[str, Any] = {"cause": cause} | ({"scope": scope, "erasing": True} if erasing else {})
    tx.connection.execute(
        statement.on_conflict_do_update(
            index_elements=["tenant_id", "tags_sha256"],
            # Spelled out: a parameter would hide from the database which index is meant.
            index_where=sa.text("state = 'queued'"),
            set_=taken_over,
        )
    )


def delete_old_purges(tx: Tx) -> None:
    """Drop what ended long ago, of every tenant."""
    tx.connection.execute(sa.delete(purges).where(purges.c.finished_at < tx.now - KEEP_PURGES))


def list_purges(tx: Tx, *, first: int, after: str | None, total: bool = True) -> Page[Purge]:
    """Return a page of the tenant's purges, newest first."""
    statement = sa.select(purges).where(purges.c.tenant_id == tx.tenant)
    order = Order((purges.c.requested_at, purges.c.id), descending=True)
    return fetch_page(tx, statement, order, _to_purge, first=first, after=after, total=total)


def get_purges(tx: Tx, ids: Sequence[str]) -> dict[str, Purge]:
    """Return those purges of the tenant that there are, by id."""
    found = tx.connection.execute(sa.select(purges).where(purges.c.tenant_id == tx.tenant, purges.c.id.in_(ids)))
    return {row.id: _to_purge(row) for row in found}


def _to_purge(row: Any) -> Purge:
    return Purge(
        id=row.id,
        scope=row.scope,
        cause=row.cause,
        tags=tuple(row.tags),
        erasing=row.erasing,
        state=PurgeState(row.state),
        attempts=row.attempts,
        provider_id=row.provider_id,
        error=row.error,
        requested_at=row.requested_at,
        first_done_at=row.first_done_at,
        finished_at=row.finished_at,
    )
