"""The command line. Each command imports what it needs, so that render processes start light."""

from contextlib import suppress
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
    """Serve the admin API and the pictures, and run the jobs."""
    import uvicorn
    from filelock import Timeout

    from packshot.settings import admin_token
    from pregen.worker import Pregen
    from serve.app import create_app, working

    settings = _settings()
    lock = _lock(settings)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        _stop(f"Another packshot process runs the jobs of {settings.data}. Stop it, or set PACKSHOT_DATA.", DOWN)
    with lock:
        site = _open(settings)
        try:
            site.sweep_incoming()
            token, pregen = admin_token(settings), Pregen(site)
            _greet(settings, f"http://{host}:{port}", None if settings.admin_token else token)
            uvicorn.run(
                create_app(site, pregen, token, lifespan=working(pregen)),
                host=host,
                port=port,
                log_level=settings.log_level,
                timeout_graceful_shutdown=10,
            )
        finally:
            site.close()


@app.command()
def demo(
    image: Annotated[list[Path] | None, typer.Option(exists=True, dir_okay=False, help="Use these pictures.")] = None,
    if_empty: Annotated[bool, typer.Option("--if-empty", help="Do nothing where there are packs already.")] = False,
    url: Annotated[str, typer.Option(help="Where the server answers.")] = f"http://127.0.0.1:{DEFAULT_PORT}",
) -> None:
    """Fill the installation with sample packs and print what to open."""
    from filelock import Timeout
    from rich.console import Console

    from packshot.errors import PackshotError
    from pregen.bell import SilentBell
    from pregen.worker import Pregen
    from resolvers import packs
    from resolvers.caller import Caller
    from serve.demo import fill, tour

    settings, console = _settings(), Console()
    lock = _lock(settings)
    # Where a server holds the lock, it finds the orders that are written here.
    with suppress(Timeout):
        lock.acquire(timeout=0)
    site = _open(settings)
    pregen = Pregen(site) if lock.is_locked else None
    origin = settings.public_url or url.rstrip("/")
    caller = Caller(site, pregen or SilentBell(), settings.tenant, "demo", origin)
    try:
        if if_empty and packs.list_packs(caller, first=1).total:
            return
        if pregen is not None:
            pregen.start()
        pack_ids = fill(caller, image or [], console)
        tour(caller, pack_ids, console)
    except PackshotError as error:
        _stop(_sentence(error), REFUSED)
    finally:
        if pregen is not None:
            pregen.stop()
        site.close()
        lock.release()


@app.command()
def migrate() -> None:
    """Bring the database to the current schema."""
    from packshot.catalog.migrate import is_current

    site = _open(_settings())
    typer.echo("The database is current." if is_current(site.catalog) else "The database is not current.")
    site.close()


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


def _open(settings: "Settings") -> "Site":
    import logging

    from packshot.catalog import migrate as migrations
    from packshot.catalog.tenants import ensure_tenant
    from packshot.site import open_site

    logging.basicConfig(level=settings.log_level.upper(), format="%(asctime)s %(levelname)s %(name)s %(message)s")
    for chatty in ("alembic", "dramatiq"):
        logging.getLogger(chatty).setLevel(logging.WARNING)
    site = open_site(settings)
    migrations.upgrade(site.catalog)
    with site.catalog.write(settings.tenant) as tx:
        ensure_tenant(tx)
    return site


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
