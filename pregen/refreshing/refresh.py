"""Refresh packs: render their planned variants, a batch of packs at a time.

Any number of workers can repeat a refresh at any time. A claim lets one worker at a time refresh a pack, and a worker
that has lost the lease cannot finish the order. The database is read once for a batch. Each pack is decoded and drawn
alone.
"""

import logging
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

from packshot.catalog.configuration import tenants
from packshot.catalog.configuration.pending_changes import read_pending_change
from packshot.catalog.configuration.snapshots import read_snapshots
from packshot.catalog.database.transaction import DatabaseFault
from packshot.catalog.variants import demand, ledger
from packshot.catalog.variants.ledger import MAX_ATTEMPTS, Entry, FailedVariant, VariantState
from packshot.catalog.work import job_items, orders
from packshot.catalog.work.orders import OrderClaim, Priority
from packshot.errors import Gone, PackshotError
from packshot.maintenance.retrying import describe_outage, is_outage
from packshot.production import announce, find_variant, render_variants
from packshot.render.processes.lanes import Pulse
from packshot.render.processes.pool import Lane, RendererClosed
from packshot.site import Site
from packshot.variants.key import Key, pack_of
from packshot.variants.resolve import Target, planned_all
from pregen.refreshing.failures import classify_failure, fail_order, fail_work
from pregen.refreshing.outcome import Outcomes, PackWork, RenderedPack, record_results
from pregen.refreshing.prepare import prepared_variants

log = logging.getLogger(__name__)


# Variants that are drawn before the results are recorded, and before the next check for a newer order.
PORTION = 32
# Seconds between two checks that the claims are still held: an edit may have taken a pack over.
LEASE_CHECK_SECONDS = 0.5
RENEW_SECONDS = 5.0
# Most seconds until finished packs of a batch are recorded. They are recorded together.
FINISH_SECONDS = 1.0
# Outages in a row that end a batch.
MAX_CONSECUTIVE_OUTAGES = 3
# Attempts after which a missing original counts as lost, about two minutes. Before that, an operator may be moving or
# restoring originals.
LOST_AFTER_OUTAGES = 6
# Seconds between the attempts to postpone packs while the database does not answer.
PAUSES = (1.0, 2.0, 4.0)


class LeaseLost(Exception):
    """Another worker has claimed the pack, or its job was stopped. The results must not be recorded."""


class OrderSuperseded(Exception):
    """The pack was edited, so its order has been superseded."""


def refresh_packs(site: Site, tenant: str, pack_ids: Sequence[str]) -> None:
    """Carry out the orders of some packs, until none is left.

    After an outage the pack is postponed. An outage counts against no variant.
    """
    left = list(pack_ids)
    while left:
        try:
            works = _claim(site, tenant, left)
        except Exception as error:
            if is_outage(error):
                raise
            _refresh_singly(site, tenant, left, error)
            return
        batch = _Batch(site, tenant, works)
        if not works or not batch.run():
            return
        left = [pack_id for pack_id in left if pack_id not in batch.postponed]


def _refresh_singly(site: Site, tenant: str, pack_ids: Sequence[str], error: Exception) -> None:
    """Refresh each pack alone, because one of them causes the fault. The fault of a single pack counts."""
    if len(pack_ids) == 1:
        fail_order(site, tenant, pack_ids[0], error)
        return
    for pack_id in pack_ids:
        refresh_packs(site, tenant, [pack_id])


def _claim(site: Site, tenant: str, pack_ids: Sequence[str]) -> list[PackWork]:
    with site.catalog.write(tenant) as tx:
        claims = orders.claim(tx, pack_ids)
        if not claims:
            return []
        claimed = [claim.pack_id for claim in claims]
        job_items.mark_started(tx, claimed)
        snapshots = read_snapshots(tx, claimed)
        pending_change, configured = read_pending_change(tx), tenants.configuration_number(tx)
        # A regeneration renders popular variants too, and so does a change that gives all variants new keys. An edit
        # does not wait for them.
        wants_popular = pending_change is not None or any(claim.check_store for claim in claims)
        popular = demand.read_popular(tx, threshold=site.settings.demand_threshold) if wants_popular else ()
        works, places = [], {pack_id: place for place, pack_id in enumerate(pack_ids)}
        for claim in sorted(claims, key=lambda claim: (-claim.seq, places[claim.pack_id])):
            snapshot = snapshots[claim.pack_id]
            live = planned_all(snapshot, limit=site.limit)
            popular_targets = (
                demand.popular_targets(popular, snapshot, live, limit=site.limit) if claim.check_store else ()
            )
            change = None if pending_change is None else pending_change.change
            prepared, pending_popular = prepared_variants(snapshot, change, popular, site.limit)
            works.append(
                PackWork(claim, configured, live, popular_targets, pending_change, prepared, pending_popular, {})
            )
        keys = {target.key for work in works for target in work.targets}
        # Earlier planned variants tell at which locations an edit replaces a variant.
        found = ledger.read_planned(tx, claimed) | ledger.read_entries(tx, keys)
    entries: defaultdict[str, dict[str, Entry]] = defaultdict(dict)
    for key, entry in found.items():
        entries[pack_of(key)][key] = entry
    return [replace(work, entries=entries[work.claim.pack_id]) for work in works]


class _Batch:
    """The packs of one claim. They are drawn in sequence and recorded together."""

    def __init__(self, site: Site, tenant: str, works: Sequence[PackWork]) -> None:
        self._site, self._tenant = site, tenant
        self._open = {work.claim.pack_id: work for work in works}
        self._done: list[RenderedPack] = []
        self._lost: set[str] = set()
        # Packs that were postponed or failed. The caller does not claim them again.
        self.postponed: set[str] = set()
        self._recorded_at = time.monotonic()
        self._lease_check = Pulse(self._check_leases, LEASE_CHECK_SECONDS)
        self._renewal = Pulse(self._renew, RENEW_SECONDS)

    def run(self) -> bool:
        """Carry out the work of the batch. False: an outage or the end of this process has stopped it."""
        try:
            missing = {pack_id: list(_portions(self._site, work)) for pack_id, work in self._open.items()}
            self._mark_lost(missing)
            self._announce(missing)
            if not self._draw_all(missing):
                return False
            self._record()
        except RendererClosed as error:
            # This process ends; another one continues.
            self._record()
            self._postpone(self._open.values(), describe_outage(error))
            return False
        except Exception as error:  # noqa: BLE001 - classified and logged
            failure = classify_failure(log, error, "%d packs could not be refreshed", len(self._open))
            if isinstance(failure, str):
                self._postpone(self._open.values(), failure)
                return False
            return self._fail_all(failure)
        return True

    def _fail_all(self, failure: PackshotError) -> bool:
        """Count a failure of the whole batch. Of several packs, each is tried alone, because one of them causes it."""
        works = list(self._open.values())
        if len(works) == 1:
            self._fail(works[0], failure)
            return True
        for number, work in enumerate(works, 1):
            alone = _Batch(self._site, self._tenant, [work])
            continues = alone.run()
            self.postponed |= alone.postponed
            if not continues:
                self._open = {rest.claim.pack_id: rest for rest in works[number:]}
                self._release()
                return False
        return True

    def _fail(self, work: PackWork, failure: PackshotError) -> None:
        self.postponed.add(work.claim.pack_id)
        fail_work(self._site, self._tenant, work, failure)

    def _draw_all(self, missing: dict[str, list[list[Target]]]) -> bool:
        outages = 0
        for pack_id, portions in missing.items():
            work = self._open[pack_id]
            if pack_id in self._lost:
                del self._open[pack_id]
                continue
            try:
                self._done.append(self._draw(work, portions))
                outages = 0
            except LeaseLost:
                log.info("the work on pack %s has been superseded", pack_id)
                del self._open[pack_id]
            except OrderSuperseded:
                del self._open[pack_id]
            except RendererClosed:
                raise
            except Exception as error:  # noqa: BLE001 - classified and logged
                failure = classify_failure(log, error, "pack %s could not be rendered", pack_id)
                del self._open[pack_id]
                if isinstance(failure, PackshotError):
                    self._fail(work, failure)
                    continue
                self._postpone([work], failure)
                outages += 1
                if outages == MAX_CONSECUTIVE_OUTAGES or len(missing) == 1:
                    self._record()
                    self._release()
                    return False
            if time.monotonic() - self._recorded_at > FINISH_SECONDS:
                self._record()
        return True

    def _mark_lost(self, missing: dict[str, list[list[Target]]]) -> None:
        # The store has lost the variants that are READY in the ledger and missing.
        keys = {pack_id: {str(t.key) for portion in portions for t in portion} for pack_id, portions in missing.items()}
        lost = [
            entry
            for pack_id, work in self._open.items()
            for key, entry in work.entries.items()
            if entry.state is VariantState.READY and key in keys[pack_id]
        ]
        if lost:
            with self._site.catalog.write(self._tenant) as tx:
                ledger.mark_lost(tx, lost)

    def _announce(self, missing: dict[str, list[list[Target]]]) -> None:
        ahead = {pack_id: _ahead_of_time(work) for pack_id, work in self._open.items()}
        for planned in (True, False):
            unannounced = {
                pack_id: [t for portion in portions for t in portion if (t.key in ahead[pack_id]) is planned]
                for pack_id, portions in missing.items()
            }
            try:
                announce(
                    self._site, [target for targets in unannounced.values() for target in targets], planned=planned
                )
            except Gone:
                for pack_id, targets in unannounced.items():
                    try:
                        announce(self._site, targets, planned=planned)
                    except Gone:
                        self._lost.add(pack_id)

    def _draw(self, work: PackWork, portions: list[list[Target]]) -> RenderedPack:
        outcomes: Outcomes = {}
        last: Outcomes = {}
        for number, portion in enumerate(portions, 1):
            last = self._draw_portion(work, portion)
            outcomes |= last
            if number < len(portions):
                with self._site.catalog.write(self._tenant) as tx:
                    if not orders.renew(tx, [work.claim]):
                        raise LeaseLost
                    ledger.record(tx, last.values())
                    outdated = orders.yield_to_newer(tx, work.claim)
                if outdated:
                    raise OrderSuperseded
        return RenderedPack(work, outcomes, last)

    def _draw_portion(self, work: PackWork, missing: list[Target]) -> Outcomes:
        outcomes: Outcomes = {}
        attempts = {str(target.key): _attempts(work, target) for target in missing}
        lane = Lane.INTERACTIVE if work.claim.priority is Priority.INTERACTIVE else Lane.BULK
        while missing:
            made = render_variants(
                self._site,
                missing,
                lane,
                heartbeat=lambda: self._beat(work),
                heartbeat_seconds=LEASE_CHECK_SECONDS,
                refuse_missing=work.claim.outages >= LOST_AFTER_OUTAGES,
            )
            outcomes |= {str(outcome.key): outcome for outcome in made}
            refused = {str(outcome.key) for outcome in made if isinstance(outcome, FailedVariant)}
            for key in refused:
                attempts[key] += 1
            missing = [t for t in missing if str(t.key) in refused and attempts[str(t.key)] < MAX_ATTEMPTS]
            if missing:
                # Recorded before the next attempt, so that an image that kills its worker is counted too.
                with self._site.catalog.write(self._tenant) as tx:
                    if not orders.renew(tx, [work.claim]):
                        raise LeaseLost
                    ledger.record(tx, [outcomes[str(target.key)] for target in missing])
        return outcomes

    def _beat(self, work: PackWork) -> None:
        if work.claim.priority is Priority.BULK:
            self._lease_check.beat_if_due()
        self._renewal.beat_if_due()
        if work.claim.pack_id in self._lost:
            raise LeaseLost

    def _check_leases(self) -> None:
        with self._site.catalog.read(self._tenant) as tx:
            self._lost |= self._open.keys() - orders.read_held_leases(tx, self._claims())

    def _renew(self) -> None:
        with self._site.catalog.write(self._tenant) as tx:
            self._lost |= self._open.keys() - orders.renew(tx, self._claims())

    def _claims(self) -> list[OrderClaim]:
        return [work.claim for work in self._open.values()]

    def _record(self) -> None:
        """Record and finish the drawn packs, in one transaction."""
        self._recorded_at = time.monotonic()
        if not self._done:
            return
        with self._site.catalog.write(self._tenant) as tx:
            finished = orders.finish(tx, [drawn.work.claim for drawn in self._done])
            record_results(
                tx, self._site, [drawn for drawn in self._done if drawn.work.claim.pack_id in finished], finished
            )
        for drawn in self._done:
            pack_id = drawn.work.claim.pack_id
            if pack_id not in finished:
                log.info("the work on pack %s has been superseded", pack_id)
            del self._open[pack_id]
        self._done = []

    def _release(self) -> None:
        with self._site.catalog.write(self._tenant) as tx:
            orders.release(tx, self._claims())

    def _postpone(self, works: Iterable[PackWork], reason: str) -> None:
        # The database may be the cause of the outage. Without these attempts the packs would wait until their leases
        # expire.
        claims = [work.claim for work in works]
        self.postponed |= {claim.pack_id for claim in claims}
        for pause in (*PAUSES, None):
            try:
                with self._site.catalog.write(self._tenant) as tx:
                    for claim in claims:
                        orders.postpone(tx, claim, reason)
                return
            except DatabaseFault:
                if pause is None:
                    raise
                time.sleep(pause)


def _portions(site: Site, work: PackWork) -> Iterator[list[Target]]:
    seen: set[str] = set()
    for targets in _by_urgency(work):
        fresh = {key: target for target in targets if (key := str(target.key)) not in seen}
        seen |= fresh.keys()
        missing = [target for key, target in fresh.items() if _is_missing(site, work, key)]
        for start in range(0, len(missing), PORTION):
            yield missing[start : start + PORTION]


def _by_urgency(work: PackWork) -> Iterator[Sequence[Target]]:
    # A user who edits waits for the replaced variants and for the other current ones. The variants of a bulk job and of
    # a pending change follow.
    if work.claim.priority is Priority.INTERACTIVE:
        shown_locations = {entry.place[0] for entry in work.entries.values() if entry.state is VariantState.READY}
        yield [target for target in work.planned if target.key.location in shown_locations]
    yield (*work.planned, *work.popular)
    yield (*work.prepared, *work.pending_popular)


def _ahead_of_time(work: PackWork) -> set[Key]:
    return {target.key for target in (*work.planned, *work.prepared)}


def _attempts(work: PackWork, target: Target) -> int:
    entry = work.entries.get(str(target.key))
    return 0 if entry is None else entry.attempts


def _is_missing(site: Site, work: PackWork, key: str) -> bool:
    entry = work.entries.get(key)
    if entry is None or entry.state is VariantState.PENDING:
        return True
    return entry.state is VariantState.READY and work.claim.check_store and find_variant(site, key) is None
