"""Lists of packs: their filters and orders."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import Enum

import sqlalchemy as sa

from packshot.catalog.configuration.locations import get_locations
from packshot.catalog.database import rows
from packshot.catalog.database.pages import Order, Page, fetch_page
from packshot.catalog.database.transaction import Tx
from packshot.catalog.packs.packs import check_location
from packshot.catalog.tables.artwork import pack_locations, packs, variants
from packshot.catalog.tables.work import orders
from packshot.catalog.variants import ledger
from packshot.catalog.variants.ledger import VariantState
from packshot.model import Pack


class PackOrder(Enum):
    """The orders in which packs can be listed."""

    CREATED_DESC = Order((packs.c.created_at, packs.c.id), descending=True)
    CREATED_ASC = Order((packs.c.created_at, packs.c.id))
    MODIFIED_DESC = Order((packs.c.modified_at, packs.c.id), descending=True)
    SEQUENCE_ASC = Order((packs.c.sequence_number, packs.c.id))


@dataclass(frozen=True, slots=True, kw_only=True)
class PackFilter:
    """Which packs to list. A field that is None accepts all packs."""

    asset_ids: Sequence[int] | None = None
    external_ids: Sequence[str] | None = None
    modified_after: datetime | None = None
    sequence_after: int | None = None
    nothing_to_show_at: str | None = None
    variant_state: VariantState | None = None


def list_packs(
    tx: Tx, *, first: int, after: str | None, filter: PackFilter, order: PackOrder, total: bool = True
) -> Page[Pack]:
    """Return a page of the tenant's packs."""
    statement = sa.select(*rows.pack_columns()).where(packs.c.tenant_id == tx.tenant)
    if filter.asset_ids is not None:
        statement = statement.where(packs.c.asset_id.in_(filter.asset_ids))
    if filter.external_ids is not None:
        statement = statement.where(packs.c.external_id.in_(filter.external_ids))
    if filter.modified_after is not None:
        statement = statement.where(packs.c.modified_at > filter.modified_after)
    if filter.sequence_after is not None:
        statement = statement.where(packs.c.sequence_number > filter.sequence_after)
    if filter.nothing_to_show_at is not None:
        statement = statement.where(~_shows(tx, filter.nothing_to_show_at))
    if filter.variant_state is not None:
        statement = statement.where(_has_variants(filter.variant_state))
    return fetch_page(tx, statement, order.value, rows.to_pack, first=first, after=after, total=total)


def _shows(tx: Tx, location: str) -> sa.ColumnElement[bool]:
    """Return whether a pack shows an image at a location: its own, a fallback's, or that of the main location."""
    known = get_locations(tx)
    if location not in known:
        check_location(tx, location, "filter", "nothing_to_show_at")
    chain: list[str] = []
    following: str | None = location
    while following is not None and following in known and following not in chain:
        chain.append(following)
        following = known[following].fallback
    main = sa.func.coalesce(packs.c.main_location, "main")
    return (
        sa.select(pack_locations.c.pack_id)
        .where(pack_locations.c.tenant_id == packs.c.tenant_id, pack_locations.c.pack_id == packs.c.id)
        .where(pack_locations.c.original_sha256.is_not(None))
        .where(sa.or_(pack_locations.c.location.in_(chain), pack_locations.c.location == main))
        .exists()
    )


def _has_variants(state: VariantState) -> sa.ColumnElement[bool]:
    """Return whether a pack has failed variants, pending ones, or neither.

    Only planned variants count. An unplanned variant that cannot be rendered, such as one with a huge blur, says
    nothing about the pack.
    """
    failed = (
        sa.select(variants.c.pack_id)
        .where(variants.c.tenant_id == packs.c.tenant_id, variants.c.pack_id == packs.c.id)
        .where(ledger.in_state(VariantState.FAILED), variants.c.planned, variants.c.superseded_at.is_(None))
        .exists()
    )
    pending = (
        sa.select(orders.c.pack_id)
        .where(orders.c.tenant_id == packs.c.tenant_id, orders.c.pack_id == packs.c.id)
        .where(orders.c.wanted_seq > orders.c.rendered_seq)
        .exists()
    )
    chosen = {VariantState.FAILED: failed, VariantState.PENDING: pending, VariantState.READY: ~failed & ~pending}
    return chosen[state]
