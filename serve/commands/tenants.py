"""Tenants: whose packs and locations are kept apart."""

from typing import TYPE_CHECKING, Annotated

import typer

from serve.commands.endings import REFUSED, stop
from serve.commands.shell import AsJson, calling, opened, print_json, read_settings, store_answering

if TYPE_CHECKING:
    from resolvers.caller import Caller

POLICIES = ("any", "steps", "renditions", "signed")

app = typer.Typer(help="Tenants: whose packs and locations are kept apart.", no_args_is_help=True)


@app.command(name="create")
def create_tenant(name: Annotated[str, typer.Argument(help="1 to 63 of a-z, 0-9 and '-'.")]) -> None:
    """Make a tenant, with its location `main`. JWTs and hosts can name it from then on."""
    from packshot.maintenance import marks
    from packshot.model import check_name

    check_name(name)
    with opened(read_settings()) as site, store_answering():
        if not marks.create_tenant(site, name):
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

    from packshot.maintenance.erase import PUT_TIME
    from packshot.security.access_policy import FRESH
    from resolvers import access_keys

    moved = 0
    with calling(name) as caller, store_answering():
        access_keys.require_keys(caller, required=not off)
        if not off:
            moved = access_keys.withdraw_variants(caller)
            settled = FRESH + PUT_TIME.total_seconds()
            typer.echo(
                f"Keys are required, and {moved} variants are withdrawn. In {settled:.0f} s the last are.", err=True
            )
            time.sleep(settled)
            moved += access_keys.withdraw_variants(caller, again=True)
    if as_json:
        print_json({"tenant": name, "keysRequired": not off, "withdrawn": moved})
    elif off:
        typer.echo(f"The pictures of {name} are shown to everybody.")
    else:
        typer.echo(f"The pictures of {name} are shown to who has an access key; {moved} variants were withdrawn.")


@app.command(name="show")
def show_tenant(name: Annotated[str, typer.Argument(help="The tenant.")], as_json: AsJson = False) -> None:
    """Show which variants clients can have besides the planned ones, and how much those take."""
    with calling(name) as caller:
        _show(caller, as_json=as_json)


@app.command(name="set")
def set_tenant(
    name: Annotated[str, typer.Argument(help="The tenant.")],
    on_demand: Annotated[
        str | None,
        typer.Option(
            "--on-demand", metavar="|".join(POLICIES), help="Which variants besides the planned ones clients get."
        ),
    ] = None,
    unplanned_bytes: Annotated[
        str | None,
        typer.Option(
            "--unplanned-bytes",
            metavar="BYTES|default",
            help="Most bytes of such variants, 0: none is kept; default: PACKSHOT_UNPLANNED_BYTES.",
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Set which variants clients can have besides the planned ones, and how much of them is kept; at once."""
    from packshot.errors import Invalid
    from packshot.model import OnDemand
    from resolvers import tenants

    values: dict[str, object] = {}
    if on_demand is not None:
        if on_demand not in POLICIES:
            expected = ", ".join(POLICIES)
            raise Invalid("That is no policy.", field=("on-demand",), expected=expected, got=on_demand)
        values["on_demand"] = OnDemand(on_demand)
    if unplanned_bytes is not None:
        if unplanned_bytes != "default" and not (unplanned_bytes.isascii() and unplanned_bytes.isdecimal()):
            expected = "a whole number of bytes, or default"
            raise Invalid("That is no budget.", field=("unplanned-bytes",), expected=expected, got=unplanned_bytes)
        values["unplanned_bytes"] = None if unplanned_bytes == "default" else int(unplanned_bytes)
    if not values:
        raise Invalid("There is nothing to set.", expected="--on-demand or --unplanned-bytes", got="neither")
    with calling(name) as caller:
        tenants.update_tenant(caller, values)
        _show(caller, as_json=as_json)


def _show(caller: "Caller", *, as_json: bool) -> None:
    from resolvers import tenants

    tenant, used = tenants.get_tenant(caller), tenants.read_usage(caller)
    own = tenant.unplanned_bytes
    limit = caller.site.settings.unplanned_bytes if own is None else own
    if as_json:
        names = {"unplannedBytesLimit": limit, "unplannedBytesUsed": used}
        print_json({"tenant": tenant.name, "version": tenant.version, "onDemand": tenant.on_demand.name} | names)
        return
    typer.echo(f"tenant           {tenant.name}, version {tenant.version}")
    typer.echo(f"on demand        {tenant.on_demand.value}")
    typer.echo(f"unplanned bytes  {used:,} of {limit:,}{' (the default)' if own is None else ''}")
