"""Find packs by the age of their variants."""

from collections.abc import Collection, Iterator
from datetime import datetime

import sqlalchemy as sa

from packshot.catalog.database.transaction import Tx
from packshot.catalog.tables.artwork import variants
from packshot.catalog.variants.ledger import VariantState


def iterate_oldest(
    tx: Tx, before: datetime, *, pack_ids: Collection[str] | None, location: str | None, portion: int
) -> Iterator[list[str]]:
    """Yield packs with a variant that was rendered before a time, each once, the oldest variant first.

    Variants that are superseded but not marked yet count, too. The caller checks what is current.

    Args:
        pack_ids: only these; None: all of the tenant.
        location: only variants of this location; None: of all.
        portion: the number of rows that are read at a time.
    """
    old = sa.select(variants.c.rendered_at, variants.c.pack_id).where(
        variants.c.tenant_id == tx.tenant,
        variants.c.superseded_at.is_(None),
        variants.c.state == VariantState.READY.value,
        variants.c.rendered_at < before,
    )
    if pack_ids is not None:
        old = old.where(variants.c.pack_id.in_(pack_ids))
    if location is not None:
        old = old.where(variants.c.location == location)
    place = (variants.c.rendered_at, variants.c.pack_id)
    old = old.group_by(*place).order_by(*place).limit(portion)
    seen: set[str] = set()
    rows = tx.connection.execute(old).all()
    while rows:
        fresh = [pack_id for pack_id in dict.fromkeys(row.pack_id for row in rows) if pack_id not in seen]
        seen.update(fresh)
        if fresh:
            yield fresh
        after = sa.tuple_(*place) > sa.tuple_(
            sa.bindparam("last_at", rows[-1].rendered_at, variants.c.rendered_at.type),
            sa.bindparam("last_pack", rows[-1].pack_id, variants.c.pack_id.type),
        )
        rows = tx.connection.execute(old.where(after)).all()
