"""Purges: copies to remove from a CDN, and their state.

A purge is written in the transaction of the change that needs it, so neither exists without the other. Its tags are
purged twice: at once, and again a while after the first purge completed. Otherwise a cache fill that runs during the
first purge could restore old bytes. `packshot.catalog.purging.purge_batches` sends purges.
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

# The time for which purges are collected into batches, and edits of one pack into one purge.
COLLECTED_FOR = timedelta(seconds=1)
KEEP_PURGES = timedelta(days=7)
# Few enough that every CDN accepts their tags in one request.
MAX_PACKS_PER_PURGE = 100


class PurgeState(StrEnum):
    """The state of a purge; the last two are final."""

    QUEUED = "queued"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Purge:
    """The state of a purge.

    Attributes:
        scope, cause: what is purged and why, to display.
        tags: copies with one of these tags are purged.
        erasing: the copies must never be served again, not even while the application fails.
        attempts: how often the purge was sent, in both rounds.
        provider_id: the provider's id of the last accepted request.
        error: the last error since a purge completed; None: no error.
        first_done_at: when the first round completed; None: not yet.
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
    """Purge all copies of a pack."""
    order_purge(tx, scope=f"pack {pack_id}", cause=cause, tags=[pack_tag(tx.tenant, pack_id)])


def order_pack_purges(tx: Tx, pack_ids: Iterable[str], *, cause: str) -> None:
    """Purge all copies of some packs, with few purges."""
    ids = sorted(pack_ids)
    for begin in range(0, len(ids), MAX_PACKS_PER_PURGE):
        portion = ids[begin : begin + MAX_PACKS_PER_PURGE]
        scope = f"pack {portion[0]}" if len(portion) == 1 else f"{len(portion)} packs"
        order_purge(tx, scope=scope, cause=cause, tags=[pack_tag(tx.tenant, pack_id) for pack_id in portion])


def order_erasing_purge(tx: Tx, pack_id: str, *, cause: str) -> None:
    """Purge all current and former copies of an erased pack, those of immutable URLs included."""
    tags = [pack_tag(tx.tenant, pack_id), erase_tag(tx.tenant, pack_id)]
    order_purge(tx, scope=f"pack {pack_id}, erased", cause=cause, tags=tags, erasing=True)


def order_configuration_purge(tx: Tx, location: str | None, *, cause: str) -> None:
    """Purge all copies that a location's configuration decides; None: all of the tenant.

    Call it in the transaction that activates the changed configuration.
    """
    if location is None:
        order_purge(tx, scope="tenant", cause=cause, tags=[tenant_tag(tx.tenant)])
    else:
        order_purge(tx, scope=f"location {location}", cause=cause, tags=[location_tag(tx.tenant, location)])


def order_purge(
    tx: Tx, *, scope: str, cause: str, tags: Iterable[str], erasing: bool = False, job_id: str | None = None
) -> None:
    """Write a purge of the copies with one of these tags.

    A queued purge of the same tags is reused and gets this cause. A running one is not: it may have been sent before
    this change.

    Args:
        job_id: the job that consists of this purge, which is then not shared.
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
    # The existing purge keeps its due time. Otherwise continuous edits would postpone it for ever.
    taken_over: dict[str, Any] = {"cause": cause} | ({"scope": scope, "erasing": True} if erasing else {})
    tx.connection.execute(
        statement.on_conflict_do_update(
            index_elements=["tenant_id", "tags_sha256"],
            # Written out, because the database could not match the index to a parameter.
            index_where=sa.text("state = 'queued'"),
            set_=taken_over,
        )
    )


def delete_old_purges(tx: Tx) -> None:
    """Delete purges of all tenants that ended long ago."""
    tx.connection.execute(sa.delete(purges).where(purges.c.finished_at < tx.now - KEEP_PURGES))


def list_purges(tx: Tx, *, first: int, after: str | None, total: bool = True) -> Page[Purge]:
    """Return a page of the tenant's purges, newest first."""
    statement = sa.select(purges).where(purges.c.tenant_id == tx.tenant)
    order = Order((purges.c.requested_at, purges.c.id), descending=True)
    return fetch_page(tx, statement, order, _to_purge, first=first, after=after, total=total)


def get_purges(tx: Tx, ids: Sequence[str]) -> dict[str, Purge]:
    """Return the tenant's purges with these ids, by id."""
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
