"""Tenants, whose packs and locations are separate."""

from typing import TYPE_CHECKING, Annotated

import typer

from serve.commands.endings import REFUSED, stop
from serve.commands.shell import AsJson, calling, opened, print_json, read_settings, store_answering

if TYPE_CHECKING:
    from resolvers.caller import Caller

POLICIES = ("any", "steps", "renditions", "signed")

app = typer.Typer(help="Tenants: customers with their own packs, locations and tokens.", no_args_is_help=True)


@app.command(name="create")
def create_tenant(name: Annotated[str, typer.Argument(help="The name: 1 to 63 of a-z, 0-9 and '-'.")]) -> None:
    """Create a tenant and its location `main`; JWTs and hosts can then name it."""
    from packshot.maintenance import marks
    from packshot.model import check_name

    check_name(name)
    with opened(read_settings()) as site, store_answering():
        if not marks.create_tenant(site, name):
            stop(f"The tenant {name!r} already exists.", REFUSED)
    typer.echo(f"The tenant {name!r} is created.")


@app.command(name="require-keys")
def require_keys(
    name: Annotated[str, typer.Argument(help="The tenant.")],
    off: Annotated[bool, typer.Option("--off", help="Make the tenant's images public again.")] = False,
    as_json: AsJson = False,
) -> None:
    """Require access keys for a tenant's images, and withdraw stored variants from the CDN.

    Keys are required at once. Then stored variants are moved out of the public part of the store. After a minute,
    variants that late workers stored meanwhile are moved too. If it is interrupted, run it again.
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
        typer.echo(f"The images of {name} are public.")
    else:
        typer.echo(f"The images of {name} require an access key; {moved} variants were withdrawn.")


@app.command(name="show")
def show_tenant(name: Annotated[str, typer.Argument(help="The tenant.")], as_json: AsJson = False) -> None:
    """Show a tenant's on-demand policy, and the bytes of its unplanned variants."""
    with calling(name) as caller:
        _show(caller, as_json=as_json)


@app.command(name="set")
def set_tenant(
    name: Annotated[str, typer.Argument(help="The tenant.")],
    on_demand: Annotated[
        str | None,
        typer.Option("--on-demand", metavar="|".join(POLICIES), help="Which unplanned variants clients get."),
    ] = None,
    unplanned_bytes: Annotated[
        str | None,
        typer.Option(
            "--unplanned-bytes",
            metavar="BYTES|default",
            help="Most bytes of unplanned variants; 0: none are kept; default: PACKSHOT_UNPLANNED_BYTES.",
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Set a tenant's on-demand policy and its budget for unplanned variants; both apply at once."""
    from packshot.errors import Invalid
    from packshot.model import OnDemand
    from resolvers import tenants

    values: dict[str, object] = {}
    if on_demand is not None:
        if on_demand not in POLICIES:
            expected = ", ".join(POLICIES)
            raise Invalid("This policy does not exist.", field=("on-demand",), expected=expected, got=on_demand)
        values["on_demand"] = OnDemand(on_demand)
    if unplanned_bytes is not None:
        if unplanned_bytes != "default" and not (unplanned_bytes.isascii() and unplanned_bytes.isdecimal()):
            expected = "a whole number of bytes, or default"
            raise Invalid(
                "This is not a number of bytes.", field=("unplanned-bytes",), expected=expected, got=unplanned_bytes
            )
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
