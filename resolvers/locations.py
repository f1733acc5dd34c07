"""Locations: read, create, change, undo."""

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
from packshot.catalog.work import jobs
from packshot.catalog.work.jobs import Job
from packshot.errors import NotFound, PackshotError
from packshot.model import Location, LocationVersion, Rendition
from packshot.variants.change import Change, changed_locations
from packshot.variants.demand import Demand, summarise
from packshot.variants.draft import OWN_SIZE, effective_renditions
from resolvers.caller import Answer, Caller
from resolvers.changing import changes
from resolvers.changing.changes import Consent
from resolvers.changing.plans import LocationPlan

NO_CONSENT = Consent()


@dataclass(frozen=True, slots=True)
class LocationChange:
    """A location as it is now, the job that renders its change, and the plan that change had, if any."""

    location: Location
    job: Job | None
    plan: LocationPlan | None = None


def get_location(caller: Caller, name: str) -> Location | None:
    """Return a location of the tenant by name."""
    with caller.site.catalog.read(caller.tenant) as tx:
        return locations.get_location(tx, name)


def get_locations(caller: Caller, names: Sequence[str]) -> dict[str, Location]:
    """Return those locations of the tenant that there are, by name."""
    with caller.site.catalog.read(caller.tenant) as tx:
        known = locations.get_locations(tx)
    return {name: known[name] for name in names if name in known}


def all_locations(caller: Caller) -> list[Location]:
    """Return every location of the tenant, by name; a tenant has tens of them, not thousands."""
    with caller.site.catalog.read(caller.tenant) as tx:
        return list(locations.get_locations(tx).values())


def list_locations(caller: Caller, *, first: int, after: str | None) -> Page[Location]:
    """Return a page of the tenant's locations by name."""
    with caller.site.catalog.read(caller.tenant) as tx:
        return locations.list_locations(tx, first=first, after=after)


def list_versions(caller: Caller, name: str, *, first: int, after: str | None) -> Page[LocationVersion]:
    """Return a page of a location's versions, the live one first."""
    with caller.site.catalog.read(caller.tenant) as tx:
        return locations.list_versions(tx, name, first=first, after=after)


def get_pending_change(caller: Caller) -> PendingChange | None:
    """Return the change that is being prepared for the tenant."""
    with caller.site.catalog.read(caller.tenant) as tx:
        return pending_changes.read_pending_change(tx)


def is_pending(pending_change: PendingChange, name: str) -> bool:
    """Whether a candidate changes that location."""
    return name in pending_change.change.locations


def pending_version(pending_change: PendingChange, location: Location) -> LocationVersion | None:
    """Return what a location is about to be; None: nothing else."""
    if not is_pending(pending_change, location.name):
        return None
    values = locations.fields_of(changed_locations({location.name: location}, pending_change.change)[location.name])
    return LocationVersion(
        **values, version=location.version + 1, active_from=None, active_to=None, changed_by=pending_change.created_by
    )


def count_packs(caller: Caller, names: list[str]) -> dict[str, int]:
    """Return how many packs have an original of their own at each location."""
    with caller.site.catalog.read(caller.tenant) as tx:
        return locations.count_packs(tx, names)


def list_demand(caller: Caller, names: list[str]) -> dict[str, list[Demand]]:
    """Return what clients ask for at each location and is not rendered ahead of time, most requested first."""
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

    What only adds variants, or words, goes live at once. What alters pictures
    that packs show needs force, and is prepared beside what is live unless it is
    to go live at once; then the fallback renders what is not ready. A location
    of which a change is being prepared goes on from what it is to become.

    Raises:
        Invalid, Cycle, NotFound, VersionConflict: see `packshot.catalog.configuration.locations.read_changes`.
        ForceRequired, PlanStale, BadState: see `resolvers.changing.changes.apply`.
    """
    return _put(caller, name, lambda _: values, consent, expected_version, cause="putLocation")


def rollback_location(
    caller: Caller, name: str, to_version: int, consent: Consent = NO_CONSENT, *, expected_version: int | None = None
) -> LocationChange:
    """Make a location what it was in an earlier version; it goes live as any change does.

    Until that version's `freeUntil` only packs that were edited or made since are rendered.

    Raises:
        NotFound: no such location or version, or its fallback is gone.
        Invalid, Cycle, VersionConflict: see `packshot.catalog.configuration.locations.read_changes`.
        ForceRequired, BadState: see `resolvers.changing.changes.apply`.
    """

    def earlier(tx: Tx) -> Mapping[str, Any]:
        return locations.fields_of(locations.get_version(tx, name, to_version))

    return _put(caller, name, earlier, consent, expected_version, cause="rollbackLocation")


def _put(
    caller: Caller,
    name: str,
    wanted: Callable[[Tx], Mapping[str, Any]],
    consent: Consent,
    expected_version: int | None,
    *,
    cause: str,
    own: Collection[Rendition] = (),
) -> LocationChange:
    foreseen = None
    with caller.site.catalog.read(caller.tenant) as tx:
        known, fields, _ = _read_change(caller, tx, name, wanted(tx), own, expected_version)
        if fields and name in known:
            foreseen = changes.foresee(caller, tx, Change(locations={name: fields}), name)
    with caller.write() as tx:
        hold_configuration(tx)
        known, fields, pending_change = _read_change(caller, tx, name, wanted(tx), own, expected_version)
        job, plan, change = None, None, Change(locations={name: fields})
        if name not in known or not fields:
            # What changes nothing that is shown is bound to its plan all the same.
            changes.check_seen(caller, tx, change, name, consent)
        if name not in known:
            locations.create_location(tx, name, fields, by=caller.subject)
            job = changes.begin_job(caller, tx, name, [name], activated=True)
        elif fields:
            job, plan = changes.apply(
                caller,
                tx,
                change,
                foreseen,
                location=name,
                consent=consent,
                cause=f"{cause} by {caller.subject}",
            )
        elif pending_change is not None and is_pending(pending_change, name):
            # Asked for once more: it is under way.
            job = jobs.get_job(tx, pending_change.job_id)
        caller.record(tx, Answer(location=name, job=job))
        location = locations.get_location(tx, name)
        assert location is not None
    if job is not None:
        caller.doorbell.wake()
    return LocationChange(location, job, plan)


def _read_change(
    caller: Caller,
    tx: Tx,
    name: str,
    values: Mapping[str, Any],
    own: Collection[Rendition],
    expected_version: int | None,
) -> tuple[Mapping[str, Location], dict[str, Any], PendingChange | None]:
    """Return the tenant's locations, what of one of them really changes, and the candidate."""
    limit, known, pending_change = (
        caller.site.limit,
        locations.get_locations(tx),
        pending_changes.read_pending_change(tx),
    )
    to_be = known if pending_change is None else changed_locations(known, pending_change.change)
    fields = locations.read_changes(to_be, name, values, limit=limit, own=own, expected_version=expected_version)
    if pending_change is not None:
        # It must fit what is live as well: it may have to live with that for a while.
        locations.read_changes(known, name, fields, limit=limit, own=own)
    return known, fields, pending_change


def delete_location(caller: Caller, name: str, *, force: bool, expected_version: int | None = None) -> Job | None:
    """Forget a location; return the job that renders what packs show instead, if any used it.

    Raises:
        NotFound, BadState, InUse, VersionConflict: see `packshot.catalog.configuration.locations.delete_location`.
        BadState: a change is being prepared.
    """
    job = None
    with caller.write() as tx:
        hold_configuration(tx)
        touched = locations.delete_location(tx, name, force=force, expected_version=expected_version)
        pending_changes.check_none_pending(tx)
        schedule_marking(tx)
        purges.order_configuration_purge(tx, name, cause=f"deleteLocation by {caller.subject}")
        if touched:
            job = changes.begin_job(caller, tx, None, None, activated=True)
        caller.record(tx, Answer(deleted_id=f"location:{name}", deleted_name=name, job=job))
    if job is not None:
        caller.doorbell.wake()
    return job


def add_rendition(caller: Caller, name: str, rendition: Rendition) -> LocationChange:
    """Have one more size of a location rendered ahead of time; one that is there already changes nothing.

    Raises:
        NotFound: no such location in this tenant.
        Invalid: the rendition does not fit, or there are too many.
    """

    locations.check_rendition(rendition, caller.site.limit, ("rendition",))

    def with_it(tx: Tx) -> Mapping[str, Any]:
        location = locations.get_location(tx, name)
        if location is None:
            raise NotFound(f"There is no location {name!r}.", field=("location",), got=name)
        if rendition in effective_renditions(location):
            return {}
        # What was meant where nothing was said goes on being meant: the location's own size, whatever that will be.
        return {"renditions": (*(location.renditions or OWN_SIZE), rendition)}

    try:
        # It is read where the configuration is held, so that of two additions at once neither is lost.
        return _put(caller, name, with_it, NO_CONSENT, None, cause="addRendition", own=OWN_SIZE)
    except PackshotError as error:
        if error.field[:1] == ("renditions",):
            # The one that was added, whichever place it has.
            error.field = ("rendition", *error.field[2:])
        raise
