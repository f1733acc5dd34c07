"""Purge batches: which purges are sent together, and how the provider responds.

The purges of a batch stay together until the provider has accepted them, even if the process dies. So a repeated
request equals the first one.
"""

import hashlib
import secrets
from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

import sqlalchemy as sa

from packshot.catalog.database import backoff
from packshot.catalog.database.backoff import MAX_FAULTS
from packshot.catalog.database.leased_queue import LeasedQueue, new_token
from packshot.catalog.database.transaction import Tx
from packshot.catalog.purging.purges import COLLECTED_FOR, PurgeState
from packshot.catalog.tables.work import purges
from packshot.catalog.work import job_items
from packshot.catalog.work.jobs import Counts, Failure
from packshot.variants.tags import parse_tag

# Longer than a provider takes to accept what is claimed at once.
LEASE_TIME = timedelta(seconds=90)
LOOK_AGAIN = timedelta(seconds=2)
# The pause after the provider was busy.
ROOM_AFTER = timedelta(seconds=5)
# A purge that the provider has not completed within this time is sent again.
PATIENCE = timedelta(minutes=10)
MAX_PAUSE = timedelta(minutes=5)
# A batch keeps its purges for this many outages. After them the provider no longer knows its reference, or never did.
MAX_CLAIMS = 3
# About a day, with the pauses between.
MAX_OUTAGES = 300

QUEUE = LeasedQueue(purges, LEASE_TIME, MAX_PAUSE)


@dataclass(frozen=True, slots=True)
class PurgeClaim:
    """The right to work on one purge until the lease runs out.

    Attributes:
        round: 1 or 2: the first or the second sending.
        outages: consecutive outages of the provider.
        faults: consecutive unforeseen exceptions.
        job_id: the job that ends with the purge.
    """

    tenant: str
    id: str
    tags: tuple[str, ...]
    round: int
    outages: int
    faults: int
    token: str
    job_id: str | None

    @property
    def key(self) -> tuple[str]:
        return (self.id,)


@dataclass(frozen=True, slots=True)
class PurgeBatch:
    """Purges that are sent in one request.

    Attributes:
        erasing: the copies must never be served again.
        provider_id: the provider's id of the accepted request; None: not sent yet.
    """

    id: str
    claims: tuple[PurgeClaim, ...]
    erasing: bool
    provider_id: str | None

    @property
    def tags(self) -> tuple[str, ...]:
        return tuple(sorted({tag for claim in self.claims for tag in claim.tags}))

    @property
    def reference(self) -> str:
        """Equal for equal tags of the same batch, for providers that recognize a repeated request."""
        return f"{self.id}-{hashlib.sha256(' '.join(self.tags).encode()).hexdigest()[:16]}"

    def divided(self) -> list["PurgeBatch"]:
        """Return one batch for each purge."""
        return [replace(self, claims=(claim,)) for claim in self.claims]


def is_due(tx: Tx) -> bool:
    """Return whether any tenant has a due purge."""
    return QUEUE.has(tx, *_due(tx))


def claim_due(tx: Tx, *, limit: int, most_tags: int) -> list[PurgeBatch]:
    """Claim about `limit` due purges of all tenants, the longest due first.

    Purges that are still being collected are included, because a purge is sent now anyway.

    Args:
        most_tags: the largest number of tags of a batch; a purge with more is a batch of its own.
    """
    order = (purges.c.due_at, purges.c.batch)
    found = QUEUE.lock(tx, *_due(tx, ahead=COLLECTED_FOR), order_by=order, limit=limit)
    begun = {row.batch for row in found if row.batch is not None}
    if len(found) == limit and begun:
        # The limit must not divide a batch that was sent already.
        ids = [row.id for row in found]
        rest = sa.select(purges).where(*_due(tx), purges.c.batch.in_(begun), purges.c.id.not_in(ids))
        found += list(tx.connection.execute(rest.with_for_update(skip_locked=True)))
    held = [(row, _is_taken(tx, row)) for row in found]
    # A purge that the provider did not complete needs a new request; a repeated one would yield the old result.
    fresh = [row for row, taken in held if row.batch is None or (row.sent_at is not None and not taken)]
    named = dict(_compose(fresh, most_tags))
    # In due order.
    batches: dict[tuple[str, str | None], list[tuple[Any, bool]]] = {}
    for row, taken in held:
        name = named.get((row.tenant_id, row.id), row.batch)
        batches.setdefault((name, row.provider_id if taken else None), []).append((row, taken))
    return [
        PurgeBatch(
            name,
            tuple(_claim(tx, row, name, taken=taken) for row, taken in entries),
            erasing=any(row.erasing for row, _ in entries),
            provider_id=provider_id,
        )
        for (name, provider_id), entries in batches.items()
    ]


def _due(tx: Tx, ahead: timedelta = timedelta()) -> tuple[sa.ColumnElement[bool], ...]:
    due = QUEUE.is_due(tx, max_pause=max(MAX_PAUSE, COLLECTED_FOR))
    if ahead:
        due = sa.or_(due, sa.and_(purges.c.state == PurgeState.QUEUED.value, purges.c.due_at <= tx.now + ahead))
    return purges.c.finished_at.is_(None), due, QUEUE.is_free(tx)


def _is_taken(tx: Tx, row: Any) -> bool:
    # A time in the future was written before the clock moved back.
    return row.sent_at is not None and tx.now - PATIENCE < row.sent_at <= tx.now + MAX_PAUSE


def _compose(rows: Iterable[Any], most_tags: int) -> Iterable[tuple[tuple[str, str], str]]:
    """Yield the batch of each purge that has none: as few batches as the tags allow, with erasures in batches of their
    own.
    """
    open_batches: dict[bool, tuple[str, set[str]]] = {}
    for row in rows:
        batch, tags = open_batches.get(row.erasing, ("", set()))
        if not tags or len(tags | set(row.tags)) > most_tags:
            batch, tags = secrets.token_hex(12), set()
        open_batches[row.erasing] = batch, tags | set(row.tags)
        yield (row.tenant_id, row.id), batch


def _claim(tx: Tx, row: Any, batch: str, *, taken: bool) -> PurgeClaim:
    token, outages = new_token(), row.outages
    values: dict[str, Any] = {"state": PurgeState.RUNNING.value, "batch": batch}
    if not taken:
        # Counted before the attempt, so that an attempt which kills this process counts too.
        values |= {"attempts": row.attempts + 1, "sent_at": None}
    if row.sent_at is not None and not taken:
        outages += 1
        minutes = int(PATIENCE.total_seconds() / 60)
        values |= {"outages": outages, "error": f"The provider did not complete the purge within {minutes} minutes."}
    QUEUE.lease(tx, row, token, **values)
    if row.job_id is not None:
        job_items.mark_running(tx.of(row.tenant_id), row.job_id)
    return PurgeClaim(row.tenant_id, row.id, tuple(row.tags), row.round, outages, row.faults, token, row.job_id)


def mark_open(tx: Tx, batch: PurgeBatch, provider_id: str) -> None:
    """Record that the provider has accepted a batch and not completed it. Its state is requested again soon."""
    for held in batch.claims:
        if held.outages >= MAX_OUTAGES:
            _give_up(tx, held, "The provider accepts the purge and does not complete it.")
        else:
            _release(tx, held, **_taken(tx, provider_id), due_at=tx.now + LOOK_AGAIN)


def mark_complete(tx: Tx, batch: PurgeBatch, provider_id: str, *, repeat_after: timedelta | None) -> None:
    """Record that the provider has completed a batch.

    A second sending may go with other purges.

    Args:
        repeat_after: time until the second sending; None: no second sending.
    """
    for held in batch.claims:
        values: dict[str, Any] = {"provider_id": provider_id, "sent_at": None, "error": None, "outages": 0, "faults": 0}
        if held.round == 1:
            values["first_done_at"] = tx.now
        if held.round == 1 and repeat_after is not None:
            values |= {"round": 2, "batch": None, "due_at": tx.now + repeat_after}
        else:
            values |= {"state": PurgeState.SUCCEEDED.value, "finished_at": tx.now}
        if _release(tx, held, **values) and "finished_at" in values:
            _end_job(tx, held, Counts(done=_named(held)))


def wait_for_room(tx: Tx, batch: PurgeBatch, error: str) -> None:
    """Postpone a batch because the provider is busy. This does not count as an outage.

    The provider has not accepted it, so its purges may go in other batches.
    """
    for held in batch.claims:
        _release(tx, held, error=error, batch=None, due_at=tx.now + ROOM_AFTER)


def postpone(tx: Tx, batch: PurgeBatch, error: str, *, provider_id: str | None = None) -> None:
    """Postpone a batch after an outage of the provider: by 2 seconds at first, at most 5 minutes, for about a day.

    Args:
        provider_id: the provider's id of the accepted batch, whose state could not be read.
    """
    taken = {} if provider_id is None else _taken(tx, provider_id)
    # One pause for all purges of the batch keeps them together.
    outages = max(held.outages for held in batch.claims) + 1
    pause = backoff.pause_after(outages, MAX_PAUSE)
    for held in batch.claims:
        if outages >= MAX_OUTAGES:
            _give_up(tx, held, error)
        else:
            together = {} if taken or outages <= MAX_CLAIMS else {"batch": None}
            _release(tx, held, **taken, **together, error=error, outages=outages, due_at=tx.now + pause)


def retry_after_fault(tx: Tx, batch: PurgeBatch, error: str, *, provider_id: str | None = None) -> bool:
    """Postpone a batch after an unforeseen exception. Returns False after too many in a row.

    Args:
        provider_id: as in `postpone`.
    """
    faults = max(held.faults for held in batch.claims) + 1
    if faults >= MAX_FAULTS:
        return False
    taken = {} if provider_id is None else _taken(tx, provider_id)
    pause = backoff.pause_after(faults, MAX_PAUSE)
    for held in batch.claims:
        _release(tx, held, **taken, error=error, faults=faults, due_at=tx.now + pause)
    return True


def give_up(tx: Tx, batch: PurgeBatch, error: str, failure: Failure | None = None) -> None:
    """Fail a batch that the provider refused, or after the last attempt."""
    for held in batch.claims:
        _give_up(tx, held, error, failure)


def _give_up(tx: Tx, held: PurgeClaim, error: str, failure: Failure | None = None) -> None:
    if _release(tx, held, error=error, state=PurgeState.FAILED.value, finished_at=tx.now):
        _end_job(tx, held, Counts(failed=_named(held)), failure)


def _named(held: PurgeClaim) -> int:
    """Return the number of packs, locations or tenants of a purge; a pack may have two tags."""
    return len({parse_tag(tag)[1:] for tag in held.tags})


def _end_job(tx: Tx, held: PurgeClaim, counts: Counts, failure: Failure | None = None) -> None:
    if held.job_id is not None:
        job_items.count_originals(tx.of(held.tenant), held.job_id, counts, () if failure is None else (failure,))


def _taken(tx: Tx, provider_id: str) -> dict[str, Any]:
    return {"provider_id": provider_id, "sent_at": sa.func.coalesce(purges.c.sent_at, tx.now)}


def _release(tx: Tx, held: PurgeClaim, **values: Any) -> bool:
    return QUEUE.release(tx.of(held.tenant), [held], **values)
