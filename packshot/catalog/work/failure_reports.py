"""The failures of a job as rows, with the ids by which other systems know its packs."""

from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from packshot.catalog.database.transaction import Tx
from packshot.catalog.tables.artwork import packs
from packshot.catalog.tables.work import job_failures


@dataclass(frozen=True, slots=True)
class ReportRow:
    """A pack location that failed. An id is None if the pack has none or was deleted."""

    pack_id: str
    asset_id: int | None
    external_id: str | None
    location: str
    code: str
    message: str
    attempts: int


def read_report(tx: Tx, job_id: str, *, after: ReportRow | None, limit: int) -> list[ReportRow]:
    """Return up to `limit` failures of a job after `after`, ordered by pack and location."""
    this = (packs.c.tenant_id == job_failures.c.tenant_id, packs.c.id == job_failures.c.pack_id)
    place = sa.tuple_(job_failures.c.pack_id, job_failures.c.location)
    statement = (
        sa.select(job_failures, packs.c.asset_id, packs.c.external_id)
        .outerjoin(packs, sa.and_(*this))
        .where(job_failures.c.tenant_id == tx.tenant, job_failures.c.job_id == job_id)
        .order_by(job_failures.c.pack_id, job_failures.c.location)
        .limit(limit)
    )
    if after is not None:
        statement = statement.where(place > sa.tuple_(after.pack_id, after.location))
    return [_to_row(row) for row in tx.connection.execute(statement)]


def _to_row(row: Any) -> ReportRow:
    return ReportRow(row.pack_id, row.asset_id, row.external_id, row.location, row.code, row.message, row.attempts)
