"""Why a URL yields its image, or none."""

from collections.abc import Iterator
from typing import Annotated, Any

import typer

from serve.commands.endings import REFUSED
from serve.commands.shell import AsJson, opened, own_origin, print_json, read_settings, store_answering

app = typer.Typer()


@app.command()
def explain(
    url: Annotated[
        str,
        typer.Argument(metavar="URL", help="A stable, immutable or live URL: the whole URL, or its path and query."),
    ],
    accept: Annotated[
        str, typer.Option(metavar="TYPES", help="The client's Accept header, for URLs that negotiate the format.")
    ] = "",
    as_json: AsJson = False,
) -> None:
    """Explain step by step why a URL yields its image. Exit code 1 if it yields none."""
    from resolvers.urls.build import tenant_urls
    from resolvers.urls.parse import read_url
    from serve.http.negotiation import accepted_formats
    from serve.image.explain import explain as explained

    settings = read_settings()
    address = read_url(settings, url)
    with opened(settings) as site, store_answering():
        urls = tenant_urls(site, own_origin(settings, address.tenant), address.tenant)
        steps = explained(site, address, urls, accepted_formats(accept))
    if as_json:
        print_json(steps)
    else:
        for line in _lines(steps):
            typer.echo(line)
    if "refusal" in steps:
        raise typer.Exit(REFUSED)


def _lines(steps: dict[str, Any], indent: str = "") -> Iterator[str]:
    width = max(len(name) for name in steps) + 2
    for name, value in steps.items():
        if isinstance(value, dict) and value.keys() == {"value", "from"}:
            origin = "" if value["from"] is None else f"   (from {value['from']})"
            yield f"{indent}{name:{width}}{_text(value['value'])}{origin}"
        elif isinstance(value, dict) and value:
            yield f"{indent}{name}"
            yield from _lines(value, indent + "  ")
        else:
            yield f"{indent}{name:{width}}{_text(value)}"


def _text(value: Any) -> str:
    if value is None or value in ({}, [], ""):
        return "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, dict):
        return ", ".join(f"{name} {_text(item)}" for name, item in value.items())
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)
