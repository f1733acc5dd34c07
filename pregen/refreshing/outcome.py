"""The work on one pack, and the transaction that records its results."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from packshot.catalog.clients import webhook_deliveries
from packshot.catalog.clients.webhooks import Event
from packshot.catalog.configuration import tenants
from packshot.catalog.configuration.pending_changes import PendingChange
from packshot.catalog.database.transaction import Tx
from packshot.catalog.variants import ledger
from packshot.catalog.variants.ledger import Current, Entry, FailedVariant, StoredVariant, VariantState
from packshot.catalog.work import job_items
from packshot.catalog.work.job_items import FinishedPack, VariantCounts
from packshot.catalog.work.jobs import Counts, Failure
from packshot.catalog.work.orders import OrderClaim
from packshot.production import supersede_outdated
from packshot.site import Site
from packshot.variants.resolve import Target


@dataclass(frozen=True, slots=True)
class PackWork:
    """The variants that one pack needs, as of the claim.

    Attributes:
        configured: number of the configuration.
        planned: variants that its URLs yield now.
        popular: unplanned variants that clients request so often that a regeneration renders them.
        pending_change: the tenant's pending change; None: there is none.
        prepared: variants that its URLs would yield under that change, in the locations that it touches.
        pending_popular: popular variants under that change.
        entries: the ledger's rows of all these and of the pack's earlier planned variants, by key.
    """

    claim: OrderClaim
    configured: int
    planned: tuple[Target, ...]
    popular: tuple[Target, ...]
    pending_change: PendingChange | None
    prepared: tuple[Target, ...]
    pending_popular: tuple[Target, ...]
    entries: dict[str, Entry]

    @property
    def targets(self) -> tuple[Target, ...]:
        """All variants, some of them twice."""
        return (*self.planned, *self.popular, *self.prepared, *self.pending_popular)


Outcomes = dict[str, StoredVariant | FailedVariant]


@dataclass(frozen=True, slots=True)
class RenderedPack:
    """The results of one pack.

    Attributes:
        outcomes: the last outcome of each rendered variant, by key.
        unrecorded: the outcomes that the ledger does not have yet. It must get each outcome once, because it counts
            refusals.
    """

    work: PackWork
    outcomes: Outcomes
    unrecorded: Outcomes


def record_results(tx: Tx, site: Site, done: Sequence[RenderedPack], is_newest: dict[str, bool]) -> None:
    """Record the results of packs: in the ledger, in the jobs that wait for them, and as webhook deliveries."""
    if not done:
        return
    ledger.record(tx, [outcome for drawn in done for outcome in drawn.unrecorded.values()])
    # Only the ledger knows which variants were refused, and how often.
    doubtful = [target.key for drawn in done if _is_doubtful(drawn) for target in drawn.work.targets]
    entries = ledger.read_entries(tx, doubtful)
    configured = tenants.configuration_number(tx)
    current: dict[str, Current] = {}
    reconfigured: list[str] = []
    finished = {}
    for drawn in done:
        work, outcomes = drawn.work, drawn.outcomes
        pack_id = work.claim.pack_id
        if work.configured != configured:
            # Another configuration has been activated since the claim.
            reconfigured.append(pack_id)
        elif is_newest[pack_id]:
            current[pack_id] = Current.of(target.key for target in (*work.planned, *work.prepared))
        live = _tally((*work.planned, *work.popular), outcomes, work.entries | entries)
        job, pending_targets = work.pending_change, (*work.prepared, *work.pending_popular)
        prepared = {} if job is None else {job.job_id: _tally(pending_targets, outcomes, work.entries | entries)}
        finished[pack_id] = FinishedPack(work.claim.seq, live, prepared)
    supersede_outdated(tx, reconfigured, limit=site.limit)
    ledger.supersede(tx, current)
    job_items.finish_items(tx, finished)
    rendered = (
        d.work.claim.pack_id for d in done if any(isinstance(outcome, StoredVariant) for outcome in d.outcomes.values())
    )
    payloads = [{"packId": pack_id, "failed": len(finished[pack_id].live.failures)} for pack_id in rendered]
    webhook_deliveries.add_deliveries(tx, Event.VARIANTS_READY, payloads)


def _is_doubtful(drawn: RenderedPack) -> bool:
    failed = (entry.state is VariantState.FAILED for entry in drawn.work.entries.values())
    return any(failed) or any(isinstance(outcome, FailedVariant) for outcome in drawn.outcomes.values())


def _tally(targets: Sequence[Target], outcomes: Outcomes, entries: dict[str, Entry]) -> VariantCounts:
    counts: defaultdict[str, Counts] = defaultdict(Counts)
    failures: dict[str, Failure] = {}
    for target in targets:
        key, location = str(target.key), target.key.location
        count, entry = counts[location], entries.get(key)
        if isinstance(outcomes.get(key), StoredVariant):
            count.done += 1
        # A variant without a row has been superseded and collected: no URL yields it.
        elif entry is None or entry.state is VariantState.READY:
            count.skipped += 1
        else:
            count.failed += 1
            assert entry.error_code is not None
            failures[location] = Failure(target.key.pack, location, entry.error_code, entry.error or "", entry.attempts)
    return VariantCounts(dict(counts), list(failures.values()))
