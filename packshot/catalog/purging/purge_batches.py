"""Purge orders on their way: which are sent together, who is at it, and what the provider said.

The orders of a batch stay together until the provider has taken them, whatever
dies, so that what is sent again is the very request that was sent before.
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
# Until a provider that takes no more has done some of what it has.
ROOM_AFTER = timedelta(seconds=5)
# A purge that a provider has not completed by then is sent again.
PATIENCE = timedelta(minutes=10)
MAX_PAUSE = timedelta(minutes=5)
# So often an outage leaves a batch as it is; by then the provider has forgotten it, or never heard of it.
MAX_CLAIMS = 3
# With the pauses between them: about a day.
MAX_OUTAGES = 300

QUEUE = LeasedQueue(purges, LEASE_TIME, MAX_PAUSE)


@dataclass(frozen=True, slots=True)
class PurgeClaim:
    """The right to carry one order on until the lease runs out.

    Attributes:
        round: 1 for the first purge, 2 for the one after it.
        outages: how often in a row it came to nothing.
        faults: how many unforeseen exceptions in a row ended it.
        job_id: the job that ends with it.
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
    """Orders that are one call.

    Attributes:
        erasing: what it purges must not be shown again.
        provider_id: the provider took it by this id, and is asked how far it is; None: it is still to be sent.
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
        """The same for the same tags of the same batch, for a provider that knows what it was asked before."""
        return f"{self.id}-{hashlib.sha256(' '.join(self.tags).encode()).hexdigest()[:16]}"

    def divided(self) -> list["PurgeBatch"]:
        """Return each order by itself."""
        return [replace(self, claims=(claim,)) for claim in self.claims]


def is_due(tx: Tx) -> bool:
    """Whether any tenant has a purge that is to be carried on now."""
    return QUEUE.has(tx, *_due(tx))


def claim_due(tx: Tx, *, limit: int, most_tags: int) -> list[PurgeBatch]:
    """Take the lease of about `limit` orders of every tenant that are to be carried on now, the longest due first.

    What is still being collected comes along, as a purge is sent now anyway.

    Args:
        most_tags: of one batch; an order that has more is a batch of its own.
    """
    order = (purges.c.due_at, purges.c.batch)
    found = QUEUE.lock(tx, *_due(tx, ahead=COLLECTED_FOR), order_by=order, limit=limit)
    begun = {row.batch for row in found if row.batch is not None}
    if len(found) == limit and begun:
        # The limit must not cut through a batch that was sent already.
        ids = [row.id for row in found]
        rest = sa.select(purges).where(*_due(tx), purges.c.batch.in_(begun), purges.c.id.not_in(ids))
        found += list(tx.connection.execute(rest.with_for_update(skip_locked=True)))
    held = [(row, _is_taken(tx, row)) for row in found]
    # What the provider did not complete is a new request, or it would only be told of the old one.
    fresh = [row for row, taken in held if row.batch is None or (row.sent_at is not None and not taken)]
    named = dict(_compose(fresh, most_tags))
    # In the order in which they are due.
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
    # A moment that is still to come is one before the clock moved back.
    return row.sent_at is not None and tx.now - PATIENCE < row.sent_at <= tx.now + MAX_PAUSE


def _compose(rows: Iterable[Any], most_tags: int) -> Iterable[tuple[tuple[str, str], str]]:
    """Name a batch for each order that has none: as few as the tags allow, those of erasures apart from the rest."""
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
        # Counted before it is tried, so that an attempt which ends this process counts too.
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
    """Note that the provider has taken a batch and is not done with it; it is asked again in a moment."""
    for held in batch.claims:
        if held.outages >= MAX_OUTAGES:
            _give_up(tx, held, "The provider takes the purge and does not complete it.")
        else:
            _release(tx, held, **_taken(tx, provider_id), due_at=tx.now + LOOK_AGAIN)


def mark_complete(tx: Tx, batch: PurgeBatch, provider_id: str, *, repeat_after: timedelta | None) -> None:
    """Note that a batch has reached every cache; its orders' first purge is followed by a second, unless that is None.

    The second waits for its own turn, so it may be in other company.
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
    """Put a batch off that the provider has no room for; nobody is at fault, so for as long as it takes.

    As it was not taken, its orders may go in other company.
    """
    for held in batch.claims:
        _release(tx, held, error=error, batch=None, due_at=tx.now + ROOM_AFTER)


def postpone(tx: Tx, batch: PurgeBatch, error: str, *, provider_id: str | None = None) -> None:
    """Put a batch off after an outage of the provider, two seconds at first and five minutes at last, for a day.

    Args:
        provider_id: by this id the provider has taken the batch; only how far it is could not be learnt.
    """
    taken = {} if provider_id is None else _taken(tx, provider_id)
    # One pause for all, or they would come apart.
    outages = max(held.outages for held in batch.claims) + 1
    pause = backoff.pause_after(outages, MAX_PAUSE)
    for held in batch.claims:
        if outages >= MAX_OUTAGES:
            _give_up(tx, held, error)
        else:
            together = {} if taken or outages <= MAX_CLAIMS else {"batch": None}
            _release(tx, held, **taken, **together, error=error, outages=outages, due_at=tx.now + pause)


def retry_after_fault(tx: Tx, batch: PurgeBatch, error: str, *, provider_id: str | None = None) -> bool:
    """Put a batch off after an unforeseen exception; False: it was tried often enough.

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
    """End a batch undone that the provider refused, or that was tried often enough."""
    for held in batch.claims:
        _give_up(tx, held, error, failure)


def _give_up(tx: Tx, held: PurgeClaim, error: str, failure: Failure | None = None) -> None:
    if _release(tx, held, error=error, state=PurgeState.FAILED.value, finished_at=tx.now):
        _end_job(tx, held, Counts(failed=_named(held)), failure)


def _named(held: PurgeClaim) -> int:
    """How many packs, locations or tenants it is about: a pack may have a second tag."""
    return len({parse_tag(tag)[1:] for tag in held.tags})


def _end_job(tx: Tx, held: PurgeClaim, counts: Counts, failure: Failure | None = None) -> None:
    if held.job_id is not None:
        job_items.count_originals(tx.of(held.tenant), held.job_id, counts, () if failure is None else (failure,))


def _taken(tx: Tx, provider_id: str) -> dict[str, Any]:
    return {"provider_id": provider_id, "sent_at": sa.func.coalesce(purges.c.sent_at, tx.now)}


def _release(tx: Tx, held: PurgeClaim, **values: Any) -> bool:
    return QUEUE.release(tx.of(held.tenant), [held], **values)
