"""The ids of plans. An id is a signed text with digests of what the plan was made for, so that no plan is stored."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, is_dataclass
from datetime import UTC, datetime

from packshot.catalog.database.transaction import Tx
from packshot.errors import PlanStale
from packshot.site import Site
from packshot.variants.change import Change
from packshot.variants.change_plan import PlanBasis
from resolvers.changing.configuration import Configuration
from resolvers.urls.signatures import is_signed, sign

_FORM = "the id of a plan, `plan:…`"


def basis_of(configuration: Configuration, change: Change, location: str | None) -> PlanBasis:
    """Return what a plan of this change would be made for.

    Args:
        location: the location that is changed; None: the tenant's defaults.
    """
    known, pending_change = configuration.locations, configuration.pending_change
    versions = [(name, known[name].version, known[name].revision) for name in sorted(known)]
    pending_job_id = None if pending_change is None else pending_change.job_id
    name = configuration.tenant.name if location is None else location
    change = configuration.resulting_change(change, location)
    refreshed = [sorted(change.refreshed), sorted(change.refreshed_packs)]
    return PlanBasis(
        configuration=_digest([configuration.tenant.version, versions, pending_job_id]),
        change=_digest([name, change.tenant, change.locations, *refreshed]),
    )


def make_plan_id(site: Site, tenant: str, basis: PlanBasis, expires_at: datetime) -> str:
    """Return the id of a plan with that basis."""
    expires = str(int(expires_at.timestamp()))
    signature = sign(site, _signed_text(tenant, expires, basis.configuration, basis.change))
    return f"plan:{expires}-{basis.configuration}-{basis.change}-{signature}"


def read_plan_id(site: Site, tx: Tx, plan_id: str) -> PlanBasis:
    """Return what the plan with that id was made for.

    Raises:
        PlanStale: the text is no plan's id, this installation did not sign it for this tenant, or it has expired.
    """
    parts = plan_id.removeprefix("plan:").split("-")
    if not plan_id.startswith("plan:") or len(parts) != 4 or not parts[0].isdecimal():
        raise PlanStale("This is not the id of a plan.", field=("plan_id",), expected=_FORM, got=plan_id)
    expires, configuration, change, signature = parts
    if not is_signed(site, _signed_text(tx.tenant, expires, configuration, change), signature):
        raise PlanStale("This installation has not made that plan.", field=("plan_id",), expected=_FORM, got=plan_id)
    if int(expires) <= tx.now.timestamp():
        expired_at = datetime.fromtimestamp(int(expires), UTC)
        raise PlanStale(
            "The plan has expired.",
            field=("plan_id",),
            expected="a plan of the last hour",
            got=f"valid until {expired_at}",
        )
    return PlanBasis(configuration, change)


def check_basis(seen: PlanBasis, current: PlanBasis, name: str) -> None:
    """Raise `PlanStale` unless the plan that the caller has seen was made for the current configuration and change.

    Args:
        name: the location or tenant that is changed.
    """
    if seen.configuration != current.configuration:
        raise PlanStale(
            "The configuration has changed since the plan was made.",
            field=("plan_id",),
            expected="a plan of the current configuration",
            got="one of an earlier configuration",
        )
    if seen.change != current.change:
        raise PlanStale(
            "The plan is of another change.",
            field=("plan_id",),
            expected="the planned values",
            got=f"other values for {name!r}",
        )


def _signed_text(tenant: str, *parts: str) -> str:
    return " ".join(("plan", tenant, *parts))


def _digest(value: object) -> str:
    text = json.dumps(value, sort_keys=True, default=_plain)
    return hashlib.sha256(text.encode()).hexdigest()[:24]


def _plain(value: object) -> object:
    if is_dataclass(value) and not isinstance(value, type):
        return asdict(value)
    if isinstance(value, Mapping):
        return dict(value)
    raise TypeError(f"{value!r} has no plain form")
