"""Set-up and checks of an installation: samples, schema migration, passwords, doctor."""

from pathlib import Path
from typing import Annotated

import typer

from serve.commands.endings import DOWN, REFUSED, WITH_FAILURES, sentence, stop
from serve.commands.shell import DEFAULT_PORT, check_stores, opened, own_origin, read_settings, workers_lock

# The least length that NIST SP 800-63B requires of passwords that users choose.
MIN_PASSWORD_LENGTH = 8

app = typer.Typer()


@app.command()
def demo(
    pictures: Annotated[list[Path] | None, typer.Argument(exists=True, dir_okay=False, hidden=True)] = None,
    image: Annotated[
        list[Path] | None,
        typer.Option(
            exists=True, dir_okay=False, help="Use these image files instead of drawn samples; may be repeated."
        ),
    ] = None,
    if_empty: Annotated[bool, typer.Option("--if-empty", help="Do nothing if packs exist.")] = False,
    url: Annotated[
        str, typer.Option(help="The server's URL, for the printed links.")
    ] = f"http://127.0.0.1:{DEFAULT_PORT}",
) -> None:
    """Create sample packs, and print the URLs to open."""
    from functools import partial

    from filelock import Timeout
    from rich.console import Console

    from packshot.site import Site
    from pregen.queue.broker import make_broker
    from pregen.queue.doorbell import SilentDoorbell
    from pregen.worker import Worker
    from resolvers import packs
    from resolvers.caller import Caller
    from serve.commands.demo import fill, tour

    settings, console = read_settings(), Console()
    lock = workers_lock(settings)
    worker: Worker | None = None

    def run_jobs(site: Site) -> None:
        """Run the jobs here, unless another process does. Called repeatedly, because that process may end."""
        nonlocal worker
        if worker is not None:
            return
        if settings.redis_url is None:
            try:
                lock.acquire(timeout=0)
            except Timeout:
                return
        check_stores(site)
        worker = Worker(site, make_broker(settings))
        worker.start()

    with opened(settings) as site:
        # No doorbell: the process that runs the jobs checks the database every second.
        origin = own_origin(settings, settings.tenant, url)
        caller = Caller(site, SilentDoorbell(), settings.tenant, "demo", origin)
        if if_empty and packs.list_packs(caller, first=1).total:
            return
        try:
            run_jobs(site)
            # `--image a.jpg b.jpg` passes all but the first as arguments.
            chosen = [*(image or []), *(pictures or [])]
            result = fill(caller, chosen, console, partial(run_jobs, site))
            tour(caller, result.pack_ids, console)
        finally:
            if worker is not None:
                worker.stop()
            lock.release()
    for path, error in result.refused:
        typer.echo(f"{path}: {sentence(error)}", err=True)
    if result.refused or result.failed:
        raise typer.Exit(WITH_FAILURES)


@app.command()
def migrate() -> None:
    """Migrate the database to the current schema."""
    from packshot.catalog.database import migrate as migrations
    from packshot.catalog.database.transaction import Catalog
    from packshot.security.sealing import seal_webhooks

    settings = read_settings()
    catalog = Catalog(settings.effective_database_url)
    try:
        if not migrations.is_current(catalog):
            migrations.upgrade(catalog)
        seal_webhooks(catalog, settings)
    finally:
        catalog.close()
    typer.echo("The database is current.")


@app.command(name="basic-user")
def basic_user(name: Annotated[str, typer.Argument(help="The user's name, without colons and blanks.")]) -> None:
    """Read a password from standard input, and print NAME:hash for PACKSHOT_BASIC_USERS."""
    import getpass
    import sys

    from serve.http.passwords import HASHER

    if not name or ":" in name or name.split() != [name]:
        stop("A name has no colon and no blanks.", REFUSED)
    typed = getpass.getpass() if sys.stdin.isatty() else sys.stdin.readline().rstrip("\n")
    if len(typed) < MIN_PASSWORD_LENGTH:
        stop(f"The password is too short: expected at least {MIN_PASSWORD_LENGTH} characters.", REFUSED)
    typer.echo(f"{name}:{HASHER.hash(typed)}")


@app.command()
def doctor() -> None:
    """Check settings, database, stores, queue, CDN and codecs, and say how to repair what is wrong."""
    from serve.commands.doctor import examine
    from serve.health.findings import Status

    words = {Status.OK: "ok  ", Status.DEGRADED: "warn", Status.FAILING: "FAIL"}
    is_failing = False
    for finding in examine(read_settings()):
        text = "; ".join(map(str, finding.problems)) or finding.detail
        typer.echo(f"{words[finding.status]} {finding.part.replace('_', ' ')}: {text}")
        is_failing = is_failing or finding.status is Status.FAILING
    if is_failing:
        raise typer.Exit(DOWN)
