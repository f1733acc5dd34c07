"""Pending changes: the one change of configuration that a tenant may be preparing.

It goes live in one transaction once every pack is rendered under it. Edits share the tenant's configuration row. A
pending change begins and ends while it holds that row alone, so an edit is rendered under both configurations or
after the activation.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from packshot.catalog.database import rows
from packshot.catalog.database.transaction import Tx
from packshot.catalog.tables.artwork import tenants
from packshot.catalog.tables.work import pending_changes
from packshot.errors import BadState
from packshot.geometry import Gravity
from packshot.ids import IdKind, global_id
from packshot.model import FormatPolicy
from packshot.variants.change import Change


@dataclass(frozen=True, slots=True)
class PendingChange:
    """A change of configuration that is being prepared.

    Attributes:
        location: the location that is changed; None: the tenant's defaults, or a refresh.
        accepts_failures: it goes live although some variants could not be rendered.
        created_by: the caller that requested it.
        prepared_at: when the last pack was prepared; None: not yet.
    """

    job_id: str
    location: str | None
    change: Change
    accepts_failures: bool
    created_by: str | None
    prepared_at: datetime | None


def read_pending_change(tx: Tx) -> PendingChange | None:
    """Return the tenant's pending change."""
    row = tx.connection.execute(sa.select(pending_changes).where(pending_changes.c.tenant_id == tx.tenant)).first()
    return None if row is None else _to_pending_change(row)


def read_change(tx: Tx) -> Change | None:
    """Return what the tenant's pending change changes."""
    pending_change = read_pending_change(tx)
    return None if pending_change is None else pending_change.change


def list_pending_changes(tx: Tx) -> list[tuple[str, PendingChange]]:
    """Return the pending changes of all tenants, each with its tenant."""
    return [(row.tenant_id, _to_pending_change(row)) for row in tx.connection.execute(sa.select(pending_changes))]


def check_none_pending(tx: Tx) -> None:
    """Raise `BadState` if the tenant has a pending change; the error names its job."""
    pending_change = read_pending_change(tx)
    if pending_change is not None:
        raise already_pending(pending_change)


def already_pending(pending_change: PendingChange) -> BadState:
    """Return the error for a second change while one is pending."""
    what = f"the location {pending_change.location!r}" if pending_change.location else "the whole tenant"
    return BadState(
        f"A change of {what} is being prepared.",
        expected=f"{global_id(IdKind.JOB, pending_change.job_id)} to end, or to be cancelled",
        got="a second change at the same time",
    )


def begin_pending_change(tx: Tx, job_id: str, change: Change, *, location: str | None, by: str | None) -> None:
    """Write the tenant's pending change. The caller holds the configuration and has checked that there is none."""
    tx.connection.execute(
        sa.insert(pending_changes).values(
            tenant_id=tx.tenant,
            job_id=job_id,
            location=location,
            change=_dump(change),
            accepts_failures=False,
            created_by=by,
            created_at=tx.now,
        )
    )
    _count(tx)


def _count(tx: Tx) -> None:
    # Workers that are rendering a pack notice that its variants were planned again.
    tx.connection.execute(
        sa.update(tenants)
        .where(tenants.c.id == tx.tenant)
        .values(configuration_number=tenants.c.configuration_number + 1)
    )


def update_pending_change(tx: Tx, **values: Any) -> None:
    """Set columns of the tenant's pending change."""
    if "change" in values:
        values["change"] = _dump(values["change"])
    tx.connection.execute(sa.update(pending_changes).where(pending_changes.c.tenant_id == tx.tenant).values(**values))


def drop_pending_change(tx: Tx) -> None:
    """Delete the tenant's pending change; its variants are then superseded."""
    tx.connection.execute(sa.delete(pending_changes).where(pending_changes.c.tenant_id == tx.tenant))


def _to_pending_change(row: Any) -> PendingChange:
    return PendingChange(
        row.job_id, row.location, _load(row.change), row.accepts_failures, row.created_by, row.prepared_at
    )


def _dump(change: Change) -> dict[str, Any]:
    return {
        "tenant": dict(change.tenant),
        "locations": {name: rows.dump_fields(fields) for name, fields in change.locations.items()},
        "refreshed": sorted(change.refreshed),
        "refreshed_packs": sorted(change.refreshed_packs),
    }


def _load(kept: Mapping[str, Any]) -> Change:
    return Change(
        tenant={name: _load_tenant_field(name, value) for name, value in kept["tenant"].items()},
        locations={name: rows.load_fields(fields) for name, fields in kept["locations"].items()},
        refreshed=frozenset(kept["refreshed"]),
        refreshed_packs=frozenset(kept["refreshed_packs"]),
    )


def _load_tenant_field(name: str, value: Any) -> Any:
    return _TENANT_LOADERS[name](value) if name in _TENANT_LOADERS else value


_TENANT_LOADERS: Mapping[str, Callable[[Any], Any]] = {"resize_gravity": Gravity, "format_policy": FormatPolicy}
