"""Bringing one pack's planned variants up to its current state.

Harmless to repeat, at any time, by any number of workers: the claim lets one
at a time work on a pack, and whoever lost the lease cannot finish anything.
"""

import logging
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

from packshot.catalog import demand, items, ledger, orders, webhooks
from packshot.catalog.candidates import Candidate, read_candidate
from packshot.catalog.items import Ended
from packshot.catalog.jobs import Counts, Failure
from packshot.catalog.ledger import ATTEMPTS, Entry, Made, Refused, VariantState
from packshot.catalog.orders import Claim, Priority
from packshot.catalog.snapshots import read_snapshot
from packshot.catalog.transaction import DatabaseFault
from packshot.catalog.webhooks import Event
from packshot.make import find_variant, make_variants, supersede_outdated
from packshot.render.lanes import Pulse
from packshot.render.pool import Lane, RendererClosed
from packshot.site import Site
from packshot.variants.change import planned_under
from packshot.variants.resolve import Target, planned_all

log = logging.getLogger(__name__)


# So many variants are drawn before they are kept, and a newer order is looked for.
PORTION = 32
# So often a worker looks whether its bulk work is still wanted: an edit of the same pack waits for it.
LOOK_SECONDS = 0.5
RENEW_SECONDS = 5.0

# So often a store may say that it has no such original before it is believed: a folder that is not mounted says so too.
LOST_AFTER_OUTAGES = 5
# Seconds between the attempts to put a pack off while the database is away.
PAUSES = (1.0, 2.0, 4.0)


class LeaseLost(Exception):
    """Somebody else works on this pack by now, or its job was stopped; what was done here is not to be written down."""


class Outdated(Exception):
    """The pack was edited meanwhile: what is left of the work would be for nobody."""


@dataclass(frozen=True, slots=True)
class Work:
    """What is to be done with one pack, as it was at the claim.

    Attributes:
        planned: what its URLs give now.
        popular: what clients ask for so often that a regeneration renders it too.
        candidate: the change that is being prepared for its tenant.
        prepared: what its URLs are to give under that change, where it may differ.
        entries: the ledger's rows, by key.
    """

    claim: Claim
    planned: tuple[Target, ...]
    popular: tuple[Target, ...]
    candidate: Candidate | None
    prepared: tuple[Target, ...]
    entries: dict[str, Entry]


def refresh_pack(site: Site, tenant: str, pack_id: str) -> None:
    """Render what one pack's order asks for, until nothing is ordered any more.

    An outage puts the pack off and is logged; it counts against no image.
    """
    while (work := _begin(site, tenant, pack_id)) is not None:
        try:
            outcomes = _render(site, tenant, work)
            _end(site, tenant, work, outcomes)
        except Outdated:
            continue
        except LeaseLost:
            log.info("the work on pack %s is not wanted any more", pack_id)
            return
        except RendererClosed:
            # This process is about to end; another one, or this one's successor, goes on.
            _put_off(site, tenant, work.claim)
            return
        except Exception:
            log.exception("putting pack %s off after an outage", pack_id)
            _put_off(site, tenant, work.claim)
            return


def _put_off(site: Site, tenant: str, claim: Claim) -> None:
    # It may be the database that was away; without this the pack would wait for its lease to run out.
    for pause in (*PAUSES, None):
        try:
            with site.catalog.write(tenant) as tx:
                orders.put_off(tx, claim)
            return
        except DatabaseFault:
            if pause is None:
                raise
            time.sleep(pause)


def _begin(site: Site, tenant: str, pack_id: str) -> Work | None:
    with site.catalog.write(tenant) as tx:
        claim = orders.claim(tx, pack_id)
        if claim is None:
            return None
        items.mark_started(tx, pack_id)
        snapshot = read_snapshot(tx, pack_id)
        candidate = read_candidate(tx)
        entries = ledger.read_entries(tx, [pack_id])
        threshold = site.settings.demand_threshold if claim.verify else 0
        popular = demand.popular_targets(tx, snapshot, limit=site.limit, threshold=threshold)
    live = planned_all(snapshot, limit=site.limit)
    prepared = () if candidate is None else planned_under(snapshot, candidate.change, limit=site.limit)
    return Work(claim, live, popular, candidate, prepared, entries)


class _Heart:
    """Looks whether the work is still wanted, and renews the lease."""

    def __init__(self, site: Site, tenant: str, claim: Claim) -> None:
        self._site, self._tenant, self._claim = site, tenant, claim
        self._renewal = Pulse(self._renew, RENEW_SECONDS)

    def beat(self) -> None:
        if self._claim.priority is Priority.BULK:
            with self._site.catalog.read(self._tenant) as tx:
                wanted = orders.is_wanted(tx, self._claim)
            if wanted is False:
                raise LeaseLost
            if wanted is None:
                self._hand_back()
        self._renewal.beat_if_due()

    def _renew(self) -> None:
        with self._site.catalog.write(self._tenant) as tx:
            if not orders.renew(tx, self._claim):
                raise LeaseLost

    def _hand_back(self) -> None:
        with self._site.catalog.write(self._tenant) as tx:
            if orders.hand_back(tx, self._claim):
                raise Outdated


def _render(site: Site, tenant: str, work: Work) -> dict[str, Made | Refused]:
    lane = Lane.INTERACTIVE if work.claim.priority is Priority.INTERACTIVE else Lane.BULK
    heart = _Heart(site, tenant, work.claim)
    outcomes: dict[str, Made | Refused] = {}
    left = list(_portions(site, work))
    while left:
        portion = left.pop(0)
        outcomes |= _render_portion(site, tenant, work, portion, lane, heart.beat)
        if left:
            with site.catalog.write(tenant) as tx:
                if not orders.renew(tx, work.claim):
                    raise LeaseLost
                ledger.record(tx, [outcomes[str(target.key)] for target in portion])
                outdated = orders.hand_back(tx, work.claim)
            if outdated:
                raise Outdated
    return outcomes


def _portions(site: Site, work: Work) -> Iterator[list[Target]]:
    # What is shown now first, by itself: an editor waits for it.
    seen: set[str] = set()
    for targets in (work.planned, work.popular, work.prepared):
        fresh = {str(target.key): target for target in targets if str(target.key) not in seen}
        seen |= fresh.keys()
        missing = [target for target in fresh.values() if _is_missing(site, work, target)]
        for start in range(0, len(missing), PORTION):
            yield missing[start : start + PORTION]


def _render_portion(
    site: Site, tenant: str, work: Work, missing: list[Target], lane: Lane, beat: Callable[[], None]
) -> dict[str, Made | Refused]:
    outcomes: dict[str, Made | Refused] = {}
    attempts = {str(target.key): _attempts(work, target) for target in missing}
    while missing:
        made = _make(site, work, missing, lane, beat)
        outcomes |= {str(outcome.key): outcome for outcome in made}
        refused = {str(outcome.key) for outcome in made if isinstance(outcome, Refused)}
        for key in refused:
            attempts[key] += 1
        missing = [t for t in missing if str(t.key) in refused and attempts[str(t.key)] < ATTEMPTS]
        if missing:
            # Counted before the next try, so that a picture which kills its worker counts too.
            beat()
            with site.catalog.write(tenant) as tx:
                ledger.record(tx, [outcomes[str(target.key)] for target in missing])
    return outcomes


def _make(site: Site, work: Work, missing: list[Target], lane: Lane, beat: Callable[[], None]) -> list[Made | Refused]:
    make = partial(
        make_variants,
        site,
        lane=lane,
        heartbeat=beat,
        heartbeat_seconds=LOOK_SECONDS,
        refuse_lost=work.claim.outages >= LOST_AFTER_OUTAGES,
    )
    popular = [target for target in missing if target in work.popular]
    return make([t for t in missing if t not in popular], planned=True) + make(popular, planned=False)


def _attempts(work: Work, target: Target) -> int:
    entry = work.entries.get(str(target.key))
    return 0 if entry is None else entry.attempts


def _is_missing(site: Site, work: Work, target: Target) -> bool:
    key = str(target.key)
    entry = work.entries.get(key)
    if entry is None or entry.state is VariantState.PENDING:
        return True
    return entry.state is VariantState.READY and work.claim.verify and find_variant(site, key) is None


def _end(site: Site, tenant: str, work: Work, outcomes: dict[str, Made | Refused]) -> None:
    pack_id = work.claim.pack_id
    with site.catalog.write(tenant) as tx:
        if not orders.finish(tx, work.claim):
            raise LeaseLost
        ledger.record(tx, outcomes.values())
        entries = ledger.read_entries(tx, [pack_id])
        # The pack may have been edited since the claim: what is current is decided as of now.
        snapshot = read_snapshot(tx, pack_id)
        supersede_outdated(tx, snapshot, limit=site.limit)
        live = _tally((*work.planned, *work.popular), outcomes, entries)
        prepared = {} if work.candidate is None else {work.candidate.job_id: _tally(work.prepared, outcomes, entries)}
        items.settle(tx, pack_id, work.claim.seq, live, prepared)
        if any(isinstance(outcome, Made) for outcome in outcomes.values()):
            webhooks.tell(tx, Event.VARIANTS_READY, {"packId": pack_id, "failed": len(live.failures)})


def _tally(targets: Sequence[Target], outcomes: dict[str, Made | Refused], entries: dict[str, Entry]) -> Ended:
    counts: defaultdict[str, Counts] = defaultdict(Counts)
    failures: dict[str, Failure] = {}
    for target in targets:
        key, location = str(target.key), target.key.location
        count, entry = counts[location], entries.get(key)
        count.total += 1
        if isinstance(outcomes.get(key), Made):
            count.done += 1
        # Without a row it was superseded and collected meanwhile: nobody wants it any more.
        elif entry is None or entry.state is VariantState.READY:
            count.skipped += 1
        else:
            count.failed += 1
            assert entry.error_code is not None
            failures[location] = Failure(target.key.pack, location, entry.error_code, entry.error or "", entry.attempts)
    return Ended(dict(counts), list(failures.values()))
