"""Bringing one pack's planned variants up to its current state.

Harmless to repeat, at any time, by any number of workers: the claim lets one
at a time work on a pack, and whoever lost the lease cannot finish anything.
"""

import logging
import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass

from packshot.catalog import demand, jobs, ledger, orders, webhooks
from packshot.catalog.jobs import Counts, Failure
from packshot.catalog.ledger import ATTEMPTS, Entry, Made, Refused, VariantState
from packshot.catalog.orders import Claim, Priority
from packshot.catalog.snapshots import read_snapshot
from packshot.catalog.transaction import DatabaseFault
from packshot.catalog.webhooks import Event
from packshot.make import find_variant, make_variants, supersede_outdated
from packshot.model import Snapshot
from packshot.render.pool import Lane, RendererClosed
from packshot.site import Site
from packshot.variants.resolve import Target, planned_all

log = logging.getLogger(__name__)


# So many variants are drawn before they are kept, and a newer order is looked for.
PORTION = 32


# So often a store may say that it has no such original before it is believed: a folder that is not mounted says so too.
LOST_AFTER_OUTAGES = 5
# Seconds between the attempts to put a pack off while the database is away.
PAUSES = (1.0, 2.0, 4.0)


class LeaseLost(Exception):
    """Somebody else works on this pack by now; what was done here is not to be written down."""


class Outdated(Exception):
    """The pack was edited meanwhile: what is left of the work would be for nobody."""


@dataclass(frozen=True, slots=True)
class Work:
    """What is to be done with one pack, as it was at the claim.

    Attributes:
        popular: what clients ask for so often that a regeneration renders it too.
    """

    claim: Claim
    snapshot: Snapshot
    planned: tuple[Target, ...]
    popular: tuple[Target, ...]
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
            log.warning("lost the lease of pack %s", pack_id)
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
        jobs.mark_started(tx, pack_id)
        snapshot = read_snapshot(tx, pack_id)
        entries = ledger.read_entries(tx, [pack_id])
        threshold = site.settings.demand_threshold if claim.verify else 0
        popular = demand.popular_targets(tx, snapshot, limit=site.limit, threshold=threshold)
    return Work(claim, snapshot, planned_all(snapshot, limit=site.limit), popular, entries)


def _render(site: Site, tenant: str, work: Work) -> dict[str, Made | Refused]:
    lane = Lane.INTERACTIVE if work.claim.priority is Priority.INTERACTIVE else Lane.BULK

    def renew() -> None:
        with site.catalog.write(tenant) as tx:
            if not orders.renew(tx, work.claim):
                raise LeaseLost

    outcomes: dict[str, Made | Refused] = {}
    left = [target for target in (*work.planned, *work.popular) if _is_missing(site, work, target)]
    while left:
        portion, left = left[:PORTION], left[PORTION:]
        outcomes |= _render_portion(site, tenant, work, portion, lane, renew)
        if left:
            with site.catalog.write(tenant) as tx:
                if not orders.renew(tx, work.claim):
                    raise LeaseLost
                ledger.record(tx, [outcomes[str(target.key)] for target in portion])
                outdated = orders.hand_back(tx, work.claim)
            if outdated:
                raise Outdated
    return outcomes


def _render_portion(
    site: Site, tenant: str, work: Work, missing: list[Target], lane: Lane, renew: Callable[[], None]
) -> dict[str, Made | Refused]:
    outcomes: dict[str, Made | Refused] = {}
    attempts = {str(target.key): _attempts(work, target) for target in missing}
    while missing:
        made = _make(site, work, missing, lane, renew)
        outcomes |= {str(outcome.key): outcome for outcome in made}
        refused = {str(outcome.key) for outcome in made if isinstance(outcome, Refused)}
        for key in refused:
            attempts[key] += 1
        missing = [t for t in missing if str(t.key) in refused and attempts[str(t.key)] < ATTEMPTS]
        if missing:
            # Counted before the next try, so that a picture which kills its worker counts too.
            renew()
            with site.catalog.write(tenant) as tx:
                ledger.record(tx, [outcomes[str(target.key)] for target in missing])
    return outcomes


def _make(site: Site, work: Work, missing: list[Target], lane: Lane, renew: Callable[[], None]) -> list[Made | Refused]:
    lost = work.claim.outages >= LOST_AFTER_OUTAGES
    planned = [target for target in missing if target not in work.popular]
    popular = [target for target in missing if target in work.popular]
    made = make_variants(site, planned, lane, planned=True, heartbeat=renew, refuse_lost=lost)
    return made + make_variants(site, popular, lane, planned=False, heartbeat=renew, refuse_lost=lost)


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
        counts, failures = _tally(work, outcomes, entries)
        jobs.settle(tx, pack_id, work.claim.seq, counts, failures)
        if any(isinstance(outcome, Made) for outcome in outcomes.values()):
            webhooks.tell(tx, Event.VARIANTS_READY, {"packId": pack_id, "failed": len(failures)})


def _tally(
    work: Work, outcomes: dict[str, Made | Refused], entries: dict[str, Entry]
) -> tuple[dict[str, Counts], list[Failure]]:
    counts: defaultdict[str, Counts] = defaultdict(Counts)
    failures: dict[str, Failure] = {}
    for target in (*work.planned, *work.popular):
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
            failures[location] = Failure(
                work.claim.pack_id, location, entry.error_code, entry.error or "", entry.attempts
            )
    return dict(counts), list(failures.values())
