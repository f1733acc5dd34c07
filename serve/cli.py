"""The command line. Each command imports what it needs, so that render processes start quickly."""

import os

import typer

from serve.commands import (
    access,
    explain,
    jobs,
    location_changes,
    locations,
    maintenance,
    migration,
    processes,
    purge,
    regeneration,
    setup,
    tenants,
    tokens,
)
from serve.commands.shell import Commands

app = typer.Typer(
    cls=Commands,
    name="packshot",
    help="Image packs, locations and crops; variants rendered ahead of time and on demand.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.add_typer(processes.app)
app.add_typer(regeneration.app)
app.add_typer(setup.app)
app.add_typer(maintenance.app)
app.add_typer(purge.app)
app.add_typer(explain.app)
app.add_typer(access.app)
app.add_typer(jobs.app, name="jobs")
app.add_typer(migration.app, name="import")
locations.app.add_typer(location_changes.app)
app.add_typer(locations.app, name="location")
app.add_typer(tenants.app, name="tenant")
app.add_typer(tokens.app, name="token")


def main() -> None:
    """Run a command. Exit codes: 0 done, 1 refused, 2 wrong usage, 3 done with failures, 4 outage."""
    # Files that libraries create, such as SQLite's, are readable by their owner only.
    os.umask(0o077)
    app()
