"""Locations: what they are, what they were, and changes that are planned, prepared and undone."""

from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Annotated, Any

import typer

from packshot.errors import NotFound
from serve.commands import location_options as options
from serve.commands import plans
from serve.commands.plans import spell
from serve.commands.shell import AsJson, OfTenant, calling, print_json, print_table
from serve.rest.plan_documents import FIELDS, plain

if TYPE_CHECKING:
    from packshot.model import Location, LocationVersion
    from resolvers.caller import Caller

app = typer.Typer(
    help="Locations: their sizes, what a change would cost, and changing them back.", no_args_is_help=True
)


@app.command(name="list")
def list_locations(tenant: OfTenant = None, as_json: AsJson = False) -> None:
    """List the tenant's locations by name."""
    from resolvers import locations

    with calling(tenant) as caller:
        found = locations.all_locations(caller)
    if as_json:
        print_json([document(location) for location in found])
        return
    print_table(
        ("name", "version", "size", "fallback", "gravity", "include all", "upscale", "label"),
        [
            (
                location.name,
                str(location.version),
                _size(location),
                location.fallback or "",
                spell(location.resize_gravity),
                spell(location.include_all),
                spell(location.allow_upscale),
                location.label or "",
            )
            for location in found
        ],
    )


@app.command(name="show")
def show_location(name: options.Name, tenant: OfTenant = None, as_json: AsJson = False) -> None:
    """Show one location, and what it is about to become."""
    from resolvers import locations

    with calling(tenant) as caller:
        location = _get(caller, name)
        packs = locations.count_packs(caller, [name])[name]
        pending_change = locations.get_pending_change(caller)
    pending = pending_change.change.locations.get(name) if pending_change is not None else None
    job = f"job:{pending_change.job_id}" if pending_change is not None and pending else None
    if as_json:
        changes = {FIELDS.get(field, field): plain(value) for field, value in (pending or {}).items()}
        print_json(document(location) | {"packCount": packs, "pending": changes or None, "pendingJob": job})
        return
    typer.echo(f"{name}, version {location.version}, since {location.updated_at:%Y-%m-%d %H:%M} UTC")
    for field in ("label", "width", "height", "fallback", *plans.OPTIONS, "formats", "renditions"):
        typer.echo(f"  {plans.OPTIONS.get(field, field):<14} {spell(getattr(location, field))}")
    typer.echo(f"  {'originals':<14} {packs} packs have one of their own here")
    for field, value in (pending or {}).items():
        typer.echo(f"  prepared by {job}: {plans.OPTIONS.get(field, field)} -> {spell(value)}")


@app.command(name="history")
def show_history(
    name: options.Name,
    first: Annotated[int, typer.Option(min=1, max=100, help="How many, from the newest.")] = 20,
    tenant: OfTenant = None,
    as_json: AsJson = False,
) -> None:
    """List a location's versions, newest first."""
    from resolvers import locations

    with calling(tenant) as caller:
        _get(caller, name)
        versions = locations.list_versions(caller, name, first=first, after=None).items
        grace = caller.site.settings.grace
    if as_json:
        print_json([_version_document(version, grace) for version in versions])
        return
    print_table(
        ("version", "from", "to", "by", "size", "fallback", "gravity", "include all", "upscale", "free until"),
        [
            (
                str(version.version),
                _moment(version.active_from),
                _moment(version.active_to),
                version.changed_by or "",
                _size(version),
                version.fallback or "",
                spell(version.resize_gravity),
                spell(version.include_all),
                spell(version.allow_upscale),
                _moment(_free_until(version, grace)),
            )
            for version in versions
        ],
    )


def _get(caller: "Caller", name: str) -> "Location":
    from resolvers import locations

    location = locations.get_location(caller, name)
    if location is None:
        raise NotFound(
            f"There is no location {name!r}.", field=("name",), expected="a location of this tenant", got=name
        )
    return location


def _size(location: "Location | LocationVersion") -> str:
    return f"{location.width or ''}x{location.height or ''}" if location.width or location.height else "unset"


def _moment(value: Any) -> str:
    return "" if value is None else f"{value:%Y-%m-%d %H:%M}"


def _fields(location: "Location | LocationVersion") -> dict[str, Any]:
    names = ("label", "width", "height", "fallback", *FIELDS, "renditions", "formats")
    return {FIELDS.get(name, name): plain(getattr(location, name)) for name in names}


def document(location: "Location") -> dict[str, Any]:
    named = {"name": location.name, "version": location.version}
    return named | _fields(location) | {"addedAt": location.added_at, "updatedAt": location.updated_at}


def _version_document(version: "LocationVersion", grace: timedelta) -> dict[str, Any]:
    moments = {"activeFrom": version.active_from, "activeTo": version.active_to}
    who = {"changedBy": version.changed_by, "freeUntil": _free_until(version, grace)}
    return {"version": version.version} | _fields(version) | moments | who


def _free_until(version: "LocationVersion", grace: timedelta) -> datetime | None:
    """Return until when going back to it renders nothing; None: it is live, or all was rendered anew since."""
    return None if version.active_to is None or version.revert_renders_all else version.active_to + grace
