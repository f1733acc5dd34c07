"""Tenants. Each is created with a location `main` without a size."""

from collections.abc import Mapping
from typing import Any

import sqlalchemy as sa

from packshot.catalog.database import rows
from packshot.catalog.database.transaction import Tx
from packshot.catalog.tables.artwork import location_versions, locations, packs, sequences, tenants
from packshot.errors import Invalid, NotFound, VersionConflict
from packshot.geometry import Gravity
from packshot.ids import IdKind, global_id
from packshot.model import FormatPolicy, LocationFields, Tenant, check_name


def get_tenant(tx: Tx) -> Tenant:
    """Return the transaction's tenant.

    Raises:
        NotFound: the tenant does not exist.
    """
    row = tx.connection.execute(sa.select(*rows.tenant_columns()).where(tenants.c.id == tx.tenant)).first()
    if row is None:
        raise NotFound("There is no such tenant.", field=("tenant",), got=tx.tenant)
    return rows.to_tenant(row)


def list_tenants(tx: Tx) -> list[str]:
    """Return the name of every tenant."""
    return list(tx.connection.scalars(sa.select(tenants.c.id).order_by(tenants.c.id)))


def ensure_tenant(tx: Tx, *, drawn: int = 0) -> bool:
    """Create the transaction's tenant unless it exists; return whether it was created.

    Args:
        drawn: sequence numbers of the tenant start above this one.
    """
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
    tx.connection.execute(sa.insert(sequences).values(tenant_id=tx.tenant, value=drawn))
    tx.connection.execute(
        sa.insert(locations).values(tenant_id=tx.tenant, name="main", version=1, revision=0, added_at=tx.now)
    )
    tx.connection.execute(
        sa.insert(location_versions).values(
            tenant_id=tx.tenant,
            name="main",
            version=1,
            active_from=tx.now,
            **rows.dump_fields(LocationFields().field_values()),
        )
    )
    return True


def read_changes(
    tenant: Tenant, values: Mapping[str, Any], pending: Mapping[str, Any], *, expected_version: int | None = None
) -> dict[str, Any]:
    """Return the values that differ from the tenant's, or from its pending ones.

    Raises:
        VersionConflict: the tenant's version is not `expected_version`.
        Invalid: a budget below 0.
    """
    if expected_version not in (None, tenant.version):
        raise VersionConflict(
            "The tenant has another version.",
            field=("expected_version",),
            expected=str(tenant.version),
            got=expected_version,
            current_version=tenant.version,
            current_id=global_id(IdKind.TENANT, tenant.name),
        )
    budget = values.get("unplanned_bytes")
    if budget is not None and budget < 0:
        raise Invalid(
            "A budget must be a number of bytes.", field=("unplanned_bytes_limit",), expected="0 or more", got=budget
        )
    return {field: value for field, value in values.items() if pending.get(field, getattr(tenant, field)) != value}


def write_tenant(tx: Tx, values: Mapping[str, Any]) -> None:
    """Set the tenant's defaults: fields of `packshot.model.Tenant`.

    The caller holds the configuration, and orders the variants that look different.
    """
    tx.connection.execute(
        sa.update(tenants).where(tenants.c.id == tx.tenant).values(**values, version=tenants.c.version + 1)
    )


def schedule_marking(tx: Tx) -> None:
    """Note that the configuration changed, so that superseded variants are marked later, pack by pack."""
    tx.connection.execute(
        sa.update(tenants)
        .where(tenants.c.id == tx.tenant)
        .values(unmarked_after="", configuration_number=tenants.c.configuration_number + 1)
    )


def configuration_number(tx: Tx) -> int:
    """Return a number that changes with every change of the configuration, including a pending one."""
    return tx.connection.scalar(sa.select(tenants.c.configuration_number).where(tenants.c.id == tx.tenant)) or 0


def tenants_to_mark(tx: Tx) -> list[str]:
    """Return the tenants whose superseded variants are not all marked."""
    return list(tx.connection.scalars(sa.select(tenants.c.id).where(tenants.c.unmarked_after.is_not(None))))


def take_packs_to_mark(tx: Tx, size: int) -> list[str]:
    """Return the next packs to mark, and note that they are marked. The last portion is shorter than `size`."""
    after = sa.select(tenants.c.unmarked_after).where(tenants.c.id == tx.tenant).scalar_subquery()
    found = tx.connection.scalars(
        sa.select(packs.c.id).where(packs.c.tenant_id == tx.tenant, packs.c.id > after).order_by(packs.c.id).limit(size)
    ).all()
    last = found[-1] if len(found) == size else None
    tx.connection.execute(sa.update(tenants).where(tenants.c.id == tx.tenant).values(unmarked_after=last))
    return list(found)
