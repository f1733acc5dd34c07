"""Tenants: whose packs and locations are kept apart."""

from typing import Annotated

import typer

from serve.commands.shell import REFUSED, AsJson, calling, opened, print_json, read_settings, stop, store_answering

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


@app.command(name="require-keys")
def require_keys(
    name: Annotated[str, typer.Argument(help="The tenant.")],
    off: Annotated[bool, typer.Option("--off", help="Show its pictures to everybody again.")] = False,
    as_json: AsJson = False,
) -> None:
    """Show a tenant's pictures only to who has an access key, and take what is stored out of a CDN's sight.

    From the first second on the application asks for keys. Then blobs are moved out of the public part of
    the store; a minute later what late workers have put there is, too. Run again, it goes on where it was.
    """
    import time

    from packshot.access import FRESH
    from packshot.erase import PUT_TIME
    from resolvers import access

    moved = 0
    with calling(name) as caller, store_answering():
        access.require_keys(caller, required=not off)
        if not off:
            moved = access.withdraw(caller)
            settled = FRESH + PUT_TIME.total_seconds()
            typer.echo(
                f"Keys are required, and {moved} variants are withdrawn. In {settled:.0f} s the last are.", err=True
            )
            time.sleep(settled)
            moved += access.withdraw(caller, again=True)
    if as_json:
        print_json({"tenant": name, "keysRequired": not off, "withdrawn": moved})
    elif off:
        typer.echo(f"The pictures of {name} are shown to everybody.")
    else:
        typer.echo(f"The pictures of {name} are shown to who has an access key; {moved} variants were withdrawn.")
