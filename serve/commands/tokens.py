"""API tokens for programs, each with its own scopes and expiry."""

import re
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Annotated, Any

import typer

from serve.commands.shell import AsJson, OfTenant, calling, print_json, print_table

if TYPE_CHECKING:
    from packshot.catalog.clients.tokens import Token

app = typer.Typer(help="API tokens for programs, each with its own scopes and expiry.", no_args_is_help=True)

_UNITS = {"m": timedelta(minutes=1), "h": timedelta(hours=1), "d": timedelta(days=1), "w": timedelta(weeks=1)}


def lifetime(text: str) -> timedelta:
    """Read a duration, such as 90d or 12h."""
    found = re.fullmatch(r"([1-9][0-9]{0,4})([mhdw])", text)
    if found is None:
        raise typer.BadParameter(f"expected a number and m, h, d or w, such as 90d, got {text!r}")
    return int(found[1]) * _UNITS[found[2]]


@app.command(name="create")
def create_token(
    name: Annotated[
        str, typer.Argument(help="A name for the client: 1 to 63 of a-z, 0-9 and '-'. Logs and jobs show it.")
    ],
    scope: Annotated[
        list[str],
        typer.Option(
            metavar="SCOPE",
            help="A scope, may be repeated: read, locations:write, packs:write, uploads:write, jobs:write, cdn:write.",
        ),
    ],
    expires: Annotated[
        timedelta | None,
        typer.Option(
            parser=lifetime,
            metavar="90d",
            help="The lifetime, such as 12h, 90d or 4w; default: the token never expires.",
        ),
    ] = None,
    tenant: OfTenant = None,
    as_json: AsJson = False,
) -> None:
    """Create a token, and print its secret on standard output, once; only its digest is kept."""
    from resolvers import tokens

    with calling(tenant) as caller:
        token, secret = tokens.create_token(
            caller, name, scope, expires_at=None if expires is None else datetime.now(UTC) + expires
        )
    if as_json:
        print_json(_document(token) | {"secret": secret})
        return
    ends = "never ends" if token.expires_at is None else f"ends {token.expires_at:%Y-%m-%d %H:%M} UTC"
    typer.echo(
        f"Token {token.id} of {token.tenant}: {', '.join(token.scopes)}; {ends}. Its secret is shown only now:",
        err=True,
    )
    typer.echo(secret)


@app.command(name="list")
def list_tokens(tenant: OfTenant = None, as_json: AsJson = False) -> None:
    """List the tenant's tokens, newest first, without their secrets."""
    from resolvers import tokens

    with calling(tenant) as caller:
        found = tokens.list_tokens(caller)
    if as_json:
        print_json([_document(token) for token in found])
        return
    print_table(
        ("id", "name", "state", "scopes", "expires", "last used", "created by"),
        [
            (
                token.id,
                token.name,
                _state(token),
                " ".join(token.scopes),
                "never" if token.expires_at is None else f"{token.expires_at:%Y-%m-%d %H:%M}",
                "never" if token.last_used_at is None else f"{token.last_used_at:%Y-%m-%d}",
                token.created_by or "",
            )
            for token in found
        ],
    )


@app.command(name="revoke")
def revoke_token(
    token_id: Annotated[str, typer.Argument(metavar="ID", help="The token's id, from `packshot token list`.")],
    tenant: OfTenant = None,
    as_json: AsJson = False,
) -> None:
    """Revoke a token: within five seconds, every process refuses it."""
    from resolvers import tokens

    with calling(tenant) as caller:
        token = tokens.revoke_token(caller, token_id)
    if as_json:
        print_json(_document(token))
        return
    typer.echo(f"Token {token.id} ({token.name}) is revoked. It stops working within five seconds.")


def _state(token: "Token") -> str:
    if token.revoked_at is not None:
        return "revoked"
    return "good" if token.is_good(datetime.now(UTC)) else "ended"


def _document(token: "Token") -> dict[str, Any]:
    return {
        "id": token.id,
        "tenant": token.tenant,
        "name": token.name,
        "state": _state(token),
        "scopes": token.scopes,
        "createdAt": token.created_at,
        "createdBy": token.created_by,
        "expiresAt": token.expires_at,
        "revokedAt": token.revoked_at,
        "lastUsedAt": token.last_used_at,
    }
