"""Rendering on demand: what pregeneration did not make yet, or never will."""

import asyncio
from collections.abc import Callable

import anyio
import anyio.to_thread

from packshot.catalog import ledger
from packshot.catalog.ledger import Refused, VariantState
from packshot.errors import ErrorCode, RenderTimeout, Unrenderable
from packshot.make import find_variant, make_variants
from packshot.render.pool import Lane
from packshot.site import Site
from packshot.storage.base import Stored
from packshot.variants.resolve import Target

# Above what the renderer lets wait, so that it is the renderer that turns callers away.
THREADS = 100


class Fallback:
    """Makes missing variants, each once however many clients wait for it in this process.

    A client that goes away does not stop a render: others may wait for it, and
    what comes out is kept either way.
    """

    def __init__(self, site: Site) -> None:
        self._site = site
        self._flights: dict[str, asyncio.Task[Stored]] = {}
        # Apart from the threads that answer everything else, which must not wait for pixels.
        self._threads = anyio.CapacityLimiter(THREADS)

    async def fetch(self, target: Target, rendered: Callable[[], None] | None = None) -> Stored:
        """Return the stored variant, made now if it is missing.

        Args:
            rendered: called when it has been made for this caller; who else waits for it is not told.

        Raises:
            Unrenderable, RenderTimeout: the original cannot be drawn so.
            Overloaded: too many wait already.
        """
        key = str(target.key)
        flight = self._flights.get(key)
        if flight is None:
            flight = asyncio.create_task(self._fly(target, rendered))
            self._flights[key] = flight
            flight.add_done_callback(lambda _: self._flights.pop(key))
        return await asyncio.shield(flight)

    async def _fly(self, target: Target, rendered: Callable[[], None] | None) -> Stored:
        stored = await anyio.to_thread.run_sync(_make, self._site, target, limiter=self._threads)
        if rendered is not None:
            rendered()
        return stored


def _make(site: Site, target: Target) -> Stored:
    key, tenant = str(target.key), target.key.tenant
    with site.catalog.read(tenant) as tx:
        entry = ledger.read_entries(tx, [target.key.pack]).get(key)
    if entry is not None and entry.state is VariantState.FAILED:
        # It failed three times by its own fault; a fourth time would only cost as much again.
        kind = RenderTimeout if entry.error_code is ErrorCode.RENDER_TIMEOUT else Unrenderable
        raise kind(entry.error or "This picture cannot be rendered.")
    (outcome,) = make_variants(site, [target], Lane.ON_DEMAND, planned=False)
    with site.catalog.write(tenant) as tx:
        ledger.record(tx, [outcome])
    if isinstance(outcome, Refused):
        raise outcome.error
    stored = find_variant(site, key)
    if stored is None:
        raise OSError(f"The object {key} vanished after it was put.")
    return stored
