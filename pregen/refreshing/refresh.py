"""Bringing packs' planned variants up to their current state, a batch of bulk work at a time.

Harmless to repeat, at any time, by any number of workers: the claim lets one
at a time work on a pack, and whoever lost the lease cannot finish anything. The
database is asked for a whole batch at once; each pack is decoded and drawn by itself.
"""

import logging
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

from packshot.catalog.configuration import tenants
from packshot.catalog.configuration.pending_changes import PendingChange, read_pending_change
from packshot.catalog.configuration.snapshots import read_snapshots
from packshot.catalog.database.transaction import DatabaseFault
from packshot.catalog.variants import demand, ledger
from packshot.catalog.variants.ledger import MAX_ATTEMPTS, Entry, FailedVariant, VariantState
from packshot.catalog.work import job_items, orders
from packshot.catalog.work.orders import OrderClaim, Priority
from packshot.errors import Gone, PackshotError
from packshot.geometry import Size
from packshot.maintenance.retrying import describe_outage, is_outage
from packshot.model import Snapshot
from packshot.production import announce, find_variant, render_variants
from packshot.render.processes.lanes import Pulse
from packshot.render.processes.pool import Lane, RendererClosed
from packshot.site import Site
from packshot.variants.change import planned_under, touched_locations, under
from packshot.variants.demand import DemandedForm
from packshot.variants.key import Key
from packshot.variants.resolve import Target, planned_all
from pregen.refreshing.failures import classify_failure, fail_unplanned, fail_work
from pregen.refreshing.outcome import Outcomes, PackWork, RenderedPack, record_results

log = logging.getLogger(__name__)


# So many variants are drawn before they are kept, and a newer order is looked for.
PORTION = 32
# So often a worker looks whether what it is at is still wanted: an edit may have taken it over.
LOOK_SECONDS = 0.5
RENEW_SECONDS = 5.0
# Finished packs of a batch are written down together, at the latest after this.
FINISH_SECONDS = 1.0
# After so many outages in a row nothing else of a batch is tried.
MAX_CONSECUTIVE_OUTAGES = 3
# A store that lacks an original is believed after so many attempts, about two minutes: somebody may be moving
# originals, or putting them back.
LOST_AFTER_OUTAGES = 6
# Seconds between the attempts to put packs off while the database does not answer.
PAUSES = (1.0, 2.0, 4.0)


class LeaseLost(Exception):
    """Somebody else works on this pack by now, or its job was stopped; what was done here is not to be written down."""


class Outdated(Exception):
    """The pack was edited meanwhile: what is left of the work would be for nobody."""


def refresh_packs(site: Site, tenant: str, pack_ids: Sequence[str]) -> None:
    """Render what the orders of some packs ask for, until nothing is ordered any more.

    An outage puts a pack off and is logged; it counts against no image.
    """
    left = list(pack_ids)
    while left:
        try:
            works = _begin(site, tenant, left)
        except Exception as error:
            if is_outage(error):
                raise
            _find_unplanned(site, tenant, left, error)
            return
        batch = _Batch(site, tenant, works)
        if not works or not batch.run():
            return
        left = [pack_id for pack_id in left if pack_id not in batch.waiting]


def _find_unplanned(site: Site, tenant: str, pack_ids: Sequence[str], error: Exception) -> None:
    """Refresh each pack by itself, as one of them is at fault; of a single one count the exception."""
    if len(pack_ids) == 1:
        fail_unplanned(site, tenant, pack_ids[0], error)
        return
    for pack_id in pack_ids:
        refresh_packs(site, tenant, [pack_id])


def _begin(site: Site, tenant: str, pack_ids: Sequence[str]) -> list[PackWork]:
    with site.catalog.write(tenant) as tx:
        claims = orders.claim(tx, pack_ids)
        if not claims:
            return []
        claimed = [claim.pack_id for claim in claims]
        job_items.mark_started(tx, claimed)
        snapshots = read_snapshots(tx, claimed)
        pending_change, configured = read_pending_change(tx), tenants.configuration_number(tx)
        # A regeneration renders what clients often ask for as well, and so does a change that gives all pictures
        # other keys; an edit does not wait for that.
        wants_popular = pending_change is not None or any(claim.check_store for claim in claims)
        popular = demand.read_popular(tx, threshold=site.settings.demand_threshold) if wants_popular else ()
        works, places = [], {pack_id: place for place, pack_id in enumerate(pack_ids)}
        for claim in sorted(claims, key=lambda claim: (-claim.seq, places[claim.pack_id])):
            snapshot = snapshots[claim.pack_id]
            live = planned_all(snapshot, limit=site.limit)
            often = demand.popular_targets(popular, snapshot, live, limit=site.limit) if claim.check_store else ()
            prepared, pending_popular = _prepared(snapshot, pending_change, popular, site.limit)
            works.append(PackWork(claim, configured, live, often, pending_change, prepared, pending_popular, {}))
        wanted = {target.key for work in works for target in work.targets}
        # What was rendered ahead of time before, too: it tells where an editor waits for a picture to be replaced.
        found = ledger.read_planned(tx, claimed) | ledger.read_entries(tx, wanted)
    entries: defaultdict[str, dict[str, Entry]] = defaultdict(dict)
    for key, entry in found.items():
        entries[key.split("/")[1]][key] = entry
    return [replace(work, entries=entries[work.claim.pack_id]) for work in works]


def _prepared(
    snapshot: Snapshot, pending_change: PendingChange | None, popular: Sequence[DemandedForm], limit: Size
) -> tuple[tuple[Target, ...], tuple[Target, ...]]:
    """Return what is planned of a pack under the change that is being prepared, and what is popular."""
    if pending_change is None:
        return (), ()
    change = pending_change.change
    planned = planned_under(snapshot, change, limit=limit)
    touched = touched_locations(snapshot.locations, change)
    forms = [one for one in popular if touched is None or one.location in touched]
    return planned, demand.popular_targets(forms, under(snapshot, change), planned, limit=limit)


class _Batch:
    """Some packs of one claim, drawn one after the other and written down together."""

    def __init__(self, site: Site, tenant: str, works: Sequence[PackWork]) -> None:
        self._site, self._tenant = site, tenant
        self._open = {work.claim.pack_id: work for work in works}
        self._done: list[RenderedPack] = []
        self._lost: set[str] = set()
        # Packs that were put off: whoever goes on with the others leaves them alone.
        self.waiting: set[str] = set()
        self._written_at = time.monotonic()
        self._looking = Pulse(self._look, LOOK_SECONDS)
        self._renewal = Pulse(self._renew, RENEW_SECONDS)

    def run(self) -> bool:
        """Work the batch off; False: an outage or the end of this process has stopped it."""
        try:
            missing = {pack_id: list(_portions(self._site, work)) for pack_id, work in self._open.items()}
            self._lose(missing)
            self._announce(missing)
            if not self._draw_all(missing):
                return False
            self._write_down()
        except RendererClosed as error:
            # This process is about to end; another one, or this one's successor, goes on.
            self._write_down()
            self._put_off(self._open.values(), describe_outage(error))
            return False
        except Exception as error:  # noqa: BLE001 - sorted and logged
            failure = classify_failure(log, error, "%d packs could not be brought up to date", len(self._open))
            if isinstance(failure, str):
                self._put_off(self._open.values(), failure)
                return False
            return self._fail_all(failure)
        return True

    def _fail_all(self, failure: PackshotError) -> bool:
        """Count what ended the whole batch; of several packs each is tried by itself, as one of them is at fault."""
        works = list(self._open.values())
        if len(works) == 1:
            self._fail(works[0], failure)
            return True
        for number, work in enumerate(works, 1):
            alone = _Batch(self._site, self._tenant, [work])
            goes_on = alone.run()
            self.waiting |= alone.waiting
            if not goes_on:
                self._open = {one.claim.pack_id: one for one in works[number:]}
                self._let_go()
                return False
        return True

    def _fail(self, work: PackWork, failure: PackshotError) -> None:
        self.waiting.add(work.claim.pack_id)
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
                log.info("the work on pack %s is not wanted any more", pack_id)
                del self._open[pack_id]
            except Outdated:
                del self._open[pack_id]
            except RendererClosed:
                raise
            except Exception as error:  # noqa: BLE001 - sorted and logged
                failure = classify_failure(log, error, "pack %s could not be rendered", pack_id)
                del self._open[pack_id]
                if isinstance(failure, PackshotError):
                    self._fail(work, failure)
                    continue
                self._put_off([work], failure)
                outages += 1
                if outages == MAX_CONSECUTIVE_OUTAGES or len(missing) == 1:
                    self._write_down()
                    self._let_go()
                    return False
            if time.monotonic() - self._written_at > FINISH_SECONDS:
                self._write_down()
        return True

    def _lose(self, missing: dict[str, list[list[Target]]]) -> None:
        # What is to be made although the ledger has it, the store had lost.
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
            wanted = {
                pack_id: [t for portion in portions for t in portion if (t.key in ahead[pack_id]) is planned]
                for pack_id, portions in missing.items()
            }
            try:
                announce(self._site, [target for targets in wanted.values() for target in targets], planned=planned)
            except Gone:
                for pack_id, targets in wanted.items():
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
                    raise Outdated
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
                heartbeat_seconds=LOOK_SECONDS,
                refuse_missing=work.claim.outages >= LOST_AFTER_OUTAGES,
            )
            outcomes |= {str(outcome.key): outcome for outcome in made}
            refused = {str(outcome.key) for outcome in made if isinstance(outcome, FailedVariant)}
            for key in refused:
                attempts[key] += 1
            missing = [t for t in missing if str(t.key) in refused and attempts[str(t.key)] < MAX_ATTEMPTS]
            if missing:
                # Counted before the next try, so that a picture which kills its worker counts too.
                with self._site.catalog.write(self._tenant) as tx:
                    if not orders.renew(tx, [work.claim]):
                        raise LeaseLost
                    ledger.record(tx, [outcomes[str(target.key)] for target in missing])
        return outcomes

    def _beat(self, work: PackWork) -> None:
        if work.claim.priority is Priority.BULK:
            self._looking.beat_if_due()
        self._renewal.beat_if_due()
        if work.claim.pack_id in self._lost:
            raise LeaseLost

    def _look(self) -> None:
        with self._site.catalog.read(self._tenant) as tx:
            self._lost |= self._open.keys() - orders.read_held_leases(tx, self._claims())

    def _renew(self) -> None:
        with self._site.catalog.write(self._tenant) as tx:
            self._lost |= self._open.keys() - orders.renew(tx, self._claims())

    def _claims(self) -> list[OrderClaim]:
        return [work.claim for work in self._open.values()]

    def _write_down(self) -> None:
        """Finish the packs that are done, all in one transaction."""
        self._written_at = time.monotonic()
        if not self._done:
            return
        with self._site.catalog.write(self._tenant) as tx:
            still = orders.finish(tx, [drawn.work.claim for drawn in self._done])
            record_results(tx, self._site, [drawn for drawn in self._done if drawn.work.claim.pack_id in still], still)
        for drawn in self._done:
            pack_id = drawn.work.claim.pack_id
            if pack_id not in still:
                log.info("the work on pack %s is not wanted any more", pack_id)
            del self._open[pack_id]
        self._done = []

    def _let_go(self) -> None:
        with self._site.catalog.write(self._tenant) as tx:
            orders.release(tx, self._claims())

    def _put_off(self, works: Iterable[PackWork], reason: str) -> None:
        # It may be the database that was away; without this the packs would wait for their leases to run out.
        claims = [work.claim for work in works]
        self.waiting |= {claim.pack_id for claim in claims}
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
    # An editor waits for what replaces pictures that were there, and for what is shown now; not for
    # what a bulk job wants of the same pack, and not for what is being prepared.
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
