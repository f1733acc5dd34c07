"""Maintenance of the stores: collect superseded objects, compare stores and ledger."""

from dataclasses import asdict
from typing import Annotated, Any

import typer

from packshot.ids import IdKind, global_id
from serve.commands.endings import WITH_FAILURES
from serve.commands.shell import AsJson, OfTenant, calling, print_json, progress, store_answering

app = typer.Typer()

MAX_NAMED = 20

DryRun = Annotated[bool, typer.Option("--dry-run", help="Report only; change nothing.")]


@app.command()
def collect(dry_run: DryRun = False, tenant: OfTenant = None, as_json: AsJson = False) -> None:
    """Delete superseded objects now whose grace period (PACKSHOT_GRACE_DAYS) is over. Exit code 3 if some fail."""
    from packshot.maintenance.collect import Collected, preview_collection
    from resolvers import maintenance

    with calling(tenant) as caller, store_answering():
        due = preview_collection(caller.site, caller.tenant)
        job = None
        total = due
        if not dry_run:
            with progress("collecting", due.variants + due.originals, shown=not as_json) as move:

                def seen(so_far: Collected) -> None:
                    move(so_far.variants + so_far.originals)

                total, job = maintenance.collect(caller, seen)
    if as_json:
        print_json({"dryRun": dry_run, "job": job and global_id(IdKind.JOB, job.id), **_camel(asdict(total))})
        if total.failed:
            raise typer.Exit(WITH_FAILURES)
        return
    verb = "would be deleted" if dry_run else "deleted"
    typer.echo(
        f"{total.variants} variants and {total.originals} originals {verb}, {total.bytes} bytes; "
        f"{total.kept} are needed again and were kept."
    )
    _print_failed(total.failed, "collected")


@app.command()
def scrub(
    deep: Annotated[
        bool, typer.Option("--deep", help="Read every byte, not only what the store reports about it.")
    ] = False,
    dry_run: DryRun = False,
    tenant: OfTenant = None,
    as_json: AsJson = False,
) -> None:
    """Compare the stores with the ledger, and repair what can be repaired. Exit code 3 if an original is lost."""
    from packshot.catalog.variants import reconciliation
    from packshot.maintenance import scrub as scrubbing
    from resolvers import maintenance

    with calling(tenant) as caller, store_answering():
        with caller.site.catalog.read(caller.tenant) as tx:
            expected = reconciliation.count_variants(tx)
        with progress("comparing", expected, shown=not as_json) as move:

            def seen(so_far: scrubbing.ScrubResult) -> None:
                move(so_far.variants)

            job = None
            if dry_run:
                result = scrubbing.scrub(caller.site, caller.tenant, deep=deep, repair=False, on_progress=seen)
            else:
                result, job = maintenance.scrub_tenant(caller, deep=deep, seen=seen)
    lost = [
        {
            "sha256": one.sha256,
            "fault": one.fault.value,
            "packLocations": [global_id(IdKind.PACK_LOCATION, pack_id, location) for pack_id, location in one.places],
        }
        for one in result.lost
    ]
    if as_json:
        print_json(
            {"dryRun": dry_run, "job": job and global_id(IdKind.JOB, job.id), **_camel(asdict(result)), "lost": lost}
        )
    else:
        ordered = "" if dry_run else f" {result.ordered} packs are rendered again."
        typer.echo(
            f"{result.variants} variants and {result.originals} originals compared: {result.missing} missing, "
            f"{result.wrong} wrong, {result.orphans} without a row.{ordered}"
        )
        if result.moved:
            typer.echo(f"{result.moved} originals decode differently from an earlier release; rendered again.")
        if result.unknown_originals:
            typer.echo(f"{result.unknown_originals} originals in the store are unknown to the database; kept.")
    for one in result.lost:
        pack_id, location = one.places[0]
        more = f" and {len(one.places) - 1} more" if len(one.places) > 1 else ""
        what = f"The original {one.sha256} is {one.fault.value}"
        typer.echo(f"{what}: upload it again, for {location} of {pack_id}{more}.", err=True)
    if not as_json:
        _print_failed(result.failed, "compared")
    if result.lost or result.failed or (dry_run and result.found):
        raise typer.Exit(WITH_FAILURES)


def _print_failed(failed: dict[str, str], done: str) -> None:
    """Name the first items that failed by a fault, and end with the exit code for failures if there are any."""
    for name, error_id in list(failed.items())[:MAX_NAMED]:
        typer.echo(f"{ascii(name)[1:-1]} could not be {done}; the log has the reason as error id {error_id}.", err=True)
    if len(failed) > MAX_NAMED:
        typer.echo(f"{len(failed) - MAX_NAMED} more failed too.", err=True)
    if failed:
        raise typer.Exit(WITH_FAILURES)


@app.command()
def restored(as_json: AsJson = False) -> None:
    """Declare that the database was restored from a backup: clients of the change feed start over."""
    from packshot.maintenance.marks import check_epoch

    with calling(None) as caller, store_answering():
        epoch = check_epoch(caller.site, restored=True)
    if as_json:
        print_json({"epoch": epoch})
        return
    typer.echo(f"Epoch {epoch} begins. Clients of the change feed get RESYNC and start over.")


def _camel(values: dict[str, Any]) -> dict[str, Any]:
    """Return the values with the admin API's names."""
    return {name.split("_")[0] + "".join(map(str.title, name.split("_")[1:])): value for name, value in values.items()}
