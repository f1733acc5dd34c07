"""Locations: read, create, change."""

from collections.abc import Mapping
from typing import Any

from packshot.catalog import jobs, locations
from packshot.catalog.jobs import Job, JobKind
from packshot.catalog.locations import LABEL_ONLY
from packshot.catalog.orders import Priority
from packshot.catalog.pages import Page
from packshot.model import Location
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


def put_location(
    caller: Caller, name: str, changes: Mapping[str, Any], *, expected_version: int | None = None
) -> tuple[Location, Job | None]:
    """Create or change a location; return it and the job that renders what it now asks for.

    A change applies at once; until a variant is rendered ahead of time again,
    the fallback renders it. A change of the label alone needs no job.

    Raises:
        Invalid, Cycle, NotFound, VersionConflict: see `packshot.catalog.locations.put_location`.
    """
    job = None
    with caller.write() as tx:
        location, changed = locations.put_location(
            tx, name, changes, limit=caller.site.limit, by=caller.subject, expected_version=expected_version
        )
        caller.answer(location=f"location:{name}")
        if changed - LABEL_ONLY:
            job = jobs.create_job(
                tx, JobKind.LOCATION_CHANGE, Priority.BULK, location=name, whole_tenant=True, by=caller.subject
            )
            caller.answer(job=f"job:{job.id}")
    if job is not None:
        caller.bell.wake()
    return location, job
