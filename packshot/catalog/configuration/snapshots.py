"""Snapshots: everything about packs that resolution needs, read in one statement for any number of packs."""

from collections.abc import Collection
from functools import cache
from typing import Any

import sqlalchemy as sa

from packshot.catalog.database import rows
from packshot.catalog.database.transaction import Tx
from packshot.catalog.tables.artwork import location_versions, locations, originals, pack_locations, packs, tenants
from packshot.errors import NotFound
from packshot.model import Location, Pack, PackLocation, Snapshot


def read_snapshots(tx: Tx, pack_ids: Collection[str]) -> dict[str, Snapshot]:
    """Return the snapshots of the packs that exist, by id."""
    if not pack_ids:
        return {}
    tenant = None
    known: dict[str, Location] = {}
    found: dict[str, Pack] = {}
    pack_locations: dict[str, dict[str, PackLocation]] = {}
    for row in tx.connection.execute(_statement(), {"tenant": tx.tenant, "pack_ids": list(pack_ids)}):
        tenant = tenant or rows.to_tenant(row)
        if row.l_name not in known:
            known[row.l_name] = rows.to_location(row)
        if row.p_id not in found:
            found[row.p_id], pack_locations[row.p_id] = rows.to_pack(row), {}
        if row.s_pack_id is not None:
            pack_locations[row.p_id][row.l_name] = rows.to_pack_location(row)
    assert tenant is not None or not found
    return {id: Snapshot(tenant, known, pack, pack_locations[id]) for id, pack in found.items() if tenant is not None}


@cache
def _statement() -> sa.Select[Any]:
    # Built once: building the statement takes as long as running it.
    slot_join = sa.and_(
        pack_locations.c.tenant_id == packs.c.tenant_id,
        pack_locations.c.pack_id == packs.c.id,
        pack_locations.c.location == locations.c.name,
    )
    source = (
        packs.join(tenants, tenants.c.id == packs.c.tenant_id)
        .join(locations, locations.c.tenant_id == packs.c.tenant_id)
        .join(location_versions, live_version())
        .outerjoin(pack_locations, slot_join)
        .outerjoin(
            originals,
            sa.and_(
                originals.c.tenant_id == pack_locations.c.tenant_id,
                originals.c.sha256 == pack_locations.c.original_sha256,
            ),
        )
    )
    return (
        sa.select(*rows.tenant_columns(), *rows.location_columns(), *rows.pack_columns(), *rows.pack_location_columns())
        .select_from(source)
        .where(packs.c.tenant_id == sa.bindparam("tenant"))
        .where(packs.c.id.in_(sa.bindparam("pack_ids", expanding=True)))
        .order_by(locations.c.name)
    )


def read_snapshot(tx: Tx, pack_id: str) -> Snapshot:
    """Return one pack's snapshot.

    Raises:
        NotFound: the tenant has no such pack.
    """
    snapshot = read_snapshots(tx, [pack_id]).get(pack_id)
    if snapshot is None:
        raise NotFound("There is no such pack.", field=("pack_id",), expected="a pack of this tenant", got=pack_id)
    return snapshot


def live_version() -> sa.ColumnElement[bool]:
    """The join from a location to its live version."""
    return sa.and_(
        location_versions.c.tenant_id == locations.c.tenant_id,
        location_versions.c.name == locations.c.name,
        location_versions.c.version == locations.c.version,
    )
