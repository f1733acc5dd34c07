"""The dispatcher: looks every second for what is due, and rings for it.

It also lets bulk jobs in, a portion at a time, and sweeps what has expired. All
it knows is in the database, so nothing is lost with it. Of many processes one
dispatches at a time, by a lease; when it ends, the next one takes over.
"""

import logging
import secrets
from collections.abc import Callable
from datetime import timedelta
from functools import partial

from packshot.catalog import (
    candidates,
    erasures,
    fetches,
    items,
    leases,
    once,
    orders,
    purges,
    tenants,
    uploads,
    webhooks,
)
from packshot.catalog.orders import Due, Priority
from packshot.catalog.transaction import Tx
from packshot.site import Site
from pregen.activate import activate_if_ready, mark_portion
from pregen.admit import admit_portion
from pregen.loop import Loop

log = logging.getLogger(__name__)

LEASE = "dispatcher"
LEASE_TIME = timedelta(seconds=5)
SWEEP_TICKS = 60
PORTION = 100
# Bulk packs that may wait in the orders before a job's next portion is let in.
BULK_WAITING = 500
# So often each tenant gets its turn in one tick.
ROUNDS = 10
RINGS_A_TICK = 100
# Interactive packs that may be rung for or in work at a time: rung again and
# again, more of them would fill the queue faster than workers empty it.
INTERACTIVE_PLACES = 500

Ring = Callable[[str, str, Priority], None]


class Dispatcher:
    """A thread that keeps workers busy with what the database says is due.

    Args:
        ring: what asks a worker for one pack.
        bulk_places: how many bulk packs may be rung for or in work at a time.
    """

    def __init__(self, site: Site, ring: Ring, *, bulk_places: int) -> None:
        self._site = site
        self._ring = ring
        self._bulk_places = bulk_places
        self._holder = secrets.token_hex(16)
        self._ticks = 0
        self._loop = Loop("dispatcher", self.tick)

    def start(self) -> None:
        self._loop.start()

    def stop(self) -> None:
        """Stop looking and let another process do it."""
        self._loop.stop()
        self._loop.join()
        self._guard(self._hand_over)

    def wake(self) -> None:
        """Look now instead of at the next tick."""
        self._loop.wake()

    def free_leases(self) -> None:
        """Free what an earlier process held; only its one successor may call this."""
        with self._site.catalog.write("") as tx:
            leases.drop_all(tx)
            orders.free_leases(tx)
            fetches.free_leases(tx)
            erasures.free_leases(tx)
            purges.free_leases(tx)

    def _guard(self, step: Callable[[], None]) -> None:
        try:
            step()
        except Exception:
            # The next tick, or the next process, finds everything in the database.
            log.exception("the dispatcher could not do its work")

    def tick(self) -> None:
        """Let bulk work in, ring for what is due, and now and then sweep; nothing if another process does."""
        with self._site.catalog.write("") as tx:
            if not self._mine(tx):
                return
            items.fold_finished(tx)
            prepared = candidates.list_candidates(tx)
            unmarked = tenants.unmarked_tenants(tx)
        self._admit_in_turn()
        for tenant, candidate in prepared:
            self._guard(partial(activate_if_ready, self._site, tenant, candidate.job_id))
        for tenant in unmarked:
            self._guard(partial(mark_portion, self._site, tenant))
        with self._site.catalog.write("") as tx:
            if not self._mine(tx):
                return
            room = INTERACTIVE_PLACES - orders.count_in_work(tx, Priority.INTERACTIVE)
            due = orders.take_due(tx, Priority.INTERACTIVE, limit=max(0, min(room, RINGS_A_TICK)))
            room = self._bulk_places - orders.count_in_work(tx, Priority.BULK)
            if room > 0:
                due += orders.take_due(tx, Priority.BULK, limit=room)
        self._ring_for(due)
        self._ticks += 1
        if self._ticks % SWEEP_TICKS == 1:
            self._guard(self._sweep_uploads)
            self._guard(self._sweep_answers)

    def _mine(self, tx: Tx) -> bool:
        return leases.take_lease(tx, LEASE, self._holder, LEASE_TIME)

    def _hand_over(self) -> None:
        with self._site.catalog.write("") as tx:
            leases.drop_lease(tx, LEASE, self._holder)

    def _ring_for(self, due: list[Due]) -> None:
        for number, order in enumerate(due):
            try:
                self._ring(order.tenant, order.pack_id, order.priority)
            except Exception:
                log.exception("the queue takes no message; %d packs stay due", len(due) - number)
                with self._site.catalog.write("") as tx:
                    orders.put_back(tx, due[number:])
                return

    def _admit_in_turn(self) -> None:
        """Let bulk work in while there is room: a portion of one job of each tenant, and again."""
        for _ in range(ROUNDS):
            with self._site.catalog.read("") as tx:
                room = BULK_WAITING - orders.count_pending(tx, Priority.BULK)
                open_jobs = items.unadmitted_jobs(tx) if room > 0 else []
            if not open_jobs:
                return
            for tenant, job_id in open_jobs:
                # One job that cannot be let in must not keep the others' work waiting.
                self._guard(partial(self._admit, tenant, job_id))

    def _admit(self, tenant: str, job_id: str) -> None:
        with self._site.catalog.write(tenant) as tx:
            if self._mine(tx) and orders.count_pending(tx, Priority.BULK) < BULK_WAITING:
                admit_portion(tx, job_id, PORTION, limit=self._site.limit)

    def _sweep_answers(self) -> None:
        with self._site.catalog.write("") as tx:
            once.forget_answers(tx)
            webhooks.forget_deliveries(tx)
            purges.forget_purges(tx)

    def _sweep_uploads(self) -> None:
        with self._site.catalog.read("") as tx:
            expired = uploads.list_expired(tx, limit=PORTION)
        for tenant, upload_id in expired:
            self._site.uploads.delete(f"{tenant}/{upload_id}")
            with self._site.catalog.write(tenant) as tx:
                uploads.forget_upload(tx, upload_id)
