"""Print the plan of a change of a location."""

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import typer

from packshot.model import LOCATION_FIELDS, Rendition
from serve.commands.shell import store_answering

if TYPE_CHECKING:
    from packshot.variants.change_plan import ChangePlan
    from resolvers.caller import Caller
    from resolvers.changing.samples import Sample


def draw_samples(caller: "Caller", plan: "ChangePlan", wanted: int) -> list["Sample"]:
    """Draw and store the images of some packs before and after the change. An outage of the store ends the command."""
    if not wanted or not plan.packs:
        return []
    from rich.console import Console

    from resolvers.changing import samples

    with Console(stderr=True).status("drawing samples"), store_answering():
        return samples.draw_samples(caller, plan, wanted)


def print_plan(plan: "ChangePlan", samples: Sequence["Sample"] = ()) -> None:
    """Print what a change alters and costs."""
    version = "new" if plan.base_version is None else f"version {plan.base_version}"
    typer.echo(f"Plan for {plan.name} ({version}){', which needs --force' if plan.requires_force else ''}")
    for change in plan.changes:
        name = option_name(change.field)
        forced = "  (needs --force)" if change.requires_force else ""
        typer.echo(f"  {name:<14} {spell(change.before)} -> {spell(change.after)}{forced}")
    if not plan.changes:
        typer.echo("  nothing changes")
    costs = {
        "packs": f"{plan.packs:,}",
        "to render": f"{plan.render:,} variants, about {_size(plan.bytes)}",
        "to reuse": f"{plan.reuse:,} stored variants",
        "upscaled": f"{plan.upscaled:,} images beyond their own pixels",
        "takes": f"about {_span(plan.wall_seconds)}, {_span(plan.cpu_seconds)} of CPU",
        "purges": f"{plan.purge_requests} requests",
    }
    for name, cost in costs.items():
        typer.echo(f"  {name:<14} {cost}")
    for sample in samples:
        typer.echo(f"  pack {sample.pack_id}")
        typer.echo(f"    before {sample.before or 'nothing'}\n    after  {sample.after}")
    typer.echo(f"  plan id        {plan.id}  (valid until {plan.expires_at:%Y-%m-%d %H:%M} UTC)")
    sys.stdout.flush()


def option_name(field: str) -> str:
    """Return the name of the option that sets a field of a location or tenant."""
    return LOCATION_FIELDS[field].option if field in LOCATION_FIELDS else field


def spell(value: Any) -> str:
    """Return a field's value in the spelling of its option."""
    if value is None:
        return "unset"
    if isinstance(value, tuple):
        return ",".join(spell(item) for item in value)
    if isinstance(value, Rendition):
        dpr = "" if value.dpr == 1 else f"@{value.dpr:g}"
        return f"{value.width or ''}x{value.height or ''}{dpr}"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return str(value)


def _size(count: float) -> str:
    for unit in ("bytes", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.0f} {unit}"
        count /= 1000
    return f"{count:.1f} TB"


def _span(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.1f} s"
    if seconds < 7200:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"
