"""The commands that list and show locations and their versions."""

from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Annotated, Any

import typer

from packshot.errors import NotFound
from packshot.ids import IdKind, global_id
from serve.commands import location_options as options
from serve.commands.plans import option_name, spell
from serve.commands.shell import AsJson, OfTenant, calling, print_json, print_table
from serve.rest.plan_documents import api_name, plain

if TYPE_CHECKING:
    from packshot.model import Location, LocationVersion
    from resolvers.caller import Caller

app = typer.Typer(help="Show, plan, change and revert locations.", no_args_is_help=True)


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
    """Show a location and its pending change."""
    from resolvers import locations

    with calling(tenant) as caller:
        location = _get(caller, name)
        packs = locations.count_packs(caller, [name])[name]
        pending_change = locations.get_pending_change(caller)
    pending = pending_change.change.locations.get(name) if pending_change is not None else None
    job = global_id(IdKind.JOB, pending_change.job_id) if pending_change is not None and pending else None
    if as_json:
        changes = {api_name(field): plain(value) for field, value in (pending or {}).items()}
        print_json(document(location) | {"packCount": packs, "pending": changes or None, "pendingJob": job})
        return
    typer.echo(f"{name}, version {location.version}, since {location.updated_at:%Y-%m-%d %H:%M} UTC")
    for field, value in location.field_values().items():
        typer.echo(f"  {option_name(field):<14} {spell(value)}")
    typer.echo(f"  {'originals':<14} {packs} packs have an original at this location")
    for field, value in (pending or {}).items():
        typer.echo(f"  pending, {job}: {option_name(field)} -> {spell(value)}")


@app.command(name="history")
def show_history(
    name: options.Name,
    first: Annotated[int, typer.Option(min=1, max=100, help="Maximum number of versions.")] = 20,
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
    return {api_name(name): plain(value) for name, value in location.field_values().items()}


def document(location: "Location") -> dict[str, Any]:
    named = {"name": location.name, "version": location.version}
    return named | _fields(location) | {"addedAt": location.added_at, "updatedAt": location.updated_at}


def _version_document(version: "LocationVersion", grace: timedelta) -> dict[str, Any]:
    moments = {"activeFrom": version.active_from, "activeTo": version.active_to}
    who = {"changedBy": version.changed_by, "freeUntil": _free_until(version, grace)}
    return {"version": version.version} | _fields(version) | moments | who


def _free_until(version: "LocationVersion", grace: timedelta) -> datetime | None:
    """Return until when a revert to a version renders nothing; None: it is live, or a revert renders everything."""
    return None if version.active_to is None or version.revert_renders_all else version.active_to + grace
