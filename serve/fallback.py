"""Rendering on demand: what pregeneration did not make yet, or never will."""

import asyncio
import os
import time
from collections.abc import Callable

import anyio
import anyio.to_thread

from packshot.catalog import ledger
from packshot.catalog.ledger import Entry, Refused, VariantState
from packshot.catalog.rates import Rates, read_rates
from packshot.errors import ErrorCode, PackshotError, RenderTimeout, Unrenderable
from packshot.make import make_variants
from packshot.render.pool import Lane
from packshot.site import Site
from packshot.variants.resolve import Target

# Each admitted render has a thread that waits for it; more than these are refused, however little they would take.
MOST_FLIGHTS = 200
# What rendering costs here changes slowly.
RATES_SECONDS = 10.0


class Overloaded(Exception):
    """More is to be rendered than can be soon.

    Attributes:
        seconds: after so many there will be room again.
    """

    def __init__(self, seconds: float) -> None:
        super().__init__(f"{seconds:.1f} s of rendering are waiting")
        self.seconds = seconds


class Fallback:
    """Makes missing variants, each once however many clients wait for it in this process.

    A client that goes away does not stop a render: others may wait for it, and
    what comes out is kept either way. How much may wait is bounded by the time
    that it will take, foretold from the pixels and what such pixels took of late;
    whoever comes beyond that is turned away before anything is done for them.
    """

    def __init__(self, site: Site) -> None:
        self._site = site
        self._flights: dict[str, asyncio.Task[None]] = {}
        self._seconds = 0.0
        # More processes than processors render no faster.
        self._at_once = min(site.renderer.processes, os.cpu_count() or 1)
        self._most_seconds = site.settings.render_queue_seconds * self._at_once
        self._rates, self._rates_due = Rates({}), 0.0
        # Apart from the threads that answer everything else, which must not wait for pixels.
        self._threads = anyio.CapacityLimiter(MOST_FLIGHTS)

    async def make(self, target: Target, rendered: Callable[[], None] | None = None) -> None:
        """Have a variant made that is missing.

        Args:
            rendered: called when it has been made for this caller, in a thread; who else waits for it is not told.

        Raises:
            Unrenderable, RenderTimeout: the original cannot be drawn so.
            Overloaded: too much waits already; at once.
        """
        key = str(target.key)
        flight = self._flights.get(key)
        if flight is None:
            seconds = self._foretell(target)
            if (self._flights and self._seconds + seconds > self._most_seconds) or len(self._flights) >= MOST_FLIGHTS:
                raise Overloaded(self._seconds / self._at_once)
            making = anyio.to_thread.run_sync(self._make, target, rendered, limiter=self._threads)
            flight = asyncio.create_task(making)
            self._flights[key] = flight
            self._seconds += seconds
            flight.add_done_callback(lambda _: self._land(key, seconds))
        await asyncio.shield(flight)

    def _land(self, key: str, seconds: float) -> None:
        del self._flights[key]
        self._seconds -= seconds

    def _foretell(self, target: Target) -> float:
        """Return the CPU seconds that rendering will take, as far as that is known."""
        original = target.original
        variant, _ = self._rates.variant(target.drawing.format, target.pixels)
        return self._rates.decoding(original.width * original.height) + variant

    def _make(self, target: Target, rendered: Callable[[], None] | None) -> None:
        tenant = target.key.tenant
        with self._site.catalog.read(tenant) as tx:
            entry = ledger.read_entry(tx, target.key)
            if time.monotonic() >= self._rates_due:
                self._rates, self._rates_due = read_rates(tx), time.monotonic() + RATES_SECONDS
        refuse_failed(entry)
        (outcome,) = make_variants(self._site, [target], Lane.ON_DEMAND, planned=False)
        with self._site.catalog.write(tenant) as tx:
            ledger.record(tx, [outcome])
        if isinstance(outcome, Refused):
            raise _unrenderable(outcome.error)
        if rendered is not None:
            rendered()


def _unrenderable(error: PackshotError) -> PackshotError:
    """Return the refusal of whoever asks for a picture: what was uploaded long ago is not in their request."""
    if isinstance(error, RenderTimeout | Unrenderable):
        return error
    return Unrenderable(error.message, expected=error.expected, got=error.got)


def refuse_failed(entry: Entry | None) -> None:
    """Raise the refusal of a variant that failed three times by its own fault; a fourth time would cost as much again.

    Raises:
        Unrenderable, RenderTimeout: it did.
    """
    if entry is not None and entry.state is VariantState.FAILED:
        kind = RenderTimeout if entry.error_code is ErrorCode.RENDER_TIMEOUT else Unrenderable
        raise kind(entry.error or "This picture cannot be rendered.")
