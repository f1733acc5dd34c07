"""What a plan was made for: the configuration as it is and as it would be, and the id that binds a change to both."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, is_dataclass, replace
from datetime import UTC, datetime

from packshot.catalog.configuration.locations import get_locations
from packshot.catalog.configuration.pending_changes import read_pending_change
from packshot.catalog.configuration.tenants import get_tenant
from packshot.catalog.database.transaction import Tx
from packshot.errors import PlanStale
from packshot.model import IncludeAll, Location, Tenant
from packshot.site import Site
from packshot.variants.change import LABEL_ONLY, Change, changed_locations, touched_locations
from resolvers.urls.signatures import is_signed, sign

_NEW = Location("", 0, None, None, None, None, None, IncludeAll.UNSET, False, None, None, 0, datetime.min, datetime.min)


@dataclass(frozen=True, slots=True)
class Configuration:
    """A tenant's configuration as it is and as it would be.

    Attributes:
        touched: the locations at which pictures may change.
        pending: the job that prepares another change; None: none does.
    """

    tenant: Tenant
    known: Mapping[str, Location]
    change: Change
    after: Mapping[str, Location]
    touched: Sequence[str]
    pending: str | None


def read_configuration(tx: Tx, change: Change) -> Configuration:
    """Return the configuration, and the change without what is so already."""
    tenant, known = get_tenant(tx), get_locations(tx)
    fields = {}
    for name, values in change.locations.items():
        old = known.get(name, _NEW)
        differing = {field: value for field, value in values.items() if value != getattr(old, field)}
        if differing or name not in known:
            fields[name] = differing
    change = replace(
        change,
        tenant={field: value for field, value in change.tenant.items() if value != getattr(tenant, field)},
        locations=fields,
    )
    after = locations_after(known, change)
    pictures = replace(
        change, locations={name: values for name, values in fields.items() if values.keys() - LABEL_ONLY}
    )
    touched = touched_locations({**after, **known}, pictures)
    pending_change = read_pending_change(tx)
    pending = None if pending_change is None else pending_change.job_id
    return Configuration(tenant, known, change, after, sorted(after) if touched is None else touched, pending)


def locations_after(known: Mapping[str, Location], change: Change) -> dict[str, Location]:
    """Return the tenant's locations as they would be, those that the change would create among them."""
    created = {name: replace(_NEW, name=name, **change.locations[name]) for name in change.locations.keys() - known}
    return {**changed_locations(known, change), **created}


def make_plan_id(site: Site, tenant: str, name: str, configuration: Configuration, expires_at: datetime) -> str:
    """Return the id of a plan that was made upon this configuration; it says all that `check_plan` needs, signed."""
    expires = str(int(expires_at.timestamp()))
    state, wanted = _state_digest(configuration), _change_digest(name, configuration.change)
    signature = sign(site, _signed(tenant, expires, state, wanted))
    return f"plan:{expires}-{state}-{wanted}-{signature}"


def _signed(tenant: str, *parts: str) -> str:
    return " ".join(("plan", tenant, *parts))


def _state_digest(configuration: Configuration) -> str:
    known = configuration.known
    versions = [(name, known[name].version, known[name].revision) for name in sorted(known)]
    return _digest([configuration.tenant.version, versions, configuration.pending])


def _change_digest(name: str, change: Change) -> str:
    return _digest([name, change.tenant, change.locations, sorted(change.refreshed), sorted(change.refreshed_packs)])


def _digest(value: object) -> str:
    text = json.dumps(value, sort_keys=True, default=_plain)
    return hashlib.sha256(text.encode()).hexdigest()[:24]


def _plain(value: object) -> object:
    if is_dataclass(value) and not isinstance(value, type):
        return asdict(value)
    if isinstance(value, Mapping):
        return dict(value)
    raise TypeError(f"{value!r} has no plain form")


def check_plan(site: Site, tx: Tx, plan_id: str, name: str, change: Change) -> None:
    """Raise `PlanStale` unless that plan was made for this change upon the configuration as it is now.

    Args:
        name, change: as they would be given to `plan_change`.
    """
    expected = "the id of a plan, `plan:…`"
    parts = plan_id.removeprefix("plan:").split("-")
    if not plan_id.startswith("plan:") or len(parts) != 4 or not parts[0].isdecimal():
        raise PlanStale("That is no plan's id.", field=("plan_id",), expected=expected, got=plan_id)
    expires, state, wanted, signature = parts
    if not is_signed(site, _signed(tx.tenant, expires, state, wanted), signature):
        raise PlanStale("That plan was not made here.", field=("plan_id",), expected=expected, got=plan_id)
    if int(expires) <= tx.now.timestamp():
        expired_at = datetime.fromtimestamp(int(expires), UTC)
        raise PlanStale(
            "The plan has expired.",
            field=("plan_id",),
            expected="a plan of the last hour",
            got=f"valid until {expired_at}",
        )
    configuration = read_configuration(tx, change)
    if state != _state_digest(configuration):
        raise PlanStale(
            "The configuration has moved on since it was planned.",
            field=("plan_id",),
            expected="a plan of the configuration as it is now",
            got="one of an earlier configuration",
        )
    if wanted != _change_digest(name, configuration.change):
        raise PlanStale(
            "The plan is of another change.",
            field=("plan_id",),
            expected="the very values that were planned",
            got=f"other values for {name!r}",
        )
