"""Activate a change of configuration."""

from collections.abc import Mapping

import sqlalchemy as sa

from packshot.catalog.configuration import locations, tenants
from packshot.catalog.database.transaction import Tx
from packshot.catalog.purging import purges
from packshot.catalog.tables.artwork import pack_locations, packs
from packshot.model import TEXT_FIELDS, IncludeAll, Location
from packshot.variants.change import Change


def activate(tx: Tx, change: Change, *, by: str | None, cause: str) -> None:
    """Make a change live, so that the tenant's URLs yield its images. The caller holds the configuration.

    Edits since the change was requested stay.

    Args:
        by: the caller that requested the change.
        cause: what activates it, for the purges.
    """
    known = locations.get_locations(tx)
    if change.tenant:
        tenants.write_tenant(tx, change.tenant)
    for name, fields in change.locations.items():
        locations.change_location(tx, known[name], fields, by=by)
    if change.refreshed:
        locations.refresh_locations(tx, change.refreshed)
        locations.mark_reverts_costly(tx, change.refreshed)
    if change.tenant:
        locations.mark_reverts_costly(tx, known.keys())
    if change.refreshed_packs:
        _refresh_packs(tx, change.refreshed_packs, list(known))
    tenants.schedule_marking(tx)
    _order_purges(tx, change, known, cause)


def _order_purges(tx: Tx, change: Change, known: Mapping[str, Location], cause: str) -> None:
    altered = {
        # `picture.json` lists planned variants, so every field except a text alters responses.
        name
        for name, fields in change.locations.items()
        if fields.keys() - TEXT_FIELDS
    } | change.refreshed
    if change.tenant or change.refreshed >= known.keys():
        purges.order_configuration_purge(tx, None, cause=cause)
        return
    for name in sorted(altered):
        purges.order_configuration_purge(tx, name, cause=cause)
    purges.order_pack_purges(tx, change.refreshed_packs, cause=cause)


def _refresh_packs(tx: Tx, pack_ids: frozenset[str], names: list[str]) -> None:
    conditions = (packs.c.tenant_id == tx.tenant, packs.c.id.in_(pack_ids))
    existing_ids = tx.connection.scalars(sa.select(packs.c.id).where(*conditions).order_by(packs.c.id)).all()
    common = {"tenant_id": tx.tenant, "version": 0, "include_all": IncludeAll.UNSET.value, "revision": 1}
    fresh = [{**common, "pack_id": pack_id, "location": name} for pack_id in existing_ids for name in names]
    moved = tx.insert(pack_locations).on_conflict_do_update(
        index_elements=["tenant_id", "pack_id", "location"], set_={"revision": pack_locations.c.revision + 1}
    )
    if fresh:
        tx.connection.execute(moved, fresh)
