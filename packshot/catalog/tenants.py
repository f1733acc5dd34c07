"""Tenants: made once, born with a location `main` that has no size."""

from collections.abc import Mapping
from typing import Any

import sqlalchemy as sa

from packshot.catalog import rows
from packshot.catalog.tables import location_versions, locations, sequences, tenants
from packshot.catalog.transaction import Tx, hold_configuration
from packshot.errors import NotFound, VersionConflict
from packshot.geometry import Gravity
from packshot.model import FormatPolicy, IncludeAll, Tenant, check_name


def get_tenant(tx: Tx) -> Tenant:
    """Return the transaction's tenant.

    Raises:
        NotFound: there is no such tenant.
    """
    row = tx.connection.execute(sa.select(*rows.tenant_columns()).where(tenants.c.id == tx.tenant)).first()
    if row is None:
        raise NotFound("There is no such tenant.", field=("tenant",), got=tx.tenant)
    return rows.to_tenant(row)


def list_tenants(tx: Tx) -> list[str]:
    """Return the name of every tenant."""
    return list(tx.connection.scalars(sa.select(tenants.c.id).order_by(tenants.c.id)))


def ensure_tenant(tx: Tx) -> bool:
    """Make the transaction's tenant unless it is there; return whether it was made."""
    check_name(tx.tenant, "tenant")
    made = tx.connection.execute(
        tx.insert(tenants)
        .values(
            id=tx.tenant,
            version=1,
            resize_gravity=Gravity.CENTER.value,
            include_all=False,
            format_policy=FormatPolicy.ORIGINAL.value,
            created_at=tx.now,
        )
        .on_conflict_do_nothing()
        .returning(tenants.c.id)
    ).all()
    if not made:
        return False
    tx.connection.execute(sa.insert(sequences).values(tenant_id=tx.tenant, value=0))
    tx.connection.execute(
        sa.insert(locations).values(tenant_id=tx.tenant, name="main", version=1, revision=0, added_at=tx.now)
    )
    tx.connection.execute(
        sa.insert(location_versions).values(
            tenant_id=tx.tenant,
            name="main",
            version=1,
            include_all=IncludeAll.UNSET.value,
            allow_upscale=False,
            active_from=tx.now,
        )
    )
    return True


def update_tenant(
    tx: Tx, values: Mapping[str, Any], *, expected_version: int | None = None
) -> tuple[Tenant, frozenset[str]]:
    """Set what applies where nothing else is said; return the tenant and the fields that really changed.

    Args:
        values: resize_gravity, include_all, format_policy, keep_credits. Each change may give every
            variant another key: ordering them is the caller's work.

    Raises:
        NotFound: there is no such tenant.
        VersionConflict: the tenant has moved on from `expected_version`.
    """
    hold_configuration(tx)
    old = get_tenant(tx)
    if expected_version not in (None, old.version):
        raise VersionConflict(
            "The tenant has moved on.",
            field=("expected_version",),
            expected=str(old.version),
            got=expected_version,
            current_version=old.version,
            current_id=f"tenant:{old.name}",
        )
    changed = frozenset(field for field, value in values.items() if getattr(old, field) != value)
    if not changed:
        return old, changed
    tx.connection.execute(
        sa.update(tenants).where(tenants.c.id == tx.tenant).values(**values, version=tenants.c.version + 1)
    )
    return get_tenant(tx), changed
