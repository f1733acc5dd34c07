"""Access keys, and URLs signed with them, for tenants whose images are not public."""

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Annotated, Any

import typer

from serve.commands.shell import AsJson, OfTenant, calling, print_json, print_table
from serve.commands.tokens import lifetime

if TYPE_CHECKING:
    from packshot.catalog.clients.access_keys import AccessKey

app = typer.Typer()
keys = typer.Typer(
    help="Access keys: secrets that open the image URLs of a tenant that requires keys.", no_args_is_help=True
)
app.add_typer(keys, name="access-key")


@keys.command(name="create")
def create_key(
    name: Annotated[str, typer.Argument(help="A name for the key: 1 to 63 of a-z, 0-9 and '-'.")],
    tenant: OfTenant = None,
    as_json: AsJson = False,
) -> None:
    """Create an access key, and print its secret on standard output, once."""
    from resolvers import access_keys

    with calling(tenant) as caller:
        key, secret = access_keys.create_key(caller, name)
    if as_json:
        print_json(_document(key) | {"secret": secret})
        return
    typer.echo(f"Access key {key.id} of {key.tenant}. It is shown only now:", err=True)
    typer.echo(secret)


@keys.command(name="list")
def list_keys(tenant: OfTenant = None, as_json: AsJson = False) -> None:
    """List the tenant's access keys, newest first, without their secrets."""
    from resolvers import access_keys

    with calling(tenant) as caller:
        found = access_keys.list_keys(caller)
    if as_json:
        print_json([_document(key) for key in found])
        return
    print_table(
        ("id", "name", "state", "created", "created by"),
        [(key.id, key.name, _state(key), f"{key.created_at:%Y-%m-%d %H:%M}", key.created_by or "") for key in found],
    )


@keys.command(name="revoke")
def revoke_key(
    key_id: Annotated[str, typer.Argument(metavar="ID", help="The key's id, from `packshot access-key list`.")],
    tenant: OfTenant = None,
    as_json: AsJson = False,
) -> None:
    """Revoke an access key: within a second, neither it nor URLs signed with it open images."""
    from resolvers import access_keys

    with calling(tenant) as caller:
        key = access_keys.revoke_key(caller, key_id)
    if as_json:
        print_json(_document(key))
        return
    typer.echo(f"Access key {key.id} ({key.name}) is revoked. URLs that it signed are invalid.")


@app.command(name="sign-url")
def sign_url(
    url: Annotated[
        str, typer.Argument(metavar="URL", help="An image URL of the tenant: the whole URL, or its path and query.")
    ],
    expires: Annotated[
        timedelta,
        typer.Option(parser=lifetime, metavar="1h", help="How long the URL is valid, such as 30m, 12h, 7d or 2w."),
    ],
    tenant: OfTenant = None,
    as_json: AsJson = False,
) -> None:
    """Sign an image URL with the tenant's newest access key; the URL needs no key until it expires."""
    from resolvers import access_keys

    with calling(tenant) as caller:
        signed, ends = access_keys.sign_url(caller, url, datetime.now(UTC) + expires)
    if as_json:
        print_json({"url": signed, "expiresAt": ends})
        return
    typer.echo(signed)


def _state(key: "AccessKey") -> str:
    return "good" if key.revoked_at is None else "revoked"


def _document(key: "AccessKey") -> dict[str, Any]:
    return {
        "id": key.id,
        "tenant": key.tenant,
        "name": key.name,
        "state": _state(key),
        "createdAt": key.created_at,
        "createdBy": key.created_by,
        "revokedAt": key.revoked_at,
    }
