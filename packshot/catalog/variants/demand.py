"""Demand: counts of the requests that the fallback had to render, by location.

The table has a bounded size for any number of different requests. It keeps the most frequent requests, and the latest,
so that new requests can gain a count.
"""

from collections.abc import Collection, Sequence
from dataclasses import astuple
from typing import Any

import sqlalchemy as sa

from packshot.catalog.database.transaction import Tx
from packshot.catalog.tables.work import demand
from packshot.errors import PackshotError
from packshot.geometry import Size
from packshot.model import Format, Snapshot
from packshot.variants.demand import CountedDemand, DemandedForm
from packshot.variants.key import Key
from packshot.variants.request import parse_request
from packshot.variants.resolve import Target, resolve

# Rows of one location.
MAX_REQUESTED = 400
MAX_RECENT = 100
# The largest number of requests of one location that are rendered ahead of time because of demand.
MAX_POPULAR = 20
# SQLite allows 32,766 parameters in a statement.
ROWS_PER_STATEMENT = 500


def add_requests(tx: Tx, counted: Sequence[CountedDemand]) -> None:
    """Add to the counts of any tenants, and delete what exceeds a location's bounds."""
    # Sorted, so that processes with the same rows wait for each other instead of deadlocking.
    in_order = sorted(counted, key=lambda count: astuple(count.form))
    for start in range(0, len(in_order), ROWS_PER_STATEMENT):
        _add(tx, in_order[start : start + ROWS_PER_STATEMENT])
    _trim(tx, {(count.form.tenant, count.form.location) for count in counted})


def _add(tx: Tx, counted: Sequence[CountedDemand]) -> None:
    statement = tx.insert(demand).values(
        [
            {
                "tenant_id": count.form.tenant,
                "location": count.form.location,
                "format": count.form.format.value,
                "request": count.form.request,
                "requests": count.requests,
                "last_requested_at": count.last_requested_at,
            }
            for count in counted
        ]
    )
    fresh = statement.excluded
    later = fresh.last_requested_at > demand.c.last_requested_at
    tx.connection.execute(
        statement.on_conflict_do_update(
            index_elements=["tenant_id", "location", "format", "request"],
            set_={
                "requests": demand.c.requests + fresh.requests,
                "last_requested_at": sa.case((later, fresh.last_requested_at), else_=demand.c.last_requested_at),
            },
        )
    )


def _trim(tx: Tx, places: Collection[tuple[str, str]]) -> None:
    place = (demand.c.tenant_id, demand.c.location)
    most = sa.func.row_number().over(
        partition_by=place, order_by=(demand.c.requests.desc(), demand.c.last_requested_at.desc())
    )
    last = sa.func.row_number().over(partition_by=place, order_by=demand.c.last_requested_at.desc())
    key = (*place, demand.c.format, demand.c.request)
    ranked = (
        sa.select(*key, most.label("most"), last.label("last")).where(sa.tuple_(*place).in_(list(places))).subquery()
    )
    dropped = sa.select(*(ranked.c[column.name] for column in key)).where(
        ranked.c.most > MAX_REQUESTED, ranked.c.last > MAX_RECENT
    )
    tx.connection.execute(sa.delete(demand).where(sa.tuple_(*key).in_(dropped)))


def read_demand(tx: Tx, locations: Collection[str]) -> dict[str, list[CountedDemand]]:
    """Return the requests at each of these locations, unordered."""
    conditions = (demand.c.tenant_id == tx.tenant, demand.c.location.in_(locations))
    found: dict[str, list[CountedDemand]] = {name: [] for name in locations}
    for row in tx.connection.execute(sa.select(demand).where(*conditions)):
        found[row.location].append(_to_counted(row))
    return found


def read_popular(tx: Tx, *, threshold: int) -> tuple[DemandedForm, ...]:
    """Return the tenant's requests that are frequent enough to be rendered ahead of time, by location.

    Args:
        threshold: the smallest number of requests, by location; 0: none is frequent enough.
    """
    if not threshold:
        return ()
    rank = sa.func.row_number().over(
        partition_by=demand.c.location, order_by=(demand.c.requests.desc(), demand.c.last_requested_at.desc())
    )
    popular = (
        sa.select(demand, rank.label("rank"))
        .where(demand.c.tenant_id == tx.tenant, demand.c.requests >= threshold)
        .subquery()
    )
    rows = tx.connection.execute(
        sa.select(popular).where(popular.c.rank <= MAX_POPULAR).order_by(popular.c.location, popular.c.rank)
    )
    return tuple(_to_counted(row).form for row in rows)


def popular_targets(
    popular: Sequence[DemandedForm], snapshot: Snapshot, planned: Sequence[Target], *, limit: Size
) -> tuple[Target, ...]:
    """Return the variants of a pack that are frequently requested and not planned."""
    known = {target.key for target in planned}
    found: dict[Key, Target] = {}
    for form in popular:
        target = _target(snapshot, form, limit)
        if target is not None and target.key not in known:
            found.setdefault(target.key, target)
    return tuple(found.values())


def _target(snapshot: Snapshot, demanded: DemandedForm, limit: Size) -> Target | None:
    form = parse_request(f"{demanded.request}&location={demanded.location}")
    try:
        target = resolve(snapshot, form, limit=limit, accept=frozenset({demanded.format}))
    except PackshotError:
        # The pack shows nothing at this location, or the request is not possible for its original.
        return None
    # The format of the response may depend on the original. Another format was not requested.
    return target if target.drawing.format is demanded.format else None


def _to_counted(row: Any) -> CountedDemand:
    form = DemandedForm(row.tenant_id, row.location, Format(row.format), row.request)
    return CountedDemand(form, row.requests, row.last_requested_at)
