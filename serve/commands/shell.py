"""What every command shares: how it opens the installation, what it prints, how it ends."""

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
# How a moment may be written; it is UTC.
MOMENTS = ["%Y-%m-%d", "%Y-%m-%d %H:%M:%S", "%Y-%m-%dT%H:%M:%S", "%Y-%m-%dT%H:%M:%SZ"]

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")]
OfTenant = Annotated[
    str | None, typer.Option("--tenant", metavar="NAME", help="Whose; PACKSHOT_TENANT unless it is said.")
]


class Commands(TyperGroup):
    """Ends a command that cannot go on with one line that says why, and what to do."""

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
    """Print one JSON document on one line; moments as UTC with `Z`."""
    import orjson

    typer.echo(orjson.dumps(document, option=orjson.OPT_UTC_Z).decode() + end, nl=False)


def print_table(head: Sequence[str], rows: Iterable[Sequence[str]], *, with_head: bool = True) -> None:
    """Print rows under their head, as wide as what is in them, so that lines can be searched and cut."""
    lines = [[cell.upper() for cell in head], *(list(row) for row in rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(head))]
    for line in lines if with_head else lines[1:]:
        typer.echo("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())


def read_settings() -> "Settings":
    """Read the settings and make the data folder, which only its owner may read, or end with what is wrong with them.

    Root goes on as the user that owns the folder.
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
        stop(f"PACKSHOT_DATA is {settings.data}, where a file is in the way: name a folder.", REFUSED)
    except FileNotFoundError as error:
        reason = (error.strerror or str(error)).lower()
        text = f"The data folder {settings.data} cannot be made there ({reason}): set PACKSHOT_DATA to another folder."
        stop(text, REFUSED)
    if not os.access(settings.data, os.R_OK | os.W_OK | os.X_OK):
        raise PermissionError(errno.EACCES, "Permission denied", str(settings.data))
    return settings


def workers_lock(settings: "Settings") -> "FileLock":
    """Return the data folder's lock, which belongs to whoever runs the jobs of this folder."""
    from filelock import FileLock

    return FileLock(settings.data / "lock", mode=0o600)


@contextmanager
def opened(settings: "Settings") -> Iterator["Site"]:
    """Open the installation, with its database current and its tenant made; end where the database does not answer."""
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
    """End where a store overwrites, which would let a late render replace a newer one."""
    import logging

    from packshot.storage.check import check_store

    for store in () if site.settings.s3_bucket_variants is None else (site.originals, site.variants):
        try:
            if faults := check_store(store):
                stop(" ".join(faults), DOWN)
        except OSError as error:
            # Crops and locations can be edited all the same, and work resumes when it is back.
            logging.getLogger(__name__).warning("the store is away: %s", error)


def check_history(site: "Site") -> None:
    """Begin a new epoch where the database was restored, before anybody reads sequence numbers from it."""
    import logging

    from packshot.maintenance.marks import check_epoch

    try:
        check_epoch(site)
    except OSError as error:
        # Whoever runs the jobs looks again every ten seconds.
        logging.getLogger(__name__).warning("whether the database was restored is not known yet: %s", error)


@contextmanager
def calling(tenant: str | None) -> Iterator["Caller"]:
    """Open the installation beside whatever serves it, on behalf of whoever types; rows only are written.

    Raises:
        NotFound: there is no such tenant.
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
        # Whoever runs the jobs looks into the database every second.
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
    """End where the store is away, which is no refusal and no bug."""
    try:
        yield
    except OSError as error:
        stop(f"The store does not answer, and the rest is left: {error}", DOWN)


@contextmanager
def progress(what: str, total: int | None, *, shown: bool) -> Iterator[Callable[[int], None]]:
    """Show how far it is on standard error; gives what is told the number done so far.

    Args:
        total: how many there are; None: nobody knows.
    """
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True, disable=not shown) as bar:
        task = bar.add_task(what, total=total)
        yield lambda done: bar.update(task, completed=done)


def own_origin(settings: "Settings", tenant: str, url: str = f"http://127.0.0.1:{DEFAULT_PORT}") -> str:
    """Return what stands before every URL that a command prints, `url` where nothing is set."""
    return (settings.public_url or url.rstrip("/")).replace("{tenant}", tenant)
