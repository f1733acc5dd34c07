"""Locations: read, create, change."""

from collections.abc import Mapping
from typing import Any

from packshot.catalog import demand, jobs, locations, purges
from packshot.catalog.jobs import Job, JobKind
from packshot.catalog.locations import LABEL_ONLY
from packshot.catalog.orders import Priority
from packshot.catalog.pages import Page
from packshot.catalog.transaction import Tx, hold_configuration
from packshot.errors import NotFound, PackshotError
from packshot.model import Location, Rendition
from packshot.variants.change import FORCED
from packshot.variants.demand import Demand, summarise
from packshot.variants.resolve import effective_renditions
from resolvers.caller import Caller


def get_location(caller: Caller, name: str) -> Location | None:
    """Return a location of the tenant by name."""
    with caller.site.catalog.read(caller.tenant) as tx:
        return locations.get_location(tx, name)


def get_locations(caller: Caller, names: list[str]) -> dict[str, Location]:
    """Return those locations of the tenant that there are, by name."""
    with caller.site.catalog.read(caller.tenant) as tx:
        known = locations.get_locations(tx)
    return {name: known[name] for name in names if name in known}


def list_locations(caller: Caller, *, first: int, after: str | None) -> Page[Location]:
    """Return a page of the tenant's locations by name."""
    with caller.site.catalog.read(caller.tenant) as tx:
        return locations.list_locations(tx, first=first, after=after)


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
    caller: Caller, name: str, changes: Mapping[str, Any], *, expected_version: int | None = None
) -> tuple[Location, Job | None]:
    """Create or change a location; return it and the job that renders what it now asks for.

    A change applies at once; until a variant is rendered ahead of time again,
    the fallback renders it. A change of the label alone needs no job.

    Raises:
        Invalid, Cycle, NotFound, VersionConflict: see `packshot.catalog.locations.put_location`.
    """
    with caller.write() as tx:
        location, job = _put(caller, tx, name, changes, expected_version)
    if job is not None:
        caller.bell.wake()
    return location, job


def _put(
    caller: Caller, tx: Tx, name: str, changes: Mapping[str, Any], expected_version: int | None
) -> tuple[Location, Job | None]:
    location, changed = locations.put_location(
        tx, name, changes, limit=caller.site.limit, by=caller.subject, expected_version=expected_version
    )
    caller.answer(location=f"location:{name}")
    if changed & FORCED and location.version > 1:
        purges.order_configuration_purge(tx, name, cause=f"putLocation by {caller.subject}")
    if not changed - LABEL_ONLY:
        return location, None
    job = jobs.create_job(
        tx, JobKind.LOCATION_CHANGE, Priority.BULK, location=name, whole_tenant=True, by=caller.subject
    )
    caller.answer(job=f"job:{job.id}")
    return location, job


def delete_location(caller: Caller, name: str, *, force: bool, expected_version: int | None = None) -> Job | None:
    """Forget a location; return the job that renders what packs show instead, if any used it.

    Raises:
        NotFound, BadState, InUse, VersionConflict: see `packshot.catalog.locations.delete_location`.
    """
    job = None
    with caller.write() as tx:
        touched = locations.delete_location(tx, name, force=force, expected_version=expected_version)
        caller.answer(deleted_id=f"location:{name}", deleted_name=name)
        purges.order_configuration_purge(tx, name, cause=f"deleteLocation by {caller.subject}")
        if touched:
            job = jobs.create_job(tx, JobKind.LOCATION_CHANGE, Priority.BULK, whole_tenant=True, by=caller.subject)
            caller.answer(job=f"job:{job.id}")
    if job is not None:
        caller.bell.wake()
    return job


def add_rendition(caller: Caller, name: str, rendition: Rendition) -> tuple[Location, Job | None]:
    """Have one more size of a location rendered ahead of time; one that is there already changes nothing.

    Raises:
        NotFound: no such location in this tenant.
        Invalid: the rendition does not fit, or there are too many.
    """
    with caller.write() as tx:
        # So that of two additions at once neither is lost.
        hold_configuration(tx)
        location = locations.get_location(tx, name)
        if location is None:
            raise NotFound(f"There is no location {name!r}.", field=("location",), got=name)
        # What was meant where nothing was said goes on being meant.
        renditions = effective_renditions(location)
        changes = {} if rendition in renditions else {"renditions": (*renditions, rendition)}
        try:
            location, job = _put(caller, tx, name, changes, None)
        except PackshotError as error:
            if error.field[:1] == ("renditions",):
                # The one that was added, whichever place it has.
                error.field = ("rendition", *error.field[2:])
            raise
    if job is not None:
        caller.bell.wake()
    return location, job
