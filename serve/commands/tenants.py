"""Tenants: whose packs and locations are kept apart."""

from typing import Annotated

import typer

from serve.commands.shell import REFUSED, opened, read_settings, stop

app = typer.Typer(help="Tenants: whose packs and locations are kept apart.", no_args_is_help=True)


@app.command(name="create")
def create_tenant(name: Annotated[str, typer.Argument(help="1 to 63 of a-z, 0-9 and '-'.")]) -> None:
    """Make a tenant, with its location `main`. JWTs and hosts can name it from then on."""
    from packshot.catalog.tenants import ensure_tenant
    from packshot.model import check_name

    check_name(name)
    with opened(read_settings()) as site, site.catalog.write(name) as tx:
        if not ensure_tenant(tx):
            stop(f"There is a tenant {name!r} already.", REFUSED)
    typer.echo(f"The tenant {name!r} is there.")
