"""Rendering on demand: what pregeneration did not make yet, or never will."""

import asyncio
import logging
import os
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import partial
from hashlib import sha256

import anyio
import anyio.to_thread

from packshot import faults
from packshot.catalog.database.transaction import DatabaseFault
from packshot.catalog.variants import ledger, unplanned_usage
from packshot.catalog.variants.decoding import write_decodings
from packshot.catalog.variants.ledger import Entry, FailedVariant, StoredVariant, VariantState
from packshot.catalog.variants.render_costs import RenderCosts, read_costs
from packshot.catalog.variants.unplanned_usage import Room
from packshot.errors import ErrorCode, OriginalLost, PackshotError, RenderTimeout, Unrenderable
from packshot.maintenance.retrying import is_outage
from packshot.model import Original
from packshot.production import NotStored, announce_and_render, metadata_of, render_unstored
from packshot.render.drawing.pipeline import Rendered
from packshot.render.processes.pool import Lane, QueueTimeout
from packshot.site import Site
from packshot.storage.base import Stored
from packshot.variants.resolve import Target
from serve.http.problems import Overloaded
from serve.image.sendable import Sendable

log = logging.getLogger(__name__)

# Each admitted render has a thread that waits for it; more than these are refused, however little they would take.
MAX_FLIGHTS = 200
# A render is slow when it takes more than this part of the longest wait.
SLOW_SHARE = 0.25
# What rendering costs here changes slowly.
RATES_SECONDS = 10.0

Group = tuple[str, str]
"""What shares a bound: a kind, and the tenant's name or the original's SHA-256."""

TENANT, ORIGINAL, SLOW = "tenant", "original", "slow"


class Fallback:
    """Makes missing variants, each once however many clients wait for it in this process.

    A client that goes away does not stop a render: others may wait for it, and
    what comes out is kept either way. How much may wait is bounded by the CPU time that
    it will take, estimated from what each original and such variants took before. One
    original, one tenant and slow renders together have bounds of their own. A request
    beyond a bound is refused before anything is done for it. One that has been admitted
    and finds no free render process within `PACKSHOT_RENDER_QUEUE_SECONDS` is refused then.

    What is planned is always stored. Another variant is stored while its tenant's budget
    and its pack's location have room; without room it is drawn for whoever waits for it.
    So is any variant that the database or the store does not take: a full disk, a lock.
    """

    def __init__(self, site: Site) -> None:
        self._site = site
        self._flights: dict[str, asyncio.Task[Sendable | None]] = {}
        # CPU seconds and flights that wait or run, for each original, for each tenant, and for slow ones.
        self._seconds: defaultdict[Group, float] = defaultdict(float)
        self._counts: Counter[Group] = Counter()
        # More processes than processors render no faster.
        self._at_once = min(site.renderer.processes, os.cpu_count() or 1)
        self._queue_seconds = site.settings.render_queue_seconds
        self._rates, self._rates_due = RenderCosts({}), 0.0
        # Apart from the threads that answer everything else, which must not wait for pixels.
        self._threads = anyio.CapacityLimiter(MAX_FLIGHTS)

    async def make(
        self, target: Target, rendered: Callable[[], None] | None = None, *, planned: bool
    ) -> Sendable | None:
        """Have a variant made that is missing; return it where there is no room to store it, else None.

        Args:
            planned: it is one of those that are rendered ahead of time.
            rendered: called when it has been made for this caller, in a thread; who else waits for it is not told.

        Raises:
            Unrenderable, RenderTimeout: the original cannot be drawn so.
            Overloaded: too much waits already, or no process became free in time.
        """
        key = str(target.key)
        flight = self._flights.get(key)
        if flight is None:
            refuse_undecodable(target.original)
            seconds = self._rates.rendering(target.original, target.drawing.format, target.pixels, moves=target.moves)
            is_slow = seconds > self._queue_seconds * SLOW_SHARE
            groups = _groups(target, is_slow=is_slow)
            self._check_room(groups, seconds)
            deadline = time.monotonic() + self._queue_seconds
            make = partial(self._make, target, rendered, planned=planned, is_slow=is_slow, deadline=deadline)
            making = anyio.to_thread.run_sync(make, limiter=self._threads)
            flight = asyncio.create_task(making)
            self._flights[key] = flight
            self._counts.update(groups)
            for group in groups:
                self._seconds[group] += seconds
            flight.add_done_callback(lambda _: self._land(key, groups, seconds))
        return await asyncio.shield(flight)

    def _land(self, key: str, groups: tuple[Group, ...], seconds: float) -> None:
        del self._flights[key]
        for group in groups:
            self._counts[group] -= 1
            self._seconds[group] -= seconds
            if not self._counts[group]:
                del self._counts[group], self._seconds[group]

    def _check_room(self, groups: tuple[Group, ...], seconds: float) -> None:
        """Raise `Overloaded` if a request would wait too long behind others of one of its groups."""
        if len(self._flights) >= MAX_FLIGHTS:
            raise Overloaded(self._queue_seconds)
        places = self._site.renderer.places
        tenants = {group for group in self._counts if group[0] == TENANT} | {groups[0]}
        at_once: dict[str, float] = {
            # Tenants take turns, so each has its part of the processes.
            TENANT: self._at_once / len(tenants),
            ORIGINAL: min(places.original, self._at_once),
            SLOW: min(places.slow, self._at_once),
        }
        for group in groups:
            # One alone is let in, however long it takes.
            if self._counts[group] and self._seconds[group] + seconds > self._queue_seconds * at_once[group[0]]:
                raise Overloaded(self._seconds[group] / at_once[group[0]])

    def _make(
        self, target: Target, rendered: Callable[[], None] | None, *, planned: bool, is_slow: bool, deadline: float
    ) -> Sendable | None:
        tenant = target.key.tenant
        with self._site.catalog.read(tenant) as tx:
            entry = ledger.read_entry(tx, target.key)
            room = None if planned else unplanned_usage.read_room(tx, target.key, self._site.settings.unplanned_bytes)
            if time.monotonic() >= self._rates_due:
                self._rates, self._rates_due = read_costs(tx), time.monotonic() + RATES_SECONDS
        refuse_failed(entry)
        try:
            if entry is None and room is not None and not room.is_enough:
                return self._draw(target, room, is_slow=is_slow, deadline=deadline)
            (outcome,) = announce_and_render(
                self._site, [target], Lane.ON_DEMAND, planned=planned, is_slow=is_slow, deadline=deadline
            )
        except QueueTimeout as full:
            raise Overloaded(self._queue_seconds) from full
        except NotStored as error:
            faults.count(log, error, "a variant that somebody waits for could not be stored")
            return _unkept(target, error.rendered, is_recorded=False)
        except DatabaseFault as error:
            if not is_outage(error):
                raise
            faults.count(log, error, "a variant that somebody waits for could not be announced, and is not stored")
            return self._draw_unrecorded(target, is_slow=is_slow, deadline=deadline)
        # That is no fault of the variant, which is made once the original is back.
        is_lost = isinstance(outcome, FailedVariant) and isinstance(outcome.error, OriginalLost)
        with _tolerating_outages(), self._site.catalog.write(tenant) as tx:
            ledger.record(tx, [] if is_lost else [outcome])
            write_decodings(tx, self._site.decoding.take(tenant))
            if not planned:
                unplanned_usage.add_usage(tx, _added(entry, outcome))
        if isinstance(outcome, FailedVariant):
            raise _unrenderable(outcome.error)
        if rendered is not None:
            rendered()
        return None

    def _draw(self, target: Target, room: Room, *, is_slow: bool, deadline: float) -> Sendable:
        """Draw a variant that is not stored, as there is no room for it."""
        tenant = target.key.tenant
        try:
            drawn = render_unstored(self._site, target, Lane.ON_DEMAND, is_slow=is_slow, deadline=deadline)
        except PackshotError as error:
            raise _unrenderable(error) from None
        finally:
            with _tolerating_outages(), self._site.catalog.write(tenant) as tx:
                write_decodings(tx, self._site.decoding.take(tenant))
                if room.is_full:
                    unplanned_usage.mark_full(tx, target.key)
        return _unkept(target, drawn)

    def _draw_unrecorded(self, target: Target, *, is_slow: bool, deadline: float) -> Sendable:
        """Draw a variant while the database takes no writes."""
        try:
            drawn = render_unstored(self._site, target, Lane.ON_DEMAND, is_slow=is_slow, deadline=deadline)
        except QueueTimeout as full:
            raise Overloaded(self._queue_seconds) from full
        except PackshotError as error:
            raise _unrenderable(error) from None
        return _unkept(target, drawn, is_recorded=False)


@contextmanager
def _tolerating_outages() -> Iterator[None]:
    """Let what is only noted about a render be lost while the database takes no writes: the picture is there."""
    try:
        yield
    except DatabaseFault as error:
        if not is_outage(error):
            raise
        faults.count(log, error, "what a render on demand took could not be noted")


def _unkept(target: Target, drawn: Rendered, *, is_recorded: bool = True) -> Sendable:
    digest = sha256(drawn.data).hexdigest()
    stored = Stored(str(target.key), len(drawn.data), digest, metadata_of(target), datetime.now(UTC))
    return Sendable(stored, drawn.data, is_kept=False, is_recorded=is_recorded)


def _added(entry: Entry | None, outcome: StoredVariant | FailedVariant) -> int:
    """Return by how many bytes an unplanned variant has become larger."""
    row = unplanned_usage.ROW_BYTES if entry is None else 0
    known = 0 if entry is None else entry.bytes or 0
    return row + (outcome.bytes - known if isinstance(outcome, StoredVariant) else 0)


def _groups(target: Target, *, is_slow: bool) -> tuple[Group, ...]:
    groups = ((TENANT, target.key.tenant), (ORIGINAL, target.original.sha256))
    return (*groups, (SLOW, "")) if is_slow else groups


def _unrenderable(error: PackshotError) -> PackshotError:
    """Return the refusal of whoever asks for a picture: what was uploaded long ago is not in their request."""
    if isinstance(error, RenderTimeout | Unrenderable):
        return error
    return Unrenderable(error.message, expected=error.expected, got=error.got)


def refuse_undecodable(original: Original) -> None:
    """Raise the refusal of an original that could not be decoded a short time ago.

    Raises:
        Unrenderable, RenderTimeout: it could not.
    """
    if (failure := original.recent_failure) is not None:
        raise _unrenderable(failure)


def refuse_failed(entry: Entry | None) -> None:
    """Raise the refusal of a variant that failed three times by its own fault; a fourth time would cost as much again.

    Raises:
        Unrenderable, RenderTimeout: it did.
    """
    if entry is not None and entry.state is VariantState.FAILED:
        kind = RenderTimeout if entry.error_code is ErrorCode.RENDER_TIMEOUT else Unrenderable
        raise kind(entry.error or "This picture cannot be rendered.")
