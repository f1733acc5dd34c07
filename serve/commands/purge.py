"""Purge the CDN by hand, and render variants again that are older than a date."""

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

import typer

from serve.commands.following import describe, document, follow
from serve.commands.shell import MOMENTS, AsJson, OfTenant, calling, print_json

if TYPE_CHECKING:
    from packshot.catalog.work.jobs import Job
    from resolvers.caller import Caller

app = typer.Typer()


@app.command()
def purge(
    location: Annotated[
        str | None, typer.Option(metavar="NAME", help="Purge stable URLs that use this location.")
    ] = None,
    pack: Annotated[
        list[str] | None,
        typer.Option(metavar="ID", help="Purge all copies of this pack; may be repeated up to 100 times."),
    ] = None,
    everything: Annotated[bool, typer.Option("--all", help="Purge all copies of the tenant.")] = False,
    rendered_before: Annotated[
        datetime | None,
        typer.Option(
            formats=MOMENTS,
            metavar="DATE",
            help="Render variants again that are older than this time (UTC), then purge them.",
        ),
    ] = None,
    limit: Annotated[
        int | None,
        typer.Option(metavar="N", help="With --rendered-before: at most N packs, the oldest first. [default: 100]"),
    ] = None,
    watch: Annotated[bool, typer.Option("--watch", help="Follow the job to its end. Ctrl-C detaches.")] = False,
    tenant: OfTenant = None,
    as_json: AsJson = False,
) -> None:
    """Purge copies from the CDN now; or render old variants again, some packs at a time."""
    if limit is not None and rendered_before is None:
        raise typer.BadParameter("--limit needs --rendered-before.")
    chosen = [location is not None, bool(pack), everything].count(True)
    if chosen > 1 or (chosen == 0 and rendered_before is None):
        raise typer.BadParameter("Expected one of --location, --pack and --all.")
    with calling(tenant) as caller:
        job = _order(caller, pack, location, rendered_before, limit)
        if job is not None and watch:
            follow(caller, job.id, as_json=as_json)
    if as_json:
        print_json(None if job is None else document(job))
    elif job is None:
        typer.echo(f"Nothing was rendered before {rendered_before:%Y-%m-%d %H:%M:%S} UTC.")
    else:
        typer.echo(f"{describe(job)}\n`packshot jobs watch job:{job.id}` follows it.")


def _order(
    caller: "Caller", pack: list[str] | None, location: str | None, before: datetime | None, limit: int | None
) -> "Job | None":
    from resolvers import purges

    if before is None:
        return purges.purge(caller, pack_ids=pack or None, location=location)
    most = purges.DEFAULT_PACKS if limit is None else limit
    moment = before.replace(tzinfo=UTC)
    return purges.refresh_older_than(caller, moment, limit=most, pack_ids=pack or None, location=location)
