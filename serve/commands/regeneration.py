"""Render planned variants that are missing, or all of them again."""

from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from serve.commands.following import describe, document, follow
from serve.commands.shell import AsJson, OfTenant, calling, print_json

if TYPE_CHECKING:
    from packshot.catalog.work.jobs import Job
    from resolvers.caller import Caller

app = typer.Typer()


class Mode(StrEnum):
    """Which variants are rendered."""

    MISSING = "missing"
    REFRESH = "refresh"


class Lane(StrEnum):
    """The urgency of the job."""

    BULK = "bulk"
    INTERACTIVE = "interactive"


@app.command()
def regenerate(
    location: Annotated[str | None, typer.Option(metavar="NAME", help="Every pack, at this location.")] = None,
    pack: Annotated[
        list[str] | None, typer.Option(metavar="ID", help="This pack; may be repeated up to 100 times.")
    ] = None,
    everything: Annotated[bool, typer.Option("--all", help="Every pack of the tenant, at every location.")] = False,
    mode: Annotated[
        Mode,
        typer.Option(
            help="missing: render what is missing; refresh: render everything again, then replace the live variants."
        ),
    ] = Mode.MISSING,
    priority: Annotated[Lane, typer.Option(help="bulk: after edits; interactive: together with edits.")] = Lane.BULK,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Count the packs and variants to check; change nothing.")
    ] = False,
    watch: Annotated[bool, typer.Option("--watch", help="Follow the job to its end. Ctrl-C detaches.")] = False,
    tenant: OfTenant = None,
    as_json: AsJson = False,
) -> None:
    """Create a job that renders missing planned variants, or all of them again; the server or the workers run it."""
    if [location is not None, bool(pack), everything].count(True) != 1:
        raise typer.BadParameter("Expected one of --location, --pack and --all.")
    with calling(tenant) as caller:
        if dry_run:
            _count(caller, pack, location, as_json=as_json)
            return
        job = _order(caller, pack, location, mode, priority)
        if watch:
            follow(caller, job.id, as_json=as_json)
    if as_json:
        print_json(document(job))
    else:
        typer.echo(f"{describe(job)}\n`packshot jobs watch job:{job.id}` follows it.")


def _order(caller: "Caller", pack: list[str] | None, location: str | None, mode: Mode, lane: Lane) -> "Job":
    from packshot.catalog.work.orders import Priority
    from resolvers import jobs
    from resolvers.jobs import RegenerateMode

    how = (Priority[lane.name], RegenerateMode[mode.name])
    return jobs.regenerate_packs(caller, pack, *how) if pack else jobs.regenerate_tenant(caller, location, *how)


def _count(caller: "Caller", pack: list[str] | None, location: str | None, *, as_json: bool) -> None:
    from resolvers.regeneration_scope import measure

    extent = measure(caller, pack_ids=pack or None, location=location)
    if as_json:
        print_json({"packs": extent.packs, "variants": extent.variants})
        return
    typer.echo(f"Would look at {extent.packs:,} packs with {extent.variants:,} variants. Nothing is changed.")
