"""Locations: read, create, change and revert."""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from packshot.catalog.configuration import locations, pending_changes
from packshot.catalog.configuration.pending_changes import PendingChange
from packshot.catalog.configuration.tenants import schedule_marking
from packshot.catalog.database.pages import Page
from packshot.catalog.database.transaction import Tx, hold_configuration
from packshot.catalog.purging import purges
from packshot.catalog.variants import demand
from packshot.catalog.work.jobs import Job
from packshot.errors import NotFound, PackshotError
from packshot.ids import IdKind, global_id
from packshot.model import Location, LocationVersion, Rendition
from packshot.variants.change import Change, changed_locations
from packshot.variants.change_plan import ChangePlan
from packshot.variants.demand import Demand, summarise
from packshot.variants.draft import OWN_SIZE, effective_renditions
from resolvers.caller import Answer, Caller
from resolvers.changing import changes
from resolvers.changing.configuration import Configuration, read_configuration
from resolvers.changing.decision import Consent

NO_CONSENT = Consent()


@dataclass(frozen=True, slots=True)
class LocationChange:
    """The result of a change: the live location, the job that renders the change, and the plan, if it has them."""

    location: Location
    job: Job | None
    plan: ChangePlan | None = None


def get_location(caller: Caller, name: str) -> Location | None:
    """Return a location of the tenant by name; None if there is none."""
    with caller.site.catalog.read(caller.tenant) as tx:
        return locations.get_location(tx, name)


def get_locations(caller: Caller, names: Sequence[str]) -> dict[str, Location]:
    """Return the locations that exist among the named ones, by name."""
    with caller.site.catalog.read(caller.tenant) as tx:
        known = locations.get_locations(tx)
    return {name: known[name] for name in names if name in known}


def all_locations(caller: Caller) -> list[Location]:
    """Return every location of the tenant, ordered by name. A tenant has tens of locations, not thousands."""
    with caller.site.catalog.read(caller.tenant) as tx:
        return list(locations.get_locations(tx).values())


def list_locations(caller: Caller, *, first: int, after: str | None) -> Page[Location]:
    """Return a page of the tenant's locations, ordered by name."""
    with caller.site.catalog.read(caller.tenant) as tx:
        return locations.list_locations(tx, first=first, after=after)


def list_versions(caller: Caller, name: str, *, first: int, after: str | None) -> Page[LocationVersion]:
    """Return a page of a location's versions, the live version first."""
    with caller.site.catalog.read(caller.tenant) as tx:
        return locations.list_versions(tx, name, first=first, after=after)


def get_pending_change(caller: Caller) -> PendingChange | None:
    """Return the tenant's pending change; None if there is none."""
    with caller.site.catalog.read(caller.tenant) as tx:
        return pending_changes.read_pending_change(tx)


def is_pending(pending_change: PendingChange, name: str) -> bool:
    """Whether the pending change changes that location."""
    return name in pending_change.change.locations


def pending_version(pending_change: PendingChange, location: Location) -> LocationVersion | None:
    """Return the version that the pending change will make of a location; None if it does not change the location."""
    if not is_pending(pending_change, location.name):
        return None
    pending = changed_locations({location.name: location}, pending_change.change)[location.name]
    return LocationVersion(
        **pending.field_values(),
        version=location.version + 1,
        active_from=None,
        active_to=None,
        changed_by=pending_change.created_by,
    )


def count_packs(caller: Caller, names: list[str]) -> dict[str, int]:
    """Return the number of packs that have an original of their own at each location."""
    with caller.site.catalog.read(caller.tenant) as tx:
        return locations.count_packs(tx, names)


def list_demand(caller: Caller, names: list[str]) -> dict[str, list[Demand]]:
    """Return the unplanned variants that clients request at each location, most requested first."""
    with caller.site.catalog.read(caller.tenant) as tx:
        known, counted = locations.get_locations(tx), demand.read_demand(tx, names)
    return {name: summarise(known[name], counted[name]) for name in names if name in known}


def put_location(
    caller: Caller,
    name: str,
    values: Mapping[str, Any],
    consent: Consent = NO_CONSENT,
    *,
    expected_version: int | None = None,
) -> LocationChange:
    """Create or change a location.

    A change that only adds variants, or sets texts, goes live at once. A change that alters images which packs show
    needs force. It is prepared beside the live configuration and goes live when its variants are rendered, or at once
    if `consent` says so; then missing variants are rendered on demand. A change of a location that has a pending
    change starts from the pending values.

    Raises:
        Invalid, Cycle, NotFound, VersionConflict: see `packshot.catalog.configuration.locations.read_changes`.
        ForceRequired, PlanStale, BadState: see `resolvers.changing.decision.decide`.
    """
    return _put(caller, name, lambda _: values, consent, expected_version, cause="putLocation")


def rollback_location(
    caller: Caller, name: str, to_version: int, consent: Consent = NO_CONSENT, *, expected_version: int | None = None
) -> LocationChange:
    """Revert a location to an earlier version; that is a change like any other.

    Until the `freeUntil` of that version only packs that were edited or created since are rendered.

    Raises:
        NotFound: the location or the version does not exist, or its fallback no longer exists.
        Invalid, Cycle, VersionConflict: see `packshot.catalog.configuration.locations.read_changes`.
        ForceRequired, BadState: see `resolvers.changing.decision.decide`.
    """

    def earlier_values(tx: Tx) -> Mapping[str, Any]:
        return locations.get_version(tx, name, to_version).field_values()

    return _put(caller, name, earlier_values, consent, expected_version, cause="rollbackLocation")


def _put(
    caller: Caller,
    name: str,
    read_values: Callable[[Tx], Mapping[str, Any]],
    consent: Consent,
    expected_version: int | None,
    *,
    cause: str,
    own: Collection[Rendition] = (),
) -> LocationChange:
    """Plan a change in a transaction that only reads, then decide and make it while holding the configuration.

    Args:
        read_values: returns the fields to set. It runs in both transactions.
        own: see `packshot.catalog.configuration.locations.read_changes`.
    """

    def read_change(tx: Tx) -> tuple[Configuration, Change]:
        configuration, values, limit = read_configuration(tx), read_values(tx), caller.site.limit
        fields = locations.read_changes(
            configuration.locations_to_be(), name, values, limit=limit, own=own, expected_version=expected_version
        )
        if configuration.pending_change is not None:
            # The fields must also fit the live locations, in case they go live before the pending change.
            locations.read_changes(configuration.locations, name, fields, limit=limit, own=own)
        return configuration, Change(locations={name: fields})

    with caller.site.catalog.read(caller.tenant) as tx:
        configuration, change = read_change(tx)
        plan = changes.plan_if_needed(caller.site, tx, configuration, change, name)
    with caller.write() as tx:
        hold_configuration(tx)
        configuration, change = read_change(tx)
        job, plan = changes.apply(
            caller,
            tx,
            configuration,
            change,
            plan,
            location=name,
            consent=consent,
            cause=f"{cause} by {caller.subject}",
        )
        caller.record(tx, Answer(location=name, job=job))
        location = locations.get_location(tx, name)
        assert location is not None
    if job is not None:
        caller.doorbell.wake()
    return LocationChange(location, job, plan)


def delete_location(caller: Caller, name: str, *, force: bool, expected_version: int | None = None) -> Job | None:
    """Delete a location; return the job that renders what packs show instead, or None if no pack used the location.

    Raises:
        NotFound, BadState, InUse, VersionConflict: see `packshot.catalog.configuration.locations.delete_location`.
        BadState: a change is being prepared.
    """
    with caller.write() as tx:
        hold_configuration(tx)
        is_used = locations.delete_location(tx, name, force=force, expected_version=expected_version)
        pending_changes.check_none_pending(tx)
        schedule_marking(tx)
        purges.order_configuration_purge(tx, name, cause=f"deleteLocation by {caller.subject}")
        job = changes.begin_job(caller, tx, None, None, activated=True) if is_used else None
        caller.record(tx, Answer(deleted_id=global_id(IdKind.LOCATION, name), deleted_name=name, job=job))
    if job is not None:
        caller.doorbell.wake()
    return job


def add_rendition(caller: Caller, name: str, rendition: Rendition) -> LocationChange:
    """Add a rendition to a location. A rendition that the location already has changes nothing.

    Raises:
        NotFound: no such location in this tenant.
        Invalid: the rendition does not fit, or the location has too many.
    """
    locations.check_rendition(rendition, caller.site.limit, ("rendition",))

    def read_values(tx: Tx) -> Mapping[str, Any]:
        location = locations.get_location(tx, name)
        if location is None:
            raise NotFound(f"There is no location {name!r}.", field=("location",), got=name)
        if rendition in effective_renditions(location):
            return {}
        # A location without renditions has its own size, which stays its own size when the location is resized.
        return {"renditions": (*(location.renditions or OWN_SIZE), rendition)}

    try:
        # The renditions are read while the configuration is held, so of two additions at once neither is lost.
        return _put(caller, name, read_values, NO_CONSENT, None, cause="addRendition", own=OWN_SIZE)
    except PackshotError as error:
        if error.field[:1] == ("renditions",):
            # The argument has one rendition, so its index in the list says nothing.
            error.field = ("rendition", *error.field[2:])
        raise
