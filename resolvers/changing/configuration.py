"""A tenant's configuration, live and pending, as one transaction sees it, and what a change makes of it."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from packshot.catalog.configuration.locations import get_locations
from packshot.catalog.configuration.pending_changes import PendingChange, read_pending_change
from packshot.catalog.configuration.tenants import get_tenant
from packshot.catalog.database.transaction import Tx
from packshot.model import Location, Tenant
from packshot.variants.change import Change, changed_locations, merged

_NEW = Location(name="", version=0, revision=0, added_at=datetime.min, updated_at=datetime.min)


@dataclass(frozen=True, slots=True)
class Configuration:
    """A tenant's live configuration and its pending change.

    Attributes:
        locations: the live locations, by name.
        pending_change: the change that is being prepared; None: none is.
    """

    tenant: Tenant
    locations: Mapping[str, Location]
    pending_change: PendingChange | None

    def pending_change_of(self, location: str | None) -> PendingChange | None:
        """Return the pending change if it changes that location; None stands for the tenant's defaults."""
        pending_change = self.pending_change
        if pending_change is None:
            return None
        is_concerned = pending_change.change.tenant if location is None else location in pending_change.change.locations
        return pending_change if is_concerned else None

    def locations_to_be(self) -> Mapping[str, Location]:
        """Return the locations as they will be once the pending change is live."""
        if self.pending_change is None:
            return self.locations
        return changed_locations(self.locations, self.pending_change.change)

    def locations_after(self, change: Change) -> dict[str, Location]:
        """Return the locations as a change would make them, including those that it would create."""
        return locations_after(self.locations, change)

    def resulting_change(self, change: Change, location: str | None) -> Change:
        """Return what would go live: the change, over the pending change of the same location.

        Fields that already hold are left out; a location that does not exist yet keeps all of its fields.
        """
        pending_change = self.pending_change_of(location)
        if pending_change is not None:
            change = merged(pending_change.change, change)
        locations = {}
        for name, fields in change.locations.items():
            differing = _differing(self.locations.get(name, _NEW), fields)
            if differing or name not in self.locations:
                locations[name] = differing
        return replace(change, tenant=_differing(self.tenant, change.tenant), locations=locations)


def read_configuration(tx: Tx) -> Configuration:
    """Return the configuration of the transaction's tenant."""
    return Configuration(get_tenant(tx), get_locations(tx), read_pending_change(tx))


def locations_after(known: Mapping[str, Location], change: Change) -> dict[str, Location]:
    """Return a tenant's locations as a change would make them, including those that it would create."""
    created = {name: replace(_NEW, name=name, **change.locations[name]) for name in change.locations.keys() - known}
    return {**changed_locations(known, change), **created}


def _differing(held: Location | Tenant, fields: Mapping[str, Any]) -> dict[str, Any]:
    return {field: value for field, value in fields.items() if value != getattr(held, field)}
