"""Superseded variants and unused originals, and their deletion.

A variant changes from superseded to COLLECTING under the lock of the tenant's configuration. Its row and its object are
deleted under the lock of the row. A render of the same variant takes the same lock, so no READY row lacks its object.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa

from packshot.catalog.database import rows
from packshot.catalog.database.key_lists import is_in
from packshot.catalog.database.transaction import Tx
from packshot.catalog.tables.artwork import location_versions, locations, originals, pack_locations, tenants, variants
from packshot.catalog.variants.ledger import VariantState, in_state
from packshot.model import Location

_AT_ONCE = 1000
# The process that renders a variant is dead if the row is pending for longer than this.
MAX_RENDER_TIME = timedelta(minutes=15)
_IS_COLLECTING = in_state(VariantState.COLLECTING)


@dataclass(frozen=True, slots=True)
class SupersededVariant:
    """A variant that no current URL yields.

    Attributes:
        bytes: size of its object; None: unknown, because it was never READY.
    """

    pack_id: str
    location: str
    fingerprint: str
    plan: str
    planned: bool
    bytes: int | None
    superseded_at: datetime

    @property
    def columns(self) -> tuple[str, str, str, str]:
        """The key of the row within the tenant."""
        return self.pack_id, self.location, self.fingerprint, self.plan

    def key(self, tenant: str) -> str:
        """Return the key of its object."""
        return "/".join((tenant, *self.columns))


@dataclass(frozen=True, slots=True)
class UnplannedVariant:
    """An unplanned variant, and the hour in which it was last requested."""

    row: SupersededVariant
    requested_at: datetime


def find_due_tenant(tx: Tx, before: datetime, *, without: Collection[str] = ()) -> str | None:
    """Return a tenant with variants to collect: interrupted collections first, then the longest superseded.

    Args:
        without: tenants to skip.
    """
    others = variants.c.tenant_id.not_in(without)
    left: str | None = tx.connection.scalar(sa.select(variants.c.tenant_id).where(_IS_COLLECTING, others).limit(1))
    if left is not None:
        return left
    # Reads only the first index entry of each tenant.
    first = (
        sa.select(sa.func.min(variants.c.superseded_at))
        .where(variants.c.tenant_id == tenants.c.id, variants.c.superseded_at.is_not(None))
        .scalar_subquery()
    )
    each = sa.select(tenants.c.id, first.label("first")).where(tenants.c.id.not_in(without)).subquery()
    found: str | None = tx.connection.scalar(
        sa.select(each.c.id).where(each.c.first < before).order_by(each.c.first).limit(1)
    )
    return found


def list_due(
    tx: Tx,
    before: datetime,
    *,
    limit: int,
    after: tuple[datetime, tuple[str, str, str, str]] | None = None,
    only: tuple[str, str, str, str] | None = None,
) -> list[SupersededVariant]:
    """Return variants of the tenant that were superseded before that time, the oldest first.

    Args:
        only: consider only this variant.
    """
    place = sa.tuple_(variants.c.superseded_at, *_NAMES)
    statement = (
        sa.select(variants)
        .where(variants.c.tenant_id == tx.tenant, ~_IS_COLLECTING)
        .where(variants.c.superseded_at.is_not(None), variants.c.superseded_at < before)
        .order_by(variants.c.superseded_at, *_NAMES)
        .limit(limit)
    )
    if after is not None:
        statement = statement.where(place > sa.tuple_(sa.literal(after[0], variants.c.superseded_at.type), *after[1]))
    if only is not None:
        statement = statement.where(*_has_key(tx, only))
    return [_to_superseded(row) for row in tx.connection.execute(statement)]


def list_collecting(tx: Tx, *, limit: int | None = None) -> list[SupersededVariant]:
    """Return variants of the tenant whose collection has begun."""
    statement = sa.select(variants).where(variants.c.tenant_id == tx.tenant, _IS_COLLECTING)
    return [_to_superseded(row) for row in tx.connection.execute(statement.limit(limit))]


def list_least_requested(
    tx: Tx,
    *,
    limit: int,
    after: UnplannedVariant | None = None,
    place: tuple[str, str] | None = None,
) -> list[UnplannedVariant]:
    """Return unplanned variants of the tenant, the least recently requested first.

    It skips variants that are being rendered, unless the rendering process has died.

    Args:
        place: only variants of this pack location.
    """
    order = (variants.c.requested_at, *_NAMES)
    abandoned = variants.c.requested_at < tx.now - MAX_RENDER_TIME
    statement = (
        sa.select(variants)
        .where(variants.c.tenant_id == tx.tenant, ~variants.c.planned, ~_IS_COLLECTING)
        .where(sa.or_(~in_state(VariantState.PENDING), abandoned))
        .order_by(*order)
        .limit(limit)
    )
    if place is not None:
        statement = statement.where(variants.c.pack_id == place[0], variants.c.location == place[1])
    if after is not None:
        last = sa.tuple_(sa.literal(after.requested_at, variants.c.requested_at.type), *after.row.columns)
        statement = statement.where(sa.tuple_(*order) > last)
    return [UnplannedVariant(_to_superseded(row), row.requested_at) for row in tx.connection.execute(statement)]


def count_unplanned(tx: Tx, pack_id: str, location: str) -> int:
    """Return the number of unplanned variants of a pack location."""
    conditions = (variants.c.tenant_id == tx.tenant, variants.c.pack_id == pack_id, variants.c.location == location)
    statement = sa.select(sa.func.count()).select_from(variants).where(*conditions, ~variants.c.planned)
    return tx.connection.scalar(statement) or 0


def mark_planned(tx: Tx, found: Sequence[SupersededVariant]) -> None:
    """Mark unplanned variants as planned."""
    _update(tx, found, planned=True, requested_at=None)


def touch_requested(tx: Tx, found: Sequence[SupersededVariant]) -> None:
    """Set the last request of variants to now."""
    _update(tx, found, requested_at=tx.now)


_NAMES = (variants.c.pack_id, variants.c.location, variants.c.fingerprint, variants.c.plan)


def _to_superseded(row: Any) -> SupersededVariant:
    # An unplanned variant may be collected while it is current.
    since = row.superseded_at or row.created_at
    return SupersededVariant(row.pack_id, row.location, row.fingerprint, row.plan, row.planned, row.bytes, since)


def mark_collecting(tx: Tx, found: Sequence[SupersededVariant]) -> None:
    """Begin the collection of variants. The caller holds the configuration and has checked that none is current."""
    _update(tx, found, state=VariantState.COLLECTING.value)


def set_superseded(tx: Tx, found: Sequence[SupersededVariant], moment: datetime | None) -> None:
    """Set the time from which the grace period of variants counts; None: they are current."""
    _update(tx, found, superseded_at=moment)


def _update(tx: Tx, found: Sequence[SupersededVariant], **values: Any) -> None:
    if found:
        these = is_in(tx, _NAMES, [variant.columns for variant in found])
        tx.connection.execute(sa.update(variants).where(variants.c.tenant_id == tx.tenant, these).values(**values))


def lock_collecting(tx: Tx, columns: tuple[str, str, str, str], *, wait: bool) -> bool:
    """Lock a variant's row. Returns False if its collection was cancelled, or without `wait` if the row is locked."""
    statement = sa.select(variants.c.state).where(*_has_key(tx, columns), _IS_COLLECTING)
    return tx.connection.execute(statement.with_for_update(skip_locked=not wait)).first() is not None


def delete_variant(tx: Tx, columns: tuple[str, str, str, str]) -> None:
    """Delete the row of a variant whose object is deleted."""
    tx.connection.execute(sa.delete(variants).where(*_has_key(tx, columns)))


def reset_variant(tx: Tx, columns: tuple[str, str, str, str], *, planned: bool) -> None:
    """Reset the row of a variant whose object is deleted to PENDING."""
    values = {
        "state": VariantState.PENDING.value,
        "planned": planned,
        "bytes": None,
        "sha256": None,
        "attempts": 0,
        "error_code": None,
        "error": None,
        "rendered_at": None,
        "superseded_at": None,
        "requested_at": None if planned else tx.now,
    }
    tx.connection.execute(sa.update(variants).where(*_has_key(tx, columns)).values(**values))


def _has_key(tx: Tx, columns: tuple[str, str, str, str]) -> tuple[sa.ColumnElement[bool], ...]:
    named = (column == value for column, value in zip(_NAMES, columns, strict=True))
    return variants.c.tenant_id == tx.tenant, *named


def read_former_locations(tx: Tx, since: datetime) -> dict[str, list[tuple[Location, datetime]]]:
    """Return earlier versions of the tenant's locations and when each was replaced, by name, if after `since`."""
    same_tenant = location_versions.c.tenant_id == locations.c.tenant_id
    joined = sa.and_(same_tenant, location_versions.c.name == locations.c.name)
    statement = (
        sa.select(*rows.location_columns())
        .select_from(locations.join(location_versions, joined))
        .where(locations.c.tenant_id == tx.tenant)
        .where(location_versions.c.active_to.is_not(None), location_versions.c.active_to > since)
    )
    found: dict[str, list[tuple[Location, datetime]]] = {}
    for row in tx.connection.execute(statement):
        found.setdefault(row.l_name, []).append((rows.to_location(row), row.v_active_to))
    return found


def find_newly_unused(tx: Tx) -> list[str]:
    """Return some of the tenant's originals that no pack location uses and that are not marked as unused."""
    return list(tx.connection.scalars(sa.select(originals.c.sha256).where(*_newly_unused(tx)).limit(_AT_ONCE)))


def mark_unused(tx: Tx, digests: Sequence[str]) -> None:
    """Mark those of these originals as unused that no pack location uses."""
    these = originals.c.sha256.in_(digests)
    # A locked original is about to be used.
    statement = sa.select(originals.c.sha256).where(these, *_newly_unused(tx)).with_for_update(skip_locked=True)
    found = tx.connection.scalars(statement).all()
    conditions = (originals.c.tenant_id == tx.tenant, originals.c.sha256.in_(found))
    tx.connection.execute(sa.update(originals).where(*conditions).values(unused_since=tx.now))


def _newly_unused(tx: Tx) -> tuple[sa.ColumnElement[bool], ...]:
    return originals.c.tenant_id == tx.tenant, originals.c.unused_since.is_(None), ~_is_shown()


def _is_shown() -> sa.ColumnElement[bool]:
    return (
        sa.select(pack_locations.c.pack_id)
        .where(pack_locations.c.tenant_id == originals.c.tenant_id)
        .where(pack_locations.c.original_sha256 == originals.c.sha256)
        .exists()
    )


def list_unused_originals(tx: Tx, before: datetime, *, limit: int, after: str = "") -> list[tuple[str, int]]:
    """Return (SHA-256, bytes) of the tenant's originals that have been unused since before that time."""
    statement = (
        sa.select(originals.c.sha256, originals.c.bytes)
        .where(originals.c.tenant_id == tx.tenant, originals.c.sha256 > after, ~_is_shown())
        .where(originals.c.unused_since.is_not(None), originals.c.unused_since < before)
        .order_by(originals.c.sha256)
        .limit(limit)
    )
    return [(row.sha256, row.bytes) for row in tx.connection.execute(statement)]


def lock_original(tx: Tx, sha256: str) -> bool:
    """Lock an original's row until the transaction ends. Returns False if there is none."""
    conditions = (originals.c.tenant_id == tx.tenant, originals.c.sha256 == sha256)
    return tx.connection.execute(sa.select(originals.c.sha256).where(*conditions).with_for_update()).first() is not None


def list_packs_showing(tx: Tx, sha256: str, *, limit: int) -> list[str]:
    """Return packs that use an original. While its row is locked, no other pack can begin to use it."""
    conditions = (pack_locations.c.tenant_id == tx.tenant, pack_locations.c.original_sha256 == sha256)
    statement = sa.select(pack_locations.c.pack_id).where(*conditions).distinct().order_by(pack_locations.c.pack_id)
    return list(tx.connection.scalars(statement.limit(limit)))


def is_unused_since(tx: Tx, sha256: str, before: datetime) -> bool:
    """Return whether a locked original has been unused since before that time. Clears the mark if it is used."""
    conditions = (originals.c.tenant_id == tx.tenant, originals.c.sha256 == sha256)
    if list_packs_showing(tx, sha256, limit=1):
        tx.connection.execute(sa.update(originals).where(*conditions).values(unused_since=None))
        return False
    statement = sa.select(originals.c.sha256).where(*conditions, originals.c.unused_since < before)
    return tx.connection.execute(statement).first() is not None


def delete_original(tx: Tx, sha256: str) -> None:
    """Delete the row of an original whose bytes are deleted."""
    tx.connection.execute(sa.delete(originals).where(originals.c.tenant_id == tx.tenant, originals.c.sha256 == sha256))
