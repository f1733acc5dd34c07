"""Render missing variants on demand, inside the web process."""

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

# Each render holds a thread that waits for it. Beyond this number, requests are refused, even cheap ones.
MAX_FLIGHTS = 200
# A render is slow if it takes more than this share of the longest wait.
SLOW_SHARE = 0.25
# Seconds for which measured render costs are reused; they change slowly.
RATES_SECONDS = 10.0

Group = tuple[str, str]
"""Renders that share a limit: a kind, and the tenant's name or the original's SHA-256."""

TENANT, ORIGINAL, SLOW = "tenant", "original", "slow"


class Fallback:
    """Renders missing variants, each once however many clients wait for it in this process.

    A render continues when its client disconnects: other clients may wait for it, and the result is kept. The CPU time
    of waiting renders is limited, as estimated from earlier renders. There are separate limits for one original, for
    one tenant, and for all slow renders together. A request beyond a limit is refused before any work is done. An
    accepted request is refused if no render process becomes free within `PACKSHOT_RENDER_QUEUE_SECONDS`.

    Planned variants are always stored. Unplanned variants are stored while their tenant's budget and their pack
    location have room; otherwise they are rendered for the waiting clients only. The same applies to any variant that
    the database or the store does not take, for example because the disk is full.
    """

    def __init__(self, site: Site) -> None:
        self._site = site
        self._flights: dict[str, asyncio.Task[Sendable | None]] = {}
        # CPU seconds and number of waiting and running renders, by group.
        self._seconds: defaultdict[Group, float] = defaultdict(float)
        self._counts: Counter[Group] = Counter()
        # More render processes than processors render no faster.
        self._at_once = min(site.renderer.processes, os.cpu_count() or 1)
        self._queue_seconds = site.settings.render_queue_seconds
        self._rates, self._rates_due = RenderCosts({}), 0.0
        # Separate threads, because other requests must not wait for renders.
        self._threads = anyio.CapacityLimiter(MAX_FLIGHTS)

    async def make(
        self, target: Target, rendered: Callable[[], None] | None = None, *, planned: bool
    ) -> Sendable | None:
        """Render a missing variant. Return it if it was not stored; None: it is stored.

        Args:
            planned: whether the variant is planned.
            rendered: called in a thread after the render; not called for other clients that wait for the same render.

        Raises:
            Unrenderable, RenderTimeout: the original cannot be rendered like this.
            Overloaded: too much work waits, or no render process became free in time.
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
        """Raise `Overloaded` if one of the request's groups has too much waiting work."""
        if len(self._flights) >= MAX_FLIGHTS:
            raise Overloaded(self._queue_seconds)
        places = self._site.renderer.places
        tenants = {group for group in self._counts if group[0] == TENANT} | {groups[0]}
        at_once: dict[str, float] = {
            # Tenants take turns, so each gets an equal share of the processes.
            TENANT: self._at_once / len(tenants),
            ORIGINAL: min(places.original, self._at_once),
            SLOW: min(places.slow, self._at_once),
        }
        for group in groups:
            # A group without other renders accepts any request, however long it takes.
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
            faults.count(log, error, "a requested variant could not be stored")
            return _unkept(target, error.rendered, is_recorded=False)
        except DatabaseFault as error:
            if not is_outage(error):
                raise
            faults.count(log, error, "a requested variant could not be announced and is not stored")
            return self._draw_unrecorded(target, is_slow=is_slow, deadline=deadline)
        # A lost original is no failure of the variant, which renders once the original is back.
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
        """Render a variant without storing it, because there is no room for it."""
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
        """Render a variant while the database takes no writes."""
        try:
            drawn = render_unstored(self._site, target, Lane.ON_DEMAND, is_slow=is_slow, deadline=deadline)
        except QueueTimeout as full:
            raise Overloaded(self._queue_seconds) from full
        except PackshotError as error:
            raise _unrenderable(error) from None
        return _unkept(target, drawn, is_recorded=False)


@contextmanager
def _tolerating_outages() -> Iterator[None]:
    """Ignore failed writes of statistics about a render during a database outage: the variant itself is ready."""
    try:
        yield
    except DatabaseFault as error:
        if not is_outage(error):
            raise
        faults.count(log, error, "the costs of a render on demand could not be recorded")


def _unkept(target: Target, drawn: Rendered, *, is_recorded: bool = True) -> Sendable:
    digest = sha256(drawn.data).hexdigest()
    stored = Stored(str(target.key), len(drawn.data), digest, metadata_of(target), datetime.now(UTC))
    return Sendable(stored, drawn.data, is_kept=False, is_recorded=is_recorded)


def _added(entry: Entry | None, outcome: StoredVariant | FailedVariant) -> int:
    """Return by how many bytes a render changes the usage of unplanned variants."""
    row = unplanned_usage.ROW_BYTES if entry is None else 0
    known = 0 if entry is None else entry.bytes or 0
    return row + (outcome.bytes - known if isinstance(outcome, StoredVariant) else 0)


def _groups(target: Target, *, is_slow: bool) -> tuple[Group, ...]:
    groups = ((TENANT, target.key.tenant), (ORIGINAL, target.original.sha256))
    return (*groups, (SLOW, "")) if is_slow else groups


def _unrenderable(error: PackshotError) -> PackshotError:
    """Return a render error as a refusal of the image request. The client did not send the original."""
    if isinstance(error, RenderTimeout | Unrenderable):
        return error
    return Unrenderable(error.message, expected=error.expected, got=error.got)


def refuse_undecodable(original: Original) -> None:
    """Refuse an original whose decoding failed a short time ago.

    Raises:
        Unrenderable, RenderTimeout: the decoding failed.
    """
    if (failure := original.recent_failure) is not None:
        raise _unrenderable(failure)


def refuse_failed(entry: Entry | None) -> None:
    """Refuse a variant that has used up its attempts, because another attempt would cost as much again.

    Raises:
        Unrenderable, RenderTimeout: the variant failed.
    """
    if entry is not None and entry.state is VariantState.FAILED:
        kind = RenderTimeout if entry.error_code is ErrorCode.RENDER_TIMEOUT else Unrenderable
        raise kind(entry.error or "This image cannot be rendered.")
