"""The command line. Each command imports what it needs, so that render processes start light."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

if TYPE_CHECKING:
    from filelock import FileLock

    from packshot.settings import Settings
    from packshot.site import Site

app = typer.Typer(
    name="packshot",
    help="Image packs, locations and crops; variants rendered ahead of time and on demand.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

REFUSED, WITH_FAILURES, DOWN = 1, 3, 4
DEFAULT_PORT = 8000


def main() -> None:
    """Run the command that the arguments name; exit 0 done, 1 refused, 2 wrong usage, 3 with failures, 4 down."""
    app()


@app.command()
def serve(
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port to listen on.")] = DEFAULT_PORT,
) -> None:
    """Serve the admin API and the pictures; run the jobs too, unless PACKSHOT_REDIS_URL is set."""
    import uvicorn

    from packshot.settings import admin_token
    from pregen.queue import QueueBell, make_broker
    from pregen.worker import Pregen
    from serve.app import create_app, working
    from serve.over_http import LARGEST_BODY

    settings = _settings()
    with _alone(settings), _opened(settings) as site:
        broker, token = make_broker(settings), admin_token(settings)
        site.sweep_incoming()
        if settings.redis_url is None:
            pregen = Pregen(site, broker)
            application = create_app(site, broker, pregen, token, lifespan=working(pregen))
        else:
            application = create_app(site, broker, QueueBell(broker), token)
        _greet(settings, f"http://{host}:{port}", None if settings.admin_token else token)
        uvicorn.run(
            application,
            host=host,
            port=port,
            log_level=settings.log_level,
            timeout_graceful_shutdown=10,
            # Whom to believe is a setting of ours, and the application sees to it.
            proxy_headers=False,
            ws="websockets-sansio",
            ws_max_size=LARGEST_BODY,
        )


@app.command()
def worker(
    processes: Annotated[int | None, typer.Option(min=1, help="Render processes; one more than cores.")] = None,
    threads: Annotated[int | None, typer.Option(min=1, help="Packs at once from each queue; one a core.")] = None,
) -> None:
    """Run jobs from the queue that PACKSHOT_REDIS_URL names. Start any number, on any machine."""
    import signal
    import threading

    from pregen.queue import make_broker
    from pregen.worker import Pregen

    settings = _settings()
    if settings.redis_url is None:
        _stop("A worker needs PACKSHOT_REDIS_URL; without it, `packshot serve` runs the jobs itself.", REFUSED)
    if processes is not None:
        settings = settings.model_copy(update={"render_processes": processes})
    ended = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: ended.set())
    with _opened(settings) as site:
        site.sweep_incoming()
        pregen = Pregen(site, make_broker(settings), threads=threads)
        pregen.start()
        typer.echo("The worker waits for packs. Ctrl-C ends it when the packs in work are done.")
        # In steps: a wait without end would keep signals from being heard on some systems.
        while not ended.wait(1.0):
            pass
        pregen.stop()


@app.command()
def demo(
    pictures: Annotated[list[Path] | None, typer.Argument(exists=True, dir_okay=False, hidden=True)] = None,
    image: Annotated[list[Path] | None, typer.Option(exists=True, dir_okay=False, help="Use these pictures.")] = None,
    if_empty: Annotated[bool, typer.Option("--if-empty", help="Do nothing where there are packs already.")] = False,
    url: Annotated[str, typer.Option(help="Where the server answers.")] = f"http://127.0.0.1:{DEFAULT_PORT}",
) -> None:
    """Fill the installation with sample packs and print what to open."""
    from filelock import Timeout
    from rich.console import Console

    from pregen.bell import SilentBell
    from pregen.queue import make_broker
    from pregen.worker import Pregen
    from resolvers import packs
    from resolvers.caller import Caller
    from serve.demo import fill, tour

    settings, console = _settings(), Console()
    lock = _lock(settings)
    # Where a server holds the lock, it finds the orders that are written here.
    with suppress(Timeout):
        lock.acquire(timeout=0)
    with _opened(settings) as site:
        pregen = Pregen(site, make_broker(settings)) if lock.is_locked or settings.redis_url else None
        origin = settings.public_url or url.rstrip("/")
        caller = Caller(site, pregen or SilentBell(), settings.tenant, "demo", origin)
        if if_empty and packs.list_packs(caller, first=1).total:
            return
        if pregen is not None:
            pregen.start()
        try:
            # `--image a.jpg b.jpg` leaves all but the first as arguments.
            result = fill(caller, [*(image or []), *(pictures or [])], console)
            tour(caller, result.pack_ids, console)
        finally:
            if pregen is not None:
                pregen.stop()
            lock.release()
    for path, error in result.refused:
        typer.echo(f"{path}: {_sentence(error)}", err=True)
    if result.refused or result.failed:
        raise typer.Exit(WITH_FAILURES)


@app.command()
def migrate() -> None:
    """Bring the database to the current schema."""
    from packshot.catalog import migrate as migrations
    from packshot.catalog.transaction import Catalog, DatabaseFault

    catalog = Catalog(_settings().effective_database_url)
    try:
        if not migrations.is_current(catalog):
            migrations.upgrade(catalog)
    except DatabaseFault as fault:
        _stop(f"The database does not answer: {fault.orig}", DOWN)
    finally:
        catalog.close()
    typer.echo("The database is current.")


tenants = typer.Typer(help="Tenants: whose packs and locations are kept apart.", no_args_is_help=True)
app.add_typer(tenants, name="tenant")


@tenants.command(name="create")
def create_tenant(name: Annotated[str, typer.Argument(help="1 to 63 of a-z, 0-9 and '-'.")]) -> None:
    """Make a tenant, with its location `main`. JWTs and hosts can name it from then on."""
    from packshot.catalog.tenants import ensure_tenant
    from packshot.errors import Invalid
    from packshot.model import check_name

    try:
        check_name(name)
    except Invalid as error:
        _stop(_sentence(error), REFUSED)
    with _opened(_settings()) as site, site.catalog.write(name) as tx:
        if not ensure_tenant(tx):
            _stop(f"There is a tenant {name!r} already.", REFUSED)
    typer.echo(f"The tenant {name!r} is there.")


@app.command(name="basic-user")
def basic_user(name: Annotated[str, typer.Argument(help="Who logs in.")]) -> None:
    """Read a password on standard input and print NAME:hash, for PACKSHOT_BASIC_USERS."""
    import getpass
    import sys

    from argon2 import PasswordHasher

    if not name or ":" in name or name.split() != [name]:
        _stop("A name has no colon and no blanks.", REFUSED)
    typed = getpass.getpass() if sys.stdin.isatty() else sys.stdin.readline().rstrip("\n")
    if not typed:
        _stop("The password is empty.", REFUSED)
    typer.echo(f"{name}:{PasswordHasher().hash(typed)}")


@app.command()
def doctor() -> None:
    """Check settings, database, stores, queue and codecs, and say how to mend what is wrong."""
    from serve.doctor import examine

    ill = False
    for finding in examine(_settings()):
        typer.echo(f"{'ok  ' if finding.fault is None else 'FAIL'} {finding.part}: {finding.fault or finding.detail}")
        ill = ill or finding.fault is not None
    if ill:
        raise typer.Exit(DOWN)


def _settings() -> "Settings":
    from packshot.settings import BadSettings, load_settings

    try:
        settings = load_settings()
        settings.data.mkdir(parents=True, exist_ok=True)
    except BadSettings as error:
        _stop(str(error), REFUSED)
    except OSError as error:
        _stop(f"The data folder cannot be made: {error}", REFUSED)
    return settings


def _lock(settings: "Settings") -> "FileLock":
    from filelock import FileLock

    return FileLock(settings.data / "lock")


@contextmanager
def _alone(settings: "Settings") -> Iterator[None]:
    """Hold the data folder's lock, which belongs to whoever runs the jobs of this folder."""
    from filelock import Timeout

    if settings.redis_url is not None:
        yield
        return
    lock = _lock(settings)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        _stop(f"Another packshot process runs the jobs of {settings.data}. Stop it, or set PACKSHOT_DATA.", DOWN)
    with lock:
        yield


@contextmanager
def _opened(settings: "Settings") -> Iterator["Site"]:
    """Open the installation, with its database current and its tenant made."""
    import logging

    from packshot.catalog import migrate as migrations
    from packshot.catalog.tenants import ensure_tenant
    from packshot.catalog.transaction import DatabaseFault
    from packshot.site import open_site
    from packshot.storage.check import check_store

    logging.basicConfig(level=settings.log_level.upper(), format="%(asctime)s %(levelname)s %(name)s %(message)s")
    for chatty in ("alembic", "dramatiq", "botocore", "urllib3"):
        logging.getLogger(chatty).setLevel(logging.WARNING)
    log = logging.getLogger(__name__)
    for caveat in settings.caveats:
        log.warning("%s", caveat)
    site = open_site(settings)
    try:
        try:
            if not migrations.is_current(site.catalog):
                if not site.catalog.is_sqlite:
                    _stop("The database is not at the current schema: run `packshot migrate`.", DOWN)
                migrations.upgrade(site.catalog)
            with site.catalog.write(settings.tenant) as tx:
                ensure_tenant(tx)
            for store in () if settings.s3_bucket_variants is None else (site.originals, site.variants):
                try:
                    # A store that overwrites would let a late render replace a newer one.
                    if faults := check_store(store):
                        _stop(" ".join(faults), DOWN)
                except OSError as error:
                    # Crops and locations can be edited all the same, and work resumes when it is back.
                    log.warning("the store is away: %s", error)
        except DatabaseFault as fault:
            _stop(f"The database does not answer: {fault.orig}", DOWN)
        yield site
    finally:
        site.close()


def _greet(settings: "Settings", origin: str, token: str | None) -> None:
    token_line = token or "(as set in PACKSHOT_ADMIN_TOKEN)"
    where = f'"Authorization": "Bearer {token_line}"'
    typer.echo(
        f"""
Packshot serves {settings.data.resolve()} on {origin}

  front page    {origin}/
  admin API     {origin}/graphql   (GraphiQL in a browser; header {{{where}}})
  admin token   {token_line}

  try           curl -s {origin}/graphql -H 'Authorization: Bearer {token_line}' \\
                  -H 'Content-Type: application/json' \\
                  -d '{{"query": "{{ packs {{ nodes {{ id stableUrl }} }} }}"}}'
"""
    )


def _sentence(error: Exception) -> str:
    expected, got = getattr(error, "expected", None), getattr(error, "got", None)
    details = [f"expected {expected}"] * (expected is not None) + [f"got {got}"] * (got is not None)
    return f"{error} ({', '.join(details)})" if details else str(error)


def _stop(message: str, code: int) -> NoReturn:
    typer.echo(message, err=True)
    raise typer.Exit(code)
