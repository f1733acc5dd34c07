"""What all commands share: how they open the installation, print and end."""

import errno
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup

from serve.commands.endings import DOWN, REFUSED, explain_end, stop

if TYPE_CHECKING:
    from filelock import FileLock

    from packshot.settings.settings import Settings
    from packshot.site import Site
    from pregen.queue.doorbell import Doorbell
    from resolvers.caller import Caller

DEFAULT_PORT = 8000
# Formats of a time, which is UTC.
MOMENTS = ["%Y-%m-%d", "%Y-%m-%d %H:%M:%S", "%Y-%m-%dT%H:%M:%S", "%Y-%m-%dT%H:%M:%SZ"]

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")]
OfTenant = Annotated[str | None, typer.Option("--tenant", metavar="NAME", help="The tenant; default: PACKSHOT_TENANT.")]


class Commands(TyperGroup):
    """Ends a command that cannot continue with one line: the reason, and what to do."""

    def invoke(self, ctx: Any) -> Any:
        """Run the command."""
        try:
            return super().invoke(ctx)
        except typer.Exit:
            raise
        except Exception as error:
            explained = explain_end(error)
            if explained is None:
                raise
            stop(*explained)


def print_json(document: Any, *, end: str = "\n") -> None:
    """Print one JSON document on one line; times are UTC with `Z`."""
    import orjson

    typer.echo(orjson.dumps(document, option=orjson.OPT_UTC_Z).decode() + end, nl=False)


def print_table(head: Sequence[str], rows: Iterable[Sequence[str]], *, with_head: bool = True) -> None:
    """Print a table with columns as wide as their contents; each row is one line, for grep and cut."""
    lines = [[cell.upper() for cell in head], *(list(row) for row in rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(head))]
    for line in lines if with_head else lines[1:]:
        typer.echo("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())


def read_settings() -> "Settings":
    """Read the settings and create the data folder, readable by its owner only; end if either is wrong.

    Root continues as the user that owns the folder.
    """
    from packshot.settings.data_folder import make_private
    from packshot.settings.data_owner import become_owner
    from packshot.settings.loading import BadSettings, load_settings

    try:
        settings = load_settings()
        if said := become_owner(settings):
            typer.echo(f"{said}.", err=True)
        for sentence in make_private(settings):
            typer.echo(f"{sentence}.", err=True)
    except BadSettings as error:
        stop(str(error), REFUSED)
    except (FileExistsError, NotADirectoryError):
        stop(f"PACKSHOT_DATA is {settings.data}, but a file is in the way: set it to a folder.", REFUSED)
    except FileNotFoundError as error:
        reason = (error.strerror or str(error)).lower()
        text = f"The data folder {settings.data} cannot be created ({reason}): set PACKSHOT_DATA to another folder."
        stop(text, REFUSED)
    if not os.access(settings.data, os.R_OK | os.W_OK | os.X_OK):
        raise PermissionError(errno.EACCES, "Permission denied", str(settings.data))
    return settings


def workers_lock(settings: "Settings") -> "FileLock":
    """Return the data folder's lock; the process that runs the folder's jobs holds it."""
    from filelock import FileLock

    return FileLock(settings.data / "lock", mode=0o600)


@contextmanager
def opened(settings: "Settings") -> Iterator["Site"]:
    """Open the installation; migrate an SQLite database, and create the default tenant."""
    import logging

    from packshot.catalog.configuration.tenants import ensure_tenant
    from packshot.catalog.database import migrate
    from packshot.site import open_site
    from serve.logs import setup

    setup.configure(settings.log_level)
    for caveat in settings.caveats:
        logging.getLogger(__name__).warning("%s", caveat)
    site = open_site(settings)
    try:
        if not migrate.is_current(site.catalog):
            if not site.catalog.is_sqlite:
                stop("The database is not at the current schema: run `packshot migrate`.", DOWN)
            migrate.upgrade(site.catalog)
        with site.catalog.write(settings.tenant) as tx:
            ensure_tenant(tx)
        yield site
    finally:
        site.close()


def check_stores(site: "Site") -> None:
    """End if a store overwrites objects: a late render would replace a newer one."""
    import logging

    from packshot.storage.check import check_store

    for store in () if site.settings.s3_bucket_variants is None else (site.originals, site.variants):
        try:
            if faults := check_store(store):
                stop(" ".join(faults), DOWN)
        except OSError as error:
            # Edits need no store, and rendering resumes when the store answers.
            logging.getLogger(__name__).warning("the store does not answer: %s", error)


def check_history(site: "Site") -> None:
    """Begin a new epoch if the database was restored, before any client reads sequence numbers."""
    import logging

    from packshot.maintenance.marks import check_epoch

    try:
        check_epoch(site)
    except OSError as error:
        # The process that runs the jobs checks every ten seconds.
        logging.getLogger(__name__).warning("cannot tell yet whether the database was restored: %s", error)


@contextmanager
def calling(tenant: str | None) -> Iterator["Caller"]:
    """Open the installation beside a running server, with the user of the shell as the caller; only rows are written.

    Raises:
        NotFound: the tenant does not exist.
    """
    import getpass

    from packshot.catalog.configuration.tenants import get_tenant
    from resolvers.caller import Caller

    settings = read_settings()
    with opened(settings) as site, _doorbell(settings) as doorbell:
        name = tenant or settings.tenant
        with site.catalog.read(name) as tx:
            get_tenant(tx)
        yield Caller(site, doorbell, name, f"cli:{getpass.getuser()}", own_origin(settings, name))


@contextmanager
def _doorbell(settings: "Settings") -> Iterator["Doorbell"]:
    from pregen.queue.doorbell import SilentDoorbell

    if settings.redis_url is None:
        # No doorbell: the process that runs the jobs checks the database every second.
        yield SilentDoorbell()
        return
    from pregen.queue.broker import QueueDoorbell, make_broker

    broker = make_broker(settings)
    try:
        yield QueueDoorbell(broker)
    finally:
        broker.close()


@contextmanager
def store_answering() -> Iterator[None]:
    """End with a sentence if the store does not answer."""
    try:
        yield
    except OSError as error:
        stop(f"The store does not answer; the rest is not done: {error}", DOWN)


@contextmanager
def progress(what: str, total: int | None, *, shown: bool) -> Iterator[Callable[[int], None]]:
    """Show progress on standard error; yields a function that takes the number done so far.

    Args:
        total: the number of all; None: unknown.
    """
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True, disable=not shown) as bar:
        task = bar.add_task(what, total=total)
        yield lambda done: bar.update(task, completed=done)


def own_origin(settings: "Settings", tenant: str, url: str = f"http://127.0.0.1:{DEFAULT_PORT}") -> str:
    """Return the origin of the URLs that a command prints; `url` if no setting names one."""
    return (settings.public_url or url.rstrip("/")).replace("{tenant}", tenant)
