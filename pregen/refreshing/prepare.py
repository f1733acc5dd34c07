"""Prepare a pending change: work out what it needs rendered of each pack, beside the live configuration.

`activate` makes the change live once every pack is prepared.
"""

from collections.abc import Mapping, Sequence

from packshot.catalog.database.transaction import Tx
from packshot.catalog.variants import demand, ledger
from packshot.geometry import Size
from packshot.model import Snapshot
from packshot.variants.change import Change, planned_under, touched_locations, under
from packshot.variants.demand import DemandedForm
from packshot.variants.resolve import Target


def prepared_variants(
    snapshot: Snapshot, change: Change | None, popular: Sequence[DemandedForm], limit: Size
) -> tuple[tuple[Target, ...], tuple[Target, ...]]:
    """Return the planned and the popular variants of a pack under a pending change; none without a change.

    Args:
        popular: the forms that clients request often, of all locations.
    """
    if change is None:
        return (), ()
    planned = planned_under(snapshot, change, limit=limit)
    touched = touched_locations(snapshot.locations, change)
    forms = [form for form in popular if touched is None or form.location in touched]
    return planned, demand.popular_targets(forms, under(snapshot, change), planned, limit=limit)


def count_missing(
    tx: Tx, snapshots: Mapping[str, Snapshot], change: Change, *, limit: Size
) -> tuple[Mapping[str, int], int]:
    """Return the number of planned variants of each pack that lacks any, and their number in all other packs.

    Packs that lack no variant need no work. So reverting a change only renders packs that were edited since.
    """
    wanted = {pack_id: planned_under(snapshot, change, limit=limit) for pack_id, snapshot in snapshots.items()}
    ready = ledger.read_ready(tx, [ledger.place_of(target.key) for targets in wanted.values() for target in targets])
    totals: dict[str, int] = {}
    stored = 0
    for pack_id, targets in wanted.items():
        if all(ledger.place_of(target.key) in ready for target in targets):
            stored += len(targets)
        else:
            totals[pack_id] = len(targets)
    return totals, stored
